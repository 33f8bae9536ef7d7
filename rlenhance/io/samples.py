"""Sample photographs, in packages that are installed for training."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rlenhance.core.errors import UsageError

#: Sample photograph -> its package and folder; all others are in scikit-image.
_PACKAGED = {"flower": "sklearn/datasets/images", "china": "sklearn/datasets/images",
             "grace_hopper": "matplotlib/mpl-data/sample_data"}


def sample_path(name: str) -> Path:
    """The file of a sample photograph, in the package of scikit-image (public domain and CC0), scikit-learn (CC BY
    2.0) or matplotlib (public domain); nothing is downloaded.

    Raises:
        UsageError: the version that is installed does not have it.
    """
    package, _, folder = _PACKAGED.get(name, "skimage/data").partition("/")
    found = importlib.util.find_spec(package)  # without importing it, which costs start-up time
    place = Path(found.origin if found and found.origin else package).parent / folder
    for ending in (".png", ".jpg"):
        if (path := place / f"{name}{ending}").is_file():
            return path
    raise UsageError(f"the sample photograph {name!r} is not in this version of {package} ({place}); install the "
                     f"version that constraints.txt names, or name your own folder as data")

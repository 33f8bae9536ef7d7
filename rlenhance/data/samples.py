"""The sample photographs: public-domain and CC0 pictures that scikit-image's package carries."""

from __future__ import annotations

from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.data.degradations import Darken
from rlenhance.data.examples import Example
from rlenhance.data.splits import Splits

#: Each photograph has one role, for good: what is validated on is never trained on.
ROLES = {"astronaut": "train", "coffee": "train", "rocket": "train", "chelsea": "val"}
_VALIDATION_EXPOSURES = (1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 16, 1 / 32)


def photograph(name: str) -> Path:
    """Where a sample photograph lies on this disk."""
    import skimage  # here: it costs start-up time

    for ending in (".png", ".jpg"):
        path = Path(skimage.__file__).parent / "data" / f"{name}{ending}"
        if path.is_file():
            return path
    raise UsageError(f"the sample photograph {name!r} is not in this version of scikit-image; "
                     f"install the version that constraints.txt names, or pass --data DIR")


def sample_photographs(darken: Darken | None = None) -> Splits:
    """Three photographs to train on, darkened anew at each draw; one to validate on, at eight fixed exposures."""
    darken = darken or Darken()
    train = [Example(n, n, None, photograph(n), darken) for n, role in ROLES.items() if role == "train"]
    val = [
        Example(f"{n}-{round(1 / exposure)}", n, None, photograph(n),
                Darken(exposure, exposure, darken.shot, darken.read, darken.bits))
        for n, role in ROLES.items() if role == "val" for exposure in _VALIDATION_EXPOSURES
    ]
    return Splits(train, val, (), "sample photographs (a demonstration on four photographs)")

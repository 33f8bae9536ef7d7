"""constraints.txt names a version of everything that is installed, so that a clone of next year installs the same."""

import configparser
import re
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_everything_that_any_extra_installs_is_pinned():
    """The requirements of setup.cfg and of plugins, and whatever they require in turn."""
    pinned = dict(line.lower().replace("_", "-").split("==") for line in (ROOT / "constraints.txt").read_text().split())
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    todo = [Requirement(line) for lines in wanted for line in lines.splitlines() if line.strip()]
    for path in (ROOT / "plugins").glob("*/pyproject.toml"):
        about = tomllib.loads(path.read_text())["project"]
        todo += map(Requirement, [*about["dependencies"], *chain(*about["optional-dependencies"].values())])
    seen = set()
    while todo:
        needed = todo.pop()
        name = re.sub("[-_.]+", "-", needed.name).lower()
        if name == "rlenhance" or (name, *needed.extras) in seen:  # its extras are all looked at
            continue
        seen.add((name, *needed.extras))
        if name not in pinned and "==" in str(needed.specifier):
            continue  # its parent names the version, as torch does for CUDA's libraries
        assert name in pinned, f"{needed} has no version in constraints.txt"
        assert needed.specifier.contains(pinned[name], prereleases=True), f"{needed} and {name}=={pinned[name]}"
        try:
            deeper = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of an extra that is not installed here
            continue
        extras = needed.extras or {""}
        todo += [each for each in map(Requirement, deeper)
                 if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in extras)]

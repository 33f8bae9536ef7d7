"""How this installation was made, for the lines that add to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

#: The modules of the extra `train`, as far as every training imports them.
TRAINING = ("torch", "gymnasium", "lightning_fabric", "tyro", "scipy", "skimage")


#: Where a distribution of this project lies in a clone: none is on a package index yet, where its name is anybody's.
_FOLDERS = {"rlenhance": ".", "rlenhance-read": "plugins/read"}


def install_line(extra: str, package: str = "rlenhance") -> str:
    """The command that adds an extra to this installation, wherever it came from: a wheel, a checkout, a repository.

    Where pipx or uv made the environment, the command is theirs: pip alone would install elsewhere.

    Args:
        extra: its name.
        package: the distribution that has it: this one, or a plugin.

    Source: direct_url.json, PEP 610.
    """
    requirement, editable = _requirement(extra, package)
    folder = _FOLDERS.get(package)
    place = " in a clone of rlenhance" if requirement == f"{folder}[{extra}]" else ""
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return f'pipx install --force {"--editable " * editable}"{requirement}"{place}'
    if os.path.exists(os.path.join(sys.prefix, "uv-receipt.toml")):
        return f'uv tool install --force {"--editable " * editable}"{requirement}"{place}'
    return f'pip install {"-e " * editable}"{requirement}"{place}'


def _requirement(extra: str, package: str) -> tuple[str, bool]:
    """The package with the extra, from where it was installed, and whether that is an editable checkout; where that is
    not known, its folder in a clone."""
    import json
    from importlib import metadata  # here: it costs start-up time, as urllib does
    from urllib.parse import unquote, urlsplit

    unknown = f"{_FOLDERS.get(package, package)}[{extra}]", False
    try:
        told = metadata.distribution(package).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        checkout = Path(__file__).resolve().parents[2]
        return (f"{checkout}[{extra}]", True) if package == "rlenhance" else unknown
    try:
        place = json.loads(told) if told else {}
        url = urlsplit(place["url"])
    except (ValueError, KeyError, TypeError):
        return unknown
    if url.scheme == "file" and "dir_info" in place:
        return f"{unquote(url.path)}[{extra}]", bool(place["dir_info"].get("editable"))
    version = place.get("vcs_info")
    address = f"{version['vcs']}+{place['url']}@{version['commit_id']}" if version else place["url"]
    return f"{package}[{extra}] @ {address}", False


def require_extra(extra: str, modules: Collection[str], what: str) -> None:
    """Refuse what needs an extra that is not installed, with the line that adds it.

    Args:
        extra: its name.
        modules: what it brings.
        what: needs it, for the message ("training").

    Raises:
        ModuleNotFoundError: a module is not there; SystemExit instead under `python -m`, where it would be a traceback.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        text = f"{what} needs {', '.join(missing)}, of the extra {extra}: {install_line(extra)}"
        if sys.argv[:1] == ["-m"]:  # Python has not found the module yet that it is to run
            raise SystemExit(f"error: {text}")
        raise ModuleNotFoundError(text, name=missing[0])

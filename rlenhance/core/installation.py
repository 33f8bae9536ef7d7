"""How this installation was made, for the lines that add to it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


def install_line(extra: str) -> str:
    """The command that adds an extra to this installation, wherever it came from: the index, a wheel, a checkout.

    Source: direct_url.json, PEP 610.
    """
    try:
        told = metadata.distribution("rlenhance").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return f'pip install -e "{Path(__file__).resolve().parents[2]}[{extra}]"'
    try:
        place = json.loads(told) if told else {}
        url = urlsplit(place["url"])
    except (ValueError, KeyError, TypeError):
        return f'pip install "rlenhance[{extra}]"'
    if url.scheme == "file" and "dir_info" in place:
        editable = "-e " if place["dir_info"].get("editable") else ""
        return f'pip install {editable}"{unquote(url.path)}[{extra}]"'
    version = place.get("vcs_info")
    address = f"{version['vcs']}+{place['url']}@{version['commit_id']}" if version else place["url"]
    return f'pip install "rlenhance[{extra}] @ {address}"'

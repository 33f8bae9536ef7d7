"""Recipes as version 0.2 wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def recipe_0_2(path: Path) -> dict[str, Any]:
    """The recipe of a file with the keys of version 0.2."""
    found = json.loads(path.read_text())
    made_with = found["made_with"]
    return {"kind": "rlenhance recipe", "version": made_with.pop("rlenhance"), "made_with": made_with,
            "together": found["decision"] == "shared", **found["settings"],
            **{key: found[key] for key in ("model", "sha256", "denoiser", "denoiser_sha256") if key in found}}

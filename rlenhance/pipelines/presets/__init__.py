"""Presets: named looks in small JSON files. Those beside this file are shipped; users can write more.

    {"about": "One line.", "exposure_shift": 0.1, "preference": {"contrast": 0.3}, "strength": 0.8}

Every key may be left out, but one of `preference`, `exposure_shift`, `reward` and `strength` is needed. `reward` has
weights, as `rlenhance enhance --reward` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.json_files import naming, read_object, text
from rlenhance.pipelines.options import EnhanceSettings, preference_from_json

#: The folder of the shipped presets.
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Preset:
    """A named look.

    Attributes:
        name: of a shipped one, or the file.
        about: its use, in a line.
        preference: values by name, None where the model chooses ("auto").
        strength: how much of the change is made, in [0, 1]; None: all of it.
        exposure_shift: added to the exposure that the model would choose, in [-1, 1]; a named exposure takes its place.
        reward: term -> weight, see `rlenhance.pipelines.reward_weights`.
    """

    name: str
    about: str
    preference: Mapping[str, float | None]
    strength: float | None
    exposure_shift: float = 0.0
    reward: Mapping[str, float] = field(default_factory=dict)


def shipped_presets() -> list[Preset]:
    """The shipped presets, sorted by name."""
    return [_read(path, path.stem) for path in sorted(FOLDER.glob("*.json"))]


def load_preset(name: str) -> Preset:
    """A shipped preset by its name, or one of the user's by its file (*.json).

    Raises:
        UnknownName: no shipped one has the name.
        UsageError: a file that cannot be read, an unknown key, a value of another type or outside its range.

    Example:
        >>> load_preset("subtle").strength
        0.5
    """
    if name.lower().endswith(".json"):
        return _read(Path(name), name)
    known = [path.stem for path in FOLDER.glob("*.json")]
    if name not in known:
        raise UsageError(f"{UnknownName('preset', name, known)}; one of your own is named by its file, as in "
                         f"mine.json")
    return _read(FOLDER / f"{name}.json", name)


def _read(path: Path, name: str) -> Preset:
    asking = ("preference", "exposure_shift", "reward", "strength")
    found = read_object(path, ("about", *asking))
    if not set(asking) & set(found):
        raise UsageError(f"{path}: asks for nothing; give {', '.join(map(json.dumps, asking))} or several")
    with naming(path):
        strength = EnhanceSettings(strength=found["strength"]).strength if "strength" in found else None
        shift = EnhanceSettings(exposure_shift=found.get("exposure_shift", 0.0)).exposure_shift
        preference, reward = preference_from_json(found.get("preference", {})), _weights(found.get("reward", {}))
        if shift and ("exposure" in reward or preference.get("exposure_level") is not None):
            raise UsageError("exposure_shift is added to the exposure that the model chooses: leave it out, or the "
                             "exposure_level and the weight of exposure")
        return Preset(name, text("about", found.get("about", "")), preference, strength, shift, reward)


def _weights(found: Any) -> dict[str, float]:
    if not isinstance(found, dict) or not all(type(weight) in (int, float) for weight in found.values()):
        raise UsageError(f'reward must be an object of numbers, as in {{"exposure": 1.2}}; got {found!r:.60}')
    return found

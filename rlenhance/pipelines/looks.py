"""Looks: settings of photographs in a JSON file, which may depend on the photograph.

A look has a model and is chosen anew for every photograph. A recipe is a look with a decision: it repeats one result to
the last byte. A preset is a look without a model; some are shipped, in `presets` beside this file.

    {"kind": "rlenhance look", "version": 1, "about": {"use": "For paper."}, "settings": {"exposure_shift": 0.1}}

The files of version 0.2 are read too: recipes, and presets, which had no kind.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlenhance.core import __version__
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.json_files import naming, read_object, text
from rlenhance.pipelines.look_functions import KNOBS, STATISTICS, LinearFunction, statistics, with_knobs
from rlenhance.pipelines.options import PREFERENCES, PRESETS, EnhanceSettings, from_json, to_json

if TYPE_CHECKING:
    import numpy as np

KIND, VERSION = "rlenhance look", 1
RECIPE_0_2 = "rlenhance recipe"
_KEYS = ("kind", "version", "decision", "model", "sha256", "denoiser", "denoiser_sha256", "settings", "functions",
         "reward", "about", "made_with")
_LARGEST = 1e6  # a number in a function
#: Settings of a preset: what every model may take.
_OF_PRESETS = ("preference", "exposure_shift", "strength")
_RENAMED = {"natural": "soft"}  # presets: former name -> name
_SETTINGS_0_2 = (*_OF_PRESETS, "denoise", "white", "steps", "table")
_RECIPE_0_2 = ("kind", "version", "model", "sha256", "preference", "strength")  # needed
_MADE = {"look": "rlenhance learn and rlenhance taste write one",
         "recipe": "rlenhance enhance writes one with --save-recipe, and a look of your own is a preset",
         "preset": "it has settings and no model"}

#: What a look is for.
Kind = Literal["look", "recipe", "preset"]


@dataclass(frozen=True)
class Look:
    """Settings of photographs, and the model that they are for.

    Attributes:
        model: name of a shipped model, or a path as it was given; "": every model that takes them (a preset).
        sha256: of its weights; "" without a model.
        settings: the constant part; preferences that are left out have the model's default.
        functions: knob -> its function, see `rlenhance.pipelines.look_functions.KNOBS`; they replace the constant part.
        about: how it was made: JSON, for the reader; "use" of a preset is what it is for, in a line.
        decision: "own" or "shared": the settings are those of a result, which only the same weights repeat (a recipe);
            "shared": one decision was made for all photographs, and the same ones are needed. "": chosen anew.
        denoiser: a named denoiser, as `model`; "": the shipped ones.
        denoiser_sha256: of its weights.
        reward: of a preset: term -> weight, see `rlenhance.pipelines.reward_weights`.
        made_with: versions that the last bit may depend on ("rlenhance", "numpy", "device").
        name: of a shipped preset, or the file of one; it is in no file.
    """

    model: str
    sha256: str
    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    functions: Mapping[str, LinearFunction] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    decision: str = ""
    denoiser: str = ""
    denoiser_sha256: str = ""
    reward: Mapping[str, float] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=lambda: {"rlenhance": __version__})
    name: str = field(default="", compare=False)

    @property
    def kind(self) -> Kind:
        """What it is for."""
        return "recipe" if self.decision else "look" if self.model else "preset"

    @property
    def use(self) -> str:
        """What a preset is for, in a line; may be empty."""
        return str(self.about.get("use", ""))

    def settings_for(self, pixels: np.ndarray) -> EnhanceSettings:
        """The settings for a picture (H, W, 3), uint8, uint16 or float in [0, 1]."""
        if not self.functions:
            return self.settings
        found = statistics(pixels)
        return with_knobs(self.settings, {name: function(found) for name, function in self.functions.items()})

    def changed(self, given: Mapping[str, Any]) -> Look:
        """The look with the fields of `EnhanceSettings` that are given, which no longer depend on the picture.

        Preferences are given by name and the others stay; an exposure level is not shifted unless a shift is given.
        """
        named = dict(given.get("preference") or {})
        shift = {"exposure_shift": 0.0} if named.get("exposure_level") is not None else {}
        changes = {**shift, **given, "preference": {**self.settings.preference, **named}}
        fixed = {*changes, *named} | ({"warmth"} if "white" in given else set())
        return replace(self, settings=replace(self.settings, **changes), functions={
            name: function for name, function in self.functions.items() if name not in fixed})

    def check_model(self, sha256: str, ranges: Mapping[str, Any]) -> str:
        """Check that a model takes the knobs that depend on the picture.

        Args:
            sha256: of its weights.
            ranges: its preferences.

        Returns:
            A sentence where the look was made with other weights; else "".

        Raises:
            UsageError: names the knob.
        """
        from rlenhance.pipelines.preference_text import check_preferences

        for knob in self.functions:
            name = "exposure_level" if knob == "exposure_shift" else knob
            if name in PREFERENCES and name not in ranges:
                check_preferences({name: 0.0}, ranges)
        return "" if sha256 == self.sha256 else (
            f"this look was made with {self.model}, whose weights had the SHA-256 {self.sha256[:12]}...; these have "
            f"{sha256[:12]}...: pictures may differ, so learn the look again")

    def to_json(self) -> str:
        """The text of the file."""
        settings = to_json(self.settings)
        found = {
            "kind": KIND, "version": VERSION, "decision": self.decision, "model": self.model, "sha256": self.sha256,
            "denoiser": self.denoiser, "denoiser_sha256": self.denoiser_sha256,
            "settings": settings if self.model else {name: settings[name] for name in _OF_PRESETS},
            "functions": {name: {"bias": function.bias, "weights": dict(function.weights)}
                          for name, function in self.functions.items()},
            "reward": dict(self.reward), "about": dict(self.about), "made_with": dict(self.made_with)}
        return json.dumps({key: value for key, value in found.items() if value}, indent=2, ensure_ascii=False) + "\n"


def load_look(path: Path, kind: Kind = "look") -> Look:
    """Read a look.

    Args:
        path: its file.
        kind: what it is needed for.

    Raises:
        UsageError: a file that cannot be read, is no look of that kind, lacks a key, has an unknown one, or a value of
            another type or outside its range; the message names file, key and value.
    """
    found = read_object(path)
    with naming(path):
        return replace(look_from_json(found, kind), name=str(path))


def look_from_json(found: Any, kind: Kind = "look") -> Look:
    """A look from what `rlenhance.core.json_files.parse_json` gives.

    Raises:
        UsageError: see `load_look`.
    """
    found = _object("a look", found)
    if found.get("kind") == RECIPE_0_2 and kind == "recipe":
        found = _from_recipe_0_2(found)
    elif "kind" not in found and kind == "preset":
        found = _from_preset_0_2(found)
    elif found.get("kind") != KIND:
        raise UsageError(f"not a {kind} (kind is {found.get('kind')!r:.60}, not {KIND!r}); {_MADE[kind]}")
    if found.get("version") != VERSION or isinstance(found["version"], bool):
        raise UsageError(f"version {found.get('version')!r:.60} of looks is not known; this rlenhance reads version "
                         f"{VERSION}")
    _only(found, _KEYS)
    preset = not {"decision", "model", "sha256"} & {*found}
    needed = ["settings"] if preset else ["model", "sha256", "settings"]
    if missing := [key for key in needed if found.get(key) in (None, "")]:
        raise UsageError(f"lacks {', '.join(missing)}")
    settings = _object("settings", found["settings"], _OF_PRESETS if preset else None)
    words = {key: text(key, found.get(key, "")) for key in ("model", "denoiser", "sha256", "denoiser_sha256")}
    for name, digits in (("model", "sha256"), ("denoiser", "denoiser_sha256")):
        if words[name] and not re.fullmatch("[0-9a-f]{64}", words[digits]):
            raise UsageError(f"{digits} must be 64 hexadecimal digits; got {found.get(digits)!r:.60}")
        words[digits] = words[digits] if words[name] else ""
    functions = {name: _function(name, value)
                 for name, value in _object("functions", found.get("functions", {}), KNOBS).items()}
    if "table_gain" in functions and settings.get("table") is None:
        raise UsageError("functions table_gain needs a table in the settings")
    made_with = found.get("made_with", {})
    made_with = {"rlenhance": made_with} if isinstance(made_with, str) else _object("made_with", made_with)
    decision = found.get("decision", "")
    if decision not in ("", "own", "shared"):
        raise UsageError(f"decision must be own or shared; got {decision!r:.60}")
    look = Look(**words, settings=from_json(EnhanceSettings, settings), functions=functions,
                about=_object("about", found.get("about", {})), decision=decision, reward=_weights(found),
                made_with={name: text(f"made_with {name}", value) for name, value in made_with.items()})
    _check_kind(look, kind, not {*settings, *look.reward})
    return look


def _check_kind(look: Look, kind: Kind, empty: bool) -> None:
    """Refuse another kind, and parts that the kind does not have."""
    if look.kind != kind:
        raise UsageError(f"is a {look.kind}, not a {kind}; {_MADE[kind]}")
    unused = {"functions": kind != "look" and look.functions, "reward": kind != "preset" and look.reward,
              "denoiser": kind != "recipe" and look.denoiser}
    if several := [name for name, there in unused.items() if there]:
        raise UsageError(f"a {kind} has no {', '.join(several)}; leave {'it' if len(several) == 1 else 'them'} out")
    if kind == "preset":
        if empty:
            words = ", ".join(f'"{name}"' for name in (*_OF_PRESETS, "reward"))
            raise UsageError(f"asks for nothing; give {words} or several")
        named = look.settings.preference.get("exposure_level") is not None
        if look.settings.exposure_shift and ("exposure" in look.reward or named):
            raise UsageError("exposure_shift is added to the exposure that the model chooses: leave it out, or the "
                             "exposure_level and the weight of exposure")


def save_look(look: Look, path: Path) -> Path:
    """Write a look atomically.

    Raises:
        UsageError: the place cannot be written.
    """
    from rlenhance.io.files import write_bytes

    return write_bytes(look.to_json().encode("utf-8", "backslashreplace"), path)


def shipped_presets() -> list[Look]:
    """The shipped presets, sorted by name."""
    return [load_preset(path.stem) for path in sorted(PRESETS.glob("*.json"))]


def load_preset(name: str) -> Look:
    """A shipped preset by its name, or one of the user's by its file (*.json).

    Raises:
        UnknownName: no shipped one has the name.
        UsageError: see `load_look`.

    Example:
        >>> load_preset("subtle").settings.strength
        0.5
    """
    if name.lower().endswith(".json"):
        return load_look(Path(name), "preset")
    if name in _RENAMED:
        warnings.warn(f"the preset {name} is called {_RENAMED[name]} now, as a model has its former name", stacklevel=2)
        name = _RENAMED[name]
    known = [path.stem for path in PRESETS.glob("*.json")]
    if name not in known:
        raise UsageError(f"{UnknownName('preset', name, known)}; one of your own is named by its file, as in "
                         f"mine.json")
    return replace(load_look(PRESETS / f"{name}.json", "preset"), name=name)


def _from_recipe_0_2(found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe of version 0.2 or 0.1 as they are now."""
    _only(found, (*_RECIPE_0_2, *_SETTINGS_0_2, "together", "denoiser", "denoiser_sha256", "made_with"))
    if missing := [key for key in _RECIPE_0_2 if key not in found]:
        raise UsageError(f"not a recipe (lacks {', '.join(missing)})")
    together, version = found.get("together", False), text("version", found["version"])
    if not isinstance(together, bool):
        raise UsageError(f"together must be true or false; got {together!r:.60}")
    older = {"denoise": 0.0, "white": 0.0}  # of versions without them
    return {
        "kind": KIND, "version": VERSION, "decision": "shared" if together else "own",
        "settings": older | {key: found[key] for key in _SETTINGS_0_2 if key in found},
        "made_with": {"rlenhance": version, **_object("made_with", found.get("made_with", {}))},
        **{key: found[key] for key in ("model", "sha256", "denoiser", "denoiser_sha256") if key in found}}


def _from_preset_0_2(found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a preset of version 0.2 as they are now."""
    _only(found, ("about", *_OF_PRESETS, "reward"))
    return {"kind": KIND, "version": VERSION, "about": {"use": text("about", found.get("about", ""))},
            "settings": {key: found[key] for key in _OF_PRESETS if key in found},
            **({"reward": found["reward"]} if "reward" in found else {})}


def _weights(found: Mapping[str, Any]) -> dict[str, float]:
    weights = found.get("reward", {})
    if not isinstance(weights, dict) or not all(type(weight) in (int, float) for weight in weights.values()):
        raise UsageError(f'reward must be an object of numbers, as in {{"exposure": 1.2}}; got {weights!r:.60}')
    return weights


def _function(knob: str, found: Any) -> LinearFunction:
    given = _object(f"functions {knob}", found, ("bias", "weights"))
    weights = _object(f"functions {knob} weights", given.get("weights", {}), STATISTICS)
    return LinearFunction(_number(f"functions {knob} bias", given.get("bias")), {
        name: _number(f"functions {knob} weights {name}", value) for name, value in weights.items()})


def _object(key: str, value: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{key} must be an object, {{...}}; got {value!r:.60}")
    if names is not None:
        _only(value, names, f"{key}: ")
    return value


def _only(found: Mapping[str, Any], names: Iterable[str], place: str = "") -> None:
    for key in found:
        if key not in names:
            raise UsageError(f"{place}{UnknownName('key', key, names)}")


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        raise UsageError(f"{key} must be a number, {_LARGEST:g} at most; got {value!r:.60}")
    return float(value)

"""Looks: settings that may depend on the photograph, in a JSON file.

A recipe repeats one result. A look is chosen anew for every photograph: its exposure is relative to the automatic one,
and a knob may be a linear function of statistics of the picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlenhance.core import __version__
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.json_files import naming, read_object, text
from rlenhance.pipelines.color_table import MOST_GAIN
from rlenhance.pipelines.options import PREFERENCES, EnhanceSettings, from_json, to_json

if TYPE_CHECKING:
    import numpy as np

KIND, VERSION = "rlenhance look", 1
_NEEDED = ("kind", "version", "model", "sha256", "settings")
_KEYS = (*_NEEDED, "functions", "about", "made_with")
_DAYLIGHT = 6504.0  # kelvin
_SIDE = 128  # pixels of the picture that is looked at
_LARGEST = 1e6  # a number in a function

#: What a look may set: name -> (lowest, default, highest). `exposure_shift` is added to the automatic exposure;
#: `warmth` is in mired: 1e6/6504 K less 1e6/K of the light that is made daylight, so that above 0 the picture becomes
#: warmer; `table_gain` is that of the colour table, in stops; the others are preferences and settings of their names.
KNOBS: Mapping[str, tuple[float, float, float]] = {
    "exposure_shift": (-0.3, 0.0, 0.3), "contrast": (-1.0, 0.0, 1.0), "color": (-1.0, 0.0, 1.0),
    "highlights": (0.0, 0.0, 1.0), "smoothness": (0.0, 0.0, 1.0), "strength": (0.0, 1.0, 1.0),
    "denoise": (0.0, 0.5, 1.0), "warmth": (-245.0, 0.0, 70.0), "table_gain": (-MOST_GAIN, 0.0, MOST_GAIN)}


class Statistic(NamedTuple):
    """A number that is measured in a picture.

    Attributes:
        about: what it is, with its unit.
        mean, deviation: over photographs, dark and well exposed ones; functions take (value - mean) / deviation.
    """

    about: str
    mean: float
    deviation: float


#: The statistics by name. None depends on the resolution, so that a preview and the whole photograph get the same
#: settings. The means and deviations belong to the version of the file.
STATISTICS: Mapping[str, Statistic] = {
    "level": Statistic("mean brightness, 0 to 1", 0.2, 0.16),
    "stops": Statistic("mean logarithm of the luminance, in stops", -5.9, 1.9),
    "spread": Statistic("standard deviation of that logarithm, in stops", 1.8, 0.6),
    "dark": Statistic("share of the picture below 0.1", 0.5, 0.3),
    "bright": Statistic("share of the picture with a channel above 0.8", 0.05, 0.08),
    "saturation": Statistic("difference of the largest and the smallest channel, over the largest", 0.25, 0.15),
    "automatic": Statistic("automatic exposure, 0 to 1", 0.47, 0.05),
    "warmth": Statistic("warmth of the light, log of red over blue", 0.0, 0.4),
    "tint": Statistic("magenta (above 0) or green tint of the light", 0.0, 0.08),
}
#: Standardised statistics are clipped to this, so that an odd picture does not throw a knob.
CLIP = 2.5


@dataclass(frozen=True)
class LinearFunction:
    """A knob as a function of the picture: bias + the sum of weights times standardised statistics.

    Attributes:
        bias: its value for a picture of mean statistics.
        weights: statistic -> change of the knob per standard deviation.
    """

    bias: float
    weights: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, found: Mapping[str, float]) -> float:
        """The value for the `statistics` of a picture."""
        return self.bias + sum(weight * standardised(name, found[name]) for name, weight in self.weights.items())


@dataclass(frozen=True)
class Look:
    """A model, settings, and the knobs that depend on the picture.

    Attributes:
        model: name of a shipped model, or a path.
        sha256: of its weights.
        settings: the constant part.
        functions: knob -> its function, see `KNOBS`; they replace the constant part.
        about: how it was made: JSON, for the reader.
        version: of rlenhance.
    """

    model: str
    sha256: str
    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    functions: Mapping[str, LinearFunction] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

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
        return json.dumps({
            "kind": KIND, "version": VERSION, "model": self.model, "sha256": self.sha256,
            "settings": to_json(self.settings),
            "functions": {name: {"bias": function.bias, "weights": dict(function.weights)}
                          for name, function in self.functions.items()},
            "about": dict(self.about), "made_with": self.version}, indent=2, ensure_ascii=False) + "\n"


def with_knobs(settings: EnhanceSettings, values: Mapping[str, float]) -> EnhanceSettings:
    """Settings with knobs of `KNOBS` at these values, clipped to their ranges; others stay.

    Example:
        >>> with_knobs(EnhanceSettings(), {"contrast": 2, "warmth": -153.2}).white
        3257.8
    """
    clipped = {name: min(max(float(value), KNOBS[name][0]), KNOBS[name][2]) for name, value in values.items()}
    changes: dict[str, Any] = {name: round(value, 4) for name, value in clipped.items()
                               if name not in PREFERENCES and name not in ("warmth", "table_gain")}
    if "table_gain" in clipped:
        if settings.table is None:
            raise UsageError("table_gain is the gain of a colour table, and there is none: leave it out")
        changes["table"] = replace(settings.table, gain=round(clipped["table_gain"], 4))
    if "warmth" in clipped:
        kelvin = 1e6 / (1e6 / _DAYLIGHT - clipped["warmth"])
        changes["white"] = round(min(max(kelvin, 2500.0), 12000.0), 1) if abs(clipped["warmth"]) > 0.5 else 0.0
    preference = {name: round(value, 4) for name, value in clipped.items() if name in PREFERENCES}
    return replace(settings, preference={**settings.preference, **preference}, **changes)


def warmth_of(kelvin: float) -> float:
    """The knob `warmth`, in mired, of a light of a temperature that is made daylight.

    Example:
        >>> round(warmth_of(3257.8), 1)
        -153.2
    """
    return 1e6 / _DAYLIGHT - 1e6 / kelvin


def standardised(name: str, value: float) -> float:
    """A statistic in standard deviations from its mean, clipped to `CLIP`."""
    about = STATISTICS[name]
    return min(max((value - about.mean) / about.deviation, -CLIP), CLIP)


def statistics(pixels: np.ndarray) -> dict[str, float]:
    """The `STATISTICS` of a picture (H, W, 3), uint8, uint16 or float in [0, 1]."""
    import numpy as np

    from rlenhance.core.pixels import linear_from_srgb, resized_planes
    from rlenhance.ops.plane_statistics import auto_exposure
    from rlenhance.ops.white_balance import estimate_lights, warmth_and_tint

    planes = resized_planes(pixels, _SIDE)[0]
    small = planes.transpose(1, 2, 0)
    level, top = small.mean(axis=2), small.max(axis=2)
    stops = np.log2(linear_from_srgb(level) + 2.0**-10)
    warmth, tint = warmth_and_tint(estimate_lights(small)).mean(axis=0)
    found = {
        "level": level.mean(), "stops": stops.mean(), "spread": stops.std(), "dark": (level < 0.1).mean(),
        "bright": (top > 0.8).mean(), "saturation": (top - small.min(axis=2)).mean() / (top.mean() + 1e-3),
        "automatic": auto_exposure(planes).item(), "warmth": warmth, "tint": tint}
    return {name: float(value) for name, value in found.items()}


def load_look(path: Path) -> Look:
    """Read a look.

    Raises:
        UsageError: a file that cannot be read, is no look, lacks a key, has an unknown one, or a value of another type
            or outside its range; the message names file, key and value.
    """
    found = read_object(path)
    with naming(path):
        return look_from_json(found)


def look_from_json(found: Any) -> Look:
    """A look from what `rlenhance.core.json_files.parse_json` gives.

    Raises:
        UsageError: see `load_look`.
    """
    found = _object("a look", found)
    if found.get("kind") != KIND:
        raise UsageError(f"not a look (kind is {found.get('kind')!r:.60}, not {KIND!r}); rlenhance learn and rlenhance "
                         f"taste write one")
    if found.get("version") != VERSION or isinstance(found["version"], bool):
        raise UsageError(f"version {found.get('version')!r:.60} of looks is not known; this rlenhance reads version "
                         f"{VERSION}")
    _only(found, _KEYS)
    if missing := [key for key in _NEEDED if key not in found]:
        raise UsageError(f"lacks {', '.join(missing)}")
    if not re.fullmatch("[0-9a-f]{64}", text("sha256", found["sha256"])):
        raise UsageError(f"sha256 must be 64 hexadecimal digits; got {found['sha256']!r:.60}")
    functions = {name: _function(name, value)
                 for name, value in _object("functions", found.get("functions", {}), KNOBS).items()}
    settings = from_json(EnhanceSettings, _object("settings", found["settings"]))
    if "table_gain" in functions and settings.table is None:
        raise UsageError("functions table_gain needs a table in the settings")
    return Look(text("model", found["model"]), found["sha256"], settings, functions,
                _object("about", found.get("about", {})), text("made_with", found.get("made_with", "")))


def save_look(look: Look, path: Path) -> Path:
    """Write a look atomically.

    Raises:
        UsageError: the place cannot be written.
    """
    from rlenhance.io.files import write_bytes

    return write_bytes(look.to_json().encode("utf-8", "backslashreplace"), path)


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

"""Preferences in words: as flags, in lists of what a model takes, and in errors."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.pipelines.options import AUTO, PREFERENCE_FLAGS, PREFERENCES


def preferences_as_flags(text: str) -> str:
    """A message with the flags of preferences in the place of their names.

    Example:
        >>> preferences_as_flags("this model takes no contrast; it takes exposure_level 0.2 to 0.7 (auto)")
        'this model takes no --contrast; it takes --exposure 0.2 to 0.7 (auto)'
    """
    return re.sub(rf"(?<![\w./-])({'|'.join(PREFERENCES)})(?![\w./=-])", lambda found: PREFERENCE_FLAGS[found[1]],
                  text) if not re.search("unknown (preference|reward term)", text) else text


def describe_preferences(ranges: Mapping[str, Sequence[float]], auto: Container[str] = (), flags: bool = False) -> str:
    """The preferences of a model in a line: ranges, defaults in brackets.

    Args:
        ranges: name -> (lowest, default, highest).
        auto: the names for which it can choose itself, which is their default.
        flags: by their flags.

    Example:
        >>> describe_preferences({"exposure_level": (0.3, 0.475, 0.65)}, flags=True)
        '--exposure 0.3 to 0.65 (0.475)'
        >>> describe_preferences({"exposure_level": (0.2, 0.475, 0.7), "color": (-1, 0, 1)}, auto=["exposure_level"])
        'exposure_level auto or 0.2 to 0.7 (auto), color -1 to 1 (0)'
        >>> describe_preferences({})
        'no preferences'
    """
    names = PREFERENCE_FLAGS if flags else {}
    words = [f"{names.get(name, name)} {f'{AUTO} or ' * (name in auto)}{low:g} to {high:g} "
             f"({AUTO if name in auto else format(default, 'g')})" for name, (low, default, high) in ranges.items()]
    return ", ".join(words) or "no preferences"


def format_preferences(preference: Mapping[str, float | None], strength: float = 1.0,
                       exposure_shift: float = 0.0) -> str:
    """Preferences as flags.

    Example:
        >>> format_preferences({"contrast": 0.45}, 0.85, -0.1)
        '--exposure-shift -0.1 --contrast 0.45 --strength 0.85'
    """
    words = [f"{PREFERENCE_FLAGS.get(name, name)} {AUTO if value is None else format(value, 'g')}"
             for name, value in preference.items()]
    shift = [f"--exposure-shift {exposure_shift:g}"] if exposure_shift else []
    return " ".join(shift + words + ([] if strength == 1 else [f"--strength {strength:g}"]))


def check_preferences(preference: Mapping[str, float | None], ranges: Mapping[str, Sequence[float]],
                      auto: Container[str] = ()) -> None:
    """Refuse the preferences that a model does not take.

    Args:
        preference: values by name, None where the model chooses.
        ranges: those of the model, name -> (lowest, default, highest).
        auto: the names for which it can choose itself.

    Raises:
        UsageError: names the preference and those that the model takes.
    """
    for name, value in preference.items():
        if name not in ranges:
            if ranges and name not in PREFERENCES:
                raise UnknownName("preference", name, ranges)
            raise UsageError(f"this model takes no {name}; it takes {describe_preferences(ranges, auto)}")
        low, _, high = ranges[name]
        if value is None and name not in auto:
            raise UsageError(f"{name} {AUTO}: this model does not choose it by itself; give a number from {low:g} to "
                             f"{high:g}, or leave it out")
        if value is not None and not low <= value <= high:
            raise UsageError(f"{name} must lie between {low:g} and {high:g}, the range this model was trained for; "
                             f"got {value:g}")

"""The knobs of the command line: which preference each one turns, and what a model takes of them."""

from __future__ import annotations

import argparse
from collections.abc import Container, Mapping, Sequence

from rlenhance.core.errors import UnknownName, UsageError

#: A preference that the model shall choose itself, as it stands in files and on the command line; None in a mapping.
AUTO = "auto"
#: Preference -> the option that asks for it.
OPTIONS = {"exposure_level": "--exposure", "contrast": "--contrast", "color": "--color", "smoothness": "--smoothness",
           "highlights": "--highlights"}
#: Preference -> what it is, for the help.
ABOUT = {
    "exposure_level": "how bright: mean brightness of the result, 0 to 1, or auto: what the picture suggests",
    "contrast": "bright and dark regions farther apart (up to 1) or closer together (down to -1); 0: as it is",
    "color": "stronger colours (up to 1) or paler ones (down to -1); 0: as it is",
    "smoothness": "0 to 1: at 1 one curve for the whole picture, at 0 each region as it needs",
    "highlights": "0 to 1: how much lamps, windows and sky are held back",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """An option per knob; each is None where it is not given, else a number or "auto"."""
    for name, word in OPTIONS.items():
        level = name == "exposure_level"
        parser.add_argument(word, type=number_or_auto if level else float, metavar="LEVEL|auto" if level else "X",
                            help=f"{ABOUT[name]} (range and default: the model's, see `rlenhance models`)")


def number_or_auto(word: str) -> float | str:
    """A number, or "auto"."""
    try:
        return AUTO if word == AUTO else float(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a number, as in 0.45, or {AUTO}; got {word!r}") from error


def asked(arguments: argparse.Namespace) -> dict[str, float | None]:
    """What the options ask for, by preference: None for "auto"; what is not given is left out."""
    given = {name: getattr(arguments, word.lstrip("-")) for name, word in OPTIONS.items()}
    return {name: None if value == AUTO else value for name, value in given.items() if value is not None}


def option(name: str) -> str:
    """How a preference is asked for: "--exposure" for "exposure_level"; one without an option keeps its name."""
    return OPTIONS.get(name, name)


def describe(ranges: Mapping[str, Sequence[float]], auto: Container[str] = ()) -> str:
    """What a model takes, in a line: ranges, defaults in brackets.

    Args:
        ranges: name -> (lowest, default, highest).
        auto: the names for which it can choose itself, which is their default.

    Example:
        >>> describe({"exposure_level": (0.3, 0.475, 0.65)})
        '--exposure 0.3 to 0.65 (0.475)'
        >>> describe({"exposure_level": (0.2, 0.475, 0.7), "color": (-1, 0, 1)}, auto=["exposure_level"])
        '--exposure auto or 0.2 to 0.7 (auto), --color -1 to 1 (0)'
        >>> describe({})
        'no knobs'
    """
    words = [f"{option(name)} {f'{AUTO} or ' * (name in auto)}{low:g} to {high:g} "
             f"({AUTO if name in auto else format(default, 'g')})" for name, (low, default, high) in ranges.items()]
    return ", ".join(words) or "no knobs"


def as_options(preference: Mapping[str, float | None], strength: float | None = None) -> str:
    """The same choices as one would type them.

    Example:
        >>> as_options({"exposure_level": 0.45}, 0.85)
        '--exposure 0.45 --strength 0.85'
    """
    words = [f"{option(name)} {AUTO if value is None else format(value, 'g')}" for name, value in preference.items()]
    return " ".join(words + ([] if strength is None else [f"--strength {strength:g}"]))


def check_taken(preference: Mapping[str, float | None], ranges: Mapping[str, Sequence[float]],
                auto: Container[str] = ()) -> None:
    """Refuse the choices that a model does not know; their ranges are checked where they are encoded.

    Args:
        preference: values by name, None where the model shall choose.
        ranges: what the model takes, name -> (lowest, default, highest).
        auto: the names for which it can choose itself.

    Raises:
        UsageError: names the choice and what the model does take.
    """
    for name, value in preference.items():
        if name not in ranges:
            if ranges and name not in OPTIONS:
                raise UnknownName("preference", name, ranges)
            raise UsageError(f"this model takes no {option(name)} ({name}); it takes {describe(ranges, auto)}")
        if value is None and name not in auto:
            low, _, high = ranges[name]
            raise UsageError(f"{option(name)} {AUTO}: this model does not choose it by itself; give a number from "
                             f"{low:g} to {high:g}, or leave it out")

"""The knobs of the command line: which preference each one turns, and what a model takes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Preference -> the option that asks for it.
OPTIONS = {"exposure_level": "--exposure"}


def option(name: str) -> str:
    """How a preference is asked for: "--exposure" for "exposure_level"; one without an option keeps its name."""
    return OPTIONS.get(name, name)


def describe(ranges: Mapping[str, Sequence[float]]) -> str:
    """What a model takes, in a line.

    Args:
        ranges: name -> (lowest, default, highest).

    Example:
        >>> describe({"exposure_level": (0.3, 0.475, 0.65)})
        '--exposure 0.3 to 0.65'
        >>> describe({})
        'no knobs'
    """
    return ", ".join(f"{option(name)} {low:g} to {high:g}" for name, (low, _, high) in ranges.items()) or "no knobs"

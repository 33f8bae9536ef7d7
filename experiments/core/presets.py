"""Presets: recipes by name. The settings of a command line begin with one of them, and its options beat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from rlenhance.core.errors import UnknownName
from rlenhance.experiments.core.config import leaves, replaced


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes:
        about: what it is, in a few words, for the help.
        settings: the settings in which it differs from the defaults of the configuration: path with dots -> value.
    """

    about: str
    settings: Mapping[str, Any]


def preset_option(presets: Mapping[str, Preset]) -> Any:
    """The help of an option that takes a preset: the presets and what they are."""
    known = "; ".join(f"{name}: {preset.about}" for name, preset in presets.items())
    return tyro.conf.arg(help_behavior_hint=lambda default: f"({known}; default: {default})")


def begin_with(kind: Any, name: str | None = None) -> Any:
    """A configuration with the settings of a preset.

    Args:
        kind: a class of configurations with a class attribute `presets` and a setting `preset`.
        name: of the preset; None: the default one.

    Raises:
        UnknownName: no such preset; the text lists those that there are.
    """
    config = kind()
    if name is None:
        return config
    if name not in kind.presets:
        raise UnknownName("preset", name, kind.presets)
    place = next(path for path, _ in leaves(config) if path.rpartition(".")[2] == "preset")
    return replaced(config, {**kind.presets[name].settings, place: name})


def named_options(words: Sequence[str]) -> frozenset[str]:
    """The options on a command line, as settings are called: without hyphens, and without the "no-" of flags."""
    names = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return frozenset(names | {name.removeprefix("no_") for name in names})


def preset_in(words: Sequence[str]) -> str | None:
    """The preset that a command line names; None where it names none."""
    for place, word in reversed(list(enumerate(words))):
        name, sign, value = word.partition("=")
        if name == "--preset":
            following = words[place + 1] if place + 1 < len(words) else None
            return value if sign else following
    return None

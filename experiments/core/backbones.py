"""Backbones on a command line: a name, arguments as name=value, and those of a run to begin with."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import parse_json
from rlenhance.learning.models.warm_start import backbone_recipe
from rlenhance.learning.nn.backbones import BACKBONES, Backbone

#: What makes a run that policies can begin with.
RESTORE_COMMANDS = ("python -m rlenhance.experiments.network_train gated_pixelrnn --data FOLDER   "
                    "(or convlstm_autoencoder, combined)")

N = TypeVar("N")

#: The network that uses a backbone sets them; policies have no batch normalisation, a warm start folds it.
_OWN = ("self", "channels", "context", "batch_norm")
_FIELDS = ("backbone", "backbone_args")


def backbone_spec(name: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """The recipe of a backbone with arguments as they are typed, each name=value; a sequence as in 2,4,8.

    Raises:
        UnknownName: no such backbone.
        UsageError: an argument that it does not have, a value of another kind.

    Example:
        >>> backbone_spec("gated_pixelrnn", ("width=16", "dilations=1,1,1"))
        {'name': 'gated_pixelrnn', 'width': 16, 'dilations': (1, 1, 1)}
    """
    takes = {key: part.default for key, part in inspect.signature(BACKBONES[name]).parameters.items()
             if key not in _OWN}
    known = ", ".join(f"{key}={_written(value)}" for key, value in takes.items())
    spec: dict[str, Any] = {"name": name}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or key not in takes:
            raise UsageError(f"--backbone-args {word}: {name} takes {known or 'none'}")
        several = isinstance(takes[key], list | tuple)
        try:
            values = tuple(_read(part) for part in text.split(","))
            if not several and len(values) > 1:
                raise ValueError
        except ValueError as error:
            raise UsageError(f"--backbone-args {word}: a value is written as in {known}") from error
        spec[key] = values if several else values[0]
    return spec


def backbone_words(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of a recipe as `backbone_spec` reads them."""
    return tuple(f"{key}={_written(value)}" for key, value in recipe.items() if key != "name")


def with_backbone_of(settings: N, backbone: Backbone, run: Path, named: Collection[str] = ()) -> N:
    """The settings of a network, with the backbone of a run that it is to begin with.

    Args:
        settings: a dataclass with fields `backbone` and `backbone_args`.
        backbone: the run's.
        run: its folder, for the message.
        named: settings that were asked for even where they have their default.

    Raises:
        UsageError: another backbone was asked for, or the same with other arguments.
    """
    recipe = backbone_recipe(backbone)
    given: Any = settings
    made: Any = dataclasses.replace(given, backbone=recipe["name"], backbone_args=backbone_words(recipe))
    plain = type(given)()
    asked = [name for name in _FIELDS if name in named or getattr(given, name) != getattr(plain, name)]
    own, wanted = made.backbone, given.backbone
    others = [f"--backbone {wanted}"] if "backbone" in asked and wanted != own else []
    if not others and "backbone_args" in asked:
        chosen = backbone_words(backbone_spec(own, given.backbone_args))
        others = [f"--backbone-args {word}" for word in chosen if word not in made.backbone_args]
    if others:
        raise UsageError(f"{' and '.join(others)}: --warm-start {run} brings its own backbone, "
                         f"{own} with {' '.join(made.backbone_args) or 'no arguments'}; leave the option out")
    return made


def _read(text: str) -> Any:
    """A number, true or false, or else a word."""
    try:
        return parse_json(text, "a setting of the backbone")
    except UsageError:
        if not text.isidentifier():
            raise ValueError(text) from None
        return text


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_written, value))
    return value if isinstance(value, str) else json.dumps(value)

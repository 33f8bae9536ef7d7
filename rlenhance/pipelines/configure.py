"""From the words of `rlenhance enhance` to an Enhancer: options, references, presets, recipes.

Where several name the same thing, a knob wins over the reference, the reference over the preset, and the preset over
the model's default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rlenhance.core.devices import AUTO, find_device
from rlenhance.core.errors import UsageError, check_unit_interval
from rlenhance.core.image import to_tensor
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import find_checkpoint
from rlenhance.io import read
from rlenhance.metrics.style import clamp_to_ranges, measure
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import OPTIONS, as_options, asked, describe
from rlenhance.pipelines.presets import Preset, load_preset
from rlenhance.pipelines.recipes import Recipe, load_recipe

#: Options that a recipe settles.
_SETTLED = ("--preset", "--match", *OPTIONS.values(), "--strength", "--denoise", "--steps", "--together",
            "--save-recipe")


def set_up(arguments: argparse.Namespace) -> tuple[Enhancer, Recipe]:
    """The Enhancer that was asked for, and the recipe that makes it again.

    Raises:
        UsageError: something that the model cannot do, or that contradicts itself.
    """
    if arguments.recipe:
        return _replayed(arguments)
    preset = load_preset(arguments.preset) if arguments.preset is not None else Preset("", "", {}, None)
    strength = preset.strength if arguments.strength is None else check_unit_interval("strength", arguments.strength)
    model = model_or_default(arguments.model)
    enhancer = Enhancer(model, steps=arguments.steps, device=check_device(arguments.device),
                        strength=1.0 if strength is None else strength, denoise=arguments.denoise or 0.0)
    options = asked(arguments)
    chosen = {**_from_reference(arguments.match, options, enhancer), **options}
    enhancer.choose({**_from_preset(preset, chosen, enhancer), **chosen})
    if arguments.together:
        enhancer.check_shares()
    return enhancer, recipe_of(enhancer, model, arguments.steps, bool(arguments.together))


def recipe_of(enhancer: Enhancer, model: Path | str, steps: int | None = None, together: bool = False) -> Recipe:
    """The recipe that makes again what an Enhancer makes.

    Args:
        model: how it was named.
        steps, together: see `Recipe`.
    """
    return Recipe(str(model), weights.sha256(enhancer.folder / weights.MODEL), enhancer.preference, enhancer.strength,
                  steps, together, enhancer.denoise, made_with=_made_with(enhancer))


def model_or_default(model: str | None) -> Path | str:
    """The model that was named; else the shipped default; else the newest run.

    Raises:
        UsageError: none is named, shipped or trained.
    """
    return model if model is not None else weights.default_model() or newest_run()


def newest_run(root: Path = Path("runs/lol")) -> Path:
    """The checkpoint of the newest run.

    Raises:
        UsageError: there is none.
    """
    found = sorted(root.glob("*/best/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"no trained model in {root}: train one with python -m experiments.lol_train (five minutes), "
                         f"or name one with --model RUN/best")
    return found[-1].parent


def _replayed(arguments: argparse.Namespace) -> tuple[Enhancer, Recipe]:
    """What a recipe says.

    Raises:
        UsageError: an option that the recipe settles; a model that is not there, or has other weights.
    """
    path = arguments.recipe
    others = [word for word in _SETTLED if getattr(arguments, word.lstrip("-").replace("-", "_")) is not None]
    if others:
        raise UsageError(f"--recipe settles all that makes the result; leave out {', '.join(others)} (to change "
                         f"something, give the options without --recipe)")
    recipe, device = load_recipe(path), check_device(arguments.device)
    model = recipe.model if arguments.model is None else arguments.model
    try:
        folder = find_checkpoint(weights.locate(model))
    except UsageError as error:
        raise UsageError(f"{path}: {error}; --model names another place of the same weights") from error
    recipe.check_weights(path, model, weights.sha256(folder / weights.MODEL))
    try:
        enhancer = Enhancer(model, device=device, steps=recipe.steps, preference=recipe.preference,
                            strength=recipe.strength, denoise=recipe.denoise)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    differing = recipe.differences(_made_with(enhancer))
    if differing:
        print(f"note: {path}: {differing}; the result may differ", file=sys.stderr)
    return enhancer, recipe


def _from_preset(preset: Preset, options: Mapping[str, Any], enhancer: Enhancer) -> dict[str, float | None]:
    """What a preset asks for beside the options that win over it.

    Raises:
        UsageError: the model cannot obey; names the preset, the knob, and the options that would do.
    """
    wanted = {name: value for name, value in preset.preference.items() if name not in options}
    try:
        enhancer.choose(wanted)
    except UsageError as error:
        taken = {name: value for name, value in wanted.items() if _takes(enhancer, name, value)}
        rest = as_options(taken, preset.strength) if len(taken) < len(wanted) else ""
        raise UsageError(f"preset {preset.name}: {error}{rest and f'; what it does take of it: {rest}'}") from error
    return wanted


def _takes(enhancer: Enhancer, name: str, value: float | None) -> bool:
    try:
        enhancer.choose({name: value})
    except UsageError:
        return False
    return True


def _from_reference(path: Path | None, options: Mapping[str, Any], enhancer: Enhancer) -> dict[str, float | None]:
    """What a picture asks for beside the options that win over it; it is told, as is what had to be moved.

    Raises:
        UsageError: the picture cannot be read, or the model takes nothing that is measured.
    """
    if path is None:
        return {}
    measured = measure(to_tensor(read(path).visible_pixels))
    values, moved = clamp_to_ranges({name: value for name, value in measured.items() if name not in options},
                                enhancer.ranges)
    if not set(measured) & set(enhancer.ranges):
        raise UsageError(f"--match {path}: a picture tells {', '.join(measured)}, and this model takes "
                         f"{describe(enhancer.ranges, enhancer.auto)}")
    for sentence in moved:
        print(f"note: {path}: {sentence}", file=sys.stderr)
    if values:
        print(f"{path}: {as_options(values)}")
    return dict(values)


def _made_with(enhancer: Enhancer) -> dict[str, str]:
    return {"torch": str(torch.__version__), "device": enhancer.device.type}


def check_device(name: str) -> str:
    """Give back the name of a device that is there; the best of them for "auto", which is told.

    Raises:
        UsageError: it is not; the text names those that are.
    """
    device = str(find_device(name))
    if name == AUTO:
        print(f"device: {device}")
    return name

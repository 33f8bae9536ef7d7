"""Recipes: a result is written down as a look with a decision, and repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped
from rlenhance.hub.migrate import SHIPPED_0_1
from rlenhance.pipelines.looks import Look, load_look

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer


def make_recipe(enhancer: Enhancer, model: Path | str, shared_decision: bool = False) -> Look:
    """What repeats the results of an Enhancer; `model` is the name that it was built with."""
    denoiser = enhancer.denoiser
    return Look(str(model), enhancer.sha256, enhancer.settings, decision="shared" if shared_decision else "own",
                denoiser=str(denoiser.named or ""), denoiser_sha256=denoiser.sha256 if denoiser.named else "",
                made_with=_made_with(enhancer))


def replay_recipe(path: Path, model: Path | str | None = None, *, device: str = "cpu",
                  on_note: Callable[[str], None] = print) -> tuple[Enhancer, Look]:
    """The Enhancer of a recipe.

    Args:
        path: its file.
        model: another place of the same weights; None: the recipe's.
        device: see `Enhancer`.
        on_note: called where the recipe was made with other versions.

    Raises:
        UsageError: the recipe cannot be read; the model is missing, or has other weights.
    """
    from rlenhance.pipelines.enhance import Enhancer

    recipe = load_look(path, "recipe")
    model = recipe.model if model is None else model
    try:
        enhancer = Enhancer(model, denoiser=recipe.denoiser or None, device=device)
    except UsageError as error:
        raise UsageError(f"{path}: {error}; name another place of the same weights as the model") from error
    _check_weights(path, recipe, str(model), enhancer)
    try:
        enhancer = enhancer.with_settings(recipe.settings)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    now = _made_with(enhancer)
    differing = [f"{name} {then} then and {now[name]} now" for name, then in recipe.made_with.items()
                 if now.get(name, then) != then]
    if differing:
        on_note(f"{path}: {', '.join(differing)}; the result may differ")
    return enhancer, recipe


def _check_weights(path: Path, recipe: Look, model: str, enhancer: Enhancer) -> None:
    """Raise UsageError where the weights of `model`, or of the denoiser, are not those of the recipe."""
    seen, denoiser_seen = enhancer.sha256, enhancer.denoiser.sha256
    if recipe.denoiser and denoiser_seen != recipe.denoiser_sha256:
        raise UsageError(f"{path}: was made with the denoiser {recipe.denoiser} of the SHA-256 "
                         f"{recipe.denoiser_sha256}; there now are weights with {denoiser_seen}: put the former back")
    former = f"{SHIPPED_0_1.get(recipe.sha256)}/{shipped.MODEL}"  # stored under other names since
    if seen not in (recipe.sha256, shipped.read_sums(shipped.FOLDER).get(former)):
        raise UsageError(f"{path}: was made with {recipe.model}, whose weights have the SHA-256 {recipe.sha256}; "
                         f"{model} has {seen}: name the right one as the model")


def _made_with(enhancer: Enhancer) -> dict[str, str]:
    import numpy as np

    return {"rlenhance": __version__, "numpy": np.__version__, "device": enhancer.device.partition(":")[0]}

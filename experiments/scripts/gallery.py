"""Pictures of what a model does, from the sample photographs:
`python -m experiments.scripts.gallery MODEL -o docs/images/gallery`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from experiments.core.cli import run_cli
from rlenhance.core.errors import UsageError
from rlenhance.core.image import limit_side, to_array, to_tensor
from rlenhance.core.visualize import action_colors, grid
from rlenhance.data import RELIGHT_KINDS, Darken, ImageCache, Relight, as_jpeg
from rlenhance.data.datasets import SAMPLE_ROLES, sample_path
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import load_model
from rlenhance.io import write
from rlenhance.models import GreedyEpisode
from rlenhance.pipelines.enhance import Enhancer

_SIDE = 140
_EXPOSURES = (1 / 4, 1 / 16)


@dataclass(frozen=True)
class Arguments:
    """Before and after, the actions step by step, a sweep of every knob, dark JPEGs with and without their noise."""

    model: Annotated[str, tyro.conf.Positional]
    """A shipped model's name, a run, or a checkpoint: a policy."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("gallery")
    """Folder for before_after.jpg, steps.jpg, knob_NAME.jpg and denoise.jpg."""
    side: int = _SIDE
    """Side of each small picture in pixels."""


def scenes() -> dict[str, Tensor]:
    """The sample photographs, dark and unevenly lit, the same at every call: name -> (1, 3, H, W)."""
    found: dict[str, Tensor] = {}
    cache = ImageCache()  # 8 bits, whatever the file has
    for number, name in enumerate(SAMPLE_ROLES):
        good = cache.load(sample_path(name))
        kind = RELIGHT_KINDS[number % len(RELIGHT_KINDS)]
        made: list[tuple[str, Darken | Relight]] = [
            (f"{name} 1/{round(1 / exposure)}", Darken(exposure, exposure)) for exposure in _EXPOSURES]
        made.append((f"{name} {kind}", Relight(kind, 3.5, 3.5)))
        for label, degradation in made:
            rng = np.random.default_rng([number, len(found)])
            found[label] = limit_side(to_tensor(degradation(good, rng)), 512)
        found[f"{name} as it is"] = limit_side(to_tensor(good), 512)
    return found


def main(arguments: Arguments) -> list[Path]:
    """Write the pictures; returns their places.

    Raises:
        UsageError: not a policy.
    """
    model = load_model(weights.locate(arguments.model))
    if not isinstance(model, GreedyEpisode):
        raise UsageError(f"{arguments.model}: acts in one pass and has no steps to show; name a policy")
    pictures = scenes()
    with torch.inference_mode():
        pairs = [part for picture in pictures.values() for part in (picture, model(picture))]
        sheets = {"before_after": [pairs[i : i + 8] for i in range(0, len(pairs), 8)]}
        some = [picture for label, picture in pictures.items() if not label.endswith("as it is")]
        sheets["steps"] = [_steps(model, picture, arguments.side) for picture in some[1::3]]
        for name, (low, _, high) in model.policy.preferences.ranges.items():
            asked = [low + (high - low) * i / 4 for i in range(5)]
            sheets[f"knob_{name}"] = [[picture, *(_asked(model, picture, {name: value}) for value in asked)]
                                      for picture in some[1::6]]
    if model.policy.state_size:
        sheets["denoise"] = noisy_rows(arguments.model, arguments.side)
    arguments.out.mkdir(parents=True, exist_ok=True)
    places = []
    for name, rows in sheets.items():
        place = arguments.out / f"{name}.jpg"
        write(to_array(grid(rows, arguments.side)), place)
        places.append(place)
        print(place)
    return places


def noisy_rows(model: str, side: int) -> list[list[Tensor]]:
    """Of every sample photograph a part as large as the sheet shows it, taken in a sixteenth of its light and coded as
    JPEG of quality 85: as the policy brightens it, with half and all of its noise taken, and the good one."""
    enhancers = [Enhancer(model, denoise=share) for share in (0.0, 0.5, 1.0)]
    rows, cache = [], ImageCache()
    for number, name in enumerate(SAMPLE_ROLES):
        good = to_array(limit_side(to_tensor(cache.load(sample_path(name))), 512))
        dark = as_jpeg(Darken(1 / 16, 1 / 16)(good, np.random.default_rng(number)), 85)
        top, left = ((length - side) // 2 for length in good.shape[:2])
        rows.append([to_tensor(result[max(0, top) :, max(0, left) :][:side, :side])
                     for result in (*(enhancer(dark) for enhancer in enhancers), good)])
    return rows


def _asked(model: GreedyEpisode, picture: Tensor, preference: Mapping[str, float]) -> Tensor:
    return model(picture, preference=preference)


def _steps(model: GreedyEpisode, picture: Tensor, side: int) -> list[Tensor]:
    """Input, map of the first handle and result of every second step."""
    episode, row, image = model.play(picture), [picture], picture
    for number, action in enumerate(episode.actions, start=1):
        image = model.render(image, [action])
        if number % 2 == 0:
            row += [action_colors(model.policy.actions.magnitude(action)[:, :1], (side, side)), image]
    return row


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

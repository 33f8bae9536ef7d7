"""Pictures of what a model does, from the sample photographs:
`python -m experiments.scripts.gallery MODEL -o docs/images/gallery`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import write
from rlenhance.io.contact_sheet import Cell, make_sheet
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import RELIGHT_KINDS, Darken, ImageCache, Relight, as_jpeg
from rlenhance.learning.data.datasets import SAMPLE_ROLES
from rlenhance.learning.hub.checkpoint import load_model
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.ops.image import limit_side, to_array, to_tensor
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.explain import gain_cell

_SIDE = 140
_GAIN = 2.0  # stops at which the colour of a gain is full
_EXPOSURES = (1 / 4, 1 / 16)


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


def main(model: Annotated[str, tyro.conf.Positional],
         out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("gallery"), side: int = _SIDE) -> list[Path]:
    """Before and after, the actions step by step, sweeps of every preference, dark JPEGs with and without noise.

    Args:
        model: A shipped model's name, a run, or a checkpoint: a policy.
        out: Folder for before_after.jpg, overview.jpg, steps.jpg, knob_NAME.jpg and denoise.jpg.
        side: Side of each small picture in pixels.
    """
    episode = load_model(model)
    if not isinstance(episode, GreedyEpisode):
        raise UsageError(f"{model}: acts in one pass and has no steps to show; name a policy")
    pictures = scenes()
    with torch.inference_mode():
        sheets = {"before_after": [row for label, picture in pictures.items()
                                   for row in ((label, picture), ("enhanced", episode(picture)))]}
        dark = [(label, picture) for label, picture in pictures.items() if not label.endswith("as it is")]
        darkest = dark[1::3]
        command = Enhancer(model)
        sheets["overview"] = [row for label, picture in darkest for row in (
            (label, picture), ("rlenhance", to_tensor(command(to_array(picture)))))]
        sheets["steps"] = [row for label, picture in darkest for row in _steps(episode, label, picture, side)]
        for name, (low, _, high) in episode.policy.preferences.ranges.items():
            values = [low + (high - low) * i / 4 for i in range(5)]
            sheets[f"knob_{name}"] = [row for label, picture in darkest[::2] for row in (
                (label, picture), *((f"{name} {value:g}", episode(picture, preference={name: value}))
                                    for value in values))]
    columns = {"before_after": 8, "overview": 4, "steps": 9}
    if episode.policy.decision_size:
        sheets["denoise"] = noisy_rows(model, side)
        columns["denoise"] = 4
    out.mkdir(parents=True, exist_ok=True)
    places = []
    for name, row in sheets.items():
        cells = [Cell(to_array(picture), (label,)) for label, picture in row]
        size = 2 * side if name == "overview" else side
        places.append(write(make_sheet(cells, columns.get(name, 6), size), out / f"{name}.jpg"))
        print(places[-1])
    return places


def noisy_rows(model: str, side: int) -> list[tuple[str, Tensor]]:
    """Of every sample photograph a part as large as the sheet shows it, taken in a sixteenth of its light and coded as
    JPEG of quality 85: as the policy brightens it, with half and all of its noise taken, and the good one."""
    enhancers = [Enhancer(model, denoise=share) for share in (0.0, 0.5, 1.0)]
    labels = ("enhanced", "--denoise 0.5", "--denoise 1", "in good light")
    row, cache = [], ImageCache()
    for number, name in enumerate(SAMPLE_ROLES):
        good = to_array(limit_side(to_tensor(cache.load(sample_path(name))), 512))
        dark = as_jpeg(Darken(1 / 16, 1 / 16)(good, np.random.default_rng(number)), 85)
        top, left = ((length - side) // 2 for length in good.shape[:2])
        results = (*(enhancer(dark) for enhancer in enhancers), good)
        row += [(label, to_tensor(result[max(0, top) :, max(0, left) :][:side, :side]))
                for label, result in zip(labels, results, strict=True)]
    return row


def _steps(model: GreedyEpisode, label: str, picture: Tensor, side: int) -> list[tuple[str, Tensor]]:
    """Input, and of every second step how much brighter each place became by two steps, and the picture after them."""
    actions, row, before = model.run(picture).actions, [(label, picture)], to_array(limit_side(picture, side))
    for number in range(2, len(actions) + 1, 2):
        image = model.render(picture, actions[:number])
        after = to_array(limit_side(image, side))
        gain = gain_cell(before, after, _GAIN)
        row += [(f"gain, {number - 1} and {number}", to_tensor(gain.pixels)), (f"after step {number}", image)]
        before = after
    return row


if __name__ == "__main__":
    sys.exit(run_cli(main))

"""Scores of RL-Restore's released policy: `python -m research.rl_restore_scores WEIGHTS --data DIR`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.published_weights import read_rl_restore
from rlenhance.experiments.tasks.clean_pictures import load_clean
from rlenhance.io import read
from rlenhance.learning.data import MixedDamage
from rlenhance.learning.data.mixed_damage import Level
from rlenhance.learning.data.sampler import rng_of
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models.published.rl_restore import PATCH
from rlenhance.learning.ops.image import to_tensor
from rlenhance.tools import toolkit

_Set = tuple[Tensor, Tensor, list[str]]  # damaged patches, references, and the picture of each
_STRIDE = 96  # between patches, as in the released data: a multiple of JPEG's blocks


@dataclass(frozen=True)
class Arguments:
    """Score RL-Restore's policy with its tools, on patches of photographs with its distortions and on its sample pairs.

    Whole photographs are damaged, and patches of 63x63 pixels cut out of them, 96 pixels apart, as the authors did.
    """

    weights: Annotated[Path, tyro.conf.Positional]
    """The folder of plain arrays: tool01.npz to tool12.npz, policy.npz, and samples/ if it is there."""
    data: tuple[Path, ...] = ()
    """Folders of good photographs, whose test split is taken; none: the bundled one that is not trained on."""
    levels: tuple[Level, ...] = ("mild", "moderate", "severe")
    """Levels of damage."""
    steps: int = 3
    """The most tools in a chain."""
    limit: int = 100
    """Photographs at most."""
    seed: int = 0
    """Of the damage."""


def main(arguments: Arguments) -> dict[str, list[float]]:
    """Print the table; name of the row -> mean PSNR of the input and after each step."""
    policy = read_rl_restore(arguments.weights / "policy.npz")
    tools = toolkit("rl-restore", arguments.weights)
    sets: dict[str, _Set] = {level: _patches(arguments, level) for level in arguments.levels}
    for level in arguments.levels:
        found = _samples(arguments.weights / "samples", level)
        if found is not None:
            sets[f"samples/{level}"] = found
    scores, rows = dict[str, list[float]](), []
    for name, (image, target, pictures) in sets.items():
        trace = policy.run(image, tools, arguments.steps)
        values = [psnr(step, target).double() for step in (image, *(picture for _, picture in trace))]
        chosen = torch.cat([choices for choices, _ in trace])
        cost = sum(tools[choice].cost for choice in chosen.tolist() if choice < len(tools))
        gain = bootstrap_interval((values[-1] - values[0]).tolist(), pictures)
        scores[name] = [value.mean().item() for value in values]
        rows.append([name, str(len(image)), *(f"{mean:.2f}" for mean in scores[name]),
                     f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})", f"{cost / len(image):.2f}"])
    steps = [f"step {number + 1}" for number in range(arguments.steps)]
    print("\n".join(markdown_table(["", "patches", "input", *steps, "gain (95 % over pictures)", "s/MP"], rows)))
    return scores


def _patches(arguments: Arguments, level: Level) -> _Set:
    """Damaged patches, their references, and the picture of each."""
    data, damage = load_clean(arguments.data), MixedDamage(level)
    images, targets, pictures = [], [], []
    for number, example in enumerate((data.splits.test or data.splits.val)[: arguments.limit]):
        pixels = example.load(data.cache)[1]
        assert pixels is not None
        clean = to_tensor(pixels)
        damaged, _ = damage(clean, rng_of(arguments.seed, number))
        for top in range(0, clean.shape[-2] - PATCH + 1, _STRIDE):
            for left in range(0, clean.shape[-1] - PATCH + 1, _STRIDE):
                box = (..., slice(top, top + PATCH), slice(left, left + PATCH))
                if psnr(damaged[box], clean[box]) <= 50:  # smoother ones are left out, as the authors do
                    images.append(damaged[box])
                    targets.append(clean[box])
                    pictures.append(example.scene)
    if not images:
        raise UsageError(f"no photograph of the test split has {PATCH}x{PATCH} pixels; name larger ones with --data")
    return torch.cat(images), torch.cat(targets), pictures


def _samples(folder: Path, level: str) -> _Set | None:
    """The sample pairs of a level, where there are some."""
    damaged, clean = (sorted((folder / f"{level}_{kind}").glob("*.png")) for kind in ("in", "gt"))
    if not damaged or len(damaged) != len(clean):
        return None
    images, targets = (torch.cat([to_tensor(read(path).pixels) for path in paths]) for paths in (damaged, clean))
    return images, targets, [path.stem for path in clean]


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

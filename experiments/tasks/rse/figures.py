"""Pictures of self-enhancement: the groups of codes, every step of an episode, and what recursions come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlenhance.experiments.tasks.rse.model import run_passes
from rlenhance.io import write
from rlenhance.io.contact_sheet import Cell, make_sheet
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import PixelPolicy, build_model
from rlenhance.learning.ops.image import center_crop, to_array

_POINTS, _SHOWN = 4000, 7  # codes that are drawn, and patches of a group that are shown
_SIDE, _LEAST = 256, 170  # pixels of a picture that are shown, and the least for a cell: its label


def draw_steps(path: Path, batches: Sequence[Batch], names: Sequence[str], stages: Any) -> None:
    """A sheet: each picture as it came, after the autoencoder alone, after each step of the first policy, after each
    recursion's last step, and clean.

    Args:
        batches: of one picture each.
        stages: `rlenhance.experiments.tasks.rse.stages.Stages` that have run.
    """
    cells: list[Cell] = []
    columns = 0
    for batch, name in zip(batches, names, strict=True):
        row = _row(batch, name, stages)
        cells += row
        columns = len(row)
    side = max(_LEAST, *(max(cell.pixels.shape[:2]) for cell in cells))
    write(make_sheet(cells, columns, side), path)


@torch.no_grad()
def _row(batch: Batch, name: str, stages: Any) -> list[Cell]:
    assert batch.target is not None
    image, target = batch.image.to(stages.device), batch.target
    made: list[tuple[str, Tensor]] = [("noisy", image)]
    made.append(("autoencoder alone", run_passes(stages.first.network, image, 1)[-1]))
    for number, policy in enumerate(stages.policies):
        states = build_model(policy).run(image).states[1:]
        if number == 0:
            made += [(f"after step {step + 1}", state) for step, state in enumerate(states)]
        else:
            made.append((f"recursion {number}", states[-1]))
    labelled = [((label, f"{psnr(picture.cpu(), target).item():.2f} dB"), picture) for label, picture in made]
    return [Cell(to_array(center_crop(picture, _SIDE).cpu()), label)
            for label, picture in [*labelled, (("clean", name), target)]]


def draw_recursions(path: Path, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Every row's PSNR, SSIM and UQI, the noisy pictures left out: means over the pictures, and a bar of two standard
    errors."""
    plt = _pyplot()
    shown = {name: row for name, row in rows.items() if name != "noisy"}
    figure, axes = plt.subplots(1, 3, figsize=(13, 1.2 + 0.36 * len(shown)), sharey=True)
    places = np.arange(len(shown))
    for axis, (score, title) in zip(axes, (("psnr", "PSNR in dB"), ("ssim", "SSIM"), ("uqi", "UQI")), strict=True):
        values = [np.asarray(row[score]) for row in shown.values()]
        errors = [2 * value.std() / max(1, len(value) - 1) ** 0.5 for value in values]
        axis.errorbar([value.mean() for value in values], places, xerr=errors, fmt="o", markersize=4, capsize=2)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        axis.ticklabel_format(axis="x", useOffset=False)
        axis.tick_params(axis="x", labelsize=8)
    axes[0].set_yticks(places, list(shown), fontsize=8)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


@torch.no_grad()
def draw_groups(path: Path, policy: PixelPolicy, batches: Sequence[Batch]) -> None:
    """Clean codes on their two main axes, coloured by group; beside them what the centre of each group shows, and the
    patches whose codes are nearest to it.

    Args:
        batches: pictures that the bank was filled from.
    """
    plt = _pyplot()
    moves: Any = policy.actions
    patches = _some_patches(moves, batches).to(moves.bank.codes.device)
    code, _ = moves.autoencoder.encode(patches)
    flat, groups = code.flatten(1), moves.bank.assign_clusters(code)
    mean = flat.mean(dim=0)
    _, _, main_axes = torch.linalg.svd(flat - mean, full_matrices=False)
    middles = moves.bank.centres.flatten(1)
    points, centres = (((part - mean) @ main_axes[:2].mT).cpu().numpy() for part in (flat, middles))
    shown, count = moves.autoencoder.decode(moves.bank.centres).clamp(0, 1), len(middles)
    figure = plt.figure(figsize=(12, max(4.0, 0.62 * count)))
    grid = figure.add_gridspec(count, _SHOWN + 6)
    plane = figure.add_subplot(grid[:, :5])
    colors = plt.get_cmap("tab20")(np.arange(count) % 20)
    plane.scatter(*points.T, s=4, c=colors[groups.cpu().numpy()], alpha=0.5, linewidths=0)
    plane.scatter(*centres.T, s=60, c=colors, marker="X", edgecolors="black")
    plane.set_title(f"{len(code)} clean codes, {count} groups", fontsize=10)
    for group in range(count):
        distance = torch.where(groups == group, (flat - middles[group]).norm(dim=1), torch.inf)
        nearest = distance.argsort()[: min(_SHOWN, int((groups == group).sum()))]
        row = torch.cat([shown[group : group + 1], patches[nearest]]).cpu().permute(0, 2, 3, 1).numpy()
        for column, patch in enumerate(row):
            cell = figure.add_subplot(grid[group, 5 + column])
            cell.imshow(patch, interpolation="nearest")
            cell.set_xticks([])
            cell.set_yticks([])
            for side in cell.spines.values():
                side.set_color(colors[group])
                side.set_linewidth(2.5 if column == 0 else 0.8)
            if group == 0 and column < 2:
                cell.set_title(("centre", "nearest")[column], fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _some_patches(moves: Any, batches: Sequence[Batch]) -> Tensor:
    """Clean patches of pictures, evenly spread: (M, 3, b, b)."""
    total = sum(math.prod(moves.blocks.grid(*batch.image.shape[-2:])) for batch in batches)
    step = max(1, total // _POINTS)
    return torch.cat([moves.blocks.extract(batch.target)[::step] for batch in batches if batch.target is not None])


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt

"""How networks that restore are scored, and what a run of one leaves beside its checkpoints."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.core.run import Run
from rlenhance.core.visualize import grid
from rlenhance.data import Batch
from rlenhance.io.files import write_atomically
from rlenhance.metrics.full_reference import masked_psnr, psnr
from rlenhance.ops.harmonic_fill import harmonic_fill

_SHOWN = 4  # pictures of a sample grid


def baseline_output(batch: Batch) -> Tensor:
    """What is there without a network: the membrane, the bicubic enlargement, or the picture itself."""
    if batch.mask is not None:
        return harmonic_fill(batch.image, batch.mask)
    assert batch.target is not None
    if batch.target.shape == batch.image.shape:
        return batch.image
    return F.interpolate(batch.image, batch.target.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


def run_eval(network: nn.Module, batch: Batch) -> Tensor:
    """The network's result on its device, in use: clipped, on the CPU."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    with torch.no_grad():
        parts = [batch.image] if batch.mask is None else [batch.image, batch.mask]
        result = network(*(part.to(device) for part in parts)).float().cpu()
    network.train(training)
    return result


def score(output: Tensor, batch: Batch) -> float:
    """PSNR in dB: of the hole alone where there is one."""
    assert batch.target is not None
    found = psnr(output, batch.target) if batch.mask is None else masked_psnr(output, batch.target, batch.mask)
    return float(found.mean())


def validate(network: nn.Module, pictures: Sequence[Batch]) -> dict[str, float]:
    """`val/psnr`: mean over pictures, see `score`."""
    found = [score(run_eval(network, batch), batch) for batch in pictures]
    return {"val/psnr": sum(found) / len(found)}


class RestoreArtifacts:
    """What is left beside best/ and last/ after each validation: samples, the log by epochs, checkpoints, curves.

    Args:
        pictures: validation pictures; the first ones are shown.
        steps: updates of an epoch.
        every: epochs between checkpoints that are kept, 0 for none.
    """

    def __init__(self, pictures: Sequence[Batch], steps: int, every: int):
        self.pictures, self.steps, self.every = pictures[:_SHOWN], steps, every

    def __call__(self, network: nn.Module, run: Run, step: int) -> None:
        shown = [[batch.image[:1] for batch in self.pictures],
                 [run_eval(network, batch)[:1] for batch in self.pictures],
                 [batch.target[:1] for batch in self.pictures if batch.target is not None]]
        run.log_image("completed" if self.pictures[0].mask is not None else "restored", grid(shown, 128), step)
        epochs = epoch_means(run.rows, self.steps)
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(["epoch", "learning_rate", "l1", "ssim", "total"])
        writer.writerows([[row["epoch"], *(_shown(row.get(name)) for name in
                                           ("optim/lr", "train/l1", "train/ssim", "loss"))] for row in epochs])
        write_atomically(run.path / "epochs.tsv", text.getvalue().encode())
        epoch = step // self.steps
        if self.every and step and step % (self.every * self.steps) == 0:
            run.save(f"checkpoints/epoch-{epoch:04d}", network, {"step": step, "epoch": epoch})
        run.draw_curves(panels={"loss": ["loss", "loss/mse", "loss/l1", "loss/ssim", "loss/psnr"],
                                "validation PSNR in dB": ["val/psnr"]})


def epoch_means(rows: Sequence[Mapping[str, Any]], steps: int) -> list[dict[str, float]]:
    """Of each whole epoch, the mean of everything that was logged at its updates; the rate is that of its end."""
    means = []
    for epoch in range(1, max((row["step"] for row in rows), default=0) // steps + 1):
        part = [row for row in rows if (epoch - 1) * steps < row["step"] <= epoch * steps]
        names = {name for row in part for name in row} - {"step"}
        values = {name: [row[name] for row in part if name in row] for name in names}
        means.append({"epoch": epoch, **{name: sum(found) / len(found) for name, found in values.items()},
                      "optim/lr": part[-1].get("optim/lr", 0.0)})
    return means


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"

"""What `restore_train` needs of each network: its own settings, its pictures, its scores and its samples."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.core.dataset import Dataset
from experiments.core.run import Run
from rlenhance.core.visualize import grid
from rlenhance.data import (
    Batch,
    CompletionSampler,
    Downscale,
    Example,
    ImageCache,
    SuperResolutionSampler,
    load_completion,
    load_super_resolution,
    open_clean,
    open_completion,
    open_super_resolution,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.io.files import write_atomically
from rlenhance.metrics.full_reference import hole_psnr, psnr
from rlenhance.ops.harmonic_fill import harmonic_fill

_SHOWN = 4  # pictures of a sample grid


@dataclass(frozen=True)
class Own:
    """The settings with which a network was published, or that serve it best: what 0 stands for on the command line.

    Attributes:
        size: side of the pictures in pixels (of the small ones, where a network enlarges).
        epochs, batch_size, learning_rate: of the training.
        loss: weights of the loss's terms, see `SupervisedConfig`.
        ssim_radius, average: see `SupervisedConfig`.
        final: share of the learning rate at the end.
    """

    size: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: Mapping[str, float]
    ssim_radius: int = 5
    average: float = 0.0
    final: float = 1.0


#: Networks that `restore_train` trains.
OWN = {
    "gated_pixelrnn": Own(128, 200, 4, 1e-4, {"l1": 0.8, "ssim": 0.2}, ssim_radius=3),
    "convlstm_autoencoder": Own(256, 20, 16, 1e-3, {"mse": 0.8, "ssim": 0.2}),
    "prior": Own(128, 400, 16, 1e-3, {"psnr": 1.0}, average=0.998, final=0.02),
    "combined": Own(48, 200, 16, 1e-4, {"mse": 1.0}, average=0.999, final=0.1),
}


@dataclass
class Task:
    """Pictures to learn from and to judge on.

    Attributes:
        pictures: splits and cache.
        train: those that are drawn from.
        batch: update and count -> batch.
        load: an example -> the batch that is judged.
        about: a line on the pictures.
    """

    pictures: Dataset
    train: Sequence[Example]
    batch: Callable[[int, int], Batch]
    load: Callable[[Example], Batch]
    about: str

    def validation(self, limit: int) -> list[Batch]:
        """Pictures that choose best/, evenly spread over the split."""
        part = self.pictures.splits.val
        return [self.load(part[i * len(part) // limit]) for i in range(limit)] if len(part) > limit else \
            [self.load(example) for example in part]


def hole_task(data: Path | None, size: int, holes: str, seed: int) -> Task:
    """Completing: originals with holes made anew in each; judged on the pairs' true holes, at `size` x `size`.

    Raises:
        UsageError: see `open_completion` and `validate_splits`.
    """
    cache = ImageCache()
    splits, skipped = validate_splits(open_completion(data, 0), cache)
    line = splits.describe()
    if data is not None:
        splits, alike = without_near_duplicates(splits, cache)
        line = f"{alike}\n{splits.describe()}"
    sampler = CompletionSampler(splits.train, cache, size, holes=holes, seed=seed)
    return Task(Dataset(splits, cache, skipped), splits.train, sampler.batch,
                lambda example: load_completion(example, cache, size), line)


def pair_task(data: Path | None, size: int, downscale: Downscale, seed: int) -> Task:
    """Restoring: pairs, or good pictures that are shrunk when they are drawn.

    Raises:
        UsageError: see `open_super_resolution` and `validate_splits`.
    """
    cache = ImageCache()
    splits = open_clean(None) if data is None else open_super_resolution(data)
    splits, _ = validate_splits(splits, cache, scale=downscale.scale)
    sampler = SuperResolutionSampler(splits.train, cache, size, downscale, seed=seed)
    return Task(Dataset(splits, cache, []), splits.train, sampler.batch,
                lambda example: load_super_resolution(example, cache, downscale), splits.describe())


def plainly(batch: Batch) -> Tensor:
    """What is there without a network: the membrane, the bicubic enlargement, or the picture itself."""
    if batch.mask is not None:
        return harmonic_fill(batch.image, batch.mask)
    assert batch.target is not None
    if batch.target.shape == batch.image.shape:
        return batch.image
    return F.interpolate(batch.image, batch.target.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


def completed(network: nn.Module, batch: Batch) -> Tensor:
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
    found = psnr(output, batch.target) if batch.mask is None else hole_psnr(output, batch.target, batch.mask)
    return float(found.mean())


def validate(network: nn.Module, pictures: Sequence[Batch]) -> dict[str, float]:
    """`val/psnr`: mean over pictures, see `score`."""
    found = [score(completed(network, batch), batch) for batch in pictures]
    return {"val/psnr": sum(found) / len(found)}


class Keeper:
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
                 [completed(network, batch)[:1] for batch in self.pictures],
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

"""Restoration in one pass: networks that fill holes, clean and enlarge, and how they are trained."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents import Learner, Supervised, SupervisedConfig
from agents.optim import OptimizerConfig
from agents.supervised import supervised_losses
from experiments.core.config import check_budget
from experiments.core.dataset import Dataset
from experiments.core.fit import ArtifactCallback, Budget, Evaluator, FitResult
from experiments.core.published_weights import PICKLES, newest_checkpoint, read_gated_pixelrnn
from experiments.core.run import Run
from experiments.core.task import NO_LIMIT, Session, Task
from experiments.core.train import rlenhance_command
from experiments.tasks.restore_config import (
    LOSS_TERMS,
    RESTORING,
    RecipeDefaults,
    RestoreConfig,
    check_pairs,
    check_read,
    network_arguments,
    recipe,
)
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.visualize import grid
from rlenhance.data import (
    Batch,
    CompletionSampler,
    Downscale,
    Example,
    ImageCache,
    SuperResolutionSampler,
    evenly_spread,
    join_splits,
    load_completion,
    load_super_resolution,
    open_clean,
    open_completion,
    open_super_resolution,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.io.files import write_atomically
from rlenhance.metrics.full_reference import masked_psnr, psnr
from rlenhance.models import MODELS
from rlenhance.ops.harmonic_fill import harmonic_fill
from rlenhance.pipelines.base import COMMANDS

_SHOWN = 4  # pictures of a sample grid


@dataclass(kw_only=True)
class RestoreDataset(Dataset):
    """Pictures to restore.

    Attributes:
        sample: (update, pictures) -> training batch.
        prepare: example -> validation batch.
    """

    sample: Callable[[int, int], Batch]
    prepare: Callable[[Example], Batch]

    def validation(self, limit: int) -> list[Batch]:
        """Pictures that choose best/, evenly spread over the split."""
        return [self.prepare(example) for example in evenly_spread(self.splits.val, limit)]


def open_pictures(config: RestoreConfig) -> RestoreDataset:
    """Pictures with holes, made anew in each update or those of pairs, and validated on the true holes of pairs; of
    `combined`, pairs, or good pictures that are shrunk when they are drawn.
    """
    own, pictures, seed, cache = recipe(config), config.data, config.train.seed, ImageCache()
    size = own.size
    if config.network.model in RESTORING:
        downscale = Downscale(config.network.scale, pictures.blur[1], pictures.blur[0], pictures.noise, pictures.sharp)
        splits = open_clean(None) if pictures.data is None else join_splits(
            [open_super_resolution(folder) for folder in (pictures.data, *pictures.more)])
        splits, skipped = validate_splits(splits, cache, pictures.on_bad_image, downscale.scale)
        splits, about = (splits, "") if pictures.data is None else without_near_duplicates(splits, cache)
        return RestoreDataset(
            splits, cache, skipped, about,
            sample=SuperResolutionSampler(splits.train, cache, size, downscale, seed=seed).batch,
            prepare=lambda example: load_super_resolution(example, cache, downscale))
    splits = open_completion(pictures.data, 0)
    more = [example for folder in pictures.more for example in open_completion(folder, 0).train]
    splits = replace(splits, train=[*splits.train, *(replace(example, image=None) for example in more)])
    splits, skipped = validate_splits(splits, cache, pictures.on_bad_image)
    splits, about = (splits, "") if pictures.data is None else without_near_duplicates(splits, cache)
    paired = all(example.image is not None for example in splits.train)
    masks = own.masks if paired or pictures.masks else "drawn"
    whole: dict[str, Any] = {} if own.varied else {"least": 1.0, "mirrored": False}
    return RestoreDataset(
        splits, cache, skipped, about,
        sample=CompletionSampler(splits.train, cache, size, holes=pictures.holes, seed=seed, masks=masks,
                                 threshold=pictures.mask_threshold, **whole).batch,
        prepare=lambda example: load_completion(example, cache, size, threshold=pictures.mask_threshold))


def baseline_output(batch: Batch) -> Tensor:
    """The result without a network: the membrane, the bicubic enlargement, or the picture itself."""
    if batch.mask is not None:
        return harmonic_fill(batch.image, batch.mask)
    assert batch.target is not None
    if batch.target.shape == batch.image.shape:
        return batch.image
    return F.interpolate(batch.image, batch.target.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


def run_eval(network: nn.Module, batch: Batch) -> Tensor:
    """The network's result on its device in evaluation mode, on the CPU."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    with torch.no_grad():
        parts = [batch.image] if batch.mask is None else [batch.image, batch.mask]
        result = network(*(part.to(device) for part in parts)).float().cpu()
    network.train(training)
    return result


def mean_psnr(model: Callable[[Batch], Tensor], pictures: Sequence[Batch]) -> float:
    """Mean PSNR in dB over pictures: of the hole alone where there is one."""
    scores = []
    for batch in pictures:
        assert batch.target is not None
        output = model(batch)
        found = psnr(output, batch.target) if batch.mask is None else masked_psnr(output, batch.target, batch.mask)
        scores.append(float(found.mean()))
    return sum(scores) / len(scores)


def validate(network: nn.Module, pictures: Sequence[Batch], settings: SupervisedConfig) -> dict[str, float]:
    """Mean PSNR in dB (of the holes, where there are any), and the mean of the loss that is trained."""
    outputs = [run_eval(network, batch) for batch in pictures]
    losses = []
    for output, batch in zip(outputs, pictures, strict=True):
        assert batch.target is not None
        terms, _ = supervised_losses(settings, output, batch.target, batch.mask)
        losses.append(sum(float(term) for term in terms.values()))
    made = iter(outputs)
    return {"val/psnr": mean_psnr(lambda batch: next(made), pictures), "val/loss": sum(losses) / len(losses)}


def supervised_config(own: RecipeDefaults) -> SupervisedConfig:
    """The learner's settings of a recipe.

    Raises:
        UsageError: a number outside its range.
    """
    return SupervisedConfig(**{term: own.loss.get(term, 0.0) for term in LOSS_TERMS},
                            ssim_radius=own.ssim_radius, ssim_padding=own.ssim_padding, over_hole=own.over_hole,
                            ema_decay=own.ema_decay, optimizer=OptimizerConfig(
                                own.learning_rate, own.warmup_steps, own.final_lr_ratio, own.max_grad_norm,
                                own.orthogonal))


class RestoreArtifacts:
    """Writes samples, the log by epochs, checkpoints and curves after each validation.

    Args:
        pictures: validation pictures for the sample grid.
        steps: updates of an epoch.
        every: epochs between checkpoints that are kept, 0 for none.
    """

    def __init__(self, pictures: Sequence[Batch], steps: int, every: int):
        self.pictures, self.steps, self.every = pictures, steps, every

    def __call__(self, network: nn.Module, run: Run, step: int) -> None:
        shown = [[batch.image[:1] for batch in self.pictures],
                 [run_eval(network, batch)[:1] for batch in self.pictures],
                 [batch.target[:1] for batch in self.pictures if batch.target is not None]]
        run.log_image("completed" if self.pictures[0].mask is not None else "restored", grid(shown, 128), step)
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(["epoch", "learning_rate", "l1", "ssim", "total"])
        writer.writerows([row["epoch"], *(f"{row[name]:.6g}" if name in row else "" for name in
                                          ("optim/lr", "train/l1", "train/ssim", "loss"))]
                         for row in epoch_means(run.rows, self.steps))
        write_atomically(run.path / "epochs.tsv", text.getvalue().encode())
        epoch = step // self.steps
        if self.every and step and step % (self.every * self.steps) == 0:
            run.save(f"checkpoints/epoch-{epoch:04d}", network, {"step": step, "epoch": epoch})
        run.draw_curves(panels={"loss": ["loss", "loss/mse", "loss/l1", "loss/ssim", "loss/psnr"],
                                "validation PSNR in dB": ["val/psnr"], "validation loss": ["val/loss"]})


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


class RestoreTask(Task[RestoreConfig, RestoreDataset]):
    """Fill, clean or enlarge in one pass: see docs/howto/restore.md."""

    name = "restore"
    command = "experiments.restore_train"
    Config = RestoreConfig
    registry = {"supervised": Supervised}

    def check(self, config: RestoreConfig, stored: Mapping[str, Any]) -> None:
        own = recipe(config)
        if not stored:
            check_read(config)
        if own.monitor not in ("val/psnr", "val/loss"):
            raise UnknownName("validation score", own.monitor, ("val/psnr", "val/loss"))
        supervised_config(own)
        check_budget(replace(config.train, batch_size=own.batch_size, eval_interval=config.train.eval_interval or 1))

    def dataset(self, config: RestoreConfig) -> RestoreDataset:
        return open_pictures(config)

    def model(self, config: RestoreConfig, data: RestoreDataset) -> Any:
        """The network."""
        return MODELS.create(config.network.model, **network_arguments(config))

    def learner(self, config: RestoreConfig, data: RestoreDataset, device: torch.device,
                fresh: bool = True) -> Learner | None:
        if fresh:
            check_pairs(config, data.splits)
        return super().learner(config, data, device, fresh)

    def initialize(self, network: Any, path: Path) -> None:
        """Also from the files of the gated PixelRNN's own project: model_epoch190.pth, or its checkpoints/."""
        if path.suffix not in PICKLES and not newest_checkpoint(path):
            return super().initialize(network, path)
        other = read_gated_pixelrnn(newest_checkpoint(path) or path)
        try:
            network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UsageError(f"--init {path}: holds the gated PixelRNN in its published form: train gated_pixelrnn "
                             f"with --paper-config") from error

    def make_learner(self, config: RestoreConfig, network: Any, device: torch.device) -> Supervised:
        return Supervised(network, supervised_config(recipe(config)), seed=config.train.seed, device=device)

    def batches(self, config: RestoreConfig, data: RestoreDataset, model: nn.Module) -> Callable[[int], Batch]:
        count = recipe(config).batch_size
        return lambda step: data.sample(step, count)

    def evaluator(self, config: RestoreConfig, data: RestoreDataset) -> Evaluator:
        pictures = data.validation(config.train.val_images)
        settings = supervised_config(recipe(config))
        return lambda network: validate(network, pictures, settings)

    def monitor(self, config: RestoreConfig) -> str:
        return recipe(config).monitor

    def budget(self, config: RestoreConfig, data: RestoreDataset) -> Budget:
        train, epoch = config.train, self.epoch(config, data)
        updates = train.updates or (NO_LIMIT if train.minutes and not train.epochs else recipe(config).epochs * epoch)
        return Budget(updates, train.minutes, train.eval_interval or epoch, self.monitor(config),
                      self.patience(config))

    def epoch(self, config: RestoreConfig, data: RestoreDataset) -> int:
        """Updates of an epoch."""
        return math.ceil(len(data.splits.train) / recipe(config).batch_size)

    def callback(self, config: RestoreConfig, data: RestoreDataset) -> ArtifactCallback:
        return RestoreArtifacts(data.validation(config.train.val_images)[:_SHOWN], self.epoch(config, data),
                                recipe(config).checkpoint_epochs)

    def facts(self, config: RestoreConfig) -> dict[str, Any]:
        return {"recipe": asdict(recipe(config))}

    def default_name(self, config: RestoreConfig) -> str:
        return config.network.model

    def baseline_psnr(self, config: RestoreConfig, data: RestoreDataset) -> float:
        """Mean PSNR in dB on the validation pictures without a network."""
        return mean_psnr(baseline_output, data.validation(config.train.val_images))

    def headline(self, config: RestoreConfig, data: RestoreDataset) -> str:
        return f"{data.describe()}\nwithout a network: {self.baseline_psnr(config, data):.2f} dB"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, best = session.config, fitted.best["val/psnr"]
        plain = self.baseline_psnr(config, session.data)
        where = "" if config.network.model in RESTORING else "in the hole "
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: validation "
              f"PSNR {where}{best:.2f} dB, without a network {plain:.2f} dB")
        waiting = session.data.splits.inference
        pictures = os.path.relpath(waiting[0].paths[0].parent) if waiting else "PHOTO"
        used = f"{rlenhance_command()} {COMMANDS[session.learner.network.purpose]} {pictures}"
        print(f"use it:\n  {used}{' -o restored' if waiting else ''} --model {session.run.path / 'best'}")
        return {config.network.model: {"psnr": best}, "without a network": {"psnr": plain}}


RESTORE = RestoreTask()

"""Restoration in one pass: networks that fill holes, clean and enlarge, and how they are trained."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlenhance.agents import Learner, Supervised, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.config import check_budget
from rlenhance.experiments.core.fit import ArtifactCallback, Budget, Evaluator, FitResult
from rlenhance.experiments.core.published_weights import PICKLES, newest_checkpoint, read_gated_pixelrnn
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.core.task import NO_LIMIT, Session, Task
from rlenhance.experiments.core.train import rlenhance_command
from rlenhance.experiments.tasks.denoiser import LEVELS, initialize, open_noisy
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    check_pairs,
    check_read,
    network_arguments,
    recipe_of,
    training_of,
)
from rlenhance.experiments.tasks.restore_data import RestoreDataset, baseline_output, mean_psnr, open_pictures, run_eval
from rlenhance.experiments.tasks.restore_recipes import LOSS_TERMS, Training
from rlenhance.hub.shipped import COMMANDS
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS, DenoisingUNet
from rlenhance.learning.ops.visualize import grid

_SHOWN = 4  # pictures of a sample grid


def supervised_config(own: Training) -> SupervisedConfig:
    """The learner's settings of a training.

    Raises:
        UsageError: a number outside its range.
    """
    return SupervisedConfig(**{term: own.loss.get(term, 0.0) for term in LOSS_TERMS},
                            ssim_radius=own.ssim_radius, ssim_padding=own.ssim_padding, over_hole=own.over_hole,
                            ema_decay=own.ema_decay, to_mse=own.to_mse, optimizer=OptimizerConfig(
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
        shown = [[batch.image for batch in self.pictures], [run_eval(network, batch) for batch in self.pictures],
                 [batch.target for batch in self.pictures if batch.target is not None]]
        shown = [[image[:1].clamp(0, 1).expand(-1, 3, -1, -1) for image in row] for row in shown]
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
        run.draw_curves(panels={"loss": ["loss", *(f"loss/{term}" for term in LOSS_TERMS)], "validation PSNR in dB":
                                ["val/psnr", "val/psnr/camera"], "validation loss": ["val/loss"]})


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
    former_names = ("denoiser",)
    command = "rlenhance.experiments.network_train"
    Config = RestoreConfig
    registry = {"supervised": Supervised}

    def check(self, config: RestoreConfig, stored: Mapping[str, Any]) -> None:
        own = training_of(config)
        if not stored:
            check_read(config)
        scores: tuple[str, ...] = ("val/psnr", "val/loss")
        if recipe_of(config).pictures == "noisy":
            scores = ("val/psnr", *(f"val/psnr/sigma{level}" for level in LEVELS), "val/psnr/camera")
            scores = scores[:None if config.data.camera_jpeg else -1]
        elif "mse_over_noise" in own.loss:
            raise UsageError(f"--loss mse_over_noise divides by the noise, which {config.network.model} does not know")
        if own.monitor not in scores:
            raise UnknownName("validation score", own.monitor, scores)
        supervised_config(own)
        check_budget(replace(config.train, batch_size=own.batch_size, eval_interval=own.eval_interval or 1))

    def dataset(self, config: RestoreConfig) -> RestoreDataset:
        return open_noisy(config) if recipe_of(config).pictures == "noisy" else open_pictures(config)

    def model(self, config: RestoreConfig, data: RestoreDataset) -> Any:
        """The network."""
        return MODELS.create(config.network.model, **network_arguments(config))

    def learner(self, config: RestoreConfig, data: RestoreDataset, device: torch.device,
                fresh: bool = True) -> Learner | None:
        if fresh and recipe_of(config).pictures != "noisy":
            check_pairs(config, data.splits)
        return super().learner(config, data, device, fresh)

    def initialize(self, network: Any, path: Path) -> None:
        """Also from the files of the gated PixelRNN's own project: model_epoch190.pth, or its checkpoints/."""
        if isinstance(network, DenoisingUNet):
            return initialize(network, path)
        if path.suffix not in PICKLES and not newest_checkpoint(path):
            return super().initialize(network, path)
        other = read_gated_pixelrnn(newest_checkpoint(path) or path)
        try:
            network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UsageError(f"--init {path}: holds the gated PixelRNN in its published form: train gated_pixelrnn "
                             f"with --paper-config") from error

    def make_learner(self, config: RestoreConfig, network: Any, device: torch.device) -> Supervised:
        return Supervised(network, supervised_config(training_of(config)), seed=config.train.seed, device=device)

    def batches(self, config: RestoreConfig, data: RestoreDataset, model: nn.Module) -> Callable[[int], Batch]:
        count = training_of(config).batch_size
        return lambda step: data.sample(step, count)

    def evaluator(self, config: RestoreConfig, data: RestoreDataset) -> Evaluator:
        own = training_of(config)
        return data.evaluator(own.val_images, supervised_config(own))

    def monitor(self, config: RestoreConfig) -> str:
        return training_of(config).monitor

    def budget(self, config: RestoreConfig, data: RestoreDataset) -> Budget:
        train, own, epoch = config.train, training_of(config), self.epoch(config, data)
        updates = train.updates or own.epochs * epoch
        if not train.updates and not train.epochs:
            updates = NO_LIMIT if train.minutes else own.updates or updates
        return Budget(updates, train.minutes, own.eval_interval or epoch, self.monitor(config),
                      self.patience(config))

    def epoch(self, config: RestoreConfig, data: RestoreDataset) -> int:
        """Updates of an epoch."""
        return math.ceil(len(data.splits.train) / training_of(config).batch_size)

    def callback(self, config: RestoreConfig, data: RestoreDataset) -> ArtifactCallback:
        return RestoreArtifacts(data.validation(training_of(config).val_images)[:_SHOWN], self.epoch(config, data),
                                training_of(config).checkpoint_epochs)

    def facts(self, config: RestoreConfig) -> dict[str, Any]:
        return {"recipe": asdict(training_of(config))}

    def default_name(self, config: RestoreConfig) -> str:
        network = config.network
        return f"{network.model}-{network.channels}" if network.model == "denoiser" else network.model

    def baseline_psnr(self, config: RestoreConfig, data: RestoreDataset) -> float:
        """Mean PSNR in dB on the validation pictures without a network."""
        return mean_psnr(baseline_output, data.validation(training_of(config).val_images))

    def headline(self, config: RestoreConfig, data: RestoreDataset) -> str:
        return f"{data.describe()}\nwithout a network: {self.baseline_psnr(config, data):.2f} dB"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, best = session.config, fitted.best["val/psnr"]
        plain = self.baseline_psnr(config, session.data)
        where = "in the hole " if recipe_of(config).pictures == "holes" else ""
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: validation "
              f"PSNR {where}{best:.2f} dB, without a network {plain:.2f} dB")
        kinds = {name: score for name, score in fitted.best.items() if name.startswith("val/psnr/")}
        print("".join(f"  {name.removeprefix('val/psnr/')}: {score:.2f} dB\n" for name, score in kinds.items()), end="")
        waiting = session.data.splits.inference
        pictures = os.path.relpath(waiting[0].paths[0].parent) if waiting else "PHOTO"
        used = f"{rlenhance_command()} {COMMANDS[session.learner.network.purpose]} {pictures}"
        print(f"use it:\n  {used}{' -o restored' if waiting else ''} --model {session.run.path / 'best'}")
        scores = {name.removeprefix("val/"): score for name, score in kinds.items()}
        return {config.network.model: {"psnr": best, **scores}, "without a network": {"psnr": plain}}


RESTORE = RestoreTask()

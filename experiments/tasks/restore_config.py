"""The settings of restoration: one recipe for each network, and what can be set in its place."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.core.config import Flat, RunConfig, TrainConfig, default_is, one_of
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.models import MODELS
from rlenhance.ops.masks import MASK_GENERATORS

LOSS_TERMS = ("l1", "mse", "ssim", "psnr")


@dataclass(frozen=True)
class RecipeDefaults:
    """The settings with which a network was published, or that serve it best, where none are asked for.

    Attributes:
        size: side of the pictures in pixels (of the small ones, where a network enlarges).
        epochs, batch_size, learning_rate: of the training.
        loss: weights of the loss's terms, see `SupervisedConfig`.
        ssim_radius, ema_decay: see `SupervisedConfig`.
        final_lr_ratio: share of the learning rate at the end.
    """

    size: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: Mapping[str, float]
    ssim_radius: int = 5
    ema_decay: float = 0.0
    final_lr_ratio: float = 1.0


#: Networks that `restore_train` trains.
DEFAULTS = {
    "gated_pixelrnn": RecipeDefaults(128, 200, 4, 1e-4, {"l1": 0.8, "ssim": 0.2}, ssim_radius=3),
    "convlstm_autoencoder": RecipeDefaults(256, 20, 16, 1e-3, {"mse": 0.8, "ssim": 0.2}),
    "prior": RecipeDefaults(128, 400, 16, 1e-3, {"psnr": 1.0}, ema_decay=0.998, final_lr_ratio=0.02),
    "combined": RecipeDefaults(48, 200, 16, 1e-4, {"mse": 1.0}, ema_decay=0.999, final_lr_ratio=0.1),
}

#: The networks as they were published, where that differs from ours.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gated_pixelrnn": {"dilations": (1, 1, 1)},
    "convlstm_autoencoder": {"widths": (64, 128, 256), "looks": 1, "skips": False, "sees_mask": False},
}
#: What --widths and --blocks are called where a network is made: name -> arguments, and whether each is one number.
SHAPE_ARGUMENTS = {"gated_pixelrnn": ("width", None), "convlstm_autoencoder": ("widths", None),
                   "prior": ("widths", "blocks"), "combined": ("generator_width", "blocks")}


def _of_each(setting: str) -> str:
    """A setting of every network, as help shows it."""
    values = {name: getattr(own, setting) for name, own in DEFAULTS.items()}
    return ", ".join(f"{name} " + (" ".join(f"{term}={weight:g}" for term, weight in value.items())
                                   if isinstance(value, Mapping) else f"{value:g}") for name, value in values.items())


def _shape_of_each(index: int) -> str:
    """Widths (0) or blocks (1) of every network that has them, as help shows them."""
    found = []
    for name, arguments in SHAPE_ARGUMENTS.items():
        if argument := arguments[index]:
            default = inspect.signature(MODELS[name]).parameters[argument].default
            found.append(f"{name} {' '.join(map(str, default)) if isinstance(default, Sequence) else default}")
    return ", ".join(found)


@dataclass(frozen=True)
class RestoreTrainConfig(TrainConfig):
    """Settings of a training run."""

    extends = ("updates", "minutes", "epochs")

    learner: tyro.conf.Suppress[str] = "supervised"
    name: Annotated[str, default_is("model, date and time")] = ""
    """Of the run folder."""
    out: Path = Path("runs/restore")
    """Where run folders are made."""
    updates: Annotated[int | None, default_is("as --epochs and --minutes say", "INT")] = None
    """Steps, in the place of epochs; beside --resume, how many the run is to have in all."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out, whatever the epochs."""
    epochs: Annotated[int | None, default_is(f"{_of_each('epochs')}; without limit beside --minutes", "INT")] = None
    """Times that every picture is seen; beside --resume, how many the run is to have in all."""
    batch_size: Annotated[int, default_is(_of_each("batch_size"))] = 0
    """Pictures per update."""
    eval_interval: Annotated[int, default_is("an epoch")] = 0
    """Updates between validations, each of which saves last/."""
    monitor: Annotated[str | None, default_is("val/psnr", "SCORE")] = None
    """The validation score whose maximum chooses best/."""
    val_images: int = 48
    """Validation pictures."""
    checkpoint_epochs: int = 0
    """Epochs between checkpoints that are kept in checkpoints/ (0: best/ and last/ alone)."""
    devices: tyro.conf.Suppress[int] = 1
    warm_start: tyro.conf.Suppress[Path | None] = None


@dataclass(frozen=True)
class RestoreDataConfig:
    """Which pictures."""

    data: Path | None = None
    """Filling: original_images/ beside occluded_images/, or a folder of good pictures. combined: pairs (train/train and
    train/gt, low/ and high/, ...), or a folder of good pictures, which are shrunk. Without: the bundled photographs."""
    size: Annotated[int, default_is(_of_each("size"))] = 0
    """Side of the pictures in pixels (of the small ones, where a network enlarges)."""
    holes: Annotated[str, one_of(MASK_GENERATORS)] = "squares"
    """Filling: holes that are made."""
    blur: tuple[float, float] = (0.15, 0.4)
    """combined, good pictures: range of the blur's deviation in pixels of the small picture."""
    noise: float = 8.0
    """combined, good pictures: the largest standard deviation of the noise, in 255ths."""


@dataclass(frozen=True)
class RestoreNetworkConfig:
    """Which network."""

    model: Annotated[tyro.conf.Positional[str], one_of(DEFAULTS)] = ""
    """gated_pixelrnn, convlstm_autoencoder and prior fill holes; combined restores and enlarges."""
    paper_config: bool = False
    """The network in its published form: its middle sees nothing of the picture in a large hole."""
    widths: Annotated[tuple[int, ...], default_is(_shape_of_each(0))] = ()
    """Channels: of each level (prior, convlstm_autoencoder), or one number (gated_pixelrnn, combined)."""
    blocks: Annotated[tuple[int, ...], default_is(_shape_of_each(1))] = ()
    """Residual blocks: of each level (prior), or of the generator (combined)."""
    scale: int = 1
    """combined: 1, 2 or 4."""
    exposure: bool = False
    """combined: a tone curve chosen from the whole picture comes first."""


@dataclass(frozen=True)
class RestoreLearnerConfigs:
    """Settings of the learner."""

    learning_rate: Annotated[float, default_is(_of_each("learning_rate"))] = 0.0
    """Peak learning rate of Adam."""
    loss: Annotated[tuple[str, ...], default_is(_of_each("loss"))] = ()
    """Weights of the loss, as in mse=0.8 ssim=0.2; l1, mse, ssim and psnr."""


@dataclass(frozen=True)
class RestoreConfig(RunConfig):
    """Train a network that fills holes (gated_pixelrnn, convlstm_autoencoder, prior) or restores and enlarges
    (combined)."""

    train: Flat[RestoreTrainConfig] = field(default_factory=RestoreTrainConfig)
    data: Flat[RestoreDataConfig] = field(default_factory=RestoreDataConfig)
    network: Flat[RestoreNetworkConfig] = field(default_factory=RestoreNetworkConfig)
    learners: Flat[RestoreLearnerConfigs] = field(default_factory=RestoreLearnerConfigs)


def recipe(config: RestoreConfig) -> RecipeDefaults:
    """The network's own settings, with what was asked for in their place.

    Raises:
        UnknownName: an unknown network.
        UsageError: a loss that is none, a number that is not positive.
    """
    if config.network.model not in DEFAULTS:
        raise UnknownName("network", config.network.model, DEFAULTS)
    train = config.train
    asked = {"size": config.data.size, "epochs": train.epochs, "batch_size": train.batch_size,
             "learning_rate": config.learners.learning_rate}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value}
    if any(value < 0 for value in given.values()) or train.val_images < 1 or train.checkpoint_epochs < 0:
        raise UsageError(f"size, epochs, batch size and learning rate must be positive, --val-images at least 1; got "
                         f"{given} and {train.val_images}")
    loss = {}
    for word in config.learners.loss:
        name, _, weight = word.partition("=")
        try:
            loss[name] = float(weight)
        except ValueError:
            loss[name] = math.nan
        if name not in LOSS_TERMS or not loss[name] >= 0:
            raise UsageError(f"--loss takes weights of {', '.join(LOSS_TERMS)}, as in mse=0.8 ssim=0.2; got {word!r}")
    if loss:
        given["loss"] = loss
    return replace(DEFAULTS[config.network.model], **given)

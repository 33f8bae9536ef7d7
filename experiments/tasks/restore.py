"""Restoration in one pass: networks that fill holes, clean and enlarge, and how they are trained."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import nn

from agents import Supervised, SupervisedConfig
from agents.optim import OptimizerConfig
from experiments.core.config import Flat, RunConfig, TrainConfig, check_budget, default_is, one_of
from experiments.core.dataset import Dataset
from experiments.core.fit import Budget, FitResult
from experiments.core.task import NO_LIMIT, ArtifactCallback, Evaluator, Session, Task
from experiments.tasks.restore_evaluate import RestoreArtifacts, baseline_output, score, validate
from rlenhance.core.errors import UnknownName, UsageError
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
from rlenhance.models import MODELS
from rlenhance.ops.masks import MASK_GENERATORS

_TERMS = ("l1", "mse", "ssim", "psnr")


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
_SHAPES = {"gated_pixelrnn": ("width", None), "convlstm_autoencoder": ("widths", None), "prior": ("widths", "blocks"),
           "combined": ("generator_width", "blocks")}


def _of_each(setting: str) -> str:
    """A setting of every network, as help shows it."""
    shown = {name: getattr(own, setting) for name, own in DEFAULTS.items()}
    text = {name: " ".join(f"{term}={weight:g}" for term, weight in value.items()) if isinstance(value, Mapping) else
            f"{value:g}" for name, value in shown.items()}
    return ", ".join(f"{name} {value}" for name, value in text.items())


def _shape_of_each(index: int) -> str:
    """Widths (0) or blocks (1) of every network that has them, as help shows them."""
    found = []
    for name, arguments in _SHAPES.items():
        if argument := arguments[index]:
            default = inspect.signature(MODELS[name]).parameters[argument].default
            found.append(f"{name} {' '.join(map(str, default)) if isinstance(default, Sequence) else default}")
    return ", ".join(found)


@dataclass(frozen=True)
class RestoreTrainConfig(TrainConfig):
    """Settings of a training run."""

    extends = ("updates", "minutes", "epochs")

    learner: tyro.conf.Suppress[str] = "supervised"
    """It is the only one."""
    name: Annotated[str, default_is("model, date and time")] = ""
    """Of the run folder."""
    out: Path = Path("runs/restore")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops and holes."""
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
    """One."""
    init: Path | None = None
    """Begin with the weights of this run, or of a shipped network of that name."""
    warm_start: tyro.conf.Suppress[Path | None] = None
    """None: see init."""


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
        if name not in _TERMS or not loss[name] >= 0:
            raise UsageError(f"--loss takes weights of {', '.join(_TERMS)}, as in mse=0.8 ssim=0.2; got {word!r}")
    if loss:
        given["loss"] = loss
    return replace(DEFAULTS[config.network.model], **given)


class RestoreDataset(Dataset):
    """Pictures to learn from and to judge on.

    Attributes:
        sample: update and count -> batch.
        prepare: an example -> the batch that is judged.
        about: what was left out, or "".
    """

    sample: Callable[[int, int], Batch]
    prepare: Callable[[Example], Batch]
    about: str = ""

    def describe(self) -> str:
        return "\n".join(filter(None, [self.about, super().describe()]))

    def validation(self, limit: int) -> list[Batch]:
        """Pictures that choose best/, evenly spread over the split."""
        part = self.splits.val
        return [self.prepare(part[i * len(part) // limit]) for i in range(limit)] if len(part) > limit else \
            [self.prepare(example) for example in part]


def open_holes(data: Path | None, size: int, holes: str, seed: int) -> RestoreDataset:
    """Completing: originals with holes made anew in each; judged on the pairs' true holes, at `size` x `size`.

    Raises:
        UsageError: see `open_completion` and `validate_splits`.
    """
    cache, alike = ImageCache(), ""
    splits, skipped = validate_splits(open_completion(data, 0), cache)
    if data is not None:
        splits, alike = without_near_duplicates(splits, cache)
    made = RestoreDataset(splits, cache, skipped)
    made.about = alike
    made.sample = CompletionSampler(splits.train, cache, size, holes=holes, seed=seed).batch
    made.prepare = lambda example: load_completion(example, cache, size)
    return made


def open_restoration(data: Path | None, size: int, downscale: Downscale, seed: int) -> RestoreDataset:
    """Restoring: pairs, or good pictures that are shrunk when they are drawn.

    Raises:
        UsageError: see `open_super_resolution` and `validate_splits`.
    """
    cache = ImageCache()
    splits = open_clean(None) if data is None else open_super_resolution(data)
    splits, _ = validate_splits(splits, cache, scale=downscale.scale)
    made = RestoreDataset(splits, cache)
    made.sample = SuperResolutionSampler(splits.train, cache, size, downscale, seed=seed).batch
    made.prepare = lambda example: load_super_resolution(example, cache, downscale)
    return made


class RestoreTask(Task[RestoreConfig, RestoreDataset]):
    """Fill, clean or enlarge in one pass: see docs/howto/restore.md."""

    name = "restore"
    command = "experiments.restore_train"
    Config = RestoreConfig
    registry = {"supervised": Supervised}

    def check(self, config: RestoreConfig, stored: Mapping[str, Any]) -> None:
        own = recipe(config)
        check_budget(replace(config.train, batch_size=own.batch_size, eval_interval=config.train.eval_interval or 1))

    def dataset(self, config: RestoreConfig) -> RestoreDataset:
        data, own, seed = config.data, recipe(config), config.train.seed
        if config.network.model == "combined":
            downscale = Downscale(config.network.scale, data.blur[1], data.blur[0], data.noise)
            return open_restoration(data.data, own.size, downscale, seed)
        return open_holes(data.data, own.size, data.holes, seed)

    def model(self, config: RestoreConfig, data: RestoreDataset) -> Any:
        """The network.

        Raises:
            UsageError: widths or blocks that do not fit.
        """
        network, arguments = config.network, dict[str, Any]()
        model, given = network.model, (network.widths, network.blocks)
        wanted = {"gated_pixelrnn": (1, 0), "convlstm_autoencoder": (3, 0), "prior": (len(given[0]), len(given[0])),
                  "combined": (1, 1)}[model]
        if any(values and len(values) != count for values, count in zip(given, wanted, strict=True)):
            raise UsageError(f"--widths and --blocks: {model} takes {wanted[0]} and {wanted[1]} numbers; got "
                             f"{len(given[0])} and {len(given[1])}")
        if model == "combined":
            arguments |= {"scale": network.scale, "exposure": network.exposure}
        elif config.data.size:
            arguments["train_size"] = config.data.size
        if network.paper_config:
            arguments |= PUBLISHED.get(model, {})
        for name, values, count in zip(_SHAPES[model], given, wanted, strict=True):
            if values and name:
                arguments[name] = values[0] if count == 1 and model != "prior" else values
        return MODELS.create(model, **arguments)

    def make_learner(self, config: RestoreConfig, network: Any, device: torch.device) -> Supervised:
        own = recipe(config)
        settings = SupervisedConfig(**{term: own.loss.get(term, 0.0) for term in _TERMS}, ssim_radius=own.ssim_radius,
                                    ema_decay=own.ema_decay,
                                    optimizer=OptimizerConfig(own.learning_rate, 100, own.final_lr_ratio, 1.0))
        return Supervised(network, settings, seed=config.train.seed, device=device)

    def batches(self, config: RestoreConfig, data: RestoreDataset, model: nn.Module) -> Callable[[int], Batch]:
        count = recipe(config).batch_size
        return lambda step: data.sample(step, count)

    def evaluator(self, config: RestoreConfig, data: RestoreDataset) -> Evaluator:
        pictures = data.validation(config.train.val_images)
        return lambda network: validate(network, pictures)

    def budget(self, config: RestoreConfig, data: RestoreDataset) -> Budget:
        train, epoch = config.train, self.epoch(config, data)
        updates = train.updates or (NO_LIMIT if train.minutes and not train.epochs else recipe(config).epochs * epoch)
        return Budget(updates, train.minutes, train.eval_interval or epoch, self.monitored(config))

    def epoch(self, config: RestoreConfig, data: RestoreDataset) -> int:
        """Updates of an epoch."""
        return math.ceil(len(data.splits.train) / recipe(config).batch_size)

    def callback(self, config: RestoreConfig, data: RestoreDataset) -> ArtifactCallback:
        return RestoreArtifacts(data.validation(config.train.val_images), self.epoch(config, data),
                                config.train.checkpoint_epochs)

    def facts(self, config: RestoreConfig) -> dict[str, Any]:
        return {"recipe": asdict(recipe(config))}

    def default_name(self, config: RestoreConfig) -> str:
        return config.network.model

    def baseline_psnr(self, config: RestoreConfig, data: RestoreDataset) -> float:
        """Mean PSNR in dB on the validation pictures without a network."""
        pictures = data.validation(config.train.val_images)
        return sum(score(baseline_output(batch), batch) for batch in pictures) / len(pictures)

    def headline(self, config: RestoreConfig, data: RestoreDataset) -> str:
        return f"{data.describe()}\nwithout a network: {self.baseline_psnr(config, data):.2f} dB"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, best = session.config, fitted.best["val/psnr"]
        plain = self.baseline_psnr(config, session.data)
        where = "" if config.network.model == "combined" else "in the hole "
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: validation "
              f"PSNR {where}{best:.2f} dB, without a network {plain:.2f} dB")
        return {config.network.model: {"psnr": best}, "without a network": {"psnr": plain}}


RESTORE = RestoreTask()

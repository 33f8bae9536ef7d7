"""The settings of restoration: one recipe for each network, and what can be set in its place."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.config import Flat, RunConfig, TrainConfig, default_is, leaves, one_of, with_defaults
from rlenhance.experiments.tasks.restore_recipes import LOSS_TERMS, RECIPES, SHRUNK, Recipe, Training, readers
from rlenhance.learning.data import Splits
from rlenhance.learning.data.completion import MASKS
from rlenhance.learning.models import MODELS
from rlenhance.ops.masks import DIFFERENCE, MASK_GENERATORS
from rlenhance.ops.noise_estimation import NOISE_FLOOR


def _of_each(setting: str) -> str:
    """A setting of every network, as help shows it."""
    values = {name: getattr(recipe.training, setting) for name, recipe in RECIPES.items()
              if setting != "epochs" or recipe.training.epochs}
    return ", ".join(f"{name} " + (" ".join(f"{term}={weight:g}" for term, weight in value.items())
                                   if isinstance(value, Mapping) else f"{value:g}") for name, value in values.items())


def _shape_of_each(option: str) -> str:
    """Widths or blocks of every network that has them, as help shows them."""
    found = []
    for name, recipe in RECIPES.items():
        if shape := getattr(recipe, option):
            default = inspect.signature(MODELS[name]).parameters[shape[0]].default
            found.append(f"{name} {' '.join(map(str, default)) if isinstance(default, Sequence) else default}")
    return ", ".join(found)


@dataclass(frozen=True)
@with_defaults(("learner", "devices", "warm_start"), {
    "name": "model, date and time", "batch_size": _of_each("batch_size"), "eval_interval": "an epoch; denoiser 500"},
    learner="supervised", out=Path("runs/restore"), batch_size=0, eval_interval=0)
class RestoreTrainConfig(TrainConfig):
    """Settings of a training run."""

    extends = ("updates", "minutes", "epochs")

    updates: Annotated[int | None, default_is("as --epochs and --minutes say; denoiser 2000", "INT")] = None
    """Steps, in the place of epochs; beside --resume, how many the run is to have in all."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out, whatever the epochs."""
    epochs: Annotated[int | None, default_is(f"{_of_each('epochs')}; without limit beside --minutes", "INT")] = None
    """Times that every picture is seen; beside --resume, how many the run is to have in all."""
    monitor: Annotated[str | None, default_is("val/psnr; val/loss to clean or enlarge as published; val/psnr/camera "
                                                  "with --camera-jpeg", "SCORE")] = None
    """The validation score that chooses best/: val/psnr at its highest, or val/loss at its lowest; of the denoiser
    val/psnr, or that of one kind of noise (val/psnr/sigma15, sigma25, sigma50, camera)."""
    val_images: Annotated[int | None, default_is("48; denoiser 16", "INT")] = None
    """Validation pictures."""
    checkpoint_epochs: Annotated[int | None, default_is("0; 1 for gated_pixelrnn with --paper-config", "INT")] = None
    """Epochs between checkpoints that are kept in checkpoints/ (0: best/ and last/ alone)."""


@dataclass(frozen=True)
class RestoreDataConfig:
    """Which pictures."""

    data: Path | None = None
    """Filling: original_images/ beside occluded_images/, or a folder of good pictures. combined: pairs (train/train and
    train/gt, low/ and high/, ...), or a folder of good pictures, which are shrunk. denoiser: good pictures, or pairs,
    whose references are taken. Without: the bundled photographs."""
    size: Annotated[int, default_is(_of_each("size"))] = 0
    """Side of the pictures in pixels (of the small ones, where a network enlarges)."""
    holes: Annotated[str, one_of(MASK_GENERATORS)] = "squares"
    """Filling: holes that are made."""
    masks: Annotated[str | None, default_is("drawn; given with --paper-config", "|".join(MASKS).upper())] = None
    """Filling: the holes of pairs are those that they have (given), made in the originals (drawn), or both."""
    mask_threshold: float = DIFFERENCE
    """Filling: sum of the channels' differences, white being 1, above which a pixel is one of a pair's hole."""
    blur: tuple[float, float] = (0.15, 0.4)
    """combined, enlarger, good pictures: range of the blur's deviation in pixels of the small picture."""
    noise: float = 8.0
    """combined, enlarger, good pictures: the largest standard deviation of the noise, in 255ths."""
    sharp: float = 0.0
    """combined, enlarger, good pictures: share of draws without blur and noise, reduced by bicubic interpolation."""
    more: tuple[Path, ...] = ()
    """Further folders of good pictures; every picture counts alike. Filling: only their training splits are taken.
    denoiser: every folder counts alike."""
    noise_levels: tuple[float, float] = (0.0, 75.0)
    """denoiser: the deviations that are drawn, lowest and highest, in 255ths."""
    signal_dependent_prob: float = 0.25
    """denoiser: share of the crops whose noise grows with the light, as a sensor's does."""
    quantized_prob: float = 0.0
    """denoiser: share of the crops that are clipped and rounded to 8 bits."""
    correlated_prob: float = 0.0
    """denoiser: share of the crops whose noise is slightly blurred, as a camera's processing leaves it."""
    camera_jpeg: float = 0.0
    """denoiser: share of the updates on brightened dark photographs, smoothed and coded as a camera does; the best
    weights are then those that are best on them."""
    camera: float = 0.0
    """denoiser: of those photographs that are made, the share that a simulated camera takes and processes
    (`rlenhance.learning.data.SimulatedCamera`)."""
    pairs: Path | None = None
    """denoiser: a folder of pairs; of those photographs, three in ten are its real dark frames beside their
    references."""
    max_side: int = 0
    """denoiser: reduce pictures to this longer side first (0: as they are); takes the traces of JPEG away."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""


@dataclass(frozen=True)
class RestoreNetworkConfig:
    """Which network."""

    model: Annotated[tyro.conf.Positional[str], one_of(RECIPES)] = ""
    """gated_pixelrnn, convlstm_autoencoder and prior fill holes; combined restores and enlarges, enlarger enlarges;
    denoiser takes noise away."""
    paper_config: bool = False
    """Network and training as they were published: plain Adam, without warm-up, decay, clipping and running mean.
    Options given beside it hold."""
    paper_training: tyro.conf.Suppress[bool] = True
    """Whether `paper_config` means the training too; in runs of version 0.2 it meant the shape alone."""
    widths: Annotated[tuple[int, ...], default_is(_shape_of_each("widths"))] = ()
    """Channels: of each level (prior, convlstm_autoencoder, denoiser), or one number (gated_pixelrnn, combined)."""
    blocks: Annotated[tuple[int, ...], default_is(_shape_of_each("blocks"))] = ()
    """Residual blocks: of each level (prior), or of the generator (combined)."""
    scale: int = 1
    """combined: 1, 2 or 4; enlarger: 2 or 4."""
    exposure: bool = False
    """combined: a tone curve chosen from the whole picture comes first."""
    channels: int = 3
    """denoiser: 1 for grey pictures, 3 for colour."""
    down: Annotated[tuple[int, ...], default_is("1 2 1")] = ()
    """denoiser: residual blocks of each level on the way down."""
    up: Annotated[tuple[int, ...], default_is("1 2")] = ()
    """denoiser: residual blocks of each level on the way up."""


@dataclass(frozen=True)
class RestoreLearnerConfigs:
    """Settings of the learner."""

    learning_rate: Annotated[float, default_is(_of_each("learning_rate"))] = 0.0
    """Peak learning rate of Adam."""
    loss: Annotated[tuple[str, ...], default_is(_of_each("loss"))] = ()
    """Weights of the loss, as in mse=0.8 ssim=0.2: l1, mse, ssim, psnr, charbonnier, and of the denoiser
    mse_over_noise (the squared difference over the deviation of the noise)."""
    to_mse: bool = False
    """The weights of mse and mse_over_noise rise from 0 along the run, and those of the other terms fall to 0."""
    warmup_steps: Annotated[int | None, default_is(_of_each("warmup_steps"), "INT")] = None
    """Updates over which the learning rate rises to its peak (0: none)."""
    final_lr_ratio: Annotated[float | None, default_is(_of_each("final_lr_ratio"), "FLOAT")] = None
    """Share of the peak at the end of the run, along a half cosine (1: the rate is constant)."""
    max_grad_norm: Annotated[float | None, default_is(_of_each("max_grad_norm"), "FLOAT")] = None
    """The gradient's norm is clipped here (0: never)."""
    ema_decay: Annotated[float | None, default_is(_of_each("ema_decay"), "FLOAT")] = None
    """Share of the running mean of the weights that each update keeps; it is what is saved (0: no mean)."""
    orthogonal: bool = False
    """Steps of wide layers are made orthogonal (Muon), the other weights are stepped by Adam."""


@dataclass(frozen=True)
class RestoreConfig(RunConfig):
    """Train a network that fills holes (gated_pixelrnn, convlstm_autoencoder, prior), restores and enlarges
    (combined, enlarger), or takes noise away (denoiser)."""

    train: Flat[RestoreTrainConfig] = field(default_factory=RestoreTrainConfig)
    data: Flat[RestoreDataConfig] = field(default_factory=RestoreDataConfig)
    network: Flat[RestoreNetworkConfig] = field(default_factory=RestoreNetworkConfig)
    learners: Flat[RestoreLearnerConfigs] = field(default_factory=RestoreLearnerConfigs)


def recipe_of(config: RestoreConfig) -> Recipe:
    """The entry of the network that is named.

    Raises:
        UnknownName: an unknown network.
    """
    if config.network.model not in RECIPES:
        raise UnknownName("network", config.network.model, RECIPES)
    return RECIPES[config.network.model]


def training_of(config: RestoreConfig) -> Training:
    """The network's own training, or the published one, with what was asked for in its place.

    Raises:
        UnknownName: an unknown network.
        UsageError: a loss that is none, a number that is not positive.
    """
    recipe, train, learner = recipe_of(config), config.train, config.learners
    asked = {"size": config.data.size, "epochs": train.epochs, "batch_size": train.batch_size,
             "learning_rate": learner.learning_rate, "eval_interval": train.eval_interval}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value}
    counts_fit = (train.val_images is None or train.val_images > 0) and (train.checkpoint_epochs or 0) >= 0
    if any(value < 0 for value in given.values()) or not counts_fit:
        raise UsageError(f"size, epochs, batch size, interval and learning rate must be positive, --val-images at "
                         f"least 1; got {given} and {train.val_images}")
    optional = {"monitor": train.monitor or ("val/psnr/camera" if config.data.camera_jpeg else None),
                "val_images": train.val_images, "masks": config.data.masks,
                "checkpoint_epochs": train.checkpoint_epochs, "loss": loss_weights(learner.loss) or None} | {
        name: getattr(learner, name) for name in ("warmup_steps", "final_lr_ratio", "max_grad_norm", "ema_decay")}
    given |= {name: value for name, value in optional.items() if value is not None}
    given |= {"orthogonal": learner.orthogonal, "to_mse": learner.to_mse}
    return replace(recipe.training_of(config.network.paper_config and config.network.paper_training), **given)


def loss_weights(words: Sequence[str]) -> dict[str, float]:
    """The weights that words such as mse=0.8 give.

    Raises:
        UsageError: an unknown term, or a weight that is none.
    """
    loss = {}
    for word in words:
        name, _, weight = word.partition("=")
        try:
            loss[name] = float(weight)
        except ValueError:
            loss[name] = math.nan
        if name not in LOSS_TERMS or not loss[name] >= 0:
            raise UsageError(f"--loss takes weights of {', '.join(LOSS_TERMS)}, as in mse=0.8 ssim=0.2; got {word!r}")
    return loss


#: Settings that are arguments of the network unless they have this value, which stands for the network's own.
_NOT_GIVEN: Mapping[str, Any] = {"data.size": 0, "network.down": (), "network.up": ()}


def network_arguments(config: RestoreConfig) -> dict[str, Any]:
    """The arguments of the network in the registry.

    Raises:
        UsageError: widths or blocks that it does not take.
    """
    network, recipe, settings = config.network, recipe_of(config), dict(leaves(config))
    arguments: dict[str, Any] = {name: settings[path] for path, name in recipe.arguments.items()
                                 if settings[path] != _NOT_GIVEN.get(path)}
    if recipe.pictures == "noisy":
        arguments["noise_floor"] = NOISE_FLOOR if config.data.camera_jpeg else 0.0
    if network.paper_config and recipe.published is not None:
        arguments |= recipe.published.arguments if network.paper_training else recipe.published.arguments_of_0_2
    given, shapes = (network.widths, network.blocks), (recipe.widths, recipe.blocks or ("", None))
    levels = len(network.widths) if all(given) or recipe.blocks is None else 3  # 3: where one of both is left as it is
    wanted = [0 if count is None else count or levels for _, count in shapes]
    if any(values and len(values) != count for values, count in zip(given, wanted, strict=True)):
        raise UsageError(f"--widths and --blocks: {network.model} takes {wanted[0]} and {wanted[1]} numbers; got "
                         f"{len(given[0])} and {len(given[1])}")
    return arguments | {name: values[0] if count == 1 else values
                        for (name, count), values in zip(shapes, given, strict=True) if values}


def check_unset(config: RestoreConfig, paths: Sequence[str], reason: str) -> None:
    """Refuse settings that nothing would read.

    Args:
        config: of a new run.
        paths: of the settings, with dots.
        reason: ends the sentence "--blur is ...".

    Raises:
        UsageError: names the options.
    """
    plain = dict(leaves(RestoreConfig()))
    given = [f"--{path.partition('.')[2].replace('_', '-')}" for path, value in leaves(config)
             if path in paths and value != plain[path]]
    if given:
        raise UsageError(f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} {reason}: leave it out")


def check_pairs(config: RestoreConfig, splits: Splits) -> None:
    """Refuse settings of a new run that go with pairs where there are none, or the other way round.

    Args:
        config: of a new run.
        splits: its pictures.

    Raises:
        UsageError: names the option.
    """
    pairs = any(example.image not in (None, example.target) for example in splits.train)
    if recipe_of(config).pictures == "small":
        if pairs:
            check_unset(config, SHRUNK, "made for good pictures that are shrunk, "
                        f"and {splits.source} has pairs")
    elif not pairs:
        check_unset(config, ("data.mask_threshold",), f"read from pairs, and {splits.source} has none")
    elif training_of(config).masks == "given":
        check_unset(config, ("data.holes",), "for holes that are drawn, and the holes are those of the pairs (--masks "
                    "drawn or both draws them)")


def check_read(config: RestoreConfig) -> None:
    """Refuse settings of a new run that would be ignored, or that contradict each other.

    Raises:
        UsageError: names the option, and the networks that read it.
    """
    network = config.network
    model = network.model
    for path, networks in readers().items():
        if model not in networks:
            check_unset(config, [path], f"read by {', '.join(networks)}, and {model} would ignore it")
    if network.paper_config and recipe_of(config).published is None:
        published = [name for name, recipe in RECIPES.items() if recipe.published]
        raise UsageError(f"--paper-config: {model} is a network of this project and has no published form; "
                         f"{', '.join(published)} have one")
    if network.paper_config and network.exposure:
        raise UsageError("--exposure: the published form has no tone curve; leave out --exposure or --paper-config")
    if min((1, *network.widths, *network.blocks)) < 1:
        raise UsageError(f"--widths and --blocks must be at least 1; got {network.widths} and {network.blocks}")
    if not 0 <= config.data.blur[0] <= config.data.blur[1] < math.inf or not 0 <= config.data.noise < math.inf:
        raise UsageError(f"--blur is a range from low to high, --noise a deviation, neither negative; got "
                         f"{config.data.blur} and {config.data.noise}")
    if config.train.updates and config.train.epochs:
        raise UsageError("--updates and --epochs both say how long the run is: give one of them")

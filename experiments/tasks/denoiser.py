"""Learned denoisers for grey or colour pictures: pictures, networks, training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import tyro

from agents.denoiser_learner import DenoiserConfig, DenoiserLearner
from experiments.core.config import Flat, RunConfig, TrainConfig, default_is
from experiments.core.dataset import Dataset
from experiments.core.fit import Evaluator, FitResult
from experiments.core.task import Session, Task
from experiments.tasks.clean_pictures import CleanPictures, load_clean
from rlenhance.core.errors import UsageError
from rlenhance.core.image import center_crop
from rlenhance.data import (
    Batch,
    CameraJpegSampler,
    Sampler,
    open_dataset,
)
from rlenhance.hub.checkpoint import load_network
from rlenhance.hub.shipped import locate
from rlenhance.metrics.full_reference import psnr
from rlenhance.models import MODELS, DenoisingUNet, FilterPolicy, Restorer
from rlenhance.models.warm_start import denoiser_weights
from rlenhance.ops.camera_noise import camera_noise_map
from rlenhance.ops.noise_estimation import LARGEST_NOISE, NOISE_FLOOR, noise_map_from_image

#: The noise that is validated on and reported, in 255ths.
LEVELS = (15, 25, 50)
_SHOWN, _CROP = 16, 256  # validation pictures, and the longest side of what is taken from their middle
_WIDE = 16  # channels of a layer that can grow; a layer with fewer reads or writes a picture


@dataclass(frozen=True)
class DenoiserTrainConfig(TrainConfig):
    """Settings of a training run."""

    learner: tyro.conf.Suppress[str] = "denoising"
    name: Annotated[str, default_is("denoiser, channels, date and time")] = ""
    """Of the run folder."""
    out: Path = Path("runs/denoiser")
    """Where run folders are made."""
    updates: Annotated[int | None, default_is("2000, or as many as --minutes allows", "INT")] = None
    """Steps; beside --resume, how many the run is to have in all."""
    batch_size: int = 32
    """Crops per update."""
    eval_interval: int = 500
    """Updates between validations; each one saves last/."""
    monitor: Annotated[str | None, default_is("val/psnr/camera with --camera-jpeg, val/psnr without", "SCORE")] = None
    """The validation score whose maximum chooses best/."""
    devices: tyro.conf.Suppress[int] = 1
    init: Path | None = None
    """Begin with the weights of this run, or of a shipped denoiser, where they fit: a network for colour can begin with
    one for grey pictures, a wider one with a narrower one. A policy over filters gives those of its estimate."""
    warm_start: tyro.conf.Suppress[Path | None] = None


@dataclass(frozen=True)
class DenoiserDataConfig:
    """Which pictures."""

    data: tuple[Path, ...] = ()
    """Folders of good pictures, or of pairs, whose references are taken; each counts alike (default: the bundled
    photographs)."""
    crop: int = 64
    """Side in pixels of the crops to learn from."""
    camera_jpeg: float = 0.0
    """Share of the updates on brightened dark photographs, smoothed and coded as a camera does; the best weights are
    then those that are best on them."""
    camera: float = 0.0
    """Of those photographs that are made, the share that a simulated camera takes and processes
    (`rlenhance.data.SimulatedCamera`)."""
    pairs: Path | None = None
    """A folder of pairs: of those photographs, three in ten are its real dark frames beside their references."""
    max_side: int = 0
    """Reduce pictures to this longer side first (0: as they are): takes the traces of JPEG away."""


@dataclass(frozen=True)
class DenoiserNetworkConfig:
    """Which network."""

    channels: int = 3
    """1 for grey pictures, 3 for colour."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of the network's levels."""
    down: tuple[int, ...] = (1, 2, 1)
    """Residual blocks of each level on the way down."""
    up: tuple[int, ...] = (1, 2)
    """Residual blocks of each level on the way up."""


@dataclass(frozen=True)
class DenoiserLearnerConfigs:
    """Settings of the learner."""

    denoising: DenoiserConfig = field(default_factory=DenoiserConfig)
    """The noise that is made, and the optimizer."""


@dataclass(frozen=True)
class DenoiserRunConfig(RunConfig):
    """Learn to take noise away from grey or colour pictures."""

    train: Flat[DenoiserTrainConfig] = field(default_factory=DenoiserTrainConfig)
    data: Flat[DenoiserDataConfig] = field(default_factory=DenoiserDataConfig)
    network: Flat[DenoiserNetworkConfig] = field(default_factory=DenoiserNetworkConfig)
    learners: Flat[DenoiserLearnerConfigs] = field(default_factory=DenoiserLearnerConfigs)


_noise_map = partial(noise_map_from_image, noise_floor=NOISE_FLOOR)
_measure = partial(camera_noise_map, noise_floor=NOISE_FLOOR)


def camera_validation(data: Dataset, processed: float = 0.0) -> Batch:
    """Crops of brightened and processed photographs of the validation pictures, always the same."""
    sampler = CameraJpegSampler(data.splits.val, data.cache, 128, _noise_map, measure=_measure,
                                processed_prob=processed, seed=1)
    return Batch.stack([sampler.batch(16 * number, 1) for number in range(_SHOWN)])


@torch.no_grad()
def validate(network: DenoisingUNet, pictures: Sequence[torch.Tensor],
             photographs: Batch | None = None) -> dict[str, float]:
    """Mean PSNR in dB of the middles of pictures, the same noise at every call: `val/psnr` over the levels, and each.

    Args:
        pictures: (1, 3, H, W) each, without noise.
        photographs: brightened ones with their noise: `val/psnr/camera`, from their mean squared error.
    """
    rows: dict[int, list[float]] = {level: [] for level in LEVELS}
    for number, picture in enumerate(pictures):
        clean = center_crop(picture, _CROP)
        clean = clean if network.channels == 3 else clean.mean(dim=1, keepdim=True)
        made = torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        for level in LEVELS:
            device = next(network.parameters()).device
            output = network.denoise((clean + level / 255 * made).to(device), level / 255).cpu()
            rows[level].append(psnr(output.clamp(0, 1), clean).item())
    means = {f"val/psnr/sigma{level}": sum(row) / len(row) for level, row in rows.items()}
    if photographs is not None:
        assert photographs.target is not None and photographs.noise_std is not None
        image, target = (part if network.channels == 3 else part.mean(dim=1, keepdim=True)
                         for part in (photographs.image, photographs.target))
        output = network.denoise(image.to(device), photographs.noise_std.clamp(max=LARGEST_NOISE).to(device)).cpu()
        means["val/psnr/camera"] = -10 * ((output.clamp(0, 1) - target) ** 2).mean().log10().item()
    levels = [means[f"val/psnr/sigma{level}"] for level in LEVELS]
    return {"val/psnr": sum(levels) / len(levels), **means}


def grow(value: torch.Tensor, ours: torch.Tensor, transposed: bool = False) -> torch.Tensor | None:
    """A weight or bias of a layer in a layer of the same or more channels, which computes the same in its first
    channels: these see no new input at first. None where it cannot be: fewer channels, or those of a picture.

    Args:
        value: of the smaller layer.
        ours: of the larger one; its new channels keep these values.
        transposed: of a transposed convolution.

    Source: Chen et al. 2016, Net2Net.
    """
    if value.shape == ours.shape:
        return value
    widths = [*value.shape[:2], *ours.shape[:2]]
    if value.ndim != ours.ndim or value.shape[2:] != ours.shape[2:] or min(widths) < _WIDE \
            or any(small > large for small, large in zip(value.shape, ours.shape, strict=True)):
        return None
    grown = ours.clone()
    rows, columns = value.shape[0], value.shape[min(1, value.ndim - 1)]
    if value.ndim > 1 and transposed:  # inputs first
        grown[rows:, :columns] = 0
    elif value.ndim > 1:
        grown[:rows, columns:] = 0
    grown[tuple(slice(0, count) for count in value.shape)] = value
    return grown


def in_colour(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a denoiser of grey pictures in one of colour pictures that denoises the mean of the channels, and
    leaves their differences: the mean has the noise of one channel over the root of three."""
    stem, head, bias = (weights[f"network.{name}"] for name in ("stem.weight", "head.weight", "head.bias"))
    root = math.sqrt(3)
    return {**weights, "network.stem.weight": torch.cat([*[stem[:, :4] / 3] * 3, stem[:, 4:] / root], dim=1),
            "network.head.weight": torch.cat([head / root] * 3), "network.head.bias": torch.cat([bias / root] * 3)}


class DenoiserTask(Task[DenoiserRunConfig, CleanPictures]):
    """Take noise away in one pass: see docs/howto/denoising.md."""

    name = "denoiser"
    command = "experiments.denoiser_train"
    Config = DenoiserRunConfig
    default_updates = 2000
    registry = {"denoising": DenoiserLearner}

    def dataset(self, config: DenoiserRunConfig) -> CleanPictures:
        for option, share in (("--camera-jpeg", config.data.camera_jpeg), ("--camera", config.data.camera)):
            if not 0 <= share <= 1:
                raise UsageError(f"{option} is a share in [0, 1]; got {share:g}")
        return load_clean(config.data.data, config.data.max_side)

    def model(self, config: DenoiserRunConfig, data: CleanPictures) -> Any:
        network = config.network
        return MODELS.create("denoiser", channels=network.channels, widths=network.widths, down=network.down,
                             up=network.up, noise_floor=NOISE_FLOOR if config.data.camera_jpeg else 0.0)

    def initialize(self, network: DenoisingUNet, path: Path) -> None:
        """Take over the weights of another denoiser, or of a policy's estimate: those of the same shape, and of
        narrower layers (`grow`)."""
        source, ours = load_network(locate(path)), network.state_dict()
        theirs = denoiser_weights(source) if isinstance(source, FilterPolicy | Restorer) else source.state_dict()
        bias = "network.stem.bias"
        if network.channels == 3 and getattr(source, "channels", 3) == 1 and bias in theirs \
                and theirs[bias].shape == ours[bias].shape:
            theirs = in_colour(theirs)
        grown = {name: grow(value, ours[name], "upsample" in name) for name, value in theirs.items() if name in ours}
        fitting = {name: value for name, value in grown.items() if value is not None}
        if not fitting:
            raise UsageError(f"--init {path}: none of its weights has the shape of ours; name a run of denoiser_train "
                             f"with the same --widths")
        network.load_state_dict({**ours, **fitting})

    def batches(self, config: DenoiserRunConfig, data: CleanPictures,
                model: torch.nn.Module) -> Callable[[int], Batch]:
        """Clean crops, and in their share of the updates brightened photographs with noise."""
        count, crop, share = config.train.batch_size, config.data.crop, config.data.camera_jpeg
        plain = Sampler(data.train, data.cache, crop, crop="native", seed=config.train.seed)
        if not share:
            return lambda step: plain.batch(step, count)
        pairs = open_dataset(config.data.pairs).train if config.data.pairs else ()
        camera = CameraJpegSampler(data.train, data.cache, crop, _noise_map, measure=_measure, pairs=pairs,
                                   processed_prob=config.data.camera, seed=config.train.seed)

        def draw(step: int) -> Batch:
            before = int(step * share)
            return camera.batch(before, count) if int((step + 1) * share) > before else plain.batch(step, count)

        return draw

    def evaluator(self, config: DenoiserRunConfig, data: CleanPictures) -> Evaluator:
        pictures = [batch.image for batch in data.load("val", limit=_SHOWN)]
        photographs = camera_validation(data, config.data.camera) if config.data.camera_jpeg else None
        return lambda network: validate(cast(DenoisingUNet, network), pictures, photographs)

    def monitor(self, config: DenoiserRunConfig) -> str:
        return config.train.monitor or ("val/psnr/camera" if config.data.camera_jpeg else "val/psnr")

    def default_name(self, config: DenoiserRunConfig) -> str:
        return f"denoiser-{config.network.channels}"

    def headline(self, config: DenoiserRunConfig, data: CleanPictures) -> str:
        return data.describe()

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        scores = {name: value for name, value in fitted.best.items() if name.startswith("val/")}
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}")
        print("\n".join(f"  {name:<12} {value:.3f} dB" for name, value in scores.items()))
        print(f"denoise a photograph with it:\n  rlenhance denoise PHOTO --model {session.run.path / 'best'}")
        return {"denoiser": scores}


DENOISER = DenoiserTask()

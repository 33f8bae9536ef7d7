"""Denoisers among the networks of restoration: noisy pictures, their validation, what a network begins with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from rlenhance.agents import SupervisedConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.fit import Evaluator
from rlenhance.experiments.tasks.clean_pictures import load_clean
from rlenhance.experiments.tasks.restore_config import RestoreConfig, training_of
from rlenhance.experiments.tasks.restore_data import RestoreDataset, mean_psnr, run_eval
from rlenhance.hub.shipped import locate
from rlenhance.learning.data import (
    Batch,
    CameraJpegSampler,
    Example,
    MixedNoise,
    NoisySampler,
    SyntheticNoise,
    open_dataset,
)
from rlenhance.learning.data.examples import load_example
from rlenhance.learning.data.synthetic_noise import CAMERA_WEIGHT
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import DenoisingUNet, FilterPolicy, Restorer
from rlenhance.learning.models.warm_start import denoiser_weights
from rlenhance.learning.ops.image import center_crop
from rlenhance.ops.camera_noise import camera_noise_map
from rlenhance.ops.noise_estimation import LARGEST_NOISE, NOISE_FLOOR, noise_map_from_image

#: The noise that is validated on and reported, in 255ths.
LEVELS = (15, 25, 50)
_CROP, _PHOTOGRAPHS = 256, 16  # longest side of what is taken from the middle of a picture; photographs
_REDUCED = 0.6  # size of every second batch of crops for filters: they keep what is in their targets
_WIDE = 16  # channels of a layer that can grow; a layer with fewer reads or writes a picture

_noise_map = partial(noise_map_from_image, noise_floor=NOISE_FLOOR)
_measure = partial(camera_noise_map, noise_floor=NOISE_FLOOR)


@dataclass(kw_only=True)
class NoisyDataset(RestoreDataset):
    """Pictures with noise.

    Attributes:
        channels: 1 for grey pictures, 3 for colour.
        camera_share: share of the updates on brightened photographs; they are validated on where it is above 0.
        processed: share of these that a simulated camera processes.
    """

    channels: int
    camera_share: float
    processed: float

    def validation(self, limit: int) -> list[Batch]:
        """The middles of pictures with noise of every level, always the same."""
        pictures = super().validation(limit)
        return [self._with_noise(picture, level, number) for number, picture in enumerate(pictures)
                for level in LEVELS]

    def evaluator(self, limit: int, settings: SupervisedConfig) -> Evaluator:
        """Mean PSNR in dB of each level, and over them; of the photographs that of their mean squared error."""
        pictures = self.validation(limit)
        photographs = camera_validation(self, self.processed).map(self._planes) if self.camera_share else None

        def evaluate(network: nn.Module) -> dict[str, float]:
            means = {f"val/psnr/sigma{level}": mean_psnr(partial(run_eval, network), pictures[number::len(LEVELS)])
                     for number, level in enumerate(LEVELS)}
            scores = {"val/psnr": sum(means.values()) / len(means), **means}
            if photographs is not None:
                assert photographs.target is not None  # of pairs
                error = (run_eval(network, photographs) - photographs.target).square().mean()
                scores["val/psnr/camera"] = -10 * error.log10().item()
            return scores

        return evaluate

    def _with_noise(self, picture: Batch, level: int, seed: int) -> Batch:
        clean = self._planes(center_crop(picture.image, _CROP))
        made = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        noise = torch.full_like(clean[:, :1], level / 255)
        return Batch(clean + noise * made, clean, noise_std=noise)

    def _planes(self, images: torch.Tensor) -> torch.Tensor:
        return images if self.channels == 3 else images.mean(dim=1, keepdim=True)


def open_noisy(config: RestoreConfig) -> NoisyDataset:
    """Good pictures that are made noisy, or photographed by simulated cameras, when they are drawn.

    Raises:
        UsageError: shares outside [0, 1], levels of noise that cannot be, pictures that cannot be used.
    """
    pictures, channels, seed = config.data, config.network.channels, config.train.seed
    for option, share in (("--camera-jpeg", pictures.camera_jpeg), ("--camera", pictures.camera)):
        if not 0 <= share <= 1:
            raise UsageError(f"{option} is a share in [0, 1]; got {share:g}")
    noise = SyntheticNoise(pictures.noise_levels, pictures.signal_dependent_prob, pictures.quantized_prob,
                           pictures.correlated_prob)
    folders = () if pictures.data is None else (pictures.data, *pictures.more)
    clean, size = load_clean(folders, pictures.max_side, pictures.on_bad_image), training_of(config).size
    camera = None
    if pictures.camera_jpeg:
        pairs = open_dataset(pictures.pairs).train if pictures.pairs else ()
        camera = CameraJpegSampler(clean.train, clean.cache, size, _noise_map, measure=_measure, pairs=pairs,
                                   processed_prob=pictures.camera, seed=seed)
    kernels = config.network.model == "kernel_denoiser"
    sampler = NoisySampler(clean.train, clean.cache, size, MixedNoise() if kernels else noise, channels=channels,
                           camera=camera, camera_share=pictures.camera_jpeg, seed=seed,
                           camera_weight=1.0 if kernels else CAMERA_WEIGHT, scale=_REDUCED if kernels else 1.0)

    def prepare(example: Example) -> Batch:
        return load_example(example, clean.cache)

    return NoisyDataset(clean.splits, clean.cache, clean.skipped, clean.about, sample=sampler.batch, prepare=prepare,
                        channels=channels, camera_share=pictures.camera_jpeg, processed=pictures.camera)


def camera_validation(data: RestoreDataset, processed: float = 0.0) -> Batch:
    """Crops of brightened and processed photographs of the validation pictures, always the same."""
    sampler = CameraJpegSampler(data.splits.val, data.cache, 128, _noise_map, measure=_measure,
                                processed_prob=processed, seed=1)
    drawn = Batch.stack([sampler.batch(16 * number, 1) for number in range(_PHOTOGRAPHS)])
    assert drawn.noise_std is not None
    return Batch(drawn.image, drawn.target, noise_std=drawn.noise_std.clamp(max=LARGEST_NOISE))


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


def initialize(network: DenoisingUNet, path: Path) -> None:
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

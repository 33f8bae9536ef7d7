"""What the denoising experiments share: noisy pictures, networks, learners, the judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents import LEARNERS, A3CConfig, DirectConfig, Learner, SupervisedConfig
from agents.optim import OptimizerConfig
from envs.denoise import DENOISING_REWARD
from experiments.core.dataset import Dataset
from rlenhance.actions.filters import choice_frequencies
from rlenhance.core.errors import UsageError
from rlenhance.core.image import NOISE_MARGIN
from rlenhance.data import (
    Batch,
    Example,
    ImageCache,
    Noise,
    Sampler,
    check_disjoint,
    load_split,
    noise_from,
    open_noisy,
    parse_noise,
    validate_splits,
)
from rlenhance.hub.checkpoint import load_network
from rlenhance.hub.shipped import locate
from rlenhance.metrics.full_reference import psnr
from rlenhance.models import MODELS, BaseFilterPolicy, DenoisingUNet, GreedyEpisode, Restorer, build_model, warm_start
from rlenhance.rewards import Reward, RewardWeights

#: The noise that tables report, in 255ths.
LEVELS = (15.0, 25.0, 50.0)


@dataclass(frozen=True)
class PictureConfig:
    """Which pictures, and their noise."""

    data: Path | None = None
    """Folder of good pictures (docs/howto/denoising.md), or of pairs with --noise real; without it, the sample
    photographs: a demonstration."""
    noise: str = "25"
    """Deviation in 255ths, a range as in 5-55, blind (that range), poisson_gaussian, salt_pepper or jpeg, each with
    :LEVEL or :LOW-HIGH; or real: pairs bring their own."""
    eight_bit: bool = False
    """Noisy pictures are clipped and rounded to 8 bits, as a file has them."""
    color: bool = False
    """Work in colour; otherwise pictures are made grey, one plane."""
    crop: int = 64
    """Side in pixels of the crops to learn from."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""

    @property
    def planes(self) -> int:
        """Channels of the pictures."""
        return 3 if self.color else 1


@dataclass(frozen=True)
class NetworkConfig:
    """Which network."""

    backbone: str = "gru_unet"
    """gru_unet (a small U-Net at half the size), gru_fcn (PixelRL's dilated network) or another one."""
    memory: str = "first"
    """Of these two: first (the convolutions look once, a GRU goes on), every (at every step, as PixelRL) or none."""
    told_noise: bool = True
    """The network is told how strong the noise seems to be."""
    estimate: bool = True
    """Policies: tools are weighed by how near they come to an estimate of the clean pixel; without, by a layer alone,
    as in PixelRL."""
    horizon: int = 6
    """Policies: steps of an episode, T (PixelRL: 5)."""
    views: int = 1
    """Policies: in use they look at the picture turned and mirrored in so many ways, 1 to 8."""

    @property
    def spec(self) -> dict[str, Any]:
        """The backbone's recipe."""
        own = {"memory": self.memory} if self.backbone.startswith("gru_") else {}
        return {"name": self.backbone, **own}


def _a3c() -> A3CConfig:
    return A3CConfig(rollouts_per_image=4, update_epochs=2, entropy_target=(0.25, 0.02), reward_map_kernel=5,
                     optimizer=OptimizerConfig(5e-5, 10, 0.02, 0.5))


@dataclass(frozen=True)
class LearnerConfigs:
    """Settings of each learner."""

    a3c: A3CConfig = field(default_factory=_a3c)
    direct: DirectConfig = field(default_factory=lambda: DirectConfig(optimizer=OptimizerConfig(3e-4, 20, 0.02, 0.5)))
    supervised: SupervisedConfig = field(default_factory=lambda: SupervisedConfig(
        l1=0.0, ssim=0.0, psnr=1.0, optimizer=OptimizerConfig(3e-3, 100, 0.01, 0.5)))


class DenoiseDataset(Dataset):
    """Pictures whose noise is known.

    Attributes:
        config: where they come from.
        noise: what is done to them; None where they bring their own.
    """

    config: PictureConfig
    noise: Noise | None

    def at(self, split: str, level: float | None = None, *, eight_bit: bool = False, limit: int | None = None,
           side: int = 0) -> list[Batch]:
        """The pictures of a split, one batch each, with the same noise at every call.

        Args:
            level: Gaussian noise of this deviation in 255ths instead of the run's.
            eight_bit: clipped and rounded.
            limit: so many, evenly spread.
            side: only the middle, so many pixels wide and high.
        """
        examples: Sequence[Example] = self.splits.parts[split]
        if level is not None and self.noise is not None:
            noise = parse_noise(f"{level:g}", eight_bit)
            examples = [Example(e.name, e.scene, None, e.target, noise) for e in examples]
        batches = load_split(examples, self.cache, limit=limit, planes=self.config.planes)
        return [middle(batch, side) if side else batch for batch in batches]


def middle(batch: Batch, side: int) -> Batch:
    """The middle of pictures, at most so many pixels wide and high."""
    def cut(part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        top, left = (max(0, (size - side) // 2) for size in part.shape[-2:])
        return part[..., top : top + side, left : left + side]

    image = cut(batch.image)
    assert image is not None
    return Batch(image, cut(batch.target))


def load_noisy(config: PictureConfig) -> DenoiseDataset:
    """Open, scan and check the pictures.

    Raises:
        UsageError: bad files, splits that overlap, noise that cannot be.
    """
    cache = ImageCache()
    splits = open_noisy(config.data, config.noise, config.eight_bit)
    splits, skipped = validate_splits(splits, cache, config.on_bad_image)
    if config.data:
        check_disjoint(splits, cache)
    pictures = DenoiseDataset(splits, cache, skipped)
    pictures.config, pictures.noise = config, noise_from(config.noise, config.eight_bit)
    return pictures


def make_batches(pictures: DenoiseDataset, batch_size: int, seed: int) -> Callable[[int], Batch]:
    """Update number -> training batch: crops, with noise of their own each time."""
    config = pictures.config
    sampler = Sampler(pictures.splits.train, pictures.cache, config.crop, crop="native", seed=seed,
                      planes=config.planes)
    return lambda step: sampler.batch(step, batch_size)


def make_network(config: NetworkConfig, is_policy: bool, planes: int, noise: Noise | None) -> Any:
    """A policy, or the supervised twin on the same backbone, with fresh weights from the global random stream."""
    if not is_policy:
        return MODELS.create("restorer", backbone=config.spec, passes=1, channels=planes, statistics=False,
                             margin=NOISE_MARGIN, told_noise=config.told_noise)
    levels = None if noise is None else (noise.low, noise.high)
    return MODELS.create("filter_policy", backbone=config.spec, horizon=config.horizon, channels=planes,
                         estimate=config.estimate, noise=levels, told_noise=config.told_noise, views=config.views)


def make_learner(name: str, network: NetworkConfig, learners: LearnerConfigs, pictures: DenoiseDataset, *, seed: int,
                 device: torch.device | str = "cpu", init: Path | None = None, warm: Path | None = None) -> Learner:
    """A learner and its network.

    Args:
        init: begin with the weights of this run.
        warm: begin with the backbone and the estimate of this supervised run, or of this learned denoiser.

    Raises:
        UnknownName: no such learner or backbone.
        UsageError: a learner that is not for filters; `init` or `warm` hold another network.
    """
    kind = LEARNERS[name]
    settings = getattr(learners, name, None)
    if settings is None:
        raise UsageError(f"{name} does not choose among tools; --learner is one of a3c, direct, supervised")
    if init is not None and warm is not None:
        raise UsageError("--init and --warm-start both give the network its weights: use one of them")
    torch.manual_seed(seed)
    made = make_network(network, kind.is_policy, pictures.config.planes, pictures.noise)
    if init is not None:
        _begin_with(made, load_network(init), init)
    if warm is not None:
        source = load_network(locate(str(warm)))
        if not isinstance(source, Restorer | DenoisingUNet):
            raise UsageError(f"--warm-start begins with a supervised run or a learned denoiser; {warm} holds a "
                             f"{type(source).__name__}: use --init for the same network")
        warm_start(made, source)
    made.to(memory_format=torch.channels_last)  # see `RecurrentBackbone.forward`
    if kind.is_policy:
        return kind(made, Reward(RewardWeights.only(**DENOISING_REWARD)), settings, seed=seed, device=device)
    return kind(made, settings, seed=seed, device=device)


def _begin_with(network: Any, other: Any, path: Path) -> None:
    try:
        network.load_state_dict(other.state_dict())
    except RuntimeError as error:
        raise UsageError(f"--init {path}: holds another network ({other.spec}); use the settings of that run") \
            from error


def level_scores(model: Any, pictures: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
    """Mean PSNR in dB by name of the noise, outputs clipped to [0, 1]."""
    with torch.no_grad():
        scores = {name: [float(psnr(model(b.image).clamp(0, 1), b.target)) for b in batches if b.target is not None]
                  for name, batches in pictures.items()}
    return {name: sum(values) / len(values) for name, values in scores.items()}


def step_shares(policy: BaseFilterPolicy, pictures: Sequence[Batch]) -> Tensor:
    """How often each tool is taken at each step of the greedy episodes, mean of the pictures: (T, K), rows sum to 1."""
    with torch.no_grad():
        chosen = [GreedyEpisode(policy).decide(batch.image) for batch in pictures]
    return torch.stack([torch.stack([choice_frequencies(action["local"], policy.actions.num_choices)
                                     for action in episode])
                        for episode in chosen]).mean(dim=0)


@dataclass
class DenoisingEvaluator:
    """Judges a network on validation pictures: `val/psnr`, the mean over the noises, and each of them.

    Attributes:
        pictures: name of the noise -> one batch per picture.
    """

    pictures: Mapping[str, Sequence[Batch]]

    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        was_training = network.training
        network.eval()
        found = level_scores(build_model(network), self.pictures)
        scores = {"val/psnr": sum(found.values()) / len(found), **{f"val/psnr/{n}": v for n, v in found.items()}}
        if isinstance(network, BaseFilterPolicy):
            taken = step_shares(network, [b for part in self.pictures.values() for b in part[:4]]).mean(dim=0)
            scores |= {"collapse/top_choice_share": taken.max().item(),
                       "collapse/num_choices": float((taken >= 0.01).sum())}
        network.train(was_training)
        return scores


def validation(pictures: DenoiseDataset, limit: int = 12, side: int = 160) -> dict[str, list[Batch]]:
    """Validation pictures for `DenoisingEvaluator`: at those of `LEVELS` that the run's noise covers."""
    noise = pictures.noise
    if noise is None or type(noise).__name__ != "GaussianNoise" or noise.low == noise.high:
        return {pictures.config.noise: pictures.at("val", limit=limit, side=side)}
    levels = [level for level in LEVELS if noise.low <= level <= noise.high] or [(noise.low + noise.high) / 2]
    return {f"{level:g}": pictures.at("val", level, limit=limit, side=side) for level in levels}

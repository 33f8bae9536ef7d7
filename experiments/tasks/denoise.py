"""Denoising with filters: noisy pictures, networks, learners, training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from rlenhance.agents import LEARNERS, A3CConfig, DirectConfig, Learner, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.envs.denoise import DENOISING_REWARD
from rlenhance.experiments.core.collapse import share_metrics
from rlenhance.experiments.core.config import (
    Flat,
    RunConfig,
    TrainConfig,
    chooses_tools,
    fitting,
    learner_settings,
    one_of,
    with_defaults,
)
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.fit import FitResult
from rlenhance.experiments.core.plugins import plugin_words
from rlenhance.experiments.core.presets import Preset, preset_option
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.tasks.presets import DENOISE_PRESETS
from rlenhance.hub.shipped import locate
from rlenhance.learning.actions import Action
from rlenhance.learning.actions.filters import choice_frequencies
from rlenhance.learning.data import (
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
from rlenhance.learning.hub.checkpoint import load_model, load_network
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import (
    MODELS,
    BaseFilterPolicy,
    DenoisingUNet,
    GreedyEpisode,
    Restorer,
    build_model,
    warm_start,
)
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.ops.image import NOISE_MARGIN, center_crop
from rlenhance.learning.rewards import Reward, RewardWeights

#: The noise that tables report, in 255ths.
LEVELS = (15.0, 25.0, 50.0)


@dataclass(frozen=True)
class DenoiseDataConfig:
    """Which pictures, and their noise."""

    data: Path | None = None
    """Folder of good pictures (docs/howto/filter_policies.md), or of pairs with --noise real; without it, the sample
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
class DenoiseNetworkConfig:
    """Which network."""

    backbone: Annotated[str, one_of(BACKBONES)] = "gru_unet"
    """gru_unet (a small U-Net at half the size), gru_fcn (PixelRL's dilated network) or another one."""
    memory: str = "first"
    """Of those two: first (the convolutions look once, a GRU goes on), every (at every step, as PixelRL) or none."""
    noise_conditioned: bool = True
    """The network gets an estimate of the noise's strength as an input."""
    estimate: bool = True
    """Policies: tools are weighed by how near they come to an estimate of the clean pixel; without, by a layer alone,
    as in PixelRL."""
    horizon: int = 6
    """Policies: steps of an episode, T (PixelRL: 5)."""
    tta_views: int = 1
    """Policies: in use they look at the picture turned and mirrored in so many ways, 1 to 8."""

    @property
    def spec(self) -> dict[str, Any]:
        """The backbone's recipe."""
        takes_memory = "memory" in inspect.signature(BACKBONES[self.backbone]).parameters
        if not takes_memory and self.memory != DenoiseNetworkConfig.memory:
            raise UsageError(f"the backbone {self.backbone} has no memory to set: leave out --memory")
        return {"name": self.backbone, **({"memory": self.memory} if takes_memory else {})}


DenoiseLearners = learner_settings(
    a3c=A3CConfig(rollouts_per_image=4, update_epochs=2, entropy_target=(0.25, 0.02), reward_map_kernel=5,
                  optimizer=OptimizerConfig(5e-5, 10, 0.02, 0.5)),
    direct=DirectConfig(optimizer=OptimizerConfig(3e-4, 20, 0.02, 0.5)),
    supervised=SupervisedConfig(l1=0.0, ssim=0.0, psnr=1.0, optimizer=OptimizerConfig(3e-3, 100, 0.01, 0.5)))


@dataclass(kw_only=True)
class DenoiseDataset(Dataset):
    """Pictures whose noise is known.

    Attributes:
        config: where they come from.
        noise: the noise that is made; None where they bring their own.
    """

    config: DenoiseDataConfig
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
        return middles(batches, side) if side else list(batches)


def middles(batches: Iterable[Batch], side: int) -> list[Batch]:
    """The middle of each picture, at most `side` pixels wide and high."""
    return [batch.map(partial(center_crop, side=side)) for batch in batches]


@dataclass(frozen=True)
@with_defaults(("devices",), {"updates": "300, or as many as --minutes allows", "monitor": "val/psnr"},
               out=Path("runs/denoise"), eval_interval=100)
class DenoiseTrainConfig(TrainConfig):
    """Settings of a training run on noisy pictures."""

    learner: Annotated[str, one_of(LEARNERS, chooses_tools)] = "a3c"
    """a3c (advantage actor-critic), direct (back-propagation through the mixture of all tools' results) or supervised
    (the same backbone regresses the clean picture)."""
    preset: Annotated[str, preset_option(DENOISE_PRESETS)] = "filters"
    """The recipe that all other settings begin with; options that are named beat it. In Python:
    `begin_with(DenoiseConfig, NAME)`."""
    warm_start: Path | None = None
    """Begin with the backbone and the estimate of this supervised run, or of this learned denoiser: a run of
    denoiser_train, or a shipped one (denoiser-grey)."""


@dataclass(frozen=True)
class DenoiseConfig(RunConfig):
    """Learn to denoise: at each step every pixel takes one of a few filters."""

    presets: ClassVar[Mapping[str, Preset]] = DENOISE_PRESETS

    train: Flat[DenoiseTrainConfig] = field(default_factory=DenoiseTrainConfig)
    data: Flat[DenoiseDataConfig] = field(default_factory=DenoiseDataConfig)
    network: Flat[DenoiseNetworkConfig] = field(default_factory=DenoiseNetworkConfig)
    learners: Flat[DenoiseLearners] = field(default_factory=DenoiseLearners)  # type: ignore[valid-type]


def load_noisy(config: DenoiseDataConfig) -> DenoiseDataset:
    """Open, scan and check the pictures."""
    cache = ImageCache()
    splits = open_noisy(config.data, config.noise, config.eight_bit)
    splits, skipped = validate_splits(splits, cache, config.on_bad_image)
    if config.data:
        check_disjoint(splits, cache)
    return DenoiseDataset(splits, cache, skipped, config=config, noise=noise_from(config.noise, config.eight_bit))


def level_scores(model: Any, pictures: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
    """Mean PSNR in dB by name of the noise, outputs clipped to [0, 1]."""
    with torch.no_grad():
        scores = {name: [float(psnr(model(b.image).clamp(0, 1), b.target)) for b in batches if b.target is not None]
                  for name, batches in pictures.items()}
    return {name: sum(values) / len(values) for name, values in scores.items()}


def filter_shares(policy: BaseFilterPolicy, actions: Sequence[Action]) -> Tensor:
    """How often each filter is taken at each step of an episode: (T, K), rows sum to 1."""
    return torch.stack([choice_frequencies(action["local"], policy.actions.num_choices) for action in actions])


def step_shares(policy: BaseFilterPolicy, pictures: Sequence[Batch]) -> Tensor:
    """`filter_shares` of the greedy episodes, mean over the pictures: (T, K)."""
    with torch.no_grad():
        return torch.stack([filter_shares(policy, GreedyEpisode(policy).decide(batch.image))
                            for batch in pictures]).mean(dim=0)


@dataclass
class DenoiseEvaluator:
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
            scores |= share_metrics(taken)
        network.train(was_training)
        return scores


def validation(pictures: DenoiseDataset, limit: int = 12, side: int = 160) -> dict[str, list[Batch]]:
    """Validation pictures for `DenoiseEvaluator`: at those of `LEVELS` that the run's noise covers."""
    noise = pictures.noise
    if noise is None or type(noise).__name__ != "GaussianNoise" or noise.low == noise.high:
        return {pictures.config.noise: pictures.at("val", limit=limit, side=side)}
    levels = [level for level in LEVELS if noise.low <= level <= noise.high] or [(noise.low + noise.high) / 2]
    return {f"{level:g}": pictures.at("val", level, limit=limit, side=side) for level in levels}


class DenoiseTask(Task[DenoiseConfig, DenoiseDataset]):
    """Denoise with filters: see docs/howto/filter_policies.md."""

    name = "denoise"
    command = "rlenhance.experiments.denoise_train"
    env_id = "Denoise-v0"
    Config = DenoiseConfig
    default_updates = 300

    def check(self, config: DenoiseConfig, stored: Mapping[str, Any]) -> None:
        super().check(config, stored)
        if not chooses_tools(LEARNERS[config.train.learner]):
            raise UsageError(f"{config.train.learner} does not choose among tools; --learner is one of "
                             f"{', '.join(fitting(LEARNERS, chooses_tools))}")

    def dataset(self, config: DenoiseConfig) -> DenoiseDataset:
        return load_noisy(config.data)

    def model(self, config: DenoiseConfig, data: DenoiseDataset) -> Any:
        """A policy, or the supervised twin on the same backbone."""
        network, channels = config.network, config.data.planes
        if not LEARNERS[config.train.learner].is_policy:
            return MODELS.create("restorer", backbone=network.spec, num_passes=1, channels=channels, statistics=False,
                                 range_margin=NOISE_MARGIN, noise_conditioned=network.noise_conditioned)
        levels = None if data.noise is None else (data.noise.low, data.noise.high)
        return MODELS.create("filter_policy", backbone=network.spec, horizon=network.horizon, channels=channels,
                             estimate=network.estimate, noise=levels, noise_conditioned=network.noise_conditioned,
                             num_tta_views=network.tta_views)

    def warm_start(self, network: Any, path: Path) -> None:
        source = load_network(locate(path))
        if not isinstance(source, Restorer | DenoisingUNet):
            raise UsageError(f"--warm-start begins with a supervised run or a learned denoiser; {path} holds a "
                             f"{type(source).__name__}: use --init for the same network")
        warm_start(network, source)

    def reward(self, config: DenoiseConfig) -> Reward:
        return Reward(RewardWeights.only(**DENOISING_REWARD))

    def make_learner(self, config: DenoiseConfig, network: Any, device: torch.device) -> Learner:
        network.to(memory_format=torch.channels_last)  # see `Remembering.forward`
        return super().make_learner(config, network, device)

    def batches(self, config: DenoiseConfig, data: DenoiseDataset, model: torch.nn.Module) -> Callable[[int], Batch]:
        """Crops, with noise of their own each time."""
        train = config.train
        sampler = Sampler(data.splits.train, data.cache, config.data.crop, crop="native", seed=train.seed,
                          planes=config.data.planes)
        return lambda step: sampler.batch(step, train.batch_size)

    def evaluator(self, config: DenoiseConfig, data: DenoiseDataset) -> DenoiseEvaluator:
        return DenoiseEvaluator(validation(data))

    def headline(self, config: DenoiseConfig, data: DenoiseDataset) -> str:
        return f"{data.describe()}\n{config.train.learner}, noise {config.data.noise}"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        run, learner, shown = session.run, session.config.train.learner, session.evaluator.pictures
        run.draw_curves()
        rows = {"input": level_scores(lambda image: image, shown),
                learner: level_scores(load_model(run.path / "best"), shown)}
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} (chosen by the "
              f"validation PSNR)\nPSNR in dB on {len(next(iter(shown.values())))} validation pictures:")
        for name, row in rows.items():
            print(f"  {name:<12}" + "  ".join(f"noise {noise}: {value:.2f}" for noise, value in row.items()))
        print(f"result in {run.path} (best/, curves.png, metrics.csv); compare it with rules that need no training:\n"
              f"  python -m rlenhance.experiments.denoise_compare --models {run.path}"
              f"{plugin_words(session.config.train.plugin)}")
        return rows


DENOISE = DenoiseTask()

"""Completion: pictures with holes, networks on a prior, learners, training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor, nn

from rlenhance.agents import LEARNERS, A3CConfig, DirectConfig, SACConfig, SupervisedConfig
from rlenhance.agents.base import make_env
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.agents.rollout import collect_rollout
from rlenhance.core.errors import UsageError
from rlenhance.envs.completion import COMPLETION_REWARD, PrefilledSource, prefill_and_crop
from rlenhance.experiments.core.collapse import share_metrics
from rlenhance.experiments.core.config import (
    Flat,
    RunConfig,
    TrainConfig,
    default_is,
    learner_settings,
    one_of,
    with_defaults,
)
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.fit import FitResult
from rlenhance.experiments.core.plugins import plugin_words
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.tasks.completion_network import (
    CompletionNetworkConfig,
    begin_with_run,
    make_network,
    with_run,
)
from rlenhance.learning.actions.filters import choice_frequencies
from rlenhance.learning.data import (
    Batch,
    CompletionSampler,
    ImageCache,
    evenly_spread,
    load_completion,
    open_completion,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.learning.data.completion import MASKS
from rlenhance.learning.metrics.completion import boundary_discontinuity, texture_difference
from rlenhance.learning.metrics.full_reference import masked_psnr, ssim
from rlenhance.learning.models import CompletionPolicy, CompletionRestorer
from rlenhance.learning.models.completion_policy import PriorModel
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights
from rlenhance.ops.masks import DIFFERENCE, MASK_GENERATORS


@dataclass(frozen=True)
class CompletionDataConfig:
    """Which pictures, and their holes."""

    data: Path | None = None
    """original_images/ beside occluded_images/, or a folder of good pictures (docs/howto/completion_policies.md);
    without it, the sample photographs: a demonstration."""
    holes: Annotated[str, one_of(MASK_GENERATORS)] = "square"
    """The holes that are made in training pictures."""
    masks: Annotated[str, one_of(MASKS)] = "drawn"
    """Pairs are trained with the holes that they have (given), with holes made in their originals (drawn), or both."""
    mask_threshold: float = DIFFERENCE
    """Pairs: sum of the channels' differences, white being 1, above which a pixel is one of the hole (0.03 as
    published)."""
    size: int = 128
    """Side in pixels to which whole pictures are reduced."""
    window: int = 64
    """Side in pixels of the square about the hole that agents learn on (the prior has seen the whole picture)."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""


CompletionLearners = learner_settings(
    a3c=A3CConfig(rollouts_per_image=3, update_epochs=2, entropy_target=(0.05, 0.004), reward_map_kernel=3,
                  credit_neighbors=True, optimizer=OptimizerConfig(6e-4, 10, 0.05, 0.5)),
    direct=DirectConfig(optimizer=OptimizerConfig(1e-3, 10, 0.05, 0.5)),
    sac=SACConfig(buffer_size=64, batch_size=4, gradient_steps=2, target_entropy=-3.0, init_alpha=1e-4,
                  optimizer=OptimizerConfig(3e-4, 10, 0.1, 0.5), critic_optimizer=OptimizerConfig(1e-3, 10, 0.1, 0.5)),
    supervised=SupervisedConfig(l1=0.0, ssim=0.0, psnr=1.0, ema_decay=0.995,
                                optimizer=OptimizerConfig(1e-3, 50, 0.05, 0.5)))


@dataclass(kw_only=True)
class CompletionDataset(Dataset):
    """Pictures with holes.

    Attributes:
        holes: a name of `MASK_GENERATORS`, for pictures without holes of their own.
        mask_threshold: see `CompletionDataConfig`.
    """

    holes: str
    mask_threshold: float = DIFFERENCE

    def at(self, split: str, side: int, limit: int | None = None, drawn: bool = False) -> list[Batch]:
        """The pictures of a split that have an original, or all where none has, one batch each, at side x side, evenly
        spread; with the holes of pairs, or holes that are made in their originals.
        """
        part = self.splits.parts[split]
        part = [example for example in part if example.target is not None] or part
        part = [replace(example, image=None) for example in part] if drawn else part
        return [load_completion(example, self.cache, side, self.holes, self.mask_threshold)
                for example in evenly_spread(part, limit)]


def reward_hint(default: str) -> str:
    """The reward terms, and the weights where none is given."""
    weights = " ".join(f"{name}={weight:g}" for name, weight in COMPLETION_REWARD.items())
    return f"(terms are {', '.join(TERMS)}; default: {weights})"


@dataclass(frozen=True)
@with_defaults(("devices",), {"updates": "200, or as many as --minutes allows"}, out=Path("runs/complete"),
               batch_size=4, eval_interval=50)
class CompletionTrainConfig(TrainConfig):
    """Settings of a training run on pictures with holes."""

    learner: Annotated[str, one_of(LEARNERS)] = "a3c"
    """a3c (advantage actor-critic), direct (back-propagation through the mixture of all tools' results), sac (small
    continuous changes) or supervised (the same backbone regresses the original)."""
    monitor: Annotated[str | None, default_is("val/psnr", "SCORE")] = None
    """The validation score whose maximum chooses best/: val/psnr, val/ssim or, of policies, val/return."""
    warm_start: Path | None = None
    """Begin a policy with the features of this supervised run: of this command (with its estimate), or of
    network_train gated_pixelrnn, convlstm_autoencoder or combined, imported ones too; or with another policy. The run
    brings --backbone and its arguments."""
    reward: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint=reward_hint)] = ()
    """Policies: weights of the terms that count, as name=weight (docs/reference/rewards.md). seam and texture need no
    original."""
    val_images: int = 32
    """Pictures of the validation split, evenly spread."""


@dataclass(frozen=True)
class CompletionConfig(RunConfig):
    """Learn to complete pictures: at each step every pixel of the hole takes what one of a few tools finds for it."""

    train: Flat[CompletionTrainConfig] = field(default_factory=CompletionTrainConfig)
    data: Flat[CompletionDataConfig] = field(default_factory=CompletionDataConfig)
    network: Flat[CompletionNetworkConfig] = field(default_factory=CompletionNetworkConfig)
    learners: Flat[CompletionLearners] = field(default_factory=CompletionLearners)  # type: ignore[valid-type]

    def settled(self, base: CompletionConfig | None, named: frozenset[str]) -> CompletionConfig:
        """What a command line means: a backbone that it names is asked for, also where it is the default."""
        run = self.train.warm_start
        if run is None or not {"backbone", "widths"} & named:
            return self
        return replace(self, network=with_run(self.network, run, named))


def load_pictures(config: CompletionDataConfig) -> CompletionDataset:
    """Open, scan, and leave out near-duplicates."""
    if config.window < 16 or config.size < 32:
        raise UsageError(f"--size is at least 32 and --window at least 16; got {config.size} and {config.window}")
    cache = ImageCache()
    splits, skipped = validate_splits(open_completion(config.data), cache, config.on_bad_image)
    splits, about = without_near_duplicates(splits, cache) if config.data else (splits, "")
    return CompletionDataset(splits, cache, skipped, about, holes=config.holes, mask_threshold=config.mask_threshold)


def prior_of(network: PriorModel) -> Callable[[Tensor, Tensor], Tensor]:
    """The first guess of a network, on whatever device it lies; pictures stay on the CPU."""
    def prior(image: Tensor, mask: Tensor) -> Tensor:
        device = next(network.parameters()).device
        return network.prefill(image.to(device), mask.to(device)).cpu()

    return prior


@dataclass
class CompletionEvaluator:
    """Judges a network on validation pictures: `val/psnr` of the holes, its gain on the prior's, and SSIM.

    Attributes:
        pictures: whole ones, one per batch.
        window: see `CompletionDataConfig`.
        reward: of the policies.
    """

    pictures: Sequence[Batch]
    window: int
    reward: RewardWeights

    def __call__(self, network: nn.Module) -> dict[str, float]:
        was_training = network.training
        network.eval()
        begun = prefill_and_crop(Batch.stack(list(self.pictures)), prior_of(network),  # type: ignore[arg-type]
                                 self.window)
        scores: dict[str, float] = {}
        with torch.no_grad():
            batch = begun.to(next(network.parameters()).device)
            assert batch.mask is not None and batch.target is not None
            if isinstance(network, CompletionRestorer):
                final = network.refine(batch.image, batch.mask).clamp(0, 1)
            else:
                final, scores = self._play(network, batch)
        gain = masked_psnr(final, batch.target, batch.mask)
        before = masked_psnr(batch.image, batch.target, batch.mask)
        scores |= {"val/psnr": gain.mean().item(), "val/psnr_gain": (gain - before).mean().item(),
                   "val/ssim": ssim(final, batch.target).mean().item(),
                   "val/texture_gap": texture_difference(final, batch.mask).mean().item(),
                   "val/seam": boundary_discontinuity(final, batch.mask).mean().item()}
        network.train(was_training)
        return scores

    def _play(self, network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        env = make_env(network, Reward(self.reward), batch.image.device)
        preference = network.preferences.encode(None, len(batch), batch.image.device)
        rollout = collect_rollout(network, env, batch, preference, None)
        scores = {"val/return": torch.stack(rollout.rewards).sum(dim=0).mean().item()}
        if isinstance(network, CompletionPolicy):
            assert batch.mask is not None
            inside = batch.mask > 0.5
            taken = torch.stack([choice_frequencies(action["local"][inside], network.actions.num_choices)
                                 for action in rollout.actions]).mean(dim=0)
            scores |= share_metrics(taken)
        return rollout.final_image, scores


class CompletionTask(Task[CompletionConfig, CompletionDataset]):
    """Fill holes, on a prior: see docs/howto/completion_policies.md."""

    name = "completion"
    command = "rlenhance.experiments.complete_train"
    env_id = "Completion-v0"
    Config = CompletionConfig
    default_updates = 200

    def check(self, config: CompletionConfig, stored: Mapping[str, Any]) -> None:
        super().check(config, stored)
        train, monitor = config.train, self.monitor(config)
        if train.val_images < 1:
            raise UsageError(f"--val-images must be at least 1; got {train.val_images}")
        scores = ("val/psnr", "val/ssim", *(["val/return"] if LEARNERS[train.learner].is_policy else []))
        if monitor not in scores:
            raise UsageError(f"--monitor is one of {', '.join(scores)}; got {monitor!r}")
        self.reward(config)

    def reward(self, config: CompletionConfig) -> Reward:
        """The weights that were asked for, and no other."""
        words = config.train.reward
        if not words:
            return Reward(RewardWeights.only(**COMPLETION_REWARD))
        named = RewardWeights.parse(words)
        return Reward(RewardWeights.only(**{word.partition("=")[0]: named[word.partition("=")[0]] for word in words}))

    def dataset(self, config: CompletionConfig) -> CompletionDataset:
        return load_pictures(config.data)

    def model(self, config: CompletionConfig, data: CompletionDataset) -> Any:
        return make_network(config.network, LEARNERS[config.train.learner], config.data.size)

    def adopted(self, config: CompletionConfig) -> CompletionConfig:
        path = config.train.warm_start
        if path is None or config.train.init is not None:
            return config
        if not LEARNERS[config.train.learner].is_policy:
            raise UsageError(f"--warm-start begins a policy, and {config.train.learner} learns none: use --init with a "
                             f"run of this learner")
        return replace(config, network=with_run(config.network, path))

    def warm_start(self, network: Any, path: Path) -> None:
        """Begin a policy with the features of a supervised run, or over tools with another policy of the same shape."""
        begin_with_run(network, path)

    def batches(self, config: CompletionConfig, data: CompletionDataset, model: Any) -> Callable[[int], Batch]:
        """Windows about new holes that the network's prior has filled."""
        pictures, train = config.data, config.train
        sampler = CompletionSampler(data.splits.train, data.cache, pictures.size, holes=pictures.holes, seed=train.seed,
                                    masks=pictures.masks, threshold=pictures.mask_threshold)
        source = PrefilledSource(sampler, prior_of(model), pictures.window)
        return lambda step: source.batch(step, train.batch_size)

    def evaluator(self, config: CompletionConfig, data: CompletionDataset) -> CompletionEvaluator:
        return CompletionEvaluator(data.at("val", config.data.size, config.train.val_images), config.data.window,
                                   self.reward(config).weights)

    def headline(self, config: CompletionConfig, data: CompletionDataset) -> str:
        return f"{data.describe()}\n{config.train.learner}, prior {config.network.prior}"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        run, best, config = session.run, fitted.best, session.config
        run.draw_curves(panels={"loss": ["loss", "rollout/return"], "validation PSNR of the holes in dB": ["val/psnr"]})
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} (chosen by "
              f"{self.monitor(config)}): holes of {len(session.evaluator.pictures)} validation pictures "
              f"{best['val/psnr']:.2f} dB, {best['val/psnr_gain']:+.2f} on the prior\nresult in {run.path} (best/, "
              f"curves.png, metrics.csv); compare it with rules that need no training:\n"
              f"  python -m rlenhance.experiments.complete_compare --models {run.path}"
              f"{plugin_words(config.train.plugin)}")
        return {config.train.learner: best}


COMPLETION = CompletionTask()

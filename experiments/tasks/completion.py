"""What the completion experiments share: pictures with holes, networks on a prior, learners, the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agents import LEARNERS, A3CConfig, DirectConfig, Learner, SACConfig, SupervisedConfig
from agents.base import make_env
from agents.optim import OptimizerConfig
from agents.rollout import collect_rollout
from envs.completion import COMPLETION_REWARD, Begun, begin
from experiments.core.dataset import Dataset
from rlenhance.actions.filters import choice_frequencies
from rlenhance.core.errors import UsageError
from rlenhance.data import (
    Batch,
    CompletionSampler,
    ImageCache,
    load_completion,
    open_completion,
    validate_splits,
    without_near_duplicates,
)
from rlenhance.hub.checkpoint import create_network, find_checkpoint, load_network
from rlenhance.hub.shipped import FOLDER, locate
from rlenhance.metrics.completion import boundary_discontinuity, texture_difference
from rlenhance.metrics.full_reference import hole_psnr, ssim
from rlenhance.models import CompletionPolicy, CompletionRestorer, Policy
from rlenhance.models.completion_policy import PriorModel, copy_from_supervised
from rlenhance.rewards import Reward, RewardWeights

#: The word for the prior that needs no training.
MEMBRANE = "laplace"


@dataclass(frozen=True)
class PictureConfig:
    """Which pictures, and their holes."""

    data: Path | None = None
    """original_images/ beside occluded_images/, or a folder of good pictures (docs/howto/completion.md); without it,
    the sample photographs: a demonstration."""
    holes: str = "square"
    """What is made in the pictures to learn from: square, squares, brush or mixed."""
    size: int = 128
    """Side in pixels to which whole pictures are reduced."""
    window: int = 64
    """Side in pixels of the square about the hole that agents learn on (the prior has seen the whole picture)."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network."""

    prior: str = MEMBRANE
    """What fills the hole first: laplace, or a shipped network or a run that fills holes."""
    widths: tuple[int, ...] = (24, 32, 48)
    """Channels of the levels of the backbone, a small U-Net at half the size."""
    strides: tuple[int, ...] = (8, 4, 2, 1)
    """Policies: how far copies reach, in pixels."""
    horizon: int = 8
    """Policies: steps of an episode, T."""
    keep: float = 3.0
    """Policies over tools: head start of "keep" (a logit), so that a new policy leaves the prior's picture alone."""
    smooth: bool = True
    """Policies over tools: their weights change smoothly from pixel to pixel; without, there are four times as many."""

    @property
    def backbone(self) -> dict[str, Any]:
        """The recipe."""
        return {"name": "gru_unet", "memory": "none", "widths": self.widths, "blocks": (1,) * len(self.widths)}


def _a3c() -> A3CConfig:
    return A3CConfig(rollouts_per_image=3, update_epochs=2, entropy_target=(0.05, 0.004), reward_map_kernel=3,
                     credit_neighbors=True, optimizer=OptimizerConfig(6e-4, 10, 0.05, 0.5))


def _sac() -> SACConfig:
    return SACConfig(buffer_size=64, batch_size=4, gradient_steps=2, target_entropy=-3.0, init_alpha=1e-4,
                     optimizer=OptimizerConfig(3e-4, 10, 0.1, 0.5),
                     critic_optimizer=OptimizerConfig(1e-3, 10, 0.1, 0.5))


@dataclass(frozen=True)
class LearnerConfigs:
    """Settings of each learner."""

    a3c: A3CConfig = field(default_factory=_a3c)
    direct: DirectConfig = field(default_factory=lambda: DirectConfig(optimizer=OptimizerConfig(1e-3, 10, 0.05, 0.5)))
    sac: SACConfig = field(default_factory=_sac)
    supervised: SupervisedConfig = field(default_factory=lambda: SupervisedConfig(
        l1=0.0, ssim=0.0, psnr=1.0, ema_decay=0.995, optimizer=OptimizerConfig(1e-3, 50, 0.05, 0.5)))


class CompletionDataset(Dataset):
    """Pictures with holes.

    Attributes:
        config: where they come from.
        about: a line on what was left out.
    """

    config: PictureConfig
    about: str = ""

    def at(self, split: str, side: int, limit: int | None = None) -> list[Batch]:
        """The pictures of a split that have an original, one batch each, at side x side, evenly spread."""
        part = [example for example in self.splits.parts[split] if example.target is not None]
        if limit and len(part) > limit:
            part = [part[i * len(part) // limit] for i in range(limit)]
        return [load_completion(example, self.cache, side, self.config.holes) for example in part]


def load_pictures(config: PictureConfig) -> CompletionDataset:
    """Open, scan, and leave out near-duplicates.

    Raises:
        UsageError: bad files, too few pictures, a window that holds no hole.
    """
    if config.window < 16 or config.size < 32:
        raise UsageError(f"--size is at least 32 and --window at least 16; got {config.size} and {config.window}")
    cache = ImageCache()
    splits, skipped = validate_splits(open_completion(config.data), cache, config.on_bad_image)
    about = ""
    if config.data:
        splits, about = without_near_duplicates(splits, cache)
    pictures = CompletionDataset(splits, cache, skipped)
    pictures.config, pictures.about = config, about
    return pictures


def make_batches(pictures: CompletionDataset, network: Any, batch_size: int, seed: int) -> Callable[[int], Batch]:
    """Update number -> training batch: windows about new holes that the network's prior has filled."""
    config = pictures.config
    source = Begun(CompletionSampler(pictures.splits.train, pictures.cache, config.size, holes=config.holes, seed=seed),
                   guess_of(network), config.window)
    return lambda step: source.batch(step, batch_size)


def guess_of(network: PriorModel) -> Callable[[Tensor, Tensor], Tensor]:
    """The first guess of a network, on whatever device it lies; pictures stay on the CPU."""
    def guess(image: Tensor, mask: Tensor) -> Tensor:
        device = next(network.parameters()).device
        return network.prefill(image.to(device), mask.to(device)).cpu()

    return guess


def make_learner(name: str, network: NetworkConfig, learners: LearnerConfigs, pictures: CompletionDataset, *, seed: int,
                 device: torch.device | str = "cpu", warm: Path | None = None,
                 reward: RewardWeights | None = None) -> Learner:
    """A learner and its network, with the prior in it.

    Args:
        reward: of the policies; None: L1 and SSIM.
        warm: begin a policy with the backbone and the estimate of this supervised run, or with this policy.

    Raises:
        UnknownName: no such learner.
        UsageError: a learner that is not for holes; a prior or a run that does not fit.
    """
    kind = LEARNERS[name]
    settings = getattr(learners, name, None)
    if settings is None:
        raise UsageError(f"{name} fills no holes; --learner is one of a3c, direct, sac, supervised")
    prior = None if network.prior == MEMBRANE else load_network(find_checkpoint(locate(network.prior)))
    if prior is not None and (prior.purpose != "completion" or isinstance(prior, Policy)):
        raise UsageError(f"--prior {network.prior}: a {type(prior).__name__}, no network that fills holes in one pass; "
                         f"train one with python -m experiments.restore_train prior, or leave it at {MEMBRANE}")
    by_name = prior is not None and locate(network.prior) == FOLDER / network.prior  # its weights are there already
    shared = {"backbone": network.backbone, "side": pictures.config.size,
              "prior": None if prior is None else network.prior if by_name else prior.spec}
    torch.manual_seed(seed)
    if name == "supervised":
        made = create_network("completion_restorer", **shared)
    elif name == "sac":
        made = create_network("touch_up_policy", **shared, horizon=network.horizon)
    else:
        made = create_network("completion_policy", **shared, horizon=network.horizon, strides=network.strides,
                             keep=network.keep, smooth=network.smooth)
    if prior is not None and not by_name:
        made.prior.load_state_dict(prior.state_dict())
    if warm is not None:
        begin_with(made, load_network(find_checkpoint(warm)), f"--warm-start {warm}")
    if name == "supervised":
        return kind(made, settings, seed=seed, device=device)
    return kind(made, Reward(reward or RewardWeights.only(**COMPLETION_REWARD)), settings, seed=seed, device=device)


def begin_with(made: Any, other: Any, asked: str) -> None:
    """Begin a policy over tools with the weights of a supervised run, or of another policy of the same shape.

    Raises:
        UsageError: one of them is something else, or they differ in shape; tells what was `asked`.
    """
    if isinstance(made, CompletionPolicy) and isinstance(other, CompletionRestorer):
        copy_from_supervised(made, other)
    elif isinstance(made, CompletionPolicy) and isinstance(other, CompletionPolicy):
        try:
            made.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UsageError(f"{asked}: a policy of another shape; give it the same --prior, --widths and --strides"
                             ) from error
    else:
        raise UsageError(f"{asked}: policies over tools (a3c, direct) begin with a supervised run of this command, or "
                         f"with such a policy; it holds a {type(other).__name__}, and a {type(made).__name__} is to "
                         f"learn")


@dataclass
class CompletionEvaluator:
    """Judges a network on validation pictures: `val/psnr` of the holes, its gain on the prior's, and SSIM.

    Attributes:
        pictures: whole ones, one per batch.
        window: see `PictureConfig`.
        reward: of the policies.
    """

    pictures: Sequence[Batch]
    window: int
    reward: RewardWeights

    def __call__(self, network: nn.Module) -> dict[str, float]:
        was_training = network.training
        network.eval()
        begun = begin(Batch.stack(list(self.pictures)), guess_of(network), self.window)  # type: ignore[arg-type]
        scores: dict[str, float] = {}
        with torch.no_grad():
            batch = begun.to(next(network.parameters()).device)
            assert batch.mask is not None and batch.target is not None
            if isinstance(network, CompletionRestorer):
                final = network.refine(batch.image, batch.mask).clamp(0, 1)
            else:
                final, scores = self._play(network, batch)
        gain = hole_psnr(final, batch.target, batch.mask)
        before = hole_psnr(batch.image, batch.target, batch.mask)
        scores |= {"val/psnr": gain.mean().item(), "val/psnr_gain": (gain - before).mean().item(),
                   "val/ssim": ssim(final, batch.target).mean().item(),
                   "val/texture_gap": texture_difference(final, batch.mask).mean().item(),
                   "val/seam": boundary_discontinuity(final, batch.mask).mean().item()}
        network.train(was_training)
        return scores

    def _play(self, network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        env = make_env(network, Reward(self.reward, every_term=False), batch.image.device)
        rollout = collect_rollout(network, env, batch,
                                  network.preferences.encode(None, len(batch), batch.image.device), None)
        scores = {"val/return": torch.stack(rollout.rewards).sum(dim=0).mean().item()}
        if isinstance(network, CompletionPolicy):
            assert batch.mask is not None
            inside = batch.mask > 0.5
            taken = torch.stack([choice_frequencies(action["local"][inside], network.actions.num_choices)
                                 for action in rollout.actions]).mean(dim=0)
            scores |= {"collapse/top_choice_share": taken.max().item(),
                       "collapse/num_choices": float((taken >= 0.01).sum())}
        return rollout.final_image, scores

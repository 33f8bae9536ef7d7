"""What a self-enhancement run is told: budgets, learners, networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from agents import A3CConfig, DirectConfig, SACConfig
from agents.autoencoder_learner import AutoencoderConfig
from agents.optim import OptimizerConfig
from experiments.core.fit import Budget
from experiments.tasks.rse.model import NetworkConfig
from rlenhance.core.errors import UsageError

_NO_LIMIT = 10**9  # updates, where time is the limit


def _sac() -> SACConfig:
    return SACConfig(max_kl=0.02, noise_block_size=1, critic_warmup_updates=10, batch_size=8, target_entropy=-1.6,
                     optimizer=OptimizerConfig(2e-4, 20, 0.1, 0.5),
                     critic_optimizer=OptimizerConfig(3e-3, 20, 0.1, 0.5))


def _a3c() -> A3CConfig:
    return A3CConfig(rollouts_per_image=4, update_epochs=2, value_coef=0.0, log_std_local=(-1.7, -2.2),
                     min_advantage_std=0.005, optimizer=OptimizerConfig(4e-4, 10, 0.1, 0.5))


@dataclass(frozen=True)
class LearnerConfigs:
    """Settings of each learner."""

    autoencoding: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    sac: SACConfig = field(default_factory=_sac)
    a3c: A3CConfig = field(default_factory=_a3c)
    direct: DirectConfig = field(default_factory=lambda: DirectConfig(optimizer=OptimizerConfig(1e-3, 20, 0.05, 0.5)))


@dataclass(frozen=True)
class BudgetConfig:
    """How much, how long."""

    epoch: int = 0
    """Times that the autoencoder goes through the training pictures (0: see updates and minutes)."""
    updates: int = 0
    """Its steps (0: 300, or as many as `minutes` allows)."""
    minutes: float = 0.0
    """Its training time, validation left out (0: the updates count)."""
    rl_updates: int = 0
    """Steps of the agents' learner (0: 60, or as many as `rl_minutes` allows)."""
    rl_minutes: float = 0.0
    """Its training time."""
    recursions: int = 2
    """How often both go on with what came out; the first after which the held-out PSNR falls is undone and ends it."""
    recursion_share: float = 0.25
    """Of both budgets, for each recursion."""
    target_psnr: float = 0.0
    """In dB: an episode ends, in training, where the picture has come so near to its reference (0: at the horizon)."""
    batch_size: int = 24
    """Crops per update of the autoencoder."""
    rl_batch_size: int = 8
    """Episodes per update of the agents."""
    crop: int = 64
    """Side of the crops in pixels."""
    visits: int = 4
    """Crops that each picture gives each time it is gone through."""
    evaluate_every: int = 100
    """Updates of the autoencoder between validations; each one saves last/."""
    rl_evaluate_every: int = 20
    """Updates of the agents between validations."""
    bank_from: int = 48
    """Training pictures whose codes fill the bank."""
    validate_on: int = 16
    """Validation pictures."""
    validate_side: int = 256
    """Side in pixels of what is taken from their middle."""
    test_on: int = 64
    """Held-out pictures that the table is of."""
    test_side: int = 512
    """Side in pixels of what is taken from their middle."""

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.rl_batch_size, self.crop, self.visits, self.evaluate_every,
                  self.rl_evaluate_every, self.bank_from, self.validate_on, self.test_on, self.validate_side,
                  self.test_side)
        amounts = (self.epoch, self.updates, self.minutes, self.rl_updates, self.rl_minutes, self.recursions,
                   self.recursion_share)
        if min(counts) < 1 or not all(math.isfinite(value) and value >= 0 for value in amounts):
            raise UsageError(f"batch sizes, sides, visits, numbers of pictures and updates between validations are at "
                             f"least 1, budgets finite and not negative; got {counts} and {amounts}")

    def autoencoder(self, samples: int, share: float = 1.0) -> Budget:
        """The autoencoder's budget; `samples` are the crops of an epoch."""
        updates = self.updates or (-(-self.epoch * samples // self.batch_size) if self.epoch else 0) or \
            (_NO_LIMIT if self.minutes else 300)
        return Budget(max(1, math.ceil(updates * share)), self.minutes * share, self.evaluate_every, "val/psnr")

    def agents(self, share: float = 1.0) -> Budget:
        """The agents'."""
        updates = self.rl_updates or (_NO_LIMIT if self.rl_minutes else 60)
        return Budget(max(1, math.ceil(updates * share)), self.rl_minutes * share, self.rl_evaluate_every,
                         "val/psnr")


@dataclass(frozen=True)
class Plan:
    """All that the stages are told.

    Attributes:
        learner: of the agents, sac, a3c or direct; none leaves them out.
        blocking: weight of the reward for seams that vanish.
    """

    learner: str
    network: NetworkConfig
    learners: LearnerConfigs
    budget: BudgetConfig
    blocking: float
    warm_start: str
    init: str
    beside: tuple[str, ...]
    portion: int
    seed: int
    show: bool


def anchored(path: Path | None) -> Path | None:
    """A whole path, so that a run can go on from another folder."""
    return path and path.resolve()


def settled(config: NetworkConfig, data_set: str) -> NetworkConfig:
    """The network with the code's published length, where none was asked for."""
    return config if config.latent_dim else replace(config, latent_dim=72 if data_set == "celeba" else 96)

"""The settings of a self-enhancement run: budgets, learners, networks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from rlenhance.agents import LEARNERS, A3CConfig, DirectConfig, SACConfig
from rlenhance.agents.autoencoder_learner import AutoencoderConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.config import (
    Flat,
    RunConfig,
    TrainConfig,
    default_is,
    is_policy_learner,
    learner_settings,
    one_of,
    replaced,
    with_defaults,
)
from rlenhance.experiments.core.fit import Budget
from rlenhance.experiments.core.task import NO_LIMIT
from rlenhance.experiments.tasks.rse.data import RSEDataConfig
from rlenhance.experiments.tasks.rse.model import RSENetworkConfig

RSELearners = learner_settings(
    autoencoding=AutoencoderConfig(),
    sac=SACConfig(max_kl=0.02, noise_block_size=1, critic_warmup_updates=10, batch_size=8, target_entropy=-1.6,
                  optimizer=OptimizerConfig(2e-4, 20, 0.1, 0.5), critic_optimizer=OptimizerConfig(3e-3, 20, 0.1, 0.5)),
    a3c=A3CConfig(rollouts_per_image=4, update_epochs=2, value_coef=0.0, log_std_local=(-1.7, -2.2),
                  min_advantage_std=0.005, optimizer=OptimizerConfig(4e-4, 10, 0.1, 0.5)),
    direct=DirectConfig(optimizer=OptimizerConfig(1e-3, 20, 0.05, 0.5)))


@dataclass(frozen=True)
@with_defaults(("patience", "devices"), {"name": "data set, learner, date and time"}, out=Path("runs/rse"))
class RSETrainConfig(TrainConfig):
    """Budgets of the stages, and the pictures that are scored."""

    extends = ()  # a stage that is done is not taken up again

    learner: Annotated[str, one_of(LEARNERS, is_policy_learner, ("none",))] = "sac"
    """Of the agents: sac, a3c (rollouts of the same picture beside each other), direct (back-propagation through the
    episode, the control), or none (the autoencoder alone)."""
    epoch: int = 0
    """Times that the autoencoder goes through the training pictures (0: updates and minutes count)."""
    updates: Annotated[int | None, default_is("300, or as many as --minutes allows", "INT")] = None
    """Steps of the autoencoder."""
    minutes: float = 0.0
    """Its training time, validation left out (0: the updates count)."""
    rl_updates: Annotated[int | None, default_is("60, or as many as --rl_minutes allows", "INT")] = None
    """Steps of the agents' learner."""
    rl_minutes: float = 0.0
    """Its training time."""
    recursions: int = 2
    """Further rounds of both stages on their own outputs; one after which the held-out PSNR falls is undone and ends
    them."""
    recursion_share: float = 0.25
    """Of both budgets, for each recursion."""
    target_psnr: float = 0.0
    """In dB: an episode ends, in training, where the picture has come so near to its reference (0: at the horizon)."""
    blocking: float = 2.0
    """Weight of the reward for seams of patches that vanish, beside that of the squared error (0: none)."""
    batch_size: int = 24
    """Crops per update of the autoencoder."""
    rl_batch_size: int = 8
    """Episodes per update of the agents."""
    eval_interval: int = 100
    """Updates of the autoencoder between validations; each one saves last/."""
    rl_eval_interval: int = 20
    """Updates of the agents between validations."""
    monitor: Annotated[str | None, default_is("val/psnr", "SCORE")] = None
    """The validation score whose maximum chooses best/ of every stage."""
    codebook_images: int = 48
    """Training pictures whose codes fill the bank."""
    val_images: int = 16
    """Validation pictures."""
    val_size: int = 256
    """Side in pixels of what is taken from their middle."""
    test_images: int = 64
    """Held-out pictures that the table is of."""
    test_size: int = 512
    """Side in pixels of what is taken from their middle."""
    paper_config: bool = False
    """The recipe as it was published: 50 epochs, of sidd 25, patches of 16 pixels with an overlap of 4, no U-Net beside
    the code, Adam at 1e-3 without warm-up, clipping and running mean. Options given beside it hold."""
    oracle: int = 0
    """Validation pictures on which actions that are chosen with the clean picture in sight show, before the agents are
    trained, how much there is to gain (0: none)."""
    compare_with: tuple[str, ...] = ("denoiser",)
    """Learned denoisers, shipped ones or runs, that have rows of the table; how noisy a picture is they find."""
    init: Path | None = None
    """The autoencoder begins with that of this run, or of this shipped model, of the same settings."""
    warm_start: Path | None = None
    """The U-Net begins with that of this learned denoiser for colour, a shipped one (denoiser) or a run."""

    def check(self) -> None:
        """Refuse impossible numbers."""
        counts = (self.batch_size, self.rl_batch_size, self.eval_interval, self.rl_eval_interval, self.codebook_images,
                  self.val_images, self.test_images, self.val_size, self.test_size)
        amounts = (self.epoch, self.updates or 0, self.minutes, self.rl_updates or 0, self.rl_minutes, self.recursions,
                   self.recursion_share, self.oracle, self.target_psnr, self.blocking)
        if min(counts) < 1 or not all(math.isfinite(value) and value >= 0 for value in amounts):
            raise UsageError(f"batch sizes, sides, numbers of pictures and updates between validations are at least 1, "
                             f"budgets, rewards and target_psnr finite and not negative; got {counts} and {amounts}")

    def autoencoder_budget(self, samples: int, share: float = 1.0) -> Budget:
        """The autoencoder's; `samples` are the crops of an epoch."""
        updates = self.updates or -(-self.epoch * samples // self.batch_size) or (NO_LIMIT if self.minutes else 300)
        return self._budget(updates, self.minutes, self.eval_interval, share)

    def policy_budget(self, share: float = 1.0) -> Budget:
        """The agents'."""
        updates = self.rl_updates or (NO_LIMIT if self.rl_minutes else 60)
        return self._budget(updates, self.rl_minutes, self.rl_eval_interval, share)

    def _budget(self, updates: int, minutes: float, eval_interval: int, share: float) -> Budget:
        return Budget(max(1, math.ceil(updates * share)), minutes * share, eval_interval, self.monitor or "val/psnr")


@dataclass(frozen=True)
class RSEConfig(RunConfig):
    """Train a patch autoencoder to its plateau, fill a bank of clean codes, train agents that move codes by
    trust-region SAC, and let what comes out re-enter the training."""

    train: Flat[RSETrainConfig] = field(default_factory=RSETrainConfig)
    data: Flat[RSEDataConfig] = field(default_factory=RSEDataConfig)
    network: Flat[RSENetworkConfig] = field(default_factory=RSENetworkConfig)
    learners: Flat[RSELearners] = field(default_factory=RSELearners)  # type: ignore[valid-type]

    def settled(self, base: None, named: frozenset[str]) -> RSEConfig:
        """What a command line means: with --paper-config, options that it does not name are as published.

        Args:
            base: None, there are no presets.
            named: the options on it.
        """
        if not self.train.paper_config:
            return self
        published = {"train.epoch": PAPER_EPOCHS.get(self.data.data_set, 50), **PAPER_CONFIG}
        return replaced(self, {path: value for path, value in published.items()
                               if path.partition(".")[2] not in named})


#: Epochs in the published command lines.
PAPER_EPOCHS = {"celeba": 50, "sidd": 25}
#: What the published text leaves open, as the published code has it; 16 crops of 64 pixels are a face of 256.
PAPER_CONFIG: dict[str, Any] = {
    "data.crops_per_image": 16, "train.batch_size": 4,  # 144 patches an update: there 128
    "network.block_size": 16, "network.overlap": 4, "network.unet": False,
    "learners.autoencoding.code_weight": 1.0, "learners.autoencoding.ema_decay": 0.0,
    "learners.autoencoding.optimizer.warmup_steps": 0, "learners.autoencoding.optimizer.max_grad_norm": 0.0,
    "train.rl_updates": 100, **{f"learners.sac.{part}.{name}": value for part in ("optimizer", "critic_optimizer")
                                for name, value in asdict(OptimizerConfig(1e-3, 0, 1.0, 0.0)).items()}}


def settled(config: RSEConfig) -> RSENetworkConfig:
    """The network with the code's published length, where none was asked for."""
    published = 72 if config.data.data_set == "celeba" else 96
    return replace(config.network, latent_dim=config.network.latent_dim or published)

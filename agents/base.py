"""The base classes of learners."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from rlenhance.agents import distributed
from rlenhance.agents.optim import NonFiniteError, OptimizerConfig, OptimizerStep, ema_weight, update_ema
from rlenhance.core.arrays import NUM_D4, d4_transform
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.core.registry import Registry
from rlenhance.envs import PixelEnv
from rlenhance.envs.transition import Episode, unweighted_gains
from rlenhance.learning.data import Batch
from rlenhance.learning.models import Policy, build_model
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.learning.rewards.custom import nondifferentiable

#: Learners by name.
LEARNERS: Registry[Any] = Registry("learner")

__all__ = [
    "LEARNERS", "Learner", "NonFiniteError", "PolicyLearner", "needs_no_gradient", "reward_learners", "to_scalars",
]


class Learner:
    """A network, and an update of it from a batch.

    Args:
        network: the network that is saved and used.
        optimizer: settings of the optimizer.
        seed: of the learner's own random stream.
        device: of the network and the stream.
        averaged: the part of the network that holds an exponential moving average of the trained weights; None: the
            network itself is trained.
        ema_decay: share of the average that each step keeps.

    Attributes:
        trained: the network whose weights the optimizer moves: a copy of `averaged`, or `network` itself.
        requires_target: every batch must have a target.
        is_policy: the network is a policy, otherwise it restores in one pass.
        supports_ddp: several processes may train it together, each with its share of the batch.
        supports_categorical: its policies may choose among tools or levels; otherwise their actions are continuous.
        Config: the dataclass of its settings, the argument `config`; the docstrings below its fields are their help.
    """

    Config: ClassVar[type[Any]]

    requires_target: ClassVar[bool] = False
    is_policy: ClassVar[bool] = True
    supports_ddp: ClassVar[bool] = False
    supports_categorical: ClassVar[bool] = True

    def __init__(self, network: nn.Module, optimizer: OptimizerConfig, seed: int, device: torch.device | str,
                 averaged: nn.Module | None = None, ema_decay: float = 0.0):
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.trained: Any = self.network if averaged is None else copy.deepcopy(averaged).train()
        self.optimizer = OptimizerStep(self.trained, optimizer)
        self._averaged, self._ema_decay = averaged, ema_decay
        self.generator = torch.Generator(self.device).manual_seed(seed)

    @property
    def model(self) -> Any:
        """The network as users call it: `(image, mask=None, preference=None) -> image`."""
        return build_model(self.network)

    def step(self, batch: Batch, progress: float = 0.0) -> dict[str, float]:
        """One update from one batch.

        Args:
            batch: on the learner's device.
            progress: share of the run that is over, in [0, 1); schedules follow it.

        Returns:
            Numbers for the log.

        Raises:
            NonFiniteError: a loss or a reward is not finite; that gradient step is not taken (an update of several
                epochs may have taken earlier ones).
        """
        raise TypeError("a learner defines step")

    def descend(self, losses: Mapping[str, Tensor], progress: float) -> dict[str, Tensor | float]:
        """One gradient step, and one of the average where there is one; see `OptimizerStep.update`."""
        log = self.optimizer.update(losses, progress)
        self.average()
        return log

    def average(self) -> None:
        """Move the average of the weights, where there is one, toward the trained weights; buffers are copied."""
        if self._averaged is not None:
            for mean, new in zip(self._averaged.buffers(), self.trained.buffers(), strict=True):
                mean.copy_(new)
            update_ema(self._averaged, self.trained, ema_weight(self._ema_decay, self.optimizer.steps))

    def turned(self, *maps: Tensor) -> list[Tensor]:
        """All of them, (N, C, H, W), under one random symmetry of the square."""
        way = int(torch.randint(NUM_D4, (), generator=self.generator, device=self.device))
        return [d4_transform(each, way) for each in maps]

    def use_fabric(self, fabric: Any) -> None:
        """Set up network and optimizer with a lightning Fabric (device, precision)."""
        self.optimizer.use_fabric(fabric)

    def synchronize(self) -> dict[str, float]:
        """Wait for updates that are under way, and take them into the network; their numbers for the log."""
        return {}

    def shutdown(self) -> None:
        """End the processes that the learner has started."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beside the network's weights."""
        trained = {} if self._averaged is None else {"trained": clone_weights(self.trained)}
        return {"optimiser": self.optimizer.state_dict(), "generator": self.generator.get_state(), **trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        if self._averaged is not None:  # a run that had no average begins one
            self.trained.load_state_dict(state.get("trained", self._averaged.state_dict()))


@dataclass(frozen=True)
class PolicyLearnerConfig:
    """Settings of every policy learner."""

    preference_sampling_prob: float = 0.5
    """Share of the images whose preferences are drawn from their whole range; the others keep the defaults."""
    log_all_terms_interval: int = 20
    """Every so many updates the log has the state terms of weight 0 too; 0: never. They change no weight."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Adam, of the policy."""

    def __post_init__(self) -> None:
        check_ranges(self, "[0, 1]", "preference_sampling_prob")
        check_ranges(self, "[0, inf)", "log_all_terms_interval")


class PolicyLearner(Learner):
    """A learner whose network is a `PixelPolicy`: it collects episodes in an environment of its own.

    Attributes:
        std_mode: what sets its policy's standard deviation, see `PixelPolicy`.
        differentiable_terms: kinds of reward terms that a gradient must pass through.

    Args:
        network: the policy.
        reward: what counts as better; terms of weight 0 are not computed here.
        config: its settings.
        seed, device, ema_decay: see `Learner`.
        env: where it collects episodes; None: one that fits the policy.

    Raises:
        UsageError: see `check_reward`.
    """

    std_mode: ClassVar[str] = "scheduled"
    differentiable_terms: ClassVar[frozenset[str]] = frozenset({"action"})

    def __init__(self, network: PixelPolicy, reward: Reward, config: PolicyLearnerConfig, seed: int,
                 device: torch.device | str, ema_decay: float = 0.0, env: PixelEnv | None = None):
        super().__init__(network, config.optimizer, seed, device, averaged=network if ema_decay else None,
                         ema_decay=ema_decay)
        self.check_reward(reward.weights, network.decision_size or 64)
        self.policy: PixelPolicy = self.trained
        self.reward = Reward(reward.weights)
        self.preference_sampling_prob = config.preference_sampling_prob
        self.log_all_terms_interval = config.log_all_terms_interval
        self.env = make_env(network, self.reward, self.device) if env is None else env

    @classmethod
    def check_reward(cls, weights: RewardWeights, size: int = 64) -> None:
        """Refuse a reward with a term that this learner cannot optimize, because no gradient passes through it.

        Args:
            size: side in pixels of the synthetic images on which it is tried.

        Raises:
            UsageError: names the terms, and the learners that follow them.
        """
        blocked = nondifferentiable(weights.active, cls.differentiable_terms, size)
        if not blocked:
            return
        named = f"no gradient passes through the reward term{'s' * (len(blocked) > 1)} {', '.join(blocked)}"
        if "state" in cls.differentiable_terms:
            raise UsageError(f"{named}, and this learner follows gradients: use {' or '.join(reward_learners())}, or "
                             f"give the weight 0 (as in {blocked[0]}=0) to have it logged only")
        raise UsageError(f"{named}: action terms are taken on the policy's mean action, by back-propagation; write it "
                         f"in torch without rounding or comparing, or as a state term")

    def sample_preferences(self, batch: Batch) -> Tensor:
        """Encoded preferences for the images of a batch, (N, P). Each of several processes takes its share of the joint
        draw; measured preferences (the strength of the noise) come from the images and their targets."""
        count = len(batch)
        drawn = self.policy.preferences.sample(count * distributed.world_size(), self.generator,
                                               self.preference_sampling_prob)
        drawn = drawn[count * distributed.rank() : count * (distributed.rank() + 1)]
        return self.policy.preferences.set_measured(drawn, batch.image, batch.target)

    def unweighted_terms(self, episode: Episode, first: Tensor, last: Tensor, update: int) -> dict[str, Tensor]:
        """`reward/NAME` of the state terms of weight 0, where this update logs them; no gradient passes.

        They telescope over an episode: its first and last images are enough.

        Args:
            episode: of the images.
            first, last: the images at the episode's ends, (N, C, H, W).
            update: number of updates so far.
        """
        if not self.log_all_terms_interval or update % self.log_all_terms_interval:
            return {}
        with torch.no_grad():
            return {f"reward/{name}": value.mean()
                    for name, value in unweighted_gains(episode, first.detach(), last.detach()).items()}

    def exploration_generator(self) -> torch.Generator:
        """The random stream of the actions: the learner's own; with several processes, one per process and update,
        seeded by the learner's own, which stays the same in all processes."""
        if distributed.world_size() == 1:
            return self.generator
        seed = torch.randint(2**62, (), generator=self.generator, device=self.device).item()
        return torch.Generator(self.device).manual_seed(int(seed) + distributed.rank())


def needs_no_gradient(kind: Any) -> bool:
    """Whether a registered learner trains policies from rewards without their gradient: reinforcement learning."""
    return getattr(kind, "is_policy", True) and "state" not in getattr(kind, "differentiable_terms", ())


def reward_learners() -> list[str]:
    """Names of the learners of reinforcement learning."""
    return [name for name in LEARNERS if needs_no_gradient(LEARNERS[name])]


def make_env(policy: Policy, reward: Reward, device: torch.device | str) -> PixelEnv:
    """The environment that fits a policy; the learner resets it with each batch."""
    return PixelEnv(policy.actions, reward, horizon=policy.horizon, preferences=policy.preferences, device=device,
                    info_maps=False, autoreset_mode=AutoresetMode.DISABLED, check_nan=False)


def clone_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers of a network, as tensors of their own."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def to_scalars(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Scalars as Python numbers, with one copy from the device; of several processes, their mean."""
    tensors = {name: value.detach().float().mean() for name, value in values.items() if isinstance(value, Tensor)}
    fetched = dict(zip(tensors, distributed.average(torch.stack(list(tensors.values()))).tolist(), strict=True)) \
        if tensors else {}
    return {name: fetched.get(name, value) for name, value in values.items()}

"""Learners: a batch in, numbers out. `LEARNERS` holds them by name."""

from rlenhance.agents.a3c import A3C, A3CConfig
from rlenhance.agents.async_a3c import AsyncA3C, WorkerError
from rlenhance.agents.base import LEARNERS, Learner, NonFiniteError, needs_no_gradient, reward_learners
from rlenhance.agents.direct import Direct, DirectConfig
from rlenhance.agents.distributed import DistributedError
from rlenhance.agents.optim import OptimizerConfig, OptimizerStep
from rlenhance.agents.sac import SAC, SACConfig
from rlenhance.agents.self_training import EarlyStopping, SelfTrainingBuffer
from rlenhance.agents.supervised import Supervised, SupervisedConfig

__all__ = [
    "A3C", "LEARNERS", "SAC", "A3CConfig", "AsyncA3C", "Direct", "DirectConfig", "DistributedError", "EarlyStopping",
    "Learner", "NonFiniteError", "OptimizerConfig", "OptimizerStep", "SACConfig", "SelfTrainingBuffer", "Supervised",
    "SupervisedConfig", "WorkerError", "needs_no_gradient", "reward_learners",
]

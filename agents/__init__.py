"""Learners: a batch in, numbers out. `LEARNERS` holds them by name."""

from agents.a3c import A3C, A3CConfig
from agents.async_a3c import AsyncA3C, WorkerError
from agents.base import LEARNERS, Learner, NonFiniteError, needs_no_gradient, reward_learners
from agents.direct import Direct, DirectConfig
from agents.distributed import DistributedError
from agents.optim import OptimizerConfig, OptimizerStep
from agents.sac import SAC, SACConfig
from agents.self_training import EarlyStopping, SelfTrainingBuffer
from agents.supervised import Supervised, SupervisedConfig

__all__ = [
    "A3C", "LEARNERS", "SAC", "A3CConfig", "AsyncA3C", "Direct", "DirectConfig", "DistributedError", "EarlyStopping",
    "Learner", "NonFiniteError", "OptimizerConfig", "OptimizerStep", "SACConfig", "SelfTrainingBuffer", "Supervised",
    "SupervisedConfig", "WorkerError", "needs_no_gradient", "reward_learners",
]

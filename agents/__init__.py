"""Learners: a batch in, numbers out. `LEARNERS` holds them by name."""

from agents.a3c import A3C, A3CConfig
from agents.async_a3c import AsynchronousA3C, WorkerFailed
from agents.base import LEARNERS, Learner, NonFinite
from agents.direct import Direct, DirectConfig
from agents.distributed import ProcessLost
from agents.optim import Optimiser, OptimiserConfig
from agents.sac import SAC, SACConfig
from agents.self_training import Falling, Generations
from agents.supervised import Supervised, SupervisedConfig

__all__ = [
    "A3C", "LEARNERS", "SAC", "A3CConfig", "AsynchronousA3C", "Direct", "DirectConfig", "Falling", "Generations",
    "Learner", "NonFinite", "Optimiser", "OptimiserConfig", "ProcessLost", "SACConfig", "Supervised",
    "SupervisedConfig", "WorkerFailed",
]

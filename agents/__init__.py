"""Learners: a batch in, numbers out. `LEARNERS` holds them by name."""

from agents.a3c import A3C, A3CConfig
from agents.direct import Direct, DirectConfig
from agents.generations import Falling, Generations
from agents.learner import LEARNERS, Learner, NonFinite
from agents.optimiser import Optimiser, OptimiserConfig
from agents.processes import ProcessLost
from agents.sac import SAC, SACConfig
from agents.supervised import Supervised, SupervisedConfig
from agents.workers import AsynchronousA3C, WorkerFailed

__all__ = [
    "A3C", "LEARNERS", "SAC", "A3CConfig", "AsynchronousA3C", "Direct", "DirectConfig", "Falling", "Generations",
    "Learner", "NonFinite", "Optimiser", "OptimiserConfig", "ProcessLost", "SACConfig", "Supervised",
    "SupervisedConfig", "WorkerFailed",
]

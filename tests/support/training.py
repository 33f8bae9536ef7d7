"""Trainings of seconds."""

from dataclasses import replace

from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig, LowLightLearners, LowLightTrainConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig

SMALL = PolicyConfig(actions="curve", controls=False, state_size=16, horizon=2)


def train_lowlight(data, *, crop=16, policy=SMALL, learners=None, **settings):
    """Train on dark photographs, on the CPU and without a progress bar."""
    settings = {"device": "cpu", "progress": False} | settings
    return train(LOWLIGHT, LowLightConfig(LowLightTrainConfig(**settings), LowLightDataConfig(data=data, crop=crop),
                                          policy, learners or LowLightLearners()))


def resume(task, run, **changes):
    """Go on with a run."""
    config = task.Config()
    settings = {"resume": run, "device": "cpu", "progress": False} | changes
    return train(task, replace(config, train=replace(config.train, **settings)))

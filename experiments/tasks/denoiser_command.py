"""The command `denoiser_train`: `restore_train denoiser`, with the options of version 0.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rlenhance.experiments.core.config import Flat
from rlenhance.experiments.tasks.restore import RestoreTask
from rlenhance.experiments.tasks.restore_config import RestoreConfig, RestoreNetworkConfig, RestoreTrainConfig


@dataclass(frozen=True)
class DenoiserRunConfig(RestoreConfig):
    """Learn to take noise away from grey or colour pictures: `restore_train denoiser`."""

    train: Flat[RestoreTrainConfig] = field(default_factory=lambda: RestoreTrainConfig(out=Path("runs/denoiser")))
    network: Flat[RestoreNetworkConfig] = field(default_factory=lambda: RestoreNetworkConfig(model="denoiser"))


class DenoiserTask(RestoreTask):
    """Restoration by a denoiser: see docs/howto/denoising.md."""

    command = "rlenhance.experiments.denoiser_train"
    Config = DenoiserRunConfig


DENOISER = DenoiserTask()


def spread_folders(words: Sequence[str]) -> list[str]:
    """The words of a command line, the second and further values of --data as those of --more.

    Example:
        >>> spread_folders(["--data", "a", "b", "--seed", "1"])
        ['--data', 'a', '--more', 'b', '--seed', '1']
    """
    spread: list[str] = []
    given = 0  # values of --data so far, above 0 while more may follow
    for word in words:
        if given and not word.startswith("--"):
            spread += ["--more"] if given == 2 else []
            given += 1
        else:
            given = int(word == "--data")
        spread.append(word)
    return spread

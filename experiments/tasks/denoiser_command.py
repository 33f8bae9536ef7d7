"""The command `denoiser_train`: `network_train denoiser`, and the options that it had in version 0.2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rlenhance.experiments.core.config import Flat
from rlenhance.experiments.tasks.restore import RestoreTask
from rlenhance.experiments.tasks.restore_config import RestoreConfig, RestoreNetworkConfig, RestoreTrainConfig


@dataclass(frozen=True)
class DenoiserRunConfig(RestoreConfig):
    """Learn to take noise away from grey or colour pictures: `network_train denoiser`."""

    train: Flat[RestoreTrainConfig] = field(default_factory=lambda: RestoreTrainConfig(out=Path("runs/denoiser")))
    network: Flat[RestoreNetworkConfig] = field(default_factory=lambda: RestoreNetworkConfig(model="denoiser"))


class DenoiserTask(RestoreTask):
    """Restoration by a denoiser: see docs/howto/denoising.md."""

    command = "rlenhance.experiments.denoiser_train"
    Config = DenoiserRunConfig


DENOISER = DenoiserTask()
_OPTIMIZER = ("learning-rate", "warmup-steps", "final-lr-ratio", "max-grad-norm")
#: Options of version 0.2 -> what they are called now.
_OPTIONS_OF_0_2 = {"crop": "size", "denoising.noise": "noise-levels", **{f"denoising.{name}": name for name in (
    "signal-dependent-prob", "quantized-prob", "correlated-prob", "ema-decay")}, **{
    f"denoising.optimizer.{name}": name for name in _OPTIMIZER}}


def current_words(words: Sequence[str]) -> list[str]:
    """A command line with the options of version 0.2 as they are now; prints a line for each of them.

    Example:
        >>> current_words(["--data", "a", "b", "--seed", "1"])
        ['--data', 'a', '--more', 'b', '--seed', '1']
    """
    current = []
    for word in words:
        name, sign, value = word.partition("=")
        new = _OPTIONS_OF_0_2.get(name.removeprefix("--").replace("_", "-")) if name.startswith("--") else None
        if new is not None:
            print(f"{name} is called --{new} now; the old name goes with the next version", file=sys.stderr)
        current.append(word if new is None else f"--{new}{sign}{value}")
    return spread_folders(current)


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

"""Search for settings of a training: `python -m experiments.sweep lol_train --search reward.exposure=2:40:log`.

Everything behind `--` goes to each of the trainings.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.sweep import report, run_sweep
from rlenhance.experiments.core.sweep_settings import SweepConfig, prepare


def sweep_command(words: Sequence[str]) -> int:
    """The command line; returns the exit status, see `run_cli`."""
    words = list(words)
    place = words.index("--") if "--" in words else len(words)

    def run(config: SweepConfig) -> None:
        sweep = prepare(config, words[place + 1 :])
        report(sweep, run_sweep(sweep))

    return run_cli(run, SweepConfig, words[:place], prog="rlenhance.experiments.sweep")


if __name__ == "__main__":
    raise SystemExit(sweep_command(sys.argv[1:]))

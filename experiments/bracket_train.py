"""Train the planner of `rlenhance bracket --next`: `python -m experiments.bracket_train --data brackets`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.bracket import Config, main

if __name__ == "__main__":
    raise SystemExit(run_cli(main, Config))

"""Train the planner of `rlenhance restore`: `python -m experiments.tool_gains_train --data photos`."""

from experiments.core.cli import run_cli
from experiments.tasks.tool_gains import Config, main

if __name__ == "__main__":
    raise SystemExit(run_cli(main, Config))

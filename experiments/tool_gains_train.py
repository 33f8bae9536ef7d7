"""Train the planner of `rlenhance restore`: `python -m experiments.tool_gains_train --data photos`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.tool_gains import Config, main

if __name__ == "__main__":
    raise SystemExit(run_cli(main, Config))

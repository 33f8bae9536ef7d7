"""RSE-RL, all of it: `python -m experiments.rse_train celeba`, or `sidd` for real noise."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.rse.task import RSE

if __name__ == "__main__":
    raise SystemExit(train_command(RSE))

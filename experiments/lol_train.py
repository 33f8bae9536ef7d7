"""Train a low-light policy, or its supervised baseline: `python -m experiments.lol_train`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.lowlight import LOWLIGHT

if __name__ == "__main__":
    raise SystemExit(train_command(LOWLIGHT))

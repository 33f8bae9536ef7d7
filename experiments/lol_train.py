"""Train a low-light policy, or its supervised baseline: `python -m experiments.lol_train`."""

from experiments.core.cli import train_command
from experiments.tasks.lowlight import LOWLIGHT

if __name__ == "__main__":
    raise SystemExit(train_command(LOWLIGHT))

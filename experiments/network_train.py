"""Train a supervised network: `python -m experiments.network_train prior --data bedrooms --minutes 45`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.restore import RESTORE

if __name__ == "__main__":
    raise SystemExit(train_command(RESTORE))

"""Train a policy that chooses how photographs of text are read: `python -m experiments.read_train`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.read import READ

if __name__ == "__main__":
    raise SystemExit(train_command(READ))

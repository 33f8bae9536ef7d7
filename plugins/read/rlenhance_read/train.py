"""Train a policy that chooses how photographs of text are read: `python -m rlenhance_read.train`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance_read.learning.task import READ

if __name__ == "__main__":
    raise SystemExit(train_command(READ))

"""Train a policy that fills holes, or its twins: `python -m experiments.complete_train --learner a3c`."""

from experiments.core.cli import train_command
from experiments.tasks.completion import COMPLETION

if __name__ == "__main__":
    raise SystemExit(train_command(COMPLETION))

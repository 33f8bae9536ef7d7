"""Train a policy that fills holes, or its twins: `python -m experiments.complete_train --learner a3c`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.completion import COMPLETION

if __name__ == "__main__":
    raise SystemExit(train_command(COMPLETION))

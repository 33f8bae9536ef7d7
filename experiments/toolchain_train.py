"""Train a policy that chooses tools for damaged pictures: `python -m experiments.toolchain_train`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.toolchain import TOOLCHAIN

if __name__ == "__main__":
    raise SystemExit(train_command(TOOLCHAIN))

"""Train the small tools of a toolchain: `python -m experiments.tools_train --data FOLDER`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.small_tools import SMALL_TOOLS

if __name__ == "__main__":
    raise SystemExit(train_command(SMALL_TOOLS))

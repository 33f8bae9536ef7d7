"""The name of `experiments.network_train` in version 0.2."""

import sys

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.restore import RESTORE

if __name__ == "__main__":
    print("restore_train is called network_train now; the old name goes with the next version", file=sys.stderr)
    raise SystemExit(train_command(RESTORE))

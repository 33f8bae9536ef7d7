"""Score policies that read against every control: `python -m experiments.read_compare --runs RUN RUN RUN`."""

import sys

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.read_compare import ReadCompareConfig, compare

if __name__ == "__main__":
    sys.exit(run_cli(compare, ReadCompareConfig))

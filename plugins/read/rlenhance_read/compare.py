"""Score policies that read against every control: `python -m rlenhance_read.compare --runs RUN RUN RUN`."""

import sys

from rlenhance.experiments.core.cli import run_cli
from rlenhance_read.learning.comparison import ReadCompareConfig, compare

if __name__ == "__main__":
    sys.exit(run_cli(compare, ReadCompareConfig))

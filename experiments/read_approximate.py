"""Train a network that prepares text through an approximated engine: `python -m experiments.read_approximate`."""

import sys

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.read_approximation import ApproximateConfig, approximate

if __name__ == "__main__":
    sys.exit(run_cli(approximate, ApproximateConfig))

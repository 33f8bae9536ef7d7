"""Train the learned denoiser: `python -m experiments.denoiser_train --data DIR --channels 1 --minutes 45`."""

import sys

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.denoiser_command import DENOISER, current_words

if __name__ == "__main__":
    raise SystemExit(train_command(DENOISER, current_words(sys.argv[1:])))

"""Train the learned denoiser: `python -m experiments.denoiser_train --data DIR --channels 1 --minutes 45`."""

from experiments.core.cli import train_command
from experiments.tasks.denoiser import DENOISER

if __name__ == "__main__":
    raise SystemExit(train_command(DENOISER))

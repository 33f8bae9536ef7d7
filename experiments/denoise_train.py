"""Train a policy that denoises with filters, or its twins: `python -m experiments.denoise_train --noise 25`."""

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.denoise import DENOISE

if __name__ == "__main__":
    raise SystemExit(train_command(DENOISE))

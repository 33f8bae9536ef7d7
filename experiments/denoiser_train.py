"""Train the learned denoiser: `python -m experiments.denoiser_train --data DIR --channels 1 --minutes 45`."""

from experiments.tasks.denoiser_command import denoiser_command

if __name__ == "__main__":
    raise SystemExit(denoiser_command())

"""Compare denoisers on the same noisy pictures: `python -m experiments.denoise_compare --data DIR --models RUN ...`."""

from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.tasks.denoise_compare import DENOISE_COMPARISON

if __name__ == "__main__":
    raise SystemExit(compare_command(DENOISE_COMPARISON))

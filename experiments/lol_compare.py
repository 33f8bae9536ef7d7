"""Compare learners with each other and with what needs no training: `python -m experiments.lol_compare`."""

from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON

if __name__ == "__main__":
    raise SystemExit(compare_command(LOWLIGHT_COMPARISON))

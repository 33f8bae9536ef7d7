"""Compare policies over tools with chains, regression and oracles: `python -m experiments.toolchain_compare`."""

from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.tasks.toolchain_compare import TOOLCHAIN_COMPARISON

if __name__ == "__main__":
    raise SystemExit(compare_command(TOOLCHAIN_COMPARISON))

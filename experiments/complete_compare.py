"""Compare what completes holes on the same pictures: `python -m experiments.complete_compare --models RUN ...`."""

from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON

if __name__ == "__main__":
    raise SystemExit(compare_command(COMPLETION_COMPARISON))

"""Scores of a model on a split: `python -m experiments.evaluate RUN --data DIR`."""

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate

if __name__ == "__main__":
    raise SystemExit(run_cli(evaluate, EvaluateConfig))

"""Scores of a model on a split: `python -m experiments.evaluate RUN --data DIR`."""

from __future__ import annotations

import sys

from experiments.core.cli import run_cli
from experiments.tasks.lowlight_evaluate import Arguments, main

if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

"""`rlenhance models`: the trained models that are shipped."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.hub.shipped import shipped_models
from rlenhance.pipelines.options import describe


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    commands.add_parser("models", help="list the shipped models", description="List the shipped models: name, size, "
                        "the knobs that each takes with their ranges (and defaults), and what it is.")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    found = shipped_models()
    if not found:
        print("no model is shipped with this version: train one with python -m experiments.lol_train (five minutes), "
              "and name it with --model RUN/best")
    for model in found:
        print(f"{model.name}{' (default)' if model.default else ''}: {model.size / 1e6:.2f} MB, "
              f"{describe(model.ranges, model.auto)}\n    {model.about}")
    return 0

"""`rlenhance models`: the trained models that are shipped."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.core.types import PURPOSES
from rlenhance.hub.shipped import list_models
from rlenhance.pipelines.preference_text import describe_preferences


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    command = commands.add_parser(
        "models", help="list the shipped models",
        description="List the shipped models: name, purpose, size, the preferences that each takes with their ranges "
                    "(and defaults), and what it is.")
    command.add_argument("--purpose", choices=PURPOSES, help="list the models for this alone")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    found = list_models(arguments.purpose)
    if not found:
        kind = f" for {arguments.purpose}" if arguments.purpose else ""
        print(f"no model{kind} is shipped with this version: train one with python -m experiments.lol_train (five "
              f"minutes), and name it with --model RUN/best")
    for model in found:
        taken = describe_preferences(model.info.effective_preferences, model.info.auto_preferences, flags=True)
        print(f"{model.name}{' (default)' if model.default else ''}: {model.info.purpose}, {model.size / 1e6:.2f} MB, "
              f"{taken}\n    {model.about}")
    return 0

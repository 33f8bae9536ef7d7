"""`rlenhance models`: the trained models that are shipped, or those in folders."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rlenhance.core import PURPOSES
from rlenhance.hub.shipped import describe_folder, list_models
from rlenhance.pipelines.preference_text import describe_preferences


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    command = commands.add_parser(
        "models", help="list the shipped models",
        description="List the shipped models, or those in the named folders: name, purpose, size, the preferences that "
                    "each takes with their ranges (and defaults), and what it is.")
    command.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="a run, a checkpoint, or a folder of "
                         "`rlenhance export --hub`")
    command.add_argument("--purpose", choices=PURPOSES, help="list the models for this alone")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    if arguments.folders:
        return _describe_folders(arguments)
    found = list_models(arguments.purpose)
    if not found:
        kind = f" for {arguments.purpose}" if arguments.purpose else ""
        print(f"no model{kind} is shipped with this version: train one with python -m "
              f"rlenhance.experiments.lol_train (five minutes), and name it with --model RUN/best")
    for model in found:
        taken = describe_preferences(model.info.effective_preferences, model.info.auto_preferences, flags=True)
        print(f"{model.name}{' (default)' if model.default else ''}: {model.info.purpose}, {model.size / 1e6:.2f} MB, "
              f"{taken}\n    {model.about}")
    return 0


def _describe_folders(arguments: argparse.Namespace) -> int:
    from rlenhance.core.errors import printable
    from rlenhance.hub.info import MODEL, find_checkpoint, read_info

    for folder in arguments.folders:
        place, info = find_checkpoint(folder), read_info(folder)
        if arguments.purpose in (None, info.purpose):
            taken = describe_preferences(info.effective_preferences, info.auto_preferences, flags=True)
            print(f"{printable(folder)}: {info.purpose}, {(place / MODEL).stat().st_size / 1e6:.2f} MB, {taken}")
            if about := describe_folder(place):
                print(f"    {printable(about)}")
    return 0

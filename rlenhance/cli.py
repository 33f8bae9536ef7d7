"""The `rlenhance` command. The top level imports the standard library alone, so that help is instant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rlenhance import __version__
from rlenhance.commands import denoise, enhance, models, presets
from rlenhance.errors import UsageError

#: The commands by name; each module has `add(commands)` and `run(arguments) -> status`.
COMMANDS: dict[str, Any] = {"enhance": enhance, "denoise": denoise, "models": models, "presets": presets}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="rlenhance", description="Enhance photographs with trained policies.")
    top.add_argument("--version", action="version", version=f"rlenhance {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(commands)
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for bad input, 130 after Ctrl-C."""
    arguments = parser().parse_args(words)
    try:
        return COMMANDS[arguments.command].run(arguments)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""A dataclass becomes a command line; what the user did wrong becomes one line and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro

from rlenhance.errors import UsageError


def run_command(main: Callable[[Any], Any], arguments: type, words: list[str] | None = None) -> int:
    """Parse the command line, run, and give the exit status: 0, or 2 for bad input (130 after Ctrl-C)."""
    try:
        parsed: Any = tyro.cli(arguments, args=words, prog=f"python -m {_module_name(arguments)}")
        main(parsed)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro has printed help (0), or what it could not parse (2)
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _module_name(arguments: type) -> str:
    """The module as the user typed it, also where Python calls it __main__."""
    spec = sys.modules[arguments.__module__].__spec__
    return spec.name if spec else arguments.__module__

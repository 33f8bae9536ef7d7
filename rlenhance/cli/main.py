"""The `rlenhance` command. The top level imports the standard library alone, so that help is instant."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rlenhance.cli import (
    compare,
    complete,
    demo,
    denoise,
    doctor,
    enhance,
    export,
    models,
    presets,
    score,
    upscale,
    variants,
    watch,
)
from rlenhance.cli.reports import name_flags
from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import load_plugin

#: The commands by name; each module has `add(commands)` and `run(arguments) -> status`.
COMMANDS: dict[str, Any] = {"enhance": enhance, "denoise": denoise, "complete": complete, "upscale": upscale,
                            "watch": watch, "variants": variants, "compare": compare, "score": score, "models": models,
                            "presets": presets, "export": export, "demo": demo, "doctor": doctor}
#: Commands that use no model.
_WITHOUT_MODEL = ("models", "presets", "doctor")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="rlenhance", description="Enhance photographs with trained policies.")
    top.add_argument("--version", action="version", version=f"rlenhance {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(commands)
    for name, described in commands.choices.items():
        if name not in _WITHOUT_MODEL:
            described.add_argument("--plugin", action="append", default=[], metavar="FILE|MODULE",
                                   help="a Python module of your own that registers parts of the model; it runs what "
                                        "it holds, and a model never has one loaded by itself")
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.

    `doctor` has 1 for what does not work; 141 is a reader that went away, as `head` does.
    """
    for stream in (sys.stdout, sys.stderr):  # a file may have a name that is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(words)
    with _stopped_by(signal.SIGTERM):
        try:
            for source in getattr(arguments, "plugin", ()):
                load_plugin(source)
            return COMMANDS[arguments.command].run(arguments)
        except UsageError as error:
            print(f"error: {name_flags(str(error))}", file=sys.stderr)
            return 2
        except _Terminated:
            return 143
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
            return 141


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what is being written is finished, as after Ctrl-C."""


@contextmanager
def _stopped_by(number: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # no signals there
        yield
        return
    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


if __name__ == "__main__":
    sys.exit(main())

"""The `rlenhance` command. The top level imports the standard library alone, so that help is instant."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any

from rlenhance.cli.parser import CommandParser, as_typed, check_written_files, with_command
from rlenhance.cli.reports import check_words, guarded_streams, name_flags
from rlenhance.core import __version__
from rlenhance.core.errors import UsageError, describe_failure, printable
from rlenhance.core.installation import TRAINING, install_line

#: The commands as the help groups them; the module of each has `add(commands)` and `run(arguments) -> status`.
GROUPS = {"photographs": ("enhance", "restore", "denoise", "complete", "upscale", "fuse", "bracket", "variants",
                          "compare", "score"),
          "folders and a page": ("watch", "demo"),
          "models and looks": ("models", "presets", "learn", "taste"),
          "research (trainings are `python -m rlenhance.experiments.lol_train --help`)": ("export",),
          "installation": ("doctor",)}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)
#: Commands of distributions of their own -> what is installed for them.
ELSEWHERE = {"read": "plugins/read"}
#: Entry points of the commands of installed distributions; the value of each is a module as those of `COMMANDS` are.
GROUP = "rlenhance.commands"
#: Commands whose NumPy multiplies matrices that are worth several threads.
_LARGE_MATRICES = ("complete", "restore")
#: Commands that use no model.
_WITHOUT_MODEL = ("fuse", "bracket", "models", "presets", "doctor")
_GRACE = 1.0  # seconds in which further signals to stop are the same wish


def parser(only: str | None = None, more: Mapping[str, str] = MappingProxyType({})) -> CommandParser:
    """The command line, with all commands or only one of them, so that the others are not imported.

    Args:
        only: the command.
        more: commands of other distributions, see `installed_commands`.
    """
    missing = ", ".join(f"{name} (in a clone of rlenhance: pip install -e {ELSEWHERE[name]})"
                        for name, module in more.items() if not module)
    top = CommandParser(prog="rlenhance", description="Enhance photographs with trained policies. Without a command, "
                                                      "photographs are enhanced: rlenhance night.jpg",
                        epilog=f"Not installed: {missing}" if missing else None)
    top.add_argument("--version", action="version", version=f"rlenhance {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (only,) if only in (*COMMANDS, *more) else (*COMMANDS, *(name for name in more if more[name])):
        try:
            _module(name, more).add(commands)
        except UsageError as error:
            if name in (*COMMANDS, only):
                raise
            print(f"warning: the installed command {name} is left out: {error}", file=sys.stderr)
    top.groups = {title: list(names) for title, names in GROUPS.items()}
    top.groups["installed with other distributions"] = [name for name in commands.choices if name not in COMMANDS]
    for name, described in commands.choices.items():
        described.set_defaults(parser=described)
        if name not in _WITHOUT_MODEL:
            described.add_argument("--plugin", action="append", default=[], metavar="FILE|MODULE",
                                   help="your own Python module that registers parts of the model; it runs what "
                                        "it holds, and a model never has one loaded by itself")
    return top


def installed_commands(first: str) -> dict[str, str]:
    """Commands of other distributions -> their modules, "" for one that is not installed; none where the first word of
    a command line cannot be one of them, since looking for them costs start-up time."""
    if first in COMMANDS or not (first in ("-h", "--help", "--help-all") or first.replace("-", "_").isidentifier()):
        return {}
    from importlib import metadata

    found = {point.name: point.value for point in metadata.entry_points(group=GROUP)}
    return {name: module for name, module in {**dict.fromkeys(ELSEWHERE, ""), **found}.items() if name not in COMMANDS}


def _module(command: str, more: Mapping[str, str]) -> Any:
    """The module of a command.

    Raises:
        UsageError: it is of a distribution that is not installed, or that cannot be imported.
    """
    if command in COMMANDS:
        return import_module(f"rlenhance.cli.{command}")
    if not more[command]:
        raise UsageError(f"`rlenhance {command}` is a distribution of its own; in a clone of rlenhance: pip install -e "
                         f"{ELSEWHERE[command]}")
    from rlenhance.core.plugins import import_named

    return import_named(more[command])


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM.

    It is 2 too where standard output is full or closed: the work is done, and its lines are lost. `doctor` has 1 for
    what does not work; 141 is a reader that went away, as `head` does.
    """
    try:
        with _stoppable(words is None), guarded_streams() as output, _warnings_as_notes():
            try:
                status = _run(sys.argv[1:] if words is None else words)
            except SystemExit as stop:  # of argparse: help, or words that it does not know
                if output.lost():
                    raise SystemExit(stop.code or 2) from None
                raise
            return status or 2 * output.lost()
    except _Terminated:
        return 143
    except KeyboardInterrupt:
        return 130


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Prints what the library warns of as one line, without the place in its code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                print(f"note: {printable(message)}", file=sys.stderr)
            else:
                shown(message, category, *place, **more)

        warnings.showwarning = tell
        yield


def _run(words: Sequence[str]) -> int:
    try:
        check_words(words)
        words = words or ["--help"]
        more = installed_commands(words[0])
        words = with_command(words, (*COMMANDS, *more))
        if "--match-series" in words:
            from rlenhance.cli.series_options import settle_reference

            words = settle_reference(words)
        arguments, unknown = parser(words[0], more).parse_known_args(words)
        if unknown:
            arguments.parser.refuse(unknown)
        if getattr(arguments, "plugin", ()):
            from rlenhance.core.plugins import load_plugin

            for source in arguments.plugin:
                load_plugin(source)
        if arguments.command in COMMANDS and arguments.command not in _LARGE_MATRICES:
            # a policy's are small: threads cost as much as they compute
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported
        check_written_files(arguments)
        status: int = _module(arguments.command, more).run(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        print(f"error: {as_typed(name_flags(str(error)), words)}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING:
            raise
        print(f"error: this needs {error.name}, of the extra train: {install_line('train')}", file=sys.stderr)
    except BrokenPipeError:
        return 141
    except OSError as error:
        print(f"error: {printable(describe_failure(error, error.filename or 'the system'))}", file=sys.stderr)
    return 2


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what is being written is finished, as after Ctrl-C."""


@contextmanager
def _stoppable(program: bool) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the command once: what is being written is finished or removed.

    Further ones within `_GRACE` seconds are the same wish and are ignored, since they would interrupt the cleaning up;
    later ones end the process at once.

    Args:
        program: this is the whole program, and signals may come while Python ends.
    """
    if threading.current_thread() is not threading.main_thread():  # no signals there
        yield
        return
    first: list[float] = []

    def stop(number: int, *_: Any) -> None:
        if not first:
            first.append(time.monotonic())
            raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if time.monotonic() - first[0] > _GRACE:
            os._exit(128 + number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        first.append(time.monotonic())
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if program else handler)  # nothing is left to be interrupted


if __name__ == "__main__":
    sys.exit(main())

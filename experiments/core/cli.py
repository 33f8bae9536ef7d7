"""A dataclass becomes a command line; what went wrong becomes one line and a status."""

from __future__ import annotations

import dataclasses
import inspect
import io
import signal
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any, NoReturn

import tyro

from rlenhance.cli.reports import check_words, guarded_streams
from rlenhance.core.errors import UsageError, printable
from rlenhance.experiments.core.config import PluginNames, hints_of, is_flat, plain_type
from rlenhance.experiments.core.fit import Terminated, handling
from rlenhance.experiments.core.plugins import (
    load_plugins,
    load_plugins_of,
    named_plugins,
    require_terms,
    require_tools,
    with_plugins,
)
from rlenhance.experiments.core.presets import begin_with, named_options, preset_in
from rlenhance.experiments.core.short_help import shorten_help
from rlenhance.experiments.core.task import Task
from rlenhance.experiments.core.train import load_settings, open_run, train

_PLUGIN_HELP = "Your own modules, files or importable names, that registered parts of the models."


def train_command(task: Task[Any, Any], words: Sequence[str] | None = None) -> int:
    """The command line of a task: `raise SystemExit(train_command(TASK))` is a training script.

    Returns:
        The exit status, see `run_cli`.
    """
    given = sys.argv[1:] if words is None else words

    def run(config: Any) -> None:
        if config.train.resume:  # parsed again with the run's own settings as defaults: what differs was asked for
            about = open_run(task, config.train.resume)[1]
            load_plugins_of(about, config.train.plugin)
            kind = with_plugins(task.Config)
            stored = load_settings(kind, config.train.resume, about)
            require_terms(stored, config.train)
            require_tools(stored, config)
            stored = dataclasses.replace(stored, train=dataclasses.replace(stored.train, progress=True, devices=1))
            train(task, parse(kind, given, task.command, stored), unasked=stored)
        else:
            train(task, config)

    return run_cli(run, task.Config, given, prog=task.command)


def run_cli(main: Callable[..., Any], arguments: Any = None, words: Sequence[str] | None = None, prog: str = "") -> int:
    """Parse the command line, run, and give the exit status: 0, or 2 for bad input (130 after Ctrl-C, 143 after
    SIGTERM). It is 2 too where standard output is full or closed: the work is done, and its lines are lost.

    Args:
        main: called with the parsed dataclass, or with its fields by name where it takes them one by one.
        arguments: its class; None: the parameters of `main`, with what its docstring says of them as their help.
        words: the command line; None: that of this process.
        prog: the module as the user typed it; "": that of `arguments`.
    """
    if arguments is None:
        return run_cli(lambda parsed: main(**{part.name: getattr(parsed, part.name) for part in
                                              dataclasses.fields(parsed)}), _dataclass_of(main), words, prog)
    with guarded_streams() as output:
        status = _run(main, arguments, sys.argv[1:] if words is None else words, prog)
        return status or 2 * output.lost()


def _dataclass_of(main: Callable[..., Any]) -> type[Any]:
    """A dataclass with the parameters of a function, their types, defaults and docstring."""
    hints = typing.get_type_hints(main, include_extras=True)
    parts = [(name, hints[name], dataclasses.field(
        default=dataclasses.MISSING if parameter.default is parameter.empty else parameter.default))
        for name, parameter in inspect.signature(main).parameters.items()]
    return dataclasses.make_dataclass(main.__name__, parts, frozen=True, kw_only=True,
                                      namespace={"__doc__": main.__doc__, "__module__": main.__module__})


def _run(main: Callable[[Any], Any], arguments: Any, words: Sequence[str], prog: str) -> int:
    try:
        check_words(words)
        with handling((signal.SIGTERM,), _terminate):
            load_plugins(named_plugins(words))
            main(_parsed(arguments, words, prog or _module_name(arguments)))
    except UsageError as error:
        first, *more = str(error).split("\n")
        print("\n  ".join([f"error: {printable(first)}", *(printable(line.strip()) for line in more)]), file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro has printed help (0), or what it could not parse (2)
        return int(stop.code or 0)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        return 141
    except OSError as error:
        place = f"{printable(error.filename)}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}; what was saved before stands: make room, or choose another "
              f"--out", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("interrupted", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    return 0


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def _parsed(arguments: Any, words: Sequence[str], module: str) -> Any:
    """The settings of a command, every one of which takes --plugin."""
    kind = with_plugins(arguments)
    if "--plugin" in lists_of(kind):
        return parse(kind, words, module)
    hint = Annotated[PluginNames, tyro.conf.arg(help=_PLUGIN_HELP)]
    made = dataclasses.make_dataclass(
        kind.__name__, [("plugin", hint, dataclasses.field(default=(), kw_only=True))], bases=(kind,),
        frozen=kind.__dataclass_params__.frozen, namespace={"__doc__": kind.__doc__})
    parsed = parse(made, words, module)
    return kind(**{part.name: getattr(parsed, part.name) for part in dataclasses.fields(kind)})


def parse(arguments: Any, words: Sequence[str], module: str, default: Any = None) -> Any:
    """The configuration that a command line asks for.

    Args:
        default: what it begins with; None: the preset that it names, or else the defaults.
    """
    gathered = gather(arguments, words)
    base = begin_with(arguments, preset_in(gathered)) if default is None and hasattr(arguments, "presets") else default
    whole = {"--help-all": "--help"}
    short = not whole.keys() & {*gathered} and bool({"-h", "--help"} & {*gathered})
    told = io.TextIOWrapper(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None) or "utf-8")
    try:
        with redirect_stdout(told) if short else nullcontext():
            parsed = tyro.cli(arguments, args=[whole.get(word, word) for word in gathered], prog=f"python -m {module}",
                              **({} if base is None else {"default": base}))
    finally:
        told.seek(0)
        print(shorten_help(told.read()), end="")
    return parsed.settled(base, named_options(gathered)) if default is None and hasattr(parsed, "settled") else parsed


def gather(arguments: Any, words: Sequence[str]) -> list[str]:
    """The command line with the values of options that take several brought together, where one is repeated.

    tyro's append actions take one value each, and add to a default that is not empty.

    Example:
        `--reward exposure=4 --seed 1 --reward color=1` -> `--reward exposure=4 color=1 --seed 1`
    """
    several = set(lists_of(arguments))
    groups: dict[str, list[str]] = {}
    name = ""
    for index, word in enumerate(words):
        option, sign, value = word.partition("=")
        option = option.replace("_", "-")
        if word.startswith("--"):
            name = option if option in several else f"{index} {option}"
            given = [option, *([value] if sign else [])] if option in several else [word]
            groups[name] = groups[name] + given[1:] if name in groups else given
        else:
            groups.setdefault(name, []).append(word)
    return [word for group in groups.values() for word in group]


def lists_of(arguments: Any, prefix: str = "--") -> Iterator[str]:
    """The options that take any number of values."""
    for name, hint in hints_of(arguments).items():
        kind, flag = plain_type(hint), f"{prefix}{name.replace('_', '-')}"
        if dataclasses.is_dataclass(kind):
            yield from lists_of(kind, prefix if is_flat(hint) else f"{flag}.")
        elif typing.get_origin(kind) is tuple and typing.get_args(kind)[-1] is Ellipsis:
            yield flag


def _module_name(arguments: Any) -> str:
    """The module as the user typed it, also where Python calls it __main__."""
    specs = (getattr(sys.modules[name], "__spec__", None) for name in ("__main__", arguments.__module__))
    typed = [spec.name for spec in specs if spec]
    places = ("experiments.", "research.", f"{arguments.__module__.split('.')[0]}.")  # the last: of a plugin
    own = [name for name in typed if name.removeprefix("rlenhance.").startswith(places)]
    return own[0] if own else arguments.__module__

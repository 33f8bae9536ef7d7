"""A dataclass becomes a command line, and config.json a dataclass; what went wrong becomes one line and a status."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from rlenhance.core.errors import UsageError


def run_command(main: Callable[[Any], Any], arguments: type, words: list[str] | None = None) -> int:
    """Parse the command line, run, and give the exit status: 0, or 2 for bad input (130 after Ctrl-C)."""
    try:
        gathered = gather(arguments, sys.argv[1:] if words is None else words)
        parsed: Any = tyro.cli(arguments, args=gathered, prog=f"python -m {_module_name(arguments)}")
        main(parsed)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # tyro has printed help (0), or what it could not parse (2)
        return int(stop.code or 0)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        return 141
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}; what was saved before stands: make room, or choose another "
              f"--out", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def gather(arguments: type, words: Sequence[str]) -> list[str]:
    """The command line with the values of options that take several brought together, where one is repeated.

    Example:
        `--reward exposure=4 --seed 1 --reward color=1` -> `--reward exposure=4 color=1 --seed 1`
    """
    several = set(_lists(arguments))
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


def _lists(arguments: type, prefix: str = "--") -> Iterator[str]:
    """The options that take any number of values."""
    for name, kind in typing.get_type_hints(arguments, include_extras=True).items():
        flag = f"{prefix}{name.replace('_', '-')}"
        if typing.get_origin(kind) is Annotated:  # the parts of an experiment, whose options have no prefix
            kind, flag = typing.get_args(kind)[0], prefix[:-1]
        if dataclasses.is_dataclass(kind):
            yield from _lists(typing.cast(type, kind), f"{flag}{'-' if flag == '-' else '.'}")
        elif typing.get_origin(kind) is tuple and typing.get_args(kind)[-1] is Ellipsis:
            yield flag


def _module_name(arguments: type) -> str:
    """The module as the user typed it, also where Python calls it __main__."""
    specs = (getattr(sys.modules[name], "__spec__", None) for name in ("__main__", arguments.__module__))
    return next((spec.name for spec in specs if spec and spec.name.startswith("experiments.")), arguments.__module__)


def rebuild(kind: Any, value: Any) -> Any:
    """A dataclass again from the JSON of its fields; fields that are unknown are refused.

    Raises:
        UsageError: a field that this version does not have, or a value of another kind.
    """
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return rebuild(typing.get_args(kind)[0], value)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return rebuild(next(inner for inner in typing.get_args(kind) if inner is not type(None)), value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        if not isinstance(value, dict):
            raise UsageError(f"config.json holds {value!r} where settings belong; restore it")
        unknown = set(value) - set(hints)
        if unknown:
            raise UsageError(f"config.json names {', '.join(sorted(unknown))}, which this version does not know: "
                             f"resume with the version that began the run")
        make: Any = kind
        return make(**{name: rebuild(hints[name], inner) for name, inner in value.items()})
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(rebuild(inner, item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind):
        raise UsageError(f"config.json holds {value!r} where a {kind.__name__} belongs; restore it")
    return value

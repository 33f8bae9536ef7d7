"""The command line's parser: help in two levels, refusals in one line, and files that options write.

There is one way to add an option that names a file to write, and one check of all before any work:

    add_written_file(parser, "--explain", kind="sheet", metavar="FILE.png", help=...)

`rlenhance.cli.main` calls `check_written_files` once the words are parsed. What `-o` names for photographs is checked
by their plan, which asks `places_of` for the other files.
"""

from __future__ import annotations

import argparse
import difflib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rlenhance.core.errors import UsageError, printable
from rlenhance.core.numbers import parse_number
from rlenhance.pipelines.options import PREFERENCES

#: What may be typed for an option -> the option as messages name it.
_OTHER_NAMES = {"--output": "-o", "--recursive": "-r",
                **{alias: about.flag for about in PREFERENCES.values() for alias in about.aliases}}
#: Attribute of an argparse action that writes: the kind of its file, a key of `rlenhance.io.own_files.KINDS`.
_WRITES, _FOLDER = "written_kind", "written_folder"


class CommandParser(argparse.ArgumentParser):
    """`argparse` without abbreviations, whose refusals are one line, and whose numbers are bounded.

    Attributes:
        everyday: the options that `--help` explains, by one of their names each; `--help-all` explains all of them.
            Empty: `--help` does.
        groups: of the parser of several commands: title -> commands, as its help lists them.
    """

    def __init__(self, *words: object, **options: object):
        super().__init__(*words, allow_abbrev=False, **options)  # type: ignore[arg-type,misc]
        self.everyday: tuple[str, ...] = ()
        self.groups: dict[str, list[str]] = {}
        self.add_argument("--help-all", action=_HelpAll, help=argparse.SUPPRESS)
        self.register("type", int, partial(_read_number, whole=True))
        self.register("type", float, _read_number)

    def format_help(self) -> str:
        """The help of `--help`."""
        if self.groups:
            return self._grouped_help()
        return self._short_help() if self.everyday else super().format_help()

    def format_all(self) -> str:
        """The help of `--help-all`."""
        return self._grouped_help() if self.groups else super().format_help()

    def _short_help(self) -> str:
        options = [action for action in self._actions if action.option_strings]
        shown = [action for action in options if set(self.everyday) & set(action.option_strings)]
        others = [action for action in options if action.help != argparse.SUPPRESS and action not in shown and
                  not isinstance(action, argparse._HelpAction)]
        words = [action for action in self._actions if not action.option_strings]
        formatter = self._get_formatter()
        formatter.add_usage("%(prog)s [OPTIONS] " + " ".join(str(action.metavar or action.dest) for action in words),
                            (), ())
        formatter.add_text(self.description)
        for title, actions in (("arguments", words), ("options", shown)):
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        titles = [group.title for group in self._action_groups[2:] if {*group._group_actions} & {*others}]
        formatter.add_text(f"--help-all explains {len(others)} more options"
                           + (f", also on {', '.join(map(str, titles))}." if titles else "."))
        return formatter.format_help()

    def _grouped_help(self) -> str:
        (commands,) = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        known = {action.dest: action for action in commands._choices_actions}
        formatter = self._get_formatter()
        formatter.add_usage("%(prog)s [COMMAND] [OPTIONS] ...", (), ())
        formatter.add_text(self.description)
        for title, names in self.groups.items():
            if found := [known[name] for name in names if name in known]:
                formatter.start_section(title)
                formatter.add_arguments(found)
                formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments(action for action in self._actions if action.option_strings)
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """End with the message, and where to look; status 2."""
        self.exit(2, printable(f"error: {message}; `{self.prog} --help` lists the options") + "\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End with what is no option of the command, and the one that may have been meant."""
        word = next((word for word in unknown if word.startswith("-")), unknown[0]).split("=")[0]
        known = [flag for action in self._actions if action.help != argparse.SUPPRESS
                 for flag in action.option_strings if flag.startswith("--")]
        self.error(f"{self.prog} has no option {word}{_suggestion(word, known)}")


class _HelpAll(argparse.Action):
    """`--help-all`: print the help with every option, and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        assert isinstance(parser, CommandParser)
        print(parser.format_all(), end="")
        parser.exit()


def _read_number(word: str, whole: bool = False) -> float:
    """What `type=int` and `type=float` stand for."""
    try:
        return parse_number(word, whole)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def with_command(words: Sequence[str], commands: Iterable[str]) -> list[str]:
    """The words of a command line with `enhance` before photographs and options that name no command.

    Raises:
        UsageError: the first word is neither a command nor the name of a file, a folder or a pattern.
    """
    known = list(commands)
    if not words or words[0] in (*known, "-h", "--help", "--help-all", "--version"):
        return list(words)
    first = words[0]
    named = os.path.lexists(first) or glob.has_magic(first) or os.path.dirname(first) or os.path.splitext(first)[1]
    if named or first.startswith("-"):
        return ["enhance", *words]
    raise UsageError(f"{first}: neither a command nor a file{_suggestion(first, known)}; `rlenhance --help` lists the "
                     f"commands")


def as_typed(message: str, words: Sequence[str]) -> str:
    """A message with the names of options as they were typed.

    Example:
        >>> as_typed("--exposure must lie between 0.2 and 0.7; got 7", ["night.jpg", "--brightness=7"])
        '--brightness must lie between 0.2 and 0.7; got 7'
    """
    typed = {word.split("=")[0] for word in words}
    for other, name in _OTHER_NAMES.items():
        if other in typed and name not in typed:
            message = re.sub(rf"(?<![\w-]){name}(?![\w-])", other, message)
    return message


def _suggestion(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def add_written_file(parser: argparse._ActionsContainer, *flags: str, kind: str, folder: bool = False,
                     **options: Any) -> argparse.Action:
    """Add an option that names a file which the command writes.

    Args:
        parser: or a group of it.
        flags: of the option.
        kind: of the file, a key of `rlenhance.io.own_files.KINDS`.
        folder: it may be a folder too, whose files the command checks with `refuse_stranger`.
        options: of `add_argument`.
    """
    action = parser.add_argument(*flags, type=Path, **options)
    setattr(action, _WRITES, kind)
    setattr(action, _FOLDER, folder)
    return action


def written_options(parser: argparse.ArgumentParser) -> list[tuple[argparse.Action, str]]:
    """The options of a command that write, each with the kind of its file."""
    return [(action, getattr(action, _WRITES)) for action in parser._actions if hasattr(action, _WRITES)]


def places_of(arguments: argparse.Namespace) -> dict[Path, str]:
    """The files that options of a call name to be written: place -> option."""
    return {getattr(arguments, action.dest): action.option_strings[0] for action, _ in
            written_options(arguments.parser) if getattr(arguments, action.dest, None) is not None}


def check_written_files(arguments: argparse.Namespace) -> None:
    """Refuse what would lose a file: before any work, for every option that writes.

    A file that exists is replaced with --overwrite alone (a dialogue with --resume too, a table of failures where its
    ledger goes on), and only if it is one of the same kind that this project wrote. A ledger goes on. A file that the
    call reads, under whatever name, is never replaced, and no two options write one file.

    Raises:
        UsageError: names the option, the file and the way out.
    """
    options = [(action, kind) for action, kind in written_options(arguments.parser)
               if getattr(arguments, action.dest, None) is not None]
    if not options:
        return
    from rlenhance.io.own_files import is_own

    written = {action.dest for action, _ in options}
    read_files = {_identity(path): path for path in _files_of(arguments, written)}
    places = dict[str, str]()
    for action, kind in options:
        path, flag = getattr(arguments, action.dest), action.option_strings[0]
        other = places.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise UsageError(f"{flag} {path}: {other} names this file too; name another one")
        if os.path.exists(path) and (hit := read_files.get(_identity(path))) is not None:
            raise UsageError(f"{flag} {path}: would replace a file that this call reads ({hit}); name another file")
        if kind == "ledger":  # it goes on; who opens it refuses a file that is none
            if os.path.isfile(path) and os.path.getsize(path) and not is_own(path, kind):
                raise UsageError(f"{flag} {path}: is no ledger; name another file")
            continue
        if not (getattr(action, _FOLDER) and (os.path.isdir(path) or not path.suffix)):
            may_replace = bool(getattr(arguments, "overwrite", False) or getattr(arguments, "resume", False)
                               or (kind == "table of failures" and _goes_on(arguments)))
            if hasattr(arguments, "resume") and not may_replace and os.path.isfile(path):
                raise UsageError(f"{flag} {path}: exists; --resume goes on with it, --overwrite begins anew")
            refuse_stranger(path, kind, flag, may_replace)


def refuse_stranger(path: Path, kind: str, flag: str, may_replace: bool) -> None:
    """Refuse a place that cannot be written, or holds a file that must not be replaced.

    Args:
        path: the place.
        kind: of the file that is to be written there.
        flag: the option that names it.
        may_replace: whether a file of this kind that this project wrote is replaced.

    Raises:
        UsageError: names the option, the file and the way out.
    """
    from rlenhance.io.output_plan import check_output
    from rlenhance.io.own_files import is_own

    try:
        check_output(path, (), may_replace)
    except UsageError as error:
        raise UsageError(f"{flag} {error}") from error
    if os.path.islink(path) and not os.path.exists(path):
        raise UsageError(f"{flag} {path}: is a link that leads nowhere; name another file, or remove it")
    if os.path.isfile(path) and not is_own(path, kind):
        raise UsageError(f"{flag} {path}: exists and is no {kind} that rlenhance wrote, so it is not replaced; name "
                         f"another file, or remove it")


def refuse_written(targets: Iterable[Path], arguments: argparse.Namespace) -> None:
    """Refuse photographs and results in the place of a file that an option names.

    Raises:
        UsageError: names both.
    """
    places = {os.path.realpath(path): flag for path, flag in places_of(arguments).items()}
    for target in targets if places else ():
        if (flag := places.get(os.path.realpath(target))) is not None:
            raise UsageError(f"{flag} {target}: is the place of a photograph; name another file")


def _goes_on(arguments: argparse.Namespace) -> bool:
    """Whether the call continues a run whose ledger is there."""
    ledger = getattr(arguments, "ledger", None)
    return ledger is not None and os.path.isfile(ledger)


def _files_of(arguments: argparse.Namespace, written: set[str]) -> Iterator[Path]:
    """The files that the other options and words of a call name."""
    for name, value in vars(arguments).items():
        if name not in written and name != "parser":
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str | Path) and "\0" not in str(each) and os.path.isfile(each):
                    yield Path(each)


def _identity(path: Path) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_dev, about.st_ino

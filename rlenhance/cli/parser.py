"""The command line's parser: refusals in one line that say what may have been meant."""

from __future__ import annotations

import argparse
import difflib
import glob
import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NoReturn

from rlenhance.core.errors import UsageError, printable
from rlenhance.core.numbers import parse_number
from rlenhance.pipelines.options import PREFERENCES

#: What may be typed for an option -> the option as messages name it.
_OTHER_NAMES = {"--output": "-o", "--recursive": "-r",
                **{alias: about.flag for about in PREFERENCES.values() for alias in about.aliases}}


class CommandParser(argparse.ArgumentParser):
    """`argparse` without abbreviations, whose refusals are one line, and whose numbers are bounded."""

    def __init__(self, *words: object, **options: object):
        super().__init__(*words, allow_abbrev=False, **options)  # type: ignore[arg-type,misc]
        self.register("type", int, partial(_read_number, whole=True))
        self.register("type", float, _read_number)

    def error(self, message: str) -> NoReturn:
        """End with the message, and where to look; status 2."""
        self.exit(2, printable(f"error: {message}; `{self.prog} --help` lists the options") + "\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End with what is no option of the command, and the one that may have been meant."""
        word = next((word for word in unknown if word.startswith("-")), unknown[0]).split("=")[0]
        known = [flag for action in self._actions if action.help != argparse.SUPPRESS
                 for flag in action.option_strings if flag.startswith("--")]
        self.error(f"{self.prog} has no option {word}{_suggestion(word, known)}")


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
    if not words or words[0] in (*known, "-h", "--help", "--version"):
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

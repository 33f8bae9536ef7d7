"""Properties, their cases, and how a case ends."""

import importlib
import pkgutil
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import stress

#: How a case ends; those after the first two are failures.
OUTCOMES = ("whole", "refused", "crashed", "hung", "fat", "wrong")
_MACHINERY = ("registry", "watch", "report", "worker", "damage")


class Broken(AssertionError):
    """A law does not hold."""


class Found(Exception):
    """A search inside one case found an input that fails: `case` is stored in its place."""

    def __init__(self, outcome: str, text: str, case: "Case"):
        super().__init__(text)
        self.outcome, self.case = outcome, case


@dataclass(frozen=True)
class Case:
    """One input: a file's name and bytes, or options alone; None for a limit is that of the property."""

    name: str
    data: bytes = b""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    wall: float | None = None
    mib: float | None = None


@dataclass(frozen=True)
class Property:
    """A law and the inputs it is tried with.

    Attributes:
        name: of the file.
        law: a sentence.
        cases: the inputs of a random stream; the same stream gives the same ones.
        check: returns None (a whole result) or counts by outcome; raises UsageError (refused), Broken, Found, or any.
        share: of the minutes, relative to the others'.
        seconds: of CPU a case may take, its child processes counted.
        wall: seconds that it may take, the machine being busy; None: ten times `seconds`, at least 60.
        mib: by which its memory may grow.
        block: cases that one child tries.
        short: cases that `make test` tries; 0 where each takes seconds.
        names: a refusal names the file.
    """

    name: str
    law: str
    cases: Callable[[random.Random], Iterator[Case]]
    check: Callable[[Case, Path], Mapping[str, int] | None]
    share: float = 1.0
    seconds: float = 10.0
    wall: float | None = None
    mib: float = 1024.0
    block: int = 50
    short: int = 3
    names: bool = True

    def limits(self, case: Case) -> tuple[float, float, float]:
        """Seconds of CPU, seconds, MiB."""
        seconds = case.seconds or self.seconds
        return seconds, case.wall or self.wall or max(60.0, 10 * seconds), case.mib or self.mib


def names() -> list[str]:
    """Of all properties."""
    found = sorted(module.name for module in pkgutil.iter_modules(stress.__path__))
    return [name for name in found if name not in _MACHINERY and not name.startswith("_")]


def load(name: str) -> Property:
    """A property by its name."""
    found: Property = importlib.import_module(f"tests.stress.{name}").PROPERTY
    assert found.name == name, f"{name}.py holds {found.name}"
    return found

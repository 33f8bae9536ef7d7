"""Tools by what the user writes: a registered name, a Python function, or a command; and what a tool costs."""

from __future__ import annotations

import inspect
import os
import re
import time
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UnknownName, UsageError, one_line
from rlenhance.core.plugins import digest_of, import_named
from rlenhance.tools.base import TOOLS, PictureFunction, Tool
from rlenhance.tools.command import Command

_FUNCTION = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_SIDE = 256  # pixels along the picture that a user-defined tool is tried on


def tool_of(text: str | Tool, *, path: Path | str | None = None, seconds: float = 60.0, memory: float = 8192.0) -> Tool:
    """The tool that a text names.

    A function or a command is run twice on a picture of 256x256 pixels: it must work, its cost is measured, and it
    counts as deterministic where both results are equal. It runs with the rights of its user: never take such a text
    from untrusted sources.

    Args:
        text: the name of an entry of `TOOLS` ("median"); `module:function`, a user-defined function from
            (H, W, 3) float32 RGB in [0, 1] to the same, whose module is searched in the current folder and on Python's
            path; or a command with `{in}` and `{out}`, see `Command`. A `Tool` stays as it is.
        path: folder of weights, for tools that take one.
        seconds, memory: limits of a command, see `Command`.

    Raises:
        UsageError: it names none; or the function or the command fails.

    Example:
        >>> tool_of("median").label
        'single pixels smoothed'
    """
    if isinstance(text, Tool):
        return text
    if "{" in text or " " in text.strip():
        command = Command(text, seconds, memory)
        program = Path(command.words()[0]).name
        return measured(_name(text), f"{one_line(program, 60)} applied", command, version=command.version)
    if match := _FUNCTION.fullmatch(text):
        module = import_named(match[1], (str(Path.cwd()),))
        function = getattr(module, match[2], None)
        if not callable(function):
            there = ", ".join(name for name, value in vars(module).items() if callable(value) and name[0] != "_")
            raise UsageError(f"{match[1]} has no function {match[2]}; it has {one_line(there) or 'none'}")
        return measured(_name(text), f"{match[2]} applied", _on_a_copy(function), version=digest_of(module)[1])
    return registered_tool(text, path)


def registered_tool(name: str, path: Path | str | None = None) -> Tool:
    """An entry of `TOOLS`, and never a function or a command: for names in files, which may be untrusted.

    Args:
        name: of the entry.
        path: folder of weights, for tools that take one.

    Raises:
        UnknownName: there is no such entry.
        UsageError: its weights are missing or damaged.
    """
    if name not in TOOLS:
        raise UnknownName("tool", name, TOOLS)
    if path is None or "path" not in inspect.signature(TOOLS[name]).parameters:
        return TOOLS.create(name)
    return TOOLS.create(name, path=path)


def measured(name: str, label: str, function: PictureFunction, *, radius: int | None = None, version: str = "") -> Tool:
    """A tool from a function, which is run twice to measure its cost and to see whether its results are equal.

    Raises:
        UsageError: see `Tool.__call__`.
    """
    tool, picture = Tool(name, label, function, 0.0, radius, version=version), trial_picture(_SIDE)
    begun = processor_seconds()
    one = tool(picture)
    cost = (processor_seconds() - begun) / (picture.shape[0] * picture.shape[1] / 1e6)
    equal = np.array_equal(one, tool(picture))
    return Tool(name, label, function, cost, radius, deterministic=equal, version=version)


def measure_cost(tool: Tool, side: int = 768, repeats: int = 3) -> float:
    """Seconds of processor time per megapixel of a tool, the smallest of several runs after a first one."""
    picture, spent = trial_picture(side), []
    for _ in range(repeats + 1):
        begun = processor_seconds()
        tool(picture)
        spent.append(processor_seconds() - begun)
    return min(spent[1:]) / (side * side / 1e6)


def processor_seconds() -> float:
    """Seconds of processor time that this process has used, and those that it has started and that have ended."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def trial_picture(side: int) -> np.ndarray:
    """A picture with gradients, edges and noise: (side, side, 3) float32 in [0, 1], multiples of 1/255."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:side, :side] / side
    picture = np.stack([down, across, ((8 * down).astype(int) + (8 * across).astype(int)) % 2], axis=2)
    noisy = 0.2 + 0.6 * picture + 0.03 * rng.standard_normal(picture.shape)
    return (np.rint(255 * noisy.clip(0, 1)) / 255).astype(np.float32)


def _on_a_copy(function: PictureFunction) -> PictureFunction:
    """A user-defined function may write into what it is given."""
    return lambda picture: function(picture.copy())


def _name(text: str) -> str:
    return text.strip()[:200]

"""Repair photographs of unknown damage with a chain of tools, one chosen after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import bands, tiles, to_pixels, to_planes
from rlenhance.io import Photo
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.options import RestoreSettings
from rlenhance.pipelines.photo_faults import PhotoFaults, see_faults
from rlenhance.pipelines.tool_choice import BUDGETS, Budget, ToolChoice, brightens
from rlenhance.tools import TOOLS, Command, Tool, registered_tool, tool_of

#: The shipped planner.
SHIPPED = "tool-gains"
#: Said of a photograph that is left as it is.
NOTHING = "nothing to repair"
_GRID = 8  # tiles begin at multiples of a JPEG block
_TILE = 1024  # pixels along a tile of a tool that sees its surroundings only


@dataclass(frozen=True)
class ChainStep:
    """One tool of a chain.

    Attributes:
        tool: what was used.
        gain: what was predicted of it, in dB; of a planner that predicts no gains, its score over that of stopping.
        picture: the result (H, W, 3) float32.
    """

    tool: Tool
    gain: float
    picture: np.ndarray


class PhotoRestorer(ImagePipeline[RestoreSettings]):
    """Finds out what is wrong with a photograph and repairs it with a chain of tools.

    A planner looks at patches spread over the photograph and says which tool the whole needs next, or that nothing is
    left to do (`ToolChoice`); the tool runs over the whole photograph, and the planner looks again. Tools compute on
    the CPU.

    Args:
        model: see `ImagePipeline`; a planner. None: the shipped one.
        settings: see `RestoreSettings`.
        tools: the planner chooses among these alone: tools, or what `rlenhance.tools.tool_of` takes (names,
            "module:function", commands with {in} and {out}, which are run: name none that you do not trust). Of a tool
            that it does not know, the gain is judged by its results on the patches. Empty: the planner's own, if they
            are registered: what a checkpoint names is never run as a function or a command.
        tool_weights: folder of the weights of tools that are not shipped, or that are others than the shipped ones.
        tool_seconds, tool_memory: limits of commands, see `rlenhance.tools.Command`.
        options: see `ImagePipeline`.

    Raises:
        UsageError: see `ImagePipeline`; or a tool that does not exist, or that is not registered and was not given.

    Example:
        >>> PhotoRestorer(budget="best")(pixels)  # doctest: +SKIP
    """

    name, suffix, purpose = "restore", RestoreSettings.suffix, "restore"
    Settings = RestoreSettings
    _unpickled: ClassVar = (*ImagePipeline._unpickled, "judge", "_tools", "_brighten")

    def __init__(self, model: Path | str | None = None, settings: RestoreSettings | None = None, *,
                 tools: Sequence[Tool | str] = (), tool_weights: Path | str | None = None,
                 tool_seconds: float = Command.seconds, tool_memory: float = Command.memory, **options: Any):
        self.tools = tuple(dict.fromkeys(tools))
        self.tool_weights, self.tool_seconds, self.tool_memory = tool_weights, tool_seconds, tool_memory
        super().__init__(model, settings, **options)

    def _load(self) -> None:
        self.folder, self.network = self._open_network(SHIPPED if self.named is None else self.named)
        if not self.network.plans:
            raise UsageError(f"{self.named}: does not say which tool comes next; name a planner ({SHIPPED})")
        self.judge = self.network if self.network.predicts else self._open_network(SHIPPED)[1]
        known = set(self.network.tools)
        self._tools = [tool_of(tool, path=self.tool_weights, seconds=self.tool_seconds, memory=self.tool_memory)
                       for tool in self.tools] or self._registered()
        by_rule = [tool for tool in self._tools if brightens(tool) and tool.name not in known]
        self._tools = [tool for tool in self._tools if tool not in by_rule]
        if not self.tools and not any(brightens(tool) for tool in self._tools):
            by_rule = [tool_of("brighten")]
        self._brighten = next(iter(by_rule), None)

    def _registered(self) -> list[Tool]:
        """The planner's own tools."""
        for name in self.network.tools:
            if name not in TOOLS:
                raise UsageError(f"{self.named}: chooses among tools that are not registered, as {name!r:.80}; what a "
                                 f"model names is never run: name each tool that you trust, as it stands there (tools)")
        return [registered_tool(name, self.tool_weights) for name in self.network.tools]

    @property
    def budget(self) -> Budget:
        """That of the settings."""
        return BUDGETS[self.settings.budget]

    @property
    def choice(self) -> ToolChoice:
        """How tools are chosen; a policy has as many steps as it was trained for, where no number is asked for."""
        steps = self.settings.steps or min(self.budget.steps, self.network.horizon or self.budget.steps)
        return ToolChoice(self.network, self.judge, self._tools, self._brighten, self.budget, steps)

    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        chain, gains, picture = list[Tool](), list[float](), None
        for step in self.steps(pixels):  # one picture is kept in memory
            chain.append(step.tool)
            gains.append(round(step.gain, 3))
            picture = step.picture
        found = see_faults(pixels)
        decision = {"words": describe(chain, found), "found": found.damage, "chain": [tool.name for tool in chain],
                    "gains": gains}
        if picture is None:
            return pixels, decision
        result = np.empty_like(pixels)
        for rows in bands(len(pixels), 256):
            mixed = self._mix(to_planes(pixels[rows]), to_planes(picture[rows]))
            result[rows] = to_pixels(mixed, pixels.dtype.type)
        return result, decision

    def steps(self, pixels: np.ndarray) -> Iterator[ChainStep]:
        """The chain of one photograph, tool by tool.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
        """
        whole = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
        picture, done = np.divide(pixels, whole, dtype=np.float32, casting="same_kind"), list[Tool]()
        choice = self.choice
        for number in range(choice.steps):
            found = choice.next(picture, done)
            if found is None:
                break
            tool, gain = found
            result = apply_tool(tool, picture)
            yield ChainStep(tool, gain, result)
            picture, done = result, [*done, tool]
            if self.on_progress:
                self.on_progress((number + 1) / (choice.steps + 1))
        if self.on_progress:
            self.on_progress(1.0)


def apply_tool(tool: Tool, picture: np.ndarray) -> np.ndarray:
    """A tool over a picture of any size: in tiles where it sees its surroundings only, otherwise at once."""
    height, width = picture.shape[:2]
    if tool.radius is None or height * width <= 2 * _TILE**2:
        return tool(picture)
    result = np.empty_like(picture)
    halo = -(-tool.radius // _GRID) * _GRID  # tiles begin on the grid
    for tile in tiles(height, width, _TILE, halo):
        result[tile.inner[1:]] = tool(np.ascontiguousarray(picture[tile.outer[1:]]))[tile.crop[1:]]
    return result


def describe(chain: Sequence[Tool], found: PhotoFaults) -> str:
    """What was found and done: "found noise 14 of 255, JPEG blocks: JPEG blocks removed, sharpened a little twice".

    Args:
        chain: the tools that were used.
        found: in the photograph, before.
    """
    damage = ", ".join(found.damage)
    hint = "; rlenhance enhance brightens it" if found.is_dark and not any(map(brightens, chain)) else ""
    if not chain:
        return f"left as it is: {damage}, but no tool would gain enough{hint}" if damage else NOTHING
    counts = [(label, len(list(same))) for label, same in groupby(tool.label for tool in chain)]
    times = {1: "", 2: " twice"}
    done = ", ".join(label + times.get(count, f" {count} times") for label, count in counts)
    return (f"found {damage}: " if damage else "") + done + hint

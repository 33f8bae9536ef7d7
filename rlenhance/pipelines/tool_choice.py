"""Which tool a photograph needs next: patches of it, what a planner predicts for them, and the gate before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rlenhance.core.pixels import to_planes
from rlenhance.ops.damage_statistics import OWN_GRID, damage_statistics
from rlenhance.ops.plane_statistics import exposure_of
from rlenhance.tools import Tool

PATCH = 96  # pixels along a patch that the planner looks at
_GRID = 8  # patches begin at multiples of a JPEG block
#: Exposure below which a photograph is brightened first, where no light is in it (but for 2 % of its pixels the largest
#: channel is below the second number: what is lit in a dark scene is meant so), and something was recorded (in half of
#: its pixels the largest channel is at least the third).
_DARK, _LIT, _RECORDED = 0.25, 0.5, 3 / 255
_LIGHT = 0.35  # exposure from which no planner brightens a photograph
_GOOD, _BAD = 37.0, 32.0  # predicted PSNR in dB from which a photograph is left as it is, and below which it is bad
#: Predicted gain in dB, cautiously, that the first tool, the first of a bad photograph, and the following ones need.
_LEAST_FIRST, _LEAST_BAD, _LEAST = 0.5, 0.25, 0.1
_BLOCKS = 0.25  # of steps at every eighth line over the others, as a share of the mean step: blocks of JPEG show
_CLEARLY = 0.05  # of the mean step: how much stronger another grid is than the picture's own


@dataclass(frozen=True)
class Budget:
    """What a word of `RestoreSettings.budget` stands for.

    Attributes:
        steps: largest number of tools.
        patches: of the photograph that the planner looks at.
        price: dB that a second of processor time per megapixel costs.
        tried: so many of the best tools are tried on the patches before one is taken; 1: the prediction decides.
    """

    steps: int
    patches: int
    price: float
    tried: int


BUDGETS: Mapping[str, Budget] = {"fast": Budget(2, 6, 0.05, 1), "normal": Budget(4, 12, 0.01, 1),
                                 "best": Budget(6, 20, 0.0, 3)}


class PredictedGain(NamedTuple):
    """The gain in dB that is predicted of a tool for a photograph.

    Attributes:
        mean: over the patches.
        cautious: the lower quartile over the patches: what is wrong with a photograph shows in most of them, and what
            only looks so, as a texture, does not.
    """

    mean: float
    cautious: float

    @classmethod
    def of(cls, gains: np.ndarray) -> PredictedGain:
        """Of the gains on the patches, (N,)."""
        return cls(float(gains.mean()), float(np.quantile(gains, 0.25)))


@dataclass(frozen=True)
class ToolChoice:
    """Chooses among tools, one after the other.

    Attributes:
        planner: scores its own tools: `rlenhance.engine.tool_gains.ToolGains`, or
            `rlenhance.learning.hub.torch_network.TorchPlanner`.
        judge: a planner that predicts, and estimates the PSNR of a picture.
        tools: to choose among.
        brighten: brightens dark photographs by a rule, before the planner is asked; None: no tool does.
        budget: of the chain.
        steps: the most tools in the chain.
    """

    planner: Any
    judge: Any
    tools: Sequence[Tool]
    brighten: Tool | None
    budget: Budget
    steps: int

    def next(self, picture: np.ndarray, done: Sequence[Tool]) -> tuple[Tool, float] | None:
        """The tool that a picture needs next and its gain; None: none.

        Args:
            picture: (H, W, 3) float32, what the tools so far have made of the photograph.
            done: those tools.
        """
        small = picture[::4, ::4]
        exposure, largest = exposure_of(to_planes(small)[0]).item(), small.max(axis=2)
        if self.brighten and not done and exposure < _DARK and np.median(largest) >= _RECORDED and \
                np.quantile(largest, 0.98) < _LIT:
            return self.brighten, 0.0
        patches = patches_of(picture, self.budget.patches)
        if min(patches.shape[-2:]) < _GRID:
            return None
        tools = self.tools
        if exposure > _LIGHT:
            tools = [tool for tool in tools if not brightens(tool)]
        repaired = [tool for tool in done if tool is not self.brighten]
        own = self.planner is self.judge
        gains, quality = self.judge.assess(patches) if own or not repaired else (None, None)
        least = _LEAST if repaired else self._least_first(gains, quality)
        if not tools or least is None:
            return None
        if self.planner.predicts:  # a policy has learned when to use a tool again
            tools = [tool for tool in tools if tool not in done]
        scores: Any = gains if own else self._scores(patches, done)
        found = [PredictedGain.of(scores[:, self.planner.tools.index(tool.name)] if tool.name in self.planner.tools
                                  else self._judged(patches, tool)) for tool in tools]
        least = least if self.planner.in_decibels else 0.0
        coded = least > _LEAST_BAD and shows_blocks(patches)  # then no texture is taken for damage
        worth = {i: gain.mean - self.budget.price * tools[i].cost for i, gain in enumerate(found)
                 if gain.cautious > (_LEAST_BAD if coded and "JPEG" in tools[i].label else least)}
        worth = {i: gain for i, gain in worth.items() if gain > 0}
        last = len(done) == self.steps - 1
        if self.budget.tried > 1 and not last and self.planner.predicts:  # values of policies see ahead
            order = sorted(worth, key=worth.__getitem__, reverse=True)[: self.budget.tried]
            worth = {i: worth[i] + self._ahead(patches, tools[i], done) for i in order}
        if not worth:
            return None
        best = max(worth, key=worth.__getitem__)
        return tools[best], found[best].mean

    def _least_first(self, gains: Any, quality: Any) -> float | None:
        """The gate: the gain that the first tool must have, less for a photograph of a low estimated PSNR.

        None where that PSNR is high, or where neither planner nor judge predicts enough.
        """
        seen = float(quality.mean())
        least = _LEAST_BAD if seen < _BAD else _LEAST_FIRST
        helps = self.planner.in_decibels or max(PredictedGain.of(each).cautious for each in gains.T) > least
        return least if seen < _GOOD and helps else None

    def _scores(self, patches: np.ndarray, done: Sequence[Tool]) -> np.ndarray:
        """The planner's scores of its own tools over stopping: (patches, tools)."""
        used = [tool.name for tool in done if tool is not self.brighten]
        left = max(0.0, 1 - len(used) / (self.planner.horizon or self.steps))
        return np.asarray(self.planner.scores(patches, used, left))

    def _judged(self, patches: np.ndarray, tool: Tool) -> np.ndarray:
        """The gain on each patch of a tool that the planner does not know: it is tried, and the results are judged."""
        return self.judge.assess(tool.batch(patches))[1] - self.judge.assess(patches)[1]

    def _ahead(self, patches: np.ndarray, tool: Tool, done: Sequence[Tool]) -> float:
        """The gain of the best tool after this one, at least 0."""
        scores = self._scores(tool.batch(patches), [*done, tool])
        return max([0.0, *(PredictedGain.of(each).mean for each, name in zip(scores.T, self.planner.tools, strict=True)
                           if name not in [other.name for other in (*done, tool)])])


def brightens(tool: Tool) -> bool:
    """Whether a tool makes dark photographs light."""
    return "brighten" in tool.name or "brighten" in tool.label


def shows_blocks(patches: np.ndarray) -> bool:
    """Whether the blocks of JPEG show in most patches (N, 3, H, W) that lie on their grid."""
    seen = damage_statistics(patches)[:, OWN_GRID].mean(axis=1)
    return bool(np.quantile(seen, 0.25) > _BLOCKS)


def patches_of(picture: np.ndarray, count: int, side: int = PATCH) -> np.ndarray:
    """At most `count` patches spread evenly over a picture, on the grid of JPEG blocks: (N, 3, side, side).

    Args:
        picture: (H, W, 3) float32. Where it is smaller than a patch, the patch is.
    """
    picture = picture[_first_block(picture) :, _first_block(picture.transpose(1, 0, 2)) :]
    height, width = picture.shape[:2]
    rows = max(1, round((count * height / width) ** 0.5))
    spans = [_starts(length, min(side, length), most) for length, most in (
        (height, min(rows, count)), (width, max(1, count // min(rows, count))))]
    found = [picture[top : top + side, left : left + side] for top in spans[0] for left in spans[1]]
    return np.concatenate([to_planes(patch) for patch in found])


def _first_block(picture: np.ndarray) -> int:
    """The row, below 8, at which blocks of JPEG begin in a picture that was cut out of another one; 0 where none do."""
    lines = picture[:1024, :1024].mean(axis=2)
    if len(lines) < 5 * _GRID:
        return 0
    steps = np.abs(np.diff(lines, axis=0)).mean(axis=1)
    excess = steps[1:-1] - 0.5 * (steps[:-2] + steps[2:])  # of row 2 over row 1, and on
    phases = excess[: len(excess) // _GRID * _GRID].reshape(-1, _GRID).mean(axis=0)
    first = int(phases.argmax())
    return (first + 2) % _GRID if phases[first] > phases[_GRID - 2] + _CLEARLY * (steps.mean() + 1e-3) else 0


def _starts(length: int, side: int, count: int) -> list[int]:
    """Evenly spread first pixels of `count` patches or fewer, multiples of a block."""
    room = length - side
    places = [round(room * (number + 0.5) / count) // _GRID * _GRID for number in range(count)]
    return sorted(set(places))

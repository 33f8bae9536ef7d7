"""Repair photographs of unknown damage with a chain of tools, one chosen after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array, to_tensor
from rlenhance.core.tiling import bands, tiles
from rlenhance.io import Photo
from rlenhance.io.contact_sheet import Cell
from rlenhance.models import ToolGains, ToolPlanner
from rlenhance.ops.image_statistics import exposure_of
from rlenhance.ops.noise_estimation import estimate_sigma
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.options import RestoreSettings
from rlenhance.tools import TOOLS, Command, Tool, registered_tool, tool_of

#: The shipped planner.
SHIPPED = "tool-gains"
#: Said of a photograph that is left as it is.
NOTHING = "nothing to repair"
PATCH = 96  # pixels along a patch that the planner looks at
_GRID = 8  # patches begin at multiples of a JPEG block
_TILE = 1024  # pixels along a tile of a tool that sees its surroundings only
#: Exposure below which a photograph is brightened first, where no light is in it (but for 2 % of its pixels the largest
#: channel is below the second number: what is lit in a dark scene is meant so), and something was recorded (in half of
#: its pixels the largest channel is at least the third).
_DARK, _LIT, _RECORDED = 0.25, 0.5, 3 / 255
_LIGHT = 0.35  # exposure from which no planner brightens a photograph
_CROP = 256  # pixels along a detail of the explanation
_GOOD, _BAD = 37.0, 32.0  # predicted PSNR in dB from which a photograph is left as it is, and below which it is bad
#: Predicted gain in dB, cautiously, that the first tool, the first of a bad photograph, and the following ones need.
_LEAST_FIRST, _LEAST_BAD, _LEAST = 0.5, 0.25, 0.1
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


@dataclass(frozen=True)
class ChainStep:
    """One tool of a chain.

    Attributes:
        tool: what was used.
        words: what it did, for people.
        gain: what was predicted of it, in dB; of a planner that predicts no gains, its score over that of stopping.
        picture: the result (H, W, 3) float32.
    """

    tool: Tool
    words: str
    gain: float
    picture: np.ndarray


class Opinion(NamedTuple):
    """What is predicted of a tool for a photograph.

    Attributes:
        mean: over the patches.
        cautious: the lower quartile over the patches: what is wrong with a photograph shows in most of them, and what
            only looks so, as a texture, does not.
    """

    mean: float
    cautious: float

    @classmethod
    def of(cls, gains: Tensor) -> Opinion:
        """That of the gains on the patches (N,)."""
        return cls(gains.mean().item(), torch.quantile(gains.float(), 0.25).item())


class PhotoRestorer(ImagePipeline[RestoreSettings]):
    """Finds out what is wrong with a photograph and repairs it with a chain of tools.

    A planner looks at patches spread over the photograph and says which tool the whole needs next, or that nothing is
    left to do; the tool runs over the whole photograph, and the planner looks again. Tools compute on the CPU.

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
        self.folder, self.model = self._open(SHIPPED if self.named is None else self.named)
        if not isinstance(self.model, ToolPlanner):
            raise UsageError(f"{self.named}: a {type(self.model).__name__} does not say which tool comes next; name a "
                             f"planner ({SHIPPED})")
        self.judge: ToolGains = self.model if isinstance(self.model, ToolGains) else self._open(SHIPPED)[1]
        known = set(self.model.tools)
        self._tools = [tool_of(tool, path=self.tool_weights, seconds=self.tool_seconds, memory=self.tool_memory)
                       for tool in self.tools] or self._registered()
        by_rule = [tool for tool in self._tools if brightens(tool) and tool.name not in known]
        self._tools = [tool for tool in self._tools if tool not in by_rule]
        if not self.tools and not any(brightens(tool) for tool in self._tools):
            by_rule = [tool_of("brighten")]
        self._brighten = next(iter(by_rule), None)

    def _registered(self) -> list[Tool]:
        """The planner's own tools."""
        for name in self.model.tools:
            if name not in TOOLS:
                raise UsageError(f"{self.named}: chooses among tools that are not registered, as {name!r:.80}; what a "
                                 f"model names is never run: name each tool that you trust, as it stands there (tools)")
        return [registered_tool(name, self.tool_weights) for name in self.model.tools]

    @property
    def budget(self) -> Budget:
        """That of the settings."""
        return BUDGETS[self.settings.budget]

    @property
    def _most(self) -> int:
        """The most tools of a chain; a policy has as many as it was trained for, where no number is asked for."""
        return self.settings.steps or min(self.budget.steps, getattr(self.model, "horizon", self.budget.steps))

    @torch.inference_mode()
    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        words, chain, gains, picture = list[str](), list[str](), list[float](), None
        for step in self.steps(pixels):  # one picture is kept in memory
            words.append(step.words)
            chain.append(step.tool.name)
            gains.append(round(step.gain, 3))
            picture = step.picture
        decision = {"words": describe(words), "chain": chain, "gains": gains}
        if picture is None:
            return pixels, decision
        result = np.empty_like(pixels)
        for rows in bands(len(pixels), 256):
            mixed = self._mix(to_tensor(pixels[rows]), to_tensor(picture[rows]))
            result[rows] = to_array(mixed, pixels.dtype.type)
        return result, decision

    @torch.inference_mode()
    def steps(self, pixels: np.ndarray) -> Iterator[ChainStep]:
        """The chain of one photograph, tool by tool.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
        """
        whole = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
        picture, done = np.divide(pixels, whole, dtype=np.float32, casting="same_kind"), list[Tool]()
        most = self._most
        for number in range(most):
            found = self._next(picture, done, last=number == most - 1)
            if found is None:
                break
            tool, gain = found
            result = apply_tool(tool, picture)
            yield ChainStep(tool, words_of(tool, picture, result), gain, result)
            picture, done = result, [*done, tool]
            if self.on_progress:
                self.on_progress((number + 1) / (most + 1))
        if self.on_progress:
            self.on_progress(1.0)

    def _next(self, picture: np.ndarray, done: Sequence[Tool], last: bool) -> tuple[Tool, float] | None:
        """The tool that a picture needs next and its gain; None: none."""
        small = picture[::4, ::4]
        exposure = exposure_of(to_tensor(small)).item()
        if self._brighten and not done and exposure < _DARK and np.median(small.max(axis=2)) >= _RECORDED and \
                np.quantile(small.max(axis=2), 0.98) < _LIT:
            return self._brighten, 0.0
        patches = patches_of(picture, self.budget.patches).to(self.device)
        if min(patches.shape[-2:]) < _GRID:
            return None
        tools = self._tools
        if exposure > _LIGHT:
            tools = [tool for tool in tools if not brightens(tool)]
        repaired = [tool for tool in done if tool is not self._brighten]
        least = _LEAST if repaired else self._least_first(patches)
        if not tools or least is None:
            return None
        if isinstance(self.model, ToolGains):  # a policy has learned when to use a tool again
            tools = [tool for tool in tools if tool not in done]
        scores = self._scores(patches, done)
        found = [Opinion.of(scores[:, self.model.tools.index(tool.name)] if tool.name in self.model.tools
                            else self._judged(patches, tool)) for tool in tools]
        least = least if self.model.in_decibels else 0.0
        worth = {i: opinion.mean - self.budget.price * tools[i].cost for i, opinion in enumerate(found)
                 if opinion.cautious > least}
        worth = {i: gain for i, gain in worth.items() if gain > 0}
        if self.budget.tried > 1 and not last and isinstance(self.model, ToolGains):  # values of policies see ahead
            order = sorted(worth, key=worth.__getitem__, reverse=True)[: self.budget.tried]
            worth = {i: worth[i] + self._ahead(patches, tools[i], done) for i in order}
        if not worth:
            return None
        best = max(worth, key=worth.__getitem__)
        return tools[best], found[best].mean

    def _least_first(self, patches: Tensor) -> float | None:
        """The gate: the gain that the first tool must have, less of a photograph that the judge thinks bad.

        None where it is good, or where a planner that predicts no gains would begin and the judge sees no help.
        """
        gains, quality = self.judge.assess(patches)
        own = quality.mean().item()
        least = _LEAST_BAD if own < _BAD else _LEAST_FIRST
        helps = self.model.in_decibels or max(Opinion.of(each).cautious for each in gains.T) > least
        return least if own < _GOOD and helps else None

    def _scores(self, patches: Tensor, done: Sequence[Tool]) -> Tensor:
        """What the planner says of each of its own tools over stopping: (patches, tools)."""
        used = [tool.name for tool in done if tool is not self._brighten]
        left = max(0.0, 1 - len(used) / getattr(self.model, "horizon", self._most))
        scores = self.model(make_observation(self.model, patches, used, left))
        if not self.model.in_decibels:
            scores = scores.softmax(dim=1)
        scores = scores.view(*scores.shape[:2], -1).mean(dim=2)
        return scores[:, :-1] - scores[:, -1:]

    def _judged(self, patches: Tensor, tool: Tool) -> Tensor:
        """The gain on each patch of a tool that the planner does not know: it is tried, and the results are judged."""
        after = tool.batch(patches.cpu()).to(patches)
        return self.judge.assess(after)[1] - self.judge.assess(patches)[1]

    def _ahead(self, patches: Tensor, tool: Tool, done: Sequence[Tool]) -> float:
        """What is gained by the best tool after this one, at least 0."""
        scores = self._scores(tool.batch(patches.cpu()).to(patches), [*done, tool])
        return max([0.0, *(Opinion.of(each).mean for each, name in zip(scores.T, self.model.tools, strict=True)
                           if name not in [other.name for other in (*done, tool)])])


    def _move(self, device: torch.device) -> None:
        super()._move(device)
        self.judge = self.judge.to(device)


def make_observation(planner: ToolPlanner, patches: Tensor, done: Sequence[str], left: float) -> dict[str, Tensor]:
    """What a planner is shown of a picture, as `rlenhance/Toolchain-v0` shows it.

    Args:
        patches: (N, 3, H, W) in [0, 1].
        done: names of the tools that were used.
        left: share of the steps that are left.
    """
    count, choices = len(patches), len(planner.tools) + 1
    regions = getattr(getattr(planner, "actions", None), "regions", 1)
    last = patches.new_zeros(count, choices, regions, regions)
    if done and done[-1] in planner.tools:
        last[:, planner.tools.index(done[-1])] = 1
    return {"image": patches, "last_tools": last, "remaining": patches.new_full((count, 1), left),
            "budget": patches.new_ones(count, 1), "action_mask": torch.ones_like(last)}


def patches_of(picture: np.ndarray, count: int, side: int = PATCH) -> Tensor:
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
    return torch.cat([to_tensor(patch) for patch in found])


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


def brightens(tool: Tool) -> bool:
    """Whether a tool makes dark photographs light."""
    return "brighten" in tool.name or "brighten" in tool.label


def words_of(tool: Tool, before: np.ndarray, after: np.ndarray) -> str:
    """What a tool did to a picture, in words; what took noise, whatever it is made for, says how much."""
    if "noise" not in tool.label and "JPEG" not in tool.label:
        return tool.label
    noise = [255 * estimate_sigma(np.rint(255 * picture).astype(np.uint8)) for picture in (before, after)]
    taken = round(max(noise[0] ** 2 - noise[1] ** 2, 0.0) ** 0.5)
    return f"noise {taken}/255 taken out" if taken >= 2 else tool.label


def describe(words: Sequence[str]) -> str:
    """A chain in words, those of each of its tools: "JPEG blocks removed, noise 12/255 taken out".

    Example:
        >>> describe(["brightened", "sharpened a little", "sharpened a little"])
        'brightened, sharpened a little twice'
    """
    counts = [(word, len(list(same))) for word, same in groupby(words)]
    times = {1: "", 2: " twice"}
    return ", ".join(word + times.get(count, f" {count} times") for word, count in counts) or NOTHING


def explain_chain(restorer: PhotoRestorer, pixels: np.ndarray) -> list[Cell]:
    """The cells of a sheet about one photograph: the whole after each step, and under it a detail pixel for pixel.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
    """
    shown: list[tuple[np.ndarray, tuple[str, ...]]] = [(to_array(to_tensor(pixels)), ("input",))]
    for number, step in enumerate(restorer.steps(pixels)):
        told = f"predicted gain {step.gain:+.2f} dB" if restorer.model.in_decibels else f"score {step.gain:+.2f}"
        shown.append((to_array(to_tensor(step.picture)), (f"{number + 1}. {step.words}", f"{step.tool.name}, {told}")))
    top, left = _liveliest(shown[0][0])
    details = [picture[top : top + _CROP, left : left + _CROP] for picture, _ in shown]
    return [Cell(picture, lines) for picture, lines in shown] + [
        Cell(detail, ("detail, pixel for pixel",)) for detail in details]


def _liveliest(pixels: np.ndarray) -> tuple[int, int]:
    """The place of the detail with the most contrast."""
    side = _CROP // 2
    level = pixels.mean(axis=2)
    places = [(top, left) for top in range(0, max(1, len(level) - _CROP + 1), side)
              for left in range(0, max(1, level.shape[1] - _CROP + 1), side)]
    return max(places, key=lambda at: float(level[at[0] : at[0] + _CROP, at[1] : at[1] + _CROP].std()))

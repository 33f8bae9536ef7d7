"""One tool, the registry of tools by name, and the toolkits: tuples of tools that belong together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import read_json
from rlenhance.core.pixels import check_planes, tiles, to_pixels, to_planes
from rlenhance.core.registry import Registry

#: (H, W, 3) float32 RGB in [0, 1] -> the same; needs no gradient.
PictureFunction = Callable[[np.ndarray], np.ndarray]
#: (N, 3, H, W) float32 in [0, 1] -> the same.
BatchFunction = Callable[[np.ndarray], np.ndarray]
#: Pixels of a batch that a batched function is given at once.
BATCH_PIXELS = 1 << 19
_TILE, _GRID = 704, 16  # pixels along a tile of a larger picture; tiles begin on the grids of networks and of JPEG
#: The file of the measured costs.
COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Tool:
    """A function from pictures to pictures that an agent may pick.

    What it returns is checked and clipped to [0, 1], so that the next tool of a chain gets a picture.

    Attributes:
        name: by which chains, caches and policies know it ("denoise-15").
        label: for people, in the past tense ("noise of 15/255 taken out").
        function: (H, W, 3) float32 RGB in [0, 1] -> the same shape.
        cost: seconds of processor time per megapixel.
        radius: pixels beyond which an input pixel has no influence on an output pixel; None: the whole picture. Large
            pictures go through a batched tool of known radius in tiles.
        deterministic: whether equal pictures give equal results; results of other tools are not cached.
        batched: (N, 3, H, W) float32 -> the same, where that is faster; None: one picture after another.
        version: of its weights or its command; results that a folder keeps are those of one version.

    Example:
        >>> darker = Tool("darker", "made darker", lambda picture: picture / 2, cost=0.01, radius=0)
        >>> float(darker(np.ones((2, 2, 3), np.float32)).mean())
        0.5
    """

    name: str
    label: str
    function: PictureFunction
    cost: float
    radius: int | None
    deterministic: bool = True
    batched: BatchFunction | None = None
    version: str = ""

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 200 or not self.name.isprintable():
            raise UsageError(f"a tool's name is 1 to 200 printable characters; got {self.name!r:.80}")
        if not 0 <= self.cost < float("inf"):
            raise UsageError(f"the cost of {self.name} must be 0 or more seconds per megapixel; got {self.cost}")

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The picture after the tool: (H, W, 3) float in [0, 1] -> (H, W, 3) float32 in [0, 1].

        Raises:
            UsageError: not such a picture; the function fails, or returns another shape or values that are not finite.
        """
        before = check_planes(to_planes(picture))
        if self.batched is not None:
            return to_pixels(self._batch(before), np.float32)
        return self._checked(self._run(self.function, to_pixels(before, np.float32)), (*before.shape[-2:], 3))

    def batch(self, images: Any) -> Any:
        """Each picture after the tool.

        Args:
            images: (N, 3, H, W) float in [0, 1], an array or a tensor.

        Returns:
            (N, 3, H, W) float32 in [0, 1], of the same kind, tensors on the same device; no gradient is recorded.

        Raises:
            UsageError: see `__call__`.
        """
        return like(images, self._batch(check_planes(planes_of(images)).astype(np.float32, copy=False)))

    def _batch(self, planes: np.ndarray) -> np.ndarray:
        if self.batched is None:
            results = [self._checked(self._run(self.function, to_pixels(each, np.float32)), (*planes.shape[-2:], 3))
                       for each in planes]
            return np.stack([result.transpose(2, 0, 1) for result in results])
        height, width = planes.shape[-2:]
        result = np.empty(planes.shape, np.float32)
        if self.radius is not None and max(height, width) > _TILE and height * width > BATCH_PIXELS:
            halo = -(-self.radius // _GRID) * _GRID
            for tile in tiles(height, width, _TILE, halo):
                part = np.ascontiguousarray(planes[tile.outer])
                result[tile.inner] = self._checked(self._run(self.batched, part), part.shape)[tile.crop]
            return result
        count = max(1, BATCH_PIXELS // (height * width))
        for first in range(0, len(planes), count):
            part = planes[first : first + count]
            result[first : first + count] = self._checked(self._run(self.batched, part), part.shape)
        return result

    def _run(self, function: Callable[..., object], picture: np.ndarray) -> object:
        try:
            return function(picture)
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # of a user-defined function
            raise UsageError(f"the tool {self.name} failed: {type(error).__name__}: {one_line(error)}") from error

    def _checked(self, result: object, shape: tuple[int, ...]) -> np.ndarray:
        """What a function has returned, clipped, if it is of the shape of what it was given."""
        if not isinstance(result, np.ndarray) or result.shape != shape or result.dtype.kind != "f":
            seen = f"{result.shape} {result.dtype}" if isinstance(result, np.ndarray) else type(result).__name__
            raise UsageError(f"the tool {self.name} must return a float array {shape} in [0, 1]; got {seen}")
        if not np.isfinite(result).all():
            raise UsageError(f"the tool {self.name} returned values that are not finite")
        return np.ascontiguousarray(result.clip(0, 1), dtype=np.float32)


def planes_of(images: Any) -> np.ndarray:
    """Pictures (N, 3, H, W), an array or a tensor on any device, as an array."""
    return np.asarray(images.detach().cpu().numpy() if hasattr(images, "detach") else images)


def like(images: Any, planes: np.ndarray) -> Any:
    """An array as what `images` are, an array or a tensor on their device."""
    if isinstance(images, np.ndarray):
        return planes
    torch: Any = sys.modules["torch"]  # who has a tensor has imported it
    return torch.from_numpy(planes).to(images.device)


#: Tools by name: each entry makes the tool; it may take settings.
TOOLS: Registry[Callable[..., Tool]] = Registry("tool")
#: Toolkits by name: each entry takes a folder (or None) and makes the tools.
TOOLKITS: Registry[Callable[[Path | None], tuple[Tool, ...]]] = Registry("toolkit")


def toolkit(name: str, path: Path | str | None = None) -> tuple[Tool, ...]:
    """The tools of a kit, in a fixed order.

    Args:
        name: of an entry of `TOOLKITS` ("opencv").
        path: folder of weights that are not shipped, where a kit needs one.

    Raises:
        UnknownName: no such kit.
        UsageError: its weights are missing or damaged.

    Example:
        >>> [tool.name for tool in toolkit("opencv")][:2]
        ['nlm-weak', 'nlm']
    """
    return TOOLKITS[name](None if path is None else Path(path))


@lru_cache(maxsize=1)
def measured_costs() -> dict[str, float]:
    """The measured cost of the project's own tools by name, in seconds of processor time per megapixel."""
    costs: dict[str, float] = read_json(COSTS)
    return costs


def cost_of(name: str) -> float:
    """The measured cost of one of the project's tools; 1 where it was not measured yet."""
    return measured_costs().get(name, 1.0)

"""All steps of an episode in one pass over the pixels: the same formula as `advance`, step by step, many times faster.

`advance` is the definition; tests hold this to it. Nothing here takes a mask or passes gradients.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlenhance.actions.base import Action, ActionSet, Bending
from rlenhance.actions.curve import Curve
from rlenhance.actions.tone import Tone
from rlenhance.images import to_array, to_tensor

_TILE = 1 << 14  # pixels per thread that torch bends at once: they stay in the cache
_SEGMENT = 512  # pixels that the kernel bends at once
_COARSE = 4  # pixels per agent along each side from which cells are worth walking


@dataclass(frozen=True)
class Axis:
    """Where the pixels of one side lie between the agents of a grid, as in bilinear interpolation between centres.

    Attributes:
        before, after: (size,), the agents on either side. part: (size,) float32, 0 at the one before.
        starts: where pixels between another pair of agents, or too many for one cell, begin; and `size` at the end.
    """

    before: np.ndarray
    after: np.ndarray
    part: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, size: int, agents: int, longest: int) -> Axis:
        """For `size` pixels and `agents` agents, in cells of at most `longest` pixels."""
        place = np.float32(agents / size) * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
        place = np.clip(place, 0, agents - 1)
        before = place.astype(np.int64)
        begins = [0, *(np.flatnonzero(np.diff(before)) + 1), size]
        starts = [start for first, last in pairwise(begins)
                  for start in range(first, last, longest)]
        return cls(before, np.minimum(before + 1, agents - 1), (place - before).astype(np.float32),
                   np.array([*starts, size], dtype=np.int64))


class Sweep:
    """The T actions of an episode, to be done to every pixel while it is in the cache.

    Args:
        actions: the action set (one that is `Bending`).
        chosen: its T actions, for N pictures each.
    """

    def __init__(self, actions: ActionSet, chosen: Sequence[Action]):
        assert isinstance(actions, Bending)
        self.actions: Bending = actions
        with torch.no_grad():
            joined = {level: torch.cat([action[level] for action in chosen]) for level in chosen[0]}
            handles = actions.turn(joined).float().unflatten(0, (len(chosen), -1)).transpose(0, 1)
        if torch.equal(handles, handles[..., :1, :1].expand_as(handles)):  # no local agent says anything
            handles = handles[..., :1, :1]
        #: (N, T, C, h, w).
        self.handles = handles.contiguous()

    def fits(self, height: int, width: int) -> bool:
        """Whether agents are few enough for this to be the faster way."""
        rows, columns = self.handles.shape[-2:]
        return (rows, columns) == (1, 1) or (rows * _COARSE <= height and columns * _COARSE <= width)

    def image(self, image: Tensor) -> Tensor:
        """All steps for (N, 3, H, W) float32 on the CPU, of any size."""
        image = image.detach().contiguous()
        height, width = image.shape[-2:]
        result = torch.empty_like(image)
        kernel = self._kernel(image.shape[0] * height * width, "sweep_planes")
        for number, (source, target) in enumerate(zip(image, result, strict=True)):
            handles = self.handles[min(number, self.handles.shape[0] - 1)]
            if kernel:
                self._run(kernel.sweep_planes, source.numpy(), target.numpy(), handles)
                continue
            for rows, bent in self._tiles(handles, height, width):
                target[:, rows] = bent(source[None, :, rows])[0]
        return result

    def pixels(self, picture: np.ndarray, strength: float = 1.0) -> np.ndarray:
        """All steps for one picture (H, W, 3), uint8 or uint16; the same shape and dtype, rounded to the nearest.

        Args:
            strength: how much of the change is made, in [0, 1].
        """
        picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        result = np.empty_like(picture)
        kernel = self._kernel(height * width, "sweep_pixels")
        if kernel:
            self._run(kernel.sweep_pixels, picture, result, self.handles[0],
                      np.float32(np.iinfo(picture.dtype).max), np.float32(strength))
            return result
        for rows, bent in self._tiles(self.handles[0], height, width):
            before = to_tensor(picture[rows])
            after = bent(before)
            result[rows] = to_array(after if strength == 1 else before + strength * (after - before),
                                    picture.dtype.type)
        return result

    def _tiles(self, handles: Tensor, height: int, width: int) -> Iterator[tuple[slice, Any]]:
        """Bands of rows that lie between the same rows of agents, each with what bends it."""
        single = handles.shape[-2:] == (1, 1)
        down = Axis.of(height, handles.shape[-2], max(1, torch.get_num_threads() * _TILE // width))
        across = Axis.of(width, handles.shape[-1], width)
        part = torch.from_numpy(across.part)
        wide = handles if single else torch.lerp(handles[..., across.before], handles[..., across.after], part)
        for first, last in pairwise(down.starts):
            above, below = wide[:, :, down.before[first], None], wide[:, :, down.after[first], None]
            share = torch.from_numpy(down.part[first:last, None])

            def bent(image: Tensor, above: Tensor = above, below: Tensor = below, share: Tensor = share) -> Tensor:
                for upper, lower in zip(above, below, strict=True):
                    image = self.actions.bend(image, (upper if single else torch.lerp(upper, lower, share))[None])
                return image

            yield slice(int(first), int(last)), bent

    def _kernel(self, pixels: int, name: str) -> Any:
        return KERNEL.worth(pixels, name) if type(self.actions) in (Tone, Curve) else None

    def _run(self, sweep: Any, source: np.ndarray, result: np.ndarray, handles: Tensor, *more: Any) -> None:
        """Blocks of rows on as many threads as torch may use."""
        height, width = source.shape[1:] if source.shape[0] == 3 and source.dtype == np.float32 else source.shape[:2]
        numbers = handles.expand(-1, max(handles.shape[1], 3), -1, -1).contiguous().numpy()
        down, across = Axis.of(height, numbers.shape[2], height), Axis.of(width, numbers.shape[3], _SEGMENT)
        firsts = across.starts[:-1]
        shared = (source, result, numbers, down.before, down.after, down.part,
                  across.starts, across.before[firsts], across.after[firsts], across.part)
        threads = min(torch.get_num_threads(), -(-height * width // (1 << 18)))
        if threads == 1:
            sweep(*shared, 0, height, *more)
            return
        ends = [height * number // threads for number in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda first, last: sweep(*shared, first, last, *more), ends[:-1], ends[1:]))


class Kernel:
    """The compiled kernel of the extra `fast`, once there is enough work to repay it.

    Loading it costs about half a second, in which torch's tiles have done four million pixels: before that they are
    the faster way. Compiling takes three, but is kept, so it may begin sooner than one run repays.

    Attributes:
        load, build: pixels after which the kernel is loaded, where it was compiled before, or compiled.
    """

    def __init__(self, load: int, build: int):
        self.load, self.build = load, build
        self._seen, self._ready = 0, set[str]()
        self._module: Any = None  # False: not to be had

    def worth(self, pixels: int, name: str) -> Any:
        """The kernel's module if its function `name` should do these pixels, else None."""
        self._seen += pixels
        if self._seen < min(self.load, self.build) or self._module is False:
            return None
        if self._module is None:
            try:
                self._module = importlib.import_module("rlenhance.actions.kernel")
            except ImportError:  # the extra is not installed
                self._module = False
                return None
        if name not in self._ready and self._seen < self.build and not self._compiled(name):
            return None
        self._ready.add(name)
        return self._module

    def _compiled(self, name: str) -> bool:
        folder = getattr(self._module, name).stats.cache_path
        return bool(folder) and any(Path(folder).glob(f"kernel.{name}-*.nbc"))


#: The one of this process.
KERNEL = Kernel(load=4_000_000, build=10_000_000)

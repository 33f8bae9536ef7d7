"""Policies that choose a filter at every pixel, without torch: greedy episodes on two graphs.

The graph "model" is the first step of an episode, "later" every other one. Both give the outputs of the heads for every
pixel, averaged over the views, and the recurrent state; the filters and the choice are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, pad_planes, pixel_shuffle, pixel_unshuffle, tiles
from rlenhance.engine.networks import NETWORKS, Network
from rlenhance.ops.filters_batched import PIXELRL_FILTERS, apply_all
from rlenhance.ops.noise_estimation import estimate_sigma
from rlenhance.ops.plane_statistics import noise_deviation

#: Factor of the noise plane beside the image planes.
NOISE_SCALE = 4.0
#: Shorter side in pixels from which flat places give the noise.
LARGE = 128
#: Bounds of the logarithm of 1 / deviation^2.
LEAST_PRECISION, MOST_PRECISION = 4.0, 16.0
#: How far unrounded noise may lie outside [0, 1].
MARGIN = 1.0
_TILE = 1024  # pixels along a tile, without its halo
_STRIDE = 2  # pixels along a cell of the graphs


class TrainedNoise:
    """The noise that a policy over filters was trained for.

    Attributes:
        noise: lowest and highest standard deviation, in 255ths; None if unknown.
        takes_noise: whether a user may name the noise.
    """

    noise: tuple[float, float] | None
    takes_noise: bool

    def check_noise_level(self, level: float) -> float:
        """The noise level, a standard deviation in 255ths, if the policy was trained for it.

        Raises:
            UsageError: it was not; the text names the range.
        """
        low, high = self.noise or (0.0, math.inf)
        if not low <= level <= high:
            span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise UsageError(f"noise {level:g} is outside of what this policy was trained for ({span}, in 255ths): use "
                             f"a model trained for it, or train one with python -m "
                             f"rlenhance.experiments.denoise_train --noise {level:g}")
        return level

    def noise_preference(self, level: float) -> dict[str, float]:
        """The preference for a noise level, a standard deviation in 255ths; empty if the policy takes none.

        Raises:
            UsageError: see `check_noise_level`.
        """
        self.check_noise_level(level)
        return {"noise": level} if self.takes_noise else {}


@NETWORKS.register("filter_policy")
class FilterEpisode(TrainedNoise, Network):
    """The greedy episode of a `rlenhance.learning.models.FilterPolicy` on a recurrent U-Net, for pictures of any size.

    Attributes:
        horizon: steps of an episode.
    """

    horizon: int
    parts = ("model", "later")

    def __init__(self, folder: Path, config: Mapping[str, Any], *options: Any):
        super().__init__(folder, config, *options)
        spec, backbone = self.spec, self.spec["backbone"]
        self.horizon, self.tools = int(spec.get("horizon", 6)), tuple(spec["tools"])
        self.filters, self.num_choices = [PIXELRL_FILTERS[name] for name in self.tools], len(self.tools)
        self.estimates, self.conditioned = bool(spec["estimate"]), bool(spec["noise_conditioned"])
        self.noise = tuple(spec["noise"]) if spec.get("noise") else None
        self.takes_noise = "noise" in config["preferences"]
        self.unit = 2 ** len(backbone["widths"])
        radius = max(each.radius for each in self.filters if each is not None)
        first, later = unet_reach(backbone["blocks"]), later_reach(self.unit)
        self.reach = tuple(max(-(-radius // self.unit), each) for each in (first, later))

    def __call__(self, planes: np.ndarray, mask: np.ndarray | None = None,
                 preference: Mapping[str, float] | None = None) -> np.ndarray:
        """The result of an episode: (1, 1 or 3, H, W) float in [0, 1], or with noise beyond -> the same shape.

        A policy of grey pictures takes the channels of one in colour as separate pictures.

        Args:
            planes: the picture.
            mask: not taken.
            preference: "noise", its standard deviation in 255ths; without, it is measured.

        Raises:
            UsageError: not a picture; a mask; noise that the policy was not trained for; a colour picture is given to a
                policy of grey ones in another form.
        """
        if mask is not None:
            raise UsageError("policies over filters take no mask: use a region")
        check_planes(planes, margin=MARGIN, channels=(1, 3))
        level = (preference or {}).get("noise")
        known = None if level is None else self.noise_preference(level)["noise"] / 255
        found = []
        for image in planes.astype(np.float32, copy=False):
            grey = len(image) == 1 or not (image[1:] != image[:1]).any()
            pictures = [np.repeat(image[:1], 3, axis=0) if len(image) == 1 else image] if self.channels == 3 else \
                [image[:1]] if grey else list(image[:, None])
            result = np.concatenate([self._run(each, known) for each in pictures]).clip(0, 1)
            found.append(result[: len(image)] if len(result) >= len(image) else np.repeat(result, len(image), axis=0))
        return np.stack(found)

    def _run(self, image: np.ndarray, noise: float | None) -> np.ndarray:
        """The last picture of an episode, tile by tile: (C, H, W) -> the same, not clipped."""
        level = None if not self.conditioned else measured_noise(image) if noise is None else noise
        height, width = image.shape[1:]
        result, side = np.empty_like(image), -(-_TILE // self.unit) * self.unit
        for tile in tiles(height, width, side, self._halo(0)):
            result[tile.inner] = self._episode(image, tile.inner[1:], level)
        return result

    def _halo(self, step: int) -> int:
        """Pixels around a tile that a step has to see."""
        first, later = self.reach
        return self.unit * (first + (self.horizon - 1) * later if not step else (self.horizon - step) * later)

    def _episode(self, image: np.ndarray, inner: Sequence[slice], noise: float | None) -> np.ndarray:
        """The result inside a tile; what each step computes around it is what later ones have to see."""
        size, place = image.shape[1:], _grown(inner, self._halo(0), image.shape[1:])
        start = now = np.ascontiguousarray(image[(slice(None), *place)])
        state: np.ndarray | None = None
        for step in range(self.horizon):
            wanted = _grown(inner, self._halo(step), size)
            if wanted != place:
                cut = tuple(slice(new.start - old.start, new.stop - old.start) for new, old in zip(wanted, place,
                                                                                                    strict=True))
                now, start, place = now[(slice(None), *cut)], start[(slice(None), *cut)], wanted
                if state is not None:
                    rows, columns = (slice(part.start // _STRIDE, -(-part.stop // self.unit) * (self.unit // _STRIDE))
                                     for part in cut)
                    state = state[..., rows, columns]
            numbers, state = self._step(now, noise, step, state)
            results = apply_all(np.ascontiguousarray(now)[None], self.filters)[0]
            choice = self._choose(numbers, results, start, noise)
            now = np.take_along_axis(results, choice[None, None], axis=1)[:, 0]
        final = tuple(slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(inner, place,
                                                                                                      strict=True))
        return np.asarray(now[(slice(None), *final)])

    def _step(self, now: np.ndarray, noise: float | None, step: int,
              state: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The outputs of the heads for each cell, and the next state."""
        planes = [now] if noise is None else [now, np.full((1, *now.shape[1:]), NOISE_SCALE * noise, np.float32)]
        cells = pixel_unshuffle(pad_planes(np.concatenate(planes)[None], self.unit), _STRIDE)
        if state is None:
            found = self.run(cells=cells)
        else:
            left = np.full((1, 1), 1 - step / self.horizon, np.float32)
            found = self.graphs["later"].run(cells=cells, remaining=left, state=state)
        numbers, after = found
        return numbers, after

    def _choose(self, numbers: np.ndarray, results: np.ndarray, start: np.ndarray, noise: float | None) -> np.ndarray:
        """The tool of the largest logit at each pixel, see `rlenhance.learning.models.FilterPolicy`.

        Args:
            numbers: of the heads, (1, C, h, w).
            results: of all tools, (C, K, H, W).
            start: the first picture, (C, H, W).
            noise: its noise.

        Returns:
            (H, W) int64.
        """
        count, (height, width) = len(self.tools), start.shape[1:]
        heads = (count + self.estimates) * _STRIDE**2
        outputs = pixel_shuffle(numbers[:, :heads], _STRIDE)[0, :, :height, :width]
        if not self.estimates:
            return np.asarray(outputs.argmax(axis=0))
        residual = pixel_shuffle(numbers[:, heads:], _STRIDE)[0, :, :height, :width]
        estimate = start + (residual if noise is None else np.float32(noise) * residual)
        weight = np.float32(0.5) * np.exp(outputs[count].clip(LEAST_PRECISION, MOST_PRECISION))
        best, choice = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.int64)
        for index in range(count):
            difference = results[:, index] - estimate
            difference *= difference
            squared = difference[0] if len(difference) == 1 else difference.mean(axis=0)
            squared *= weight
            score = outputs[index] - squared
            np.copyto(choice, index, where=score > best)
            np.maximum(best, score, out=best)
        return choice


def measured_noise(image: np.ndarray) -> float:
    """Estimated noise of (C, H, W) on the scale of [0, 1]: of large pictures by their flat places."""
    flat = 0.0
    if min(image.shape[1:]) >= LARGE:
        flat = estimate_sigma(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    return max(flat if flat > 0 else noise_deviation(image).item(), 1 / 255)


def unet_reach(blocks: Sequence[int]) -> int:
    """How far one unit of pixels reaches through a `GruUNet` and its heads, in units of its grid.

    Args:
        blocks: residual blocks of each level of the encoder.
    """
    levels = len(blocks)
    low, high = -1, 2 ** (levels - 1)  # the cells of a unit behind the stem
    for level, count in enumerate(blocks):
        low, high = low - 2 * count, high + 2 * count
        if level < levels - 1:
            low, high = low // 2, high // 2
    for count in reversed(blocks[:-1]):
        low, high = 2 * low - 2 * count, 2 * high + 1 + 2 * count
    return max(-((low - 1) // 2 ** (levels - 1)), (high + 1) // 2 ** (levels - 1))


def later_reach(unit: int) -> int:
    """The same of a later step: two convolutions and the heads."""
    return -(-3 // (unit // _STRIDE))


def _grown(inner: Sequence[slice], halo: int, size: Sequence[int]) -> tuple[slice, ...]:
    """A place and its halo inside a picture."""
    return tuple(slice(max(0, part.start - halo), min(part.stop + halo, side))
                 for part, side in zip(inner, size, strict=True))

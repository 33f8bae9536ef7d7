"""Policies over the codes of patches, without torch: greedy episodes on two graphs.

The graph "model" is the U-Net of the patch autoencoder, "encoder" gives the codes of turned patches; what is around
them is computed here, on bands of patches, so that memory is that of a few pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, pad_planes, pixel_shuffle, pixel_unshuffle, resize_planes
from rlenhance.engine.codes import Codes
from rlenhance.engine.networks import NETWORKS, Network
from rlenhance.engine.patches import Band, Patches
from rlenhance.ops.noise_estimation import LARGEST_NOISE
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE, noise_deviation, picture_statistics

#: How many heads, the last ones, are gates.
NUM_GATES = 2
#: Orientations of the views, those that differ most first.
WAYS = (4, 2, 6, 1, 5, 3, 7)
#: Patches with a smaller root mean square change over an episode are not changed by later ones.
STILL = 0.5 / 255
#: Patches per run of a graph: their features stay in a core's cache.
AT_ONCE = 64


@NETWORKS.register("pixel_policy")
class LatentEpisode(Network):
    """The greedy episode of a policy over `rlenhance.learning.actions.LatentActions`, for pictures of any size.

    Attributes:
        horizon: steps of an episode.
        iterates: True: episodes can be repeated.
    """

    horizon: int
    iterates = True
    parts = ("model", "encoder")

    def __init__(self, folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], *options: Any):
        super().__init__(folder, config, weights, *options)
        actions = dict(self.spec["actions"])
        self.horizon, self.moves = int(self.spec["horizon"]), actions
        self.grid = Patches(int(actions["block"]), int(actions["overlap"]))
        self.multiple = 2 ** len(actions["widths"])
        self.codes = Codes(actions, weights)
        self.policy = _CompactPolicy(self.spec, weights)

    def __call__(self, planes: np.ndarray, mask: np.ndarray | None = None,
                 preference: Mapping[str, float] | None = None, iterations: int = 0) -> np.ndarray:
        """The result of an episode: (1, 3, H, W) in [0, 1] -> the same shape.

        Args:
            planes: the picture.
            mask: not taken.
            preference: "noise", its standard deviation in 255ths; without, it is measured.
            iterations: number of further episodes on the result.

        Raises:
            UsageError: not a picture; a mask; a negative number of iterations.
        """
        if mask is not None or iterations < 0:
            raise UsageError(f"policies over latent codes take no mask, and iterations that are not negative; got "
                             f"{iterations}")
        check_planes(planes)
        level = (preference or {}).get("noise")
        return np.stack([self._run(image, None if level is None else level / 255, 1 + iterations)
                         for image in planes.astype(np.float32, copy=False)])

    def noise_preference(self, level: float) -> dict[str, float]:
        """See `named_noise`."""
        return named_noise(level)

    def _run(self, start: np.ndarray, noise: float | None, episodes: int) -> np.ndarray:
        size = start.shape[1:]
        level = min(max(noise_deviation(start).item(), 1 / 255), LARGEST_NOISE) if noise is None else noise
        around = self.grid.padded(start)
        first = [self._encoded(band.cut(around)) for band in self.grid.bands(size)]

        def opened(band: Band) -> np.ndarray:
            patches = band.cut(around)
            return self._residual(patches, patches, self.codes.decode(first[band.number]), level)

        now, still, count = (start + self._folded(opened, size)).clip(0, 1), None, 0
        for _ in range(episodes):
            before = now
            for step in range(self.horizon):
                chosen = self.policy.act(now, start, 1 - step / self.horizon, self.grid.grid(*size))
                if still is not None:
                    chosen[still, -NUM_GATES:] = -1
                seen, number = self.grid.padded(now), count

                def changed(band: Band, seen: np.ndarray = seen, number: int = number,
                            chosen: np.ndarray = chosen) -> np.ndarray:
                    return self._change(band.cut(seen), band.cut(around), chosen[band.rows], first[band.number], level,
                                        number)

                now, count = (now + self._folded(changed, size)).clip(0, 1), count + 1
            moved = self.grid.padded(now - before)
            still = np.concatenate([np.sqrt(np.square(band.cut(moved)).mean(axis=(1, 2, 3))) <= STILL
                                    for band in self.grid.bands(size)])
        return now

    def _folded(self, change: Any, size: tuple[int, ...]) -> np.ndarray:
        """What a function makes of each band of patches, as one picture."""
        return self.grid.fold(((band, change(band)) for band in self.grid.bands(size)), size)

    def _change(self, now: np.ndarray, start: np.ndarray, chosen: np.ndarray, first: np.ndarray, noise: float,
                step: int) -> np.ndarray:
        """The change of patches, see `LatentActions`: (M, 3, b, b) twice, (M, heads) and the first codes."""
        shares = self._shares(step)
        own, new = ((share * (1 + chosen[:, place])).clip(max=1) for share, place in zip(shares, (-2, -1),
                                                                                         strict=True))
        moves = chosen[:, :-NUM_GATES]
        moving, change = (moves != 0).any(axis=1) & (own + new > 0), np.zeros_like(now)
        rows = np.flatnonzero(moving | (own > 0))
        if len(rows):
            code = self._encoded(now[rows])
            shown = self.codes.decode(code)
            mine, moved = np.flatnonzero(own[rows] > 0), np.flatnonzero(moving[rows])
            if len(mine) and shares[0]:
                kept = rows[mine]
                change[kept] += own[kept, None, None, None] * self._residual(now[kept], start[kept], shown[mine], noise)
            if len(moved):
                kept = rows[moved]
                shift = self.codes.decode(self.codes.moved(code[moved], moves[kept])) - shown[moved]
                change[kept] += (own + new)[kept, None, None, None].clip(max=1) * shift
        rows = np.flatnonzero(new > 0)
        if len(rows):
            way = WAYS[step % len(WAYS)]
            other, shown = (np.ascontiguousarray(d4_transform(part, way))
                            for part in (start[rows], self.codes.decode(first[rows])))
            again = d4_inverse(other + self._residual(other, other, shown, noise), way)
            change[rows] += new[rows, None, None, None] * (again - now[rows])
        return change

    def _shares(self, step: int) -> tuple[np.float32, np.float32]:
        """What gates of 0 take of the own change and of the new look at a step."""
        shares = self.moves.get("own_shares") or ()
        own, new = (shares[step % len(shares)], 1 / (step + 2)) if shares else (0.5, 0.5)
        return np.float32(own), np.float32(new)

    def _residual(self, now: np.ndarray, start: np.ndarray, shown: np.ndarray, noise: float) -> np.ndarray:
        """The change that the U-Net predicts: (M, 3, b, b)."""
        side = self.grid.patch_size
        seen = pad_planes(np.concatenate([now, start, shown], axis=1), self.multiple)
        cells = pixel_unshuffle(seen, 2)
        level = np.full((len(seen), 4, *cells.shape[2:]), noise, np.float32)
        cells = np.concatenate([cells, level], axis=1)
        found = np.concatenate([self.run(cells=cells[first : first + AT_ONCE])
                                for first in range(0, len(cells), AT_ONCE)])
        return np.float32(-noise) * pixel_shuffle(found, 2)[..., :side, :side]

    def _encoded(self, patches: np.ndarray) -> np.ndarray:
        """The codes of patches: (M, 3, b, b) -> (M, C, 8)."""
        planes = self.codes.yuv(patches)
        ways = np.stack([d4_transform(planes, way) for way in range(NUM_D4)], axis=1).reshape(
            len(patches) * NUM_D4, -1)
        graph, count = self.graphs["encoder"], AT_ONCE * NUM_D4
        found = np.concatenate([graph.run(views=ways[first : first + count]) for first in range(0, len(ways), count)])
        return np.ascontiguousarray(found.reshape(len(patches), NUM_D4, -1).swapaxes(1, 2))


class _Layer(NamedTuple):
    """A convolution with replicated padding: (C, h, w) -> (C', h, w)."""

    weight: np.ndarray
    bias: np.ndarray
    dilation: int = 1

    def __call__(self, features: np.ndarray) -> np.ndarray:
        (_, height, width), taps = features.shape, self.weight.shape[-1]
        reach = self.dilation * (taps // 2)
        padded = np.pad(features, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        total = np.zeros((len(self.weight), height * width), np.float32)
        for down in range(taps):
            for across in range(taps):
                part = padded[:, down * self.dilation :, across * self.dilation :][:, :height, :width]
                total += self.weight[:, :, down, across] @ part.reshape(len(part), -1)
        return total.reshape(-1, height, width) + self.bias[:, None, None]


class _CompactPolicy:
    """The agents of the patches: a compact backbone at full size that sees the first picture too."""

    def __init__(self, spec: Mapping[str, Any], weights: Mapping[str, np.ndarray]):
        backbone = spec["backbone"]
        self.stride, self.log_bins = int(backbone["stride"]), int(spec.get("log_bins", 0))

        def layer(name: str, dilation: int = 1) -> _Layer:
            return _Layer(weights[f"{name}.weight"], weights[f"{name}.bias"], dilation)

        self.stem, self.head = layer("backbone.stem"), layer("heads.local")
        self.blocks = [(layer(f"backbone.blocks.{number}", dilation), weights[f"backbone.films.{number}.linear.weight"],
                        weights[f"backbone.films.{number}.linear.bias"])
                       for number, dilation in enumerate(backbone["dilations"])]
        self.outputs = len(self.head.bias) // 2  # the other half are deviations

    def act(self, now: np.ndarray, start: np.ndarray, remaining: float, grid: tuple[int, int]) -> np.ndarray:
        """The greedy actions of all agents, row by row: (3, H, W) twice -> (M, heads)."""
        statistics = picture_statistics(now, DEFAULT_EXPOSURE, None, self.log_bins)
        context = np.concatenate([np.array([remaining], np.float32), statistics])
        cells = pixel_unshuffle(pad_planes(np.concatenate([now, start])[None], self.stride), self.stride)[0]
        features = self.stem(cells)
        for block, weight, bias in self.blocks:
            scale, shift = (weight @ context + bias).reshape(2, -1, 1, 1)
            features = features + np.maximum(block(features) * (1 + scale) + shift, 0)
        found = np.tanh(self.head(resize_planes(features[None], grid)[0])[: self.outputs])
        return np.ascontiguousarray(found.reshape(self.outputs, -1).T)


def named_noise(level: float) -> dict[str, float]:
    """The preference of a policy over latent codes for noise of a standard deviation, in 255ths.

    Raises:
        UsageError: it is below 1.
    """
    if level < 1:
        raise UsageError(f"noise must lie between 1 and 75 (in 255ths) for a policy over latent codes; got {level:g}")
    return {"noise": level}

"""Numbers that show what noise, blur, JPEG and lack of light have done to a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

#: Number of `damage_statistics`.
NUM_STATISTICS = 55
#: The statistic of the colours' mean step, and below which a picture is grey.
COLOR_STEP, GREY = 28, -6.5
#: The statistics of the brightness that show blocks of JPEG on the picture's own grid, along both sides.
OWN_GRID = 43, 46
_LEAST_SIDE = 32  # pixels: smaller pictures are continued by their borders
_SCALES = 3  # each half of the one before
_FLOOR = np.float32(1e-3)  # added before logarithms: a quarter of 1/255
_SAME = np.float32(0.6 / 255)  # differences below it are none


def damage_statistics(planes: np.ndarray) -> np.ndarray:
    """What noise, blur, JPEG and lack of light leave in a picture: (N, 3, H, W) -> (N, NUM_STATISTICS) float32.

    Of the brightness and of two differences of colours, at three scales: quantiles over blocks of the root mean square
    of the second differences along both sides (the flattest blocks show the noise), and mean, root mean square and
    large values of the first differences (edges show the blur), all as logarithms. Then how much larger steps are at
    every eighth column and row than elsewhere, on the picture's own grid and on the strongest one; the share of equal
    neighbours; and the distribution of the brightness.

    Args:
        planes: float32 in [0, 1].
    """
    down, across = (max(0, _LEAST_SIDE - side) for side in planes.shape[-2:])
    planes = np.pad(planes, ((0, 0), (0, 0), (0, down), (0, across)), mode="edge") if down or across else planes
    light = planes.mean(axis=1, keepdims=True)
    color = np.concatenate([planes[:, :1] - light, planes[:, 2:] - light], axis=1)
    level = light.reshape(len(light), -1)
    found = [_quantiles(level, (0.02, 0.25, 0.5, 0.75, 0.98)), level.mean(axis=1, keepdims=True),
             level.std(axis=1, ddof=1, keepdims=True)]
    for parts in (light, color):
        found += _detail(parts)
    for parts in (light, color):
        for lines in (parts, parts.swapaxes(2, 3)):
            found += _blocks(lines)
    return np.concatenate(found, axis=1)


def _quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """(N, P) -> (N, len(shares)), by the nearest rank."""
    ranks = [round(share * (values.shape[1] - 1)) for share in shares]
    return np.partition(values, ranks, axis=1)[:, ranks]


def _pooled(planes: np.ndarray, side: int) -> np.ndarray:
    """Means over whole cells of side x side pixels: (N, C, H, W) -> (N, C, H // side, W // side)."""
    rows, columns = (length // side for length in planes.shape[-2:])
    cells = planes[..., : rows * side, : columns * side].reshape(*planes.shape[:2], rows, side, columns, side)
    return np.asarray(cells.mean(axis=(3, 5)))


def _detail(planes: np.ndarray) -> Iterator[np.ndarray]:
    count = len(planes)
    for scale in range(_SCALES):
        second = np.diff(np.diff(planes, 2, axis=2), 2, axis=3) / np.float32(6)
        energy = _pooled(np.square(second).mean(axis=1, keepdims=True), 8 if scale < 2 else 4)
        yield np.log(_quantiles(np.sqrt(energy).reshape(count, -1), (0.1, 0.5, 0.9)) + _FLOOR)
        steps = np.concatenate([np.abs(np.diff(planes, axis=axis)).mean(axis=1).reshape(count, -1)
                                for axis in (3, 2)], axis=1)
        yield np.log(np.concatenate([steps.mean(axis=1, keepdims=True),
                                     np.sqrt(np.square(steps).mean(axis=1, keepdims=True)),
                                     _quantiles(steps[:, ::7], (0.98,))], axis=1) + _FLOOR)
        planes = _pooled(planes, 2)


def _blocks(lines: np.ndarray) -> Iterator[np.ndarray]:
    """Steps between columns, beyond those of their neighbours: (N, C, H, W), by column modulo 8."""
    steps = np.abs(np.diff(lines, axis=3))
    by_column = steps.mean(axis=(1, 2))
    excess = by_column[:, 1:-1] - 0.5 * (by_column[:, :-2] + by_column[:, 2:])
    phases = excess[:, : excess.shape[1] // 8 * 8].reshape(len(lines), -1, 8).mean(axis=1)  # 6: columns 7 and 8
    own, most, mean = phases[:, 6], phases.max(axis=1), phases.mean(axis=1)
    scale = by_column.mean(axis=1) + _FLOOR
    yield np.stack([(own - mean) / scale, (most - mean) / scale, (steps < _SAME).mean(axis=(1, 2, 3))],
                   axis=1).astype(np.float32)

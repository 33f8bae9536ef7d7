"""What moved between the frames of a bracket: places of a frame that contradict another one, and what stands there.

Which value of one frame a value of the other one becomes is learned from the frames themselves, so that neither
exposures nor the camera's curve need be known.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from rlenhance.core.pixels import reduced_by_area

_PIXELS = 1_200_000  # on which contradictions are looked for
_NOISE = 8.0  # of 255: by so much a value, or what is made of it, may be off anywhere
_COLOR = 2.0  # times as much a single channel may be off: cameras change the colours of what is bright
_SPREADS = 5.0  # so many times the spread of a value, seen over the whole picture, it may be off beyond that
_PATCH = 5  # pixels along the surroundings in which the other value may lie: frames never lie over each other exactly
_NEAR = 3  # values on each side that are taken together with one
_CLIPPED = 250  # from which on a value may be any
_SUPPORT = 24  # pixels of a value, from which on it is known what becomes of it
_SMALLEST = 3  # pixels across, below which a contradiction is noise
_WIDER = 0.006  # of the longer side: the soft border of what is replaced
_ROWS = 64  # that are replaced at a time
_GAMMA = 2.2  # of what is assumed where nothing is known


class ValueMap(NamedTuple):
    """What becomes of each value of a frame in another exposure.

    Attributes:
        values: (256,) float64, which never fall.
        spread: (256,) float64: distance of the nearer quartile there, which something that moved does not change.
    """

    values: np.ndarray
    spread: np.ndarray


def value_map(before: np.ndarray, after: np.ndarray) -> ValueMap:
    """What becomes of each value of a frame in another exposure.

    It is the median of the values there. Values that too few pixels have follow the ones beside them, and beyond those
    a change of exposure by the median of all.

    Args:
        before, after: (N,) uint8, the same places in both.

    Source: after Grossberg and Nayar 2003, Determining the camera response from images: what is knowable? (comparagram)
    """
    levels = np.arange(256)
    usual = (before > 8) & (before < 247) & (after > 8) & (after < 247)
    gain = np.median((after[usual] / before[usual].astype(np.float64)) ** _GAMMA) if usual.sum() >= _SUPPORT else 1.0
    assumed = np.minimum(levels * gain ** (1 / _GAMMA), 255)
    counts = np.bincount(before.astype(np.intp) * 256 + after, minlength=65536).reshape(256, 256)
    reach = np.minimum(_NEAR, np.minimum(levels - 1, 254 - levels)).clip(0)
    sums = np.concatenate([np.zeros((1, 256), np.intp), counts.cumsum(axis=0)])
    near = sums[levels + reach + 1] - sums[levels - reach]
    near[[0, 255]] = 0  # what is clipped says nothing
    known = np.flatnonzero(near.sum(axis=1) >= max(_SUPPORT, len(before) // 20_000))
    if not len(known):
        return ValueMap(assumed, np.zeros(256))
    shares = near[known].cumsum(axis=1) / near[known].sum(axis=1, keepdims=True)
    low, middle, high = ((shares >= share - 1e-9).argmax(axis=1).astype(np.float64) for share in (0.25, 0.5, 0.75))
    spread = np.interp(levels, known, np.minimum(middle - low, high - middle))
    middle = (np.maximum.accumulate(middle) + np.minimum.accumulate(middle[::-1])[::-1]) / 2
    found = np.maximum.accumulate((assumed + np.interp(levels, known, middle - assumed[known])).clip(0, 255))
    # without what the values that are taken together differ
    return ValueMap(found, np.maximum(spread - np.gradient(found) * reach / 2, 0))


def replace_moved(frame: np.ndarray, other: np.ndarray, inside: np.ndarray | None) -> tuple[np.ndarray, float]:
    """A frame with what contradicts another one taken from that one, at the exposure of the frame.

    A place contradicts where a frame's value is none that the other one's value nearby becomes in its exposure, in one
    direction or the other, by more than noise: in brightness, or clearly in a channel. Values that are clipped in one
    of them agree with all beyond.

    Args:
        frame: (H, W, 3), uint8 or uint16, lying as the other one does.
        other: the same, of the nearest exposure.
        inside: (H, W) bool, where the frame has something to show; None: everywhere.

    Returns:
        The frame (itself where nothing is replaced), and the share of the pixels inside that moved, in [0, 1].

    Source: after Gallo et al. 2009, Artifact-free high dynamic range imaging.
    """
    one, two = _planes(frame), _planes(other)
    size = one[0].shape[::-1]
    seen = np.ones(one[0].shape, bool) if inside is None else \
        cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    moved = np.zeros(one[0].shape, bool)
    for _ in range(2):  # once with what moved, and once without
        still, found = seen & ~moved, np.zeros_like(moved)
        for plane, (values, others) in enumerate(zip(one, two, strict=True)):
            there, back = _learned(others, values, still), _learned(values, others, still)
            noise = _NOISE * (_COLOR if plane < 3 else 1)
            found |= _beyond(values, others, there, noise) | _beyond(others, values, back, noise)
        moved = seen & _cleaned(found)
    share = float(moved.sum() / max(1, seen.sum()))
    if inside is None and not moved.any():
        return frame, 0.0
    weights = _weights((moved | ~seen).astype(np.float32), frame.shape, inside)
    becomes = _with_white(there.values, one[3][still & (two[3] >= _CLIPPED)])  # of the brightness, which is the last
    return _mixed(frame, other, weights, becomes), share


def _planes(picture: np.ndarray) -> list[np.ndarray]:
    """The three channels and the brightness, (h, w) uint8 each, a little blurred against noise."""
    small = reduced_by_area(picture, _PIXELS)
    top = 255 / (np.iinfo(small.dtype).max if np.issubdtype(small.dtype, np.integer) else 1)
    small = cv2.GaussianBlur(small.astype(np.float32) * np.float32(top), (0, 0), 0.8)
    return [np.rint(plane).astype(np.uint8) for plane in (*np.moveaxis(small, 2, 0), small.mean(axis=2))]


def _with_white(becomes: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Values in another exposure (256,), where clipped ones become the median of what stands in their places."""
    if len(bright) < _SUPPORT:
        return becomes
    ramp = ((np.arange(256) - _CLIPPED + 10) / 10).clip(0, 1)
    return np.asarray(becomes + ramp * (max(float(np.median(bright)), becomes[_CLIPPED]) - becomes))


def _learned(before: np.ndarray, after: np.ndarray, still: np.ndarray) -> ValueMap:
    """What becomes of the values of a plane, learned away from what is clipped, whose light runs over its edges."""
    clear = cv2.dilate(before, np.ones((_PATCH, _PATCH), np.uint8)) < _CLIPPED
    usable = still & clear
    return value_map(before[usable], after[usable])


def _beyond(values: np.ndarray, others: np.ndarray, becomes: ValueMap, noise: float) -> np.ndarray:
    """Whether values lie outside what the others nearby become: (h, w) bool."""
    levels = np.arange(256)
    off = noise + _SPREADS * becomes.spread
    low = np.interp(levels - noise, levels, becomes.values, left=0) - off
    high = np.interp(levels + noise, levels, becomes.values, right=255) + off
    low, high = np.minimum.accumulate(low[::-1])[::-1], np.maximum.accumulate(high)
    patch = np.ones((_PATCH, _PATCH), np.uint8)
    least = low.astype(np.float32)[np.asarray(cv2.erode(others, patch), np.uint8)]
    most = high.astype(np.float32)[np.asarray(cv2.dilate(others, patch), np.uint8)]
    return np.asarray((values < least) | (values > most))


def _cleaned(moved: np.ndarray) -> np.ndarray:
    """Places without specks, and with their surroundings."""
    spot = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SMALLEST, _SMALLEST))
    opened = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_OPEN, spot)
    wide = 2 * _PATCH + 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))
    closed = cv2.morphologyEx(cv2.dilate(opened, around), cv2.MORPH_CLOSE, around)
    return np.asarray(closed) > 0


def _weights(moved: np.ndarray, shape: tuple[int, ...], inside: np.ndarray | None) -> np.ndarray:
    """(H, W) float32 in [0, 1]: how much of each pixel is replaced; all of it outside, with a soft border."""
    soft = max(1.0, _WIDER * max(moved.shape))
    weights = np.minimum(2 * cv2.GaussianBlur(moved, (0, 0), soft), 1)
    weights = cv2.resize(weights, shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return weights if inside is None else np.maximum(weights, ~inside)


def _mixed(frame: np.ndarray, other: np.ndarray, weights: np.ndarray, becomes: np.ndarray) -> np.ndarray:
    """The frame where the weights are 0, the other one in its exposure where they are 1; colours keep their hue."""
    top = np.iinfo(frame.dtype).max
    gains = (np.maximum(becomes, 0.5) / np.maximum(np.arange(256), 0.5)).astype(np.float32)
    result = frame.copy()
    for first in range(0, len(frame), _ROWS):
        rows = slice(first, first + _ROWS)
        weight = weights[rows, :, None]
        if not weight.any():
            continue
        there = other[rows].astype(np.float32)
        level = np.rint(there.mean(axis=2) * np.float32(255 / top)).astype(np.uint8)
        there = np.minimum(there * np.take(gains, level)[..., None], top)
        result[rows] = np.rint(frame[rows] + weight * (there - frame[rows]))
    return result

"""Masks of missing pixels, (H, W) bool: made at random, detected in photographs, and reduced with them.

A masked picture is black where the mask is True, so that no method can read what the mask covers. For those of tensors
see `rlenhance.learning.ops.masked_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import area_means
from rlenhance.core.registry import Registry

#: Sum of the channels' absolute differences, in [0, 3], above which two images differ at a pixel.
DIFFERENCE = 0.03
#: Values of an 8-bit mask file above this one are masked.
THRESHOLD = 127
#: Maximum channel of a near-black pixel, in 255ths: JPEG adds noise to a region that was painted black.
BLACK = 12
_SOFT = 3  # pixels: how far lossy compression spreads black over an edge
_FLAT = 3  # in 255ths: a painted region stays below it, except at its edge
_PAINTED = 1.0  # in 255ths: mean of a painted region; shadows lie above it, or end softly
_REACHES = 0.25  # share of a side over whose sharp end black reaches
_DARK = 30  # in 255ths: median of a picture that is simply dark
#: Side of the mask over the shorter side of the image in the occluded bedrooms: 67 of 224 pixels.
SQUARE_SHARE = 67 / 224
#: Mask generators by name: (height, width, generator) -> (height, width) bool.
MASK_GENERATORS: Registry[Callable[..., np.ndarray]] = Registry("mask generator")

_SPECKLE = 5  # pixels: narrower differences are JPEG noise
_NOISE = 6.0  # differences below so many times their median are compression noise
_STRONG = 0.3  # sum of the channels: no compression noise differs by as much
_FILLED = 0.95  # share of a rectangle's pixels that are black, or differ
_BLOCK = 8  # pixels: how far JPEG's noise reaches from an edge
_TRIED = 8  # black rectangles that are looked at, the largest first
_SEARCH = 256  # longest side in pixels of the map on which a black rectangle is searched


def downscale_masked(picture: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A masked picture and its mask at a smaller size: an output pixel that the mask touches is masked.

    Args:
        picture: (H, W, C) float32.
        mask: (H, W) bool.
        size: (height, width) in pixels.

    Returns:
        The picture (*size, C), black inside the mask, and the mask (*size).
    """
    small = area_means(mask.astype(np.uint8), size) > 1e-4 if mask.shape != size else mask
    reduced = area_means(picture, size) if mask.shape != size else picture
    return np.where(small[..., None], np.float32(0), reduced), small


def mask_from_difference(image: np.ndarray, reference: np.ndarray, threshold: float = DIFFERENCE) -> np.ndarray:
    """Where parts of an image were painted over, from its original: (H, W) bool.

    Connected components of the differing pixels, without speckle, are the parts. Lossy compression changes pixels
    outside them by little: differences below six times their median do not count, nor components that nowhere differ by
    0.3 or half as much as the strongest. A component is taken as the rectangle of the rows and columns of which at
    least half differ, where that differs almost everywhere or the image has one colour in it; as its bounding
    rectangle, where that has one colour and is a tenth larger; otherwise its shape is kept, one pixel wider.

    Args:
        image, reference: (H, W, 3) uint8.
        threshold: on the sum of the channels' absolute differences, white being 1: in (0, 3).

    Raises:
        UsageError: a threshold outside its range, two sizes, or images that are equal except for speckle.
    """
    if not 0 < threshold < 3:
        raise UsageError(f"threshold must lie between 0 and 3, the difference of black and white; got {threshold:g}")
    if image.shape != reference.shape:
        sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (image, reference)]
        raise UsageError(f"the picture is {sizes[0]} and its original {sizes[1]}: a mask from their difference needs "
                         f"one size")
    difference = np.abs(image.astype(np.int16) - reference).sum(axis=2)
    speckle, wide = (np.ones((side, side), np.uint8)
                     for side in (_SPECKLE, max(_SPECKLE, round(0.05 * min(difference.shape)) | 1)))
    noise = _NOISE * float(np.median(difference))
    differs = cv2.morphologyEx((difference > max(255 * threshold, noise)).astype(np.uint8), cv2.MORPH_OPEN, speckle)
    count, labels = cv2.connectedComponents(cv2.morphologyEx(differs, cv2.MORPH_CLOSE, wide))
    if count < 2:
        raise UsageError(f"the picture differs from its original nowhere by more than {threshold:g} (sum of the "
                         f"channels): there is no hole; give a mask, or another threshold")
    parts = [labels == label for label in range(1, count)]
    peaks = [int(difference[part].max()) for part in parts]
    mask = np.zeros(differs.shape, bool)
    for part, peak in zip(parts, peaks, strict=True):
        if peak < min(255 * _STRONG, max(peaks) / 2):
            continue
        flat = np.abs(image - np.median(image[part & (differs > 0)], axis=0)).max(axis=2) <= BLACK
        whole, box = _bounding_box(part), _trimmed_box(part)
        if flat[whole].mean() > _FILLED and part[box].size < 0.9 * part[whole].size:  # more than a soft rim is lacking
            mask[whole] = True
        elif max(part[box].mean(), flat[box].mean()) > _FILLED:
            mask[box] = True
        else:
            shape = cv2.morphologyEx(part * differs, cv2.MORPH_CLOSE, speckle)
            mask |= cv2.dilate(shape, np.ones((3, 3), np.uint8)) > 0
    return mask


def _bounding_box(part: np.ndarray) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect(part.astype(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def _trimmed_box(part: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of a component (H, W) bool, without appendages at its sides."""
    rows, columns = slice(None), slice(None)
    for _ in range(2):
        columns = _span(part[rows].sum(axis=0))
        rows = _span(part[:, columns].sum(axis=1))
    return rows, columns


def _span(counts: np.ndarray) -> slice:
    """From the first to the last index with at least half of the largest count."""
    there = np.flatnonzero(counts >= 0.5 * counts.max())
    return slice(int(there[0]), int(there[-1]) + 1)


def detect_mask(picture: np.ndarray, side: int | None = None) -> np.ndarray | None:
    """The black rectangles that were painted into a photograph: (H, W) bool; None where there is none.

    Dark parts of a photograph are not taken for a mask: a rectangle is uniformly black, without the grain of a shadow,
    and ends sharply at three of its sides at least, or in a corner of the image at both that lie inside.

    Args:
        picture: (H, W, 3) uint8 or uint16.
        side: side of the squares in pixels, where it is known that there are some: the windows of that size with most
            near-black pixels are tried, and may end less sharply. None: rectangles of at least a twentieth of the
            shorter side are tried, the largest first.
    """
    top = BLACK * (257 if picture.dtype == np.uint16 else 1)
    light = picture.max(axis=2)
    black = (light <= top).astype(np.uint8)
    left, mask = black.copy(), np.zeros(black.shape, bool)
    for _ in range(_TRIED):
        box = _best_window(left, side) if side is not None else _largest_rectangle(left)
        if box is None or left[box].mean() < _FILLED:
            break
        most, nearly = np.percentile(_inner(light, box), (80, 95)) * BLACK / top  # JPEG blurs the edge
        uniform = most <= _FLAT and nearly <= 2 * _FLAT
        if uniform and (_painted(black, box) if side is not None else
                        _inner(light, box).mean() * BLACK / top <= _PAINTED and _ends_sharply(black, box)):
            mask[box] = True
        left[box] = 0
    return mask if mask.any() else None


def is_dark(picture: np.ndarray, mask: np.ndarray | None = None) -> bool:
    """Whether at least half of a picture, without what a mask covers, is nearly black.

    Args:
        picture: (H, W, 3) uint8 or uint16.
        mask: (H, W) bool.
    """
    light = picture.max(axis=2)
    seen = light if mask is None else light[~mask]
    return not seen.size or bool(np.median(seen) < _DARK * (257 if picture.dtype == np.uint16 else 1))


def rectangles_of(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The bounding rectangles of a mask's parts: left, top, width and height in pixels of each.

    Args:
        mask: (H, W) bool.
    """
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return [(left, top, width, height) for left, top, width, height, _ in boxes[1:count].tolist()]


def dilate_soft_edge(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Detected rectangles with the dark lines, up to 3 at each side, into which compression has spread their edges.

    Args:
        picture: (H, W, 3) uint8 or uint16.
        mask: (H, W) bool, rectangles.
    """
    light, dilated = picture.mean(axis=2), np.zeros_like(mask)
    for left, top, width, height in rectangles_of(mask):
        right, bottom = left + width, top + height
        grown = []
        # from the edge outward, line by line: a row lies beside the mask's columns, a column beside its rows
        for lines in (light[:top, left:right][::-1], light[bottom:, left:right],
                      light[top:bottom, :left].T[::-1], light[top:bottom, right:].T):
            levels = lines[: _SOFT + 3].mean(axis=1)
            beyond = levels[_SOFT:].mean() if len(levels) > _SOFT else levels.max(initial=0)
            dark = [level < 0.85 * beyond for level in levels[:_SOFT]]
            grown.append(max((place + 1 for place, is_dark in enumerate(dark) if is_dark), default=0))
        inside = mask[top:bottom, left:right].astype(np.uint8)  # rectangles that touch are one shape
        up, down, before, after = grown
        around = cv2.copyMakeBorder(inside, up, down, before, after, cv2.BORDER_REPLICATE)
        dilated[top - up : bottom + down, left - before : right + after] |= around > 0
    return dilated


def _best_window(black: np.ndarray, side: int) -> tuple[slice, slice] | None:
    height, width = black.shape
    if side < 1 or side > min(height, width):
        return None
    sums = cv2.integral(black)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def _largest_rectangle(black: np.ndarray) -> tuple[slice, slice] | None:
    """The largest black rectangle, found on a downscaled map and then grown to the last black row and column."""
    height, width = black.shape
    scale = max(1.0, max(height, width) / _SEARCH)
    small = cv2.morphologyEx(black, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    if scale > 1:
        size = max(1, round(width / scale)), max(1, round(height / scale))
        small = (cv2.resize(small.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99).astype(np.uint8)
    found = _rectangle(small)
    if found is None:
        return None
    rows, columns = height / small.shape[0], width / small.shape[1]
    top, bottom, left, right = found
    box = [round(top * rows), round(bottom * rows), round(left * columns), round(right * columns)]
    for _ in range(4 + 2 * int(scale)):  # a cell of the reduced map at most, and JPEG's soft edge
        before = list(box)
        top, bottom, left, right = box
        if top > 0 and black[top - 1, left:right].mean() > 0.9:
            box[0] -= 1
        if bottom < height and black[bottom, left:right].mean() > 0.9:
            box[1] += 1
        if left > 0 and black[top:bottom, left - 1].mean() > 0.9:
            box[2] -= 1
        if right < width and black[top:bottom, right].mean() > 0.9:
            box[3] += 1
        if box == before:
            break
    top, bottom, left, right = box
    if min(bottom - top, right - left) < max(4, 0.05 * min(height, width)):
        return None
    return slice(top, bottom), slice(left, right)


def _rectangle(black: np.ndarray) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of the largest rectangle of ones: the largest under the histogram of each row."""
    best, found = 0, None
    heights = np.zeros(black.shape[1] + 1, int)
    for row, line in enumerate(black):
        heights[:-1] = (heights[:-1] + 1) * line
        stack: list[int] = []
        for column, high in enumerate(heights.tolist()):
            while stack and heights[stack[-1]] >= high:
                tall = int(heights[stack.pop()])
                left = stack[-1] + 1 if stack else 0
                if tall * (column - left) > best:
                    best, found = tall * (column - left), (row + 1 - tall, row + 1, left, column)
            stack.append(column)
    return found


def _painted(black: np.ndarray, box: tuple[slice, slice]) -> bool:
    """Whether the box is black almost everywhere and ends sharply at three sides at least."""
    rows, columns = box
    if black[box].mean() < _FILLED:
        return False
    away = 3  # pixels: JPEG softens the edge itself
    strips = (black[max(0, rows.start - away - 2) : max(0, rows.start - away), columns],
              black[rows.stop + away : rows.stop + away + 2, columns],
              black[rows, max(0, columns.start - away - 2) : max(0, columns.start - away)],
              black[rows, columns.stop + away : columns.stop + away + 2])
    return bool(sum(strip.size == 0 or strip.mean() < 0.5 for strip in strips) >= 3)


def _ends_sharply(black: np.ndarray, box: tuple[slice, slice]) -> bool:
    """Whether black ends within four pixels along three sides of the box, or both of one in a corner of the image."""
    rows, columns = box
    ends = [lines[: _SOFT + 1].min(axis=0).mean() < _REACHES if len(lines) > _SOFT else None
            for lines in (black[: rows.start, columns][::-1], black[rows.stop :, columns],
                          black[rows, : columns.start].T[::-1], black[rows, columns.stop :].T)]
    return ends.count(True) >= 3 or (ends.count(True) == 2 and not ends.count(False))


def _inner(light: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """The box without the edge that JPEG has softened."""
    sides = [span.stop - span.start for span in box]
    edges = [max(side // 8, min(_BLOCK, side // 3)) for side in sides]
    rows, columns = (slice(span.start + edge, span.stop - edge) for span, edge in zip(box, edges, strict=True))
    return light[rows, columns]


@MASK_GENERATORS.register("square")
def square_mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One square at a random place, as in the occluded bedrooms: its side is 67/224 of the shorter side."""
    side = max(1, round(SQUARE_SHARE * min(height, width)))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    mask = np.zeros((height, width), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@MASK_GENERATORS.register("squares")
def random_squares(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One to three such squares that do not touch."""
    mask, wanted = square_mask(height, width, rng), int(rng.integers(0, 3))
    around = np.ones((2 * max(1, round(0.05 * min(height, width))) + 1,) * 2, np.uint8)
    for _ in range(8 * wanted):
        another = square_mask(height, width, rng)
        if not (mask & (cv2.dilate(another.astype(np.uint8), around) > 0)).any():
            mask, wanted = mask | another, wanted - 1
        if wanted <= 0:
            break
    return mask


@MASK_GENERATORS.register("brush")
def brush_mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One to four brush strokes: bent lines of three to six parts, 3 to 10 % of the shorter side wide."""
    canvas, short = np.zeros((height, width), np.uint8), min(height, width)
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, thick = rng.uniform(0, 2 * np.pi), max(1, round(short * rng.uniform(0.03, 0.1)))
        for _ in range(rng.integers(3, 7)):
            angle += rng.normal(0, 0.6)
            length = short * rng.uniform(0.08, 0.25)
            onward = x + length * np.cos(angle), y + length * np.sin(angle)
            cv2.line(canvas, (round(x), round(y)), (round(onward[0]), round(onward[1])), 1, thick)
            x, y = onward
    mask = canvas > 0
    return square_mask(height, width, rng) if mask.all() or not mask.any() else mask


@MASK_GENERATORS.register("mixed")
def mixed_mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A square or brush strokes, each in half of the draws."""
    return (square_mask if rng.random() < 0.5 else brush_mask)(height, width, rng)

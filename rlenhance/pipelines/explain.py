"""Explain a result on a sheet: maps of the policy's steps, the gain, the histogram and the tone curve; or the picture
after each tool of its repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rlenhance.core import ArrayAction
from rlenhance.core.pixels import linear_from_srgb, magnitude_colors, to_pixels, to_planes
from rlenhance.io import Photo
from rlenhance.io.contact_sheet import Cell, downscale, thumbnail

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer
    from rlenhance.pipelines.restore import PhotoRestorer

_SIDE = 256  # pixels along a side of the diagrams, and of a detail
_PAPER, _LINE, _BEFORE, _AFTER = (38, 38, 38), (90, 90, 90), (150, 150, 150), (255, 140, 13)
_STOPS = 4.0  # at which the colour of the gain is full
_LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)  # of linear sRGB (Rec. 709)
_DARKEST = 0.0003  # of linear light: one of 255 in sRGB, below which stops mean nothing


def explain(enhancer: Enhancer, picture: np.ndarray) -> list[Cell]:
    """The cells of a sheet about one photograph.

    Args:
        enhancer: with its settings; a network that acts in one pass has no steps to show.
        picture: (H, W, 3) uint8 or uint16.

    Returns:
        Input, output, gain, histogram, and for a policy with a state size the curve and the actions of each step,
        unless the colour table of a look takes its place.
    """
    enhancer = enhancer.for_picture(picture)
    decision = enhancer.decide(picture)
    result = enhancer.process(Photo(picture), decision=decision).photo.pixels
    before, after = thumbnail(picture), thumbnail(result)
    cells = [Cell(before, ("input", f"mean {before.mean() / 255:.3f}")),
             Cell(after, ("output", f"mean {after.mean() / 255:.3f}")), gain_cell(before, after),
             histogram_cell(before, after)]
    table = decision.table
    actions = decision.actions if table is None or table.curve == "model" else None  # else its steps were not taken
    formula = enhancer.network.formula if actions else None
    if actions and formula is not None:
        cells.append(curve_cell(formula, actions, enhancer.settings.strength))
        cells += [step_cell(formula, action, number + 1, len(actions), before.shape[:2])
                  for number, action in enumerate(actions)]
    return cells


def explain_chain(restorer: PhotoRestorer, pixels: np.ndarray) -> list[Cell]:
    """The cells of a sheet about one photograph: the whole after each step, and under it a detail pixel for pixel.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
    """
    shown: list[tuple[np.ndarray, tuple[str, ...]]] = [(to_pixels(to_planes(pixels)), ("input",))]
    for number, step in enumerate(restorer.steps(pixels)):
        told = f"predicted gain {step.gain:+.2f} dB" if restorer.network.in_decibels else f"score {step.gain:+.2f}"
        shown.append((to_pixels(to_planes(step.picture)),
                      (f"{number + 1}. {step.tool.label}", f"{step.tool.name}, {told}")))
    top, left = _liveliest(shown[0][0])
    details = [picture[top : top + _SIDE, left : left + _SIDE] for picture, _ in shown]
    return [Cell(picture, lines) for picture, lines in shown] + [
        Cell(detail, ("detail, pixel for pixel",)) for detail in details]


def _liveliest(pixels: np.ndarray) -> tuple[int, int]:
    """The place of the detail with the most contrast."""
    side = _SIDE // 2
    level = pixels.mean(axis=2)
    places = [(top, left) for top in range(0, max(1, len(level) - _SIDE + 1), side)
              for left in range(0, max(1, level.shape[1] - _SIDE + 1), side)]
    return max(places, key=lambda at: float(level[at[0] : at[0] + _SIDE, at[1] : at[1] + _SIDE].std()))


def gain_cell(before: np.ndarray, after: np.ndarray, limit: float = _STOPS) -> Cell:
    """How much brighter (orange) or darker (blue) every place became, in stops; full colour at `limit`."""
    old, new = (cv2.GaussianBlur(picture.mean(axis=2), (0, 0), 2) + 1 for picture in (before, after))
    stops = np.log2(new / old)
    colors = magnitude_colors(stops[None], before.shape[:2], limit)
    label = "gain: orange brighter, blue darker", f"{stops.min():+.2f} to {stops.max():+.2f} stops"
    return Cell(_bytes(colors), label)


def stops_gained(before: np.ndarray, after: np.ndarray, side: int = 48) -> np.ndarray:
    """How much brighter (above 0) or darker every place became, in stops of linear light.

    Args:
        before, after: (H, W, 3) uint8, of one size.
        side: places along the longer side.

    Returns:
        (h, w) float32 within -9.9 and 9.9; each place is the mean light of its area.
    """
    light = [downscale(linear_from_srgb(thumbnail(picture, 4 * side) / np.float32(255)) @ _LUMINANCE, side) + _DARKEST
             for picture in (before, after)]
    return np.clip(np.log2(light[1] / light[0]), -9.9, 9.9)


def histogram_cell(before: np.ndarray, after: np.ndarray) -> Cell:
    """How often each brightness occurs, before and after; the highest bars are cut off."""
    canvas = _canvas()
    shares = [np.bincount(np.rint(picture.mean(axis=2)).astype(int).ravel(), minlength=256) / picture[..., 0].size
              for picture in (before, after)]
    top = max(np.quantile(share[1:255], 0.995) for share in shares) or 1.0
    for share, color in zip(shares, (_BEFORE, _AFTER), strict=True):
        _draw(canvas, np.minimum(share / top, 1), color)
    return Cell(canvas, ("histogram of the brightness", "grey before, orange after"))


def curve_cell(formula: Any, chosen: Sequence[ArrayAction], strength: float) -> Cell:
    """The tone curve of greys: of the whole picture, and of the most extreme agents."""
    ramp = np.broadcast_to(np.linspace(0, 1, _SIDE, dtype=np.float32), (3, 1, _SIDE))
    curves = []
    for handles in _handles(formula, chosen):
        planes = np.broadcast_to(ramp, (3, handles[0].shape[1], _SIDE))
        guide = formula.guide(np.ascontiguousarray(planes), flat=True)
        for step in handles:
            planes = formula.apply_parameters(np.ascontiguousarray(planes), formula.at_pixels(step, guide))
        curves.append((ramp + strength * (planes - ramp)).mean(axis=0).clip(0, 1))
    canvas = _canvas()
    whole, each = curves
    _draw(canvas, np.linspace(0, 1, _SIDE), _LINE)
    for curve in (each.min(axis=0), each.max(axis=0)):
        _draw(canvas, curve, _BEFORE)
    _draw(canvas, whole[0], _AFTER)
    return Cell(canvas, ("curve of grey: orange the whole", "grey: the agents farthest from it"))


def _handles(formula: Any, chosen: Sequence[ArrayAction]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per step, the handles without local agents (C, 1, 1) and those of every agent (C, agents, 1)."""
    each = [formula.parameters(action)[0] for action in chosen]
    still = [{scope: entry if scope == "global" else np.zeros_like(entry) for scope, entry in action.items()}
             if "global" in action and all(np.issubdtype(entry.dtype, np.floating) for entry in action.values())
             else None for action in chosen]
    whole = [handles.mean(axis=(1, 2), keepdims=True) if action is None
             else formula.parameters(action)[0, :, :1, :1]
             for action, handles in zip(still, each, strict=True)]
    return whole, [handles.reshape(len(handles), -1, 1) for handles in each]


def step_cell(formula: Any, action: ArrayAction, number: int, count: int, size: tuple[int, int]) -> Cell:
    """The parameters of one step as maps, with their means and ranges."""
    handles = formula.parameters(action)[0]
    height, width = (max(1, side // 2) for side in size)
    maps = [_bytes(magnitude_colors(handles[i : i + 1], (height, width)))
            for i in formula.shown_parameters.values()]
    maps += [np.full_like(maps[0], _PAPER)] * (-len(maps) % 2)
    rows = [np.concatenate(maps[i : i + 2], axis=1) for i in range(0, len(maps), 2)]
    lines = [f"step {number} of {count}"]
    for name, i in formula.shown_parameters.items():
        own = handles[i]
        spread = f" ({own.min():+.2f} to {own.max():+.2f})" if own.max() - own.min() >= 0.01 else ""
        lines.append(f"{name} {own.mean():+.2f}{spread}")
    return Cell(np.concatenate(rows), tuple(lines))


def _bytes(colors: np.ndarray) -> np.ndarray:
    return np.rint(colors * 255).astype(np.uint8)


def _canvas() -> np.ndarray:
    canvas = np.full((_SIDE, _SIDE, 3), _PAPER, np.uint8)
    cv2.rectangle(canvas, (0, 0), (_SIDE - 1, _SIDE - 1), _LINE)
    return canvas


def _draw(canvas: np.ndarray, heights: np.ndarray, color: tuple[int, int, int]) -> None:
    """A line from left to right; heights in [0, 1]."""
    across = np.linspace(1, _SIDE - 2, len(heights))
    up = (_SIDE - 2) - heights * (_SIDE - 3)
    cv2.polylines(canvas, [np.rint(np.stack([across, up], axis=1)).astype(np.int32)], False, color, 1, cv2.LINE_AA)

"""A sheet with a photograph after each tool of its repair."""

from __future__ import annotations

import numpy as np

from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.io.contact_sheet import Cell
from rlenhance.pipelines.restore import PhotoRestorer

_CROP = 256  # pixels along a detail


def explain_chain(restorer: PhotoRestorer, pixels: np.ndarray) -> list[Cell]:
    """The cells of a sheet about one photograph: the whole after each step, and under it a detail pixel for pixel.

    Args:
        pixels: (H, W, 3) uint8 or uint16.
    """
    shown: list[tuple[np.ndarray, tuple[str, ...]]] = [(to_pixels(to_planes(pixels)), ("input",))]
    for number, step in enumerate(restorer.steps(pixels)):
        told = f"predicted gain {step.gain:+.2f} dB" if restorer.network.in_decibels else f"score {step.gain:+.2f}"
        shown.append((to_pixels(to_planes(step.picture)), (f"{number + 1}. {step.words}", f"{step.tool.name}, {told}")))
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

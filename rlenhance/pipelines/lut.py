"""The look of an episode as a .cube file: a 3D colour table for other editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.io.files import write_bytes
from rlenhance.pipelines.decision import Decision

#: Colours along each side of the table.
POINTS = 33


def make_cube(network: Any, decision: Decision, points: int = POINTS, strength: float = 1.0) -> np.ndarray:
    """The effect of an episode on every colour, without its local agents: (points, points, points, 3) float32.

    The global agent holds the mean of the local agents; a colour table cannot hold differences from place to place.

    Args:
        network: of an `Enhancer`.
        decision: of `Enhancer.decide`; a table of a look takes the place of the episode, or follows it.
        points: colours along each side.
        strength: how much of the change is made.

    Returns:
        Indexed by blue, green, red, as a .cube file is written: red changes fastest.

    Raises:
        UsageError: a policy that decides pixel by pixel: it has no look of the whole picture.
    """
    formula = network.formula
    if formula is None or not network.shares_decision or "global" not in formula.scopes:
        raise UsageError("this policy decides place by place and has no look of the whole picture to put into a .cube "
                         "table; use one with a global agent")
    ramp = np.linspace(0, 1, points, dtype=np.float32)
    blue, green, red = np.meshgrid(ramp, ramp, ramp, indexing="ij")
    colors = np.stack([red, green, blue]).reshape(1, 3, points * points, points)
    white, table = decision.white, decision.table
    planes = to_planes(white.before(to_pixels(colors, np.float32)))[0]
    guide = formula.guide(planes, flat=True)  # as on a flat surface of each colour
    for action in decision.actions or () if table is None or table.curve == "model" else ():
        whole = {scope: entry if scope == "global" else np.zeros_like(entry[..., :1, :1])
                 for scope, entry in action.items()}
        planes = formula.apply_parameters(planes, formula.at_pixels(formula.parameters(whole)[0], guide))
    made = to_pixels(planes, np.float32)
    result = to_planes(white.after(made if table is None else table(made)))
    result = colors + np.float32(strength) * (result - colors)
    return np.ascontiguousarray(np.moveaxis(result[0].reshape(3, points, points, points), 0, -1))


def to_text(cube: np.ndarray, title: str) -> str:
    """The text of a .cube file.

    Source: Adobe, Cube LUT Specification 1.0.
    """
    lines = [f'TITLE "{title}"', f"# rlenhance {__version__}: the picture-level look; local agents are left out",
             f"LUT_3D_SIZE {cube.shape[0]}", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0"]
    colors = (" ".join(f"{value:.6f}" for value in color) for color in cube.reshape(-1, 3).tolist())
    return "\n".join([*lines, *colors]) + "\n"


def save_cube(cube: np.ndarray, path: Path, title: str) -> Path:
    """Write a table atomically.

    Raises:
        UsageError: the place cannot be written.
    """
    return write_bytes(to_text(cube, title.replace('"', "'")).encode("utf-8", "backslashreplace"), path)

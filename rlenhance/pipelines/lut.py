"""The look of an episode as a .cube file: a 3D colour table for other editors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rlenhance.actions import Action, PointwiseActions, apply_action
from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array, to_tensor
from rlenhance.io.files import write_bytes
from rlenhance.models import GreedyEpisode
from rlenhance.pipelines.white import split_white

#: Colours along each side of the table.
POINTS = 33


def make_cube(model: GreedyEpisode, actions: Sequence[Action], points: int = POINTS,
              strength: float = 1.0) -> np.ndarray:
    """The effect of an episode on every colour, without its local agents: (points, points, points, 3) float32.

    The global agent holds the mean of the local agents; a colour table cannot hold differences from place to place.

    Args:
        actions: the T actions for one picture, as `GreedyEpisode.decide` or `Enhancer.decide` gives them.
        points: colours along each side.
        strength: how much of the change is made.

    Returns:
        Indexed by blue, green, red, as a .cube file is written: red changes fastest.

    Raises:
        UsageError: a policy that decides pixel by pixel: it has no look of the whole picture.
    """
    if not model.policy.decision_size or "global" not in model.policy.actions.scopes:
        raise UsageError("this policy decides place by place and has no look of the whole picture to put into a .cube "
                         "table; use one with a global agent")
    ramp = torch.linspace(0, 1, points)
    blue, green, red = torch.meshgrid(ramp, ramp, ramp, indexing="ij")
    colors = torch.stack([red, green, blue]).reshape(1, 3, points * points, points)
    white, actions = split_white(actions)
    given = result = to_tensor(white.before(to_array(colors, np.float32)))
    with torch.inference_mode():
        for action in actions:
            whole = {level: entry.cpu() if level == "global" else torch.zeros_like(entry[..., :1, :1]).cpu()
                     for level, entry in action.items()}
            edits = model.policy.actions
            if isinstance(edits, PointwiseActions):  # as on a flat surface of each colour
                numbers = edits.at_pixels(edits.parameters(whole), edits.guide(given, flat=True))
                result = edits.apply_parameters(result, numbers)
            else:
                result = apply_action(edits, result, whole)
    result = to_tensor(white.after(to_array(result, np.float32)))
    result = colors + strength * (result - colors)
    return result[0].reshape(3, points, points, points).movedim(0, -1).clone().numpy()


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

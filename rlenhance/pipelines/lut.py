"""The look of an episode as a .cube file: a table of colours that other editors read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlenhance import __version__
from rlenhance.actions import Action, apply_action
from rlenhance.core.errors import UsageError
from rlenhance.models import GreedyEpisode

#: Colours along each side of the table.
POINTS = 33


def make_cube(model: GreedyEpisode, actions: Sequence[Action], points: int = POINTS,
              strength: float = 1.0) -> np.ndarray:
    """What an episode does to every colour, its local agents left out: (points, points, points, 3) float32.

    The local agents' mean stays, for it is the global agent's; what differs from place to place has no room in a
    table of colours.

    Args:
        actions: the T actions for one picture, as `GreedyEpisode.decide` gives them.
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
    result = colors
    with torch.inference_mode():
        for action in actions:
            whole = {level: entry.cpu() if level == "global" else _still(entry.cpu())
                     for level, entry in action.items()}
            result = apply_action(model.policy.actions, result, whole)
    result = colors + strength * (result - colors)
    return result[0].reshape(3, points, points, points).movedim(0, -1).clone().numpy()


def _still(local: Tensor) -> Tensor:
    """Local agents that say nothing of their own."""
    return torch.zeros_like(local[..., :1, :1])


def to_text(cube: np.ndarray, title: str) -> str:
    """The text of a .cube file.

    Source: Adobe, Cube LUT Specification 1.0.
    """
    lines = [f'TITLE "{title}"', f"# rlenhance {__version__}: the picture-level look; local agents are left out",
             f"LUT_3D_SIZE {cube.shape[0]}", "DOMAIN_MIN 0.0 0.0 0.0", "DOMAIN_MAX 1.0 1.0 1.0"]
    colors = (" ".join(f"{value:.6f}" for value in color) for color in cube.reshape(-1, 3).tolist())
    return "\n".join([*lines, *colors]) + "\n"


def save_cube(cube: np.ndarray, path: Path, title: str) -> Path:
    """Write it, whole or not at all.

    Raises:
        UsageError: the place cannot be written.
    """
    from rlenhance.io.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_text(cube, title.replace('"', "'")).encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return path

"""The white balance of a photograph as part of its decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rlenhance.actions import Action
from rlenhance.ops.white_balance import NEUTRAL, auto_gains, kelvin_gains

_SCOPE = "white"


def gains_of(pixels: np.ndarray, white: float | None) -> np.ndarray:
    """The gains (3,) of a setting (see `EnhanceSettings.white`) for a picture (H, W, 3)."""
    return NEUTRAL if white == 0 else auto_gains(pixels) if white is None else kelvin_gains(white)


def white_action(gains: np.ndarray, device: torch.device | str = "cpu") -> Action:
    """Gains as the first action of a decision: their logarithms under "white", (1, 3, 1, 1)."""
    return {_SCOPE: torch.tensor(np.log(gains), dtype=torch.float32, device=device).view(1, 3, 1, 1)}


def split_white(actions: Sequence[Action]) -> tuple[np.ndarray, Sequence[Action]]:
    """The gains (3,) of a decision, and the actions of the policy."""
    if not actions or _SCOPE not in actions[0]:
        return NEUTRAL, actions
    return np.exp(actions[0][_SCOPE].flatten().double().cpu().numpy()), actions[1:]

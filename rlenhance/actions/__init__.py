"""What one agent may do. `advance` is the transition, in training and in use."""

from rlenhance.actions.base import (
    ACTION_SETS,
    Action,
    ActionSet,
    Bending,
    advance,
    as_action,
    even_out,
    spread,
)
from rlenhance.actions.curve import Curve
from rlenhance.actions.sweep import Sweep
from rlenhance.actions.tone import Tone

__all__ = ["ACTION_SETS", "Action", "ActionSet", "Bending", "Curve", "Sweep", "Tone", "advance", "as_action",
           "even_out", "spread"]

"""What one agent may do. `advance` is the transition, in training and in use."""

from rlenhance.actions.base import ACTION_SETS, Action, ActionSet, advance, as_action
from rlenhance.actions.curve import Curve
from rlenhance.actions.tone import Tone

__all__ = ["ACTION_SETS", "Action", "ActionSet", "Curve", "Tone", "advance", "as_action"]

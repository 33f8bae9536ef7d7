"""What one agent may do. `advance` is the transition, in training and in use."""

from rlenhance.actions.base import (
    ACTION_SETS,
    Action,
    ActionSet,
    Bending,
    advance,
    as_action,
    begin,
    even_out,
    pictures_of,
    recalls,
    spread,
)
from rlenhance.actions.completion import Fill, TouchUp
from rlenhance.actions.curve import Curve
from rlenhance.actions.filters import PIXELRL_TOOLS, TOOLS, Filters
from rlenhance.actions.latent import LatentMoves
from rlenhance.actions.render import Sweep
from rlenhance.actions.tone import Tone

__all__ = [
    "ACTION_SETS", "PIXELRL_TOOLS", "TOOLS", "Action", "ActionSet", "Bending", "Curve", "Fill", "Filters",
    "LatentMoves", "Sweep", "Tone", "TouchUp", "advance", "as_action", "begin", "even_out",
    "pictures_of", "recalls", "spread",
]

"""Action sets. `apply_action` is the transition, in training and in use."""

from rlenhance.actions.base import (
    ACTION_SETS,
    ActionSet,
    PointwiseActions,
    ToolSet,
    apply_action,
    apply_and_measure,
    attenuate_local,
    upsample_agents,
    validate_action,
)
from rlenhance.actions.bilateral import BilateralActions
from rlenhance.actions.completion import CompletionActions, ResidualActions
from rlenhance.actions.curve import CurveActions
from rlenhance.actions.filters import FILTERS, PIXELRL_TOOLS, FilterActions
from rlenhance.actions.latent import LatentActions
from rlenhance.actions.render import ArrayFormula, FusedRenderer
from rlenhance.actions.tone import ToneActions
from rlenhance.actions.toolchain import ToolchainActions
from rlenhance.core.types import Action

__all__ = [
    "ACTION_SETS", "FILTERS", "PIXELRL_TOOLS", "Action", "ActionSet", "ArrayFormula", "BilateralActions",
    "CompletionActions", "CurveActions", "FilterActions", "FusedRenderer", "LatentActions", "PointwiseActions",
    "ResidualActions", "ToneActions", "ToolSet", "ToolchainActions", "apply_action", "apply_and_measure",
    "attenuate_local", "upsample_agents", "validate_action",
]

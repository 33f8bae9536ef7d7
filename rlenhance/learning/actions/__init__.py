"""Action sets. `apply_action` is the transition, in training and in use."""

from rlenhance.engine.edits import attenuate_local
from rlenhance.learning.actions.base import (
    ACTION_SETS,
    ActionSet,
    PointwiseActions,
    ToolSet,
    apply_action,
    apply_and_measure,
    upsample_agents,
    validate_action,
)
from rlenhance.learning.actions.bilateral import BilateralActions
from rlenhance.learning.actions.completion import CompletionActions, ResidualActions
from rlenhance.learning.actions.curve import CurveActions
from rlenhance.learning.actions.filters import FILTERS, PIXELRL_TOOLS, FilterActions
from rlenhance.learning.actions.kernels import KernelActions
from rlenhance.learning.actions.latent import LatentActions
from rlenhance.learning.actions.render import ArrayFormula, FusedRenderer
from rlenhance.learning.actions.tone import ToneActions
from rlenhance.learning.actions.toolchain import ToolchainActions
from rlenhance.learning.types import Action

__all__ = [
    "ACTION_SETS", "FILTERS", "PIXELRL_TOOLS", "Action", "ActionSet", "ArrayFormula", "BilateralActions",
    "CompletionActions", "CurveActions", "FilterActions", "FusedRenderer", "KernelActions", "LatentActions",
    "PointwiseActions", "ResidualActions", "ToneActions", "ToolSet", "ToolchainActions", "apply_action",
    "apply_and_measure", "attenuate_local", "upsample_agents", "validate_action",
]

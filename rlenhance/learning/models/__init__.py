"""Networks that act: policies, unrolled policies, and the supervised baseline.

A *model* is one thing everywhere: `(image, mask=None, preference=None) -> image`.
"""

from rlenhance.learning.models.base import MODELS, FeedForwardModel, ImageNetwork, Policy
from rlenhance.learning.models.bracket_values import BracketValues
from rlenhance.learning.models.completers import (
    CompletionNet,
    ConvLSTMCompleter,
    GatedPixelRNNCompleter,
    PictureToPicture,
    ResidualCompleter,
)
from rlenhance.learning.models.completion_policy import CompletionPolicy, CompletionRestorer, TouchUpPolicy
from rlenhance.learning.models.denoiser import DenoisingUNet, NoiseConditionedModel, PatchDenoiser
from rlenhance.learning.models.episode import EpisodeTrace, GreedyEpisode, LatentEpisode, build_model
from rlenhance.learning.models.filter_policy import BaseFilterPolicy, FilterPolicy
from rlenhance.learning.models.kernel_denoiser import KernelDenoiser
from rlenhance.learning.models.mrpnet_sr import SCALES, Enlarger, MRPNetSR
from rlenhance.learning.models.policy import Observation, PixelPolicy, make_observation
from rlenhance.learning.models.published.ffdnet import FFDNet
from rlenhance.learning.models.published.pixelrl import PixelRL
from rlenhance.learning.models.published.rellie import ReLLIE
from rlenhance.learning.models.published.rl_restore import RL_RESTORE, RLRestorePolicy, RLRestoreTool
from rlenhance.learning.models.published.zero_dce import ZeroDCE
from rlenhance.learning.models.restorer import Restorer
from rlenhance.learning.models.small_tools import TOOL_NAMES, SmallTools
from rlenhance.learning.models.tool_gains import ToolGains, ToolPlanner
from rlenhance.learning.models.toolchain_policy import ToolchainPolicy
from rlenhance.learning.models.warm_start import warm_start

__all__ = [
    "MODELS", "RL_RESTORE", "SCALES", "TOOL_NAMES", "BaseFilterPolicy", "BracketValues", "CompletionNet",
    "CompletionPolicy", "CompletionRestorer", "ConvLSTMCompleter", "DenoisingUNet", "Enlarger", "EpisodeTrace",
    "FFDNet", "FeedForwardModel", "FilterPolicy", "GatedPixelRNNCompleter", "GreedyEpisode", "ImageNetwork",
    "KernelDenoiser", "LatentEpisode", "MRPNetSR", "NoiseConditionedModel", "Observation", "PatchDenoiser",
    "PictureToPicture", "PixelPolicy", "PixelRL", "Policy", "RLRestorePolicy", "RLRestoreTool", "ReLLIE",
    "ResidualCompleter", "Restorer", "SmallTools", "ToolGains", "ToolPlanner", "ToolchainPolicy", "TouchUpPolicy",
    "ZeroDCE", "build_model", "make_observation", "warm_start",
]

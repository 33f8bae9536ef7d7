"""Networks that act: policies, unrolled policies, and the supervised baseline.

A *model* is one thing everywhere: `(image, mask=None, preference=None) -> image`.
"""

from rlenhance.models.base import MODELS, FeedForwardModel, ImageNetwork, Policy
from rlenhance.models.completers import CompletionNet, ConvLSTMCompleter, GatedPixelRNNCompleter, ResidualCompleter
from rlenhance.models.completion_policy import CompletionPolicy, CompletionRestorer, TouchUpPolicy
from rlenhance.models.denoiser import DenoisingUNet, NoiseConditionedModel
from rlenhance.models.enlarger import Enlarger
from rlenhance.models.episode import EpisodeTrace, GreedyEpisode, LatentEpisode, build_model
from rlenhance.models.filter_policy import BaseFilterPolicy, FilterPolicy
from rlenhance.models.mrpnet_sr import SCALES, MRPNetSR
from rlenhance.models.patch_denoiser import PatchDenoiser
from rlenhance.models.picture_to_picture import PictureToPicture
from rlenhance.models.policy import Observation, PixelPolicy, make_observation
from rlenhance.models.published.ffdnet import FFDNet
from rlenhance.models.published.pixelrl import PixelRL
from rlenhance.models.published.rellie import ReLLIE
from rlenhance.models.published.rl_restore import RL_RESTORE, RLRestorePolicy, RLRestoreTool
from rlenhance.models.published.zero_dce import ZeroDCE
from rlenhance.models.read_policy import ReadPolicy
from rlenhance.models.restorer import Restorer
from rlenhance.models.small_tools import TOOL_NAMES, SmallTools
from rlenhance.models.tool_gains import ToolGains, ToolPlanner
from rlenhance.models.toolchain_policy import ToolchainPolicy
from rlenhance.models.warm_start import warm_start

__all__ = [
    "MODELS",
    "RL_RESTORE",
    "SCALES",
    "TOOL_NAMES",
    "BaseFilterPolicy",
    "CompletionNet",
    "CompletionPolicy",
    "CompletionRestorer",
    "ConvLSTMCompleter",
    "DenoisingUNet",
    "Enlarger",
    "EpisodeTrace",
    "FFDNet",
    "FeedForwardModel",
    "FilterPolicy",
    "GatedPixelRNNCompleter",
    "GreedyEpisode",
    "ImageNetwork",
    "LatentEpisode",
    "MRPNetSR",
    "NoiseConditionedModel",
    "Observation",
    "PatchDenoiser",
    "PictureToPicture",
    "PixelPolicy",
    "PixelRL",
    "Policy",
    "RLRestorePolicy",
    "RLRestoreTool",
    "ReLLIE",
    "ReadPolicy",
    "ResidualCompleter",
    "Restorer",
    "SmallTools",
    "ToolGains",
    "ToolPlanner",
    "ToolchainPolicy",
    "TouchUpPolicy",
    "ZeroDCE",
    "build_model",
    "make_observation",
    "warm_start",
]

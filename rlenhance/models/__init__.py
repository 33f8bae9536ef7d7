"""Networks that act: policies, unrolled policies, and the supervised baseline.

A *model* is one thing everywhere: `(image, mask=None, preference=None) -> image`.
"""

from rlenhance.models.base import MODELS, Completing, FeedForwardModel, ImageNetwork, Model, Policy
from rlenhance.models.completers import AutoencoderFilling, Filling, GatedFilling, Prior
from rlenhance.models.completion_policy import CompletionPolicy, CompletionRestorer, TouchUpPolicy
from rlenhance.models.denoiser import Denoiser, NoiseAware
from rlenhance.models.episode import Episode, SelfEnhancer, UnrolledPolicy, build_model
from rlenhance.models.filter_policy import FilteringPolicy, FilterPolicy
from rlenhance.models.mrpnet_sr import SCALES, Combined
from rlenhance.models.patch_denoiser import PatchDenoiser
from rlenhance.models.policy import Observation, PixelPolicy, observe
from rlenhance.models.published.ffdnet import FFDNet
from rlenhance.models.published.pixelrl import PixelRL
from rlenhance.models.published.rellie import ReLLIE
from rlenhance.models.published.zero_dce import ZeroDCE
from rlenhance.models.restorer import Restorer
from rlenhance.models.warm_start import warm_start

__all__ = [
    "MODELS",
    "SCALES",
    "AutoencoderFilling",
    "Combined",
    "Completing",
    "CompletionPolicy",
    "CompletionRestorer",
    "Denoiser",
    "Episode",
    "FFDNet",
    "FeedForwardModel",
    "Filling",
    "FilterPolicy",
    "FilteringPolicy",
    "GatedFilling",
    "ImageNetwork",
    "Model",
    "NoiseAware",
    "Observation",
    "PatchDenoiser",
    "PixelPolicy",
    "PixelRL",
    "Policy",
    "Prior",
    "ReLLIE",
    "Restorer",
    "SelfEnhancer",
    "TouchUpPolicy",
    "UnrolledPolicy",
    "ZeroDCE",
    "build_model",
    "observe",
    "warm_start",
]

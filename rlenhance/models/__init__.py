"""Networks that act: policies, unrolled policies, and the supervised baseline.

A *model* is one thing everywhere: `(image, mask=None, preference=None) -> image`.
"""

from rlenhance.models.base import MODELS, Completing, Model, Policy, as_model
from rlenhance.models.combined import SCALES, Combined
from rlenhance.models.completion import CompletionPolicy, CompletionRestorer, TouchUpPolicy
from rlenhance.models.denoiser import Denoiser, NoiseAware
from rlenhance.models.ffdnet import FFDNet
from rlenhance.models.filling import AutoencoderFilling, Filling, GatedFilling, Prior
from rlenhance.models.filter_policy import FilteringPolicy, FilterPolicy
from rlenhance.models.patch_denoiser import PatchDenoiser
from rlenhance.models.pixelrl import PixelRL
from rlenhance.models.policy import Observation, PixelPolicy, observe
from rlenhance.models.rellie import ReLLIE
from rlenhance.models.restorer import Restorer
from rlenhance.models.self_enhancer import SelfEnhancer
from rlenhance.models.unrolled import Episode, UnrolledPolicy
from rlenhance.models.warm_start import warm_start
from rlenhance.models.zero_dce import ZeroDCE

__all__ = [
    "MODELS", "SCALES", "AutoencoderFilling", "Combined", "Completing", "CompletionPolicy", "CompletionRestorer",
    "Denoiser", "Episode", "FFDNet", "Filling", "FilterPolicy", "FilteringPolicy", "GatedFilling", "Model",
    "NoiseAware", "Observation", "PatchDenoiser", "PixelPolicy", "PixelRL", "Policy", "Prior", "ReLLIE", "Restorer",
    "SelfEnhancer", "TouchUpPolicy", "UnrolledPolicy", "ZeroDCE", "as_model", "observe", "warm_start",
]

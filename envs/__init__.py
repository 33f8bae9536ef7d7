"""Gymnasium environments in which every pixel is an agent. Importing this package registers them."""

import gymnasium

from envs.completion import CompletionEnv, CompletionImageEnv
from envs.denoise import DenoiseEnv, DenoiseImageEnv
from envs.image_env import ImageEnv
from envs.known_curve import KnownCurveEnv, KnownCurveImageEnv, KnownCurves
from envs.lowlight import LowLightEnv, LowLightImageEnv
from envs.pixel_env import PixelEnv
from envs.self_enhance import SelfEnhanceEnv, SelfEnhanceImageEnv
from envs.wrappers import FlattenActions, PictureAction, Uint8Observation

#: What this package registers: id -> (environment of one picture, batched environment).
_ENTRY_POINTS = {
    "rlenhance/LowLight-v0": ("envs.lowlight:LowLightImageEnv", "envs.lowlight:LowLightEnv"),
    "rlenhance/Denoise-v0": ("envs.denoise:DenoiseImageEnv", "envs.denoise:DenoiseEnv"),
    "rlenhance/Completion-v0": ("envs.completion:CompletionImageEnv", "envs.completion:CompletionEnv"),
    "rlenhance/SelfEnhance-v0": ("envs.self_enhance:SelfEnhanceImageEnv", "envs.self_enhance:SelfEnhanceEnv"),
    "rlenhance/KnownCurve-v0": ("envs.known_curve:KnownCurveImageEnv", "envs.known_curve:KnownCurveEnv"),
}

#: Ids that this package registers.
ENV_IDS = tuple(_ENTRY_POINTS)

for _id, (_one, _many) in _ENTRY_POINTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_one, vector_entry_point=_many)

__all__ = [
    "ENV_IDS", "CompletionEnv", "CompletionImageEnv", "DenoiseEnv", "DenoiseImageEnv", "FlattenActions", "ImageEnv",
    "KnownCurveEnv", "KnownCurveImageEnv", "KnownCurves", "LowLightEnv", "LowLightImageEnv", "PictureAction",
    "PixelEnv", "SelfEnhanceEnv", "SelfEnhanceImageEnv", "Uint8Observation",
]

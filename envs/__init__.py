"""Gymnasium environments in which every pixel is an agent. Importing this package registers them."""

import gymnasium

from envs.completion import CompletionEnv, CompletionImageEnv
from envs.curve_oracle import CurveOracleEnv, CurveOracleImageEnv, InvertibleCurveSource
from envs.denoise import DenoiseEnv, DenoiseImageEnv
from envs.image_env import ImageEnv
from envs.lowlight import LowLightEnv, LowLightImageEnv
from envs.pixel_env import PixelEnv
from envs.self_enhance import SelfEnhanceEnv, SelfEnhanceImageEnv
from envs.wrappers import FlattenActions, GlobalAction, Uint8Observation

#: What this package registers: id -> (environment of one image, batched environment).
_ENTRY_POINTS = {
    "rlenhance/LowLight-v0": ("envs.lowlight:LowLightImageEnv", "envs.lowlight:LowLightEnv"),
    "rlenhance/Denoise-v0": ("envs.denoise:DenoiseImageEnv", "envs.denoise:DenoiseEnv"),
    "rlenhance/Completion-v0": ("envs.completion:CompletionImageEnv", "envs.completion:CompletionEnv"),
    "rlenhance/SelfEnhance-v0": ("envs.self_enhance:SelfEnhanceImageEnv", "envs.self_enhance:SelfEnhanceEnv"),
    "rlenhance/CurveOracle-v0": ("envs.curve_oracle:CurveOracleImageEnv", "envs.curve_oracle:CurveOracleEnv"),
}

#: Ids that this package registers.
ENV_IDS = tuple(_ENTRY_POINTS)

#: Ids of version 0.1 that go on working: id -> the present one.
OLD_ENV_IDS = {"rlenhance/KnownCurve-v0": "rlenhance/CurveOracle-v0"}

for _id, (_one, _many) in (*_ENTRY_POINTS.items(), *((old, _ENTRY_POINTS[new]) for old, new in OLD_ENV_IDS.items())):
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_one, vector_entry_point=_many)

__all__ = [
    "ENV_IDS", "OLD_ENV_IDS", "CompletionEnv", "CompletionImageEnv", "CurveOracleEnv", "CurveOracleImageEnv",
    "DenoiseEnv", "DenoiseImageEnv", "FlattenActions", "GlobalAction", "ImageEnv", "InvertibleCurveSource",
    "LowLightEnv", "LowLightImageEnv", "PixelEnv", "SelfEnhanceEnv", "SelfEnhanceImageEnv", "Uint8Observation",
]

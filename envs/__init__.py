"""Gymnasium environments in which every pixel is an agent. Importing this package registers them."""

import gymnasium

from envs.image_env import ImageEnv
from envs.lowlight import LowLightEnv, LowLightImageEnv
from envs.pixel_env import PixelEnv

#: Ids that this package registers.
ENV_IDS = ("rlenhance/LowLight-v0",)

if "rlenhance/LowLight-v0" not in gymnasium.registry:
    gymnasium.register(
        "rlenhance/LowLight-v0",
        entry_point="envs.lowlight:LowLightImageEnv",
        vector_entry_point="envs.lowlight:LowLightEnv",
    )

__all__ = ["ENV_IDS", "ImageEnv", "LowLightEnv", "LowLightImageEnv", "PixelEnv"]

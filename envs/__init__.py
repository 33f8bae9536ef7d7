"""Gymnasium environments in which every pixel is an agent. Importing this package registers them, and those of
installed plugins."""

from importlib.metadata import entry_points

from rlenhance.core.installation import install_line

try:
    import gymnasium
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"environments need {error.name}, of the extra train: {install_line('train')}",
                              name=error.name) from error

from rlenhance.envs.bracket import BracketEnv, BracketSceneEnv
from rlenhance.envs.completion import CompletionEnv
from rlenhance.envs.curve_oracle import CurveOracleEnv, CurveOracleImageEnv, InvertibleCurveSource
from rlenhance.envs.denoise import DenoiseEnv
from rlenhance.envs.image_env import ImageEnv, single_image
from rlenhance.envs.lowlight import LowLightEnv
from rlenhance.envs.pixel_env import PixelEnv
from rlenhance.envs.self_enhance import SelfEnhanceEnv
from rlenhance.envs.toolchain import ToolchainEnv
from rlenhance.envs.torch_to_numpy import TorchToNumpy, vector_entry_point
from rlenhance.envs.wrappers import FlattenActions, GlobalAction, Uint8Observation

LowLightImageEnv = single_image(LowLightEnv)
DenoiseImageEnv = single_image(DenoiseEnv)
CompletionImageEnv = single_image(CompletionEnv)
SelfEnhanceImageEnv = single_image(SelfEnhanceEnv)
ToolchainImageEnv = single_image(ToolchainEnv)
make_lowlight = vector_entry_point(LowLightEnv)
make_denoise = vector_entry_point(DenoiseEnv)
make_completion = vector_entry_point(CompletionEnv)
make_self_enhance = vector_entry_point(SelfEnhanceEnv)
make_curve_oracle = vector_entry_point(CurveOracleEnv)
make_toolchain = vector_entry_point(ToolchainEnv)

_ENTRY_POINTS = {"LowLight": "make_lowlight", "Denoise": "make_denoise", "Completion": "make_completion",
                 "SelfEnhance": "make_self_enhance", "CurveOracle": "make_curve_oracle",
                 "Toolchain": "make_toolchain"}

#: Ids that this package registers for environments in which every pixel is an agent.
ENV_IDS = tuple(f"rlenhance/{name}-v0" for name in _ENTRY_POINTS)

for _name, _id in zip(_ENTRY_POINTS, ENV_IDS, strict=True):
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=f"rlenhance.envs:{_name}ImageEnv",
                           vector_entry_point=f"rlenhance.envs:{_ENTRY_POINTS[_name]}")

if "rlenhance/Bracket-v0" not in gymnasium.registry:  # one agent, which holds a camera
    gymnasium.register("rlenhance/Bracket-v0", entry_point="rlenhance.envs:BracketSceneEnv",
                       vector_entry_point="rlenhance.envs:BracketEnv")

# Those of installed distributions: "Read-v0" -> where its class lies, which is imported when it is made.
_VECTOR = {point.name: point.value for point in entry_points(group="rlenhance.vector_envs")}
for _point in entry_points(group="rlenhance.envs"):
    _id = f"rlenhance/{_point.name}"
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_point.value, vector_entry_point=_VECTOR.get(_point.name))

__all__ = [
    "ENV_IDS", "BracketEnv", "BracketSceneEnv", "CompletionEnv", "CompletionImageEnv", "CurveOracleEnv",
    "CurveOracleImageEnv", "DenoiseEnv", "DenoiseImageEnv", "FlattenActions", "GlobalAction", "ImageEnv",
    "InvertibleCurveSource", "LowLightEnv", "LowLightImageEnv", "PixelEnv", "SelfEnhanceEnv", "SelfEnhanceImageEnv",
    "ToolchainEnv", "ToolchainImageEnv", "TorchToNumpy", "Uint8Observation", *_ENTRY_POINTS.values(),
]

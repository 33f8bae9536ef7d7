"""rlenhance: enhance pictures by reinforcement learning.

Every pixel (or cell of a coarser grid) is an agent that bends its tone curve step by step; the user weights the reward.
The names listed here are the public API: they stay, or are announced in CHANGELOG.md one version before they go.

    >>> import rlenhance
    >>> rlenhance.__version__
    '0.2.0'
"""

import os
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rlenhance.core import __version__ as __version__

# A wheel has envs, agents and experiments in this package; in a checkout they lie beside it.
if not os.path.isdir(os.path.join(__path__[0], "envs")):
    __path__.append(os.path.dirname(__path__[0]))

if TYPE_CHECKING:
    from rlenhance.core.plugins import load_plugin
    from rlenhance.hub.shipped import list_models
    from rlenhance.io import read, write
    from rlenhance.learning.actions import ACTION_SETS
    from rlenhance.learning.data import Batch
    from rlenhance.learning.hub.checkpoint import load_model
    from rlenhance.learning.models import MODELS
    from rlenhance.learning.nn.backbones import BACKBONES
    from rlenhance.learning.rewards import Reward, RewardWeights
    from rlenhance.learning.rewards import action_term as register_action_term
    from rlenhance.learning.rewards import state_term as register_reward_term
    from rlenhance.pipelines.bracket import BracketPlanner
    from rlenhance.pipelines.complete import Completer
    from rlenhance.pipelines.denoise import Denoiser
    from rlenhance.pipelines.enhance import Enhancer
    from rlenhance.pipelines.fuse import fuse
    from rlenhance.pipelines.restore import PhotoRestorer
    from rlenhance.pipelines.upscale import Upscaler
    from rlenhance.tools import TOOLS

    register_action_set = ACTION_SETS.register
    register_backbone = BACKBONES.register
    register_model = MODELS.register
    register_tool = TOOLS.register

# Loaded on first use: the command's help must not wait for NumPy, and most of them do without torch.
_HOMES = {
    "Batch": ("rlenhance.learning.data", "Batch"),
    "BracketPlanner": ("rlenhance.pipelines.bracket", "BracketPlanner"),
    "Completer": ("rlenhance.pipelines.complete", "Completer"),
    "Denoiser": ("rlenhance.pipelines.denoise", "Denoiser"),
    "Enhancer": ("rlenhance.pipelines.enhance", "Enhancer"),
    "PhotoRestorer": ("rlenhance.pipelines.restore", "PhotoRestorer"),
    "Reward": ("rlenhance.learning.rewards", "Reward"),
    "RewardWeights": ("rlenhance.learning.rewards", "RewardWeights"),
    "Upscaler": ("rlenhance.pipelines.upscale", "Upscaler"),
    "fuse": ("rlenhance.pipelines.fuse", "fuse"),
    "list_models": ("rlenhance.hub.shipped", "list_models"),
    "load_model": ("rlenhance.learning.hub.checkpoint", "load_model"),
    "load_plugin": ("rlenhance.core.plugins", "load_plugin"),
    "read": ("rlenhance.io", "read"),
    "register_action_set": ("rlenhance.learning.actions", "ACTION_SETS.register"),
    "register_action_term": ("rlenhance.learning.rewards", "action_term"),
    "register_backbone": ("rlenhance.learning.nn.backbones", "BACKBONES.register"),
    "register_model": ("rlenhance.learning.models", "MODELS.register"),
    "register_reward_term": ("rlenhance.learning.rewards", "state_term"),
    "register_tool": ("rlenhance.tools", "TOOLS.register"),
    "write": ("rlenhance.io", "write"),
}
__all__ = [
    "Batch", "BracketPlanner", "Completer", "Denoiser", "Enhancer", "PhotoRestorer", "Reward", "RewardWeights",
    "Upscaler", "fuse", "list_models", "load_model", "load_plugin", "read", "register_action_set",
    "register_action_term", "register_backbone", "register_model", "register_reward_term", "register_tool", "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, place = _HOMES[name]
        try:
            return attrgetter(place)(import_module(module))
        except ModuleNotFoundError as error:
            from rlenhance.core.installation import TRAINING, install_line

            if error.name not in TRAINING:
                raise
            raise ModuleNotFoundError(f"rlenhance.{name} needs {error.name}, of the extra train: "
                                      f"{install_line('train')}", name=error.name) from error
    raise AttributeError(f"module 'rlenhance' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

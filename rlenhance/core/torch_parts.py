"""What the tool takes from the torch wing, by name: the only place outside `rlenhance.learning` that knows it.

`import rlenhance` and photographs need no torch. What computes with torch is named here, and imported when it is asked
for; `make lint` refuses any other import of `rlenhance.learning` or of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Any

#: Part -> its module and name.
PARTS: Mapping[str, str] = {
    "available_devices": "rlenhance.learning.devices:available_devices",
    "device_count": "rlenhance.learning.devices:device_count",
    "describe_device": "rlenhance.learning.devices:describe_device",
    "network": "rlenhance.learning.hub.torch_network:TorchNetwork.load",
    "load_model": "rlenhance.learning.hub.checkpoint:load_model",
    "export_checkpoint": "rlenhance.learning.hub.export:export_checkpoint",
    "export_onnx": "rlenhance.learning.hub.onnx:export_model",
    "write_hub_folder": "rlenhance.learning.hub.hub_folder:write_hub_folder",
    "map_tools": "rlenhance.learning.hub.explain_filters:map_tools",
    "reward_term": "rlenhance.learning.rewards.weights:term_name",
    "rl_restore": "rlenhance.learning.hub.rl_restore:read_tool",
}


def torch_part(name: str) -> Any:
    """A function or class of the torch wing.

    Args:
        name: a key of `PARTS`.

    Raises:
        ModuleNotFoundError: torch, or another module of the extra `train`, is not installed.

    Example:
        >>> torch_part("load_model").__module__
        'rlenhance.learning.hub.checkpoint'
    """
    module, place = PARTS[name].split(":")
    return attrgetter(place)(import_module(module))


def moved(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names are in another package since 0.3; it goes with the next version.

    Example:
        >>> moved("rlenhance.learning.rewards")("RewardWeights").__name__
        'RewardWeights'
    """
    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(package), name)

    return find

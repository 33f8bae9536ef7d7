"""The project's own small networks as tools, and those of any checkpoint as a kit."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array, to_tensor
from rlenhance.hub.checkpoint import load_network
from rlenhance.hub.info import find_checkpoint
from rlenhance.hub.shipped import locate, weights_digest
from rlenhance.models import TOOL_NAMES, SmallTools
from rlenhance.tools.base import TOOLKITS, TOOLS, Tool, cost_of

#: The shipped checkpoint.
SHIPPED = "tools"
_LABELS = {
    "deblur-weak": "a weak blur reversed", "deblur-strong": "a strong blur reversed",
    "denoise-weak": "weak noise taken out", "denoise-strong": "strong noise taken out",
    "deblock-weak": "JPEG blocks removed", "deblock-strong": "strong JPEG blocks removed",
}


@lru_cache(maxsize=4)
def _load(place: Path, digest: str) -> SmallTools:
    network = load_network(place)
    if not isinstance(network, SmallTools):
        raise UsageError(f"{place}: holds no small tools; name a run of python -m experiments.tools_train")
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@TOOLKITS.register("own")
def own_tools(path: Path | None = None) -> tuple[Tool, ...]:
    """The tools of a checkpoint in its order: two strengths each against blur, noise and JPEG in the shipped one.

    Args:
        path: a run of `experiments.tools_train`, or its checkpoint; None: the shipped one.

    Raises:
        UsageError: there is no such checkpoint, or it holds something else.
    """
    place = find_checkpoint(locate(path or SHIPPED))
    version = weights_digest(place)[:16]
    network = _load(place.absolute(), version)

    def run(images: Tensor, name: str) -> Tensor:
        return network.apply_tool(name, images).contiguous()

    def apply(picture: np.ndarray, name: str) -> np.ndarray:
        with torch.no_grad():
            return to_array(run(to_tensor(picture), name), np.float32)

    return tuple(Tool(name, _LABELS.get(name, name), partial(apply, name=name), cost_of(name), network.tool_radius,
                      batched=partial(run, name=name), version=version) for name in network.names)


def _register(name: str) -> None:
    TOOLS.register(name)(lambda path=None: next(tool for tool in own_tools(path) if tool.name == name))


for _name in TOOL_NAMES:
    _register(_name)

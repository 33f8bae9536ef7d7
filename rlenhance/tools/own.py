"""The project's own small networks as tools, and those of any checkpoint as a kit."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.engine.small_tools import TOOL_NAMES, tool_radius
from rlenhance.hub.info import find_checkpoint, read_info
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import locate, weights_digest
from rlenhance.tools.base import TOOLKITS, TOOLS, Tool, cost_of

#: The shipped checkpoint.
SHIPPED = "tools"
_LABELS = {
    "deblur-weak": "a weak blur reversed", "deblur-strong": "a strong blur reversed",
    "denoise-weak": "weak noise taken out", "denoise-strong": "strong noise taken out",
    "deblock-weak": "JPEG blocks removed", "deblock-strong": "strong JPEG blocks removed",
}


@lru_cache(maxsize=4)
def _open(place: Path, digest: str) -> Any:
    """The networks of a checkpoint whose weights have a digest."""
    return open_network(place)


@TOOLKITS.register("own")
def own_tools(path: Path | None = None) -> tuple[Tool, ...]:
    """The tools of a checkpoint in its order: two strengths each against blur, noise and JPEG in the shipped one.

    Args:
        path: a run of `rlenhance.experiments.tools_train`, or its checkpoint; None: the shipped one.

    Raises:
        UsageError: there is no such checkpoint, or it holds something else.
    """
    place = find_checkpoint(locate(path or SHIPPED)).absolute()
    spec, version = read_info(place).model, weights_digest(place)[:16]
    if spec.get("name") != "small_tools":
        raise UsageError(f"{place}: holds no small tools; name a run of python -m rlenhance.experiments.tools_train")
    names = tuple(spec.get("names", TOOL_NAMES))

    def run(planes: np.ndarray, number: int) -> np.ndarray:
        return np.asarray(_open(place, version)(planes, preference={"tool": number}))

    def apply(picture: np.ndarray, number: int) -> np.ndarray:
        return to_pixels(run(to_planes(picture), number), np.float32)

    return tuple(Tool(name, _LABELS.get(name, name), partial(apply, number=number), cost_of(name), tool_radius(spec),
                      batched=partial(run, number=number), version=version) for number, name in enumerate(names))


def _register(name: str) -> None:
    TOOLS.register(name)(lambda path=None: next(tool for tool in own_tools(path) if tool.name == name))


for _name in TOOL_NAMES:
    _register(_name)

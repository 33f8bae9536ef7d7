"""The small networks against one damage each, the tools of a toolchain, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, pad_planes, pixel_shuffle, pixel_unshuffle
from rlenhance.engine.graph import Graph
from rlenhance.engine.networks import NETWORKS, Network

#: The shipped tools, in the order of their outputs' numbers: two strengths each of blur, noise and JPEG coding.
TOOL_NAMES = ("deblur-weak", "deblur-strong", "denoise-weak", "denoise-strong", "deblock-weak", "deblock-strong")
#: RL-Restore's tools in the published order; 1 of each kind is for the weakest damage, 4 for the strongest.
RL_RESTORE = tuple(f"rl-{kind}-{degree}" for kind in ("deblur", "denoise", "deblock") for degree in range(1, 5))
#: Dilations of a tool's convolutions, where its spec names none.
DILATIONS = (1, 1, 1)


def tool_radius(spec: Mapping[str, Any]) -> int:
    """Pixels beyond which an input pixel has no influence on a tool's output pixel.

    Args:
        spec: of `rlenhance.learning.models.SmallTools`, as config.json has it.
    """
    return 2 * (2 + sum(spec.get("dilations", DILATIONS))) + 1  # a cell has two pixels, one may be the nearer


@NETWORKS.register("small_tools")
class SmallTools(Network):
    """`rlenhance.learning.models.SmallTools`: the graph of the first tool, with the weights of each."""

    def __init__(self, folder: Path, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], *options: Any):
        super().__init__(folder, config, weights, *options)
        self.names = tuple(self.spec.get("names", TOOL_NAMES))
        self.chain = tuple(self.spec.get("chain") or self.names)
        graph, first = self.graphs["model"], f"tools.{self.names[0]}."
        for name in self.names:
            own = {key: weights[key.replace(first, f"tools.{name}.")] for key in graph.facts["weights"]}
            self.graphs[name] = Graph(graph.path, own, graph.backend)

    def __call__(self, planes: np.ndarray, mask: np.ndarray | None = None,
                 preference: Mapping[str, float] | None = None) -> np.ndarray:
        """The fixed chain, or the tool whose number the preference `tool` gives: (N, 3, H, W) -> the same, in [0, 1].

        Raises:
            UsageError: not pictures; another preference, or a mask.
        """
        if mask is not None or set(preference or {}) - {"tool"}:
            raise UsageError("small tools take no mask and only the preference tool")
        result = check_planes(planes)
        for name in (self.names[int(preference["tool"])],) if preference else self.chain:
            cells = pixel_unshuffle(pad_planes(result, 2), 2)
            change = pixel_shuffle(self.graphs[name].run(cells=cells), 2)
            result = (result + change[..., : planes.shape[2], : planes.shape[3]]).clip(0, 1)
        return result

"""Types that every room of the torch wing names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

#: One entry per scope of agents. "global": (N, C, 1, 1), one agent for the whole picture; "local": (N, C, h, w), one
#: per pixel or cell. Continuous entries lie in [-1, 1]; categorical ones are indices (integer), or the probabilities
#: of the choices (N, C, K, h, w), which stand for the mixture of their results.
Action: TypeAlias = Mapping[str, Tensor]

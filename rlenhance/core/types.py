"""Types that every layer names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

#: One entry per scope of agents. "global": (N, C, 1, 1), one agent for the whole picture; "local": (N, C, h, w), one
#: per pixel or cell. Continuous entries lie in [-1, 1]; categorical ones are indices (integer), or the probabilities
#: of the choices (N, C, K, h, w), which stand for the mixture of their results.
Action: TypeAlias = "Mapping[str, Tensor]"
#: The same for one picture without torch: continuous entries, (1, C, h, w).
ArrayAction: TypeAlias = "Mapping[str, np.ndarray]"

#: What a trained model is for.
Purpose = Literal["enhance", "denoise", "completion", "upscale", "restore"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

"""What every layer uses: errors, the registry, the image convention, tiling, devices, types, the version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import numpy as np

__version__ = "0.2.0"

#: What the agents of one picture do, one entry per scope. "global": (1, C, 1, 1), one agent for the whole picture;
#: "local": (1, C, h, w), one per pixel or cell. Entries lie in [-1, 1].
ArrayAction: TypeAlias = "Mapping[str, np.ndarray]"

#: What a trained model is for.
Purpose = Literal["enhance", "denoise", "completion", "upscale", "restore", "bracket"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

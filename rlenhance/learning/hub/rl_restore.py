"""RL-Restore's released networks, read from plain arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from rlenhance.learning.hub.plain_arrays import checked_arrays, read_npz
from rlenhance.learning.models.published.rl_restore import RLRestoreTool


@lru_cache(maxsize=32)
def read_tool(path: Path, number: int, changed: int) -> tuple[Callable[[np.ndarray], np.ndarray], int, str]:
    """Tool `number` (1 to 12) of a file that was changed last at a time: a function of planes (N, 3, H, W), its
    receptive radius, and the digest of the file.

    TensorFlow's kernels are (height, width, inputs, outputs), and the released code swaps height and width of its
    pictures: here the kernels are turned.
    """
    network = RLRestoreTool(deep=(number - 1) % 4 >= 2)
    own = network.state_dict()
    expected: dict[str, tuple[int, ...]] = {}
    names = [key.removesuffix(".bias") for key in own if key.endswith(".bias")]
    for name in names:
        outputs, inputs, height, width = own[f"{name}.weight"].shape
        place = name.removeprefix("layers.")
        expected |= {f"{place}.weights": (height, width, inputs, outputs), f"{place}.biases": (outputs,)}
    arrays = checked_arrays(path, read_npz(path), expected, f"it takes the arrays of the released tool{number:02d}")
    for name in names:
        place = name.removeprefix("layers.")
        own[f"{name}.weight"] = arrays[f"{place}.weights"].permute(3, 2, 1, 0)
        own[f"{name}.bias"] = arrays[f"{place}.biases"]
    network.load_state_dict(own)
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == 4:  # several times faster on a CPU
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def run(planes: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            images = torch.from_numpy(planes).contiguous(memory_format=torch.channels_last)
            return np.ascontiguousarray(network(images).numpy())

    return run, network.receptive_radius, hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()

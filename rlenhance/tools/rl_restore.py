"""RL-Restore's twelve released networks as tools; their weights are not shipped."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.engine.small_tools import RL_RESTORE
from rlenhance.tools.base import TOOLKITS, TOOLS, Tool, cost_of

if TYPE_CHECKING:
    from rlenhance.learning.models.published.rl_restore import RLRestoreTool

_LABELS = ("a weak blur reversed", "a blur reversed", "a strong blur reversed", "a very strong blur reversed",
           "weak noise taken out", "noise taken out", "strong noise taken out", "very strong noise taken out",
           "faint JPEG blocks removed", "JPEG blocks removed", "strong JPEG blocks removed",
           "very strong JPEG blocks removed")


@lru_cache(maxsize=32)
def _read(path: Path, number: int, changed: int) -> tuple[RLRestoreTool, str]:
    """The network of tool `number` (1 to 12), and the digest of its file, which was changed last at a time.

    TensorFlow's kernels are (height, width, inputs, outputs), and the released code swaps height and width of its
    pictures: here the kernels are turned.
    """
    try:
        import torch
    except ImportError as error:
        raise UsageError(f"RL-Restore's networks need torch: {install_line('train')}") from error
    from rlenhance.learning.hub.plain_arrays import checked_arrays, read_npz
    from rlenhance.learning.models.published.rl_restore import RLRestoreTool

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
    return network, hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def rl_restore_tool(number: int, path: Path | str | None) -> Tool:
    """One of the twelve.

    Args:
        number: 1 to 12 as published: 1 to 4 against blur, 5 to 8 noise, 9 to 12 JPEG.
        path: folder of the plain arrays, tool01.npz to tool12.npz.

    Raises:
        UsageError: no folder is given; the file is missing, damaged, or has other arrays.
    """
    name = RL_RESTORE[number - 1]
    if path is None:
        raise UsageError(f"the weights of {name} are not shipped: give path, the folder with RL-Restore's tool01.npz "
                         f"to tool12.npz")
    file = Path(path) / f"tool{number:02d}.npz"
    if not file.is_file():
        raise UsageError(f"{file}: no such file; path is the folder with RL-Restore's tool01.npz to tool12.npz")
    network, version = _read(file.absolute(), number, file.stat().st_mtime_ns)

    def run(planes: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            images = torch.from_numpy(planes).contiguous(memory_format=torch.channels_last)
            return np.ascontiguousarray(network(images).numpy())

    def apply(picture: np.ndarray) -> np.ndarray:
        return to_pixels(run(to_planes(picture)), np.float32)

    return Tool(name, _LABELS[number - 1], apply, cost_of(name), network.receptive_radius, batched=run, version=version)


def _register(number: int) -> None:
    TOOLS.register(RL_RESTORE[number - 1])(lambda path=None: rl_restore_tool(number, path))


for _number in range(1, len(RL_RESTORE) + 1):
    _register(_number)


@TOOLKITS.register("rl-restore")
def rl_restore_tools(path: Path | None = None) -> tuple[Tool, ...]:
    """The twelve, in the published order."""
    return tuple(rl_restore_tool(number, path) for number in range(1, len(RL_RESTORE) + 1))

"""RL-Restore's twelve released networks as tools; their weights are not shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.core.torch_parts import torch_part
from rlenhance.engine.small_tools import RL_RESTORE
from rlenhance.tools.base import TOOLKITS, TOOLS, Tool, cost_of

_LABELS = ("a weak blur reversed", "a blur reversed", "a strong blur reversed", "a very strong blur reversed",
           "weak noise taken out", "noise taken out", "strong noise taken out", "very strong noise taken out",
           "faint JPEG blocks removed", "JPEG blocks removed", "strong JPEG blocks removed",
           "very strong JPEG blocks removed")


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
    try:
        read_tool = torch_part("rl_restore")
    except ImportError as error:
        raise UsageError(f"RL-Restore's networks need torch: {install_line('train')}") from error
    run, radius, version = read_tool(file.absolute(), number, file.stat().st_mtime_ns)

    def apply(picture: np.ndarray) -> np.ndarray:
        return to_pixels(run(to_planes(picture)), np.float32)

    return Tool(name, _LABELS[number - 1], apply, cost_of(name), radius, batched=run, version=version)


def _register(number: int) -> None:
    TOOLS.register(RL_RESTORE[number - 1])(lambda path=None: rl_restore_tool(number, path))


for _number in range(1, len(RL_RESTORE) + 1):
    _register(_number)


@TOOLKITS.register("rl-restore")
def rl_restore_tools(path: Path | None = None) -> tuple[Tool, ...]:
    """The twelve, in the published order."""
    return tuple(rl_restore_tool(number, path) for number in range(1, len(RL_RESTORE) + 1))

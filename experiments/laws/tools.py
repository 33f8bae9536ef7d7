"""Laws of tools: what each entry of the registry makes of pictures. Tools whose weights are missing are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.law import law, require
from rlenhance.tools import TOOLS, Tool
from rlenhance.tools.named import trial_picture

_KIND = "tool"
_WIDEST = 40  # pixels of a radius up to which it is tried


def _loads(name: str, **config: Any) -> bool:
    """Whether the tool needs nothing that is not here."""
    try:
        TOOLS.create(name, **config)
    except UsageError as error:
        if "not shipped" not in str(error):
            raise
        return False
    return True


def _is_local(name: str, **config: Any) -> bool:
    return _loads(name, **config) and _local(TOOLS.create(name, **config))


def _local(tool: Tool) -> bool:
    return tool.radius is not None and tool.radius <= _WIDEST


@law(_KIND, _loads)
def pictures_stay_pictures(name: str, **config: Any) -> None:
    """A picture of any size becomes one of that size with values in [0, 1]; the one that was given stays as it was."""
    tool = TOOLS.create(name, **config)
    for picture in (trial_picture(40)[:, :33], trial_picture(9)[:1], np.zeros((8, 8, 3), np.float32),
                    np.ones((17, 16, 3), np.float32)):
        kept = picture.copy()
        result = tool(picture)
        require(result.shape == picture.shape and result.dtype == np.float32,
                f"{picture.shape} became {result.shape} {result.dtype}")
        require(result.min() >= 0 and result.max() <= 1, f"values reach from {result.min():.3g} to {result.max():.3g}")
        require(np.array_equal(picture, kept), "it writes into the picture that it is given")


@law(_KIND, _loads)
def results_repeat(name: str, **config: Any) -> None:
    """A deterministic tool gives the same result each time, and says of which version it is."""
    tool, picture = TOOLS.create(name, **config), trial_picture(24)
    require(not tool.deterministic or np.array_equal(tool(picture), tool(picture)),
            "the second result differs; declare it with deterministic=False")


@law(_KIND, _loads)
def a_batch_is_its_pictures(name: str, **config: Any) -> None:
    """A batch gives what each of its pictures gives alone, and no gradient."""
    tool, pictures = TOOLS.create(name, **config), (trial_picture(24), 1 - trial_picture(24))
    results = tool.batch(torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()))
    require(not results.requires_grad and not results.is_inference(), "the result has a gradient")
    for picture, result in zip(pictures, results, strict=True):
        if tool.deterministic:
            far = np.abs(tool(picture) - result.numpy().transpose(1, 2, 0)).max()
            require(far < 2e-5, f"alone and in the batch differ by {far:.3g}")


@law(_KIND, _is_local)
def nothing_beyond_the_radius_has_influence(name: str, **config: Any) -> None:
    """Where a pixel changes, no pixel of the result beyond the radius moves."""
    tool = TOOLS.create(name, **config)
    radius = tool.radius or 0
    picture = trial_picture(2 * radius + 32)
    changed = picture.copy()
    changed[8:12, 8:12] = 1 - changed[8:12, 8:12]
    moved = np.abs(tool(picture) - tool(changed)).max(axis=2) > 1e-5
    end = 12 + radius
    require(moved.any() and not moved[end:].any() and not moved[:, end:].any(), f"the radius is more than {radius}")

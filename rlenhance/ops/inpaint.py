"""Inpainting without a trained model: `INPAINT_METHODS["laplace"](picture, mask)`.

Every method takes a picture (H, W, 3) float32 in [0, 1] and a mask (H, W) bool, True where pixels are missing, and
returns the completed picture. Pixels outside the mask do not change by a bit. Each raises a UsageError for another
shape, values outside [0, 1], or a mask that covers the whole picture. For tensors:
`rlenhance.learning.ops.masked_tensors.on_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes
from rlenhance.core.registry import Registry
from rlenhance.ops.harmonic_fill import harmonic_fill
from rlenhance.ops.patchmatch import patchmatch_fill

#: Inpainting methods by name: (picture, mask) -> picture.
INPAINT_METHODS: Registry[Callable[[np.ndarray, np.ndarray], np.ndarray]] = Registry("inpainting method")


@INPAINT_METHODS.register("laplace")
def laplace(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Harmonic interpolation from the border of the mask, see `rlenhance.ops.harmonic_fill`.

    Args:
        picture: (H, W, 3) float32 in [0, 1].
        mask: (H, W) bool, True where pixels are missing.

    Raises:
        UsageError: see the module.

    Example:
        >>> picture, mask = np.full((8, 8, 3), 0.5, np.float32), np.zeros((8, 8), bool)
        >>> mask[2:5, 2:5] = True
        >>> bool(np.allclose(laplace(picture * ~mask[..., None], mask), picture, atol=1e-3))
        True
    """
    _check(picture, mask)
    return harmonic_fill(picture, mask).clip(0, 1)


@INPAINT_METHODS.register("telea")
def telea(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting by fast marching, radius 3, in 8 bits. Source: Telea 2004."""
    return _by_opencv(picture, mask, cv2.INPAINT_TELEA)


@INPAINT_METHODS.register("navier-stokes")
def navier_stokes(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting by fluid dynamics, radius 3, in 8 bits. Source: Bertalmio, Bertozzi and Sapiro 2001."""
    return _by_opencv(picture, mask, cv2.INPAINT_NS)


def _by_opencv(picture: np.ndarray, mask: np.ndarray, method: int) -> np.ndarray:
    _check(picture, mask)
    filled = cv2.inpaint(np.rint(picture * 255).astype(np.uint8), mask.astype(np.uint8), 3, method)
    return np.where(mask[..., None], filled.astype(np.float32) / 255, picture)


@INPAINT_METHODS.register("patches")
def patches(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Patches of the picture itself, copied so that they fit each other and the border (`rlenhance.ops.patchmatch`)."""
    return patchmatch_fill(laplace(picture, mask), mask)


def _check(picture: np.ndarray, mask: np.ndarray) -> None:
    check_planes(picture[None].transpose(0, 3, 1, 2))
    if mask.shape != picture.shape[:2]:
        raise UsageError(f"mask must be {picture.shape[:2]}, True where pixels are missing; got {mask.shape}")
    if mask.all():
        raise UsageError("the mask covers the whole picture: nothing is left to continue from")


def find_method(name: object) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """The method of that name, in any case, with hyphens or underscores; None where there is none."""
    word = str(name).lower().replace("_", "-")
    return next((INPAINT_METHODS[known] for known in INPAINT_METHODS if known == word), None)

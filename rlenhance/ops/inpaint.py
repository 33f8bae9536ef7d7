"""Inpainting without a trained model: `INPAINT_METHODS["laplace"](image, mask)`.

Every method takes an image (N, 3, H, W) in [0, 1] and a mask (N, 1, H, W), 1 where pixels are missing, and returns the
completed image. Pixels outside the mask do not change by a bit. Each raises a UsageError for an image outside the
convention, a mask of another shape, or one that covers a whole image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.image import check_image, to_array, to_tensor
from rlenhance.core.registry import Registry
from rlenhance.ops.harmonic_fill import harmonic_correction
from rlenhance.ops.masks import check_mask, composite
from rlenhance.ops.patchmatch import patchmatch_fill

#: Inpainting methods by name: (image, mask) -> image.
INPAINT_METHODS: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("inpainting method")


@INPAINT_METHODS.register("laplace")
def laplace(image: Tensor, mask: Tensor) -> Tensor:
    """Harmonic interpolation from the border of the mask, see `rlenhance.ops.harmonic_fill`.

    Args:
        image: (N, 3, H, W) in [0, 1].
        mask: (N, 1, H, W), 1 where pixels are missing.

    Raises:
        UsageError: an image outside the convention, a mask of another shape, or one that covers a whole image.

    Example:
        >>> image, mask = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 1, 8, 8)
        >>> mask[..., 2:5, 2:5] = 1
        >>> torch.allclose(laplace(image * (1 - mask), mask), image, atol=1e-3)
        True
    """
    check_image(image)
    mask = check_mask(mask, image)
    return composite(harmonic_correction(image, mask).clamp(0, 1), image, mask)


@INPAINT_METHODS.register("telea")
def telea(image: Tensor, mask: Tensor) -> Tensor:
    """OpenCV's inpainting by fast marching, radius 3, in 8 bits. Source: Telea 2004."""
    return _by_opencv(image, mask, cv2.INPAINT_TELEA)


@INPAINT_METHODS.register("navier-stokes")
def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """OpenCV's inpainting by fluid dynamics, radius 3, in 8 bits. Source: Bertalmio, Bertozzi and Sapiro 2001."""
    return _by_opencv(image, mask, cv2.INPAINT_NS)


def _by_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    check_image(image)
    mask = check_mask(mask, image)
    filled = [to_tensor(np.asarray(cv2.inpaint(to_array(one), (hole[0] > 0).to(torch.uint8).cpu().numpy(), 3, method)),
                        image.device) for one, hole in zip(image, mask, strict=True)]
    return composite(torch.cat(filled).to(image), image, mask)


@INPAINT_METHODS.register("patches")
def patches(image: Tensor, mask: Tensor) -> Tensor:
    """Patches of the image itself, copied so that they fit each other and the border (`rlenhance.ops.patchmatch`)."""
    check_image(image)
    mask = check_mask(mask, image)
    begin = laplace(image, mask)
    filled = [patchmatch_fill(one, hole) for one, hole in zip(begin[:, None], mask[:, None], strict=True)]
    return composite(torch.cat(filled), image, mask)


def find_method(name: object) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The method of that name, in any case, with hyphens or underscores; None where there is none."""
    word = str(name).lower().replace("_", "-")
    return next((INPAINT_METHODS[known] for known in INPAINT_METHODS if known == word), None)

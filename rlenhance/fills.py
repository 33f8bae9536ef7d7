"""What is put into a hole without having learned anything: (N, 3, H, W) and its mask in, the same picture out, whole.

    fill = FILLS["laplace"]
    completed = fill(image, mask)

Outside the mask not a bit differs.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.errors import UsageError
from rlenhance.holes import check_mask, compose
from rlenhance.images import check_image, to_array, to_tensor
from rlenhance.patches import copy_patches
from rlenhance.registry import Registry

#: Fills by name: (image, mask) -> image.
FILLS = Registry("fill")

_COARSEST = 8  # shorter side of the coarsest level of a membrane, at least half of this
_STEPS, _STEPS_COARSE = 40, 200  # conjugate gradients per level; on the coarsest one
_CLOSE = 2e-4  # largest residual, on the scale of [0, 1], at which a level is done


@FILLS.register("laplace")
def laplace(image: Tensor, mask: Tensor) -> Tensor:
    """A membrane that hangs in the hole from its border: every missing pixel is the mean of its four neighbours.

    Solved by conjugate gradients from coarse to fine. At the picture's own border the membrane is free.

    Args:
        image: (N, 3, H, W) in [0, 1].
        mask: (N, 1, H, W), 1 where pixels are missing.

    Raises:
        UsageError: no picture, a mask that does not fit, or one that leaves nothing.

    Source: cascadic multigrid (Bornemann and Deuflhard 1996).

    Example:
        >>> image, mask = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 1, 8, 8)
        >>> mask[..., 2:5, 2:5] = 1
        >>> torch.allclose(laplace(image * (1 - mask), mask), image, atol=1e-3)
        True
    """
    check_image(image)
    mask = check_mask(mask, image)
    return compose(membrane(image, mask).clamp(0, 1), image, mask)


def membrane(values: Tensor, mask: Tensor) -> Tensor:
    """The same for any numbers: (N, C, H, W), solved where the mask (N, 1, H, W) is 1, the others stay."""
    if not bool((mask > 0).any()):
        return values
    rows, columns = (_around(mask.amax(dim=(0, 1, other))) for other in (3, 2))
    result = values.clone()
    result[..., rows, columns] = _hung(values[..., rows, columns], mask[..., rows, columns])
    return result


def _hung(values: Tensor, mask: Tensor) -> Tensor:
    """The membrane over all that is given, from half its size on."""
    height, width = values.shape[-2:]
    if min(height, width) <= _COARSEST:
        known = (1 - mask).sum(dim=(2, 3), keepdim=True).clamp(min=1)
        mean = (values * (1 - mask)).sum(dim=(2, 3), keepdim=True) / known
        return _relaxed(torch.where(mask > 0, mean, values), mask, _STEPS_COARSE)
    even = F.pad(values, (0, width % 2, 0, height % 2), mode="replicate")
    hole = F.pad(mask, (0, width % 2, 0, height % 2), mode="replicate")
    share = F.avg_pool2d(1 - hole, 2)
    small = F.avg_pool2d(even * (1 - hole), 2) / share.clamp(min=0.25)
    coarse = _hung(small, (share == 0).to(values))
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return _relaxed(torch.where(mask > 0, fine, values), mask, _STEPS)


def _relaxed(values: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Some steps of conjugate gradients on the missing pixels' equations."""
    degree = _neighbours(torch.ones_like(mask[:1]))

    def operate(part: Tensor) -> Tensor:
        return mask * (degree * part - _neighbours(part))

    residual = mask * (_neighbours(values) - degree * values)
    direction, change = residual, torch.zeros_like(values)
    energy = (residual**2).sum(dim=(2, 3), keepdim=True)
    for _ in range(steps):
        if float(residual.detach().abs().max()) < _CLOSE:
            break
        image_of = operate(direction)
        step = energy / (direction * image_of).sum(dim=(2, 3), keepdim=True).clamp(min=1e-20)
        change, residual = change + step * direction, residual - step * image_of
        after = (residual**2).sum(dim=(2, 3), keepdim=True)
        direction, energy = residual + after / energy.clamp(min=1e-20) * direction, after
    return values + change


def _around(there: Tensor) -> slice:
    """Where anything is missing along a side, and a pixel more at both ends."""
    places = there.nonzero()[:, 0]
    return slice(max(0, int(places[0]) - 1), int(places[-1]) + 2) if len(places) else slice(0, 1)


def _neighbours(values: Tensor) -> Tensor:
    """Sum of the four neighbours; beyond the picture there are none."""
    total = torch.zeros_like(values)
    total[..., 1:, :] += values[..., :-1, :]
    total[..., :-1, :] += values[..., 1:, :]
    total[..., :, 1:] += values[..., :, :-1]
    total[..., :, :-1] += values[..., :, 1:]
    return total


@FILLS.register("telea")
def telea(image: Tensor, mask: Tensor) -> Tensor:
    """OpenCV's inpainting by fast marching, radius 3, in 8 bits. Source: Telea 2004."""
    return _by_opencv(image, mask, cv2.INPAINT_TELEA)


@FILLS.register("navier-stokes")
def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """OpenCV's inpainting by fluid dynamics, radius 3, in 8 bits. Source: Bertalmio, Bertozzi and Sapiro 2001."""
    return _by_opencv(image, mask, cv2.INPAINT_NS)


def _by_opencv(image: Tensor, mask: Tensor, method: int) -> Tensor:
    check_image(image)
    mask = check_mask(mask, image)
    filled = [to_tensor(np.asarray(cv2.inpaint(to_array(one), (hole[0] > 0).to(torch.uint8).cpu().numpy(), 3, method)),
                        image.device) for one, hole in zip(image, mask, strict=True)]
    return compose(torch.cat(filled).to(image), image, mask)


@FILLS.register("patches")
def patches(image: Tensor, mask: Tensor) -> Tensor:
    """Pieces of the picture itself, copied so that they fit each other and the border: see `rlenhance.patches`."""
    check_image(image)
    mask = check_mask(mask, image)
    begin = laplace(image, mask)
    filled = [copy_patches(one, hole) for one, hole in zip(begin.split(1), mask.split(1), strict=True)]
    return compose(torch.cat(filled), image, mask)


def find_fill(name: str) -> str:
    """Give back the name of a fill, in small letters, with hyphens.

    Raises:
        UsageError: there is none of that name.
    """
    word = name.lower().replace("_", "-")
    if word not in FILLS:
        raise UsageError(f"no fill is called {name!r}; there are {', '.join(FILLS)}")
    return word

"""Harmonic inpainting: Laplace's equation inside a mask, solved exactly or nearly so."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError

_LARGEST = 512  # longest side in pixels of a rectangle that is solved by dense matrices
_COARSEST = 16  # pixels: below, nothing is halved any more
_ROUNDS = 120  # of conjugate gradients on each size


def harmonic_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The image with every missing pixel at the mean of its neighbours; no flux passes the borders of the image.

    Rectangles that do not touch are solved exactly, by their eigenvectors; other masks by conjugate gradients from a
    coarse solution, to less than a 255th.

    Args:
        image: (N, C, H, W), any range; its values inside the mask are ignored.
        mask: (N, 1, H, W), 1 where pixels are missing. Every image has a pixel outside its mask.

    Returns:
        (N, C, H, W); pixels outside the mask are not changed.

    Raises:
        UsageError: a mask of another shape.

    Source: Laplace's equation with the five-point stencil, as in Perez, Gangnet and Blake 2003, section 2, without
    guidance.

    Example:
        >>> mask = torch.zeros(1, 1, 8, 8)
        >>> mask[..., 2:5, 2:5] = 1
        >>> ramp = torch.arange(8.0).expand(1, 3, 8, 8)
        >>> torch.allclose(harmonic_fill(ramp * (1 - mask), mask), ramp, atol=1e-5)
        True
    """
    if mask.shape != (image.shape[0], 1, *image.shape[2:]):
        raise UsageError(f"mask must be {(image.shape[0], 1, *image.shape[2:])}, 1 where pixels are missing; got "
                         f"{tuple(mask.shape)}")
    with torch.autocast(image.device.type, enabled=False):  # 16 bits are not enough for sums over a whole mask
        return _filled(image, mask)


def harmonic_correction(values: Tensor, mask: Tensor) -> Tensor:
    """`harmonic_fill` of the bounding box of the mask alone: values (N, C, H, W), mask (N, 1, H, W)."""
    rows, columns = (_around(mask.amax(dim=(0, 1, other))) for other in (3, 2))
    result = values.clone()
    result[..., rows, columns] = harmonic_fill(values[..., rows, columns], mask[..., rows, columns])
    return result


def _around(there: Tensor) -> slice:
    """Bounding range of the missing pixels along a side, and a pixel more at both ends."""
    places = there.nonzero()[:, 0]
    return slice(max(0, int(places[0]) - 1), int(places[-1]) + 2) if len(places) else slice(0, 1)


def _filled(image: Tensor, mask: Tensor) -> Tensor:
    result, others = image.clone(), []
    for index, hole in enumerate((mask[:, 0] > 0.5).to("cpu", torch.uint8).numpy()):
        boxes = _rectangles(hole)
        if boxes is None:
            others.append(index)
        for rows, columns in boxes or ():
            result[index, :, rows, columns] = _exact(image[index], rows, columns)
    if others:
        result[others] = _solved(image[others], (mask[others] > 0.5).to(image))
    return result


def _rectangles(hole: np.ndarray) -> list[tuple[slice, slice]] | None:
    """Rows and columns of the connected components where all of them are rectangles, else None."""
    count, _, found, _ = cv2.connectedComponentsWithStats(hole, connectivity=4)
    parts = found[1:count].tolist()
    if any(width * height != area or max(width, height) > _LARGEST for _, _, width, height, area in parts):
        return None
    return [(slice(top, top + height), slice(left, left + width)) for left, top, width, height, _ in parts]


def _exact(image: Tensor, rows: slice, columns: slice) -> Tensor:
    """The solution inside one rectangle: (C, H, W) -> (C, h, w)."""
    height, width = image.shape[-2:]
    known = image.new_zeros(image.shape[0], rows.stop - rows.start, columns.stop - columns.start)
    ends = rows.start > 0, rows.stop < height, columns.start > 0, columns.stop < width
    if ends[0]:
        known[:, 0] += image[:, rows.start - 1, columns]
    if ends[1]:
        known[:, -1] += image[:, rows.stop, columns]
    if ends[2]:
        known[:, :, 0] += image[:, rows, columns.start - 1]
    if ends[3]:
        known[:, :, -1] += image[:, rows, columns.stop]
    (down, left), (across, right) = (_modes(length, *pair) for length, pair in
                                     ((known.shape[1], ends[:2]), (known.shape[2], ends[2:])))
    left, right = left.to(known), right.to(known)
    sums = (down[:, None] + across[None]).to(known)
    return left @ ((left.T @ known @ right) / sums) @ right.T


@lru_cache(maxsize=256)
def _modes(length: int, before: bool, after: bool) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the second difference of a row whose ends are fixed or free."""
    with torch.inference_mode(False):  # cached tensors must serve every mode
        matrix = 2 * torch.eye(length, dtype=torch.float64)
        matrix -= torch.diag(torch.ones(length - 1, dtype=torch.float64), 1)
        matrix -= torch.diag(torch.ones(length - 1, dtype=torch.float64), -1)
        matrix[0, 0] -= 0 if before else 1
        matrix[-1, -1] -= 0 if after else 1
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors


def _solved(image: Tensor, mask: Tensor) -> Tensor:
    """The solution for masks of any shape: conjugate gradients, started from the solution at half the size."""
    height, width = image.shape[-2:]
    image = torch.where(mask > 0.5, 0.0, image)
    if min(height, width) > _COARSEST:
        share = F.avg_pool2d(1 - mask, 2, ceil_mode=True, count_include_pad=False)
        small = F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False) / share.clamp(min=0.25)
        missing = (share <= 0).to(image)
        if bool((missing.amin(dim=(1, 2, 3)) == 0).all()):
            small = _solved(small, missing)
        start = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    else:
        start = (image.sum(dim=(2, 3), keepdim=True) / (1 - mask).sum(dim=(2, 3), keepdim=True)).expand_as(image)
    degree = _beside(torch.ones_like(mask))
    guess = torch.where(mask > 0.5, start, 0.0)
    rest = mask * (_beside(image) - (degree * guess - _beside(guess)))
    way, size = rest, (rest * rest).sum(dim=(2, 3), keepdim=True)
    for _ in range(_ROUNDS):
        turned = mask * (degree * way - _beside(way))
        step = size / (way * turned).sum(dim=(2, 3), keepdim=True).clamp(min=1e-20)
        guess, rest = guess + step * way, rest - step * turned
        before, size = size, (rest * rest).sum(dim=(2, 3), keepdim=True)
        if bool((size < 1e-10 * mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)).all()):
            break
        way = rest + size / before.clamp(min=1e-20) * way
    return torch.where(mask > 0.5, guess, image)


def _beside(maps: Tensor) -> Tensor:
    """The sum of the four neighbours; outside the image they count as 0."""
    padded = F.pad(maps, (1, 1, 1, 1))
    return padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]

"""Scores of whole photographs, band by band, so that a large one needs little memory."""

from __future__ import annotations

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import area_means, bands, reduced_by_area
from rlenhance.engine.scores import SSIM_RADIUS, Scored, costs, ssim_map
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

#: Longer side in pixels of the picture on which the reward terms are computed.
SIDE = 512
_MOST_PIXELS = 1 << 24  # of which area means are taken at once
_BAND = 256  # rows at a time


def with_reference(picture: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The scores of a photograph against its reference.

    Args:
        picture, reference: (H, W, 3) uint8 or uint16 (each at its own depth), of one size.

    Returns:
        "psnr" in dB over all pixels and channels (equal ones score 100), "ssim" (Wang et al. 2004, as `metrics.ssim`),
        "gt_mean_psnr", the PSNR once the picture was scaled to the reference's mean: never to be quoted as PSNR.

    Raises:
        UsageError: two sizes.
    """
    if picture.shape != reference.shape:
        (height, width), (other_height, other_width) = picture.shape[:2], reference.shape[:2]
        raise UsageError(f"{width}x{height} pixels, but its reference has {other_width}x{other_height}")
    gain = reference.mean() / _top(reference) / max(picture.mean() / _top(picture), 1e-6)
    errors, similar, counted = np.zeros(2), 0.0, 0
    border = SSIM_RADIUS if min(picture.shape[:2]) > 2 * SSIM_RADIUS else 0  # is left out
    inside = picture.shape[0] - 2 * border
    for rows in bands(inside, _BAND if border else inside):  # borders are reflected: without one, a single band
        one, other = (_scaled(part[rows.start : rows.stop + 2 * border]) for part in (picture, reference))
        inner = ssim_map(one, other)[border : border + rows.stop - rows.start, border : picture.shape[1] - border]
        similar, counted = similar + inner.sum(dtype=np.float64), counted + inner.size
    for rows in bands(picture.shape[0], _BAND):
        one, other = (_scaled(part[rows]).astype(np.float64) for part in (picture, reference))
        errors += [((scaled - other) ** 2).sum() for scaled in (one, (one * gain).clip(0, 1))]
    psnr, gt_mean = (-10 * np.log10(np.maximum(errors / picture.size, 1e-10))).tolist()
    return {"psnr": psnr, "ssim": float(similar / counted), "gt_mean_psnr": gt_mean}


def _top(picture: np.ndarray) -> int:
    return int(np.iinfo(picture.dtype).max)


def _scaled(picture: np.ndarray) -> np.ndarray:
    """In [0, 1], float32."""
    return picture.astype(np.float32) / np.float32(_top(picture))


def without_reference(picture: np.ndarray, origin: np.ndarray | None = None,
                      exposure: float = DEFAULT_EXPOSURE) -> dict[str, float]:
    """The scores of a photograph without a reference.

    Args:
        picture: (H, W, 3) uint8 or uint16.
        origin: the photograph that it was made of, of the same size; terms that compare with it are left out without.
        exposure: the level that the exposure terms aim at.

    Returns:
        "level", the mean of its values in [0, 1]; and the costs of the reward terms that need no reference
        (docs/reference/rewards.md), at `SIDE` pixels: less is better.

    Raises:
        UsageError: two sizes.
    """
    if origin is not None and origin.shape != picture.shape:
        raise UsageError(f"{picture.shape[1]}x{picture.shape[0]} pixels, but its original has "
                         f"{origin.shape[1]}x{origin.shape[0]}")
    image = _reduced(picture)
    level = float(np.rint(image.astype(np.float64) * 255).mean() / 255)
    scored = Scored(image, image if origin is None else _reduced(origin), exposure)
    return {"level": level, **costs(scored, relative=origin is not None)}


def _reduced(picture: np.ndarray) -> np.ndarray:
    """With a longer side of at most `SIDE` pixels: (h, w, 3) float32 in [0, 1]."""
    sides, scale = picture.shape[:2], SIDE / max(picture.shape[:2])
    if scale >= 1:
        return _scaled(picture)
    small = reduced_by_area(picture, _MOST_PIXELS)
    return area_means(small if small is not picture else _scaled(small),
                      (max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))))

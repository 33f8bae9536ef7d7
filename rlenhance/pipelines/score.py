"""Scores of whole photographs, band by band, so that a large one needs little memory."""

from __future__ import annotations

import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.image import limit_side, to_tensor
from rlenhance.core.tiling import bands
from rlenhance.metrics.full_reference import mean_level, ssim_map
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE
from rlenhance.rewards import TERMS, Transition

#: Longer side in pixels of the picture on which the reward terms are computed.
SIDE = 512
_BAND, _BORDER = 256, 5  # rows at a time; radius of SSIM's window, which is left out along the border


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
    border = _BORDER if min(picture.shape[:2]) > 2 * _BORDER else 0
    inside = picture.shape[0] - 2 * border
    for rows in bands(inside, _BAND if border else inside):  # borders are reflected: without one, a single band
        one, other = (to_tensor(part[rows.start : rows.stop + 2 * border]) for part in (picture, reference))
        inner = ssim_map(one, other)[..., border : border + rows.stop - rows.start, border : picture.shape[1] - border]
        similar, counted = similar + inner.double().sum().item(), counted + inner.numel()
    for rows in bands(picture.shape[0], _BAND):
        one, other = (to_tensor(part[rows]).double() for part in (picture, reference))
        errors += [((scaled - other) ** 2).sum().item() for scaled in (one, (one * gain).clamp(0, 1))]
    psnr, gt_mean = (-10 * np.log10(np.maximum(errors / picture.size, 1e-10))).tolist()
    return {"psnr": psnr, "ssim": similar / counted, "gt_mean_psnr": gt_mean}


def _top(picture: np.ndarray) -> int:
    return int(np.iinfo(picture.dtype).max)


class _Followed(Transition):
    """A transition that records whether a term reads its initial picture."""

    looked = False

    def __getattribute__(self, name: str) -> object:
        if name == "initial":
            object.__setattr__(self, "looked", True)
        return object.__getattribute__(self, name)


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
    with torch.inference_mode():
        image = limit_side(to_tensor(picture), SIDE)
        before = image if origin is None else limit_side(to_tensor(origin), SIDE)
        level = torch.full((1, 1, 1, 1), float(exposure))
        scores = {"level": mean_level(image).item()}
        for name in TERMS:
            term = TERMS[name]
            if term.kind != "state" or term.reference:
                continue
            transition = _Followed(image, image, before, image.new_zeros(1, 1, 1, 1), {"exposure_level": level})
            cost = term.cost(image, transition).mean().item()
            if origin is not None or not transition.looked:
                scores[name] = cost
    return scores

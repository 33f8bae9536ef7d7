"""Metrics of an image, with and without a reference.

Images and references are (N, 3, H, W) in [0, 1]; a metric gives one number per image, (N,), if nothing else is said.
Metrics that compare two images raise a UsageError where their shapes differ.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.arrays import brightness
from rlenhance.core.errors import UsageError
from rlenhance.learning.ops.image import area_means

#: Regions along each side over which contrast and evenness are measured, for any size of the image.
CELLS = 16


def _check_pair(image: Tensor, target: Tensor) -> None:
    if image.shape != target.shape:
        raise UsageError(f"picture {tuple(image.shape)} and reference {tuple(target.shape)} differ in shape")


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, peak 1, over all pixels and channels: (N,); equal images score 100."""
    _check_pair(image, target)
    error = ((image - target) ** 2).mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()


def masked_psnr(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB over the pixels where the mask (N, 1, H, W) is 1: (N,); an empty mask scores 100."""
    _check_pair(image, target)
    error = ((image - target) ** 2 * mask).sum(dim=(1, 2, 3)) / (image.shape[1] * mask.sum(dim=(1, 2, 3))).clamp(min=1)
    return -10 * error.clamp(min=1e-10).log10()


#: What SSIM's window may see beyond the border.
SSIM_PADDINGS = ("reflect", "zeros", "none")
_RADIUS, _SIGMA = 5, 1.5  # of SSIM's window
_FLAT = 1e-12  # squares below it are zeros that were rounded
_DENSE = 1024  # longest side in pixels up to which a blur is a product with a matrix: many times faster on a CPU


def _window(radius: int) -> Tensor:
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return weights / weights.sum()


def _pad_mode(size: int, radius: int, zeros: bool) -> str:
    # reflecting needs more pixels than the radius
    return "constant" if zeros else "reflect" if size > radius else "replicate"


@lru_cache(maxsize=16)
def _blur_matrix(size: int, radius: int, zeros: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(size, size): the blur of a row of pixels, borders included, as a matrix."""
    with torch.inference_mode(False):  # a cached tensor must serve every mode
        one = torch.eye(size, dtype=torch.float64)[:, None]
        rows = F.pad(one, (radius, radius), mode=_pad_mode(size, radius, zeros))
        return F.conv1d(rows, _window(radius)[None, None])[:, 0].T.contiguous().to(device, dtype)


def _blur(images: Tensor, radius: int, zeros: bool = False) -> Tensor:
    """SSIM's Gaussian window over (N, C, H, W), the same size, borders reflected, or 0 beyond them."""
    height, width = images.shape[-2:]
    if max(height, width) <= _DENSE:
        down, across = (_blur_matrix(size, radius, zeros, images.device, images.dtype) for size in (height, width))
        return down @ images @ across.T
    channels, window = images.shape[1], _window(radius).to(images)
    images = F.pad(images, (radius, radius, 0, 0), mode=_pad_mode(width, radius, zeros))
    images = F.pad(images, (0, 0, radius, radius), mode=_pad_mode(height, radius, zeros))
    images = F.conv2d(images, window.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(images, window.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _moments(image: Tensor, target: Tensor, radius: int, zeros: bool = False) -> tuple[Tensor, ...]:
    """Local means of x, y, x^2, y^2 and x y, (N, C, H, W) each.

    Raises:
        UsageError: the shapes differ.
    """
    _check_pair(image, target)
    return _blur(torch.cat([image, target, image * image, target * target, image * target]), radius, zeros).chunk(5)


def _inner_mean(maps: Tensor) -> Tensor:
    """Mean without `_RADIUS` border pixels, if there are others: (N, C, H, W) -> (N,)."""
    if min(maps.shape[-2:]) > 2 * _RADIUS:
        maps = maps[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    return maps.mean(dim=(1, 2, 3))


def ssim_map(image: Tensor, target: Tensor, radius: int = _RADIUS, padding: str = "reflect") -> Tensor:
    """Structural similarity at every pixel and channel: (N, C, H, W).

    Args:
        image, target: (N, C, H, W) in [0, 1].
        radius: of the window in pixels; 5 is the usual window of 11 pixels.
        padding: what stands beyond the border: "reflect"; "zeros"; or "none", and `radius` border pixels are left out.

    Raises:
        UsageError: the shapes differ; another padding.

    Source: Wang et al. 2004, equation 13: Gaussian window of 11 pixels, deviation 1.5, K1 = 0.01, K2 = 0.03.
    """
    if padding not in SSIM_PADDINGS:
        raise UsageError(f"padding is one of {', '.join(SSIM_PADDINGS)}; got {padding!r}")
    moments = _moments(image, target, radius, padding == "zeros")
    if padding == "none":
        moments = tuple(part[..., radius:-radius, radius:-radius] for part in moments)
    mean_x, mean_y, xx, yy, xy = moments
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity: the mean of `ssim_map` without five border pixels, as in scikit-image: (N,)."""
    return _inner_mean(ssim_map(image, target))


def uqi(image: Tensor, target: Tensor) -> Tensor:
    """Universal image quality index: `ssim` without its constants, so that dark and flat places count as others do.

    Where both images are flat only their means are compared. 1 is the same image; computed in float64.

    Source: Wang and Bovik 2002, equation 2, under SSIM's Gaussian window.
    """
    mean_x, mean_y, xx, yy, xy = _moments(image.double(), target.double(), _RADIUS)
    means, spread = mean_x**2 + mean_y**2, (xx - mean_x**2).clamp(min=0) + (yy - mean_y**2).clamp(min=0)
    level = torch.where(means > _FLAT, 2 * mean_x * mean_y / means.clamp(min=_FLAT), 1.0)
    structure = torch.where(spread > _FLAT, 2 * (xy - mean_x * mean_y) / spread.clamp(min=_FLAT), 1.0)
    return _inner_mean(level * structure).float()


def match_mean(image: Tensor, target: Tensor) -> Tensor:
    """The image scaled to the reference's mean brightness, (N, 3, H, W) in [0, 1]: for GT-mean scores only."""
    gain = target.mean(dim=(1, 2, 3), keepdim=True) / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return (image * gain).clamp(0, 1)


def gt_mean_psnr(image: Tensor, target: Tensor) -> Tensor:
    """PSNR in dB after the image was scaled to the reference's mean. Never to be quoted as PSNR."""
    return psnr(match_mean(image, target), target)


def _variation(maps: Tensor) -> Tensor:
    """Mean absolute difference between neighbours, across plus down: (N, C, H, W) -> (N,)."""
    across = (maps[..., :, 1:] - maps[..., :, :-1]).abs().mean(dim=(1, 2, 3))
    down = (maps[..., 1:, :] - maps[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down


def sharpness_ratio(image: Tensor, target: Tensor) -> Tensor:
    """Mean gradient of the brightness over the reference's, at equal mean brightness: 1 is as sharp, less is blurred.

    Noise counts as sharpness.
    """
    _check_pair(image, target)
    return _variation(brightness(match_mean(image, target))) / _variation(brightness(target)).clamp(min=1e-6)


def detail_kept(image: Tensor, target: Tensor) -> Tensor:
    """Share of the reference's fine detail that the image keeps: 1 is all of it, 0 is none, blur is between.

    The differences of the brightness between neighbours are projected on those of the reference: the sum of the
    products over the sum of the squares. Noise, which is independent of the detail, does not raise it.
    """
    _check_pair(image, target)
    ours, theirs = brightness(image), brightness(target)
    pairs = [(ours.diff(dim=side), theirs.diff(dim=side)) for side in (2, 3)]
    shared = sum((a * b).sum(dim=(1, 2, 3)) for a, b in pairs)
    whole = sum((b * b).sum(dim=(1, 2, 3)) for _, b in pairs)
    return shared / torch.as_tensor(whole).clamp(min=1e-12)


def newly_clipped(image: Tensor, source: Tensor) -> Tensor:
    """Share of the pixels with a channel at 250/255 or above that was below 240/255 in the source."""
    _check_pair(image, source)
    burnt = (image >= 250 / 255 - 1e-6) & (source < 240 / 255)
    return burnt.any(dim=1).float().mean(dim=(1, 2))


def mean_level(image: Tensor) -> Tensor:
    """Mean of the 8-bit sRGB values, divided by 255: in [0, 1]."""
    return (image.double() * 255).round().mean(dim=(1, 2, 3)) / 255


def _cell_levels(image: Tensor) -> Tensor:
    return area_means(brightness(image), (CELLS, CELLS))


def relative_contrast(image: Tensor) -> Tensor:
    """Standard deviation of the mean brightness of 16x16 cells, divided by the mean brightness; black scores 0."""
    level = _cell_levels(image).flatten(1)
    return level.std(dim=1, correction=0) / level.mean(dim=1).clamp(min=1e-6)


def relative_color(image: Tensor) -> Tensor:
    """Mean of the largest minus the smallest channel, divided by the mean brightness: 0 for grey, 3 at most."""
    spread = (image.amax(dim=1) - image.amin(dim=1)).mean(dim=(1, 2))
    return spread / image.mean(dim=(1, 2, 3)).clamp(min=1e-6)


def highlight_protection(image: Tensor) -> Tensor:
    """Minus the mean brightness of the brightest 5 % of the pixels: from -1 (all white) to 0."""
    level = brightness(image).flatten(1)
    return -level.topk(max(1, level.shape[1] // 20), dim=1).values.mean(dim=1)


def evenness(image: Tensor, source: Tensor) -> Tensor:
    """Evenness of a correction: minus the variation of the residual of its best tone curve.

    The log(brightness + 0.02) of 16x16 cells of the image is fitted by a rising function of that of the source (least
    squares): the tone curve that explains most. The residual of the log gain is compared between neighbouring cells:
    minus the mean absolute difference, across plus down, in units of the natural logarithm. One curve for all cells
    scores 0, other corrections less.
    """
    _check_pair(image, source)
    after, before = ((_cell_levels(part).double() + 0.02).log() for part in (image, source))
    left = torch.stack([_left_by_curve(*pair) for pair in zip(after, before, strict=True)])
    return -_variation(left).float()


def _left_by_curve(after: Tensor, before: Tensor) -> Tensor:
    """`after` minus the rising function of `before` that fits it best; both (1, h, w)."""
    from scipy.optimize import isotonic_regression  # here: it costs start-up time

    values, order = after.flatten().cpu().numpy(), before.flatten().cpu().numpy()
    order = np.lexsort((-values, order))  # equal levels before have one level after: falling ones are pooled
    left = np.empty_like(values)
    left[order] = values[order] - isotonic_regression(values[order]).x
    return torch.from_numpy(left).view(after.shape).to(after)

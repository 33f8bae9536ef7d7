"""Pictures that local agents could be asked for, made from the dark picture alone or from the stack of its scene.

Each function gives a pseudo-reference: (N, 3, H, W) -> (N, 3, H, W), without gradients. `local_study` asks for it with
the term `shape`, which compares after both pictures were brought to one mean.
A pseudo-reference is worth keeping where it lies nearer to the real reference than one curve for the whole
picture does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.experiments.scripts.light_rule import LEVEL, brighten, rule_target
from rlenhance.learning.ops.guided_filter import box_mean, guided_filter
from rlenhance.learning.ops.image import brightness, max_channel, resize, to_array, to_tensor
from rlenhance.learning.ops.image_statistics import noise_deviation

_FRAMES = (0.2, 0.42, 0.62)  # means of the synthesised exposures of one frame
_EPS = 0.02


def _scaled(image: Tensor, gain: Tensor) -> Tensor:
    """The image times the gain, at its own mean."""
    result = image * gain
    return (result * (image.mean(dim=(1, 2, 3), keepdim=True) / result.mean(dim=(1, 2, 3), keepdim=True))).clamp(0, 1)


def curve(image: Tensor) -> Tensor:
    """One curve for the whole picture: what local agents have to beat."""
    return brighten(image, LEVEL)


def camera(image: Tensor) -> Tensor:
    """A longer exposure by a camera: the Beta-Gamma response. Source: Ying et al. 2017, a = -0.3293, b = 1.1258."""
    return _camera(image, LEVEL)


def _camera(image: Tensor, level: float) -> Tensor:
    low, high = image.new_zeros(len(image), 1, 1, 1), image.new_full((len(image), 1, 1, 1), 6.0)
    for _ in range(20):
        middle = (low + high) / 2
        power = torch.exp(-0.3293 * middle)
        result = (torch.exp(1.1258 * (1 - power)) * image.clamp(min=1e-4) ** power).clamp(0, 1)
        dark = result.mean(dim=(1, 2, 3), keepdim=True) < level
        low, high = torch.where(dark, middle, low), torch.where(dark, high, middle)
    return result


def bimef(image: Tensor) -> Tensor:
    """The frame and its longer exposure, weighted by the illumination. Source: Ying et al. 2017 (BIMEF)."""
    top = max_channel(image)
    weight = guided_filter(top, top).clamp(0, 1) ** 0.5
    return weight * image + (1 - weight) * _camera(image, 0.5)


def retinex(image: Tensor) -> Tensor:
    """The frame over its illumination to the power 0.6, at the mean of `curve`. Source: LIME, Guo et al. 2017."""
    top = max_channel(image)
    illumination = guided_filter(top, top).clamp(min=_EPS)
    result = image / illumination**0.6
    return (result * (LEVEL / result.mean(dim=(1, 2, 3), keepdim=True))).clamp(0, 1)


def pseudo_fusion(image: Tensor) -> Tensor:
    """Exposure fusion of the frame's own brightened versions. Source: Mertens et al. 2007; Hessel 2020."""
    return torch.cat([fuse([brighten(one, level) for level in _FRAMES]) for one in image.split(1)])


def fuse(frames: Sequence[Tensor]) -> Tensor:
    """Exposure fusion (contrast, saturation, well-exposedness) of aligned frames, (1, 3, H, W) each."""
    merged = cv2.createMergeMertens(1.0, 1.0, 1.0).process([to_array(frame, np.uint8) for frame in frames])
    return to_tensor(np.clip(merged, 0, 1))


def base_power(image: Tensor, power: float) -> Tensor:
    """`curve` with the log base layer's contrast times `power`, detail kept. Source: Durand and Dorsey 2002."""
    result = curve(image)
    level = torch.log(brightness(result) + _EPS)
    return _scaled(result, torch.exp((power - 1) * guided_filter(level, level)))


def exposedness(image: Tensor) -> Tensor:
    """Each place's base drawn a third of the way to the middle, where light and noise allow.

    The confidence is Mertens' well-exposedness (deviation 0.3) of the base layer of `curve`, times the share of the
    signal beside the noise. Source: Mertens et al. 2007, equation 3 for the weight; the rest is ours.
    """
    result = curve(image)
    base = guided_filter(brightness(result), brightness(result)).clamp(min=_EPS)
    confidence = torch.exp(-((base - 0.5) ** 2) / (2 * 0.3**2)) * _signal(image)
    return _scaled(result, torch.exp(confidence * torch.log(0.5 / base) / 3))


def _signal(image: Tensor) -> Tensor:
    """Share of the signal beside noise and coding steps, in [0, 1]: (N, 1, H, W)."""
    level, noise = box_mean(brightness(image), 3), noise_deviation(image).mean(dim=1, keepdim=True) + 1 / 255
    return level / (level + 2 * noise)


def noise_limited(image: Tensor) -> Tensor:
    """`curve`, less lifted where the signal is not above noise and coding steps."""
    return _scaled(curve(image), _signal(image) ** 0.5)


def noise_lifted(image: Tensor) -> Tensor:
    """`curve`, shadows lifted more where the signal is above the noise."""
    result = curve(image)
    shadow = torch.sigmoid((0.3 - guided_filter(brightness(result), brightness(result))) / 0.05)
    return _scaled(result, torch.exp(0.3 * shadow * _signal(image)))


def commuted(image: Tensor, wanted: Tensor, side: int) -> Tensor:
    """What agents on the reduced picture have to make, so that their curves make `wanted` of the whole one.

    A curve of averages is not the average of the curve: busy places of a reduced picture come out brighter. So the gain
    over `curve` is measured at full size and applied to `curve` of the reduced picture.

    Args:
        image, wanted: (1, 3, H, W).
        side: of the reduced picture.

    Returns:
        (1, 3, side, side).
    """
    gain = (resize(wanted, side) + 1e-3) / (resize(curve(image), side) + 1e-3)
    return (curve(resize(image, side)) * gain).clamp(0, 1)


def quantiles(images: Sequence[Tensor]) -> Tensor:
    """Mean quantile function of the brightness of photographs: (256,)."""
    places = torch.linspace(0, 1, 256)
    return torch.stack([torch.quantile(brightness(image).flatten(), places) for image in images]).mean(dim=0)


def by_rank(table: Tensor) -> Callable[[Tensor], Tensor]:
    """Every luminance band gets the brightness that its rank has in good photographs (`quantiles`)."""

    def match(image: Tensor) -> Tensor:
        level = brightness(image)
        ranks = level.flatten(1).argsort(dim=1).argsort(dim=1).view_as(level)
        wanted = table[(ranks * 255) // max(1, level[0].numel() - 1)]
        return (image * wanted / level.clamp(min=1e-3)).clamp(0, 1)

    return match


#: Pseudo-references that need the dark picture alone.
TARGETS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "curve": curve, "camera": camera, "bimef": bimef, "retinex": retinex, "pseudo_fusion": pseudo_fusion,
    "base_0.8": lambda image: base_power(image, 0.8), "base_1.2": lambda image: base_power(image, 1.2),
    "exposedness": exposedness, "noise_limited": noise_limited, "noise_lifted": noise_lifted, "light_rule": rule_target,
}

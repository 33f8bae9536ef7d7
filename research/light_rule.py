"""What a good photograph of a dark scene looks like, as far as the dark frame shows it: a rule with few numbers.

    python -m experiments.lol_train --data DIR --reward-term research.light_rule:light_rule ...

One curve brings the frame to a level (`brighten`); a gain by brightness, eight knots that depend on nine statistics of
the brightened frame, bends it; a gain by place, from what a place looks like, corrects it. The numbers were fitted on
pairs of dark frames and well-exposed ones; no reference is needed to use them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from rlenhance.core.arrays import brightness
from rlenhance.learning.ops.exposure_fusion import brighten
from rlenhance.learning.ops.image import area_means
from rlenhance.learning.rewards import Transition

#: Mean brightness at which the rule was fitted.
LEVEL = 0.42
#: Longest side of the pictures that the rule looks at, and the places along each side.
SIDE, PLACES = 64, 8
KNOTS = 8
_SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of the brightness
_EPS = 0.02
#: Numbers of the rule, fitted on training scenes: knots (a row for each statistic, a column for each brightness from 0
#: to 1), and one for each feature of a place.
CURVE: tuple[tuple[float, ...], ...] = (
    (-0.002, 0.027, 0.021, 0.018, 0.008, -0.006, -0.053, -0.049),
    (-0.002, 0.020, 0.023, 0.021, 0.013, -0.006, -0.070, -0.040),
    (-0.000, 0.102, 0.089, 0.017, -0.001, -0.036, -0.093, -0.008),
    (-0.000, -0.136, -0.160, -0.017, 0.001, 0.125, 0.132, 0.015),
    (-0.000, -0.001, -0.017, -0.016, 0.002, 0.012, 0.002, -0.000),
    (0.002, 0.025, 0.071, 0.026, -0.002, -0.024, -0.072, -0.003),
    (0.002, 0.003, 0.008, 0.011, -0.001, -0.016, -0.013, -0.000),
    (0.005, 0.080, 0.013, 0.008, 0.006, -0.018, -0.088, -0.088),
    (-0.000, 0.007, 0.007, -0.002, -0.011, -0.004, 0.004, 0.000),
    (0.002, -0.043, -0.015, -0.001, 0.000, 0.021, 0.001, 0.002),
)
PLACE: tuple[float, ...] = (-0.654, 0.084, 0.020, -0.135)
_KNOWN = WeakIdKeyDictionary()


def statistics(image: Tensor, brightened: Tensor) -> Tensor:
    """Nine numbers of each picture, about in [-1, 1], and a one: (N, 10).

    Args:
        image: the dark picture, (N, 3, H, W).
        brightened: the same at `LEVEL`.
    """
    level = brightness(brightened).flatten(1)
    spread = torch.quantile(level, level.new_tensor(_SHARES), dim=1).T * 3 - 1.4
    mean = image.mean(dim=(1, 2, 3))[:, None]
    return torch.cat([spread, torch.log(mean + _EPS) + 3, level.std(dim=1, keepdim=True) * 5 - 1,
                      torch.ones_like(mean)], dim=1)


def place_features(image: Tensor, brightened: Tensor) -> Tensor:
    """What each place looks like, without the picture's mean: (N, 4, PLACES, PLACES).

    Fine structure of the brightness; structure over seven pixels of its logarithm; saturation; share of pixels that are
    black but for noise, below 2 of 255.
    """
    level = brightness(brightened)
    logarithm = torch.log(level + _EPS)
    maps = torch.cat([
        (level - box_mean(level, 1)).abs(),
        (logarithm - box_mean(logarithm, 3)).abs(),
        (brightened.amax(dim=1, keepdim=True) - brightened.amin(dim=1, keepdim=True)) / (level + 0.05),
        torch.sigmoid((2 / 255 - brightness(image)) * 600),
    ], dim=1)
    places = area_means(maps, (PLACES, PLACES))
    return places - places.mean(dim=(2, 3), keepdim=True)


def box_mean(value: Tensor, radius: int) -> Tensor:
    """Mean of a square window, borders repeated: (N, C, H, W)."""
    return F.avg_pool2d(F.pad(value, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)


def by_brightness(level: Tensor, knots: Tensor) -> Tensor:
    """A piecewise linear function of the brightness: (N, 1, H, W) in [0, 1] and (N, KNOTS) -> (N, 1, H, W)."""
    place = level.clamp(0, 1) * (KNOTS - 1)
    lower = place.detach().floor().clamp(max=KNOTS - 2)
    share, index = place - lower, lower.long().flatten(1)
    values = torch.stack([knots.gather(1, index), knots.gather(1, index + 1)]).view(2, *level.shape)
    return torch.lerp(values[0], values[1], share)


def rule_target(image: Tensor) -> Tensor:
    """The picture that the rule expects of each dark one: (N, 3, H, W) in [0, 1], without gradients.

    Pictures that have the level already are expected as they are; between, the rule counts by its share of the way.
    An episode asks for the same pictures at every step: results are kept as long as the tensor of the pictures is.
    """
    known = _KNOWN.get(image)
    if known is None or known[0] != image._version:
        with torch.no_grad():
            known = _KNOWN[image] = image._version, _rule_target(image)
    target: Tensor = known[1]
    return target


def _rule_target(image: Tensor) -> Tensor:
    small = image if max(image.shape[-2:]) <= SIDE else area_means(image, (SIDE, SIDE))
    lifted = brighten(small, LEVEL)
    curve, place = (small.new_tensor(numbers) for numbers in (CURVE, PLACE))
    by_place = torch.einsum("nphw,p->nhw", place_features(small, lifted), place)[:, None]
    base = brighten(image, LEVEL)
    gain = by_brightness(brightness(base), statistics(small, lifted) @ curve)
    gain = gain + F.interpolate(by_place, image.shape[-2:], mode="bilinear", align_corners=False)
    dark = (1 - image.mean(dim=(1, 2, 3), keepdim=True) / LEVEL).clamp(min=0)
    share = (2 * dark).clamp(max=1)  # all of it where the mean is at most half of the level
    return torch.lerp(image, (base * torch.exp(gain)).clamp(0, 1), share)


def light_rule(image: Tensor, transition: Transition) -> Tensor:
    """Difference to what a fitted rule expects of the initial image, both at one mean: (N, 1, H, W), its mean the RMS.

    No reference is needed. The level is removed, as in the term `shape`; well-lit images are expected as they are.
    """
    target = rule_target(transition.initial)
    gain = target.mean(dim=(1, 2, 3), keepdim=True) / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    error = ((image * gain - target) ** 2).mean(dim=1, keepdim=True)
    return error / (error.mean(dim=(2, 3), keepdim=True) + 1e-6).sqrt()

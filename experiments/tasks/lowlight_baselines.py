"""Baselines of enhancement, which need no training; their one number is chosen on training pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.experiments.core.scores import Baseline
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.ops.image import resize, to_array, to_tensor
from rlenhance.ops.plane_statistics import exposure_of

_STEP, _MOST = 0.1, 120  # A of one small curve step, and how many at most


def curve_step(image: Tensor, strength: float) -> Tensor:
    """c + A c (1 - c) with one A for the whole picture."""
    return image + strength * image * (1 - image)


def gamma(image: Tensor, exponent: float) -> Tensor:
    """c ** exponent."""
    return image ** exponent


def clahe(image: Tensor, limit: float = 2.0, tiles: int = 8) -> Tensor:
    """OpenCV's contrast-limited adaptive histogram equalisation on L of CIE Lab."""
    lab = cv2.cvtColor(to_array(image, np.uint8), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (tiles, tiles)).apply(lab[..., 0])
    return to_tensor(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), image.device)


def constant_curve(image: Tensor, strength: float, steps: int = 8) -> Tensor:
    """The same curve steps for every picture."""
    for _ in range(steps):
        image = curve_step(image, strength)
    return image


def stop_at_mean(image: Tensor, level: float) -> Tensor:
    """Small curve steps until the picture's mean reaches the level."""
    return small_steps(image, steps_to_mean(image, level))


def steps_to_mean(image: Tensor, level: float) -> int:
    """How many small steps it takes until the picture's mean reaches the level."""
    for count in range(_MOST):
        if image.mean() >= level:
            return count
        image = curve_step(image, _STEP)
    return _MOST


def small_steps(image: Tensor, count: int) -> Tensor:
    """That many small curve steps."""
    for _ in range(count):
        image = curve_step(image, _STEP)
    return image


def blurred(image: Tensor) -> Tensor:
    """A light blur, 3x3 binomial: what a metric that likes smooth pictures is worth."""
    row = image.new_tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def oracle_stop(image: Tensor, target: Tensor) -> Tensor:
    """Small curve steps, as many as bring the picture nearest to its own reference."""
    best, best_score = image, psnr(image, target)
    for _ in range(_MOST):
        image = curve_step(image, _STEP)
        score = psnr(image, target)
        if score > best_score:
            best, best_score = image, score
    return best


def _best(values: Sequence[float], score: Callable[[float], float]) -> float:
    return max(values, key=score)


def _mean_psnr(pictures: Sequence[Batch], function: Callable[[Tensor], Tensor]) -> float:
    total = 0.0
    for batch in pictures:
        assert batch.target is not None
        total += psnr(function(batch.image), batch.target).item()
    return total / len(pictures)


def fit_baselines(pictures: Sequence[Batch], exposure_level: float, side: int = 64) -> dict[str, Baseline]:
    """The baselines by a short key, with their one number chosen on these pictures.

    Args:
        pictures: training pictures, one each; where they have no references, the constants are chosen so that the
            mean exposure meets the asked level.
        exposure_level: asked exposure.
        side: pictures are reduced to this for the choice.
    """
    small = [batch.map(partial(resize, size=side)) for batch in pictures]
    with torch.no_grad():
        if all(batch.target is not None for batch in small):
            def fitness(function: Callable[[Tensor, float], Tensor]) -> Callable[[float], float]:
                return lambda value: _mean_psnr(small, lambda image: function(image, value))
        else:
            def fitness(function: Callable[[Tensor, float], Tensor]) -> Callable[[float], float]:
                return lambda value: -abs(float(
                    np.mean([exposure_of(function(b.image, value)).item() for b in small])) - exposure_level)
        exponent = _best([round(x, 3) for x in np.linspace(0.2, 1.2, 41)], fitness(gamma))
        strength = _best([round(x, 3) for x in np.linspace(-0.3, 1.0, 66)], fitness(constant_curve))
        level = _best([round(x, 3) for x in np.linspace(0.25, 0.65, 41)], fitness(stop_at_mean))
    functions: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "input": ("input", lambda image: image),
        "gamma": (f"gamma {exponent:g}", lambda image: gamma(image, exponent)),
        "clahe": ("CLAHE (L, limit 2)", clahe),
        "constant": (f"best constant curve (8 x A = {strength:g})", lambda image: constant_curve(image, strength)),
        "stop": (f"stop at mean {level:g}", lambda image: stop_at_mean(image, level)),
        "stop_blur": (f"stop at mean {level:g}, light blur", lambda image: blurred(stop_at_mean(image, level))),
    }
    fitted = {key: Baseline(name, lambda batch, function=function: function(batch.image))  # type: ignore[misc]
              for key, (name, function) in functions.items()}
    return {**fitted, "oracle": Baseline(
        "oracle stop (sees the reference)", uses_target=True, function=lambda batch: batch.image if batch.target is None
        else oracle_stop(batch.image, batch.target))}

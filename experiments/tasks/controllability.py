"""Measures of whether a policy follows its preferences and adapts to each picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from rlenhance.core.arrays import brightness
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.collapse import distance_to_single_curve
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import Batch, ImageCache
from rlenhance.learning.data.datasets import SAMPLE_ROLES
from rlenhance.learning.metrics.full_reference import (
    evenness,
    highlight_protection,
    mean_level,
    newly_clipped,
    relative_color,
    relative_contrast,
)
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.ops.image import limit_side, to_array, to_tensor

#: Preference -> what must rise with it: (output, input), each (N, 3, H, W), -> (N,).
RESPONSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "exposure_level": lambda output, _: mean_level(output),
    "contrast": lambda output, _: relative_contrast(output),
    "color": lambda output, _: relative_color(output),
    "smoothness": evenness,
    "highlights": lambda output, _: highlight_protection(output),
}
_LEVELS, _LEVEL_COUNT, _KNOB_COUNT = (0.25, 0.65), 9, 5
_NEAR, _STILL, _FEW = 0.05, 1e-4, 0.005  # of a level; of a measure; of the pixels
_GOOD_LEVELS, _GOOD_CLIPPED = (0.4, 0.6), 0.01
_INVISIBLE = 2.5  # of 255 levels, before they are rounded


def enhance(model: Callable[..., Tensor], image: Tensor,
            preference: Mapping[str, float | None] | None = None) -> Tensor:
    """A network's output for (N, 3, H, W), computed where the network lies and given back on the CPU.

    Args:
        preference: by name, see `Preferences.encode`; None leaves it out.
    """
    choice = {} if preference is None else {"preference": preference}
    if isinstance(model, torch.nn.Module):
        image = image.to(next(model.parameters()).device)
    with torch.no_grad():
        return model(image, **choice).cpu()


def defaults(model: Any) -> dict[str, float | None]:
    """The choice of a user who asks for nothing: None, the model's own choice, where it can make one."""
    if not isinstance(model, GreedyEpisode):
        return {}
    return dict.fromkeys(getattr(model.policy.preferences, "auto", ()))


def controllability(model: GreedyEpisode, pictures: Sequence[Batch]) -> dict[str, dict[str, float]]:
    """Set each preference to several values and measure the response; the others stay at their defaults.

    The exposure is asked for at nine levels between 0.25 and 0.65, as far as the policy takes them, every other
    preference at five values of its range.

    Args:
        pictures: one each.

    Returns:
        By preference. For `exposure_level`: `error`, mean distance of the output's mean from the asked level, in units
        of brightness; `error_95`, its 95th percentile; `within_0.05`, share of the outputs that near; `rank`, mean over
        the pictures of Spearman's correlation of asked and reached; `ordered`, share of the pictures where it is 1.
        For every other: `rises`, share of the pictures on which its measure never falls by more than 1e-4; `change`,
        mean difference of the measure between the ends of the range.
    """
    asked = {name: _asked(name, low, high) for name, (low, _, high) in model.policy.preferences.ranges.items()
             if name in RESPONSES}
    if not asked:
        raise UsageError(f"this policy takes none of {', '.join(RESPONSES)}: there is nothing to obey")
    reached: dict[str, list[list[float]]] = {name: [] for name in asked}
    for batch in pictures:
        for name, values in asked.items():
            outputs = [enhance(model, batch.image, defaults(model) | {name: value}) for value in values.tolist()]
            reached[name].append([RESPONSES[name](output.clamp(0, 1), batch.image).item() for output in outputs])
    return {name: (_met if name == "exposure_level" else _followed)(asked[name], np.array(rows))
            for name, rows in reached.items()}


def without_effect(model: GreedyEpisode, pictures: Sequence[Batch]) -> list[str]:
    """The preferences whose two ends differ by at most two of 255 levels in every value of every picture."""
    found = []
    for name, (low, _, high) in model.policy.preferences.ranges.items():
        ends = ([enhance(model, batch.image, defaults(model) | {name: value}) for value in (low, high)]
                for batch in pictures)
        if all((255 * (first - last).abs()).max() <= _INVISIBLE for first, last in ends):
            found.append(name)
    return found


def _asked(name: str, low: float, high: float) -> np.ndarray:
    if name != "exposure_level":
        return np.linspace(low, high, _KNOB_COUNT)
    return np.linspace(max(low, _LEVELS[0]), min(high, _LEVELS[1]), _LEVEL_COUNT)


def _met(asked: np.ndarray, reached: np.ndarray) -> dict[str, float]:
    """Args: asked (K,), reached (pictures, K)."""
    errors = np.abs(reached - asked)
    ranks = np.array([spearmanr(asked, row).statistic if np.ptp(row) else 0.0 for row in reached])
    return {"error": float(errors.mean()), "error_95": float(np.quantile(errors, 0.95)),
            f"within_{_NEAR}": float((errors <= _NEAR).mean()), "rank": float(ranks.mean()),
            "ordered": float((ranks > 1 - 1e-9).mean())}


def _followed(asked: np.ndarray, reached: np.ndarray) -> dict[str, float]:
    return {"rises": float((np.diff(reached, axis=1) >= -_STILL).all(axis=1).mean()),
            "change": float((reached[:, -1] - reached[:, 0]).mean())}


def well_exposed(pictures: Sequence[Batch], side: int) -> list[Tensor]:
    """Pictures that need no correction: references of mean 0.4 to 0.6, with less than 1 % of the pixels at 250 or more.

    A pixel counts by its brightest channel, as in `newly_clipped`. Each picture once, however many share it; where
    there is none, the sample photographs of that kind.

    Args:
        side: the sample photographs are reduced to this longer side in pixels.
    """
    references = {to_array(batch.target).tobytes(): batch.target for batch in pictures if batch.target is not None}
    chosen = [reference for reference in references.values() if _needs_nothing(reference)]
    if chosen:
        return chosen
    cache = ImageCache(0, side)
    samples = [limit_side(to_tensor(cache.load(sample_path(name))), side) for name in SAMPLE_ROLES]
    return [sample for sample in samples if _needs_nothing(sample)]


def _needs_nothing(image: Tensor) -> bool:
    clipped = (image >= 250 / 255 - 1e-6).any(dim=1).float().mean().item()
    return _GOOD_LEVELS[0] <= image.mean().item() <= _GOOD_LEVELS[1] and clipped < _GOOD_CLIPPED


def adaptivity(model: Callable[..., Tensor], pictures: Sequence[Batch], good: Sequence[Tensor]) -> dict[str, float]:
    """The effect of a model at its defaults: small on good pictures, brighter shadows without clipping on dark ones.

    Args:
        pictures: one each; good: see `well_exposed`.

    Returns:
        `well_exposed`, how many good pictures there are; `change`, mean absolute change of their values in percent of
        full scale; of the others: `clipped`, mean share of newly clipped pixels; `few_clipped`, share of the pictures
        where it is below 0.5 %; `shadow_gain`, median over the pictures of the factor by which the mean brightness of
        the darkest quarter of the pixels grows; `constant_psnr`, see `distance_to_single_curve`.
    """
    choice = defaults(model) or None
    changes = [(enhance(model, image, choice).clamp(0, 1) - image).abs().mean().item() * 100 for image in good]
    inputs = [batch.image for batch in pictures]
    outputs = [enhance(model, image, choice).clamp(0, 1) for image in inputs]
    clipped = np.array([newly_clipped(*pair).item() for pair in zip(outputs, inputs, strict=True)])
    gains = [_shadow_gain(*pair) for pair in zip(outputs, inputs, strict=True)]
    return {
        "well_exposed": float(len(good)), **({"change": float(np.mean(changes))} if changes else {}),
        "clipped": float(clipped.mean()), "few_clipped": float((clipped < _FEW).mean()),
        "shadow_gain": float(np.median(gains)), "constant_psnr": distance_to_single_curve(inputs, outputs),
    }


def _shadow_gain(output: Tensor, image: Tensor) -> float:
    before = brightness(image).flatten()
    darkest = before.topk(max(1, len(before) // 4), largest=False).indices
    return (brightness(output).flatten()[darkest].mean() / before[darkest].mean().clamp(min=0.5 / 255)).item()

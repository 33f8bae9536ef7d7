"""A term tried on made-up pictures, before anything is trained with it: does it work, and does a gradient pass?"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import resize
from rlenhance.rewards.base import TERMS, Term, Transition, as_cost

_SHADES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # mean brightness of the pictures that are tried


def _pictures(size: int) -> Tensor:
    """Soft pictures with some grain, from dark to bright, the same at every call: (6, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    shades = torch.tensor(_SHADES)[:, None, None, None]
    soft = resize(torch.rand(len(_SHADES), 3, 8, 8, generator=generator), size)
    grain = torch.rand(len(_SHADES), 3, size, size, generator=generator)
    return (shades + 0.5 * (soft - 0.5) + 0.1 * (grain - 0.5)).clamp(0, 1)


def _transition(image: Tensor) -> Transition:
    """A step that ends in `image`; origin and reference are other pictures."""
    count = image.shape[0]
    levels = {"exposure_level": image.new_full((count, 1, 1, 1), 0.5)}
    origin, target = image.detach().flip(0, 3), image.detach().flip(2)
    return Transition(origin, image.detach(), origin, image.new_zeros(count, 1, 4, 4), levels, target)


def _cost(term: Term, value: Tensor, beside: Tensor) -> Tensor:
    """Of pictures (N, 3, H, W), or of strengths (N, 1, h, w) after those of the step before."""
    second = _transition(value) if term.kind == "state" else beside
    return as_cost(term, term.function(value, second), value)


def try_term(term: Term, size: int = 64) -> None:
    """Refuse a term that fails, or gives something else than a finite cost per picture, region or pixel.

    Args:
        size: side of the pictures in pixels.

    Raises:
        UsageError: names the term, what it gave, and the shapes that are allowed.
    """
    image = _pictures(size)
    value = image if term.kind == "state" else image[:, :1] - 0.5
    try:
        cost = _cost(term, value, -value)
    except UsageError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(f"the reward term {term.name} fails on pictures {tuple(image.shape)}: "
                         f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})") from error
    if not torch.isfinite(cost).all():
        raise UsageError(f"the reward term {term.name} gives {cost[~torch.isfinite(cost)][0].item()} on a picture with "
                         f"values in [0, 1]; a cost must be finite: add a small number where it divides or takes a "
                         f"logarithm")


def without_gradient(names: Iterable[str], kinds: Collection[str], size: int = 64) -> list[str]:
    """Which of these terms change with the picture (the strengths), but pass no gradient to it.

    A term that leaves torch (NumPy, Pillow, OpenCV) or counts (rounding, comparing) does so.

    Args:
        names: of registered terms.
        kinds: those to look at: "state", "action".
        size: side of the pictures in pixels.
    """
    chosen = [TERMS[name] for name in names if TERMS[name].kind in kinds]
    return [term.name for term in chosen if not _passes(term, size)] if chosen else []


def _passes(term: Term, size: int) -> bool:
    image = _pictures(size)
    brighter = image + image * (1 - image)  # the strongest step of a curve
    both = torch.cat([image, brighter])
    value = (both if term.kind == "state" else both[:, :1] - 0.5).requires_grad_()
    beside = -value.detach()
    with torch.enable_grad():
        try:
            cost = _cost(term, value, beside)
        except RuntimeError:  # "can't call numpy() on a tensor that requires grad"
            return False
        if not cost.requires_grad:
            return False
        (slope,) = torch.autograd.grad(cost.sum(), value, allow_unused=True)
    if slope is not None and bool((slope != 0).any()):
        return True
    before, after = cost.detach().chunk(2)
    return torch.equal(before, after)  # flat for both: nothing can be said against it

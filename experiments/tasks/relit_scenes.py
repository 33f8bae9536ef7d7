"""The gain of local agents by type of scene, beside the best single curve for the whole picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from rlenhance.experiments.core.collapse import fit_single_curve
from rlenhance.experiments.tasks.controllability import defaults, enhance
from rlenhance.experiments.tasks.lowlight_baselines import oracle_stop
from rlenhance.learning.data import RELIGHT_KINDS, Batch, Relight
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, psnr, relative_contrast, ssim
from rlenhance.learning.models import GreedyEpisode, Policy
from rlenhance.learning.ops.image import to_array, to_tensor

_SCORES = {"psnr": psnr, "gt_mean_psnr": gt_mean_psnr, "ssim": ssim}
_Method = Callable[[Tensor, Tensor], Tensor]  # picture and reference -> result
_INPUT: dict[str, _Method] = {"input": lambda image, _: image}
#: Ceilings for one curve per picture; both are shown its reference.
_CURVES: dict[str, _Method] = {
    "best uniform curve": oracle_stop,
    "best free curve": lambda image, target: fit_single_curve([image], [target])[0],
}


def _with_and_without(policy: Policy) -> dict[str, _Method]:
    """The policy at its defaults; neither is shown the reference."""
    def method(model: GreedyEpisode) -> _Method:
        return lambda image, _: enhance(model, image, defaults(model) or None)

    return {"local agents off": method(GreedyEpisode(policy, local=False)),
            "local agents on": method(GreedyEpisode(policy))}


def mean_scores(methods: Mapping[str, _Method], pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
    """Mean scores of several methods.

    Args:
        methods: name -> function of picture and reference; pairs: picture and reference, (1, 3, H, W) each.

    Returns:
        Method -> `pictures`, how many, and their mean `psnr` and `gt_mean_psnr` in dB and `ssim`.
    """
    rows = {}
    for name, method in methods.items():
        outputs = [method(image, target).clamp(0, 1) for image, target in pairs]
        rows[name] = {"pictures": float(len(pairs))} | {
            key: float(np.mean([score(output, target).item()
                                for output, (_, target) in zip(outputs, pairs, strict=True)]))
            for key, score in _SCORES.items()
        }
    return rows


def relit_scenes(policy: Policy, good: Sequence[Tensor]) -> dict[str, dict[str, dict[str, float]]]:
    """Well-exposed pictures relit, so that the truth is known; the same at every call.

    Args:
        good: see `rlenhance.experiments.tasks.controllability.well_exposed`.

    Returns:
        Kind of light (`RELIGHT_KINDS`) -> method -> scores, see `mean_scores`. "best uniform curve" is the number of
        equal curve steps, "best free curve" the 256 values per channel, that bring this very picture nearest to its
        reference: no curve for a whole picture comes nearer in PSNR than the free one.
    """
    methods = _INPUT | _CURVES | _with_and_without(policy)
    truths = [to_array(image) for image in good]
    relit = {kind: [(to_tensor(Relight(kind)(truth, np.random.default_rng([number, place]))), to_tensor(truth))
                    for number, truth in enumerate(truths)] for place, kind in enumerate(RELIGHT_KINDS)}
    return {kind: mean_scores(methods, pairs) for kind, pairs in relit.items() if pairs}


def real_scenes(policy: Policy, pictures: Sequence[Batch]) -> dict[str, dict[str, dict[str, float]]]:
    """Pictures with references, in thirds by their relative contrast: low, middle and high.

    Returns:
        Third -> method -> scores, see `mean_scores`; thirds without a picture are left out.
    """
    methods = _INPUT | _with_and_without(policy)
    pairs = [(batch.image, batch.target) for batch in pictures if batch.target is not None]
    pairs.sort(key=lambda pair: relative_contrast(pair[0]).item())
    thirds = np.array_split(np.arange(len(pairs)), 3)
    return {f"{name} contrast": mean_scores(methods, [pairs[i] for i in third])
            for name, third in zip(("low", "middle", "high"), thirds, strict=True) if len(third)}

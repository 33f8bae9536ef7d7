"""Baselines of denoising, which need no policy; their parameters are chosen on training pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import FILTERS, PIXELRL_TOOLS
from rlenhance.learning.actions.filters import IDENTITY
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr

#: The longest sequence that is searched.
LONGEST = 6
#: Rows of the table.
INPUT, SINGLE, SEQUENCE = "input", "best single filter", "best fixed sequence"
MEANS, BM3D = "non-local means (OpenCV, 8 bits)", "BM3D (told the noise)"
_BEAM = 12  # sequences that are carried on from length to length
_WORTH = 0.01  # dB that a longer sequence must bring
_STRENGTHS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5)  # of non-local means' h, in deviations of the noise


def filtered(image: Tensor, sequence: Sequence[str]) -> Tensor:
    """The same filters for every pixel, one after the other."""
    for name in sequence:
        image = FILTERS[name](image)
    return image


def _mean_psnr(function: Callable[[Tensor], Tensor], pictures: Sequence[Batch]) -> float:
    scores = [float(psnr(function(batch.image).clamp(0, 1), batch.target))  # type: ignore[arg-type]
              for batch in pictures]
    return sum(scores) / len(scores)


def best_sequences(pictures: Sequence[Batch], tools: Sequence[str] = PIXELRL_TOOLS,
                   longest: int = LONGEST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The best single filter, and the best sequence of at most `longest`, by PSNR on these pictures.

    A beam search: of the sequences of each length the best twelve are carried on by every tool. The search is not
    complete; with as many sequences as there are it is.

    Args:
        pictures: training pictures of one size, one each, with references.
        tools: names of filters.
    """
    image = torch.cat([batch.image for batch in pictures])
    target = torch.cat([batch.target for batch in pictures if batch.target is not None])

    def score(result: Tensor) -> float:
        return psnr(result.clamp(0, 1), target).mean().item()

    beam: list[tuple[float, tuple[str, ...], Tensor]] = [(score(image), (), image)]
    single, best = None, beam[0]
    for _ in range(longest):
        longer = {}
        for _, sequence, state in beam:
            for name in tools:
                if name != IDENTITY:
                    result = FILTERS[name](state)
                    longer[(*sequence, name)] = (score(result), (*sequence, name), result)
        beam = sorted(longer.values(), key=lambda entry: -entry[0])[:_BEAM]
        single = single or beam[0]
        best = beam[0] if beam[0][0] > best[0] + _WORTH else best
    assert single is not None
    return single[1], best[1]


def non_local_means(image: Tensor, strength: float) -> Tensor:
    """OpenCV's, which works on 8 bits: templates of 7, searched within 21 pixels. `strength`: its h, in 255ths."""
    planes = [np.rint(plane.clamp(0, 1).numpy() * 255).astype(np.uint8) for plane in image[0]]
    if len(planes) == 1:
        done = cv2.fastNlMeansDenoising(planes[0], None, strength, 7, 21)[None]
    else:
        done = cv2.fastNlMeansDenoisingColored(np.stack(planes, axis=2), None, strength, strength, 7, 21)
        done = np.asarray(done).transpose(2, 0, 1)
    return torch.from_numpy(np.asarray(done).astype(np.float32) / 255)[None]


def has_bm3d() -> bool:
    """Whether the package `bm3d` is installed."""
    return importlib.util.find_spec("bm3d") is not None


def bm3d(image: Tensor, deviation: float) -> Tensor:
    """BM3D at a known deviation of the noise, in 255ths."""
    if not has_bm3d():
        raise UsageError("BM3D is a package of its own: pip install bm3d")
    from bm3d import bm3d as denoise  # type: ignore[import-not-found]
    from bm3d import bm3d_rgb

    array = image[0].permute(1, 2, 0).double().numpy()
    level = deviation / 255
    done = denoise(array[..., 0], level)[..., None] if array.shape[2] == 1 else bm3d_rgb(array, level)
    return torch.from_numpy(np.asarray(done).transpose(2, 0, 1)).float()[None]


def denoising_baselines(pictures: Sequence[Batch],
                        deviation: float | None) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
    """Baselines by what the table calls them: what each has chosen on these pictures, and its function.

    Args:
        pictures: training pictures of one size with the noise of the test; a few are enough.
        deviation: of the noise in 255ths, which BM3D needs; None where it is not known.
    """
    single, sequence = best_sequences(pictures)
    level = deviation if deviation is not None else 25.0
    few = pictures[:4]
    strength = max((factor * level for factor in _STRENGTHS),
                   key=lambda h: _mean_psnr(lambda image: non_local_means(image, h), few))

    fitted: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        INPUT: ("nothing", lambda image: image),
        SINGLE: (single[0], lambda image: filtered(image, single)),
        SEQUENCE: (" > ".join(sequence), lambda image: filtered(image, sequence)),
        MEANS: (f"h = {strength:g}", lambda image: non_local_means(image, strength)),
    }
    if deviation is not None and has_bm3d():
        fitted[BM3D] = (f"{deviation:g}", lambda image: bm3d(image, deviation))
    return fitted


def baseline_names(deviation: float | None) -> list[str]:
    """The names of `denoising_baselines`, before they are fitted."""
    return [INPUT, SINGLE, SEQUENCE, MEANS, *([BM3D] if deviation is not None and has_bm3d() else [])]

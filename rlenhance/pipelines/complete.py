"""Fill holes in photographs of any size with a trained model or a rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import area_means
from rlenhance.hub import shipped
from rlenhance.io import Photo
from rlenhance.io.xmp import ALTERED, EDITED, marked
from rlenhance.ops.harmonic_fill import harmonic_fill
from rlenhance.ops.inpaint import INPAINT_METHODS, find_method
from rlenhance.ops.masks import (
    SQUARE_SHARE,
    THRESHOLD,
    detect_mask,
    dilate_soft_edge,
    downscale_masked,
    is_dark,
    rectangles_of,
)
from rlenhance.ops.patchmatch import patchmatch_fill
from rlenhance.pipelines.base import ImagePipeline, PipelineResult, check_pixels
from rlenhance.pipelines.options import CompleteSettings

#: The shipped network, where there is one.
SHIPPED = "completer"
#: The default method without it.
FALLBACK = "laplace"
#: The mask of a call that asks for the black rectangles which were painted into the picture.
AUTO = "auto"
#: Smallest detail of what a network fills in, in pixels of the picture that it sees.
GUIDE_DETAIL = 1.5
_MARGIN = 1.2  # around a hole, by its thickness
_LONGEST = 8  # longest side of a reduced crop, by the side of a network's training pictures
_PATCHED, _AROUND = 1 << 19, 6_000_000  # largest numbers of missing pixels, and of all, for patches at full size


class Completer(ImagePipeline[CompleteSettings]):
    """Fills holes in photographs; pixels outside the holes stay exactly the same.

    Each hole is cropped with a margin in proportion to its thickness. A rule fills the crop as it is. For a network the
    crop is reduced until the hole is as thick as those of its training; its result is enlarged, and the difference at
    the hole's border is removed smoothly (a membrane), which leaves no seam. Patches of the photograph that resemble
    this soft fill then give its texture (`rlenhance.ops.patchmatch`).

    A call's `mask` is the hole: (H, W), bool, uint8 (above 127) or float (above 0.5), True where pixels are missing;
    or "auto": the black rectangles that were painted into the picture, see `rlenhance.ops.masks.detect_mask`. A picture
    without painted rectangles, and one that is simply dark, is refused.

    Args:
        model: a rule (laplace, telea, navier-stokes, patches), a shipped network, or a run; None: the shipped network,
            or laplace where none is shipped.
        settings: see `CompleteSettings`.

    Attributes:
        filled_by: the rule or the model in use.

    Raises:
        UsageError: see `ImagePipeline`; for a picture, see `to_mask`.

    Source: the seam, Perez, Gangnet and Blake 2003, "Poisson image editing", section 3.

    Example:
        >>> picture, mask = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), bool)
        >>> mask[8:20, 8:20] = True
        >>> bool((Completer("laplace")(np.where(mask[..., None], 0, picture), mask=mask) == picture).all())
        True
    """

    name, suffix, purpose = "complete", CompleteSettings.suffix, "completion"
    Settings = CompleteSettings
    mark = True

    def _marked(self, photo: Photo) -> Photo:
        return marked(photo, ALTERED if self._rule else EDITED)

    def _load(self) -> None:
        default = self.named is None and (shipped.FOLDER / SHIPPED).is_dir()
        model = SHIPPED if default else FALLBACK if self.named is None else self.named
        self.filled_by, self._rule, self._side = str(model), None if default else find_method(model), 0
        if self._rule:
            return
        try:
            self.folder, self.network = self._open_network(model)
        except UsageError as error:
            raise UsageError(f"{error}; rules that fill holes without a model are "
                             f"{', '.join(INPAINT_METHODS)}") from error
        self._side = self.network.train_size

    def _changed(self, photo: Photo, mask: Any) -> PipelineResult:
        if not isinstance(mask, str):
            return super()._changed(photo, mask)
        check_pixels(photo.pixels)
        hole = to_mask(mask, photo.pixels)
        result = super()._changed(photo, hole)
        return PipelineResult(result.photo, {**result.decision, "holes": rectangles_of(hole),
                                             "words": describe_holes(hole)})

    def _weights(self, photo: Photo, mask: Any) -> np.ndarray:
        return to_mask(mask, photo.pixels)

    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        assert weights is not None
        result, top = pixels.copy(), 1 if np.issubdtype(pixels.dtype, np.floating) else np.iinfo(pixels.dtype).max
        for rows, columns, thick in self._with_progress(mask_regions(weights, self._side)):
            mask = weights[rows, columns]
            picture = pixels[rows, columns].astype(np.float32) / np.float32(top)
            known = np.where(mask[..., None], np.float32(0), picture)
            filled = self._mix(picture[mask], self._fill(known, mask, thick)[mask]).clip(0, 1) * np.float32(top)
            result[rows, columns][mask] = (filled if top == 1 else np.rint(filled)).astype(pixels.dtype)
        return result, {"hole": round(float(weights.mean()), 5), "filled_by": self.filled_by}

    def _fill(self, picture: np.ndarray, mask: np.ndarray, thick: float) -> np.ndarray:
        """A crop of any size with its hole filled: (H, W, 3) float32."""
        bounded = min(1.0, math.sqrt(min(_PATCHED / float(mask.sum()), _AROUND / mask.size)))
        if self._rule:
            return fill_at_scale(self._rule, picture, mask,
                                 bounded if self._rule is INPAINT_METHODS["patches"] else 1.0)
        scale = min(1.0, SQUARE_SHARE * self._side / thick, _LONGEST * self._side / max(mask.shape))
        soft = fill_at_scale(self._predict, picture, mask, scale)
        if self.settings.texture == 0:
            return soft

        def textured(guide: np.ndarray, hole: np.ndarray) -> np.ndarray:
            return patchmatch_fill(guide, hole, guide_detail=GUIDE_DETAIL * bounded / scale)

        filled = textured(soft, mask) if bounded == 1 else fill_at_scale(
            lambda known, hole: textured(np.where(hole[..., None], area_means(soft, hole.shape), known), hole),
            picture, mask, bounded)
        return soft + self.settings.texture * (filled - soft)

    def _predict(self, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The network's result: (H, W, 3) float32."""
        result = self.network(picture.transpose(2, 0, 1)[None], mask[None, None].astype(np.float32))
        return np.asarray(result[0].transpose(1, 2, 0))


def fill_at_scale(fill: Any, picture: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    """Fill a picture at a reduced size and enlarge the result without a seam.

    Args:
        fill: (picture, mask) -> picture.
        picture: (H, W, 3) float32, black in the hole; mask: (H, W) bool.
        scale: in (0, 1]; at 1 the result is that of `fill`.
    """
    hole = mask[..., None]
    if scale >= 1 or min(mask.shape) <= 8:
        return np.where(hole, fill(picture, mask), picture)
    height, width = mask.shape
    small = fill(*downscale_masked(picture, mask, (max(8, round(height * scale)), max(8, round(width * scale)))))
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    seam = harmonic_fill(picture - large, mask)
    return np.where(hole, (large + seam).clip(0, 1), picture)


def to_mask(mask: Any, picture: np.ndarray) -> np.ndarray:
    """A mask of a picture as (H, W) bool; "auto": the black rectangles that were painted into it.

    Raises:
        UsageError: no mask; another shape; nothing or everything is missing; no hole is found, or the picture is dark.
    """
    if mask is None:
        raise UsageError('say what is to be filled: mask=array (H, W), True where pixels are missing, or '
                         'mask="auto", which finds black rectangles that were painted in')
    if isinstance(mask, str):
        return _found_mask(mask, picture)
    mask = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    mask = mask.reshape(mask.shape[-2:]) if mask.ndim > 2 and mask.size == np.prod(mask.shape[-2:]) else mask
    height, width = picture.shape[:2]
    if mask.shape != (height, width):
        seen = f"{mask.shape[1]}x{mask.shape[0]}" if mask.ndim == 2 else str(mask.shape)
        raise UsageError(f"the mask is {seen} and the picture {width}x{height}: give a mask of the picture's size")
    hole = mask if mask.dtype == bool else mask > (THRESHOLD if mask.dtype == np.uint8 else 0.5)
    if not hole.any() or hole.all():
        raise UsageError(f"the mask marks {'all' if hole.all() else 'none'} of the picture as missing: what it marks "
                         f"is filled, from the rest")
    return hole


def _found_mask(mask: str, picture: np.ndarray) -> np.ndarray:
    if mask != AUTO:
        raise UsageError(f'mask is an array (H, W) or "auto"; got {mask!r:.80}')
    seen = picture if picture.dtype in (np.uint8, np.uint16) else np.rint(picture * 255).astype(np.uint8)
    if not seen.any():
        raise UsageError("the picture is black all over: what is missing is filled from the rest")
    found = detect_mask(seen)
    if is_dark(seen, found):
        raise UsageError("the picture is dark, and its black parts may be shadows: mark what is missing with a mask "
                         "(white is filled)")
    if found is None:
        raise UsageError("no uniformly black rectangle is found in the picture: mark what is missing with a mask "
                         "(white is filled)")
    return dilate_soft_edge(picture, found)


def describe_holes(hole: np.ndarray) -> str:
    """Where the rectangles of a mask (H, W) bool lie, and how much of the picture they take.

    Example:
        >>> mask = np.zeros((50, 100), bool)
        >>> mask[10:20, 40:60] = True
        >>> describe_holes(mask)
        'filled the black rectangle of 20x10 pixels at 40, 10 (4.0 % of the picture)'
    """
    places = [f"{width}x{height} pixels at {left}, {top}" for left, top, width, height in rectangles_of(hole)]
    kind = "the black rectangle" if len(places) == 1 else f"{len(places)} black rectangles"
    return f"filled {kind} of {'; '.join(places)} ({hole.mean():.1%} of the picture)".replace("%", " %")


def mask_regions(hole: np.ndarray, least: int = 0) -> list[tuple[slice, slice, float]]:
    """The crops of a picture that are filled, each a hole with its surroundings.

    Args:
        hole: (H, W) bool.
        least: smallest side of a crop in pixels, as far as the picture goes.

    Returns:
        Rows, columns and the hole's thickness in pixels (twice the largest distance to its border) of each crop. Holes
        within each other's surroundings share one.
    """
    height, width = hole.shape
    away = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    reach = max(8, math.ceil(_MARGIN * 2 * float(away.max())))
    scale = max(1, reach // 8)  # holes are grouped on a coarse map
    blocks = np.add.reduceat(np.add.reduceat(hole, np.arange(0, height, scale), axis=0, dtype=np.int32),
                             np.arange(0, width, scale), axis=1) > 0
    near = cv2.dilate(blocks.astype(np.uint8), np.ones((2 * (reach // (2 * scale)) + 1,) * 2, np.uint8))
    count, labels = cv2.connectedComponents(near)
    found = []
    for label in range(1, count):
        places = (labels == label) & blocks
        down, across = (np.flatnonzero(places.any(axis=axis)) for axis in (1, 0))
        box = []
        for there, side in ((down, height), (across, width)):
            first, last = there[0] * scale, min(side, (there[-1] + 1) * scale)
            margin = max(reach, (least - (last - first) + 1) // 2)
            box.append(slice(max(0, int(first - margin)), min(side, int(last + margin))))
        rows, columns = box
        found.append((rows, columns, 2 * float(away[rows, columns].max())))
    return found

"""Holes of photographs of any size filled, by a trained model or by a rule; the one place where that is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image, to_array, to_tensor
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import load_model
from rlenhance.io import Photo
from rlenhance.io.array_types import apply_to
from rlenhance.models import Completing, GreedyEpisode
from rlenhance.ops.inpaint import INPAINT_METHODS, find_method, harmonic_correction
from rlenhance.ops.masks import HOLE_SHARE, THRESHOLD, composite, detect_hole, dilate_soft_edge, downscale_masked

#: Name of the shipped network, where one is shipped.
SHIPPED = "completer"
#: What fills where none is.
FALLBACK = "laplace"
_MARGIN = 1.2  # of the hole's thickness: what is looked at around it
_LONGEST = 8  # sides of a network's pictures that a crop may be long, in its pixels
_PATCHED = 1 << 18  # missing pixels up to which patches are copied at full size


class Completer:
    """Fills holes of photographs: only the hole changes, outside not a bit differs.

    Around every hole as much is cut out as its thickness asks for. A rule fills the piece as it is. A network gets
    it reduced so that the hole is as thick as those that it knows; what it gives is enlarged, and the difference at
    the hole's border is taken away smoothly (a membrane), so that no seam is left.

    Args:
        model: a rule (laplace, telea, navier-stokes, patches), a shipped network, or a run of one's own; None: the
            shipped one, or laplace where none is shipped.
        device: where it computes.

    Attributes:
        name: of what fills.

    Raises:
        UsageError: no rule, shipped model or run of that name; a network that fills no holes.

    Source: the seam, Perez, Gangnet and Blake 2003, "Poisson image editing", section 3.

    Example:
        >>> picture, mask = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), bool)
        >>> mask[8:20, 8:20] = True
        >>> bool((Completer("laplace")(np.where(mask[..., None], 0, picture), mask) == picture).all())
        True
    """

    def __init__(self, model: Path | str | None = None, *, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        if model is None:
            model = SHIPPED if (weights.FOLDER / SHIPPED).is_dir() else FALLBACK
        self.name = str(model)
        self._rule = find_method(model)
        self._network = None if self._rule else self._load(model)

    def _load(self, model: Path | str) -> Any:
        try:
            network = load_model(weights.locate(model), self.device)
        except UsageError as error:
            raise UsageError(f"{error}; methods without a model are {', '.join(INPAINT_METHODS)}") from error
        inner = network.policy if isinstance(network, GreedyEpisode) else network
        if not isinstance(inner, Completing):
            raise UsageError(f"{model}: a {type(inner).__name__} fills no holes; leave out --model, or name one of "
                             f"{', '.join(INPAINT_METHODS)}, or a run of python -m experiments.complete_train")
        self._side = inner.side
        return network

    def __call__(self, picture: Any, mask: Any = None) -> Any:
        """Fill the holes of one picture of any size.

        Args:
            picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB; or a PIL image or a tensor, see
                `rlenhance.io.array_types.apply_to`.
            mask: (H, W), bool, uint8 (above 127) or float (above 0.5): where pixels are missing; None: the black
                rectangle that is found in it.

        Returns:
            The same kind, shape and dtype.

        Raises:
            UsageError: another kind or shape; a mask of another size (both are named), an empty one, or one that
                leaves nothing; no hole is found.
        """
        return apply_to(picture, lambda pixels: self._complete(pixels, mask))

    def complete_photo(self, photo: Photo, mask: Any = None) -> tuple[Photo, Mapping[str, Any]]:
        """The same for a decoded file: transparency and metadata stay.

        Returns:
            The result, and what was done: `hole`, the share of the picture, and `filled_by`.
        """
        hole = as_hole(mask, photo.pixels)
        result = photo.map_pixels(lambda pixels: self._complete(pixels, hole))
        return result, {"hole": round(float(hole.mean()), 5), "filled_by": self.name}

    def _complete(self, picture: np.ndarray, mask: Any) -> np.ndarray:
        if not isinstance(picture, np.ndarray):
            raise UsageError(f"a picture is an array, a PIL image or a tensor; got {type(picture).__name__}")
        check_image(to_tensor(picture[:1, :1] if picture.dtype in (np.uint8, np.uint16) else picture))
        hole = as_hole(mask, picture)
        result = picture.copy()
        for rows, columns, thick in pieces(hole, self._network is not None and self._side):
            inside = hole[rows, columns]
            image = to_tensor(picture[rows, columns], self.device)
            missing = torch.from_numpy(inside)[None, None].to(image)
            with torch.inference_mode():
                filled = self._fill(image * (1 - missing), missing, thick)
            result[rows, columns][inside] = to_array(filled, picture.dtype.type)[inside]
        return result

    def _fill(self, image: Tensor, mask: Tensor, thick: float) -> Tensor:
        """A piece with its hole, of any size, completed."""
        if self._rule:
            slow = self._rule is INPAINT_METHODS["patches"]
            return filled_small(self._rule, image, mask,
                                min(1.0, math.sqrt(_PATCHED / float(mask.sum()))) if slow else 1.0)
        scale = min(1.0, HOLE_SHARE * self._side / thick, _LONGEST * self._side / max(image.shape[-2:]))
        return filled_small(self._network, image, mask, scale)


def filled_small(fill: Any, image: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Fill a picture at a share of its size, and bring the result back without a seam.

    Args:
        fill: (image, mask) -> image.
        image: (1, 3, H, W), black in the hole; mask: (1, 1, H, W).
        scale: in (0, 1]; at 1 the result is the fill's own.
    """
    size = tuple(max(8, round(side * scale)) for side in image.shape[-2:])
    if scale >= 1 or min(image.shape[-2:]) <= 8:
        return composite(fill(image, mask), image, mask)
    small = fill(*downscale_masked(image, mask, (size[0], size[1])))
    large = F.interpolate(small, image.shape[-2:], mode="bicubic", align_corners=False)
    seam = harmonic_correction((image - large) * (1 - mask), mask)
    return composite((large + seam).clamp(0, 1), image, mask)


def as_hole(mask: Any, picture: np.ndarray) -> np.ndarray:
    """A mask as (H, W) bool that fits a picture; None: the black rectangle in it.

    Raises:
        UsageError: another shape; nothing or everything is missing; no hole is found.
    """
    if mask is None:
        found = detect_hole(picture if picture.dtype in (np.uint8, np.uint16) else
                            np.rint(picture * 255).astype(np.uint8))
        if found is None:
            raise UsageError("no black rectangle is found in the picture: mark what is missing with a mask (--mask; "
                             "white is filled)")
        return dilate_soft_edge(picture, found)
    mask = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
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


def pieces(hole: np.ndarray, least: int = 0) -> list[tuple[slice, slice, float]]:
    """The parts of a picture that are worked on, each with its hole and what is around it.

    Args:
        hole: (H, W) bool.
        least: how long a piece is at least, in pixels, where the picture is.

    Returns:
        Rows, columns and the hole's thickness in pixels (twice the way to its border), hole by hole. Holes that lie
        within each other's surroundings come together.
    """
    height, width = hole.shape
    away = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    reach = max(8, math.ceil(_MARGIN * 2 * float(away.max())))
    scale = max(1, reach // 8)  # a coarse map tells which holes belong together
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

"""Actions for completion: every missing pixel takes the result of a tool, or changes in small steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core import Purpose
from rlenhance.core.arrays import brightness
from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ACTION_SETS, ActionSet, ToolSet
from rlenhance.learning.ops.filters import gaussian, median
from rlenhance.learning.ops.mask_windows import MaskWindows
from rlenhance.learning.types import Action

#: The eight directions as (down, right).
DIRECTIONS = {"n": (-1, 0), "ne": (-1, 1), "e": (0, 1), "se": (1, 1), "s": (1, 0), "sw": (1, -1), "w": (0, -1),
              "nw": (-1, -1)}
#: Tools after "keep" and the copies, in order.
OTHERS = ("diffuse", "median", "isophote", "mirror", "start", "darker", "brighter", "detail")
_STEP = 1 / 64  # of "darker" and "brighter"
_ALONG = 2.0  # pixels: distance of the two places of "isophote"
_DETAIL = 0.25  # factor of "detail"
_REACH = 8  # pixels: at least the radius of all tools but the copies and those that mirror


@ACTION_SETS.register("fill")
@dataclass(frozen=True)
class CompletionActions(ToolSet):
    """Each pixel of the hole takes the result of the tool that it chooses: one head, see `ToolSet`.

    keep (0); copies of a pixel at a stride in one of eight directions ("copy_ne_8"); diffuse, the mean of the four
    neighbours; median of 3x3; isophote, the mean of the two places 2 pixels along the edge through this pixel; mirror,
    the pixel mirrored at the hole's nearest border; start, the pixel of the episode's first image (the prior's); darker
    and brighter, by 1/64; detail, this pixel plus a quarter of the mirrored pixel's difference from its surroundings:
    texture without a change of level. A copy from outside the picture, and a mirrored place outside it or inside the
    hole, are invalid: they keep the pixel, and policies never choose them (`valid_mask`).

    On a CPU only chosen tools run.

    Args:
        strides: distances of the copies in pixels.

    Raises:
        UsageError: a stride below 1, or one given twice.
    """

    purpose: ClassVar[Purpose] = "completion"
    identity: ClassVar[str] = "keep"
    strides: tuple[int, ...] = (8, 4, 2, 1)

    needs_initial_image: ClassVar[bool] = True
    binary_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        if any(stride < 1 for stride in self.strides) or len(set(self.strides)) != len(self.strides):
            raise UsageError(f"strides are at least 1 pixel, each once; got {self.strides}")

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools, in the order of the choices."""
        copies = [f"copy_{name}_{stride}" for stride in self.strides for name in DIRECTIONS]
        return ("keep", *copies, *OTHERS)

    def apply_all(self, image: Tensor, mask: Tensor | None = None, initial_image: Tensor | None = None,
                windows: MaskWindows | None = None) -> Tensor:
        """The results of all tools: (N, C, H, W) -> (N, C, K, H, W); in windows: (N, C, K, h, w)."""
        if windows is None or mask is None:
            return torch.stack([self.apply_tool(name, image, mask, initial_image) for name in self.tools], dim=2)
        outer = windows.expanded(max(_REACH, *self.strides))
        inner, near = windows.relative_to(outer), outer.crop(image)
        found = [windows.crop(self.apply_tool(name, image, mask, initial_image))
                 if name in ("mirror", "start", "detail")
                 else inner.crop(self.apply_tool(name, near, None, None)) for name in self.tools]
        return torch.stack(found, dim=2)

    def valid_mask(self, mask: Tensor, windows: MaskWindows | None = None) -> Tensor:
        """Where each tool is valid: (N, 1, H, W) -> (N, K, H, W) bool; outside the hole only "keep" is. In windows:
        (N, K, h, w)."""
        height, width = mask.shape[-2:]
        inside = mask[:, 0] > 0.5
        found, mirrored = [], _mirrored(mask)[1]
        for name in self.tools:
            there = torch.ones_like(inside)
            if name.startswith("copy_"):
                down, right = self._offset(name)
                rows, columns = (torch.arange(side, device=mask.device) for side in (height, width))
                there = (((rows + down >= 0) & (rows + down < height))[:, None]
                         & ((columns + right >= 0) & (columns + right < width))[None]).expand_as(inside)
            elif name in ("mirror", "detail"):
                there = mirrored
            there = there & inside if name != "keep" else there
            found.append(there if windows is None else windows.crop(there))
        return torch.stack(found, dim=1)

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None,
              initial_image: Tensor | None = None, step: int = 0) -> Tensor:
        choice = action["local"]
        if choice.is_floating_point():  # probabilities (N, 1, K, H, W)
            if mask is None:
                return (choice * self.apply_all(image, mask, initial_image)).sum(dim=2)
            windows = MaskWindows.from_mask(mask)
            mixed = (windows.crop(choice) * self.apply_all(image, mask, initial_image, windows)).sum(dim=2)
            return windows.paste(mixed, image)
        after, seen = image, choice if mask is None else torch.where(mask > 0.5, choice, 0)
        chosen = range(self.num_choices) if choice.device.type != "cpu" else torch.unique(seen).tolist()
        for index in chosen:
            if index:
                after = torch.where(seen == index, self.apply_tool(self.tools[index], image, mask, initial_image),
                                    after)
        return after

    def _offset(self, name: str) -> tuple[int, int]:
        _, direction, stride = name.split("_")
        down, right = DIRECTIONS[direction]
        return down * int(stride), right * int(stride)

    def apply_tool(self, name: str, image: Tensor, mask: Tensor | None, initial_image: Tensor | None) -> Tensor:
        if name.startswith("copy_"):
            return _moved(image, *self._offset(name))
        if name == "diffuse":
            padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
            return (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]) / 4
        if name == "median":
            return median(image, 3)
        if name == "isophote":
            return _along_edges(image)
        if name == "mirror":
            return image if mask is None else _mirror_values(image, mask)
        if name == "detail":
            fine = _DETAIL * (image - gaussian(image, 1.0, 5))
            return image if mask is None else (image + _mirror_values(fine, mask, torch.zeros_like(fine))).clamp(0, 1)
        if name == "start":
            return image if initial_image is None else initial_image
        if name in ("darker", "brighter"):
            return (image + (_STEP if name == "brighter" else -_STEP)).clamp(0, 1)
        return image


@ACTION_SETS.register("touch_up")
@dataclass(frozen=True)
class ResidualActions(ActionSet):
    """Each pixel of the hole changes its three channels in small steps: continuous heads.

    Args:
        max_change: largest change per step.
    """

    purpose: ClassVar[Purpose] = "completion"
    max_change: float = 0.05

    needs_initial_image: ClassVar[bool] = True
    binary_mask: ClassVar[bool] = True
    action_dim: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if not 0 < self.max_change <= 1:
            raise UsageError(f"max_change lies in (0, 1]; got {self.max_change}")

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None,
              initial_image: Tensor | None = None, step: int = 0) -> Tensor:
        return (image + self.max_change * action["local"]).clamp(0, 1)

    def magnitude(self, action: Action) -> Tensor:
        """Mean change of the channels over the largest: (N, 1, H, W)."""
        return action["local"].abs().mean(dim=1, keepdim=True)

    def noop(self, count: int, height: int, width: int) -> Action:
        """No change."""
        return {"local": torch.zeros(count, 3, height, width)}


def _moved(image: Tensor, down: int, right: int) -> Tensor:
    """The image shifted by an offset; pixels whose source lies outside keep their value."""
    height, width = image.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        return image
    rows, columns = (slice(max(0, -step), side - max(0, step)) for step, side in ((down, height), (right, width)))
    there: Any = (..., slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right))
    result = image.clone()
    result[..., rows, columns] = image[there]
    return result


def _along_edges(image: Tensor) -> Tensor:
    """The mean of the two places along the edge through each pixel (perpendicular to the gradient)."""
    count, _, height, width = image.shape
    with torch.no_grad():
        light = F.pad(gaussian(brightness(image.detach()), 1.0, 5), (1, 1, 1, 1), mode="replicate")
        right = light[..., 1:-1, 2:] - light[..., 1:-1, :-2]
        down = light[..., 2:, 1:-1] - light[..., :-2, 1:-1]
        length = (right**2 + down**2).sqrt().clamp(min=1e-4)
        rows, columns = torch.meshgrid(torch.arange(height, device=image.device),
                                       torch.arange(width, device=image.device), indexing="ij")
        way = _ALONG * torch.stack([-down / length, right / length], dim=-1)[:, 0]  # (N, H, W, 2), as x and y
        here = torch.stack([columns, rows], dim=-1).to(image).expand(count, -1, -1, -1)
        size = image.new_tensor([max(1, width - 1), max(1, height - 1)])
        places = [2 * (here + sign * way) / size - 1 for sign in (1, -1)]
    found = [F.grid_sample(image, place, mode="bilinear", padding_mode="border", align_corners=True)
             for place in places]
    return (found[0] + found[1]) / 2


def _mirror_values(image: Tensor, mask: Tensor, other: Tensor | None = None) -> Tensor:
    """The image's values at the mirrored places; where there is none, those of `other`, or of the image."""
    index, there = _mirrored(mask)
    flat = image.flatten(2)
    taken = flat.gather(2, index.flatten(1)[:, None].expand(-1, image.shape[1], -1)).view_as(image)
    return torch.where(there[:, None], taken, image if other is None else other)


def _mirrored(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Flat index of the place mirrored at the hole's nearest border, and where it is valid."""
    height, width = mask.shape[-2:]
    found = [_places(hole.tobytes(), height, width) for hole in (mask[:, 0] > 0.5).cpu().numpy()]
    return (torch.from_numpy(np.stack([places for places, _ in found])).to(mask.device),
            torch.from_numpy(np.stack([there for _, there in found])).to(mask.device))


@lru_cache(maxsize=64)  # an episode asks at each of its steps
def _places(hole_bytes: bytes, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """`_mirrored` for one hole."""
    from scipy.ndimage import distance_transform_edt  # here: it costs start-up time

    hole, own = np.frombuffer(hole_bytes, bool).reshape(height, width), np.indices((height, width))
    if not hole.any() or hole.all():
        return np.zeros((height, width), np.int64), np.zeros((height, width), bool)
    rows, columns = 2 * distance_transform_edt(hole, return_distances=False, return_indices=True) - own
    fine = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = np.where(fine, rows * width + columns, 0)
    return place, fine & hole & ~hole.ravel()[place]

"""Filters as actions: every pixel takes the result of one tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.learning.actions.base import ACTION_SETS, ToolSet
from rlenhance.learning.ops.filters import bilateral, box, find_tiled_filter, gaussian, median, shift
from rlenhance.learning.ops.image import NOISE_MARGIN
from rlenhance.learning.types import Action
from rlenhance.ops.filters_batched import TiledFilter, apply_all, apply_selected

#: Tools by name: (N, C, H, W) -> the same shape, for C = 1 and C = 3, without side effects. To add one, decorate it
#: with `@FILTERS.register("name")` and name it in `FilterActions(tools=...)`.
FILTERS: Registry[Callable[[Tensor], Tensor]] = Registry("filter")
#: The tool that every set needs.
IDENTITY = "nothing"

for _name, _tool in {
    "darker": partial(shift, amount=-1 / 255),
    IDENTITY: lambda image: image,
    "brighter": partial(shift, amount=1 / 255),
    "gaussian_0.5": partial(gaussian, sigma=0.5),
    "bilateral_0.1": partial(bilateral, sigma_color=0.1),
    "median": median,
    "gaussian_1.5": partial(gaussian, sigma=1.5),
    "bilateral_1.0": partial(bilateral, sigma_color=1.0),
    "box": box,
}.items():
    FILTERS.register(_name)(_tool)

#: The tools of PixelRL, in its order.
PIXELRL_TOOLS = tuple(FILTERS)


@ACTION_SETS.register("filters")
@dataclass(frozen=True)
class FilterActions(ToolSet):
    """Each pixel takes the result of the tool that it chooses: one head, see `ToolSet`.

    Pictures may be grey (one channel), and unrounded noise may leave [0, 1] by 1 at most; no tool moves it further.

    On a CPU only chosen tools run (`rlenhance.ops.filters_batched`); on other devices all run, without synchronising.

    Args:
        tools: names of the tools, in the order of the choices; "nothing" is one of them.

    Raises:
        UnknownName: a tool that is not registered.
        UsageError: no "nothing", a name twice, fewer than two tools.

    Source: PixelRL (Furuta et al. 2019), table 1. We depart in one border for all filters, and in -1/255 and +1/255,
    which end at 0 and 1.
    """

    purpose: ClassVar[Purpose] = "denoise"
    identity: ClassVar[str] = IDENTITY
    tools: tuple[str, ...] = PIXELRL_TOOLS

    range_margin: ClassVar[float] = NOISE_MARGIN
    image_channels: ClassVar[tuple[int, ...]] = (1, 3)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", tuple(self.tools))  # config.json has a list
        for name in self.tools:
            FILTERS[name]  # refuses unknown names
        if IDENTITY not in self.tools or len(set(self.tools)) != len(self.tools) or len(self.tools) < 2:
            raise UsageError(f"filters are at least two, each once, and {IDENTITY!r} is one of them; "
                             f"got {', '.join(self.tools) or 'none'}")

    @property
    def receptive_radius(self) -> int | None:
        """Radius in pixels of the largest tool; None if it is unknown for a registered one."""
        forms = [find_tiled_filter(FILTERS[name]) for name in self.tools if name != IDENTITY]
        return None if None in forms else max(form.radius for form in forms if form is not None)

    def apply_all(self, image: Tensor) -> Tensor:
        """The results of all tools: (N, C, H, W) -> (N, C, K, H, W)."""
        forms = self._forms(image)
        if self._left(forms):
            return torch.stack([apply_tool(name, image) for name in self.tools], dim=2)
        return torch.from_numpy(apply_all(image.detach().numpy(), forms))

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None, initial_image: Tensor | None = None,
              step: int = 0) -> Tensor:
        choice = action["local"]
        if choice.is_floating_point():  # probabilities (N, 1, K, H, W)
            return (choice * self.apply_all(image)).sum(dim=2)
        if choice.device.type != "cpu":
            return self.apply_all(image).gather(2, choice[:, :, None].expand(-1, image.shape[1], -1, -1, -1)).squeeze(2)
        forms, after = self._forms(image), image
        if any(forms):
            after = torch.from_numpy(apply_selected(image.detach().numpy(), choice.long().numpy(), forms))
        for index in self._left(forms):
            chosen = choice == index
            which = chosen.flatten(1).any(dim=1)
            if which.any():
                result = torch.where(chosen[which], apply_tool(self.tools[index], image[which]), after[which])
                after = after.index_put((which,), result)
        return after

    def _forms(self, image: Tensor) -> list[TiledFilter | None]:
        """The OpenCV form of each tool for these pictures; None for "nothing" and where there is none."""
        gradient = torch.is_grad_enabled() and image.requires_grad
        able = image.device.type == "cpu" and image.dtype == torch.float32 and not gradient and image.shape[1] in (1, 3)
        return [find_tiled_filter(FILTERS[name]) if able and name != IDENTITY else None for name in self.tools]

    def _left(self, forms: Sequence[TiledFilter | None]) -> list[int]:
        """Indices of the tools without an OpenCV form, except "nothing"."""
        return [index for index, (name, form) in enumerate(zip(self.tools, forms, strict=True))
                if form is None and name != IDENTITY]


def apply_tool(name: str, image: Tensor) -> Tensor:
    """A tool's result.

    Raises:
        UsageError: it is not a tensor of the picture's shape.
    """
    tool: Callable[[Tensor], Any] = FILTERS[name]
    result = tool(image)
    if not isinstance(result, Tensor) or result.shape != image.shape:
        got: Any = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise UsageError(f"the filter {name} must give a tensor of the picture's shape {tuple(image.shape)}; got {got}")
    return result


def choice_frequencies(choice: Tensor, count: int) -> Tensor:
    """Frequency of each of `count` tools: indices of any shape -> (count,), sums to 1."""
    return torch.bincount(choice.flatten(), minlength=count).float() / choice.numel()

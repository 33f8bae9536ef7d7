"""Tools as actions: the picture, or each region of a coarse grid, takes the result of one tool, or stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.base import ActionSet, upsample_agents
from rlenhance.learning.types import Action

#: (N, 3, H, W) -> the same shape, without gradients.
ToolFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ToolchainActions(ActionSet):
    """One choice for the whole picture, or one for each cell of a grid: a tool by its index, or stop, the last index.

    The results of the cells are blended: a cell's weight falls linearly to the centres of its neighbours, and all
    weights of a pixel sum to 1. A cell that stops keeps the picture as it is.

    Args:
        tools: names of the tools, in the order of the choices.
        regions: cells along each side of the picture; 1: the whole picture.
        functions: of the tools, in that order; empty: they are not known here, and nothing can be applied.

    Raises:
        UsageError: no tool, a name twice, no cell, or another number of functions.

    Example:
        >>> actions = ToolchainActions(("darker", "brighter"), functions=(lambda x: x / 2, lambda x: x * 2))
        >>> picture = torch.full((2, 3, 4, 4), 0.25)
        >>> actions.apply(picture, {"global": torch.tensor([0, 2])[:, None, None, None]}).mean(dim=(1, 2, 3))
        tensor([0.1250, 0.2500])
    """

    purpose: ClassVar[Purpose] = "restore"
    tools: tuple[str, ...]
    regions: int = 1
    functions: Sequence[ToolFunction] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", tuple(self.tools))  # config.json has a list
        if not self.tools or len(set(self.tools)) < len(self.tools):
            raise UsageError(f"tools are at least one, each once; got {', '.join(self.tools) or 'none'}")
        if self.regions < 1:
            raise UsageError(f"regions must be at least 1, the whole picture; got {self.regions}")
        if self.functions and len(self.functions) != len(self.tools):
            raise UsageError(f"functions are one for each of the {len(self.tools)} tools; got {len(self.functions)}")

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("global",) if self.regions == 1 else ("local",)

    @property
    def action_dim(self) -> int:
        return 1

    @property
    def num_choices(self) -> int:
        return len(self.tools) + 1

    @property
    def stop(self) -> int:
        """The choice that changes nothing, in this step and in all that follow."""
        return len(self.tools)

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        return self.regions, self.regions

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None, initial_image: Tensor | None = None,
              step: int = 0) -> Tensor:
        if not self.functions:
            raise UsageError(f"the functions of the tools {', '.join(self.tools)} are not known here: bind them "
                             f"(ToolchainPolicy.bind), or use ToolchainEnv")
        return self.blend(image, action, lambda index, rows: self.functions[index](image[rows]))

    def blend(self, image: Tensor, action: Action, run: Callable[[int, Tensor], Tensor]) -> Tensor:
        """`apply` with results from elsewhere, as from a cache.

        Args:
            image: (N, 3, H, W).
            action: indices, (N, 1, r, r).
            run: index of a tool, and the numbers of the pictures (M,) that need it -> its results (M, 3, H, W).
        """
        choice = action[self.scopes[0]].long()
        weights = torch.nn.functional.one_hot(choice[:, 0], self.num_choices).permute(0, 3, 1, 2).to(image.dtype)
        if self.regions > 1:
            weights = upsample_agents(weights, image.shape[-2:])
        after = weights[:, self.stop :] * image
        for index in sorted(set(choice.flatten().tolist())):
            rows = (choice == index).flatten(1).any(dim=1).nonzero().flatten()
            if index != self.stop:
                after[rows] += weights[rows][:, index, None] * run(index, rows)
        return after

    def magnitude(self, action: Action) -> Tensor:
        """1 where a tool acts, 0 where there is a stop: (N, 1, r, r)."""
        return (action[self.scopes[0]] != self.stop).float()

    def noop(self, count: int, height: int, width: int) -> Action:
        return {self.scopes[0]: torch.full((count, 1, self.regions, self.regions), self.stop)}

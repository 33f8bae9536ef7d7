"""The filter that a policy chose most often at each pixel, as a picture and in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions.filters import IDENTITY, choice_frequencies
from rlenhance.learning.models import BaseFilterPolicy, GreedyEpisode
from rlenhance.learning.models.tiled import run_filters_tiled
from rlenhance.learning.ops.image import to_tensor

#: Colours of the tools, distinct with most kinds of colour blindness (Okabe and Ito 2008); grey: nothing.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
          (255, 255, 255), (90, 20, 90))
_IDLE = (70, 70, 70)


@dataclass(frozen=True)
class ToolMap:
    """The choices of a policy over filters for one picture.

    Attributes:
        tools: their names.
        winner: (H, W), the number of the tool that was chosen most often at each pixel; that of "nothing" only where no
            other was chosen.
        shares: of each tool at each step, (T, K), rows sum to 1.
    """

    tools: tuple[str, ...]
    winner: np.ndarray
    shares: np.ndarray

    def picture(self) -> np.ndarray:
        """The winners in colours: (H, W, 3) uint8."""
        return np.array([self.color(tool) for tool in self.tools], np.uint8)[self.winner]

    def color(self, tool: str) -> tuple[int, int, int]:
        """The colour of a tool, RGB."""
        others = [name for name in self.tools if name != IDENTITY]
        return _IDLE if tool == IDENTITY else COLORS[others.index(tool) % len(COLORS)]

    def describe(self) -> str:
        """A line for each tool, the most frequent winner first: its colour, its share of pixels and of all choices."""
        won = np.bincount(self.winner.ravel(), minlength=len(self.tools)) / self.winner.size
        lines = [f"  #{bytes(self.color(self.tools[k])).hex()} {self.tools[k]:<14} won {won[k]:6.1%}, "
                 f"taken {self.shares[:, k].mean():6.1%} of the time" for k in np.argsort(-won, kind="stable")]
        return "\n".join(lines)


def map_tools(model: GreedyEpisode, picture: np.ndarray, preference: Mapping[str, float] | None = None) -> ToolMap:
    """Run a policy on a picture and count its choices.

    Args:
        model: a policy over filters.
        picture: (H, W, 3) uint8, uint16 or float in [0, 1], RGB.
        preference: see `GreedyEpisode`.

    Raises:
        UsageError: another model; a picture that it does not take.
    """
    policy = getattr(model, "policy", None)
    if not isinstance(policy, BaseFilterPolicy):
        raise UsageError("only a policy over filters has a map of its choices: name one as the model "
                         "(filters-grey is one)")
    tools, steps = tuple(policy.actions.tools), model.steps
    counts = np.zeros((len(tools), *picture.shape[:2]), np.uint8)
    shares = torch.zeros(steps, len(tools), dtype=torch.float64)

    def see(place: Any, step: int, choice: Tensor) -> None:
        for tool in range(len(tools)):
            counts[(tool, *place[1:])] += (choice == tool).sum(dim=(0, 1)).byte().cpu().numpy()
        shares[step] += choice_frequencies(choice, len(tools)).cpu() * choice.numel()

    with torch.inference_mode():
        entered = policy.preprocess(to_tensor(picture, next(policy.parameters()).device))
        encoded = policy.preferences.encode(preference, len(entered), entered.device)
        run_filters_tiled(policy, entered, encoded, steps, on_choice=see)
    idle = tools.index(IDENTITY)
    counts[idle] = counts.sum(axis=0) == counts[idle]  # wins where nothing else was taken
    return ToolMap(tools, counts.argmax(axis=0), (shares / shares.sum(dim=1, keepdim=True)).numpy())

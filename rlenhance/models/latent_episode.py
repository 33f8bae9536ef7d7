"""The greedy episode of a policy that moves latent codes, and its recursion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlenhance.actions import Action, LatentMoves, advance, begin
from rlenhance.actions.latent import GATES
from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image
from rlenhance.models.base import Policy
from rlenhance.models.episode import UnrolledPolicy
from rlenhance.models.policy import observe

#: A patch whose root mean square change of a whole episode is below this is left alone from then on.
STILL = 0.5 / 255


class SelfEnhancer(UnrolledPolicy):
    """`UnrolledPolicy` of a policy over latent codes; with `recurse`, it enhances what it has made, again and again.

    In the further episodes the noisy picture stays what the first one began with, and a patch that an episode has
    hardly changed (`STILL`) has stopped: its gates stay closed.

    Args:
        policy: its actions are `LatentMoves`.
        steps: see `UnrolledPolicy`.
        recurse: how many episodes follow the first one.

    Raises:
        UsageError: a negative number of them.
    """

    def __init__(self, policy: Policy, steps: int | None = None, recurse: int = 0):
        super().__init__(policy, steps)
        if recurse < 0:
            raise UsageError(f"--recurse is how often the result is enhanced again, 0 or more; got {recurse}")
        self.recurse = recurse

    def forward(self, image: Tensor, mask: Tensor | None = None,
                preference: Mapping[str, float] | None = None) -> Tensor:
        """Enhance (N, 3, H, W) of any size."""
        return self.play(image, mask, preference).image

    def _run(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float] | None,
             quick: bool = False) -> tuple[list[Tensor], list[Action]]:
        """The states and actions of all episodes, one after the other."""
        policy: Any = self.policy
        moves: LatentMoves = policy.actions
        start = check_image(image)
        now = begin(moves, start)
        encoded = policy.preferences.encode(preference, image.shape[0], image.device)
        states: list[Tensor] = [now]
        chosen: list[Action] = []
        moving: Tensor | None = None
        for _ in range(1 + self.recurse):
            before = now
            for step in range(self.steps):
                action, _ = policy.act(observe(now, 1 - step / policy.horizon, encoded, None, start))
                if moving is not None:
                    action = {"local": closed(action["local"], moving)}
                now = advance(moves, now, action, mask, start, len(chosen))
                states.append(now)
                chosen.append(action)
            patches = moves.blocks.extract(now - before).square().mean(dim=(1, 2, 3)).sqrt() > STILL
            moving = patches.unflatten(0, (len(image), 1, *moves.grid("local", image.shape[-2], image.shape[-1])))
        return states, chosen


def closed(action: Tensor, moving: Tensor) -> Tensor:
    """Actions (N, heads, h, w) with gates closed where a patch no longer moves; `moving` is (N, 1, h, w), bool."""
    gates = torch.where(moving, action[:, -GATES:], -1.0)
    return torch.cat([action[:, :-GATES], gates], dim=1)

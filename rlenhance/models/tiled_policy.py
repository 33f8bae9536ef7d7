"""Policies that decide pixel by pixel, on pictures of any size: tile by tile, as if it were done at once.

What looks at the whole picture (its statistics, the picture-level agent, the mean of the local ones) is computed once
per step from the whole picture. What is local is computed in tiles with as much around them as the network sees, anew
in every step, and the recurrent state is cut and put together with them. So the tiles leave no trace: 1e-5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlenhance.actions import Action, apply_action, attenuate_local
from rlenhance.core.tiling import tiles
from rlenhance.models.policy import Observation, PixelPolicy, make_observation

#: Side of a tile in pixels, without what is around it.
TILE = 512
_PROBES = (64, 160, 352, 736)  # half the sides of the pictures on which a network's reach is looked for


def can_tile(policy: Any, height: int, width: int) -> bool:
    """Whether its local agents stand one by one on the backbone's features, which can then be cut."""
    return (isinstance(policy, PixelPolicy) and not policy.uses_mask and "local" in policy.actions.scopes
            and policy.actions.agent_grid("local", height, width) == _cells(policy, height, width))


def run_tiled(policy: PixelPolicy, image: Tensor, encoded: Tensor, steps: int, tile: int = TILE,
               local: bool = True) -> Tensor:
    """The picture after a greedy episode: (N, 3, H, W) of any size.

    Beside two pictures it needs memory for one tile's network, and for the local actions of one step.

    Args:
        policy: one that is `can_tile`.
        encoded: (N, P), the settled preferences.
        tile: side in pixels.
        local: False takes the local agents' part away.
    """
    memory: Any = None
    smoothness = policy.preferences.smoothness(encoded)
    for step in range(steps):
        observation = make_observation(image, 1 - step / policy.horizon, encoded)
        observation["statistics"] = policy.precompute(observation)["statistics"]
        action, memory = act_tiled(policy, observation, memory, tile)
        if not local:
            action = {**action, "local": torch.zeros_like(action["local"])}
        image = apply_action(policy.actions, image, attenuate_local(action, smoothness))
    return image


def act_tiled(policy: PixelPolicy, observation: Observation, memory: Any, tile: int = TILE) -> tuple[Action, Any]:
    """`PixelPolicy.act`, tile by tile.

    Args:
        observation: with its statistics.
        memory: what the last step left, or None.
    """
    image, stride = observation["image"], policy.backbone.stride
    height, width = image.shape[-2:]
    rows, columns = _cells(policy, height, width)
    halo = -(-receptive_radius(policy) // stride)  # in cells, as all that follows
    edge = max(1, tile // stride)
    pieces: dict[str, Tensor] = {}
    sums: Any = None
    states: Any = None
    for place in tiles(rows, columns, edge, halo):
        seen: Any = (slice(span.start * stride, min(span.stop * stride, side))
                     for span, side in zip(place.outer[1:], (height, width), strict=True))
        part: Observation = {**observation, "image": image[(..., *seen)]}
        before = None if memory is None else tuple(entry[place.outer] for entry in memory)
        features, after = policy.backbone(part["image"], policy.global_features(part), before)
        action = policy.local_action(features)
        if not pieces:
            pieces["local"] = action.new_empty(*action.shape[:-2], rows, columns)
            states = None if after is None else tuple(e.new_empty(*e.shape[:2], rows, columns) for e in after)
            sums = features.new_zeros(features.shape[:2], dtype=torch.float64)
        pieces["local"][place.inner] = action[place.crop]
        sums = sums + features[place.crop].double().sum(dim=(2, 3))
        for whole, entry in zip(states or (), after or (), strict=True):
            whole[place.inner] = entry[place.crop]
    if "global" in policy.actions.scopes:
        mean = (sums / (rows * columns)).to(image.dtype)
        pieces["global"] = policy.global_action(mean, policy.global_features(observation))
    return pieces, states


def receptive_radius(policy: PixelPolicy) -> int:
    """How many pixels around its own an agent sees in one step, as whole cells of the features.

    What is not a number makes all that depends on it not a number: one such pixel shows how far it is seen.
    """
    signature = tuple(sorted((name, tuple(entry.shape)) for name, entry in policy.state_dict().items()))
    return _reach(policy, signature)


@lru_cache(maxsize=8)
def _reach(policy: PixelPolicy, signature: Any) -> int:
    stride = policy.backbone.stride
    some = next(policy.parameters())
    context = some.new_zeros(1, policy.context_size)
    for half in _PROBES:
        half = -(-half // stride) * stride
        image = some.new_zeros(1, 3, 2 * half, 2 * half)
        image[..., half, half] = torch.nan
        with torch.no_grad():
            raw = policy.heads["local"](policy.backbone(image, context, None)[0])
        seen = torch.isnan(raw).any(dim=1)[0].nonzero()
        cell = half // stride
        far = int((seen - cell).abs().max()) + 1
        if far < cell:
            return far * stride
    raise ValueError(f"a network that sees farther than {_PROBES[-1]} pixels cannot be tiled")


def _cells(policy: PixelPolicy, height: int, width: int) -> tuple[int, int]:
    stride = policy.backbone.stride
    return -(-height // stride), -(-width // stride)

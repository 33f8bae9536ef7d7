"""Policies over filters on pictures of any size: whole episodes, tile by tile, in bounded memory.

What a pixel chooses depends on its surroundings alone, but for the strength of the noise, which is told from the whole
picture. A tile with as much around it as an episode sees gives what the whole picture would: probabilities within 1e-5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlenhance.actions import apply_action
from rlenhance.core.tiling import tiles
from rlenhance.models.filter_policy import BaseFilterPolicy
from rlenhance.models.policy import Observation, make_observation

_TILE = 512  # features along a tile
_PROBES = (12, 24, 48, 96)  # units to each side of the place from which a network's reach is looked for

#: Called with the place of a tile in the picture (an index), the number of the step, and the choices made there
#: (N, 1, h, w).
See = Callable[[Any, int, Tensor], None]


def run_tiled(policy: BaseFilterPolicy, image: Tensor, encoded: Tensor, steps: int, tile: int | None = None,
               see: See | None = None) -> Tensor:
    """The picture after a greedy episode, before `policy.postprocess`.

    Beside three pictures it needs memory for one tile. A policy with tools of one's own, or a network that sees the
    whole picture, works on the whole at once.

    Args:
        image: what `policy.preprocess` gave.
        encoded: (N, P), the preferences.
        tile: side in pixels; None: 512 features.
        see: looks at the choices as they are made.
    """
    seen, (height, width) = receptive_radius(policy), image.shape[-2:]
    side = -(-(tile or _TILE * policy.stride) // policy.grid_period) * policy.grid_period if seen else max(height,
                                                                                                           width)
    actions: Any = policy.actions
    none, done = image.new_zeros(image.shape[0], 0), 0
    for length in [steps] if policy.is_recurrent else [1] * steps:
        first, later = seen or (0, 0)
        noise, after = policy.noise_level(image, encoded), torch.empty_like(image)
        for place in tiles(height, width, side, policy.grid_period * (first + max(0, length - 1) * later)):
            part = image[place.outer]
            state = policy.initial_state(part, noise)
            for step in range(done, done + length):
                action, state = policy.act(make_observation(part, 1 - step / policy.horizon, none), state)
                if see:
                    see(place.inner, step, action["local"][place.crop])
                part = apply_action(actions, part, action)
            after[place.inner] = part[place.crop]
        image, done = after, done + length
    return image


@lru_cache(maxsize=8)
def receptive_radius(policy: BaseFilterPolicy) -> tuple[int, int] | None:
    """How far a pixel sees in the first step of an episode, and in each later one, in units of `policy.grid_period`
    pixels.

    None where it sees all, or where a tool does not tell how far it looks. What is not a number makes all that depends
    on it not a number: one such unit shows how far it is seen.
    """
    tools = policy.actions.receptive_radius
    if tools is None:
        return None
    least, policy = -(-tools // policy.grid_period), copy.copy(policy)
    policy.__dict__["to_channels"] = lambda image: image  # which else lets nothing in that is not a number
    for half in _PROBES:
        with torch.no_grad():
            first = _first(policy, half)
            found = first, _later(policy, half) if policy.is_recurrent else first
        if max(found) < half:
            return max(least, found[0]), max(least, found[1])
    return None


def _first(policy: BaseFilterPolicy, half: int) -> int:
    image = _blank(policy, half)
    noise = policy.noise_level(image)
    _poison(image, half)
    return _farthest(policy, half, *_step(policy, image, policy.initial_state(image, noise)))


def _later(policy: BaseFilterPolicy, half: int) -> int:
    image = _blank(policy, half)
    _, state = _step(policy, image, policy.initial_state(image, policy.noise_level(image)))
    for entry in (image, *_maps(state)):
        _poison(entry, half)
    return _farthest(policy, half, *_step(policy, image, state))


def _blank(policy: BaseFilterPolicy, half: int) -> Tensor:
    side = (2 * half + 1) * policy.grid_period
    return next(policy.parameters()).new_zeros(1, policy.channels, side, side)


def _step(policy: BaseFilterPolicy, image: Tensor, state: Any) -> tuple[Tensor, Any]:
    observation: Observation = make_observation(image, 1.0, image.new_zeros(1, 0))
    observation["tools"] = image.new_zeros(1, policy.channels, policy.actions.num_choices, *image.shape[-2:])
    found, _, state = policy(observation, state)
    chances: Any = found.scopes["local"]
    return chances.log_probs[:, 0], state


def _maps(state: Any) -> list[Tensor]:
    """The tensors in a recurrent state that lie over the picture."""
    if isinstance(state, Tensor):
        return [state] if state.ndim == 4 and state.shape[-1] > 1 else []
    return [entry for part in state or () for entry in _maps(part)] if isinstance(state, (tuple, list)) else []


def _poison(entry: Tensor, half: int) -> None:
    """The unit in the middle of (N, C, h, w), which has 2 half + 1 of them along each side."""
    first, last = (entry.shape[-1] * place // (2 * half + 1) for place in (half, half + 1))
    entry[..., first:last, first:last] = torch.nan


def _farthest(policy: BaseFilterPolicy, half: int, numbers: Tensor, state: Any) -> int:
    """How many units lie between the middle and the farthest that is not a number."""
    far = 0
    for entry in (numbers, *_maps(state)):
        cells = torch.isnan(entry).flatten(0, -3).any(dim=0).nonzero()
        if len(cells):
            far = max(far, int((cells * (2 * half + 1) // entry.shape[-1] - half).abs().max()))
    return far

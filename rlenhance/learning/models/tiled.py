"""Greedy episodes on images of any size, tile by tile, in bounded memory.

An agent depends on its surroundings, and on numbers of the whole image: statistics, the global action, the mean of the
local actions, the noise. Tiles with a halo of the receptive radius give the result of the whole image, within 1e-5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.pixels import tiles
from rlenhance.learning.actions import Action, apply_action, attenuate_local
from rlenhance.learning.models.filter_policy import BaseFilterPolicy
from rlenhance.learning.models.policy import Observation, PixelPolicy, make_observation

#: Side of a tile in pixels, and in features of a filter policy; without its halo.
TILE, FILTER_TILE = 512, 512
_PROBE_PIXELS = (64, 160, 352, 736)  # half the sides of the images on which a receptive radius is measured
_PROBE_UNITS = (12, 24, 48, 96)  # the same in units of a filter policy's grid period

#: Called with the place of a tile in the image (an index), the number of the step, and the choices (N, 1, h, w).
OnChoice = Callable[[Any, int, Tensor], None]


def can_tile(policy: Any, height: int, width: int) -> bool:
    """Whether a policy has one local agent per feature, so that its features can be computed in tiles."""
    return (isinstance(policy, PixelPolicy) and not policy.uses_mask and "local" in policy.actions.scopes
            and policy.actions.agent_grid("local", height, width) == _cells(policy, height, width))


def run_tiled(policy: PixelPolicy, image: Tensor, encoded: Tensor, steps: int, tile: int = TILE,
              local: bool = True) -> Tensor:
    """The image after a greedy episode: (N, 3, H, W) of any size.

    Every step is tiled, with the recurrent state. Memory: two images, one tile's features, one step's local actions.

    Args:
        policy: one that `can_tile`.
        image: (N, 3, H, W) in [0, 1].
        encoded: (N, P), the preferences after `resolve_auto`.
        steps: how many steps.
        tile: side in pixels.
        local: False: only the global agent acts.
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
        policy: one that `can_tile`.
        observation: with `statistics`.
        memory: the recurrent state, or None.
        tile: side in pixels.
    """
    image, stride = observation["image"], policy.backbone.stride
    height, width = image.shape[-2:]
    rows, columns = _cells(policy, height, width)
    halo = -(-receptive_radius(policy) // stride)  # in features, as all that follows
    pieces: dict[str, Tensor] = {}
    sums: Any = None
    states: Any = None
    for place in tiles(rows, columns, max(1, tile // stride), halo):
        seen: Any = (slice(span.start * stride, min(span.stop * stride, side))
                     for span, side in zip(place.outer[1:], (height, width), strict=True))
        part: Observation = {**observation, "image": image[(..., *seen)]}
        before = None if memory is None else tuple(entry[place.outer] for entry in memory)
        features, after = policy.backbone(part["image"], policy.global_features(part), before)
        numbers = policy.local_numbers(features)
        if not pieces:
            pieces["local"] = numbers.new_empty(*numbers.shape[:-2], rows, columns)
            states = None if after is None else tuple(e.new_empty(*e.shape[:2], rows, columns) for e in after)
            sums = features.new_zeros(features.shape[:2], dtype=torch.float64)
        pieces["local"][place.inner] = numbers[place.crop]
        sums = sums + features[place.crop].double().sum(dim=(2, 3))
        for whole, entry in zip(states or (), after or (), strict=True):
            whole[place.inner] = entry[place.crop]
    pieces["local"] = policy.local_action(pieces["local"])
    if "global" in policy.actions.scopes:
        mean = (sums / (rows * columns)).to(image.dtype)
        pieces["global"] = policy.global_action(mean, policy.global_features(observation))
    return pieces, states


def run_filters_tiled(policy: BaseFilterPolicy, image: Tensor, encoded: Tensor, steps: int, tile: int | None = None,
                      on_choice: OnChoice | None = None) -> Tensor:
    """The image after a greedy episode of a filter policy, before `policy.postprocess`.

    Each tile runs the whole episode of a recurrent policy. Memory: three images and one tile. The whole image is one
    tile if a filter's radius is unknown, or the network's receptive radius is too large.

    Args:
        policy: the filter policy.
        image: the result of `policy.preprocess`.
        encoded: (N, P), the preferences.
        steps: how many steps.
        tile: side in pixels; None: `FILTER_TILE` features.
        on_choice: called with the choices of each tile and step.
    """
    radius, (height, width), unit = episode_radius(policy), image.shape[-2:], policy.grid_period
    side = -(-(tile or FILTER_TILE * policy.stride) // unit) * unit if radius else max(height, width)
    none, done = image.new_zeros(image.shape[0], 0), 0
    for length in [steps] if policy.is_recurrent else [1] * steps:
        first, later = radius or (0, 0)
        noise, after = policy.noise_level(image, encoded), torch.empty_like(image)
        for place in tiles(height, width, side, unit * (first + max(0, length - 1) * later)):
            part = image[place.outer]
            state = policy.initial_state(part, noise)
            for step in range(done, done + length):
                action, state = policy.act(make_observation(part, 1 - step / policy.horizon, none), state)
                if on_choice:
                    on_choice(place.inner, step, action["local"][place.crop])
                part = apply_action(policy.actions, part, action)
            after[place.inner] = part[place.crop]
        image, done = after, done + length
    return image


def receptive_radius(policy: PixelPolicy) -> int:
    """The receptive radius of a local agent in one step, in pixels, rounded up to whole features.

    Raises:
        ValueError: it is too large to be measured.
    """
    signature = tuple(sorted((name, tuple(entry.shape)) for name, entry in policy.state_dict().items()))
    return _pixel_radius(policy, signature)


@lru_cache(maxsize=8)
def _pixel_radius(policy: PixelPolicy, signature: Any) -> int:
    stride, some = policy.backbone.stride, next(policy.parameters())
    context = some.new_zeros(1, policy.context_size)

    def farthest(half: int) -> int:
        image = some.new_zeros(1, 3, *[(2 * half + 1) * stride] * 2)
        _poison(image, half)
        return _farthest([policy.heads["local"](policy.backbone(image, context, None)[0])], half)

    found = _probe(farthest, [-(-half // stride) for half in _PROBE_PIXELS])
    if found is None:
        raise ValueError(f"a receptive radius above {_PROBE_PIXELS[-1]} pixels cannot be tiled")
    return (found + 1) * stride


@lru_cache(maxsize=8)
def episode_radius(policy: BaseFilterPolicy) -> tuple[int, int] | None:
    """Receptive radius of the first step of an episode and of each later one, in units of `policy.grid_period`.

    Returns:
        None where it is too large to be measured, or a filter's radius is unknown.
    """
    filters = policy.actions.receptive_radius
    if filters is None:
        return None
    least, policy = -(-filters // policy.grid_period), copy.copy(policy)
    policy.__dict__["to_channels"] = lambda image: image  # the method refuses NaN
    some = next(policy.parameters())

    def farthest(later: bool, half: int) -> int:
        image = some.new_zeros(1, policy.channels, *[(2 * half + 1) * policy.grid_period] * 2)
        state = policy.initial_state(image, policy.noise_level(image))
        if later:  # the state that a first step on the image leaves
            _, state = _step(policy, image, state)
        for entry in (image, *_maps(state)):
            _poison(entry, half)
        numbers, state = _step(policy, image, state)
        return _farthest([numbers, *_maps(state)], half)

    first = _probe(partial(farthest, False), _PROBE_UNITS)
    later = _probe(partial(farthest, True), _PROBE_UNITS) if policy.is_recurrent else first
    return None if first is None or later is None else (max(least, first), max(least, later))


def _probe(farthest: Callable[[int], int], halves: Sequence[int]) -> int | None:
    """Receptive radius in units, measured by the spread of one unit of NaN; None: the largest of `halves` or more."""
    for half in halves:
        with torch.no_grad():
            found = farthest(half)
        if found < half:
            return found
    return None


def _poison(entry: Tensor, half: int) -> None:
    """Set the unit in the middle of (N, C, h, w), which has 2 half + 1 of them along each side, to NaN."""
    first, last = (entry.shape[-1] * place // (2 * half + 1) for place in (half, half + 1))
    entry[..., first:last, first:last] = torch.nan


def _farthest(outputs: Sequence[Tensor], half: int) -> int:
    """Distance of the farthest NaN from the middle, in units."""
    far = 0
    for entry in outputs:
        cells = torch.isnan(entry).flatten(0, -3).any(dim=0).nonzero()
        if len(cells):
            far = max(far, int((cells * (2 * half + 1) // entry.shape[-1] - half).abs().max()))
    return far


def _step(policy: BaseFilterPolicy, image: Tensor, state: Any) -> tuple[Tensor, Any]:
    observation: Observation = make_observation(image, 1.0, image.new_zeros(1, 0))
    observation["tools"] = image.new_zeros(1, policy.channels, policy.actions.num_choices, *image.shape[-2:])
    found, _, state = policy(observation, state)
    return found.scopes["local"].log_probs[:, 0], state


def _maps(state: Any) -> list[Tensor]:
    """The maps (N, C, h, w) in a recurrent state."""
    if isinstance(state, Tensor):
        return [state] if state.ndim == 4 and state.shape[-1] > 1 else []
    return [entry for part in state or () for entry in _maps(part)] if isinstance(state, (tuple, list)) else []


def _cells(policy: PixelPolicy, height: int, width: int) -> tuple[int, int]:
    stride = policy.backbone.stride
    return -(-height // stride), -(-width // stride)

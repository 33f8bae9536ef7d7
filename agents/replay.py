"""Ring buffers: of tensors, and of whole episodes as 8-bit images and actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.actions import Action
from rlenhance.learning.data import Batch


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes that a draw gives.

    Attributes:
        batch: the images with which they began, with their references.
        preference: (B, P), encoded.
        actions: one mapping per step, (B, C, h, w).
        states: the images of the episodes, T + 1, where they are stored, otherwise None.
    """

    batch: Batch
    preference: Tensor
    actions: list[Action]
    states: list[Tensor] | None = None


class RingBuffer:
    """Rows of tensors by name, at most `capacity` of them: the oldest go first."""

    def __init__(self, capacity: int):
        self.capacity, self.count, self._next = capacity, 0, 0
        check_ranges(self, "[1, inf)", "capacity")
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self.count

    def store(self, entry: Mapping[str, Tensor]) -> None:
        """Add rows.

        Args:
            entry: name -> (N, ...), as many rows of each; names and shapes as before.
        """
        if not self._kept:
            self._kept = {name: value.new_empty(self.capacity, *value.shape[1:]) for name, value in entry.items()}
        count = len(next(iter(entry.values())))
        places = (torch.arange(count) + self._next) % self.capacity
        for name, value in entry.items():
            kept = self._kept[name]
            kept[places.to(kept.device)] = value.to(kept.device)
        self._next = int((self._next + count) % self.capacity)
        self.count = min(self.capacity, self.count + count)

    def state_dict(self) -> dict[str, Any]:
        """The rows it holds."""
        kept = {name: value[: self.count].clone() for name, value in self._kept.items()}
        return {"count": self.count, "next": self._next, "kept": kept}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        """Restore the state of a buffer of the same capacity."""
        self.count, self._next = state["count"], state["next"]
        self._kept = {}
        for name, value in state["kept"].items():
            full = torch.empty(self.capacity, *value.shape[1:], dtype=value.dtype, device=device)
            full[: self.count] = value.to(device)
            self._kept[name] = full


def quantize(image: Tensor) -> Tensor:
    """An image in [0, 1] as bytes; what leaves the range is clipped."""
    return (image.detach().clamp(0, 1) * 255).round().to(torch.uint8)


class EpisodeReplayBuffer(RingBuffer):
    """A ring of episodes. The environment is deterministic, so the first image and the actions determine an episode:
    states and rewards are computed again at each draw, with the reward's present weights.

    Args:
        capacity: episodes; the oldest go first.
        keep_states: keep all T + 1 images of an episode as well, in half precision: for actions that are costly to
            compute again.

    Images are stored as uint8 (12 kB each at 64 by 64 pixels), as photographs are.
    """

    def __init__(self, capacity: int, keep_states: bool = False):
        super().__init__(capacity)
        self.keep_states = keep_states

    def add(self, batch: Batch, preference: Tensor, actions: list[Action],
            states: list[Tensor] | None = None) -> None:
        """Add the episodes of a batch; `states` are all its images, from the one on which the agents first act."""
        entry = {"image": quantize(batch.image), "preference": preference}
        if batch.target is not None:
            entry["target"] = quantize(batch.target)
        for name, value in (("mask", batch.mask), ("judged", batch.target_weight)):
            if value is not None:
                entry[name] = value
        for scope in actions[0]:
            entry[f"action/{scope}"] = torch.stack([action[scope] for action in actions], dim=1)
        if self.keep_states:
            if states is None:
                raise UsageError("this replay buffer keeps states: add them with the episodes")
            entry["states"] = torch.stack(states, dim=1).half()
        if self._kept and {n: v.shape[1:] for n, v in entry.items()} != {n: v.shape[1:] for n, v in self._kept.items()}:
            raise UsageError("a replay buffer holds episodes of one size and one kind; these differ from those in it")
        self.store(entry)

    def sample(self, count: int, generator: torch.Generator) -> EpisodeBatch:
        """Episodes at random, with replacement."""
        if not self.count:
            raise UsageError("the replay buffer is empty: add episodes first")
        chosen = torch.randint(self.count, (count,), generator=generator, device=generator.device)
        drawn = {name: value[chosen.to(value.device)] for name, value in self._kept.items()}
        target = drawn.get("target")
        batch = Batch(drawn["image"].float() / 255, None if target is None else target.float() / 255,
                      drawn.get("mask"), drawn.get("judged"))
        scopes = {name.removeprefix("action/"): value for name, value in drawn.items() if name.startswith("action/")}
        steps = next(iter(scopes.values())).shape[1]
        states = [drawn["states"][:, t].float() for t in range(steps + 1)] if self.keep_states else None
        return EpisodeBatch(batch, drawn["preference"], [{n: v[:, t] for n, v in scopes.items()} for t in range(steps)],
                        states)

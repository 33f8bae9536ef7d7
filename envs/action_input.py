"""Actions from outside: NumPy arrays become tensors, and what is not a number is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.actions import Action, ActionSet

_WAY_OUT = "check the agent's output before the step"
_IN_MEMORY = ("cpu",)  # devices whose numbers are read at once


def to_tensors(actions: ActionSet, action: Any) -> Action | Tensor:
    """An action whose entries may be NumPy arrays, as tensors on the CPU; tensors are returned as they are.

    Args:
        actions: the action set.
        action: see `PixelEnv.step`; arrays of real numbers become float32, arrays of whole numbers int64.

    Raises:
        UsageError: in an array, NaN or infinity; a choice outside its range; real numbers where agents choose by index.
    """
    if isinstance(action, Tensor):
        return action
    if not isinstance(action, Mapping):
        return _to_tensor(actions, actions.scopes[0], action)
    if all(isinstance(entry, Tensor) for entry in action.values()):
        return action
    return {scope: entry if isinstance(entry, Tensor) else _to_tensor(actions, scope, entry)
            for scope, entry in action.items()}


def _to_tensor(actions: ActionSet, scope: str, entry: Any) -> Tensor:
    array, choices = np.asarray(entry), actions.num_choices
    if array.dtype.kind not in "biuf":
        raise UsageError(f"the {scope} action is an array of numbers; got {array.dtype}")
    if choices is not None and array.dtype.kind != "f":
        outside = array[(array < 0) | (array >= choices)]
        if outside.size:
            raise UsageError(f"{outside.size} of {array.size} {scope} agents name a choice outside 0 to {choices - 1}; "
                             f"the first: {outside[0]}")
        return torch.from_numpy(np.array(array, np.int64))
    if choices is not None and array.ndim != 5:  # five dimensions: probabilities
        raise UsageError(f"the {scope} agents choose among {choices} values by index; got {array.dtype}: pass integers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _not_finite(scope, int(np.isnan(array).sum()), int(np.isinf(array).sum()), array.size)
    return torch.from_numpy(np.array(array, np.float32))


def _not_finite(scope: str, missing: int, infinite: int, size: int) -> UsageError:
    return UsageError(f"{missing or infinite} of {size} numbers of the {scope} action are "
                      f"{'NaN' if missing else 'infinite'}: {_WAY_OUT}")


def check_finite(actions: ActionSet, action: Action | Tensor) -> None:
    """Refuse NaN and infinity in the tensors of an action that lie in the computer's memory, where reading them costs
    microseconds.

    Args:
        actions: the action set.
        action: see `PixelEnv.step`.

    Raises:
        UsageError: names the scope and the numbers.
    """
    for scope, entry in ({actions.scopes[0]: action} if isinstance(action, Tensor) else action).items():
        if entry.device.type in _IN_MEMORY and entry.is_floating_point():
            entry = entry.detach()
            total: Any = entry.sum().tolist()
            if not math.isfinite(total) and not entry.isfinite().all():
                raise _not_finite(scope, int(entry.isnan().sum()), int(entry.isinf().sum()), entry.numel())


class NaNCount:
    """Counts what is not finite in the tensors of an episode's actions on their device (other than the CPU, see
    `check_finite`), and reads the counts once, at its end."""

    def __init__(self) -> None:
        self._counts: dict[str, Tensor] = {}

    def add(self, action: Action | Tensor) -> None:
        """Count in the floating-point entries of a step; nothing is copied to the host."""
        for scope, entry in ({"action": action} if isinstance(action, Tensor) else action).items():
            if entry.is_floating_point() and entry.device.type not in (*_IN_MEMORY, "meta"):
                found = (~entry.detach().isfinite()).sum()
                self._counts[scope] = self._counts[scope] + found if scope in self._counts else found

    def refuse(self) -> None:
        """Read the counts, and begin again with zero.

        Raises:
            UsageError: there were some.
        """
        counts, self._counts = self._counts, {}
        if not counts:
            return
        found = zip(counts, torch.stack([*counts.values()]).tolist(), strict=True)
        named = ", ".join(f"{scope}: {count}" for scope, count in found if count)
        if named:
            raise UsageError(f"the actions of this episode had NaN or infinity ({named}): {_WAY_OUT}")

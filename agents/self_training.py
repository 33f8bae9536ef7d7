"""Recursion: what a model has made becomes what it learns to improve, a few generations deep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agents.replay import RingBuffer, quantize
from rlenhance.core.errors import UsageError
from rlenhance.data import Batch


class SelfTrainingBuffer(RingBuffer):
    """Earlier outputs, which take a share of each training batch.

    Of a picture three things are kept, as 8-bit values: the output, which is where the next episode begins, the noisy
    picture with which its line began, and the clean reference. A picture that the data brings is of generation 0, what
    a model made of it of generation 1, and so on.

    Args:
        capacity: pictures; the oldest go first.
        prob: share of a batch that earlier outputs take, on average, as soon as there are enough of them.
        max_generation: generation up to which outputs are kept.

    Raises:
        UsageError: a capacity or max_generation below 1, a share outside [0, 1].
    """

    def __init__(self, capacity: int, prob: float = 0.3, max_generation: int = 3):
        if capacity < 1 or max_generation < 1 or not 0 <= prob <= 1:
            raise UsageError(f"a self-training buffer takes a capacity and a max_generation from 1 on, a prob between "
                             f"0 and 1; got {capacity}, {max_generation} and {prob}")
        super().__init__(capacity)
        self.prob, self.max_generation = prob, max_generation

    def mix_into(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch, a share of it replaced by earlier outputs, no output twice.

        Args:
            batch: noisy pictures with their references.
            generator: draws how many (the share on average) and which.

        Returns:
            (current, start, target, generation): the pictures as they are now, as they were at first, and as they
            should be, (N, C, H, W) in [0, 1]; and (N,) int64, 0 where current is start.

        Raises:
            UsageError: pictures without references, or of another size than those that are kept.
        """
        if batch.target is None:
            raise UsageError("outputs re-enter training beside their references, and these pictures have none")
        start, target = batch.image, batch.target
        drawn = torch.rand((), generator=generator, device=generator.device).item()
        count = min(int(self.prob * len(batch) + drawn), self.count, len(batch))
        generation = torch.zeros(len(batch), dtype=torch.int64, device=start.device)
        if not count:
            return start, start, target, generation
        self._check(start)
        chosen = torch.randperm(self.count, generator=generator, device=generator.device)[:count]
        older = {name: value[chosen.to(value.device)].to(start.device) for name, value in self._kept.items()}
        fresh = len(batch) - count
        parts = [torch.cat([whole[:fresh], older[name].to(whole) / 255])
                 for name, whole in (("current", start), ("start", start), ("target", target))]
        generation[fresh:] = older["generation"]
        return parts[0], parts[1], parts[2], generation

    def add(self, output: Tensor, start: Tensor, target: Tensor, generation: Tensor) -> None:
        """Take in what a model made of pictures that `mix_into` gave.

        Outputs beyond `max_generation`, or that are not finite, are left out.

        Args:
            output: (N, C, H, W); what leaves [0, 1] is clipped.
            start, target, generation: as `mix_into` gave them.

        Raises:
            UsageError: pictures of another size than those that are kept.
        """
        wanted = (generation < self.max_generation) & torch.isfinite(output).flatten(1).all(dim=1)
        chosen = wanted.nonzero()[-self.capacity :, 0]
        if not len(chosen):
            return
        entry = {"current": quantize(output[chosen]), "start": quantize(start[chosen]),
                 "target": quantize(target[chosen]), "generation": generation[chosen] + 1}
        if self._kept:
            self._check(output)
        self.store(entry)

    def _check(self, pictures: Tensor) -> None:
        kept = self._kept["current"].shape[1:]
        if pictures.shape[1:] != kept:
            raise UsageError(f"outputs are kept as pictures {tuple(kept)}, and these are {tuple(pictures.shape[1:])}: "
                             f"crops of one size are needed")


class EarlyStopping:
    """The rule that ends a recursion: the held-out PSNR falls.

    Args:
        tolerance: dB by which it may lie below the best so far.

    Attributes:
        best: the highest so far, in dB; None before the first.
        rounds: how many have been judged.
        best_round: which of them was best, counted from 0.

    Example:
        >>> falling = EarlyStopping(tolerance=0.05)
        >>> [falling.update(psnr) for psnr in (29.0, 29.2, 29.18, 29.1)]
        [False, False, False, True]
        >>> falling.best_round
        1
    """

    def __init__(self, tolerance: float = 0.0):
        if not tolerance >= 0:
            raise UsageError(f"the tolerance must not be negative; got {tolerance}")
        self.tolerance = tolerance
        self.best: float | None = None
        self.rounds = self.best_round = 0

    def update(self, psnr: float) -> bool:
        """Take in the PSNR of one more recursion; True means to stop and go back to the best. NaN has fallen."""
        number, self.rounds = self.rounds, self.rounds + 1
        if self.best is None or psnr > self.best:
            self.best, self.best_round = psnr, number
            return False
        return not psnr >= self.best - self.tolerance

    def state_dict(self) -> dict[str, Any]:
        """What has been judged."""
        return {"best": self.best, "rounds": self.rounds, "best_round": self.best_round}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.best, self.rounds, self.best_round = state["best"], state["rounds"], state["best_round"]

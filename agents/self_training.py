"""Self-training: outputs of a model re-enter its training batches, up to a few generations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlenhance.agents.replay import RingBuffer, quantize
from rlenhance.core.errors import UsageError, check_ranges
from rlenhance.learning.data import Batch


class SelfTrainingBuffer(RingBuffer):
    """Earlier outputs, which take a share of each training batch.

    Three images are stored for each, as 8-bit values: the output, from which the next episode starts, the noisy image
    of generation 0, and the clean reference. An image of the data has generation 0, a model's output for it generation
    1, and so on.

    Args:
        capacity: outputs; the oldest go first.
        prob: share of a batch that earlier outputs take, on average, as soon as there are enough of them.
        max_generation: generation up to which outputs are stored.

    Raises:
        UsageError: a capacity or max_generation below 1, a share outside [0, 1].
    """

    def __init__(self, capacity: int, prob: float = 0.3, max_generation: int = 3):
        super().__init__(capacity)
        self.prob, self.max_generation = prob, max_generation
        check_ranges(self, "[0, 1]", "prob")
        check_ranges(self, "[1, inf)", "max_generation")

    def mix_into(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch, a share of it replaced by earlier outputs, no output twice.

        Args:
            batch: noisy images with their references.
            generator: draws how many (the share on average) and which.

        Returns:
            (current, start, target, generation): the current images, the noisy ones of generation 0 and the references,
            (N, C, H, W) in [0, 1]; and (N,) int64, 0 where current is start.

        Raises:
            UsageError: images without references, or of another size than the stored ones.
        """
        if batch.target is None:
            raise UsageError("outputs re-enter training beside their references, and these images have none")
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
        """Store a model's outputs for the images of `mix_into`.

        Outputs beyond `max_generation`, or that are not finite, are left out.

        Args:
            output: (N, C, H, W); clipped to [0, 1].
            start, target, generation: of `mix_into`.

        Raises:
            UsageError: images of another size than the stored ones.
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

    def _check(self, images: Tensor) -> None:
        kept = self._kept["current"].shape[1:]
        if images.shape[1:] != kept:
            raise UsageError(f"the stored outputs are {tuple(kept)}, and these images {tuple(images.shape[1:])}: use "
                             f"crops of one size")


class EarlyStopping:
    """Ends self-training when the held-out PSNR falls.

    Args:
        tolerance: dB by which it may lie below the best so far.

    Attributes:
        best: the highest PSNR so far, in dB; None before the first.
        rounds: how many there were.
        best_round: the round of the highest PSNR, counted from 0.

    Example:
        >>> falling = EarlyStopping(tolerance=0.05)
        >>> [falling.update(psnr) for psnr in (29.0, 29.2, 29.18, 29.1)]
        [False, False, False, True]
        >>> falling.best_round
        1
    """

    def __init__(self, tolerance: float = 0.0):
        self.tolerance = tolerance
        check_ranges(self, "[0, inf]", "tolerance")
        self.best: float | None = None
        self.rounds = self.best_round = 0

    def update(self, psnr: float) -> bool:
        """Add the PSNR of one more round; True means to stop and go back to the best. NaN counts as a fall."""
        number, self.rounds = self.rounds, self.rounds + 1
        if self.best is None or psnr > self.best:
            self.best, self.best_round = psnr, number
            return False
        return not psnr >= self.best - self.tolerance

    def state_dict(self) -> dict[str, Any]:
        """The PSNR and the number of the best round, and how many rounds there were."""
        return {"best": self.best, "rounds": self.rounds, "best_round": self.best_round}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.best, self.rounds, self.best_round = state["best"], state["rounds"], state["best_round"]

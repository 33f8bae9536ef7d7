"""The batch: images of one size with their references and masks, and the protocol of the sources of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.learning.ops.image import check_image


@dataclass(frozen=True)
class Batch:
    """Images of one size, with references, masks and noise maps where they are known.

    Attributes:
        image: (N, 3, H, W) float32 in [0, 1], sRGB: the initial state of an episode. (Denoising also takes grey images
            with one channel, and noise that leaves [0, 1].)
        target: the reference, of the same shape, or None.
        mask: (N, 1, H, W), 1 where pixels may change, or None for everywhere.
        target_weight: (N, 1, 1, 1), 1 where the reference counts in the reward, 0 elsewhere; None: everywhere.
        noise_std: (N, 1, H, W), known standard deviation of the noise, on the images' scale, or None.
    """

    image: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    target_weight: Tensor | None = None
    noise_std: Tensor | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def check(self, finite: bool = True, *, margin: float = 0.0, channels: Sequence[int] = (3,)) -> Batch:
        """Refuse tensors that do not fit together.

        Args:
            finite: refuse NaN too; a learner passes False and names the loss that became NaN.
            margin, channels: see `check_image`.

        Raises:
            UsageError: an image outside the convention, or shapes that differ.
        """
        check_image(self.image, finite, margin=margin, channels=channels)
        if self.target is not None and self.target.shape != self.image.shape:
            raise UsageError(f"target {tuple(self.target.shape)} and image {tuple(self.image.shape)} differ in shape")
        one_channel = (len(self), 1, *self.image.shape[-2:])
        for name, shape in (("mask", one_channel), ("noise_std", one_channel), ("target_weight", (len(self), 1, 1, 1))):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise UsageError(f"{name} must be {shape}; got {tuple(value.shape)}")
        return self

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with a function applied to each of its tensors."""
        values: dict[str, Any] = {name: value if value is None else function(value)
                                  for name, value in vars(self).items()}
        return Batch(**values)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self.map(lambda value: value.to(device))

    def repeat(self, times: int) -> Batch:
        """Every image `times` times, copies next to each other: a b -> a a b b."""
        return self.map(lambda value: value.repeat_interleave(times, dim=0))

    def __getitem__(self, index: slice | Tensor) -> Batch:
        return self.map(lambda value: value[index])

    @staticmethod
    def stack(batches: list[Batch]) -> Batch:
        """One batch of several with equal sizes; a field that one of them lacks is None."""
        columns = {name: [getattr(batch, name) for batch in batches] for name in vars(batches[0])}
        joined: dict[str, Any] = {name: None if any(value is None for value in values) else torch.cat(values)
                                  for name, values in columns.items()}
        return Batch(**joined)


class BatchSource(Protocol):
    """Draws batches as a function of the step, so that a resumed run draws the same ones."""

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` samples of draw `step`; of these only `part`, where processes share them."""
        ...

    def with_seed(self, seed: int) -> Self:
        """Another random stream over the same data."""
        ...

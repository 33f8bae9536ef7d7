"""What every learner eats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image


@dataclass(frozen=True)
class Batch:
    """Pictures of one size, with what is known of them.

    Attributes:
        image: (N, 3, H, W) float32 in [0, 1], sRGB: where an episode begins. (Denoising also takes grey pictures as one
            plane, and noise that leaves [0, 1].)
        target: the reference, of the same shape, or None.
        mask: (N, 1, H, W), 1 where pixels may change, or None for everywhere.
        target_weight: (N, 1, 1, 1), 1 where the reference counts in the reward, 0 elsewhere; None: everywhere.
        noise_std: (N, 1, H, W), what is known of the deviation of the pictures' noise, on their scale, or None.
    """

    image: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    target_weight: Tensor | None = None
    noise_std: Tensor | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def check(self, finite: bool = True, *, margin: float = 0.0, planes: Sequence[int] = (3,)) -> Batch:
        """Refuse what does not fit together.

        Args:
            finite: refuse NaN too; a learner lets it pass, and names the term that it ruins.
            margin, planes: of the pictures, see `check_image`.

        Raises:
            UsageError: a picture outside the convention, or shapes that differ.
        """
        check_image(self.image, finite, margin=margin, planes=planes)
        if self.target is not None and self.target.shape != self.image.shape:
            raise UsageError(f"target {tuple(self.target.shape)} and image {tuple(self.image.shape)} differ in shape")
        wanted = (len(self), 1, *self.image.shape[-2:])
        if self.mask is not None and self.mask.shape != wanted:
            raise UsageError(f"mask must be {wanted}; got {tuple(self.mask.shape)}")
        if self.noise_std is not None and self.noise_std.shape != wanted:
            raise UsageError(f"noise_std must be {wanted}; got {tuple(self.noise_std.shape)}")
        if self.target_weight is not None and self.target_weight.shape != (len(self), 1, 1, 1):
            raise UsageError(f"target_weight must be {(len(self), 1, 1, 1)}; got {tuple(self.target_weight.shape)}")
        return self

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        def apply(value: Any) -> Any:
            return None if value is None else function(value)

        return Batch(apply(self.image), apply(self.target), apply(self.mask), apply(self.target_weight),
                     apply(self.noise_std))

    def to(self, device: torch.device | str) -> Batch:
        """The same pictures on another device."""
        return self._map(lambda value: value.to(device))

    def repeat(self, times: int) -> Batch:
        """Every picture `times` times, copies beside each other: a b -> a a b b."""
        return self._map(lambda value: value.repeat_interleave(times, dim=0))

    def __getitem__(self, index: slice | Tensor) -> Batch:
        return self._map(lambda value: value[index])

    @staticmethod
    def stack(batches: list[Batch]) -> Batch:
        """One batch of several with equal sizes; what one of them lacks is None."""
        def join(values: list[Any]) -> Any:
            return None if any(value is None for value in values) else torch.cat(values)

        return Batch(join([b.image for b in batches]), join([b.target for b in batches]),
                     join([b.mask for b in batches]), join([b.target_weight for b in batches]),
                     join([b.noise_std for b in batches]))

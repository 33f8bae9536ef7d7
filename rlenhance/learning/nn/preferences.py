"""The choices of a user, encoded for a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlenhance.core.preferences import NON_NETWORK, PreferenceRanges
from rlenhance.ops.plane_statistics import auto_exposure, noise_deviation

#: Preferences that can be automatic -> their value for an image: (N, 3, H, W) -> (N, 1, 1, 1).
AUTO = {"exposure_level": auto_exposure, "noise": lambda image: 255 * noise_deviation(image)}
#: Preferences that describe the image -> their true value: image and reference, (N, C, H, W) each -> (N,).
MEASURED = {"noise": lambda image, target: 255 * (image - target).flatten(1).std(dim=1)}


class Preferences(PreferenceRanges):
    """`PreferenceRanges` for tensors.

    Example:
        >>> Preferences({"exposure_level": (0.25, 0.5, 0.75)}).encode({"exposure_level": 0.625}, 1)
        tensor([[0.5000]])
    """

    def encode(self, values: Mapping[str, float | None] | None, count: int,
               device: torch.device | str = "cpu") -> Tensor:
        """The same choices for `count` images: (count, P) in [-1, 1]; a missing name, or None, takes its default.

        An automatic value has its default until `resolve_auto`.

        Raises:
            UnknownName: a name that this policy was not trained for.
            UsageError: there are no preferences, or a value is outside its range.
        """
        return torch.from_numpy(self.row(values)).to(device).expand(count, -1).clone()

    def network_input(self, encoded: Tensor) -> Tensor:
        """The columns as a network sees them: those of `NON_NETWORK` are 0."""
        columns = [column for column, name in enumerate(self.ranges) if name in NON_NETWORK]
        if not columns:
            return encoded
        encoded = encoded.clone()
        encoded[:, columns] = 0
        return encoded

    def smoothness(self, encoded: Tensor) -> Tensor | None:
        """The argument of `attenuate_local`; None without the preference `smoothness`."""
        return self.decode(encoded, only="smoothness").get("smoothness")

    def decode(self, encoded: Tensor, only: str | None = None) -> dict[str, Tensor]:
        """(N, P) in [-1, 1] -> name -> (N, 1, 1, 1) in the user's units; and `NAME_auto`, 1 where it is automatic.

        Args:
            encoded: (N, P).
            only: decode this name alone.
        """
        values = {name: low + (encoded[:, i, None, None, None] + 1) * ((high - low) / 2)
                  for i, (name, (low, _, high)) in enumerate(self.ranges.items()) if only in (None, name)}
        flags = {f"{name}_auto": encoded[:, len(self.ranges) + i, None, None, None]
                 for i, name in enumerate(self.auto) if only in (None, name)}
        return values | flags

    def resolve_auto(self, encoded: Tensor, image: Tensor) -> Tensor:
        """Set automatic preferences to their values for these images, at the start of an episode.

        Args:
            encoded: (N, P).
            image: (N, 3, H, W), the first image of the episode.
        """
        names = list(self.ranges)
        for i, name in enumerate(self.auto):
            column, flag = names.index(name), encoded[:, len(names) + i]
            encoded = encoded.clone()
            encoded[:, column] = torch.where(flag > 0.5, self._scaled(name, AUTO[name](image).flatten()),
                                             encoded[:, column])
        return encoded

    def _scaled(self, name: str, value: Tensor) -> Tensor:
        low, _, high = self.ranges[name]
        return (2 * (value - low) / (high - low) - 1).clamp(-1, 1)

    def set_measured(self, encoded: Tensor, image: Tensor, target: Tensor | None) -> Tensor:
        """For training: set preferences that describe the image (`MEASURED`) to their true values.

        Args:
            encoded: (N, P).
            image, target: (N, C, H, W); without a reference nothing changes.
        """
        names = list(self.ranges)
        for i, name in enumerate(names):
            if target is not None and name in MEASURED:
                encoded = encoded.clone()
                encoded[:, i] = self._scaled(name, MEASURED[name](image, target))
                if name in self.auto:
                    encoded[:, len(names) + self.auto.index(name)] = 0
        return encoded

    def sample(self, count: int, generator: torch.Generator, share: float = 0.5) -> Tensor:
        """For training: (count, P), each uniform over its range with probability `share`, else at its default.

        With several preferences, half of the rows have all defaults, which most users take. Preferences that describe
        the image (`MEASURED`) keep their default.
        """
        device, names = generator.device, list(self.ranges)
        drawn = torch.rand(count, len(names), generator=generator, device=device) * 2 - 1
        free = torch.rand(count, max(1, len(names)), generator=generator, device=device)[:, : len(names)] < share
        if len(names) > 1:
            free &= torch.rand(count, 1, generator=generator, device=device) < 0.5
        free[:, [column for column, name in enumerate(names) if name in MEASURED]] = False
        defaults = self.encode(None, count, device)
        values = torch.where(free, drawn, defaults[:, : len(names)])
        asked = [free[:, names.index(name), None] for name in self.auto]
        return torch.cat([values, *(1 - flag.float() for flag in asked)], dim=1)

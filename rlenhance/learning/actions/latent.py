"""Actions on latent codes: every patch moves its code, and gates how much of its change is applied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlenhance.core import Purpose
from rlenhance.core.arrays import d4_inverse, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.engine.latent import NUM_GATES, WAYS
from rlenhance.learning.actions.base import ACTION_SETS, ActionSet
from rlenhance.learning.nn.latent import AT_ONCE, Codebook, PatchAutoencoder, measured_noise
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.learning.types import Action

_FIRST = (-0.9, -0.4)  # gates of a new policy: 0.05 of the own change, 0.3 of another view's


@ACTION_SETS.register("latent")
class LatentActions(nn.Module, ActionSet):
    """Each patch is changed by the autoencoder and by moves of its code; the patches are folded back.

    An episode starts with one pass of the autoencoder (`initial_image`); agents that do nothing keep its result.

    The heads of a patch's agent, each in [-1, 1]:

    - for each of `parts` parts of the code: a move toward the mean of the nearest clean codes (-0.25 to 0.25 of the
      way),
    - for each of `axes` axes of the code's cluster: a move along it (up to half the standard deviation). They are the
      axes along which the model's own codes differ from clean ones,
    - the first gate: the share, from 0 (-1) to 1 (1), of the autoencoder's change of the current patch,
    - the second gate: the share of its change of the initial patch in another orientation at each step. The U-Net
      beside the code is not equivariant, so its errors differ.

    With `own_shares` the gates are relative to a schedule: 0 takes the step's share of the own change, and of the new
    look 1 / (step + 2), so that all looks count alike; -1 takes nothing, 1 twice the share, at most all.

    A move of the code changes the patch by the change of its reconstruction, times the gates; with both closed nothing
    changes. Without gradients a network runs only over the patches whose gate for it is open. The networks are frozen:
    they are part of the action, as a filter is. The noise is estimated from the initial image.

    Args:
        block, overlap: of the patches.
        latent_dim, width, widths, down, up, equivariant, unet: see `rlenhance.learning.nn.latent.PatchAutoencoder`.
        codes, groups, axes, neighbours: see `rlenhance.learning.nn.latent.Codebook`.
        parts: of a code, each a share of its channels.
        own_shares: of the autoencoder's change of the current patch, one per step, in [0, 1]; (): no schedule.
        reach: how far moves go, as a multiple of the lengths above.

    Attributes:
        mixed: whether the networks run in bfloat16, as in training.
        noise_std: standard deviation of the noise on the scale of [0, 1], if the user names it; None: estimated.
    """

    purpose: ClassVar[Purpose] = "denoise"
    needs_initial_image: ClassVar[bool] = True
    binary_mask: ClassVar[bool] = True
    part_of: Tensor

    def __init__(self, block: int = 24, overlap: int = 8, latent_dim: int = 72, width: int = 24,
                 widths: Sequence[int] = (32, 64, 64), down: Sequence[int] = (1, 2, 1), up: Sequence[int] = (1, 2),
                 equivariant: bool = True, codes: int = 1024, groups: int = 8, axes: int = 8, neighbours: int = 8,
                 parts: int = 3, unet: bool = True, own_shares: Sequence[float] = (), reach: float = 1.0):
        super().__init__()
        if not all(0 <= share <= 1 for share in own_shares) or not 0 < reach < float("inf"):
            raise UsageError(f"own_shares lie between 0 and 1, and reach is above 0; got {tuple(own_shares)} and "
                             f"{reach}")
        self.autoencoder = PatchAutoencoder(PatchGrid(block, overlap), latent_dim, width, widths, down, up, equivariant,
                                            unet)
        channels = self.autoencoder.channels
        if not 0 <= parts <= channels:
            raise UsageError(f"parts must lie between 0 and {channels}, the channels of a code; got {parts}")
        self.bank = Codebook(channels, codes, groups, axes, neighbours, equivariant)
        self.parts, self.axes, self.mixed = parts, axes, False
        self.own_shares, self.reach = tuple(own_shares), reach
        self.noise_std: float | None = None
        self._first: tuple[Tensor, Tensor] | None = None
        self.register_buffer("part_of", torch.arange(channels) * parts // channels, persistent=False)
        self.requires_grad_(False)

    @property
    def action_dim(self) -> int:
        return self.parts + self.axes + NUM_GATES

    @property
    def initial_action(self) -> tuple[float, ...]:
        """Moves of 0, and gates that are nearly closed, or in the middle of their schedule."""
        return (*(0.0,) * (self.parts + self.axes), *((0.0, 0.0) if self.own_shares else _FIRST))

    @property
    def initial_std(self) -> tuple[float, ...]:
        return (*(0.05,) * (self.parts + self.axes), *(0.15,) * NUM_GATES)

    @property
    def blocks(self) -> PatchGrid:
        """The geometry of the patches."""
        return self.autoencoder.blocks

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        return self.blocks.grid(height, width)

    def initial_image(self, image: Tensor) -> Tensor:
        """One pass of the autoencoder: (N, 3, H, W)."""
        with self._precision(image.device):
            change = self.autoencoder.apply_to_patches(self._first_change, image, image, self._noise(image),
                                                       self._shown_first(image))
        return (image + change).clamp(0, 1)

    def _first_change(self, now: Tensor, start: Tensor, noise: Tensor, shown: Tensor) -> Tensor:
        return self.autoencoder.residual(now, start, shown, noise)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        if not torch.amp.is_autocast_available(device.type):
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16, enabled=self.mixed)

    def _noise(self, start: Tensor) -> Tensor:
        """(N, 1, 1, 1)."""
        if self.noise_std is None:
            return measured_noise(start)
        return start.new_full((len(start), 1, 1, 1), self.noise_std)

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None,  # type: ignore[override]
              initial_image: Tensor | None = None, step: int = 0) -> Tensor:
        # hides `nn.Module.apply`
        start = image if initial_image is None else initial_image
        chosen = action["local"].permute(0, 2, 3, 1).flatten(0, 2)
        with self._precision(image.device):
            way = WAYS[step % len(WAYS)]
            change = self.autoencoder.apply_to_patches(partial(self._change, way, self._shares(step)), image, start,
                                                       self._noise(start), chosen, self._shown_first(start))
        return (image + change).clamp(0, 1)

    @torch.no_grad()
    def _shown_first(self, start: Tensor) -> Tensor:
        """Reconstruction of the initial image's patches, (M, 3, b, b); cached for an episode."""
        if self._first is None or self._first[0] is not start:
            patches = self.blocks.extract(start)
            shown = [self.autoencoder.decode(self.autoencoder.encode(some)[0])
                     for some in torch.split(patches, AT_ONCE)]
            self._first = (start, torch.cat(shown))
        return self._first[1]

    def _shares(self, step: int) -> tuple[float, float]:
        """What gates of 0 take of the own change and of the new look at a step."""
        return (self.own_shares[step % len(self.own_shares)], 1 / (step + 2)) if self.own_shares else (0.5, 0.5)

    def _change(self, way: int, shares: tuple[float, float], now: Tensor, start: Tensor, noise: Tensor, chosen: Tensor,
                shown: Tensor) -> Tensor:
        """The change of patches: (M, 3, b, b) twice, (M, 1, 1, 1), (M, heads) and (M, 3, b, b) -> (M, 3, b, b)."""
        gates = (1 + chosen[:, -NUM_GATES:, None, None, None]).unbind(dim=1)
        own, new = ((gate * share).clamp(max=1) for gate, share in zip(gates, shares, strict=True))
        moves, network = chosen[:, :-NUM_GATES], self.autoencoder
        moving = (moves != 0).any(dim=1) & (own + new > 0).flatten()
        change = torch.zeros_like(now)
        rows = _used(moving | (own > 0).flatten())
        if len(rows):
            code, _ = network.encode(now[rows])
            seen = network.decode(code)
            mine, moved = _used(own[rows] > 0) if shares[0] else rows[:0], _used(moving[rows])
            if len(mine):
                kept = rows[mine]
                change = change.index_add(0, kept, own[kept] * network.residual(now[kept], start[kept], seen[mine],
                                                                                noise[kept]))
            if len(moved):
                kept = rows[moved]
                shift = self._shown_by(code[moved], moves[kept]) - seen[moved]
                change = change.index_add(0, kept, (own + new)[kept].clamp(max=1) * shift)
        rows = _used(new > 0)
        if len(rows):
            other, told = d4_transform(start[rows], way), noise[rows]
            if network.equivariant:  # the reconstruction turns with the patch
                again = network.residual(other, other, d4_transform(shown[rows], way), told)
            else:
                again = network.analyze(other, other, told).change
            change = change.index_add(0, rows, new[rows] * (d4_inverse(other + again, way) - now[rows]))
        return change

    def _shown_by(self, code: Tensor, chosen: Tensor) -> Tensor:
        """Reconstruction of the moved codes: (M, C, 8) and (M, parts + axes) -> (M, 3, b, b)."""
        moved = code
        if self.parts:
            toward = self.reach * 0.25 * chosen[:, : self.parts][:, self.part_of, None]
            moved = moved + toward * (self.bank.nearest_mean(code) - code)
        if self.axes:
            own = self.bank.axes[self.bank.assign_clusters(code)]
            moved = moved + torch.einsum("ma,macw->mcw", self.reach * 0.5 * chosen[:, self.parts :], own)
        return self.autoencoder.decode(moved)

    def magnitude(self, action: Action) -> Tensor:
        """The gates of each patch: (N, 2, h, w), in [0, 1]."""
        return (1 + action["local"][:, -NUM_GATES:]) / 2

    def noop(self, count: int, height: int, width: int) -> Action:
        """All gates closed."""
        action = torch.zeros(count, self.action_dim, *self.agent_grid("local", height, width))
        action[:, -NUM_GATES:] = -1
        return {"local": action}


def _used(chosen: Tensor) -> Tensor:
    """The rows that count, (M, ...) bool with one value each -> int64; all of them where gradients are recorded."""
    rows = chosen.flatten()
    return torch.arange(len(rows), device=rows.device) if torch.is_grad_enabled() else rows.nonzero().squeeze(1)

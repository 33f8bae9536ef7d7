"""Moves of latent codes: every patch says how far its code goes, and how much of its change is taken."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlenhance.actions.base import ACTION_SETS, ActionSet
from rlenhance.core.errors import UsageError
from rlenhance.core.image import d4_inverse, d4_transform
from rlenhance.core.types import Action, Purpose
from rlenhance.nn.latent import AT_ONCE, Codebook, PatchAutoencoder, measured_noise
from rlenhance.ops.patch_grid import PatchGrid

#: How many heads, the last ones, are gates.
NUM_GATES = 2
_FIRST = (-0.9, -0.4)  # the first policy's gates: it takes a twentieth of its own change, and of a new look 0.3
_WAYS = (4, 2, 6, 1, 5, 3, 7)  # of the new looks, those first that differ most


@ACTION_SETS.register("latent")
class LatentActions(nn.Module, ActionSet):
    """Each patch is enhanced anew from what has become of it and from what it was, its code moved, and all is merged.

    An episode begins with one pass of the autoencoder (`initial_image`), so that agents who do nothing leave what it
    makes alone, and whatever they add is theirs.

    The heads of a patch's agent, each in [-1, 1]:

    - for each of `parts` parts of the code: how far it goes toward the mean of the nearest clean codes (-0.25 to 0.25
      of the way),
    - for each of `axes` directions that the patch's group of codes has: how far it goes along it (half the
      deviation at the ends). They are learned: the axes along which the model's own outputs differ from clean pictures,
    - the first gate: how much is taken, from nothing (-1) to all of it (1), of what the autoencoder makes of the
      patch as it is now: of its own output,
    - the second gate: how much of a new look at the patch as it was at first, turned or mirrored in another way at
      each step. The autoencoder's way past the code does not turn with the patch, so its errors differ.

    Moves of the code change the patch by how much they change what the code shows, as far as the gates are open; with
    both closed the agent has stopped. The networks do not learn here: they are part of the action, as a filter is. The
    strength of the noise is taken from the picture with which the episode began.

    Args:
        block, overlap: of the patches.
        latent_dim, width, widths, down, up, equivariant: see `rlenhance.nn.latent.PatchAutoencoder`.
        codes, groups, axes, neighbours: see `rlenhance.nn.latent.Codebook`.
        parts: of a code, each a share of its channels.

    Attributes:
        mixed: networks run in bfloat16, as in training.
        noise_std: the deviation of the noise where the user names it, on the scale of [0, 1]; None: as the picture
            shows it.
    """

    purpose: ClassVar[Purpose] = "denoise"
    scopes: tuple[str, ...] = ("local",)
    needs_initial_image: ClassVar[bool] = True
    part_of: Tensor

    def __init__(self, block: int = 24, overlap: int = 8, latent_dim: int = 72, width: int = 24,
                 widths: Sequence[int] = (32, 64, 64), down: Sequence[int] = (1, 2, 1), up: Sequence[int] = (1, 2),
                 equivariant: bool = True, codes: int = 1024, groups: int = 8, axes: int = 8, neighbours: int = 8,
                 parts: int = 3):
        super().__init__()
        self.autoencoder = PatchAutoencoder(PatchGrid(block, overlap), latent_dim, width, widths, down, up, equivariant)
        channels = self.autoencoder.channels
        if not 0 <= parts <= channels:
            raise UsageError(f"a code of {channels} channels has 0 to {channels} parts; got {parts}")
        self.bank = Codebook(channels, codes, groups, axes, neighbours, equivariant)
        self.parts, self.axes, self.mixed = parts, axes, False
        self.noise_std: float | None = None
        self._first: tuple[Tensor, Tensor] | None = None
        self.register_buffer("part_of", torch.arange(channels) * parts // channels, persistent=False)
        self.requires_grad_(False)

    @property
    def action_dim(self) -> int:
        return self.parts + self.axes + NUM_GATES

    @property
    def initial_action(self) -> tuple[float, ...]:
        """What the agents of a new policy choose."""
        return (*(0.0,) * (self.parts + self.axes), *_FIRST)

    @property
    def initial_std(self) -> tuple[float, ...]:
        """The deviation with which the agents of a new policy try other choices."""
        return (*(0.05,) * (self.parts + self.axes), *(0.15,) * NUM_GATES)

    @property
    def blocks(self) -> PatchGrid:
        """The geometry of the patches."""
        return self.autoencoder.blocks

    def agent_grid(self, scope: str, height: int, width: int) -> tuple[int, int]:
        return self.blocks.grid(height, width)

    def initial_image(self, image: Tensor) -> Tensor:
        """One pass of the autoencoder: where the agents begin, (N, 3, H, W)."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.mixed):
            return self.autoencoder.enhance(image, image, self._noise(image)).clamp(0, 1)

    def _noise(self, start: Tensor) -> Tensor:
        """(N, 1, 1, 1)."""
        return measured_noise(start) if self.noise_std is None else start.new_full((len(start), 1, 1, 1),
                                                                                   self.noise_std)

    def apply(self, image: Tensor, action: Action, mask: Tensor | None = None,  # type: ignore[override]
              initial_image: Tensor | None = None, step: int = 0) -> Tensor:
        # a module's own `apply` (of a function to its parts) is not to be had of this one
        start = image if initial_image is None else initial_image
        chosen = action["local"].permute(0, 2, 3, 1).flatten(0, 2)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.mixed):
            way = _WAYS[step % len(_WAYS)]
            change = self.autoencoder.apply_to_patches(partial(self._change, way), image, start, self._noise(start),
                                                       chosen,
                                           self._shown_first(start))
        return (image + change).clamp(0, 1)

    @torch.no_grad()
    def _shown_first(self, start: Tensor) -> Tensor:
        """What the codes of the first picture's patches show, (M, 3, b, b); worked out once for an episode."""
        if self._first is None or self._first[0] is not start:
            patches = self.blocks.extract(start)
            shown = [self.autoencoder.decode(self.autoencoder.encode(some)[0])
                     for some in torch.split(patches, AT_ONCE)]
            self._first = (start, torch.cat(shown))
        return self._first[1]

    def _change(self, way: int, now: Tensor, start: Tensor, noise: Tensor, chosen: Tensor, shown: Tensor) -> Tensor:
        """What patches change: (M, 3, b, b) twice, (M, 1, 1, 1), (M, heads) and (M, 3, b, b) -> (M, 3, b, b)."""
        seen, other = self.autoencoder.analyze(now, start, noise), d4_transform(start, way)
        if self.autoencoder.equivariant:  # what codes show turns with the patch
            change = self.autoencoder.residual(other, other, d4_transform(shown, way), noise)
        else:
            change = self.autoencoder.analyze(other, other, noise).change
        anew = d4_inverse(other + change, way)
        own, new = ((1 + chosen[:, -NUM_GATES:, None, None, None]) / 2).unbind(dim=1)
        moved = self._shown_by(seen.code, chosen[:, :-NUM_GATES]) - seen.reconstruction
        return own * seen.change + new * (anew - now) + (own + new).clamp(max=1) * moved

    def _shown_by(self, code: Tensor, chosen: Tensor) -> Tensor:
        """What the moved codes show: (M, C, 8) and (M, parts + axes) -> (M, 3, b, b)."""
        moved = code
        if self.parts:
            toward = 0.25 * chosen[:, : self.parts][:, self.part_of, None]
            moved = moved + toward * (self.bank.nearest_mean(code) - code)
        if self.axes:
            own = self.bank.axes[self.bank.assign_clusters(code)]
            moved = moved + torch.einsum("ma,macw->mcw", 0.5 * chosen[:, self.parts :], own)
        return self.autoencoder.decode(moved)

    def magnitude(self, action: Action) -> Tensor:
        """How far the gates of each patch are open: (N, 2, h, w), in [0, 1]."""
        return (1 + action["local"][:, -NUM_GATES:]) / 2

    def noop(self, count: int, height: int, width: int) -> Action:
        """All gates closed."""
        action = torch.zeros(count, self.action_dim, *self.agent_grid("local", height, width))
        action[:, -NUM_GATES:] = -1
        return {"local": action}

"""Inpainting with patches of the image itself, from coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_RADIUS = 3  # of a patch, 7 x 7 pixels
_COARSEST = 24  # shorter side of the coarsest level, at least half of this
_ROUNDS = (12, 6, 3)  # of searching and voting: on the coarsest level, the next, and all others
_LARGE = 1 << 16  # missing pixels above which one round must do
_RANDOM = 4  # random guesses per round, each half as far away as the one before


def patchmatch_fill(image: Tensor, mask: Tensor, seed: int = 0) -> Tensor:
    """Fill the mask so that every patch that touches it resembles a patch of the known image.

    Each patch searches its nearest known patch: near the matches of its neighbours, and at random nearby. Then every
    missing pixel becomes the weighted mean of the patches over it. Both alternate, from a coarse image to the fine one.

    Args:
        image: (1, C, H, W) in [0, 1], with an initial guess inside the mask, such as `harmonic_fill`.
        mask: (1, 1, H, W), 1 where pixels are missing.
        seed: seed of the random search.

    Returns:
        (1, C, H, W); unchanged if no whole patch is known.

    Source: PatchMatch (Barnes et al. 2009) for the search, Wexler, Shechtman and Irani 2007 for the voting.
    """
    generator = torch.Generator().manual_seed(seed)
    device = image.device
    filled, _ = _level(image.detach().float().cpu(), (mask > 0.5).cpu(), generator, 0)
    return filled.to(device, image.dtype)


def _level(image: Tensor, mask: Tensor, generator: torch.Generator, depth: int) -> tuple[Tensor, int]:
    """The completed image of this level of the pyramid, and the number of coarser levels."""
    height, width = image.shape[-2:]
    below, begin = 0, image
    if min(height, width) >= 2 * _COARSEST:
        size = (height // 2, width // 2)
        small = F.interpolate(image, size, mode="area")
        hole = F.adaptive_max_pool2d(mask.float(), size) > 0
        coarse, below = _level(small, hole, generator, depth + 1)
        below += 1
        begin = torch.where(mask, F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False), image)
    field = _Field(begin, mask, generator)
    if not field.known:
        return begin, below
    rounds = 1 if int(mask.sum()) > _LARGE else _ROUNDS[min(below, len(_ROUNDS) - 1)]
    for _ in range(rounds):
        field.search()
        field.vote()
    return field.image, below


class _Field:
    """The nearest-neighbour field: the known patch that each patch over the mask resembles.

    Attributes:
        image: (1, C, H, W), with the present guess inside the mask.
        known: whether some patch has no missing pixel.
    """

    def __init__(self, image: Tensor, mask: Tensor, generator: torch.Generator):
        self.image, self.mask, self.generator = image.clone(), mask, generator
        size = 2 * _RADIUS + 1
        touched = F.max_pool2d(mask.float(), size, 1, _RADIUS)[0, 0] > 0
        inside = torch.zeros_like(touched)
        inside[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = True
        self.sources = ~touched & inside
        self.known = bool(self.sources.any()) and min(image.shape[-2:]) > size
        if not self.known:
            return
        self.targets = (touched & inside).nonzero()  # (n, 2): centres
        self.places = torch.full(touched.shape, -1)
        self.places[self.targets[:, 0], self.targets[:, 1]] = torch.arange(len(self.targets))
        choice = self.sources.nonzero()
        # begin with the known patch that is nearest in place, on a sparse grid of them, moved at random
        some = choice[torch.randint(len(choice), (min(256, len(choice)),), generator=generator)]
        nearest = torch.cdist(self.targets.float(), some.float()).argmin(dim=1)
        self.found = some[nearest]
        offsets = torch.arange(-_RADIUS, _RADIUS + 1)
        self.window = torch.cartesian_prod(offsets, offsets)

    def search(self) -> None:
        """Improve the matches: propagate those of neighbours, and search at random."""
        self._flat = self.image[0].flatten(1)
        own = self._patches(self.targets)
        best = self._distance(own, self.found)
        longest = max(self.image.shape[-2:])
        for jump in (4, 2, 1):
            for step in ((0, jump), (jump, 0), (0, -jump), (-jump, 0)):
                best = self._try(own, self._of_neighbours(step), best)
        for power in range(_RANDOM):
            far = longest / 2**(2 * power + 1)
            moved = self.found + ((torch.rand(self.found.shape, generator=self.generator) * 2 - 1) * far).round().long()
            best = self._try(own, moved, best)
        self.best = best

    def vote(self) -> None:
        """Set missing pixels to the weighted mean of the patches over them."""
        width = self.image.shape[-1]
        scale = self.best.quantile(0.75) if len(self.best) < 1 << 20 else self.best.median()
        weight = torch.exp(-self.best / (2 * scale.clamp(min=1e-6)))
        sums = torch.zeros(self.image.shape[1] + 1, self._flat.shape[1])
        for offset in self.window:
            there = (self.targets + offset) @ torch.tensor([width, 1])
            values = self._flat[:, (self.found + offset) @ torch.tensor([width, 1])]
            sums[:-1].index_add_(1, there, weight * values)
            sums[-1].index_add_(0, there, weight)
        mean = (sums[:-1] / sums[-1:].clamp(min=1e-12)).view(self.image.shape)
        covered = (sums[-1] > 0).view(self.mask.shape)
        self.image = torch.where(self.mask & covered, mean, self.image)

    def _of_neighbours(self, step: tuple[int, int]) -> Tensor:
        """The matches of the neighbours at a step, moved back by the step."""
        height, width = self.places.shape
        beside = self.targets + torch.tensor(step)
        rows, columns = beside[:, 0].clamp(0, height - 1), beside[:, 1].clamp(0, width - 1)
        index = self.places[rows, columns]
        there = self.found[index.clamp(min=0)] - torch.tensor(step)
        return torch.where((index >= 0)[:, None], there, self.found)

    def _try(self, own: Tensor, there: Tensor, best: Tensor) -> Tensor:
        """Take the candidates that are known patches and nearer than the present matches."""
        height, width = self.places.shape
        fits = (there >= 0).all(dim=1) & (there[:, 0] < height) & (there[:, 1] < width)
        there = torch.where(fits[:, None], there, self.found)
        fits &= self.sources[there[:, 0], there[:, 1]]
        which = (fits & (there != self.found).any(dim=1)).nonzero()[:, 0]
        if not len(which):
            return best
        distance = self._distance(own[which], there[which])
        better = distance < best[which]
        taken = which[better]
        self.found[taken] = there[taken]
        best = best.clone()
        best[taken] = distance[better]
        return best

    def _patches(self, centres: Tensor) -> Tensor:
        """(n, C * 49)."""
        width = self.image.shape[-1]
        index = (centres[:, None] + self.window[None]) @ torch.tensor([width, 1])  # (n, 49)
        return self._flat[:, index].permute(1, 0, 2).flatten(1)

    def _distance(self, own: Tensor, there: Tensor) -> Tensor:
        return ((own - self._patches(there)) ** 2).mean(dim=1)

"""Inpainting with patches of the image itself, from coarse to fine, alone or along a guide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.ops.harmonic_fill import harmonic_correction

_RADIUS = 3  # of a patch, 7 x 7 pixels
_COARSEST = 24  # shorter side of the coarsest level, at least this much
_ROUNDS = (8, 4, 2)  # of searching and voting: on the coarsest level, the next, and all others
_SEARCHED = 1 << 17  # missing pixels of a level above which its matches are those of the level below, enlarged
_AREA = 1 << 21  # pixels of a level, likewise
_EXACT = 1 << 25  # comparisons up to which all known patches are tried, on the coarsest level
_RANDOM = 4  # random guesses per round, each a quarter as far away as the one before
_PARTS = 12  # principal components of a patch that are compared
_NARROW = 1.0  # deviation in pixels of the last votes: the texture stays sharp
_TRUST = 1.3  # by which a patch counts less for each pixel that it lies deeper in the hole
_GUIDED = 0.2  # weight of the guide's colour, as a share of the patch's pixels
_LIGHT = 3.0  # deviation, in the guide's details, from which on structure is the guide's
_SHARP = 0.3  # of the votes: how much worse than the median of matches one may be


def patchmatch_fill(image: Tensor, mask: Tensor, guide_detail: float = 0.0, seed: int = 0) -> Tensor:
    """Fill the mask so that every patch that touches it resembles a patch of the known image.

    Each patch looks for its nearest known patch: near the matches of its neighbours, and at random. Then every missing
    pixel becomes the weighted mean of the patches over it. Both alternate, from a coarse image to the fine one. With a
    guide, patches also resemble it where they are, and the result takes its light and large structure.

    Args:
        image: (1, C, H, W) in [0, 1], with a first guess inside the mask, such as `harmonic_fill`, or the guide.
        mask: (1, 1, H, W), 1 where pixels are missing.
        guide_detail: size in pixels of the smallest detail of what is inside the mask, so that it is a guide; 0: it is
            a guess to begin with.
        seed: of the random search.

    Returns:
        (1, C, H, W); unchanged if no whole patch is known.

    Source: PatchMatch (Barnes et al. 2009) for the search, Wexler, Shechtman and Irani 2007 for the voting; principal
    components of patches, He and Sun 2012.
    """
    generator = torch.Generator().manual_seed(seed)
    hole = (mask > 0.5).cpu()
    image_cpu = image.detach().float().cpu()
    found = _level(_Picture(image_cpu, hole, guide_detail), generator)
    if found is None:
        return image
    filled, covered = found.means(_NARROW)
    if guide_detail:
        light = _blurred(torch.cat([(image_cpu - filled) * covered, covered], dim=1), _LIGHT * guide_detail)
        filled = filled + light[:, :-1] / light[:, -1:].clamp(min=1e-6)
    seam = harmonic_correction((image_cpu - filled) * (~hole * covered), hole.float())
    return torch.where(hole, filled + seam, image_cpu).clamp(0, 1).to(image.device, image.dtype)


@dataclass(frozen=True)
class _Picture:
    """A level of the pyramid: the image with the guess or guide in its hole, and the guide's detail in its pixels."""

    image: Tensor
    hole: Tensor
    detail: float

    def halved(self) -> _Picture:
        size = (self.image.shape[-2] // 2, self.image.shape[-1] // 2)
        return _Picture(F.interpolate(self.image, size, mode="area"),
                        F.adaptive_max_pool2d(self.hole.float(), size) > 0, self.detail / 2)


def _blurred(maps: Tensor, deviation: float) -> Tensor:
    """Gaussian means, of a reduced image where the deviation is large: (1, C, H, W)."""
    size = maps.shape[-2:]
    shrink = max(1, int(deviation / 2))
    if shrink > 1:
        small = (max(1, size[0] // shrink), max(1, size[1] // shrink))
        return F.interpolate(_blurred(F.interpolate(maps, small, mode="area"), deviation / shrink), size,
                             mode="bilinear", align_corners=False)
    radius = max(1, round(3 * deviation))
    line = torch.exp(-torch.arange(-radius, radius + 1) ** 2 / (2 * deviation**2))
    line = (line / line.sum()).expand(maps.shape[1], 1, 1, -1)
    for shape, padding in (((0, radius), (radius, radius, 0, 0)), ((radius, 0), (0, 0, radius, radius))):
        kernel = line if shape[1] else line.transpose(2, 3)
        maps = F.conv2d(F.pad(maps, padding, mode="replicate"), kernel, groups=maps.shape[1])
    return maps


def _level(picture: _Picture, generator: torch.Generator, depth: int = 0) -> _Field | None:
    """The matches on this level, found from the next coarser one; None where no whole patch is known."""
    coarse = None
    if min(picture.image.shape[-2:]) >= 2 * _COARSEST:
        coarse = _level(picture.halved(), generator, depth + 1)
    field = _Field.make(picture, generator, coarse)
    if field is None or (coarse is not None and (len(field.targets) > _SEARCHED or field.sources.numel() > _AREA)):
        return field
    for number in range(_ROUNDS[min(field.below, len(_ROUNDS) - 1)]):
        if number or coarse is not None:
            field.image = field.vote()
        field.search()
    return field


class _Field:
    """The nearest-neighbour field: the known patch that each patch over the mask resembles.

    Attributes:
        image: (1, C, H, W), with the present guess inside the mask.
        targets: (n, 2), the centres of patches over the mask.
        found: (n, 2), the centres of their matches.
        below: number of coarser levels.
    """

    def __init__(self, picture: _Picture, sources: Tensor, targets: Tensor, generator: torch.Generator,
                 coarse: _Field | None):
        self.image, self.hole, self.sources, self.targets = picture.image, picture.hole, sources, targets
        self.generator = generator
        self.below: int = 0 if coarse is None else coarse.below + 1
        height, width = sources.shape
        self.flat = torch.tensor([width, 1])
        self.places = torch.full((height, width), -1)
        self.places[targets[:, 0], targets[:, 1]] = torch.arange(len(targets))
        self.best = torch.zeros(len(targets))
        depth = cv2.distanceTransform(picture.hole[0, 0].to(torch.uint8).numpy(), cv2.DIST_L2, 5)
        self.trust = _TRUST ** -torch.from_numpy(depth)[targets[:, 0], targets[:, 1]].clamp(max=40)
        self.known: Tensor | None = None
        self.basis: Tensor | None = None
        self.light = _blurred(picture.image, max(0.6, picture.detail)) if picture.detail else None
        choice = sources.nonzero()
        self.found = choice[torch.randint(len(choice), (len(targets),), generator=generator)]
        if coarse is not None:
            self._take_over(coarse)
        elif len(choice) * len(targets) <= _EXACT:
            features = self._features(self.image)
            self.known = features
            own, theirs = features[targets @ self.flat], features[choice @ self.flat]
            self.found = choice[torch.cdist(own, theirs).argmin(dim=1)]

    @staticmethod
    def make(picture: _Picture, generator: torch.Generator, coarse: _Field | None) -> _Field | None:
        """The field of a level, its matches those of the coarser level or a first guess; None without a known patch."""
        size = 2 * _RADIUS + 1
        touched = F.max_pool2d(picture.hole.float(), size, 1, _RADIUS)[0, 0] > 0
        inside = torch.zeros_like(touched)
        inside[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = True
        sources = ~touched & inside
        if min(touched.shape) <= size or not bool(sources.any()):
            return None
        return _Field(picture, sources, (touched & inside).nonzero(), generator, coarse)

    def _take_over(self, coarse: _Field) -> None:
        """The matches of the coarser level, twice as far away."""
        height, width = coarse.places.shape
        rows = (self.targets[:, 0] // 2).clamp(_RADIUS, height - 1 - _RADIUS)
        columns = (self.targets[:, 1] // 2).clamp(_RADIUS, width - 1 - _RADIUS)
        index = coarse.places[rows, columns]
        moved = self.targets + 2 * (coarse.found - coarse.targets)[index.clamp(min=0)]
        fits = (index >= 0) & self._fit(moved)
        self.found[fits] = moved[fits]
        self.best = torch.where(fits, coarse.best[index.clamp(min=0)], coarse.best.max())

    def _fit(self, there: Tensor) -> Tensor:
        """Whether places are centres of known patches: (n,) bool."""
        height, width = self.sources.shape
        fits = (there >= 0).all(dim=1) & (there[:, 0] < height) & (there[:, 1] < width)
        return fits & self.sources[there[:, 0].clamp(0, height - 1), there[:, 1].clamp(0, width - 1)]

    def search(self) -> None:
        """Improve the matches: propagate those of neighbours, and search at random."""
        if self.known is None:
            self.known = self._features(self.image)
        own = self._features(self.image)[self.targets @ self.flat]
        self.best = self._distance(own, self.found)
        longest = max(self.image.shape[-2:])
        for jump in (4, 2, 1):
            for step in ((0, jump), (jump, 0), (0, -jump), (-jump, 0)):
                self._try(own, self._of_neighbours(step))
        for power in range(_RANDOM):
            far = longest / 2**(2 * power + 1)
            self._try(own, self.found + ((torch.rand(self.found.shape, generator=self.generator) * 2 - 1)
                                         * far).round().long())

    def vote(self) -> Tensor:
        """The image with missing pixels set to the weighted mean of the patches over them."""
        mean, covered = self.means()
        return torch.where(self.hole & (covered > 0), mean, self.image)

    def means(self, deviation: float = math.inf) -> tuple[Tensor, Tensor]:
        """The weighted means of the patches over the mask, in it and around it, and where there are any.

        Args:
            deviation: in pixels from a patch's centre, with which its pixels count less.
        """
        channels = self.image.shape[1]
        pixels = self.image[0].flatten(1).T.contiguous()
        scale = self.best.median().clamp(min=1e-6)
        weight = (torch.exp(-self.best / (_SHARP * scale)).clamp(min=1e-3) * self.trust)[:, None]
        sums = torch.zeros(len(pixels), channels + 1)
        ones = torch.ones(len(weight), 1)
        at, there = self.targets @ self.flat, self.found @ self.flat
        window = torch.arange(-_RADIUS, _RADIUS + 1)
        for offset in torch.cartesian_prod(window, window):
            by, near = int(offset @ self.flat), math.exp(-float(offset @ offset) / (2 * deviation**2))
            sums.index_add_(0, at + by, near * weight * torch.cat([pixels[there + by], ones], dim=1))
        covered = (sums[:, -1] > 0).view(self.hole.shape)
        mean = (sums[:, :-1] / sums[:, -1:].clamp(min=1e-20)).T.reshape(self.image.shape)
        return torch.where(covered, mean, self.image), covered.to(mean)

    def _of_neighbours(self, step: tuple[int, int]) -> Tensor:
        """The matches of the neighbours at a step, moved back by the step."""
        height, width = self.places.shape
        beside = self.targets + torch.tensor(step)
        rows, columns = beside[:, 0].clamp(0, height - 1), beside[:, 1].clamp(0, width - 1)
        index = self.places[rows, columns]
        there = self.found[index.clamp(min=0)] - torch.tensor(step)
        return torch.where((index >= 0)[:, None], there, self.found)

    def _try(self, own: Tensor, there: Tensor) -> None:
        """Take the candidates that are known patches and nearer than the present matches."""
        which = (self._fit(there) & (there != self.found).any(dim=1)).nonzero()[:, 0]
        distance = self._distance(own[which], there[which])
        better = distance < self.best[which]
        self.found[which[better]], self.best[which[better]] = there[which[better]], distance[better]

    def _distance(self, own: Tensor, there: Tensor) -> Tensor:
        assert self.known is not None
        return (own - self.known[there @ self.flat]).square_().sum(dim=1)

    def _features(self, image: Tensor) -> Tensor:
        """What is compared at each pixel: (H W, parts), principal components of its patch and the guide's colour."""
        size = 2 * _RADIUS + 1
        if self.basis is None:
            choice = self.sources.nonzero()
            some = choice[torch.randint(len(choice), (min(4096, len(choice)),), generator=self.generator)]
            window = torch.arange(-_RADIUS, _RADIUS + 1)
            there = (some @ self.flat)[:, None] + torch.cartesian_prod(window, window) @ self.flat
            patches = image[0].flatten(1)[:, there].permute(1, 0, 2).flatten(1)  # (n, C 49)
            patches = patches - patches.mean(dim=0)
            axes = torch.linalg.eigh(patches.T @ patches)[1][:, -_PARTS:]
            self.basis = axes.T.reshape(-1, image.shape[1], size, size)
        maps = F.conv2d(image, self.basis, padding=_RADIUS)
        if self.light is not None:
            maps = torch.cat([maps, self.light * (size * _GUIDED**0.5)], dim=1)
        return maps[0].flatten(1).T.contiguous()

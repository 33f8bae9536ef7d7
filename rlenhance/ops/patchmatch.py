"""Inpainting with patches of the picture itself, from coarse to fine, alone or along a guide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlenhance.core.pixels import area_means, check_picture
from rlenhance.ops.harmonic_fill import harmonic_fill

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
_SIZE = 2 * _RADIUS + 1
_COLOUR = np.float32(_SIZE * _GUIDED**0.5)
_CHUNK = 1 << 13  # patches at a time
_SHARP = 0.3  # of the votes: how much worse than the median of matches one may be


def patchmatch_fill(picture: np.ndarray, mask: np.ndarray, guide_detail: float = 0.0, seed: int = 0) -> np.ndarray:
    """Fill the mask so that every patch that touches it resembles a patch of the known picture.

    Each patch looks for its nearest known patch: near the matches of its neighbours, and at random. Then every missing
    pixel becomes the weighted mean of the patches over it. Both alternate, from a coarse picture to the fine one. With
    a guide, patches also resemble it where they are, and the result takes its light and large structure.

    Args:
        picture: (H, W, 3) float32 in [0, 1], with a first guess inside the mask, such as `harmonic_fill`, or the guide.
        mask: (H, W) bool, True where pixels are missing.
        guide_detail: size in pixels of the smallest detail of what is inside the mask, so that it is a guide; 0: it is
            a guess to begin with.
        seed: of the random search.

    Returns:
        (H, W, 3) float32; unchanged if no whole patch is known.

    Raises:
        UsageError: no picture of three channels.

    Source: PatchMatch (Barnes et al. 2009) for the search, Wexler, Shechtman and Irani 2007 for the voting; principal
    components of patches, He and Sun 2012.
    """
    check_picture(picture)
    found = _level(_Picture(np.ascontiguousarray(picture, np.float32), mask, guide_detail), _Random(seed))
    if found is None:
        return picture
    filled, covered = found.means(_NARROW)
    gap = (picture - filled) * covered[..., None]
    if guide_detail:
        light = _blurred(np.dstack([gap, covered.astype(np.float32)]), _LIGHT * guide_detail)
        light = light[..., :-1] / np.maximum(light[..., -1:], 1e-6)
        filled, gap = filled + light, (gap - light) * covered[..., None]
    gap[mask] = 0
    seam = harmonic_fill(gap, mask)
    return np.where(mask[..., None], (filled + seam).clip(0, 1), picture)


class _Random:
    """Random numbers of the Mersenne Twister: those of a torch.Generator with the same seed, in the same order."""

    def __init__(self, seed: int):
        self._bits: Any = np.random.MT19937()
        self._bits._legacy_seeding(seed)

    def below(self, bound: int, count: int) -> np.ndarray:
        """Whole numbers in [0, bound): (count,)."""
        return np.asarray(self._bits.random_raw(count) % bound, np.intp)

    def uniform(self, rows: int, columns: int) -> np.ndarray:
        """Numbers in [0, 1): (rows, columns) float32."""
        mantissas = np.asarray(self._bits.random_raw(rows * columns) & 0xFFFFFF, np.float32)
        return (mantissas * np.float32(2**-24)).reshape(rows, columns)


@dataclass(frozen=True)
class _Picture:
    """A level of the pyramid: the picture with the guess or guide in its mask, and the guide's detail in its pixels."""

    pixels: np.ndarray
    mask: np.ndarray
    detail: float

    def halved(self) -> _Picture:
        size = self.mask.shape[0] // 2, self.mask.shape[1] // 2
        mask = area_means(self.mask.astype(np.uint8), size) > 0
        return _Picture(area_means(self.pixels, size), mask, self.detail / 2)


def _blurred(maps: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian means, of a reduced picture where the deviation is large: (H, W, C)."""
    height, width = maps.shape[:2]
    shrink = max(1, int(deviation / 2))
    if shrink > 1:
        small = _blurred(area_means(maps, (max(1, height // shrink), max(1, width // shrink))), deviation / shrink)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    radius = max(1, round(3 * deviation))
    line = np.exp(-np.arange(-radius, radius + 1, dtype=np.float32) ** 2 / (2 * deviation**2))
    line /= line.sum()
    return np.asarray(cv2.sepFilter2D(maps, -1, line, line, borderType=cv2.BORDER_REPLICATE))


def _level(picture: _Picture, random: _Random) -> _Field | None:
    """The matches on this level, found from the next coarser one; None where no whole patch is known."""
    coarse = _level(picture.halved(), random) if min(picture.mask.shape) >= 2 * _COARSEST else None
    field = _Field.make(picture, random, coarse)
    if field is None or (coarse is not None and (len(field.targets) > _SEARCHED or field.sources.size > _AREA)):
        return field
    for number in range(_ROUNDS[min(field.below, len(_ROUNDS) - 1)]):
        if number or coarse is not None:
            field.vote()
        field.search()
    return field


class _Field:
    """The nearest-neighbour field: the known patch that each patch over the mask resembles.

    Places are indices into the flattened level; no patch's centre lies in the `_RADIUS` pixels along its borders, so
    that a step of up to four pixels beyond a border finds no patch.

    Attributes:
        pixels: (H, W, 3), with the present guess inside the mask.
        targets: (n,), the centres of patches over the mask.
        found: (n,), the centres of their matches.
        below: number of coarser levels.
    """

    def __init__(self, picture: _Picture, sources: np.ndarray, targets: np.ndarray, random: _Random,
                 coarse: _Field | None):
        self.pixels, self.mask, self.sources, self.targets = picture.pixels, picture.mask, sources, targets
        self.random, self.width = random, sources.shape[1]
        self.below: int = 0 if coarse is None else coarse.below + 1
        self.places = np.full(sources.size, -1, np.intp)
        self.places[targets] = np.arange(len(targets))
        self.best = np.zeros(len(targets), np.float32)
        depth = cv2.distanceTransform(picture.mask.astype(np.uint8), cv2.DIST_L2, 5).ravel()[targets]
        self.trust = (_TRUST ** -np.minimum(depth, 40)).astype(np.float32)
        self.basis: np.ndarray | None = None
        self.guide = picture if picture.detail else None
        self.known: np.ndarray | None = None
        self.beside: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        choice = np.flatnonzero(sources)
        self.found = choice[random.below(len(choice), len(targets))]
        if coarse is not None:
            self._take_over(coarse)
        elif len(choice) * len(targets) <= _EXACT:
            self.known = self._features()
            self.found = choice[_nearest(self.known[targets], self.known[choice])]

    @staticmethod
    def make(picture: _Picture, random: _Random, coarse: _Field | None) -> _Field | None:
        """The field of a level, its matches those of the coarser level or a first guess; None without a known patch."""
        touched = cv2.dilate(picture.mask.astype(np.uint8), np.ones((_SIZE, _SIZE), np.uint8)) > 0
        inside = np.zeros_like(touched)
        inside[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS] = True
        sources = ~touched & inside
        if min(touched.shape) <= _SIZE or not sources.any():
            return None
        return _Field(picture, sources, np.flatnonzero(touched & inside), random, coarse)

    def _take_over(self, coarse: _Field) -> None:
        """The matches of the coarser level, twice as far away."""
        height, width = coarse.sources.shape
        rows, columns = np.divmod(self.targets, self.width)
        near = (rows // 2).clip(_RADIUS, height - 1 - _RADIUS) * width
        near += (columns // 2).clip(_RADIUS, width - 1 - _RADIUS)
        index = coarse.places[near]
        down, across = (there - here for there, here in zip(np.divmod(coarse.found, width),
                                                            np.divmod(coarse.targets, width), strict=True))
        moved, fits = self._at(rows + 2 * down[index], columns + 2 * across[index])
        fits &= index >= 0
        self.found = np.where(fits, moved, self.found)
        self.best = np.where(fits, coarse.best[index], coarse.best.max())

    def _at(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of rows and columns, and whether they are centres of known patches: (n,) each."""
        places = rows * self.width + columns
        return places, (columns >= 0) & (columns < self.width) & self._fit(places)

    def _fit(self, places: np.ndarray) -> np.ndarray:
        """Whether places are centres of known patches: (n,) bool."""
        return np.asarray(self.sources.ravel().take(places, mode="clip"))  # the corners are none

    def search(self) -> None:
        """Improve the matches: propagate those of neighbours, and search at random."""
        if self.known is None:
            self.known = self._features()
            own = self.known[self.targets]
        else:
            own = self._own()
        self.best = _distances(own, self.known.take(self.found, axis=0))
        for jump in (4, 2, 1):
            for step in (jump, jump * self.width, -jump, -jump * self.width):
                which, neighbours = self._neighbours(step)
                there = self.found[neighbours] - step
                fits = self._fit(there)
                self._try(own, which[fits], there[fits])
        longest = max(self.sources.shape)
        for power in range(_RANDOM):
            far = longest / 2**(2 * power + 1)
            steps = np.rint((self.random.uniform(len(self.found), 2) * 2 - 1) * np.float32(far)).astype(np.intp)
            rows, columns = np.divmod(self.found, self.width)
            there, fits = self._at(rows + steps[:, 0], columns + steps[:, 1])
            which = np.flatnonzero(fits)
            self._try(own, which, there[which])

    def vote(self) -> None:
        """Set missing pixels to the weighted mean of the patches over them."""
        mean, covered = self.means()
        known = ~(self.mask & covered)
        mean[known] = self.pixels[known]
        self.pixels = mean

    def means(self, deviation: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
        """The weighted means of the patches over the mask, in it and around it, and where there are any.

        Args:
            deviation: in pixels from a patch's centre, with which its pixels count less.
        """
        height, width = self.mask.shape
        values = np.dstack([self.pixels, np.ones((height, width), np.float32)]).reshape(-1, 4)
        sums = np.zeros_like(values)
        whole, totals = (part.view(np.complex128).ravel() for part in (values, sums))  # four floats move as one number
        middle = (len(self.best) - 1) // 2
        scale = max(float(np.partition(self.best, middle)[middle]), 1e-6)
        weight = (np.maximum(np.exp(self.best / np.float32(-_SHARP * scale)), 1e-3) * self.trust)[:, None]
        for down in range(-_RADIUS, _RADIUS + 1):
            for across in range(-_RADIUS, _RADIUS + 1):
                by = down * width + across
                near = math.exp(-(down**2 + across**2) / (2 * deviation**2))
                votes = whole.take(self.found + by).view(np.float32).reshape(-1, 4)
                votes *= weight if near == 1 else weight * np.float32(near)
                at = self.targets + by
                votes += totals.take(at).view(np.float32).reshape(-1, 4)
                totals[at] = votes.view(np.complex128).ravel()
        covered = sums[:, 3] > 0
        mean, found = self.pixels.copy(), sums[covered]
        mean.reshape(-1, 3)[covered] = found[:, :3] / found[:, 3:]
        return mean, covered.reshape(height, width)

    def _neighbours(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The targets that have another at a step, and those."""
        if step not in self.beside:
            index = self.places.take(self.targets + step, mode="clip")
            which = np.flatnonzero(index >= 0)
            self.beside[step] = which, index[which]
        return self.beside[step]

    def _try(self, own: np.ndarray, which: np.ndarray, there: np.ndarray) -> None:
        """Take known patches that are nearer than the present matches of `which`."""
        assert self.known is not None
        other = there != self.found[which]
        which, there = which[other], there[other]
        distance = _distances(own[which], self.known.take(there, axis=0))
        better = distance < self.best[which]
        which = which[better]
        self.found[which], self.best[which] = there[better], distance[better]

    @cached_property
    def light(self) -> np.ndarray | None:
        """The guide's colours, (H, W, 3), as they are compared; None without a guide."""
        return None if self.guide is None else _COLOUR * _blurred(self.guide.pixels, max(0.6, self.guide.detail))

    def _own(self) -> np.ndarray:
        """The present `_features` of the targets alone: (n, parts)."""
        assert self.basis is not None
        own = np.empty((len(self.targets), _PARTS + (0 if self.light is None else 3)), np.float32)
        for first in range(0, len(own), _CHUNK):
            part = slice(first, first + _CHUNK)
            np.matmul(self._patches(self.targets[part]), self.basis, out=own[part, :_PARTS])
        if self.light is not None:
            own[:, _PARTS:] = self.light.reshape(-1, 3)[self.targets]
        return own

    def _features(self) -> np.ndarray:
        """What is compared at each pixel: (H W, parts), principal components of its patch and the guide's colour."""
        if self.basis is None:
            choice = np.flatnonzero(self.sources)
            patches = self._patches(choice[self.random.below(len(choice), min(4096, len(choice)))])
            patches -= patches.mean(axis=0)
            self.basis = np.ascontiguousarray(np.linalg.eigh(patches.T @ patches)[1][:, -_PARTS:])
        planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(self.pixels, 2, 0)]
        maps = []
        for kernels in self.basis.T.reshape(_PARTS, _SIZE, _SIZE, len(planes)).transpose(0, 3, 1, 2):
            found, *others = (np.asarray(cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_CONSTANT))
                              for plane, kernel in zip(planes, kernels, strict=True))
            for other in others:
                np.add(found, other, out=found)
            maps.append(found)
        if self.light is not None:
            maps.extend(np.moveaxis(self.light, 2, 0))
        features = np.empty((self.sources.size, len(maps)), np.float32)
        for column, plane in enumerate(maps):
            features[:, column] = plane.ravel()
        return features

    def _patches(self, places: np.ndarray) -> np.ndarray:
        """The patches about places: (n, 49 C)."""
        height, width, channels = self.pixels.shape
        lines = sliding_window_view(self.pixels.reshape(height, -1), (_SIZE, _SIZE * channels))[:, ::channels]
        rows, columns = np.divmod(places - _RADIUS * (width + 1), width)
        return lines[rows, columns].reshape(len(places), -1)


def _distances(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances of rows, of which `other` is overwritten."""
    other -= own
    return np.asarray(np.einsum("ij,ij->i", other, other))


def _nearest(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The index of the nearest row of `others` for each row: (n,)."""
    lengths, rows = np.einsum("ij,ij->i", others, others), max(1, (1 << 22) // len(others))
    return np.concatenate([(lengths - 2 * own[first : first + rows] @ others.T).argmin(axis=1)
                           for first in range(0, len(own), rows)])

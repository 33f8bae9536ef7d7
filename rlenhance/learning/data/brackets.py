"""Exposure brackets to learn from: those of folders, and scenes rendered at the exposures of a camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear, to_pixels, to_planes
from rlenhance.io import list_photos, read
from rlenhance.io.contact_sheet import downscale
from rlenhance.io.samples import sample_path
from rlenhance.learning.data.datasets import SAMPLE_SETS
from rlenhance.ops.bracket import PLACES, SIDE, observe_places, reduce_shot, with_request
from rlenhance.ops.exposure_fusion import FusionsOfSets

_LOADED = 256  # pixels of the longer side of frames in memory
_LEAST_PART = 0.45  # of a side, of a part of a scene
_MIDDLE_GREY = 0.18  # mean light of the metered exposure
_READ, _SHOT = 0.002, 0.0005  # noise of a rendered camera: deviation, and variance for each unit of light


class Bracket:
    """The exposures of a scene, with the quality of their fusions, which are made once.

    Args:
        frames: (PLACES, H, W, 3) uint8 RGB that lie over each other, from dark to light, a stop apart.
        name: of the scene.
        offered: places that the camera has, two or more; None: all. The others are never seen.

    Raises:
        UsageError: another shape or type, or places that are no such.
    """

    def __init__(self, frames: np.ndarray, name: str = "", offered: Sequence[int] | None = None):
        if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != PLACES or frames.shape[3] != 3:
            raise UsageError(f"frames are ({PLACES}, H, W, 3) uint8; got {frames.shape} {frames.dtype}")
        self.frames, self.name = frames, name
        self.offered = tuple(range(PLACES)) if offered is None else tuple(sorted(set(offered)))
        if len(self.offered) < 2 or not set(self.offered) <= set(range(PLACES)):
            raise UsageError(f"offered are two or more places from 0 to {PLACES - 1}; got {offered}")
        self._quality: dict[frozenset[int], float] = {}
        self._seen: dict[frozenset[int], np.ndarray] = {}

    @cached_property
    def small(self) -> list[np.ndarray]:
        """The frames with `SIDE` pixels along the longer side, as they are fused."""
        return [downscale(frame, SIDE) for frame in self.frames]

    @cached_property
    def _fusions(self) -> FusionsOfSets:
        return FusionsOfSets(self.small)

    @cached_property
    def whole(self) -> np.ndarray:
        """The fusion of all that is offered: (h, w, 3) float32 in [0, 1], `SIDE` pixels along the longer side."""
        return self._fusions.of(self.offered)

    @cached_property
    def levels(self) -> np.ndarray:
        """Mean brightness of each frame, in [0, 1]: (PLACES,)."""
        return np.asarray(self.frames.mean(axis=(1, 2, 3)) / 255)

    def fused(self, places: Iterable[int]) -> np.ndarray:
        """The fusion of the shots at some places, as `whole`."""
        return self._fusions.of(sorted(places))

    def quality(self, places: frozenset[int], objective: str = "fusion") -> float:
        """PSNR in dB of the fusion of some shots to `whole`, at most 60; with the objective "single", that of the best
        of them alone."""
        if objective == "single" and len(places) > 1:
            return max(self.quality(frozenset({place})) for place in places)
        if places not in self._quality:
            error = float(np.square(self.fused(places) - self.whole).mean())
            self._quality[places] = float(-10 * np.log10(error + 1e-6))
        return self._quality[places]

    def observe(self, places: frozenset[int], left: int, price: float) -> np.ndarray:
        """See `rlenhance.ops.bracket.observe`."""
        if places not in self._seen:
            shots = {place: reduce_shot(self.frames[place]) for place in places}
            self._seen[places] = observe_places(shots, [place for place in self.offered if place not in places], 0)
        return with_request(self._seen[places], left, price)

    def part(self, rng: np.random.Generator, fewer: float = 0.5) -> Bracket:
        """A random part of the scene; with the probability `fewer` the camera has four to six of its exposures."""
        window = []
        for length in self.frames.shape[1:3]:
            side = int(rng.integers(max(1, round(_LEAST_PART * length)), length + 1))
            start = int(rng.integers(length - side + 1))
            window.append(slice(start, start + side))
        places = self.offered
        if rng.random() < fewer and len(places) > 4:
            places = tuple(rng.permutation(places)[: rng.integers(4, len(places))].tolist())
        return Bracket(np.ascontiguousarray(self.frames[:, window[0], window[1]]), self.name, places)


def load_brackets(folder: Path | str) -> list[Bracket]:
    """The brackets in a folder: each folder in it holds the frames of one scene, two or more, all of one size.

    Frames are sorted by brightness. Of more than `PLACES` as many are taken, evenly spread; fewer lie at evenly spread
    places, and the camera has no others.

    Raises:
        UsageError: no such brackets, or frames of several sizes.
    """
    found = []
    for place in sorted(path for path in Path(folder).iterdir() if path.is_dir()) if Path(folder).is_dir() else ():
        frames = [_eight(downscale(read(path).visible_pixels, _LOADED)) for path in list_photos(place)]
        if len({frame.shape for frame in frames}) > 1:
            raise UsageError(f"{place}: the frames of a bracket have one size; got "
                             f"{', '.join(sorted({str(frame.shape[1::-1]) for frame in frames}))}")
        if len(frames) < 2:
            continue
        frames.sort(key=lambda frame: float(frame.mean()))
        count = min(len(frames), PLACES)
        chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
        places = np.linspace(0, PLACES - 1, count).round().astype(int).tolist()
        stack = np.zeros((PLACES, *frames[0].shape), np.uint8)
        stack[places] = [frames[number] for number in chosen]
        found.append(Bracket(stack, place.name, places))
    if not found:
        raise UsageError(f"{folder}: there are no brackets; it has a folder for each scene, with two frames or more")
    return found


def render_bracket(light: np.ndarray, rng: np.random.Generator, name: str = "", noise: float = 1.0) -> Bracket:
    """A scene at the exposures of a camera: metered for its mean, and up to three stops above and below.

    Args:
        light: (H, W, 3) linear light, not negative, of any scale: a RAW picture, or a 16-bit one without its curve.
        rng: of the noise.
        noise: of the sensor, times that of a usual one (shot and read noise).

    Raises:
        UsageError: another shape, or light that is not finite, negative or nothing at all.
    """
    light = np.asarray(light, np.float32)
    if light.ndim != 3 or light.shape[2] != 3 or not np.isfinite(light).all() or light.min() < 0 or not light.any():
        raise UsageError(f"light is (H, W, 3), finite and not negative, with some above 0; got the shape {light.shape}")
    metered = light * np.float32(_MIDDLE_GREY / light.mean())
    frames = []
    for place in range(PLACES):
        seen = metered * np.float32(2.0 ** (place - PLACES // 2))
        deviation = noise * np.sqrt(_READ**2 + _SHOT * seen)
        seen = (seen + deviation * rng.standard_normal(seen.shape, np.float32)).clip(0, 1)
        frames.append(np.rint(255 * srgb_from_linear(seen)).astype(np.uint8))
    return Bracket(np.stack(frames), name)


def sample_brackets(seed: int = 0) -> list[Bracket]:
    """Rendered scenes: the sample photographs for training, in a light that differs by up to eight stops.

    A demonstration: what is learned of them serves no camera.
    """
    found, rng = [], np.random.default_rng(seed)
    for name in (name for name, role in SAMPLE_SETS["all"].items() if role == "train"):
        picture = downscale(_eight(read(sample_path(name)).visible_pixels), _LOADED)
        picture = picture if picture.shape[2] == 3 else np.repeat(picture[..., :1], 3, axis=2)
        field = cv2.resize(rng.uniform(-4, 4, (4, 4)).astype(np.float32), picture.shape[1::-1],
                           interpolation=cv2.INTER_CUBIC)
        light = linear_from_srgb(picture / np.float32(255)) * 2.0 ** field[..., None]
        found.append(render_bracket(light, rng, name))
    return found


def _eight(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else to_pixels(to_planes(pixels))

"""Photographs and their references for comparisons: pairs as they are, or good photographs whose damage is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.experiments.tasks.tool_gains import damaged, grey_of
from rlenhance.io import list_photos, read
from rlenhance.learning.data import (
    Darken,
    Downscale,
    Example,
    ImageCache,
    MixedDamage,
    SimulatedCamera,
    Splits,
    as_jpeg,
    evenly_spread,
    load_super_resolution,
    open_clean,
    open_dataset,
)
from rlenhance.learning.data.camera_jpeg import align_pair
from rlenhance.learning.data.mixed_damage import DAMAGES as DEGREES
from rlenhance.learning.ops.image import to_array, to_tensor

#: Lowest and highest degree of each damage by its name; "wide" is that of `MixedDamage`, and an "old grey photograph"
#: has the same grain in all channels.
MIXED: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "nearly clean": {"noise": (1, 1), "jpeg": (1, 1)}, "camera noise": {"sensor": (5, 9)},
    "old JPEG": {"jpeg": (4, 10)}, "blur": {"blur": (2, 5)}, "dark": {"dark": (4, 8), "sensor": (2, 6)},
    "blur, noise, JPEG": {"blur": (1, 5), "noise": (1, 5), "jpeg": (2, 8)}, "wide": {},
    "old grey photograph": {"blur": (1, 3), "noise": (2, 6), "jpeg": (3, 8)},
    "dark and blurred": {"dark": (4, 8), "sensor": (2, 6), "blur": (2, 4)},
}
_PLACES = ("clean", "good JPEG", "nearly clean", "camera noise", "old JPEG", "blur", "dark", "blur, noise, JPEG",
           "wide", "simulated camera", "old grey photograph", "dark and blurred")  # draws of a kind are of its place
_CAMERAS = {"camera, 8 bits": SimulatedCamera(jpeg_prob=0), "camera, JPEG 95, 4:4:4": SimulatedCamera(
    jpeg_prob=1, quality=(95, 95), subsampling_prob=0), "camera, JPEG 85, 4:2:0": SimulatedCamera(
    jpeg_prob=1, quality=(85, 85), subsampling_prob=1), "simulated camera": SimulatedCamera()}
_JPEGS = {"good JPEG": 95, "JPEG 85": 85}
_SCALES = {"half": 2, "quarter": 4}
_SENSOR = Darken(1.0, 1.0, 2e-4, 5e-4)  # variance per unit of light, and deviation without light
_DARKEST = 8  # mean of a dark frame, in 255ths, below which a curve makes blotches of it
#: What may be done: to the dark pictures of pairs ("sensor": noise; "brightened": by the curve nearest to the
#: reference), or to good photographs.
DAMAGES = ("", "sensor", "brightened", "clean", *_JPEGS, *_CAMERAS, *_SCALES, *MIXED)


@dataclass(frozen=True)
class Photograph:
    """A photograph, (H, W, 3) uint8; its reference, uint8 or float32 in [0, 1]; and its scene."""

    pixels: np.ndarray
    reference: np.ndarray | None
    scene: str


def photographs(damage: str, folders: Sequence[Path], split: str, limit: int, seed: int) -> list[Photograph]:
    """Those of all folders, the same for the same seed.

    Raises:
        UsageError: no such split, or nothing in it.
    """
    found: list[Photograph] = []
    place = _PLACES.index(damage) if damage in _PLACES else 0
    rng = np.random.default_rng((seed, place))
    for folder in folders:
        found += _of_folder(damage, folder, split, limit, seed, rng)
    if not found:
        raise UsageError(f"{', '.join(map(str, folders))}: no photograph for {damage or 'a comparison'!r}")
    return found


def _of_folder(damage: str, folder: Path, split: str, limit: int, seed: int,
               rng: np.random.Generator) -> Iterator[Photograph]:
    cache = ImageCache()
    if not damage and not (splits := open_dataset(folder)).has_references:
        for path in evenly_spread(list_photos(folder), limit):
            yield Photograph(read(path).pixels, None, path.stem)
        return
    if damage in ("", "sensor", "brightened"):
        examples = _examples(splits if not damage else open_dataset(folder), split)
        if damage == "brightened":  # one frame of each scene
            examples = list({example.scene: example for example in examples}.values())
        for number, example in enumerate(evenly_spread(examples, limit)):
            dark, wanted = example.load(cache)
            if dark is None or wanted is None or (damage == "brightened" and dark.mean() < _DARKEST):
                continue
            if damage == "brightened":
                lift, wanted = align_pair(dark, wanted)
                dark = np.rint(255 * lift(dark.astype(np.float32) / 255)).clip(0, 255).astype(np.uint8)
            elif damage == "sensor":
                dark = _SENSOR(dark, np.random.default_rng(seed + number))
            yield Photograph(dark, wanted, example.scene)
        return
    for number, example in enumerate(evenly_spread(_examples(open_clean(folder), split), limit)):
        if damage in _SCALES:
            batch = load_super_resolution(example, cache, Downscale(_SCALES[damage], sharp=1.0))
            assert batch.target is not None
            yield Photograph(to_array(batch.image), to_array(batch.target), example.scene)
        else:
            assert example.target is not None
            clean = cache.load(example.target)
            own = np.random.default_rng(seed + number) if damage.startswith("camera,") else rng
            yield Photograph(*_damaged(damage, clean, own), example.scene)


def _damaged(damage: str, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if damage in _JPEGS:
        return as_jpeg(clean, _JPEGS[damage]), clean
    if damage in _CAMERAS:
        return _CAMERAS[damage](clean, rng)
    degrees = MixedDamage("wide").draw(1, rng)
    if damage != "wide":
        degrees = np.zeros_like(degrees)
        for name, (low, high) in MIXED.get(damage, {}).items():
            degrees[0, DEGREES.index(name)] = rng.integers(low, high + 1)
    if not degrees.any():
        return clean, clean
    grey = damage == "old grey photograph"
    target = grey_of(to_tensor(clean)) if grey else to_tensor(clean)
    image = to_array(damaged(target, degrees, rng, grey), np.uint8)
    return image, to_array(target, np.uint8) if grey else clean


def _examples(splits: Splits, split: str) -> list[Example]:
    if split not in splits.parts:
        raise UsageError(f"--split is one of {', '.join(splits.parts)}; got {split!r}")
    return list(splits.parts[split] or splits.parts["val"])

"""Frames of one scene at several exposures into one picture: laid over each other, without what moved, fused.

    fused = fuse([dark, middle, light])
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import reduced_by_area
from rlenhance.io.photo import Photo
from rlenhance.ops.exposure_alignment import after, find_motion, moved, shows_anything
from rlenhance.ops.exposure_fusion import fuse_exposures
from rlenhance.ops.exposure_ghosts import replace_moved
from rlenhance.pipelines.base import PipelineResult, check_pixels

_MIDDLE, _SPREAD = 0.5, 0.2  # of what is well exposed
_ALL_MOVED = 0.5  # share of a frame that moved, from which on it is left out
_STATED = 0.005  # share of a frame that moved, from which on it is reported
_PIXELS = 300_000  # on which the reference is chosen


@dataclass(frozen=True)
class FusedFrame:
    """What became of a frame.

    Attributes:
        name: of the photograph.
        shift: of its centre against the reference, (x, y) in pixels.
        turn: against the reference, in degrees.
        moved: share of it that contradicts its neighbour towards the reference and was taken from there, in [0, 1].
        left_out: it does not show the scene.
    """

    name: str
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    moved: float = 0.0
    left_out: bool = False


def fuse(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Exposure fusion of frames as a hand holds them.

    The frame with the most that is well exposed is the reference, which the others are laid over; its size stays. From
    it outwards, each frame is compared with its neighbour in exposure: what moved is taken from there, at the frame's
    exposure, and so is what lies outside the frame. The order of the frames does not matter.

    Args:
        frames: two or more, (H, W, 3) each, all of one shape and type: uint8, uint16, or float in [0, 1]; RGB.

    Returns:
        (H, W, 3) of that type.

    Raises:
        UsageError: fewer than two, frames of different shapes or types, or of different scenes.

    Example:
        >>> dark, light = np.full((16, 24, 3), 40, np.uint8), np.full((16, 24, 3), 120, np.uint8)
        >>> fuse([dark, light]).shape
        (16, 24, 3)

    Source: Mertens, Kautz and Van Reeth 2007, Exposure fusion.
    """
    for frame in frames:
        check_pixels(frame)
    kinds = {frame.dtype for frame in frames}
    if len(kinds) > 1:
        raise UsageError(f"frames must have one type; got {', '.join(sorted(map(str, kinds)))}")
    floating = bool(frames) and np.issubdtype(frames[0].dtype, np.floating)
    photos = [Photo(np.rint(frame * 65535.0).astype(np.uint16) if floating else frame, name=f"frame {number}")
              for number, frame in enumerate(frames)]
    pixels = fuse_photos(photos).photo.pixels
    return (pixels / 65535.0).astype(frames[0].dtype) if floating else pixels


def fuse_photos(photos: Sequence[Photo]) -> PipelineResult:
    """The same for decoded files.

    Args:
        photos: two or more, of one size. Where depths differ, all count with 16 bits.

    Returns:
        The reference with other pixels: its metadata, transparency and encoding stay. The decision has `reference`, its
        name; `frames`, a dictionary for each `FusedFrame` from dark to light; and `words`.

    Raises:
        UsageError: see `fuse`; it names the photographs.
    """
    bracket = align(photos)
    used, reference = bracket.used, bracket.photos[bracket.reference]
    if len(used) < 2:
        other = bracket.about[bracket.reference - 1 if bracket.reference else 1].name
        raise UsageError(f"{other}: does not show the scene of {reference.name}; fusion takes frames of one")
    pixels = bracket.frames[bracket.reference]
    if pixels.itemsize > reference.pixels.itemsize and reference.encoding is not None:
        reference = replace(reference, encoding=replace(reference.encoding, depth=16))
    reference = replace(reference, grey=all(photo.grey for photo in photos), pixels=pixels)
    frames = [bracket.frames[number] for number in used]
    decision = {"reference": reference.name, "words": words(bracket.about),
                "frames": [{**asdict(one), "shift": list(one.shift)} for one in bracket.about]}
    return PipelineResult(reference.map_pixels(lambda _: fuse_exposures(frames, pixels.dtype)), decision)


@dataclass(frozen=True)
class AlignedBracket:
    """Frames laid over each other, without what moved, from dark to light.

    Attributes:
        photos: the photographs that they are of.
        frames: (H, W, 3) each, uint8 or uint16.
        about: what became of each.
        reference: number of the frame that the others are laid over.
    """

    photos: Sequence[Photo]
    frames: Sequence[np.ndarray]
    about: Sequence[FusedFrame]
    reference: int

    @property
    def used(self) -> list[int]:
        """Numbers of the frames that show the scene of the reference."""
        return [number for number, one in enumerate(self.about) if not one.left_out]


def align(photos: Sequence[Photo]) -> AlignedBracket:
    """Lay the frames of a bracket over the one with the most that is well exposed, and take out what moved.

    Args:
        photos: two or more, of one size.

    Raises:
        UsageError: fewer, or of several sizes.
    """
    _check(photos)
    depth = max(photo.pixels.itemsize for photo in photos)
    ordered = sorted(photos, key=lambda photo: (_brightness(photo.pixels),
                                                zlib.crc32(np.ascontiguousarray(photo.pixels).data)))
    frames = [_at_depth(photo.visible_pixels, depth) for photo in ordered]
    middle = int(np.argmax([_well_exposed(frame) for frame in frames]))
    about = {middle: FusedFrame(ordered[middle].name)}
    for way in (range(middle + 1, len(frames)), range(middle - 1, -1, -1)):
        _clean(frames, [photo.name for photo in ordered], middle, way, about)
    return AlignedBracket(ordered, frames, [about[number] for number in range(len(frames))], middle)


def words(frames: Sequence[FusedFrame]) -> str:
    """What became of the frames, in words: what was laid straight, what moved and what is left out."""
    used = [frame for frame in frames if not frame.left_out]
    parts = [f"{len(used)} frames"]
    shifted = [max(map(abs, frame.shift)) for frame in used if frame.shift != (0.0, 0.0) or frame.turn]
    if shifted:
        parts.append(f"{len(shifted)} of them aligned (up to {max(shifted):.0f} pixels)")
    parts += [f"{100 * frame.moved:.1f} % of {Path(frame.name).name} moved and is taken from its neighbour"
              for frame in used if frame.moved >= _STATED]
    parts += [f"{Path(frame.name).name} does not show the scene and is left out" for frame in frames if frame.left_out]
    return "; ".join(parts)


def _check(photos: Sequence[Photo]) -> None:
    """Refuse what is no bracket."""
    if len(photos) < 2:
        raise UsageError(f"{photos[0].name if photos else 'no frame'}: fusion takes two frames or more of one scene, "
                         f"at different exposures; name the others too")
    check_sizes([(photo.name, photo.pixels.shape[1::-1]) for photo in photos])


def check_sizes(sizes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Refuse frames of several sizes, or too small ones.

    Args:
        sizes: name and (width, height) of each frame.

    Raises:
        UsageError: names the frame.
    """
    first, size = sizes[0]
    for name, other in sizes:
        if other != size:
            raise UsageError(f"{name}: has {other[0]}x{other[1]} pixels, and {first} {size[0]}x{size[1]}; the frames "
                             f"of a bracket have one size: turn or resize it, or leave it out")
    if min(size) < 8:
        raise UsageError(f"{first}: has {size[0]}x{size[1]} pixels; frames need at least 8x8")


def _brightness(pixels: np.ndarray) -> float:
    """Mean value of all pixels, in [0, 1]."""
    return float(pixels.sum(dtype=np.int64)) / (pixels.size * np.iinfo(pixels.dtype).max)


def _at_depth(pixels: np.ndarray, depth: int) -> np.ndarray:
    return pixels.astype(np.uint16) * np.uint16(257) if depth > pixels.itemsize else pixels


def _well_exposed(frame: np.ndarray) -> float:
    """How well exposed a frame is, in [0, 1]."""
    small = reduced_by_area(frame, _PIXELS)
    top = np.iinfo(small.dtype).max if np.issubdtype(small.dtype, np.integer) else 1
    off = small.mean(axis=2) / top - _MIDDLE
    return float(np.exp(-0.5 * (off / _SPREAD) ** 2).mean())


def _clean(frames: list[np.ndarray], names: Sequence[str], middle: int, way: range,
           about: dict[int, FusedFrame]) -> None:
    """Lay the frames on one side of the reference over it, and take what moved from their neighbours, in place."""
    neighbour, raw, matrix = middle, frames[middle], np.eye(2, 3)
    for number in way:
        motion = find_motion(frames[number], raw)
        if not (motion.known or np.isnan(motion.correlation)) or not shows_anything(frames[number]):
            about[number] = FusedFrame(names[number], left_out=True)
            continue
        raw, place = frames[number], after(motion.matrix, matrix)
        laid, inside = moved(raw, place)
        cleaned, share = replace_moved(laid, frames[neighbour], inside)
        if share > _ALL_MOVED:
            about[number] = FusedFrame(names[number], moved=share, left_out=True)
            raw = frames[neighbour] if neighbour == middle else raw
            continue
        frames[number], neighbour, matrix = cleaned, number, place
        height, width = raw.shape[:2]
        x, y = place @ (width / 2, height / 2, 1) - (width / 2, height / 2)
        turn = float(np.degrees(np.arctan2(place[1, 0], place[0, 0])))
        about[number] = FusedFrame(names[number], (round(float(x), 2), round(float(y), 2)), round(turn, 3), share)

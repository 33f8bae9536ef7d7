"""Enhance every frame of a clip and keep everything else (extra `video`, PyAV)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import clip_container
from rlenhance.io.files import atomic_path
from rlenhance.io.limits import CLIP_MEGAPIXELS
from rlenhance.io.video_codec import VideoTranscoder, probe, try_in_child
from rlenhance.pipelines.temporal_smoothing import AHEAD, TemporalSmoother

if TYPE_CHECKING:
    from rlenhance.io.batch import ClipProcess
    from rlenhance.pipelines.enhance import Enhancer

_BUFFER = 256 << 20  # bytes that frames may take while they wait


@dataclass(frozen=True)
class Progress:
    """Progress on a clip.

    Attributes:
        frames: written so far. total: number of frames, or None where the file does not contain it.
        seconds: since the start.
    """

    frames: int
    total: int | None
    seconds: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Estimated seconds of the rest, or None."""
        return max(0, self.total - self.frames) / self.rate if self.total and self.rate else None


@dataclass(frozen=True)
class ClipResult:
    """The result of a clip.

    Attributes:
        source, written: the files. frames: their number, None for a copied file that does not contain it.
        size: width and height as stored. seconds: spent on it.
        scenes: number of scenes. decided: number of frames on which the policy decided.
        notes: properties that were not kept, and oddities, a sentence each.
    """

    source: Path
    written: Path
    frames: int | None
    size: tuple[int, int]
    seconds: float
    scenes: int = 0
    decided: int = 0
    notes: tuple[str, ...] = ()

    def as_outcome(self) -> tuple[tuple[int, int], dict[str, Any], tuple[str, ...]]:
        """The result in the form of `rlenhance.io.batch.ClipProcess`."""
        rate = round(self.frames / self.seconds, 2) if self.frames and self.seconds else None
        return self.size, {"frames": self.frames, "frames_per_second": rate, "scenes": self.scenes,
                           "decided": self.decided}, self.notes


def enhance_clip(enhancer: Enhancer, source: Path, target: Path, *, replace: bool = True,
                 megapixels: float = CLIP_MEGAPIXELS, seconds: float | None = None,
                 on_progress: Callable[[Progress], None] | None = None) -> ClipResult:
    """Enhance every frame; the rate, times, rotation, sound, subtitles and texts of the file stay as they are.

    A look chooses once, from the first frames. The policy decides on some frames, its decisions are smoothed over time
    and begin anew with every scene: see
    `rlenhance.pipelines.temporal_smoothing`. Memory does not grow with the length. The file appears whole or
    not at all.

    Args:
        enhancer: what to do; its model must be a policy that decides for the picture.
        source, target: the files; at strength 0 and with the same ending the file is copied.
        replace: False: a file that another process puts there meanwhile stays.
        megapixels: larger frames are refused by the header.
        seconds: first decode all of it in a child process, see `rlenhance.io.video_codec.try_in_child`; None: decode
            here alone, without a limit.
        on_progress: called after each frame.

    Raises:
        UsageError: PyAV is missing, no such file, no pictures in it, damaged or truncated; the same file twice, a place
            that cannot be written, no encoder; or a model that cannot share a decision between frames.
    """
    container = clip_container(target)
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target}: the result would take the place of the clip; name another file or folder")
    started = time.monotonic()
    if enhancer.settings.denoise is None:
        enhancer = enhancer.with_settings(denoise=0.0)
    settings = enhancer.settings
    if settings.strength:
        enhancer.require_shared_decision()
    if seconds is not None:
        try_in_child(source, megapixels=megapixels, seconds=seconds)
    picture, total = probe(source, megapixels=megapixels)
    size = picture.width, picture.height
    with _stored(target, replace) as beside:
        if not (settings.strength or settings.denoise) and source.suffix.lower() == target.suffix.lower():
            shutil.copyfile(source, beside)
            return ClipResult(source, target, total, size, time.monotonic() - started)
        with VideoTranscoder(source, picture, beside, container, target) as film:
            enhancer, frames = _settled(enhancer, film)
            settings, steady = enhancer.settings, _steady(enhancer, film)
            for frame, decision in steady(frames) if settings.strength else ((frame, None) for frame in frames):
                decided = enhancer if decision is None else enhancer.with_decision(decision)
                film.write(frame, decided(film.pixels(frame)))
                if on_progress:
                    on_progress(Progress(film.written, total, time.monotonic() - started))
            film.finish()
    return ClipResult(source, target, film.written, size, time.monotonic() - started, steady.scenes, steady.decided,
                      tuple(film.notes))


def clip_process(enhancer: Enhancer) -> ClipProcess:
    """`enhance_clip` as `ImagePipeline.process_files` and `rlenhance.io.batch.run_batch` take it."""
    return lambda source, target: enhance_clip(enhancer, source, target).as_outcome()


@contextmanager
def _stored(target: Path, replace: bool) -> Iterator[Path]:
    """`atomic_path` with its errors as UsageError."""
    try:
        with atomic_path(target, replace=replace) as beside:
            yield beside
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror})") from error


def _settled(enhancer: Enhancer, film: VideoTranscoder) -> tuple[Enhancer, Iterator[Any]]:
    """The enhancer with one choice of its look for the whole clip, from the frame of median brightness among the first
    ones; and all frames."""
    frames = film.frames()
    if enhancer.look is None:
        return enhancer, frames
    first = list(islice(frames, max(1, min(AHEAD, _BUFFER // film.picture.bytes))))
    median = sorted(first, key=lambda frame: float(film.view(frame)[1].mean()))[(len(first) - 1) // 2]
    return enhancer.for_picture(film.pixels(median)), chain(first, frames)


def _steady(enhancer: Enhancer, film: VideoTranscoder) -> TemporalSmoother[Any]:
    """Decisions for the frames of a clip; the number of waiting frames is bounded by `_BUFFER`."""
    ahead = _BUFFER // film.picture.bytes
    return TemporalSmoother(film.view, lambda frame: enhancer.decide(film.pixels(frame)),
                  choices=enhancer.network.num_choices if enhancer.settings.strength else None,
                  ahead=max(1, min(AHEAD, ahead)))

"""Transcode a clip frame by frame with PyAV; audio, subtitles and metadata are copied."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.io.isolate import run_isolated
from rlenhance.io.limits import CLIP_MEGAPIXELS, MOST_SECONDS, check_size
from rlenhance.io.video_formats import READABLE_CLIPS, FrameFormat, choose_encoding

# swscale: bilinear; accurate rounding, without which a round trip darkens by a level; full chroma on the way back
_IN, _OUT = 2 | 0x40000, 2 | 0x40000 | 0x4000
_VIEW = 16  # pixels along each side of the reduced frame that scene changes are detected on
_MATRIX = {0: None, 6: 5, 10: 9}  # colour matrix as H.273 counts -> as swscale does, where they differ
_LATE = 1.0  # seconds by which the end of a Matroska file may differ from its header
_LEAST_RATE = 1000.0  # bytes of a file that stand for a second at least
_STREAMS = 64  # of a file whose frames are limited while it is opened
_SPARE = 2  # frames that an AVI file counts for the encoder's delay
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")  # the result has its own


def load_av(path: Path) -> Any:
    """PyAV.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UsageError(f"{path}: clips need PyAV, which is not installed: {install_line('video')}") from error


@contextmanager
def _refusing(path: Path, text: str) -> Iterator[None]:
    """Turn errors of PyAV into UsageError with a text about the file."""
    av = load_av(path)
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise UsageError(f"{path}: {text.format(error.strerror)}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: damaged (a text in it is no UTF-8: {error.object[:40]!r}); write it anew without "
                         f"metadata") from error


reading = partial(_refusing, text="damaged or truncated, or no clip ({})")
writing = partial(_refusing, text="cannot be written ({}); another format may work, such as mkv")


def _address(path: Path) -> str:
    """A path as FFmpeg's protocol of files takes it: other names may be addresses ("http:/x.mp4") or options."""
    return f"file:{os.path.abspath(path)}"


def _open_source(path: Path, megapixels: float) -> Any:
    """A clip, opened for reading: the file alone, in a container that holds its pictures itself.

    A playlist (ffconcat, HLS), an address or a single picture under the name of a clip is refused, whatever it would
    lead to; so is what asks for larger frames while it is opened.
    """
    limits = {"max_pixels": str(int(megapixels * 1e6))}
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(READABLE_CLIPS)}
    av = load_av(path)
    try:
        return av.open(_address(path), container_options=options, stream_options=[limits] * _STREAMS)
    except av.error.ArgumentError as error:
        raise UsageError(f"{path}: no clip, or in a container that is not read; lists of other files are not followed: "
                         f"name the clip itself, or write it anew as mp4 or mkv") from error
    except ValueError:  # of an MPEG program stream, whose streams are found while it is read
        return av.open(_address(path), container_options=options)


def try_in_child(path: Path, *, megapixels: float, seconds: float) -> None:
    """Open a clip and decode all of its frames in a child process: what crashes, hangs or swells ends there.

    Args:
        path: the file.
        megapixels: see `probe`.
        seconds: processor time for opening it, and for each second that it plays.

    Raises:
        UsageError: as `probe`; or it takes longer, or more memory; or this is Windows.
    """
    memory = 512 + 64 * megapixels * 1e6 / 2**20
    length = run_isolated(_seconds_of, path, megapixels, name=path, seconds=seconds, memory=memory)
    length = min(length, path.stat().st_size / _LEAST_RATE)  # the header is not trusted
    run_isolated(_decode_all, path, megapixels, name=path, seconds=min(seconds * (1 + length), MOST_SECONDS),
                 memory=memory)


def _seconds_of(path: Path, megapixels: float) -> float:
    """How long a clip plays, by its header; one frame is decoded."""
    probe(path, megapixels=megapixels)
    with reading(path), _open_source(path, megapixels) as film:
        return max(0.0, (film.duration or 0) / load_av(path).time_base)


def _decode_all(path: Path, megapixels: float) -> None:
    with reading(path), _open_source(path, megapixels) as film:
        for frame in film.decode(_pictures_of(film, path)):
            check_size(str(path), frame.width, frame.height, megapixels)


def probe(path: Path, *, megapixels: float = CLIP_MEGAPIXELS) -> tuple[FrameFormat, int | None]:
    """The frame format of a clip, and its number of frames according to the file.

    Args:
        path: the file.
        megapixels: larger frames are refused by the header, before one is decoded.

    Raises:
        UsageError: missing, empty, damaged, in no container of clips, without a video stream, or too large.
    """
    av = load_av(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if not path.stat().st_size:
        raise UsageError(f"{path}: the file is empty (0 bytes)")
    with reading(path), _open_source(path, megapixels) as film:
        stream = _pictures_of(film, path)
        if stream.codec_context is None:
            raise UsageError(f"{path}: damaged, or in a codec that this build of PyAV does not read")
        check_size(str(path), max(1, stream.codec_context.width), max(1, stream.codec_context.height), megapixels)
        frame = next(film.decode(stream), None)
        if frame is None:
            raise UsageError(f"{path}: damaged or truncated (not one frame can be decoded)")
        check_size(str(path), frame.width, frame.height, megapixels)
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
        total = stream.frames or round((film.duration or 0) / av.time_base * rate) or None
        turned = frame.side_data.get("DISPLAYMATRIX")
        names = ("color_range", "color_primaries", "color_trc", "colorspace")
        return FrameFormat(
            codec=stream.codec.canonical_name, width=frame.width, height=frame.height, format=frame.format.name,
            rate=rate, base=stream.time_base or 1 / rate, aspect=stream.sample_aspect_ratio,
            matrix=tuple(np.frombuffer(bytes(turned), np.int32).tolist()) if turned is not None else None,
            colors={name: int(getattr(frame, name)) for name in names}, interlaced=frame.interlaced_frame,
            undecoded_alpha=stream.metadata.get("alpha_mode") == "1" and "yuva" not in frame.format.name,
        ), total


def _pictures_of(film: Any, path: Path) -> Any:
    """The main video stream; cover images are none."""
    found = [stream for stream in film.streams.video if "attached_pic" not in (stream.disposition.name or "")]
    if not found:
        there = ", ".join(sorted({stream.type for stream in film.streams})) or "nothing"
        raise UsageError(f"{path}: holds no moving pictures (only {there})")
    best = film.streams.best("video")
    return best if best in found else found[0]


class VideoTranscoder:
    """Reads the frames of a clip and writes the processed ones; a context manager.

    Args:
        source, target: the files; the target is written as a `container`, whatever its extension.
        picture: see `probe`.
        display_name: the target's name in errors.

    Attributes:
        written: number of frames so far.
        notes: properties of the source that are not kept.
    """

    def __init__(self, source: Path, picture: FrameFormat, target: Path, container: str, display_name: Path):
        self.source, self.picture, self._display_name = source, picture, display_name
        self.written, self.notes = 0, list[str]()
        self._av = load_av(source)
        parts = self._av.VideoFormat(picture.format).components
        self._clear, self._deep = any(part.is_alpha for part in parts), max(part.bits for part in parts) > 8
        self._planar = f"gbr{'a' * self._clear}p{'16le' * self._deep}"
        scaler = self._av.video.reformatter.VideoReformatter
        self._viewing, self._decoding, self._encoding_colors = scaler(), scaler(), scaler()
        self._first: Fraction | None = None
        self._ticks, self._damaged = -(1 << 62), 0
        with ExitStack() as stack:
            with reading(source):
                pixels = picture.width * picture.height  # later frames have the size of the first, or are refused
                self._in = stack.enter_context(_open_source(source, max(CLIP_MEGAPIXELS, pixels / 1e6)))
                self._stream = _pictures_of(self._in, source)
                self._stream.thread_type = "AUTO"
            with writing(display_name):
                self._out = stack.enter_context(self._av.open(_address(target), "w", format=container,
                                                              container_options=self._container_options(container)))
                self._encoder = self._add_encoder(container)
                self._copies = self._add_copies()
                self._out.metadata.update({name: text for name, text in self._in.metadata.items()
                                           if name not in _OF_THE_FILE})
                self._out.set_chapters(self._in.chapters())
            self._open = stack.pop_all()

    def __enter__(self) -> VideoTranscoder:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            with writing(self._display_name):
                self._open.close()
        else:
            with suppress(self._av.FFmpegError):  # the error that is being raised says more
                self._open.close()

    def _container_options(self, container: str) -> dict[str, str]:
        named = any("." in name for name in self._in.metadata)
        marked = {"movflags": "use_metadata_tags"} if named and container in ("mp4", "mov") else {}
        return {"protocol_whitelist": "file", **marked}

    def _add_encoder(self, container: str) -> Any:
        picture = self.picture
        supported = set(self._out.supported_codecs) | ({"h264", "hevc"} if container == "mpegts" else set())
        chosen = choose_encoding(picture, container, supported)
        self.notes += chosen.notes
        self._base = chosen.base
        stream = self._out.add_stream(chosen.encoder, rate=picture.rate, options=dict(chosen.options),
                                      width=picture.width, height=picture.height, time_base=chosen.base)
        context = stream.codec_context
        stream.pix_fmt, context.time_base = chosen.format, chosen.base
        context.flags |= self._av.codec.context.Flags.frame_duration
        if chosen.quantiser:
            context.qscale, context.global_quality = True, 118 * chosen.quantiser
        for name, value in picture.colors.items():
            setattr(context, name, value)
        if picture.aspect:
            context.sample_aspect_ratio = picture.aspect
        if picture.matrix:
            stream.set_display_matrix(picture.matrix)
        if chosen.encoder == "libx265" and container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag that all players know
        stream.metadata.update(self._stream.metadata)
        stream.disposition = self._stream.disposition
        return stream

    def _add_copies(self) -> dict[int, Any]:
        """The copied streams, by their index in the source."""
        copies, chapters = {}, bool(self._in.chapters())
        for stream in self._in.streams:
            if stream.index == self._stream.index:
                continue
            try:
                if stream.type == "data":
                    raise ValueError("its meaning is unknown")
                copy = self._out.add_stream_from_template(stream, opaque=True)
            except (ValueError, self._av.FFmpegError) as error:
                if not (chapters and stream.type == "data"):  # chapter titles are such a stream, and are written anew
                    self.notes.append(f"{stream.type} track {stream.index} is left out ({error})")
                continue
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            copies[stream.index] = copy
        return copies

    def frames(self) -> Iterator[Any]:
        """The frames in presentation order; other streams are copied meanwhile.

        Raises:
            UsageError: damaged, or shorter than its header says.
        """
        seen, end = 0, 0.0
        with reading(self.source):
            for packet in self._in.demux():
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index != self._stream.index:
                    self._copy(packet)
                    continue
                seen += packet.size > 0
                for frame in packet.decode():
                    self._damaged += frame.is_corrupt
                    yield self._checked(frame)
        whole = (self._in.duration or 0) / self._av.time_base if "matroska" in self._in.format.name else 0.0
        spare = _SPARE if self._in.format.name == "avi" else 0
        if seen < self._stream.frames - spare or end < whole - _LATE:
            there = f"{seen} of {self._stream.frames} frames" if self._stream.frames else f"{end:.1f} of {whole:.1f} s"
            raise UsageError(f"{self.source}: truncated ({there} are there); copy it again, or cut it to what is there")
        if self._damaged:
            self.notes.append(f"{self._damaged} frames were damaged in the source")

    def _checked(self, frame: Any) -> Any:
        size, seen = (self.picture.width, self.picture.height), (frame.width, frame.height)
        if seen != size or frame.format.name != self.picture.format:
            raise UsageError(f"{self.source}: its frames change from {size[0]}x{size[1]} {self.picture.format} to "
                             f"{seen[0]}x{seen[1]} {frame.format.name}; cut it there")
        return frame

    def _copy(self, packet: Any) -> None:
        copy = self._copies.get(packet.stream_index)
        if copy is not None and (packet.size or packet.dts is not None):
            packet.stream = copy
            with writing(self._display_name):
                self._out.mux(packet)

    def view(self, frame: Any) -> tuple[float, np.ndarray]:
        """The time of a frame in seconds, and its luma on 16 x 16 pixels in [0, 1]."""
        small = self._viewing.reformat(frame, width=_VIEW, height=_VIEW, format="gray", interpolation="AREA")
        return float(self._time(frame)), _plane(small.planes[0], _VIEW, np.uint8)[:_VIEW] / np.float32(255)

    def _time(self, frame: Any) -> Fraction:
        """Time of a frame in seconds, rounded to the frame rate where the file's time base is no more precise."""
        base, rate = self.picture.base, self.picture.rate
        time = Fraction(frame.pts or 0) * (frame.time_base or base)
        if self._first is None:
            self._first = time
        nearest = self._first + Fraction(round((time - self._first) * rate)) / rate
        return nearest if abs(nearest - time) < base else time

    def pixels(self, frame: Any) -> np.ndarray:
        """(H, W, 3) RGB; uint8, or uint16 where the clip has more than 8 bits."""
        green, blue, red = self._channels(frame)[:3]
        return cv2.merge([red, green, blue])

    def _channels(self, frame: Any) -> list[np.ndarray]:
        """Green, blue, red, and alpha if there is one."""
        planar = self._decoding.reformat(frame, format=self._planar, src_colorspace=self._matrix(frame),
                                         interpolation=_IN)
        return [_plane(plane, frame.width, np.uint16 if self._deep else np.uint8) for plane in planar.planes]

    def write(self, frame: Any, pixels: np.ndarray) -> None:
        """Encode the processed pixels of a frame, at its time."""
        planar = self._av.VideoFrame(frame.width, frame.height, self._planar)
        channels = [pixels[..., 1], pixels[..., 2], pixels[..., 0]]
        channels += self._channels(frame)[3:] if self._clear else []
        for plane, channel in zip(planar.planes, channels, strict=True):
            _plane(plane, frame.width, pixels.dtype.type)[:] = channel
        format_ = self._encoder.pix_fmt
        rgb = self._av.VideoFormat(format_).is_rgb
        limited = not rgb and frame.color_range != 2 and not format_.startswith("yuvj")
        result = self._encoding_colors.reformat(
            planar, format=format_, src_color_range=2, dst_color_range=1 if limited else 2, interpolation=_OUT,
            dst_colorspace=None if rgb else self._matrix(frame))
        ticks = max(round(self._time(frame) / self._base), self._ticks + 1)
        result.pts, result.time_base, self._ticks = ticks, self._base, ticks
        lasts = (frame.duration or 0) * (frame.time_base or self.picture.base)
        result.duration = round((1 / self.picture.rate if abs(lasts - 1 / self.picture.rate) < self.picture.base
                                 else lasts) / self._base)
        with writing(self._display_name):
            self._out.mux(self._encoder.encode(result))
        self.written += 1

    def finish(self) -> None:
        """Flush the encoder."""
        with writing(self._display_name):
            self._out.mux(self._encoder.encode(None))

    def _matrix(self, frame: Any) -> int | None:
        if frame.colorspace == 2:  # players choose by the size where the file does not say
            return 1 if frame.height >= 720 else 5
        return _MATRIX.get(frame.colorspace, frame.colorspace)


def _plane(plane: Any, width: int, kind: Any) -> np.ndarray:
    """A plane of a frame as (H, W), without a copy."""
    rows = np.frombuffer(plane, kind).reshape(plane.height, -1)
    return rows[:, :width]

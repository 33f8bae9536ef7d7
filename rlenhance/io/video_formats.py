"""Video containers and encoders: the source's codec and pixel format where possible, otherwise the nearest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from rlenhance.core.errors import UsageError

#: FFmpeg's names of the containers that are read: those of the extensions, which hold their pictures themselves.
READABLE_CLIPS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo",
                  "asf", "flv", "live_flv", "ogg")

# The codec of the source -> its encoders in order of preference, with settings that the source does not determine
_H264 = ("libx264", {"crf": "18"})
_QUANTISER = 3  # of the encoders that have no rate factor
_ENCODERS: Mapping[str, tuple[tuple[str, Mapping[str, str]], ...]] = {
    "h264": (_H264, ("libopenh264", {}), ("h264", {})),
    "hevc": (("libx265", {"crf": "20", "x265-params": "log-level=none"}),),
    "vp8": (("libvpx", {"crf": "8", "b": "20M", "cpu-used": "2"}),),
    "vp9": (("libvpx-vp9", {"crf": "22", "b": "0", "row-mt": "1", "cpu-used": "4"}),),
    "av1": (("libsvtav1", {"crf": "22", "preset": "8", "svtav1-params": "enable-overlays=0"}),),
    "mpeg4": (("mpeg4", {}),), "mpeg2video": (("mpeg2video", {}),), "mjpeg": (("mjpeg", {}),),
    "prores": (("prores_ks", {}),), "ffv1": (("ffv1", {}),), "huffyuv": (("huffyuv", {}),),
    "rawvideo": (("rawvideo", {}),), "qtrle": (("qtrle", {}),), "png": (("png", {}),),
}
_FALLBACKS = ("h264", "vp9", "mpeg4")  # codecs where the source's has no encoder, or does not fit the container
_EVEN = ("libx264", "libx265")  # subsampled chroma needs even sides
_QUANTISED = ("mpeg4", "mpeg2video", "mjpeg")
_LARGE = 9_000_000  # pixels of a frame beyond which an encoder looks at fewer frames ahead: it holds all of them
_COARSE = 2000  # ticks per second: coarser times hide the rate (Matroska has 1000)
_FINEST = 65535  # ticks per second that MPEG-4 can express


@dataclass(frozen=True)
class FrameFormat:
    """The frame format of a clip.

    Attributes:
        codec: by its common name ("h264").
        width, height: in pixels, before rotation.
        format: name of the pixel format ("yuv420p10le").
        rate: frames per second on average.
        base: seconds per tick of the clip's times.
        matrix: display matrix (nine numbers) that rotates the image when it is shown, or None.
        colors: range, primaries, transfer and matrix, as numbers of ITU-T H.273.
        aspect: width of a pixel by its height, or None.
        interlaced: two fields per frame.
        undecoded_alpha: it has an alpha channel that the decoder does not return.
        bytes: size of a frame.
    """

    codec: str
    width: int
    height: int
    format: str
    rate: Fraction
    base: Fraction
    matrix: tuple[int, ...] | None = None
    colors: Mapping[str, int] = field(default_factory=dict)
    aspect: Fraction | None = None
    interlaced: bool = False
    undecoded_alpha: bool = False

    @property
    def bytes(self) -> int:
        import av

        return self.width * self.height * av.VideoFormat(self.format).padded_bits_per_pixel // 8 or 1


@dataclass(frozen=True)
class VideoEncoding:
    """The encoder of a clip and its settings.

    Attributes:
        encoder: its name.
        format: the pixel format.
        base: seconds per tick.
        options: of the encoder.
        quantiser: fixed quantiser, or None.
        notes: properties of the source that are not kept, a sentence each.
    """

    encoder: str
    format: str
    base: Fraction
    options: Mapping[str, str]
    quantiser: int | None
    notes: tuple[str, ...]


def choose_encoding(picture: FrameFormat, container: str, supported: set[str]) -> VideoEncoding:
    """The source's codec and pixel format where they can be written, otherwise the nearest.

    Args:
        picture: see `Picture`.
        container: its name.
        supported: codecs that the container takes.

    Raises:
        UsageError: no encoder is available.
    """
    codec, encoder, options = _encoder(picture.codec, container, supported)
    formats = _formats(encoder) or [picture.format]
    if (picture.width % 2 or picture.height % 2) and encoder in _EVEN:
        formats = [name for name in formats if "42" not in name and not name.startswith("nv")]
    written, notes = nearest_format(picture.format, formats)
    if codec != picture.codec:
        notes = [f"{picture.codec} is written as {codec}", *notes]
    if encoder == "libx264" and picture.width * picture.height > _LARGE:
        options = {**options, "rc-lookahead": "10"}
    if picture.undecoded_alpha:
        notes.append(_LOSSES["ALPHA"])
    if picture.interlaced:
        notes.append("its fields are written as whole frames: the file calls them progressive")
    if picture.colors.get("color_trc") in (16, 18):
        notes.append(f"{'PQ' if picture.colors['color_trc'] == 16 else 'HLG'} tones are treated like those of other "
                     f"clips; dynamic metadata (Dolby Vision, HDR10+) is not kept")
    return VideoEncoding(encoder, written, _ticks(picture, codec, container), options,
                    _QUANTISER if codec in _QUANTISED else None, tuple(notes))


def _encoder(codec: str, container: str, supported: set[str]) -> tuple[str, str, Mapping[str, str]]:
    for name in (codec, *_FALLBACKS):
        if name in supported or name == codec == "rawvideo":
            for encoder, options in _ENCODERS.get(name, ()):
                if _can_encode(encoder):
                    return name, encoder, options
    raise UsageError(f"this build of PyAV has no encoder for {codec} in {container}: choose another format, "
                     f"such as mkv")


def _can_encode(name: str) -> bool:
    import av

    try:
        return av.codec.Codec(name, "w").is_encoder
    except av.codec.codec.UnknownCodecError:
        return False


def _formats(encoder: str) -> list[str]:
    import av

    formats = [each.name for each in av.codec.Codec(encoder, "w").video_formats or ()]
    if not encoder.startswith("libvpx"):
        return formats
    return [name for name in formats if not name.startswith(("yuva", "gbra"))]  # WebM stores alpha as a second stream


def nearest_format(wanted: str, formats: list[str]) -> tuple[str, list[str]]:
    """The pixel format of a list that loses least, and a description of what is lost.

    Args:
        wanted: the source's format.
        formats: formats that can be written.
    """
    import av

    if wanted in formats:
        return wanted, []
    clear = any(component.is_alpha for component in av.VideoFormat(wanted).components)
    known = [name for name in formats if not name.startswith("yuvj")] or formats
    best, lost = av.codec.codec.find_best_pix_fmt_of_list(known, wanted, clear)
    assert best is not None
    return best.name, [words for name, words in _LOSSES.items() if lost & av.codec.codec.PixFmtLoss[name]]


_LOSSES = {"DEPTH": "fewer bits per channel than the source has", "ALPHA": "transparency is not kept",
           "RESOLUTION": "colours at a lower resolution than the source has", "CHROMA": "colours are not kept"}


def _ticks(picture: FrameFormat, codec: str, container: str) -> Fraction:
    """Seconds per tick, such that every time of the source and its rate are exact."""
    if container == "avi" or codec == "mpeg2video":
        return 1 / picture.rate
    base = picture.base
    if base.denominator < _COARSE:
        base = Fraction(1, math.lcm(base.denominator, picture.rate.numerator))
    if codec == "mpeg4" and base.denominator > _FINEST:
        return Fraction(1, 60_000)
    return base

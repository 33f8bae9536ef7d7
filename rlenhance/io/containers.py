"""File formats of pictures: their first bytes, what each can hold, and their file extensions; those of clips."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError


@dataclass(frozen=True)
class Container:
    """One file format.

    Attributes:
        name: Pillow's name.
        extensions: of file names; the first is the usual one.
        depth: largest number of bits per channel that is written.
        alpha: it can hold transparency.
        side: largest number of pixels along one side.
        metadata: the blocks that it can hold: "exif", "xmp", "icc", "iptc".
        extra: the extra of this package that reads it, or "".
        writable: it can be written.
    """

    name: str
    extensions: tuple[str, ...]
    depth: int = 8
    alpha: bool = True
    side: int = 65_500
    metadata: frozenset[str] = frozenset({"exif", "xmp", "icc"})
    extra: str = ""
    writable: bool = True


_RAW_EXTENSIONS = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2",
                   ".pef", ".srw", ".raw", ".rwl", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw", ".x3f", ".erf", ".mef",
                   ".mos")
_ALL = frozenset({"exif", "xmp", "icc", "iptc"})
#: Every format, by name.
CONTAINERS = {kind.name: kind for kind in (
    Container("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), alpha=False, metadata=_ALL),
    Container("PNG", (".png",), depth=16, side=1_000_000),
    Container("WEBP", (".webp",), side=16_383),
    Container("TIFF", (".tif", ".tiff"), depth=16, side=1_000_000, metadata=_ALL),
    Container("BMP", (".bmp",), alpha=False, side=1_000_000, metadata=frozenset()),
    Container("AVIF", (".avif",), side=32_768),
    Container("HEIF", (".heic", ".heif", ".hif"), depth=10, side=16_384, extra="heif"),
    Container("RAW", _RAW_EXTENSIONS, depth=16, extra="raw", writable=False),
)}
_BY_EXTENSION = {ending: kind for kind in CONTAINERS.values() for ending in kind.extensions}
#: File extensions that are read, and those that are written.
EXTENSIONS = tuple(_BY_EXTENSION)
WRITABLE = tuple(ending for ending, kind in _BY_EXTENSION.items() if kind.writable)
#: File extensions of clips that are written -> the name of the container.
WRITABLE_CLIPS: Mapping[str, str] = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
                              ".avi": "avi", ".ts": "mpegts", ".mts": "mpegts", ".m2ts": "mpegts", ".3gp": "3gp"}
#: Those of all clips, also of those that are only read.
CLIP_EXTENSIONS = (*WRITABLE_CLIPS, ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".vob", ".asf")

_SIGNATURES = (  # first bytes of a file -> format
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    (b"FUJIFILMCCD-RAW", "RAW"), (b"IIRO", "RAW"), (b"IIRS", "RAW"), (b"MMOR", "RAW"), (b"IIU\0", "RAW"),
    (b"FOVb", "RAW"), (b"\0MRM", "RAW"),
)
_FOREIGN = ((b"GIF8", "a GIF"), (b"%PDF", "a PDF"), (b"8BPS", "a Photoshop document"), (b"<svg", "an SVG"),
            (b"\0\0\0\x0cjP  ", "a JPEG 2000"), (b"\xff\x0a", "a JPEG XL"), (b"\0\0\0\x0cJXL ", "a JPEG XL"),
            (b"v/1\x01", "an OpenEXR"), (b"#?RADIANCE", "a Radiance HDR"), (b"\0\0\x01\0", "an icon"),
            (b"PK\x03\x04", "a ZIP archive"))
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "RAW", **dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"), "HEIF")}


def container_of(ending: str) -> Container:
    """The format of an extension (".jpg", "jpg", in any case), or of that name.

    Raises:
        UsageError: an unknown one.
    """
    ending = ending.lower()
    found = CONTAINERS.get(ending.upper()) or _BY_EXTENSION.get(f".{ending.lstrip('.')}")
    if found is None:
        raise UsageError(f"{ending or 'a name without an ending'!r}: no known kind of picture; use one of "
                         f"{' '.join(WRITABLE)}")
    return found


def is_clip(path: Path) -> bool:
    """Whether a file is a clip, by its extension."""
    return path.suffix.lower() in CLIP_EXTENSIONS


def clip_container(path: Path) -> str:
    """The container of a clip's file extension.

    Raises:
        UsageError: it cannot be written.
    """
    if path.suffix.lower() not in WRITABLE_CLIPS:
        raise UsageError(f"{path}: clips are written as {' '.join(WRITABLE_CLIPS)}; name one of them")
    return WRITABLE_CLIPS[path.suffix.lower()]


#: Message for a clip where a photograph is expected.
CLIP = "a clip, and this takes photographs alone (rlenhance enhance takes clips)"


def check_kind(path: Path) -> None:
    """Refuse a file name whose extension cannot be written.

    Raises:
        UsageError: names the extensions that can.
    """
    if path.suffix.lower() not in WRITABLE:
        way = f"use one of {' '.join(WRITABLE)}"
        raise UsageError(f"{path}: such a picture cannot be written; {way}" if path.suffix else
                         f"{path}: its ending says what kind of picture it is; {way}, or {path}/ for a folder")


def result_extension(ending: str) -> str:
    """The extension of the result of a file with this extension: the same, or .tif (of a clip .mkv) where it cannot be
    written."""
    if ending.lower() in CLIP_EXTENSIONS:
        return ending if ending.lower() in WRITABLE_CLIPS else ".mkv"
    kind = _BY_EXTENSION.get(ending.lower())
    return ending if kind is None or kind.writable else ".tif"


def sniff(data: bytes, name: str) -> Container:
    """The format of bytes, whatever the name says; only camera RAWs like TIFF are distinguished by their extension.

    Raises:
        UsageError: empty, or an unknown format.
    """
    if not data:
        raise UsageError(f"{name}: the file is empty (0 bytes)")
    found = next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = "WEBP"
    elif data[4:8] == b"ftyp":
        found = _by_brand(data)
    elif found == "TIFF" and container_by_extension(name) is CONTAINERS["RAW"]:
        found = "RAW"
    if found is None:
        foreign = next((kind for start, kind in _FOREIGN if data.startswith(start)), "not a picture that can be read")
        if is_clip(Path(name)):
            raise UsageError(f"{name}: {CLIP}")
        if container_by_extension(name) is not None:
            raise UsageError(f"{name}: {foreign}; it is damaged, or its ending is not that of its kind")
        raise UsageError(f"{name}: {foreign}; {endings_in_words(EXTENSIONS)}")
    return CONTAINERS[found]


def endings_in_words(extensions: Iterable[str]) -> str:
    """The endings that are known, for a message.

    Example:
        >>> endings_in_words([".jpg", ".nef"])
        'known endings: .jpg, and those of camera RAW (.dng .nef .cr2 ...)'
    """
    plain = [extension for extension in extensions if extension not in _RAW_EXTENSIONS]
    raw = ", and those of camera RAW (.dng .nef .cr2 ...)" if {*extensions} & {*_RAW_EXTENSIONS} else ""
    return f"known endings: {' '.join(plain)}{raw}"


def _by_brand(data: bytes) -> str | None:
    """AVIF, HEIC and CR3 are ISO base media files: the format of the first known brand, the major one first."""
    end = min(max(struct.unpack(">I", data[:4])[0], 16), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    if brands[0] in (b"mif1", b"msf1") and {b"avif", b"avis"} & set(brands):
        return "AVIF"
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def container_by_extension(name: str) -> Container | None:
    """The format of a name's extension, if known."""
    return _BY_EXTENSION.get(Path(name).suffix.lower())

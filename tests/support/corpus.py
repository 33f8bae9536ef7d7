"""Files of every kind, made by other libraries than the package's writers: mode x depth x container x metadata."""

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

DATE, MAKE, ORIENTATION, EXIF_IFD, GPS_IFD = 0x0132, 0x010F, 0x0112, 0x8769, 0x8825
TAKEN, EXPOSURE, MAKER_NOTE = 0x9003, 0x829A, 0x927C
XMP = (b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
       b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
       b'tiff:Orientation="6" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="night"/></rdf:RDF></x:xmpmeta>'
       b'<?xpacket end="w"?>')
IPTC = b"\x1c\x02\x78\x00\x0ba street no."  # caption, record 2:120
_SRGB_CURVE = np.linspace(0, 1, 1024)
_SRGB_CURVE = np.rint(65535 * np.where(_SRGB_CURVE <= 0.04045, _SRGB_CURVE / 12.92,
                                       ((_SRGB_CURVE + 0.055) / 1.055) ** 2.4)).astype(np.uint16)
_D65, _D50 = [0.3127, 0.3290, 1.0], [0.3457, 0.3585, 1.0]


@cache
def profile(name):
    """The ICC profile of Display P3, Adobe RGB, ProPhoto or sRGB by the primaries of their standards."""
    white, red, green, blue, gamma = {
        "p3": (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), None),
        "adobe": (_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06), 563 / 256),
        "prophoto": (_D50, (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), 1.8),
        "srgb": (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06), None),
    }[name]
    curve = {"gamma": gamma} if gamma else {"transferfunction": [_SRGB_CURVE] * 3}
    primaries = [value for corner in (red, green, blue) for value in (*corner, 1.0)]
    return imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, **curve)


def make_exif(orientation=6):
    """Camera, dates, exposure time, maker note, position, orientation."""
    exif = Image.Exif()
    exif[MAKE], exif[DATE], exif[ORIENTATION] = "Kamera", "2020:01:02 03:04:05", orientation
    inner = exif.get_ifd(EXIF_IFD)
    inner[TAKEN], inner[EXPOSURE] = "2019:01:02 03:04:05", TiffImagePlugin.IFDRational(1, 50)
    inner[MAKER_NOTE] = b"camera's own \x00\xff data"
    place = exif.get_ifd(GPS_IFD)
    place[1], place[2] = "N", (TiffImagePlugin.IFDRational(52), TiffImagePlugin.IFDRational(31, 2),
                               TiffImagePlugin.IFDRational(7))
    return exif


def noise(shape, dtype=np.uint8, seed=0):
    """Uniform codes over the whole range."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth(height, width, channels):
    """(H, W, channels) uint8 without symmetry, which lossy files hardly change; alpha from clear to opaque."""
    down, across = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    planes = {1: [down], 2: [down, across], 3: [down, across, 0.3 * down + 0.2],
              4: [down, across, 0.3 * down + 0.2, across]}[channels]
    return np.rint(np.stack(planes, axis=2) * 200).astype(np.uint8)


def png16(array, exif=None, icc=None):
    """A 16-bit PNG written by hand: (H, W, 1 to 4)."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"iCCP", b"x\0\0" + zlib.compress(icc))] if icc else []),
             *([(b"eXIf", exif.removeprefix(b"Exif\0\0")),
                (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)] if exif else []),
             (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)


def encoded(image, kind, **options):
    """What Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(array, bilevel=False, metadata=False, icc=None, **options):
    """What tifffile writes; it takes no EXIF directory."""
    file = io.BytesIO()
    channels = array.shape[2]
    tags = [(DATE, "s", 0, "2020:01:02 03:04:05", True), (MAKE, "s", 0, "Kamera", True), (ORIENTATION, "H", 1, 6, True),
            (700, "B", len(XMP), XMP, True), (33723, "B", len(IPTC), IPTC, True)] if metadata else []
    extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    color = "rgb" if channels > 2 else "minisblack"
    tifffile.imwrite(file, array[..., 0] if channels == 1 else array, photometric=color, iccprofile=icc, software=False,
                     planarconfig="contig" if channels > 1 else None, extratags=tags, metadata=None, **extra, **options)
    return file.getvalue()


def dng(size=(40, 60)):
    """A camera RAW: a grey Bayer mosaic at a quarter of its range, behind a bright green preview. -> bytes"""
    file = io.BytesIO()
    preview = np.zeros((8, 12, 3), np.uint8)
    preview[..., 1] = 255
    mosaic = np.full(size, 4096, np.uint16)
    about = [(50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Kamera Eins", True), (MAKE, "s", 0, "Kamera", True),
             (272, "s", 0, "Eins", True), (DATE, "s", 0, "2020:01:02 03:04:05", True),
             (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
             (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True), (50778, "H", 1, 21, True)]
    with tifffile.TiffWriter(file) as writer:
        writer.write(preview, photometric="rgb", subifds=1, subfiletype=1, extratags=about, software=False,
                     metadata=None)
        writer.write(mosaic, photometric="cfa", subfiletype=0, software=False, metadata=None, extratags=[
            (33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True), (50714, "H", 1, 0, True),
            (50717, "H", 1, 16383, True)])
    return file.getvalue()


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        name: with the ending that fits.
        data: its bytes.
        container, mode, depth: what it is.
        pixels: (H, W, channels) as it was given to the writer, not turned; None: lossy.
        metadata: it has EXIF (orientation 6), XMP, ICC and, where the container takes it, IPTC.
    """

    name: str
    data: bytes
    container: str
    mode: str
    depth: int = 8
    pixels: np.ndarray | None = None
    metadata: bool = False


def _shapes():
    return [(9, 13), (1, 1), (1, 7), (8, 1)]


def _eight(container, mode, size, metadata, **options):
    channels = {"1": 1, "P": 3, "PA": 3}.get(mode, len(mode) if mode != "L" else 1)
    lossless = container in ("PNG", "BMP") or options.get("lossless")
    array = noise((*size, channels)) if lossless else smooth(*size, channels)
    if mode == "1":
        image = Image.fromarray(array[..., 0] > 127)
    elif mode in ("P", "PA"):
        image = Image.fromarray(array).quantize(16)
        options |= {"transparency": 2} if mode == "PA" else {}
    else:
        image = Image.fromarray(array[..., 0] if channels == 1 else array)
    if metadata:
        options |= {"exif": make_exif(), "icc_profile": profile("srgb")} | ({"xmp": XMP} if container != "PNG" else {})
        if container == "PNG":
            from PIL.PngImagePlugin import PngInfo

            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
            options["pnginfo"].add_text("Title", "night")
        if container == "JPEG":
            body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
            options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    data = encoded(image, container, **options)
    if not lossless:
        pixels = None
    else:
        clear = image.convert("RGBA") if mode == "PA" else image.convert("RGB") if mode == "P" else image.convert(
            "L") if mode == "1" else image
        if mode == "PA":
            with Image.open(io.BytesIO(data)) as again:
                clear = again.convert("RGBA")
        pixels = np.asarray(clear).reshape(*size, -1)
    ending = {"JPEG": ".jpg", "WEBP": ".webp", "AVIF": ".avif"}.get(container, f".{container.lower()}")
    words = [mode, f"{size[1]}x{size[0]}", *(["all"] if metadata else []), *(["lossy"] if "quality" in options else [])]
    return Case("-".join(words) + ending, data, container, "P" if mode == "PA" else mode, 1 if mode == "1" else 8,
                pixels, metadata)


def _tiffs(size, metadata):
    icc = profile("srgb") if metadata else None
    packings = [{}, {"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"byteorder": ">"}]
    for dtype in (np.uint8, np.uint16):
        for mode in ("L", "LA", "RGB", "RGBA"):
            array = noise((*size, 1 if mode == "L" else len(mode)), dtype)
            for number, options in enumerate(packings if size == (9, 13) and not metadata else packings[:1]):
                bits = 8 * array.itemsize
                yield Case(f"{mode}{bits}-{number}-{size[1]}x{size[0]}{'-all' if metadata else ''}.tif",
                           tiff(array, metadata=metadata, icc=icc, **options), "TIFF", mode, bits, array, metadata)


def _heifs(size, metadata):
    import pillow_heif

    blocks = {"exif": make_exif().tobytes(), "xmp": XMP, "icc_profile": profile("srgb")} if metadata else {}
    for mode in ("L", "RGB", "RGBA", "RGB;16"):
        array = smooth(*size, 1 if mode == "L" else len(mode.split(";")[0]))
        array = array.astype(np.uint16) * 257 if ";" in mode else array
        file = io.BytesIO()
        picture = pillow_heif.from_bytes(mode, (size[1], size[0]), array.tobytes())
        picture.save(file, quality=90, chroma=444, **blocks)
        name = f"{mode.replace(';', '')}-{size[1]}x{size[0]}{'-all' if metadata else ''}.heic"
        yield Case(name, file.getvalue(), "HEIF", mode.split(";")[0], 10 if ";" in mode else 8, None, metadata)


def _deep_avif(size):
    array = smooth(*size, 3).astype(np.uint16) * 4
    return Case(f"RGB10-{size[1]}x{size[0]}.avif", imagecodecs.avif_encode(array, bitspersample=10, level=95), "AVIF",
                "RGB", 10)


@cache
def cases():
    """All of them."""
    found = []
    for size in _shapes():
        for metadata in (False, True) if size == (9, 13) else (False,):
            for container, modes, options in (
                ("JPEG", ("L", "RGB"), {}), ("PNG", ("1", "P", "PA", "L", "LA", "RGB", "RGBA"), {}),
                ("WEBP", ("RGB", "RGBA"), {"lossless": True, "exact": True}),
                ("WEBP", ("RGB", "RGBA"), {"quality": 90}), ("BMP", ("1", "P", "L", "RGB"), {}),
                ("AVIF", ("RGB", "RGBA"), {"quality": 95}),
            ):
                if (container == "BMP" and metadata) or (container == "AVIF" and size != (9, 13)):
                    continue
                for mode in modes:
                    found.append(_eight(container, mode, size, metadata, **options))
            for mode in ("L", "LA", "RGB", "RGBA"):
                array = noise((*size, 1 if mode == "L" else len(mode)), np.uint16)
                blocks = {"exif": make_exif().tobytes(), "icc": profile("srgb")} if metadata else {}
                name = f"{mode}16-{size[1]}x{size[0]}{'-all' if metadata else ''}.png"
                found.append(Case(name, png16(array, **blocks), "PNG", mode, 16, array, metadata))
            found += _tiffs(size, metadata)
            if size == (9, 13):
                found += _heifs(size, metadata)
    found.append(_deep_avif((9, 13)))
    white = noise((9, 13, 1)) > 127
    found.append(Case("bilevel.tif", encoded(Image.fromarray(white[..., 0]), "TIFF", compression="group4"), "TIFF", "1",
                      1, np.uint8(255) * white))
    few = Image.fromarray(noise((9, 13, 3))).quantize(16)
    found.append(Case("palette.tif", encoded(few, "TIFF"), "TIFF", "P", 8, np.asarray(few.convert("RGB"))))
    return found

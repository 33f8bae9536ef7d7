"""Contact sheets: labelled photographs in a grid."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rlenhance.core.errors import printable

#: Side of the square that a photograph is fitted into, in pixels.
CELL = 480
_GAP, _LINE, _SIZE = 12, 22, 16  # pixels: between cells, of a line of text, of its letters
_PAPER, _INK = (38, 38, 38), (225, 225, 225)  # dark grey, so that dark pictures can be compared
_SHAPE = 1.5  # width of a sheet by its height, where the number of columns is not given
# Fallback fonts of Linux, macOS and Windows
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
          "PingFang.ttc", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf")


@dataclass(frozen=True)
class Cell:
    """One image of a sheet.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16.
        lines: its label; lines that do not fit are shortened.
    """

    pixels: np.ndarray
    lines: tuple[str, ...]


def thumbnail(pixels: np.ndarray, side: int = CELL) -> np.ndarray:
    """Reduce an image to at most `side` pixels along its longer side and to 8 bits: (H, W, 3) -> (h, w, 3) uint8.

    Each pixel is the mean of its area; smaller images keep their size.
    """
    pixels = downscale(pixels, side)
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return pixels


def downscale(pixels: np.ndarray, side: int) -> np.ndarray:
    """The same in the depth of the input: (H, W, 3) or (H, W), uint8 or uint16."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels


def make_sheet(cells: Sequence[Cell], columns: int | None = None, side: int = CELL) -> np.ndarray:
    """Lay cells out in rows: (H, W, 3) uint8.

    Args:
        cells: at least one.
        columns: number of columns; None: the one that brings the sheet nearest to 3:2.
        side: of the square that each image is fitted into, in pixels.
    """
    pictures = [thumbnail(cell.pixels, side) for cell in cells]
    lines = max(len(cell.lines) for cell in cells)
    tall = max(picture.shape[0] for picture in pictures) + lines * _LINE + _GAP
    columns = min(len(cells), columns or _columns(len(cells), side + _GAP, tall))
    rows = [list(range(start, min(start + columns, len(cells)))) for start in range(0, len(cells), columns)]
    heights = [max(pictures[i].shape[0] for i in row) for row in rows]
    sheet = Image.new("RGB", (columns * (side + _GAP) + _GAP,
                              sum(heights) + len(rows) * (lines * _LINE + _GAP) + _GAP), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = _GAP + column * (side + _GAP)
            sheet.paste(Image.fromarray(pictures[i]), (left, top + height - pictures[i].shape[0]))
            for number, line in enumerate(cells[i].lines):
                _write(draw, (left, top + height + number * _LINE + 2), line, side)
        top += height + lines * _LINE + _GAP
    return np.asarray(sheet)


def _columns(count: int, width: int, height: int) -> int:
    """The number of columns nearest to the shape `_SHAPE`, full rows preferred."""
    def off(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * width / (rows * height) / _SHAPE)) + 0.3 * (rows * columns / count - 1)

    return min(range(1, count + 1), key=off)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int) -> None:
    text = printable(text).encode("utf-8", "backslashreplace").decode()  # a name may hold line breaks, or be no text
    font = _font_for(text)
    while draw.textlength(text, font) > width and len(text) > 2:
        text = text[: len(text) // 2 - 1] + "…" + text[len(text) // 2 + 1 :].lstrip("…")
    draw.text(place, text, font=font, fill=_INK)


def _font_for(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font that has all letters; where none has, the first font, with boxes for missing letters."""
    fonts = _fonts()
    return next((font for font in fonts if all(_has(font, letter) for letter in set(text))), fonts[0])


@lru_cache(maxsize=4096)
def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, letter: str) -> bool:
    if letter.isspace():
        return True
    try:
        return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))
    except (OSError, UnicodeError):
        return False


@lru_cache(maxsize=1)
def _fonts() -> list[ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    found: list[ImageFont.FreeTypeFont | ImageFont.ImageFont] = []
    room = importlib.util.find_spec("matplotlib")  # its DejaVu Sans has Latin, Greek and Cyrillic
    places = [str(Path(place) / "mpl-data/fonts/ttf/DejaVuSans.ttf")
              for place in (room.submodule_search_locations or () if room else ())]
    for name in (*places, *_FONTS):
        try:
            found.append(ImageFont.truetype(name, _SIZE))
        except OSError:
            continue
    return found or [ImageFont.load_default(_SIZE)]

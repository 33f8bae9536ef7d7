"""A stored table as a chart: a row of dots for each row of the table, with the text of its cells beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.stored_tables import StoredTable

_WIDTH, _ROW, _TOP = 900, 22, 34  # pixels
_LETTER = 6.3  # mean width in pixels of a letter of 12 pixels
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_INTERVAL = re.compile(r"[(\[]([-+]?[\d.]+)(?: to |, )([-+]?[\d.]+)[)\]]")


def draw(table: StoredTable, columns: Sequence[str]) -> str:
    """An SVG with a panel for each of the named columns; the cells before the first of them name the rows.

    A cell may hold one number, several ("21.9, 22.0" or "21.9 / 22.0", a dot each), a deviation ("21.9 ± 0.1") or an
    interval ("21.9 (21.7 to 22.1)"), which become a line. Dots, because the scale of a panel begins at its least value.

    Raises:
        UsageError: a column that the table has not, or without a number.
    """
    if unknown := [name for name in columns if name not in table.columns]:
        raise UsageError(f"no column {unknown[0]!r} in the table; its columns are {', '.join(table.columns)}")
    places = [list(table.columns).index(name) for name in columns]
    labels = [_plain(", ".join(filter(None, row[: min(places)] or row[:1]))) for row in table.rows]
    left = min(330.0, 12 + _LETTER * max(map(len, labels)))
    wide = (_WIDTH - left - 8) / len(places)
    height = _TOP + _ROW * len(table.rows) + 8
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
             ' font-size="12">', f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>']
    for number, (row, label) in enumerate(zip(table.rows, labels, strict=True)):
        y = _TOP + _ROW * number
        if number % 2 == 0:
            lines.append(f'<rect y="{y}" width="{_WIDTH}" height="{_ROW}" fill="#f2f4f8"/>')
        lines.append(_text(8, y + 15, label, bold="**" in row[0], most=left - 12))
    for number, place in enumerate(places):
        lines += _panel(table, place, left + number * wide, wide)
    return "\n".join([*lines, "</svg>", ""])


def _panel(table: StoredTable, place: int, left: float, wide: float) -> list[str]:
    """The dots and texts of a column."""
    cells = [_plain(row[place]) for row in table.rows]
    found = [_numbers(cell) for cell in cells]
    shown = [value for dots, spread in found for value in (*dots, *spread)]
    if not shown:
        raise UsageError(f"the column {table.columns[place]!r} has no number")
    low, high = min(shown), max(shown)
    text = 10 + min(wide * 0.55, _LETTER * max(map(len, cells)))
    inner = wide - text - 18

    def x(value: float) -> float:
        return round(left + 8 + inner * (0.5 if high == low else (value - low) / (high - low)), 1)

    lines = [_text(left + 8, 22, _plain(table.columns[place]), bold=True, most=wide - 12)]
    for number, (cell, (dots, spread)) in enumerate(zip(cells, found, strict=True)):
        y = _TOP + _ROW * number + 11
        if spread:
            lines.append(f'<line x1="{x(spread[0])}" x2="{x(spread[1])}" y1="{y}" y2="{y}" stroke="#93a4d8"'
                         ' stroke-width="3"/>')
        lines += [f'<circle cx="{x(value)}" cy="{y}" r="4" fill="#3f51b5"/>' for value in dots]
        lines.append(_text(left + 18 + inner, y + 4, cell, bold="**" in table.rows[number][place], most=text))
    return lines


def _numbers(cell: str) -> tuple[list[float], list[float]]:
    """The values of a cell, and the ends of their interval where there is one."""
    interval = _INTERVAL.search(cell)
    value, _, deviation = (cell[: interval.start()] if interval else cell).partition(" ± ")
    dots = [float(word[0].replace(",", "")) for part in re.split(r", | / ", value) if (word := _NUMBER.match(part))]
    if interval:
        return dots, [float(interval[1]), float(interval[2])]
    if deviation and len(dots) == 1:
        around = float(deviation.split(",")[0].split()[0])
        return dots, [dots[0] - around, dots[0] + around]
    return dots, []


def _plain(cell: str) -> str:
    """Without Markdown's signs and links."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell).replace("**", "").replace("`", "")


def _text(x: float, y: float, words: str, *, bold: bool, most: float) -> str:
    fit = f' textLength="{round(most)}" lengthAdjust="spacingAndGlyphs"' if _LETTER * len(words) > most + 2 else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{round(x, 1)}" y="{y}" fill="#222"{weight}{fit}>{escape(words)}</text>'

"""Images, tables and charts as HTML; all text of users and files is escaped here."""

from __future__ import annotations

import base64
import html
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError

_WIDE, _HIGH, _LEFT, _FOOT = 460, 220, 46, 24  # pixels: size and margins of a chart
_COLORS = ("#e8871e", "#3b82c4", "#5aa469", "#b0568f", "#8d7b68", "#c94f4f")
_MAX_FILE = 30_000_000  # bytes of a file that is embedded


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def data_uri(pixels: np.ndarray, quality: int = 90) -> str:
    """An image (h, w, 3) uint8, RGB, as a data URI (JPEG)."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise UsageError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be shown")
    return _uri("jpeg", data.tobytes())


def file_uri(path: Path) -> str:
    """A PNG file of a run as a data URI."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise UsageError(f"{path.name}: too large to be shown")
        return _uri("png", path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path.name}: cannot be read ({error.strerror})") from error


def before_after(before: np.ndarray, after: np.ndarray, *, left: str = "Before", right: str = "After",
                 whole: tuple[int, int] | None = None, part: tuple[int, int] = (0, 0),
                 gains: np.ndarray | None = None, zoom: bool = False, small: bool = False) -> str:
    """Two images of one size over each other, with a movable divider.

    Args:
        left, right: labels.
        whole: size (width, height) of the picture of which they are a part, which is dragged; None: they are whole.
        part: its left and upper edge there, in pixels.
        gains: (h, w) float, the change of brightness in stops.
        zoom: there is a button for full size, which the page is asked for.
        small: there are no buttons.
    """
    height, width = before.shape[:2]
    words = {"before": data_uri(before), "after": data_uri(after), "left": left, "right": right, "width": width,
             "height": height, **({"zoom": ""} if zoom else {}), **({"small": ""} if small else {})}
    if whole is not None:
        words |= {"whole": f"{whole[0]} {whole[1]}", "part": f"{part[0]} {part[1]}"}
    if gains is not None:
        tenths = np.rint(10 * gains).astype(int)
        words["gains"] = json.dumps({"columns": tenths.shape[1], "values": tenths.ravel().tolist()},
                                    separators=(",", ":"))
    given = " ".join(f'{name}="{html.escape(str(word))}"' for name, word in words.items())
    return f"<before-after {given}></before-after>"


def figures(items: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """A grid of images (URIs), each with a caption; one of the kind "fresh" is scrolled into view."""
    return grid(((f'<img src="{address}" alt="{html.escape(lines[0] if lines else "picture")}" loading="lazy">', lines)
                 for address, lines in items), kind)


def grid(items: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """A grid of HTML, each part with a caption."""
    cells = []
    for part, lines in items:
        first, rest = (lines[0] if lines else "picture"), lines[1:]
        caption = "".join(f"<span>{html.escape(line)}</span>" for line in rest)
        cells.append(f"<figure>{part}<figcaption><b>{html.escape(first)}</b>{caption}</figcaption></figure>")
    return f'<div class="figures {html.escape(kind)}">{"".join(cells)}</div>'


def download(address: str, name: str, size: int, words: str = "Download", fresh: bool = True) -> str:
    """A download link; the page follows a fresh one automatically."""
    return (f'<a class="take{" fresh" * fresh}" href="{html.escape(address)}" download="{html.escape(name)}">'
            f"{html.escape(words)} <b>{html.escape(name)}</b> ({_amount(size)})</a>")


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(size / 1e3, 1):.0f} kB"


def notes(lines: Sequence[str], kind: str = "note") -> str:
    """A paragraph per line."""
    return "".join(f'<p class="{kind}">{html.escape(line)}</p>' for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    top = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in head)
    body = "".join("<tr>" + "".join(f"<{'td' if i else 'th scope=row'}>{html.escape(word)}</{'td' if i else 'th'}>"
                                    for i, word in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="scroll"><table class="numbers"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
            f"</div>")


def brush(picture: np.ndarray, mask: np.ndarray | None = None) -> str:
    """An image (h, w, 3) uint8 to paint a mask on; `mask` (h, w), bool, is the initial mask."""
    height, width = picture.shape[:2]
    marked = "" if mask is None else _uri("png", cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())
    return (f'<hole-brush picture="{data_uri(picture)}" marked="{marked}" width="{width}" height="{height}" '
            f'serial="{secrets.token_hex(4)}"></hole-brush>')


def chart(title: str, curves: Mapping[str, Sequence[tuple[float, float]]], alarm: float | None = None) -> str:
    """Curves over the updates of a run, as SVG in the colours of the page.

    Args:
        title: of the chart.
        curves: name -> points (update, value).
        alarm: a level that is marked if it is near the curves.
    """
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    if not xs:
        return ""
    low, high, last = min(ys), max(ys), max(max(xs), 1)
    if alarm is not None and alarm <= high + 2 * (high - low + 1):
        high = max(high, alarm)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1
    low, high = low - room, high + room

    def place(x: float, y: float) -> tuple[float, float]:
        return (_LEFT + x / last * (_WIDE - _LEFT - 8),
                _HIGH - _FOOT - (y - low) / (high - low) * (_HIGH - _FOOT - 8))

    parts = []
    for level in np.linspace(low + room, high - room, 4):
        _, y = place(0, level)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDE - 8}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                     f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{level:.3g}</text>')
    for update in (0, last):
        parts.append(f'<text x="{place(update, low)[0]:.0f}" y="{_HIGH - 6}" '
                     f'text-anchor="{"end" if update else "start"}">{update:g}</text>')
    if alarm is not None and low <= alarm <= high:
        y = place(0, alarm)[1]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDE - 8}" y1="{y:.1f}" y2="{y:.1f}" class="alarm"/>'
                     f'<text x="{_WIDE - 10}" y="{y - 4:.1f}" text-anchor="end">alarm above {alarm:g}</text>')
    keys = []
    for number, (name, points) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        keys.append(f'<span><i style="background:{color}"></i>{html.escape(name)}</span>')
    return (f'<figure class="chart"><figcaption><b>{html.escape(title)}</b></figcaption>'
            f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
            f'<div class="keys">{"".join(keys)}</div></figure>')

"""Tables as text: Markdown for pages, aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return ["|" + "|".join(f" {cell} " if cell else " " for cell in header) + "|", "|---" * len(header) + "|",
            *(f"| {' | '.join(row)} |" for row in rows)]


def text_table(rows: Mapping[str, Any], name: str = "") -> str:
    """Numbers a line each, rows of numbers under their columns, or tables of rows, each under its name.

    Args:
        rows: name -> number, or column -> number, or a table of those.

    Example:
        >>> print(text_table({"psnr": 21.5, "ssim": 0.75}))
                          psnr  21.5000
                          ssim  0.7500
    """
    first = next(iter(rows.values()))
    if not isinstance(first, Mapping):
        return "\n".join(f"{key:>22}  {value:.4f}" for key, value in rows.items())
    if isinstance(next(iter(first.values())), Mapping):
        return "\n\n".join(text_table(part, key) for key, part in rows.items())
    lines, columns = [], list[str]()
    for key, row in rows.items():
        if list(row) != columns:
            columns = list(row)
            lines.append(f"{name:>22}" + "".join(f"{column:>14}" for column in columns))
        lines.append(f"{key:>22}" + "".join(f"{value:>14.4f}" for value in row.values()))
    return "\n".join(lines)

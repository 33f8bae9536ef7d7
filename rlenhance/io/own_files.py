"""Files that this project has written beside photographs, known by their contents, so that no other is replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.encoder import encode
from rlenhance.io.files import write_bytes
from rlenhance.io.photo import Metadata, Photo

#: What a sheet says of itself, in a PNG text chunk or a JPEG comment.
SHEET_MARK = b"rlenhance sheet"
#: What a table of failures says of itself, in the metadata of its schema.
FAILURES_MARK = b"rlenhance failures"
#: What a sidecar for raw developers says of the program that wrote it.
SIDECAR_MARK = b"rlenhance sidecar"
_HEAD = 1 << 16  # bytes at both ends of a file in which its mark stands


def write_sheet(pixels: np.ndarray, path: Path) -> Path:
    """Write a contact sheet, with its mark where the format has room for a text.

    Args:
        pixels: (H, W, 3) uint8.
        path: the file; its ending chooses the format.

    Raises:
        UsageError: the format is not written, or the file cannot be.
    """
    texts = ((b"tEXt", b"Software\0" + SHEET_MARK),) if path.suffix.lower() == ".png" else ((b"COM", SHEET_MARK),)
    photo = replace(Photo(pixels, name=str(path)), metadata=Metadata(texts=texts))
    return write_bytes(encode(photo, path.suffix), path)


def _ends(path: Path) -> bytes:
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _HEAD))
        return head + file.read(_HEAD)


def _is_ledger(data: bytes) -> bool:
    return data.startswith(b'{"kind":"rlenhance ledger"')


def _is_look(data: bytes) -> bool:
    """Whether it may be a look that was learned, or a recipe: presets are written by hand and have no model."""
    return data.lstrip()[:1] == b"{" and b'"sha256"' in data and b'"made_with"' in data


#: Kind of file -> whether the bytes at its ends are those of one that we wrote. Recipes (of 0.2, and looks with a
#: decision) and looks are JSON objects with their own keys; they are read whole by who replaces them.
KINDS: Mapping[str, Callable[[bytes], bool]] = {
    "sheet": lambda data: SHEET_MARK in data[:_HEAD],
    "table of failures": lambda data: data[:4] == b"PAR1" and FAILURES_MARK in data,
    "ledger": _is_ledger,
    "recipe": lambda data: _is_look(data) and (b'"rlenhance recipe"' in data or b'"decision"' in data[:_HEAD]),
    "look": lambda data: _is_look(data) and b'"settings"' in data and b'"decision"' not in data[:_HEAD],
    "colour table": lambda data: b"# rlenhance " in data[:_HEAD] and b"LUT_3D_SIZE" in data[:_HEAD],
    "sidecar": lambda data: b"<x:xmpmeta" in data[:100] and SIDECAR_MARK in data[:200],
    "dialogue": lambda data: data.lstrip()[:1] == b"{" and b'"rlenhance taste"' in data[:200],
    "graph": lambda data: data[:1] == b"\x08" and b"pytorch" in data[:64],
}


def is_own(path: Path, kind: str) -> bool:
    """Whether a file is one of a kind that this project wrote.

    Args:
        path: an existing file; links are followed.
        kind: a key of `KINDS`.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return KINDS[kind](_ends(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error

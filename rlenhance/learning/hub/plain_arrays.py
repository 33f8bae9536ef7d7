"""Archives of plain arrays of strangers (.npz, .pth), checked before they are used; nothing is unpickled."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from rlenhance.core.errors import UsageError

#: Smaller values become 0: no output changes, and products that are denormal numbers make a CPU many times slower
#: (a quarter of Zero-DCE's released weights are so small; as they are it takes 45 times as long).
_NOTHING = 1e-30
_MOST_UNPACKED = 1 << 30  # bytes of the arrays in a file


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that unpacks to more than `_MOST_UNPACKED`, before anything is unpacked."""
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, EOFError, BadZipFile, NotImplementedError):
        return  # no archive, or damaged: the reader says so
    if size > _MOST_UNPACKED:
        raise UsageError(f"{path}: unpacks to {size:,} bytes; the limit is {_MOST_UNPACKED:,}")


def read_npz(path: Path) -> Mapping[str, Callable[[], Any]]:
    """Name -> what reads that array; arrays that are pickled objects are refused when they are read."""
    _check_unpacked(path)
    try:
        opened = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        # the text of NumPy's own error advises unsafe loading
        raise UsageError(f"{path}: damaged, or not a NumPy archive of plain arrays (.npz); pickles are never "
                         f"loaded") from error
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise UsageError(f"{path}: one array; the weights are an archive of named arrays (.npz)")
    with opened:
        # what is in the archive beside arrays (a .pth is such an archive) stays unread: it has no array's name
        return {name: _reader(path, name) for name in opened.files}


def _reader(path: Path, name: str) -> Callable[[], Any]:
    def read() -> Tensor:
        try:
            with np.load(path, allow_pickle=False) as opened:
                return torch.from_numpy(np.asarray(opened[name], dtype=np.float32))
        except (OSError, ValueError, EOFError, TypeError, BadZipFile, MemoryError, zlib.error) as error:
            raise UsageError(f"{path}: {name} is damaged, or not an array of numbers; pickles are never "
                             f"loaded") from error

    return read


def read_state_dict(path: Path) -> Mapping[str, Callable[[], Any]]:
    """Name -> what gives that tensor. torch builds tensors and plain containers alone, and refuses the rest unread."""
    _check_unpacked(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can lead to any of them
        raise UsageError(f"{path}: damaged, or not a file of plain tensors (.pth); other pickles can run code and are "
                         f"never loaded") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path}: holds {type(found).__name__}, not named tensors (a state_dict)")
    return {str(name): value.detach().float for name, value in found.items()}


def checked_arrays(path: Path, found: Mapping[str, Callable[[], Any]], expected: Mapping[str, tuple[int, ...]],
                   hint: str) -> dict[str, Tensor]:
    """Every expected array, of its shape and finite, and none beside them."""
    for kind, names in (("lacks", set(expected) - set(found)), ("also holds", set(found) - set(expected))):
        if names:
            some = ", ".join(sorted(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise UsageError(f"{path}: {kind} {some}; {hint} ({len(expected)} arrays)")
    arrays = {name: found[name]() for name in expected}
    for name, array in arrays.items():
        if tuple(array.shape) != expected[name]:
            raise UsageError(f"{path}: {name} has shape {tuple(array.shape)}, expected {expected[name]}; {hint}")
        if not torch.isfinite(array).all():
            raise UsageError(f"{path}: {name} is not finite; get the file again")
    return {name: torch.where(array.abs() < _NOTHING, 0.0, array) for name, array in arrays.items()}

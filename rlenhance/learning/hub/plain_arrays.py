"""Untrusted archives of plain arrays (.npz, .pth), checked before they are used; nothing is unpickled."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from rlenhance.core.errors import UsageError

#: Smaller values become 0: no output changes, and products that are denormal numbers make a CPU many times slower
#: (a quarter of Zero-DCE's released weights are so small; as they are it takes 45 times as long).
_NOTHING = 1e-30
_MOST_UNPACKED = 1 << 30  # bytes of the arrays in a file
_MOST_HEADER = 10_000  # bytes of what an array says of itself


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that unpacks to more than `_MOST_UNPACKED`, before anything is unpacked."""
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, EOFError, BadZipFile, NotImplementedError):
        return  # no archive, or damaged: the reader says so
    if size > _MOST_UNPACKED:
        raise UsageError(f"{path}: unpacks to {size:,} bytes; the limit is {_MOST_UNPACKED:,}")


@dataclass(frozen=True)
class StoredArray:
    """An array of a file, known by what the file says of it; its numbers are read on request.

    Attributes:
        shape: of the array.
        fault: why it is not taken, whatever its shape: "" for an array of real numbers that are there.
        read: gives it as float32.
    """

    shape: tuple[int, ...]
    fault: str
    read: Callable[[], Tensor]


def read_npz(path: Path) -> Mapping[str, StoredArray]:
    """The arrays of an archive by name; their headers alone are read.

    Raises:
        UsageError: it is no archive of arrays, is damaged, or unpacks to more than the limit.
    """
    _check_unpacked(path)
    try:
        with ZipFile(path) as archive:
            # what is in the archive beside arrays (a .pth is such an archive) stays unread: it has no array's name
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _from_member(path, archive, name) for name in members}
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, BadZipFile, NotImplementedError, RuntimeError,
            OverflowError, TokenError, zlib.error) as error:
        # the text of NumPy's own error advises unsafe loading
        raise UsageError(f"{path}: damaged, or not a NumPy archive of plain arrays (.npz); pickles are never "
                         f"loaded") from error


def _from_member(path: Path, archive: ZipFile, member: str) -> StoredArray:
    """An array by its header in the archive."""
    with archive.open(member) as file:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file, max_header_size=_MOST_HEADER)
        there = archive.getinfo(member).file_size - file.tell()
    fault = "" if dtype.kind in "fiu" else f"holds values of the type {dtype}, and weights are real numbers"
    if dtype.hasobject:
        fault = "holds pickled objects; pickles are never loaded"
    if not fault and math.prod(shape) * dtype.itemsize != there:
        fault = f"says that it has the shape {shape}, and holds {there:,} bytes"

    def read() -> Tensor:
        try:
            with np.load(path, allow_pickle=False) as opened:
                return torch.from_numpy(np.asarray(opened[member.removesuffix(".npy")], dtype=np.float32))
        except (OSError, ValueError, EOFError, TypeError, KeyError, BadZipFile, MemoryError, zlib.error) as error:
            raise UsageError(f"{path}: {member.removesuffix('.npy')} is damaged, or not an array of numbers; pickles "
                             f"are never loaded") from error

    return StoredArray(tuple(shape), fault, read)


def read_state_dict(path: Path) -> Mapping[str, StoredArray]:
    """The tensors of a file by name. torch builds tensors and plain containers alone, and refuses the rest unread.

    Raises:
        UsageError: it is no file of plain tensors, is damaged, or unpacks to more than the limit.
    """
    _check_unpacked(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can lead to any of them
        raise UsageError(f"{path}: damaged, or not a file of plain tensors (.pth); other pickles can run code and are "
                         f"never loaded") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path}: holds {type(found).__name__}, not named tensors (a state_dict)")
    return {str(name): _from_tensor(value) for name, value in found.items()}


def _from_tensor(tensor: Tensor) -> StoredArray:
    """A tensor by its kind; nothing is computed from one that holds no plain numbers."""
    kinds = {"a nested tensor": tensor.is_nested, "a sparse tensor": tensor.layout is not torch.strided,
             "a quantized tensor": tensor.is_quantized, "a tensor without numbers": tensor.device.type == "meta",
             "a tensor of complex numbers": tensor.is_complex()}
    fault = next((f"is {kind}, and weights are plain ones of real numbers" for kind, so in kinds.items() if so), "")
    if fault:
        return StoredArray((), fault, lambda: tensor)
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        fault = f"says that it has {tensor.numel():,} numbers, and holds fewer"  # an expanded one
    return StoredArray(tuple(tensor.shape), fault, lambda: tensor.detach().float())


def checked_arrays(path: Path, found: Mapping[str, StoredArray], expected: Mapping[str, tuple[int, ...]],
                   hint: str) -> dict[str, Tensor]:
    """Every expected array, of its shape and finite, and none beside them; shapes are compared before numbers are read.

    Raises:
        UsageError: names the file, the array and what is wrong with it.
    """
    for kind, names in (("lacks", set(expected) - set(found)), ("also holds", set(found) - set(expected))):
        if names:
            some = ", ".join(f"{name:.60}" for name in sorted(names)[:4]) \
                + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise UsageError(f"{path}: {kind} {some}; {hint} ({len(expected)} arrays)")
    for name, shape in expected.items():
        if found[name].fault:
            raise UsageError(f"{path}: {name} {found[name].fault}; {hint}")
        if found[name].shape != shape:
            raise UsageError(f"{path}: {name} has shape {found[name].shape}, expected {shape}; {hint}")
    arrays = {name: found[name].read() for name in expected}
    for name, array in arrays.items():
        if tuple(array.shape) != expected[name] or not torch.isfinite(array).all():
            raise UsageError(f"{path}: {name} is not finite; get the file again")
    return {name: torch.where(array.abs() < _NOTHING, 0.0, array) for name, array in arrays.items()}

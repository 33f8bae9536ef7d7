"""The safetensors files of checkpoints, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rlenhance.core.errors import UsageError, one_line
from rlenhance.hub.info import CONFIG, MODEL, is_pickle

#: Bytes of the header of a safetensors file that is read.
MAX_HEADER = 8 << 20
_DTYPES = frozenset(("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"))


def weight_shapes(folder: Path, name: str = MODEL) -> dict[str, list[int]]:
    """The shapes of the tensors in a file of a checkpoint, by their names there; the tensors are not read.

    Raises:
        UsageError: damaged, or not safetensors.
    """
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path}: missing; take another copy of it")
    with reading_safetensors(path):
        check_header(path)
        with safe_open(path, framework="np") as file:
            slices = {weight: file.get_slice(weight) for weight in file.keys()}  # noqa: SIM118
            kinds = {weight: part.get_dtype() for weight, part in slices.items()}
            shapes = {weight: part.get_shape() for weight, part in slices.items()}
    for weight, kind in kinds.items():
        if kind not in _DTYPES:
            raise UsageError(f"{path}: the weight {weight:.60} is of type {kind}; known are "
                             f"{', '.join(sorted(_DTYPES))}")
    return shapes


def read_weights(folder: Path, name: str = MODEL) -> dict[str, np.ndarray]:
    """The floating-point weights of a checkpoint as float32 arrays, by their names in the file.

    Raises:
        UsageError: damaged, or not safetensors; a weight is not finite, or of a type that NumPy does not have.
    """
    path = folder / name
    with reading_safetensors(path):
        check_header(path)
        with safe_open(path, framework="np") as file:
            arrays = {weight: file.get_tensor(weight) for weight in file.keys()}  # noqa: SIM118
    found = {}
    for weight, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating):
            found[weight] = array.astype(np.float32)
            if not np.isfinite(found[weight]).all():
                raise UsageError(f"{path}: the weight {weight} is not finite; use another checkpoint")
    return found


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header is larger than `MAX_HEADER`, before it is read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER and not is_pickle(path):
        raise UsageError(f"{path}: damaged, or not safetensors (a header of {size:,} bytes; the limit is "
                         f"{MAX_HEADER:,})")


@contextmanager
def reading_safetensors(path: Path) -> Iterator[None]:
    """What goes wrong with a safetensors file, as a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        kind = "a pickle under another name, never loaded" if is_pickle(path) else one_line(error)
        raise UsageError(f"{path}: damaged, or not safetensors ({kind})") from error


def check_digests(folder: Path, config: Mapping[str, Any], files: Sequence[str]) -> None:
    """Compare files of a checkpoint with the digests that were written with it, where there are any.

    Args:
        folder: the checkpoint.
        config: its config.json.
        files: names of those that are compared.

    Raises:
        UsageError: a file is not what was saved.
    """
    known = config.get("digests")
    if not isinstance(known, dict):
        return
    bare = {name: value for name, value in config.items() if name != "digests"}
    for name, wanted in known.items():
        if name in files:
            seen = digest(config_text(bare)) if name == CONFIG else file_digest(folder / name)
            if seen != wanted:
                raise UsageError(f"{folder / name}: damaged, it is not what was saved (its digest is {seen}, and "
                                 f"{CONFIG} says {wanted!r:.40}); take another copy of it")


def digest(data: bytes) -> str:
    """The digest of bytes, as `digests` in a config.json has it: BLAKE2b, 16 bytes in hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The same of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def config_text(config: Mapping[str, Any]) -> bytes:
    """A config.json as it is written."""
    return json.dumps(config, indent=2).encode()

"""Values sent to another process through shared memory: JSON, bytes, paths, arrays and dataclasses of this package."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from rlenhance.io.limits import DAMAGE

_ALIGN = 64


def send_value(to: socket.socket, value: Any) -> None:
    """Send a file in memory: the arrays of a value, the rest of it as JSON, and the size of each.

    Raises:
        EOFError: the other side is gone.
    """
    parts: list[np.ndarray] = []
    text = json.dumps(_packed(value, parts)).encode()
    parts.append(np.frombuffer(text, np.uint8))
    with os.fdopen(os.memfd_create("rlenhance"), "wb") if hasattr(os, "memfd_create") else TemporaryFile() as file:
        for part in parts:
            file.write(part.data.cast("B") if part.size else b"")
            file.write(bytes(-part.nbytes % _ALIGN))
        file.write(struct.pack(f"<{len(parts) + 1}Q", *(part.nbytes for part in parts), len(parts)))
        file.flush()
        try:
            socket.send_fds(to, [b"."], [file.fileno()])
        except ConnectionError as error:
            raise EOFError from error


def receive_value(source: socket.socket) -> Any:
    """The value that `send_value` sent.

    Raises:
        EOFError: the other side is gone, or sends other things.
        TimeoutError: nothing came in the socket's time.
    """
    try:
        _, (file, *_), _, _ = socket.recv_fds(source, 1, 1)
    except (ConnectionError, ValueError) as error:
        raise EOFError from error
    try:
        whole = memoryview(mmap.mmap(file, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE))
    finally:
        os.close(file)
    parts, at = [], 0
    try:
        (count,) = struct.unpack("<Q", whole[-8:])
        for size in struct.unpack(f"<{count}Q", whole[-8 - 8 * count : -8]):
            parts.append(whole[at : at + size])
            at += size + -size % _ALIGN
        return _unpacked(json.loads(bytes(parts.pop())), parts)
    except (*DAMAGE, ImportError) as error:
        raise EOFError from error


def _packed(value: Any, parts: list[np.ndarray]) -> Any:
    """A value as JSON, in which arrays are numbers of `parts`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [_packed(each, parts) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(each, parts) for each in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_packed(key, parts), _packed(each, parts)] for key, each in value.items()]}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        parts.append(np.frombuffer(value, np.uint8))
        return {"bytes": len(parts) - 1}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        parts.append(np.ascontiguousarray(value))
        return {"array": len(parts) - 1, "dtype": value.dtype.str, "shape": list(value.shape)}
    if is_dataclass(value) and type(value).__module__.startswith("rlenhance."):
        return {"class": f"{type(value).__module__}:{type(value).__qualname__}",
                "fields": {field.name: _packed(getattr(value, field.name), parts) for field in fields(value)}}
    raise TypeError(f"{type(value).__qualname__} cannot be sent to another process")


def _unpacked(value: Any, parts: list[memoryview]) -> Any:
    """The value that `_packed` took apart."""
    if isinstance(value, list):
        return [_unpacked(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    match kind:
        case "tuple":
            return tuple(_unpacked(each, parts) for each in content)
        case "dict":
            return {_unpacked(key, parts): _unpacked(each, parts) for key, each in content}
        case "path":
            return Path(content)
        case "bytes":
            return bytes(parts[content])
        case "array":
            return np.frombuffer(parts[content], value["dtype"]).reshape(value["shape"])
        case _:
            made: Any = named(content) if content.startswith("rlenhance.") else None
            if not isinstance(made, type) or not is_dataclass(made):
                raise TypeError(f"{content} is no dataclass")
            return made(**{name: _unpacked(each, parts) for name, each in value["fields"].items()})


def named(name: str) -> Any:
    """What "module:name" names."""
    module, _, path = name.partition(":")
    return attrgetter(path)(importlib.import_module(module))

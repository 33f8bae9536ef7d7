"""Files of exported graphs: ONNX without its weights, with what it says of itself; read and written here.

Messages of protocol buffers are read field by field: what exports have is little, and nothing else is let through.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import parse_json

#: Version of the exports that this version writes and reads.
FORMAT = 1
#: Bytes of an export, which holds no weights.
MAX_BYTES = 4 << 20
_FACTS, _GRAPH, _NODE, _INITIALIZER = 6, 7, 1, 5  # fields of ONNX's ModelProto (doc_string, graph) and GraphProto
_OPERATION, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # of NodeProto
_TEXT, _TENSOR, _EXTERNAL = 4, 5, 13  # of AttributeProto (s, t) and TensorProto
#: Fields that exports have of ModelProto (no functions), GraphProto (no sparse weights), AttributeProto (no graphs).
_MODEL_FIELDS, _GRAPH_FIELDS = frozenset((2, 3, 4, 6, 7, 8)), frozenset((1, 2, 5, 10, 11, 12, 13))
_ATTRIBUTE_FIELDS = frozenset((1, 4, 5, 7, 8, 9, 13))
_FIXED = {1: 8, 5: 4}  # kinds of encoded numbers of fixed length, and that in bytes
_TYPES = {1: "float32", 7: "int64"}  # of ONNX's TensorProto
_MOST = 1 << 20  # values of a constant


@dataclass(frozen=True)
class Node:
    """An operation of a graph: its kind, the names of what it takes and gives, and its attributes that are whole
    numbers, several of them, numbers with a point, bytes, or arrays."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class StaleExport(UsageError):
    """An export that does not fit its weights or config, or of another version of this program."""


def damaged(path: Path, error: Exception) -> UsageError:
    """The error for a graph that cannot be run."""
    return UsageError(f"{path}: damaged, or no graph that can be run ({one_line(error)}); write it "
                      f"anew with rlenhance export")


def _no_export(path: Path) -> UsageError:
    return UsageError(f"{path}: damaged, or not an export of rlenhance; write it anew with rlenhance export")


def read_export(path: Path) -> bytes:
    """The bytes of an export.

    Raises:
        UsageError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES:,} bytes, the limit of an export; write it anew with "
                         f"rlenhance export")
    return data


def read_facts(path: Path) -> dict[str, Any]:
    """What an export says of itself, see `Graph`; the graph is not read.

    Raises:
        UsageError, StaleExport: see `Graph`.
    """
    data = read_export(path)
    try:
        text = next(value for field, value in _fields(data) if field == _FACTS)
        facts = parse_json(text, path)
        complete = isinstance(facts, dict) and "format" in facts
    except (StopIteration, IndexError, ValueError) as error:
        raise _no_export(path) from error
    if not complete or facts["format"] != FORMAT:
        raise StaleExport(f"{path}: of another version of rlenhance; write it anew with rlenhance export")
    return dict(facts)


def check_graph(path: Path, operations: Collection[str]) -> None:
    """Refuse a graph with other parts than an export has: other operations than these, graphs within it, functions,
    weights in other files, or sparse ones, which a few bytes make large.

    Raises:
        UsageError: names what it is.
    """
    try:
        problem = next(_foreign_parts(read_export(path), operations), None)
    except (IndexError, ValueError) as error:
        raise _no_export(path) from error
    if problem is not None:
        raise UsageError(f"{path}: {problem}, which no export of rlenhance has; write it anew with rlenhance export")


def _foreign_parts(data: bytes, operations: Collection[str]) -> Iterator[str]:
    for field, part in _fields(data):
        if field not in _MODEL_FIELDS:
            yield f"field {field} of the model"
        if field != _GRAPH:
            continue
        for number, content in _fields(part):
            if number not in _GRAPH_FIELDS:
                yield f"field {number} of the graph"
            if number == _INITIALIZER:
                yield from _foreign_tensor(content)
            if number == _NODE:
                yield from _foreign_node(content, operations)


def _foreign_node(data: bytes, operations: Collection[str]) -> Iterator[str]:
    for field, content in _fields(data):
        if (field == _OPERATION and content.decode() not in operations) or (field == _DOMAIN and content):
            yield f"the operation {content.decode()!r:.60}"
        if field != _ATTRIBUTE:
            continue
        for number, value in _fields(content):
            if number not in _ATTRIBUTE_FIELDS:
                yield f"an attribute of type {number}"
            if number == _TENSOR:
                yield from _foreign_tensor(value)


def _foreign_tensor(data: bytes) -> Iterator[str]:
    if any(field == _EXTERNAL for field, _ in _fields(data)):
        yield "weights in another file"


def _fields(data: bytes, numbers: bool = False) -> Iterator[tuple[int, Any]]:
    """The fields of an encoded message that hold bytes, and with `numbers` numbers too: number and content."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        if key & 7 == 0:
            value, place = _number(data, place)
            if numbers:
                yield key >> 3, value
        elif key & 7 in _FIXED:
            place += _FIXED[key & 7]
            if numbers and key & 7 == 5:
                yield key >> 3, struct.unpack("<f", data[place - 4 : place])[0]
        elif key & 7 == 2:
            size, place = _number(data, place)
            if place + size > len(data):
                raise ValueError("cut off")
            yield key >> 3, data[place : place + size]
            place += size
        else:
            raise ValueError(f"field of type {key & 7}")


def read_nodes(path: Path) -> list[Node]:
    """The operations of an export, in order.

    Raises:
        UsageError: damaged.
    """
    try:
        graphs = [value for field, value in _fields(read_export(path)) if field == _GRAPH]
        return [_node(list(_fields(value))) for graph in graphs for field, value in _fields(graph) if field == _NODE]
    except (IndexError, ValueError, TypeError, UnicodeDecodeError, StopIteration, struct.error) as error:
        raise _no_export(path) from error


def _node(found: list[tuple[int, Any]]) -> Node:
    inputs, outputs, kinds = ([value.decode() for field, value in found if field == number] for number in (1, 2, 4))
    attributes: dict[str, Any] = {}
    for content in (list(_fields(value, numbers=True)) for field, value in found if field == 5):
        name = next(value.decode() for field, value in content if field == 1)
        several = [_signed(part) for field, value in content if field == 8 for part in _numbers(value)]
        single: list[Any] = [_array(value) if field == _TENSOR else _signed(value) for field, value in content
                             if field in (2, 3, _TEXT, _TENSOR)]
        attributes[name] = several or (single[0] if single else None)
    return Node(kinds[0], tuple(inputs), outputs[0], attributes)


def _signed(value: Any) -> Any:
    """A whole number of 64 bits with its sign; others as they are."""
    return value - (1 << 64) if isinstance(value, int) and value >= 1 << 63 else value


def _array(data: bytes) -> np.ndarray | None:
    """A constant; None for a type that a graph of small convolutions does not have."""
    content = list(_fields(data, numbers=True))
    shape = [part for field, value in content if field == 1 for part in _numbers(value)]
    kind = next((_TYPES.get(value) for field, value in content if field == 2), None)
    raw = next((value for field, value in content if field == 9), None)
    if kind is None or not isinstance(raw, bytes) or math.prod(shape) > _MOST:
        return None
    return np.frombuffer(raw, np.dtype(kind).newbyteorder("<")).reshape(shape).astype(kind)


def _numbers(value: bytes | int) -> list[int]:
    """A whole number, or several that are packed."""
    if isinstance(value, int):
        return [value]
    found, place = [], 0
    while place < len(value):
        number, place = _number(value, place)
        found.append(number)
    return found


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte, place = data[place], place + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")


def facts_text(facts: Mapping[str, Any]) -> str:
    """What `read_facts` reads, for the doc_string of an ONNX file."""
    return json.dumps({"format": FORMAT, **facts}, separators=(",", ":"))

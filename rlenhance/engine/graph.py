"""Exported graphs: what a network computes, as ONNX without its weights, which stay in the safetensors file beside it.

`rlenhance.hub.export` writes them. onnxruntime runs them where it is installed, otherwise OpenCV.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import parse_json
from rlenhance.core.threads import thread_count
from rlenhance.engine.convolutions import NATIVE, Convolutions, Node, check_nodes

#: Version of the exports that this version writes and reads.
FORMAT = 1
#: What can run any graph, the faster one first.
BACKENDS = ("onnxruntime", "opencv")
#: What runs graphs of small convolutions, faster than these.
COMPILED = "compiled"
#: Bytes of an export, which holds no weights.
MAX_BYTES = 4 << 20
#: What a graph may compute: the operations of `rlenhance.hub.export` and `rlenhance.hub.quantize`. None of them reads a
#: file, runs another graph, or comes from a library of its own.
OPERATIONS = frozenset((
    "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DequantizeLinear", "Div",
    "Flatten", "Gather", "Gemm", "Identity", "MatMul", "Mul", "Pad", "QuantizeLinear", "Relu", "Reshape", "Shape",
    "Sigmoid", "Slice", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"))
_FACTS, _GRAPH, _NODE, _INITIALIZER = 6, 7, 1, 5  # fields of ONNX's ModelProto (doc_string, graph) and GraphProto
_OPERATION, _ATTRIBUTE, _DOMAIN, _TENSOR, _EXTERNAL = 4, 5, 7, 5, 13  # of NodeProto, AttributeProto and TensorProto
#: Fields that exports have of ModelProto (no functions), GraphProto (no sparse weights), AttributeProto (no graphs).
_MODEL_FIELDS, _GRAPH_FIELDS = frozenset((2, 3, 4, 6, 7, 8)), frozenset((1, 2, 5, 10, 11, 12, 13))
_ATTRIBUTE_FIELDS = frozenset((1, 4, 5, 7, 8, 9, 13))
_FIXED = {1: 8, 5: 4}  # kinds of encoded numbers of fixed length, and that in bytes
_TYPES = {"float32": 1, "int64": 7}  # of ONNX's TensorProto


class StaleExport(UsageError):
    """An export that does not fit its weights or config, or of another version of this program."""


def available_backends() -> tuple[str, ...]:
    """Those of `BACKENDS` that are installed, the faster one first."""
    return tuple(name for name in BACKENDS if name == "opencv" or importlib.util.find_spec(name) is not None)


@cache
def adds_bytes_exactly() -> bool:
    """Whether the processor adds products of bytes in 32 bits (VNNI, or ARM), as graphs in 8 bits need: others of x86
    add pairs in 16 bits first, where they may saturate."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not told on other systems
        return False


class Graph:
    """A graph that is read and prepared when it first runs. Threads share it; a pickle is prepared again.

    Args:
        path: of the export.
        weights: of its checkpoint by name, float32; the graph takes those that it names.
        backend: one of `BACKENDS`, or `COMPILED`; None: `COMPILED` where it knows the graph, otherwise the first that
            is installed.

    Attributes:
        path, backend: see above.
        facts: what the export says of itself: "format"; "inputs" and "outputs", the names in order; "weights", names
            and shapes; and what the network needs beside its graph.

    Raises:
        UsageError: no such file, or a damaged one; a graph that `COMPILED` does not know.
        StaleExport: another version of the format, or it does not fit the weights.
    """

    def __init__(self, path: Path, weights: Mapping[str, np.ndarray], backend: str | None = None):
        known = (COMPILED, *available_backends())
        if backend not in (None, *known):
            raise UsageError(f"backend is one of {', '.join(known)}; got {backend!r}")
        self.path = path
        self.facts = read_facts(path)
        check_graph(path)
        for name, shape in self.facts["weights"].items():
            seen = list(weights[name].shape) if name in weights else "none"
            if seen != shape:
                raise StaleExport(f"{path}: does not fit its weights ({name} has the shape {seen} and not {shape}); "
                                  f"write it anew with rlenhance export")
        self.weights = {name: weights[name] for name in self.facts["weights"]}
        self.backend = backend or (COMPILED if can_compile(path, self.weights) else available_backends()[0])
        self._prepare()

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._runners: dict[int, Any] = {}

    def run(self, **arrays: np.ndarray) -> Any:
        """The outputs for the inputs, by name: float32 arrays; one array where there is one output.

        Raises:
            UsageError: other inputs; a damaged file, or a graph that does not take inputs of these shapes.
            MemoryError: there is not enough.
        """
        if set(arrays) != set(self.facts["inputs"]):
            raise UsageError(f"{self.path}: its inputs are {', '.join(self.facts['inputs'])}; got {', '.join(arrays)}")
        inputs = {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
        try:
            outputs = self._runner()(inputs, list(self.facts["outputs"]))
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            if re.search("alloc|Insufficient memory", str(error)):
                raise MemoryError(f"{self.path}: {one_line(error)}") from error
            raise _damaged(self.path, error) from error
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _runner(self) -> Any:
        """What runs the graph with the present number of threads; made when it is first asked for."""
        threads = 0 if self.backend == "opencv" else thread_count()  # OpenCV's threads are the process's
        with self._lock:
            if threads not in self._runners:
                self._runners[threads] = _compiled(self.path, self.facts, self.weights, threads) \
                    if self.backend == COMPILED else _RUNNERS[self.backend](self.path, self.whole(), threads)
            return self._runners[threads]

    def whole(self) -> bytes:
        """The ONNX file with its weights."""
        return _read(self.path) + _encoded(self.weights)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_runners")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()


def _compiled(path: Path, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray], threads: int) -> Convolutions:
    """The graph for `COMPILED`.

    Raises:
        UsageError: it has other operations than that knows; or damaged.
    """
    try:
        (given,), (wanted,) = facts["inputs"], facts["outputs"]
        return Convolutions(read_nodes(path), weights, given, wanted, threads)
    except ValueError as error:
        raise UsageError(f"{path}: no graph of small convolutions alone ({error}); leave the backend out") from error


def can_compile(path: Path, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether `COMPILED` knows a graph, and the package was installed with the compiled functions."""
    facts = read_facts(path)
    if NATIVE is None or len(facts["inputs"]) != 1 or len(facts["outputs"]) != 1:
        return False
    try:
        check_nodes(read_nodes(path), weights, facts["inputs"][0], facts["outputs"][0])
    except (ValueError, UsageError):
        return False
    return True


class _OnnxRuntime:
    """A session; it may run for several threads at once."""

    def __init__(self, path: Path, data: bytes, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # errors are raised
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting costs no processor time
        try:
            self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes derive from Exception alone
            raise _damaged(path, error) from error

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        found: list[np.ndarray] = self.session.run(outputs, inputs)
        return found


class _OpenCV:
    """A network of OpenCV's; it runs for one thread at a time."""

    def __init__(self, path: Path, data: bytes, threads: int):
        self.lock = threading.Lock()
        try:
            engine: Any = getattr(cv2.dnn, "ENGINE_NEW", None)
            buffer = np.frombuffer(data, np.uint8)
            self.network = cv2.dnn.readNetFromONNX(buffer) if engine is None else \
                cv2.dnn.readNetFromONNX(buffer, engine)
        except cv2.error as error:
            raise _damaged(path, error) from error

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        with self.lock:
            for name, value in inputs.items():
                self.network.setInput(value, name)
            return [np.array(value) for value in self.network.forward(outputs)]


_RUNNERS = {"onnxruntime": _OnnxRuntime, "opencv": _OpenCV}


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: damaged, or no graph that can be run ({one_line(error)}); write it "
                      f"anew with rlenhance export")


def _read(path: Path) -> bytes:
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
    data = _read(path)
    try:
        text = next(value for field, value in _fields(data) if field == _FACTS)
        facts = parse_json(text, path)
        complete = isinstance(facts, dict) and "format" in facts
    except (StopIteration, IndexError, ValueError) as error:
        raise UsageError(f"{path}: damaged, or not an export of rlenhance; write it anew with rlenhance "
                         f"export") from error
    if not complete or facts["format"] != FORMAT:
        raise StaleExport(f"{path}: of another version of rlenhance; write it anew with rlenhance export")
    return dict(facts)


def check_graph(path: Path) -> None:
    """Refuse a graph with other parts than an export has: operations beside `OPERATIONS`, graphs within it, functions,
    weights in other files, or sparse ones, which a few bytes make large.

    Raises:
        UsageError: names what it is.
    """
    try:
        problem = next(_foreign_parts(_read(path)), None)
    except (IndexError, ValueError) as error:
        raise UsageError(f"{path}: damaged, or not an export of rlenhance; write it anew with rlenhance "
                         f"export") from error
    if problem is not None:
        raise UsageError(f"{path}: {problem}, which no export of rlenhance has; write it anew with rlenhance export")


def _foreign_parts(data: bytes) -> Iterator[str]:
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
                yield from _foreign_node(content)


def _foreign_node(data: bytes) -> Iterator[str]:
    for field, content in _fields(data):
        if (field == _OPERATION and content.decode() not in OPERATIONS) or (field == _DOMAIN and content):
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
    """The fields of an encoded message that hold bytes, and with `numbers` whole numbers too: number and content."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        if key & 7 == 0:
            value, place = _number(data, place)
            if numbers:
                yield key >> 3, value
        elif key & 7 in _FIXED:
            place += _FIXED[key & 7]
        elif key & 7 == 2:
            size, place = _number(data, place)
            if place + size > len(data):
                raise ValueError("cut off")
            yield key >> 3, data[place : place + size]
            place += size
        else:
            raise ValueError(f"field of type {key & 7}")


def read_nodes(path: Path) -> list[Node]:
    """The operations of an export, in order; of their attributes those that are whole numbers or several.

    Raises:
        UsageError: damaged.
    """
    try:
        graphs = [value for field, value in _fields(_read(path)) if field == _GRAPH]
        return [_node(list(_fields(value))) for graph in graphs for field, value in _fields(graph) if field == _NODE]
    except (IndexError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: damaged, or not an export of rlenhance; write it anew with rlenhance "
                         f"export") from error


def _node(found: list[tuple[int, Any]]) -> Node:
    inputs, outputs, kinds = ([value.decode() for field, value in found if field == number] for number in (1, 2, 4))
    attributes: dict[str, Any] = {}
    for content in (list(_fields(value, numbers=True)) for field, value in found if field == 5):
        name = next(value.decode() for field, value in content if field == 1)
        several = [part for field, value in content if field == 8 for part in _numbers(value)]
        attributes[name] = several or next((value for field, value in content if field == 3), None)
    return Node(kinds[0], tuple(inputs), outputs[0], attributes)


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


def _field(number: int, content: bytes | int) -> bytes:
    """An encoded field of a message."""
    if isinstance(content, int):
        return _variable(number << 3) + _variable(content)
    return _variable(number << 3 | 2) + _variable(len(content)) + content


def _variable(value: int) -> bytes:
    """A number in groups of seven bits."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _variable(value >> 7)


def _encoded(weights: Mapping[str, np.ndarray]) -> bytes:
    """Weights as one more part of an encoded graph: parts of a message that follow each other are joined when read."""
    return _field(_GRAPH, b"".join(_field(_INITIALIZER, b"".join((
        *(_field(1, side) for side in value.shape), _field(2, _TYPES[value.dtype.name]), _field(8, name.encode()),
        _field(9, np.ascontiguousarray(value).tobytes())))) for name, value in weights.items()))


def facts_text(facts: Mapping[str, Any]) -> str:
    """What `read_facts` reads, for the doc_string of an ONNX file."""
    return json.dumps({"format": FORMAT, **facts}, separators=(",", ":"))

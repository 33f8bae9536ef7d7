"""Exported graphs: what a network computes, as ONNX without its weights, which stay in the safetensors file beside it.

`rlenhance.learning.hub.export` writes them. onnxruntime runs them where it is installed, otherwise OpenCV.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.threads import thread_count
from rlenhance.engine.convolution_plan import Plan, plan
from rlenhance.engine.convolutions import NATIVE, Convolutions
from rlenhance.engine.onnx_file import (
    StaleExport,
    check_graph,
    damaged,
    encoded,
    read_export,
    read_facts,
    read_nodes,
)

#: What can run any graph, the faster one first.
BACKENDS = ("onnxruntime", "opencv")
#: What runs graphs of small convolutions and what is done pixel by pixel between them, faster than these.
COMPILED = "compiled"


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
    except OSError:  # not known on other systems
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
        made = np.asarray if self.backend == COMPILED else np.ascontiguousarray
        inputs = {name: made(value, np.float32) for name, value in arrays.items()}
        try:
            outputs = self._runner()(inputs, list(self.facts["outputs"]))
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            if re.search("alloc|Insufficient memory", str(error)):
                raise MemoryError(f"{self.path}: {one_line(error)}") from error
            raise damaged(self.path, error) from error
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _runner(self) -> Any:
        """What runs the graph with the present number of threads; made when it is first asked for."""
        threads = 0 if self.backend == "opencv" else thread_count()  # OpenCV's threads are the process's
        with self._lock:
            if threads not in self._runners:
                self._runners[threads] = Convolutions(_plan(self.path, self.facts, self.weights), threads) \
                    if self.backend == COMPILED else _RUNNERS[self.backend](self.path, self.whole(), threads)
            return self._runners[threads]

    def whole(self) -> bytes:
        """The ONNX file with its weights."""
        return read_export(self.path) + encoded(self.weights)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_runners")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()


def _plan(path: Path, facts: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Plan:
    """The steps of a graph for `COMPILED`.

    Raises:
        UsageError: it has other operations than that knows; or damaged.
    """
    try:
        return plan(read_nodes(path), weights, facts["inputs"], facts["outputs"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # any, of a damaged one
        raise UsageError(f"{path}: no graph of small convolutions alone ({error}); leave the backend out") from error


def can_compile(path: Path, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether `COMPILED` knows a graph, and the package was installed with the compiled functions."""
    try:
        return NATIVE is not None and bool(_plan(path, read_facts(path), weights).steps)
    except UsageError:
        return False


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
            raise damaged(path, error) from error

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
            raise damaged(path, error) from error

    def __call__(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        with self.lock:
            for name, value in inputs.items():
                self.network.setInput(value, name)
            return [np.array(value) for value in self.network.forward(outputs)]


_RUNNERS = {"onnxruntime": _OnnxRuntime, "opencv": _OpenCV}

"""Exported graphs: what a network computes, as ONNX without its weights, which stay in the safetensors file beside it.

`rlenhance.learning.hub.export` writes them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.machine import thread_count
from rlenhance.engine.array_operations import OPERATIONS, ArrayGraph
from rlenhance.engine.convolution_plan import Plan, plan
from rlenhance.engine.convolutions import NATIVE, Convolutions
from rlenhance.engine.onnx_file import StaleExport, check_graph, damaged, read_facts, read_nodes

#: What runs graphs of small convolutions and what is done pixel by pixel between them; and what runs any graph.
COMPILED, NUMPY = "compiled", "numpy"
_UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # any, of a damaged graph


class Graph:
    """A graph that is read and prepared when it first runs. Threads share it; a pickle is prepared again.

    Args:
        path: of the export.
        weights: of its checkpoint by name, float32; the graph takes those that it names.
        backend: `COMPILED` or `NUMPY`; None: `COMPILED` where it knows the graph.

    Attributes:
        path, backend: see above.
        facts: what the export says of itself: "format"; "inputs" and "outputs", the names in order; "weights", names
            and shapes; and what the network needs beside its graph.

    Raises:
        UsageError: no such file, or a damaged one; a graph that `COMPILED` does not know.
        StaleExport: another version of the format, or it does not fit the weights.
    """

    def __init__(self, path: Path, weights: Mapping[str, np.ndarray], backend: str | None = None):
        if backend not in (None, COMPILED, NUMPY):
            raise UsageError(f"backend is one of {COMPILED}, {NUMPY}; got {backend!r}")
        self.path = path
        self.facts = read_facts(path)
        check_graph(path, OPERATIONS)
        for name, shape in self.facts["weights"].items():
            seen = list(weights[name].shape) if name in weights else "none"
            if seen != shape:
                raise StaleExport(f"{path}: does not fit its weights ({name} has the shape {seen} and not {shape}); "
                                  f"write it anew with rlenhance export")
        self.weights = {name: weights[name] for name in self.facts["weights"]}
        self.backend = backend or (COMPILED if can_compile(path, self.weights) else NUMPY)
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
        inputs = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
        try:
            outputs = self._runner()(inputs, list(self.facts["outputs"]))
        except UsageError:
            raise
        except _UNFIT as error:
            raise damaged(self.path, error) from error
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _runner(self) -> Any:
        """What runs the graph with the present number of threads; made when it is first asked for."""
        threads = thread_count() if self.backend == COMPILED else 0  # those of NumPy's products are the process's
        with self._lock:
            if threads not in self._runners:
                self._runners[threads] = Convolutions(_plan(self.path, self.facts, self.weights), threads) \
                    if self.backend == COMPILED else ArrayGraph(read_nodes(self.path), self.weights)
            return self._runners[threads]

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
    except _UNFIT as error:
        raise UsageError(f"{path}: no graph of small convolutions alone ({error}); leave the backend out") from error


def can_compile(path: Path, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether `COMPILED` knows a graph, and the package was installed with the compiled functions."""
    try:
        return NATIVE is not None and bool(_plan(path, read_facts(path), weights).steps)
    except UsageError:
        return False

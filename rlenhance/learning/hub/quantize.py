"""Write a graph in 8 bits, which onnxruntime computes with a processor's instructions for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.engine.graph import Graph
from rlenhance.engine.networks import QUANTIZED, export_path
from rlenhance.hub.info import MODEL
from rlenhance.hub.shipped import sha256
from rlenhance.hub.weight_files import read_weights
from rlenhance.io.files import write_bytes
from rlenhance.learning.hub.export import bare_graph


class Recorder:
    """A graph that keeps its inputs.

    Args:
        graph: runs.
        every: one of so many inputs is kept.
    """

    def __init__(self, graph: Graph, every: int = 1):
        self.graph, self.every, self.feeds, self._seen = graph, every, list[dict[str, np.ndarray]](), 0

    def run(self, **arrays: np.ndarray) -> Any:
        """See `Graph.run`."""
        if self._seen % self.every == 0:
            self.feeds.append({name: np.array(value, np.float32) for name, value in arrays.items()})
        self._seen += 1
        return self.graph.run(**arrays)


def quantize_part(folder: Path, part: str, feeds: Sequence[Mapping[str, np.ndarray]]) -> Path:
    """Write a part of an exported checkpoint with convolutions in 8 bits: weights by channel, activations by layer.

    The file holds the steps alone: weights are rounded to them when the graph is prepared.

    Args:
        folder: of the checkpoint.
        part: name of the graph.
        feeds: inputs that it sees in use, see `Recorder`; the steps of the activations follow from them.

    Returns:
        The file.

    Raises:
        UsageError: onnxruntime or onnx is missing, or the part was not exported.

    Source: the scheme is that of onnxruntime's `quantize_static`.
    """
    try:
        import onnx
        import onnxruntime
        from onnxruntime import quantization as quant
    except ImportError as error:
        raise UsageError(f"graphs in 8 bits are written with onnx and onnxruntime: {install_line('onnx')}") from error
    weights = read_weights(folder)
    graph = Graph(export_path(folder, part), weights, "onnxruntime")
    with tempfile.TemporaryDirectory() as room:
        plain, small = Path(room) / "plain.onnx", Path(room) / "small.onnx"
        options = onnxruntime.SessionOptions()  # what follows from weights alone becomes weights
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath, options.log_severity_level = str(plain), 4
        onnxruntime.InferenceSession(graph.whole(), options, providers=["CPUExecutionProvider"])
        model = onnx.load(plain)
        for number, node in enumerate(model.graph.node):
            node.name = f"node{number}"
        onnx.save(model, plain)
        quant.quantize_static(
            plain, small, _Feeds(feeds), quant_format=quant.QuantFormat.QDQ, per_channel=True,
            activation_type=quant.QuantType.QUInt8, weight_type=quant.QuantType.QInt8, op_types_to_quantize=["Conv"],
            extra_options={"AddQDQPairToWeight": True})
        data = bare_graph(small.read_bytes(), weights, {"sha256": sha256(folder / MODEL)})
    path = folder / QUANTIZED.format(part=part)
    write_bytes(data, path)
    return path


class _Feeds:
    """What onnxruntime's calibration reads."""

    def __init__(self, feeds: Sequence[Mapping[str, np.ndarray]]):
        self.left: Iterator[Mapping[str, np.ndarray]] = iter(feeds)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self.left, None)

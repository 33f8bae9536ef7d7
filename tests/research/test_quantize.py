"""Graphs in 8 bits: near those that they stand for, and never used with other weights."""

from dataclasses import replace

import numpy as np
import pytest

from research import quantize_networks
from rlenhance.core.errors import UsageError
from rlenhance.engine import networks
from rlenhance.engine.graph import adds_bytes_exactly
from rlenhance.engine.networks import load
from rlenhance.experiments.laws.law import stir
from rlenhance.hub.info import read_config
from rlenhance.hub.weight_files import read_weights
from rlenhance.io import write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.hub.export import export_checkpoint
from rlenhance.learning.hub.quantize import Recorder, quantize_part
from tests.support.networks import make_model


def opened(folder, **options):
    """The exported network of a checkpoint."""
    return load(folder, read_config(folder), read_weights(folder), "onnxruntime", **options)


def test_a_graph_in_8_bits_is_near_the_other(tmp_path):
    """It holds steps and no weights; with the weights of another training, the graph in floats is used, and by a
    processor that may saturate."""
    folder = save_checkpoint(tmp_path / "run", stir(make_model("denoiser"), 0.2))
    export_checkpoint(folder)
    network = opened(folder, quantized=False)
    network.graphs["model"] = recorder = Recorder(network.graphs["model"])
    planes = np.random.default_rng(0).random((1, 3, 32, 48), dtype=np.float32)
    wanted = network.denoise(planes, 0.2)
    path = quantize_part(folder, "model", recorder.feeds)
    assert path.stat().st_size < 30_000 and len(recorder.feeds) == 1
    found = opened(folder).denoise(planes, 0.2)
    change = np.abs(wanted - planes).max()
    assert np.abs(found - wanted).max() < 0.1 * change
    assert adds_bytes_exactly() == (found != wanted).any()
    data = path.read_bytes()
    save_checkpoint(folder, stir(make_model("denoiser"), 0.3))
    export_checkpoint(folder)
    path.write_bytes(data)
    assert np.array_equal(opened(folder).denoise(planes, 0.2), opened(folder, quantized=False).denoise(planes, 0.2))


@pytest.fixture
def exact(monkeypatch):
    """A processor that adds bytes exactly; of these pictures others are near enough."""
    for module in (networks, quantize_networks):
        monkeypatch.setattr(module, "adds_bytes_exactly", lambda: True)


def test_graphs_of_shipped_networks_are_written_and_measured(exact, tmp_path, capsys):
    """A graph that loses little stays and is listed in SHA256SUMS; one that loses more does not."""
    for number in range(8):
        level = np.random.default_rng(number).integers(0, 255, (3, 4, 3), dtype=np.uint8)
        write(np.kron(level, np.ones((8, 8, 1), np.uint8)), tmp_path / f"flat/p{number}.png")
    folder = save_checkpoint(tmp_path / "weights/small", make_model("denoiser"))
    export_checkpoint(folder)
    arguments = quantize_networks.Arguments(("small",), (tmp_path / "flat",), (25.0,), 1, 1, 24, most_loss=9,
                                            folder=tmp_path / "weights")
    assert list(quantize_networks.main(arguments)) == ["small"]
    assert (folder / "model.int8.onnx").is_file()
    assert "small/model.int8.onnx" in (tmp_path / "weights/SHA256SUMS").read_text()
    quantize_networks.main(replace(arguments, most_loss=-9.0))
    assert not (folder / "model.int8.onnx").exists() and "not written" in capsys.readouterr().out


def test_only_what_was_exported_is_written(exact, tmp_path):
    """Another name is refused with the command that exports."""
    with pytest.raises(UsageError, match=r"has no export; .*export_shipped"):
        quantize_networks.main(quantize_networks.Arguments(("natural",), (tmp_path,)))


def test_a_processor_without_exact_products_measures_nothing(monkeypatch, tmp_path):
    """It would compare the graph in floats with itself."""
    monkeypatch.setattr(quantize_networks, "adds_bytes_exactly", lambda: False)
    with pytest.raises(UsageError, match="no loss can be measured; write the graphs on one with VNNI"):
        quantize_networks.main(quantize_networks.Arguments(("upscale-x2",), (tmp_path,)))

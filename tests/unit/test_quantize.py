"""Graphs in 8 bits: near those that they stand for, and never used with other weights."""

import numpy as np
import pytest

from experiments.laws.law import stir
from experiments.scripts import quantize_policies
from rlenhance.core.errors import UsageError
from rlenhance.engine.graph import adds_bytes_exactly
from rlenhance.engine.networks import load
from rlenhance.hub.checkpoint import save_checkpoint
from rlenhance.hub.export import export_checkpoint
from rlenhance.hub.info import read_config
from rlenhance.hub.quantize import Recorder, quantize_part
from rlenhance.hub.weight_files import read_weights
from tests.support.networks import make_model


def opened(folder, **options):
    """The exported network of a checkpoint."""
    return load(folder, read_config(folder), read_weights(folder), "onnxruntime", **options)


@pytest.mark.parametrize("kept", [(), ("result",)])
def test_a_graph_in_8_bits_is_near_the_other(kept, tmp_path):
    """It holds steps and no weights; with the weights of another training, the graph in floats is used, and by a
    processor that may saturate."""
    folder = save_checkpoint(tmp_path / "run", stir(make_model("denoiser"), 0.2))
    export_checkpoint(folder)
    network = opened(folder, quantized=False)
    network.graphs["model"] = recorder = Recorder(network.graphs["model"])
    planes = np.random.default_rng(0).random((1, 3, 32, 48), dtype=np.float32)
    wanted = network.denoise(planes, 0.2)
    path = quantize_part(folder, "model", recorder.feeds, kept)
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


def test_only_measured_policies_are_written(tmp_path):
    """Another name is refused with those that there are."""
    with pytest.raises(UsageError, match="name is rse-faces; got tools"):
        quantize_policies.main(quantize_policies.Arguments("tools", (tmp_path,)))

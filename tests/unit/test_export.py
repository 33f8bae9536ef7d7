"""The exported graph does what torch does."""

import importlib.util
import re

import pytest
import torch

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.learning.hub import onnx as export
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.pipelines.enhance import Enhancer
from tests.support.networks import CHOICE, make_policy, make_tone, stir

needs_onnx = pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
                                reason="the extra `onnx` is not installed")


def _run(folder, policy):
    return save_checkpoint(folder / "best", stir(policy, 0.05))


@needs_onnx
@pytest.mark.parametrize("policy", [
    lambda: make_tone(horizon=3), lambda: make_policy({"kind": "categorical"}, preferences=CHOICE, horizon=2),
    lambda: make_policy({"global_agent": False, "channels": "chroma"}, horizon=2),
    lambda: make_policy({"name": "bilateral", "agent_stride": 8}, horizon=3, log_bins=16),
    lambda: make_policy({"name": "bilateral", "agent_stride": 8, "gain": 0.25}, horizon=3, log_bins=16),
], ids=["tone", "categorical", "no knobs", "bilateral", "bilateral with gains"])
def test_the_graph_equals_torch(policy, tmp_path):
    """On three sizes, with automatic and with named preferences: within 1e-4."""
    enhancer = Enhancer(_run(tmp_path, policy()))
    found = export.export_onnx(enhancer, tmp_path / "new" / "model.onnx")
    assert found["largest"] <= 1e-4 and found["inputs"] == ["image", *enhancer.preference_ranges, "strength"]
    data = (tmp_path / "new" / "model.onnx").read_bytes()
    if enhancer.preference_ranges:
        named = {name: low + 0.8 * (high - low) for name, (low, _, high) in enhancer.preference_ranges.items()}
        assert export.compare(enhancer.model, data, found["inputs"], named) <= 1e-4


@needs_onnx
def test_the_command_writes_a_graph(tmp_path, capsys):
    """It tells the inputs; a file that exists is kept; strength and the knobs are inputs that count."""
    import onnxruntime

    run, target = _run(tmp_path, make_tone(horizon=2)), tmp_path / "model.onnx"
    words = ["export", "--onnx", str(target), "--model", str(run)]
    assert main(words) == 0 and "exposure_level" in capsys.readouterr().out
    assert main(words) == 2 and "exists" in capsys.readouterr().err
    session = onnxruntime.InferenceSession(str(target))
    image = 0.3 * torch.rand(1, 3, 40, 50).numpy()
    one = {entry.name: image if entry.name == "image" else torch.zeros(1).numpy() for entry in session.get_inputs()}
    assert (session.run(None, one)[0] == image).all()


@needs_onnx
@pytest.mark.parametrize("config", [{"paper_form": True, "scale": 4}, {"paper_form": True}, {"exposure": True}])
def test_a_network_in_one_pass_is_a_graph(config, tmp_path, capsys):
    """MRPNet with its Generator, published or ours: the graph equals torch; a network with a mask is refused."""
    network = MODELS.create("combined", width=4, generator_width=4, blocks=1, **config)
    run, target = _run(tmp_path, network), tmp_path / "model.onnx"
    assert main(["export", "--onnx", str(target), "--model", str(run)]) == 0
    assert "inputs image; differs from torch by at most" in capsys.readouterr().out
    assert export.compare(network.eval(), target.read_bytes(), ["image"]) <= 1e-4
    assert main(["export", "--onnx", str(tmp_path / "a.onnx"), "--model", str(run), "--steps", "2"]) == 2
    filling = _run(tmp_path / "filling", MODELS.create("gated_pixelrnn", width=4))
    assert main(["export", "--onnx", str(tmp_path / "a.onnx"), "--model", str(filling)]) == 2
    assert "without mask" in capsys.readouterr().err


def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch):
    """A policy without a state size, and a missing extra, which is named with its line."""
    enhancer = Enhancer(_run(tmp_path, make_policy(decision_size=None)))
    monkeypatch.setattr(export, "_NEEDED", ())
    with pytest.raises(UsageError, match="only a policy with a state size"):
        export.export_onnx(enhancer, tmp_path / "model.onnx")
    monkeypatch.setattr(export, "_NEEDED", ("no_such_package",))
    with pytest.raises(UsageError, match=re.escape(install_line("onnx"))):
        export.export_onnx(enhancer, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()

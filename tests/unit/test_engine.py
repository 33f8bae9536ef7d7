"""Exported networks: equal to torch on every backend; what is damaged, stale or missing is refused in one line."""

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.engine import convolutions, networks
from rlenhance.engine import graph as graphs
from rlenhance.engine.graph import COMPILED, NUMPY, Graph
from rlenhance.engine.onnx_file import StaleExport, read_facts
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config, read_weights
from rlenhance.learning.hub.checkpoint import create_network, load_model, load_network, save_checkpoint
from rlenhance.learning.hub.export import EXPORTS, export_checkpoint, parts_of

DENOISERS = ("denoiser", "denoiser-grey", "denoiser-photo", "denoiser-camera")
ENLARGERS = ("upscale", "upscale-x2", "upscale-x4")
backends = pytest.mark.parametrize("backend", [NUMPY, *[COMPILED] * bool(convolutions.NATIVE)])


def load(folder, backend=None):
    return networks.load(folder, read_config(folder), read_weights(folder), backend)


def noisy(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network with random weights, exported."""
    torch.manual_seed(0)
    network = create_network("enlarger", width=8, blocks=1, scale=2)
    torch.nn.init.normal_(network.generator.head.weight, std=0.1)
    folder = save_checkpoint(tmp_path_factory.mktemp("enlarger") / "best", network)
    assert [path.name for path in export_checkpoint(folder)] == ["model.onnx"]
    return folder


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


@backends
@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_equal_torch(name, backend):
    """For a number and for a map, for odd sizes and several pictures at once."""
    ours, theirs = load(shipped.FOLDER / name, backend), load_network(shipped.FOLDER / name)
    assert (ours.size_multiple, ours.receptive_radius, ours.noise_floor, ours.channels) == (
        theirs.size_multiple, theirs.receptive_radius, theirs.noise_floor, theirs.channels)
    for shape in ((1, ours.channels, 43, 58), (2, ours.channels, 32, 40)):
        image, noise = noisy(*shape), 0.2 * noisy(shape[0], 1, *shape[2:])
        for level in (0.1, noise):
            with torch.no_grad():
                wanted = theirs.denoise(torch.from_numpy(image), torch.as_tensor(level)).numpy()
            assert np.abs(ours.denoise(image, level) - wanted).max() < 1 / 2550


@backends
@pytest.mark.parametrize("name", ENLARGERS)
def test_enlargers_equal_torch(name, backend):
    """Not clipped, for odd sizes too."""
    if (name, backend) == ("upscale", COMPILED):
        with pytest.raises(UsageError, match="small convolutions"):
            load(shipped.FOLDER / name, backend).restore_unclamped(noisy(1, 3, 16, 12))
        return
    ours, theirs = load(shipped.FOLDER / name, backend), load_network(shipped.FOLDER / name)
    for shape in ((1, 3, 21, 34), (1, 3, 16, 12)):
        image = noisy(*shape)
        with torch.no_grad():
            wanted = theirs.restore_unclamped(torch.from_numpy(image)).numpy()
        found = ours.restore_unclamped(image)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1 / 2550


def test_the_supervised_baseline_equals_torch():
    """NumPy computes its graph. Its statistics are of the whole picture; sizes need not be multiples of its stride."""
    ours, theirs = load(shipped.FOLDER / "supervised"), load_model("supervised")
    image, mask = 0.4 * noisy(1, 3, 61, 90), np.round(noisy(1, 1, 61, 90))
    with torch.no_grad():
        assert np.abs(ours(image) - theirs(torch.from_numpy(image)).numpy()).max() < 1 / 2550
        wanted = theirs(torch.from_numpy(image), torch.from_numpy(mask)).numpy()
    assert np.abs(ours(image, mask) - wanted).max() < 1 / 2550


def test_every_model_that_can_be_exported_is_shipped_with_its_export():
    """And no export is larger than what it describes."""
    for model in shipped.list_models():
        path = model.folder / "model.onnx"
        if path.is_file():
            assert path.stat().st_size < 40_000
            assert read_facts(path)["model"] == dict(model.info.model)
        elif model.info.model["name"] in EXPORTS and parts_of(load_network(model.folder)):
            pytest.fail(f"{model.name} has no export: python -m rlenhance.experiments.scripts.export_shipped "
                        f"{model.name}")


@backends
def test_a_graph_is_shared_by_threads_and_pickles(checkpoint, backend):
    """Several pictures of different sizes at once give what each gives alone; so does a copy."""
    network = load(checkpoint, backend)
    pictures = [noisy(1, 3, 8 + 3 * number, 12) for number in range(6)]
    alone = [network(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(network, pictures))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert np.array_equal(pickle.loads(pickle.dumps(network))(pictures[0]), alone[0])


@backends
def test_the_number_of_threads_changes_nothing_but_rounding(checkpoint, monkeypatch, backend):
    monkeypatch.setattr(convolutions, "_FEW", 64)
    network, image, found = load(checkpoint, backend), noisy(1, 3, 24, 24), []
    for count in (1, 2):
        monkeypatch.setattr(graphs, "thread_count", lambda count=count: count)
        found += [network(image), network(image)]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[2], found[3])
    assert np.allclose(found[0], found[2], atol=1e-6)


@pytest.mark.skipif(convolutions.NATIVE is None, reason="the package was installed without a C compiler")
def test_graphs_of_small_convolutions_are_compiled():
    """NumPy computes the others."""
    used = {name: [*load(shipped.FOLDER / name).graphs.values()][-1].backend
            for name in (*DENOISERS, *ENLARGERS)}
    assert used == dict.fromkeys(used, COMPILED)


def test_new_weights_need_no_new_export(copy):
    """The graph takes its weights from the file beside it."""
    network, image = load_network(copy), torch.from_numpy(noisy(1, 3, 10, 10))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.1)
        wanted = network(image).numpy()
    export = (copy / "model.onnx").read_bytes()
    save_checkpoint(copy, network)
    (copy / "model.onnx").write_bytes(export)
    assert np.allclose(load(copy)(image.numpy()), wanted, atol=1e-5)


def test_what_was_not_exported_has_no_network(copy):
    (copy / "model.onnx").unlink()
    assert load(copy) is None
    assert load(shipped.FOLDER / "natural") is None


def test_an_export_of_another_config_is_stale(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model"]["blocks"] = 2
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(StaleExport, match="another config"):
        load(copy)


def test_an_export_for_other_weights_is_stale(copy):
    torch.manual_seed(0)
    config = (copy / "config.json").read_bytes(), (copy / "model.onnx").read_bytes()
    save_checkpoint(copy, create_network("enlarger", width=4, blocks=1, scale=2))
    for name, data in zip(("config.json", "model.onnx"), config, strict=True):
        (copy / name).write_bytes(data)
    with pytest.raises(StaleExport, match="does not fit its weights"):
        load(copy)


def test_an_export_of_another_version_is_stale(copy):
    data = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(data.replace(b'{"format":1', b'{"format":7'))
    with pytest.raises(StaleExport, match="another version"):
        load(copy)


@backends
@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:100], lambda data: data[: len(data) // 2],
                                    lambda data: b"\x80" * 500, lambda data: b"not a graph"])
def test_damaged_exports_are_refused(copy, backend, change):
    path = copy / "model.onnx"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match=r"model\.onnx"):
        load(copy, backend)(noisy(1, 3, 8, 8))


def _with_external_data(model):
    weight = model.graph.initializer.add(name="v999", data_type=1, dims=[1], data_location=1)
    weight.external_data.add(key="location", value="../config.json")


def _with_a_subgraph(model):
    branch = onnx.helper.make_graph([], "branch", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["v1"], ["v999"], then_branch=branch, else_branch=branch))


def _with_a_function(model):
    model.functions.add(name="own", domain="own")


def _with_sparse_weights(model):
    model.graph.sparse_initializer.add(dims=[1 << 40])


def _with_an_external_constant(model):
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value="../config.json")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["v999"], value=tensor))


@pytest.mark.parametrize(("change", "told"), [
    (_with_external_data, "weights in another file"), (_with_an_external_constant, "weights in another file"),
    (_with_a_subgraph, "the operation 'If'"), (_with_a_function, "field 25 of the model"),
    (_with_sparse_weights, "field 15 of the graph"),
    (lambda model: setattr(model.graph.node[0], "domain", "com.own"), "the operation 'com.own'"),
    (lambda model: setattr(model, "producer_version", "1" * (4 << 20)), "larger than 4,194,304 bytes")])
def test_graphs_with_parts_that_no_export_has_are_refused(copy, change, told):
    """A stranger's graph reads no other file, and calls nothing but what exports are made of."""
    path = copy / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=f"model.onnx: .*{told}"):
        load(copy)


@backends
def test_a_graph_that_cannot_run_is_named(copy, backend):
    """Also where that shows when it runs first."""
    path = copy / "model.onnx"
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("group", 7))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"model\.onnx"):
        load(copy, backend)(noisy(1, 3, 8, 8))


def test_wrong_inputs_are_named(checkpoint):
    graph = Graph(checkpoint / "model.onnx", read_weights(checkpoint))
    with pytest.raises(UsageError, match="its inputs are image"):
        graph.run(picture=noisy(1, 3, 8, 8))
    with pytest.raises(UsageError, match="backend is one of compiled, numpy"):
        Graph(checkpoint / "model.onnx", {}, "opencv")
    with pytest.raises(UsageError, match="noise must lie between"):
        load(shipped.FOLDER / "denoiser").denoise(noisy(1, 3, 8, 8), 0.9)
    with pytest.raises(UsageError, match="this denoiser takes"):
        load(shipped.FOLDER / "denoiser-grey").denoise(noisy(1, 3, 8, 8), 0.1)
    with pytest.raises(UsageError, match="leave it out"):
        load(checkpoint)(noisy(1, 3, 8, 8), noisy(1, 1, 8, 8))


def test_the_engine_does_not_import_torch():
    done = subprocess.run([sys.executable, "-c", "import sys; sys.modules['torch'] = sys.modules['scipy'] = None\n"
                           "import rlenhance.engine.networks"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_is_exported_for_use_without_torch(copy, capsys):
    """`rlenhance export --model RUN`; a shipped model has its graph, and policies of the compact backbone need none."""
    (copy / "model.onnx").unlink()
    assert main(["export", "--model", str(copy)]) == 0
    assert load(copy) is not None
    assert main(["export", "--model", "denoiser"]) == 2
    assert main(["export"]) == 2
    for name in ("natural", "completer", "tool-gains"):
        model = shutil.copytree(shipped.FOLDER / name, copy.with_name(name))
        assert main(["export", "--model", str(model)]) == 0
        assert "needs no torch" in capsys.readouterr().out

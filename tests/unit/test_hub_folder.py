"""`rlenhance export --hub`: the folder gives the same pixels, its card is YAML, and nothing else is touched."""

import json
import sys

import numpy as np
import pytest
import torch

from rlenhance import load_model
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.engine import networks
from rlenhance.hub import shipped
from rlenhance.hub.info import read_info
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import describe_folder
from rlenhance.io import read, write
from rlenhance.learning.hub import hub_folder
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.hub.export import export_checkpoint
from rlenhance.learning.hub.hub_folder import make_card, write_hub_folder, yaml_text
from tests.support.networks import make_tone, stir

ODD = ["a: b", "- x", "#", '"quoted" \\ back', "ünï 🎈 \u2028\x85\x07", "yes", "null", "1e3", "{a: [", "%TAG",
       "---", "a\nb"]


@pytest.fixture()
def run(tmp_path, monkeypatch):
    """A run with scores; without the graph, which costs seconds."""
    monkeypatch.setattr(hub_folder, "_write_graph", lambda *_: "none here")
    return save_checkpoint(tmp_path / "run" / "best", stir(make_tone(horizon=2), 0.05),
                           {"step": 7, "scores": {"val/psnr": 21.5, "val/ssim": 0.75}}).parent


def same(one, other):
    """Whether two models give the same pixels."""
    image = torch.rand(1, one.spec.get("channels", 3) if hasattr(one, "spec") else 3, 40, 56)
    with torch.inference_mode():
        return torch.equal(one(image), other(image))


def test_a_run_and_its_folder_give_the_same_pixels(tmp_path, run, capsys):
    """In Python and with the command, byte for byte; `models` describes it; it has the scores, and no path of ours."""
    card = tmp_path / "card.md"
    card.write_text("# mine\n\nBrightens a little.\n\n## Data\n\nTwo pictures.\n")
    hub = tmp_path / "hub"
    assert main(["export", "--hub", str(hub), "--model", str(run), "--card", str(card), "--license", "mit"]) == 0
    assert "none here" in capsys.readouterr().out
    assert {path.name for path in hub.iterdir()} == {"README.md", "config.json", "model.safetensors", "metrics.json"}
    assert same(load_model(run), load_model(hub))
    write(np.random.default_rng(0).integers(0, 80, (40, 60, 3), dtype=np.uint8), tmp_path / "dark.png")
    for name, model in (("one", run), ("other", hub)):
        assert main(["enhance", str(tmp_path / "dark.png"), "--model", str(model), "-o", str(tmp_path / f"{name}.png"),
                     "--denoise", "0"]) == 0
    assert (read(tmp_path / "one.png").pixels == read(tmp_path / "other.png").pixels).all()
    capsys.readouterr()
    assert main(["models", str(hub)]) == 0 and "enhance" in (told := capsys.readouterr().out)
    assert "Brightens a little." in told
    assert json.loads((hub / "metrics.json").read_text()) == {"step": 7, "scores": {"val/psnr": 21.5, "val/ssim": 0.75}}
    assert str(tmp_path) not in "".join(path.read_text() for path in hub.glob("*.[mj]*[dn]"))


def test_the_card_is_read_by_the_hub_library(run, tmp_path):
    """Licence, tags and scores, as huggingface_hub takes them."""
    library = pytest.importorskip("huggingface_hub")
    write_hub_folder(run, tmp_path / "hub", name="odd: 'name' #1", license="apache-2.0")
    data = library.ModelCard((tmp_path / "hub" / "README.md").read_text()).data
    assert data.license == "apache-2.0" and data.pipeline_tag == "image-to-image" and "rlenhance" in data.tags
    assert {(each.metric_type, each.metric_value) for each in data.eval_results} == {("psnr", 21.5), ("ssim", 0.75)}
    assert data.model_name == "odd: 'name' #1"


@pytest.mark.parametrize("name", ODD)
def test_any_name_is_a_yaml_text(run, name):
    """It comes back as it was, and adds no line to the card."""
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(f"- {yaml_text(name)}") == [name]
    card = make_card(name, read_info(run), {"val/psnr": 1.0, name: 2.0}, license=name)
    front = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert front["license"] == name and front["model-index"][0]["name"] == name
    assert front["model-index"][0]["results"][0]["metrics"][1]["type"] == name


@pytest.mark.parametrize("model", ["upscale-x2", "denoiser-grey", "natural"])
def test_a_shipped_model_keeps_its_size_card_and_pixels(tmp_path, monkeypatch, model):
    """Weights in 16 bits stay so."""
    monkeypatch.setattr(hub_folder, "_write_graph", lambda *_: "none here")
    made = write_hub_folder(model, tmp_path / "hub").path
    assert (made / "model.safetensors").read_bytes() == \
        (hub_folder.FOLDER / model / "model.safetensors").read_bytes()
    grey = read_info(made).channels == 1
    image = torch.rand(1, 1 if grey else 3, 40, 56)
    with torch.inference_mode():
        assert torch.equal(load_model(model)(image), load_model(made)(image))
    text = (made / "README.md").read_text()
    assert "license: \"mit\"" in text and text.count("\n# ") == 1 and "## Limits" in text
    assert describe_folder(made) == shipped.read_card(shipped.FOLDER / model / shipped.CARD)


@pytest.mark.slow
def test_the_graph_lies_beside_the_weights(tmp_path):
    """Where the model has one."""
    pytest.importorskip("onnxruntime")
    save_checkpoint(tmp_path / "run" / "best", stir(make_tone(horizon=2), 0.05))
    made = write_hub_folder(tmp_path / "run", tmp_path / "hub")
    assert "model.onnx" in made.files and not made.without_graph


@pytest.mark.parametrize("model", ["upscale-x2", "filters-grey"])
def test_folders_of_exported_models_need_no_torch(tmp_path, monkeypatch, model):
    """The graphs without weights come along; an export of such a folder leaves its whole graph as it is."""
    def write_graph(source, network, info, path):
        path.write_bytes(b"whole")
        return ""

    monkeypatch.setattr(hub_folder, "_write_graph", write_graph)
    folder = write_hub_folder(model, tmp_path / "hub").path
    there = {path.name for path in folder.iterdir()}
    write_hub_folder(folder, tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == there
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch", None)
        assert isinstance(open_network(tmp_path / "again"), networks.Network)
    if model == "upscale-x2":
        (folder / "model.export.onnx").unlink()
        assert [path.name for path in export_checkpoint(folder)] == ["model.export.onnx"]
        assert (folder / "model.onnx").read_bytes() == b"whole"
        write_hub_folder("natural", folder, overwrite=True)
        assert not list(folder.glob("*.export.onnx"))


def test_nothing_else_is_touched(run, tmp_path):
    """A folder with other files is refused, also with overwrite; a model is replaced with it alone; hidden files of a
    clone stay; a graph of the former model goes."""
    hub = tmp_path / "hub"
    hub.mkdir()
    write_hub_folder(run, hub)
    with pytest.raises(UsageError, match="overwrite"):
        write_hub_folder(run, hub)
    (hub / "model.onnx").write_bytes(b"of the former model")
    (hub / ".git").mkdir()
    (hub / ".gitattributes").write_text("kept")
    write_hub_folder(run, hub, overwrite=True)
    assert not (hub / "model.onnx").exists() and (hub / ".gitattributes").read_text() == "kept"
    (hub / "thesis.tex").write_text("kept")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in hub.iterdir())
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        write_hub_folder(run, hub, overwrite=True)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in hub.iterdir()) == before
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(hub)
    for place in ("file", "link"):
        with pytest.raises(UsageError, match="no folder"):
            write_hub_folder(run, tmp_path / place, overwrite=True)
    assert not list(tmp_path.glob(".*.part"))


def test_damaged_weights_are_named(run, tmp_path):
    """One flipped bit, which safetensors does not see; and nothing is written from such a model."""
    hub = write_hub_folder(run, tmp_path / "hub").path
    weights = hub / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UsageError, match=r"model\.safetensors: damaged"):
        load_model(hub)
    with pytest.raises(UsageError, match="damaged"):
        write_hub_folder(hub, tmp_path / "again")
    weights.write_bytes(bytes(data[:-8]))
    with pytest.raises(UsageError, match="damaged"):
        load_model(hub)
    assert not (tmp_path / "again").exists()


def test_a_prior_on_this_machine_is_refused(run, tmp_path):
    """A model that names another by its path would not load elsewhere."""
    with pytest.raises(UsageError, match="prior by a path"):
        hub_folder._check_prior({"name": "completion_policy", "prior": str(run)})
    hub_folder._check_prior({"name": "completion_policy", "prior": "completer"})

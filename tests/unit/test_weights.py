"""Shipped models: each has a card, its checksums and no more bytes than it may, and enhances; damage is named."""

import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts import package_model as ship
from rlenhance.hub import shipped as weights
from rlenhance.hub.info import read_info
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.pipelines.bracket import BracketPlanner
from rlenhance.pipelines.complete import Completer
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import shipped_presets
from rlenhance.pipelines.restore import PhotoRestorer
from rlenhance.pipelines.upscale import Upscaler
from tests.support.networks import CHOICE, make_model, make_policy, make_tone, stir

CARD = "# dusk\n\nA small policy for tests.\n" + "".join(f"\n## {title}\n\nSome.\n" for title in weights.HEADINGS)
SHIPPED = weights.FOLDER


@pytest.fixture
def run(tmp_path):
    """A run of a policy, as training leaves it, with what only training needs."""
    training = {"optimiser": np.zeros(0).tolist()}
    save_checkpoint(tmp_path / "run/best", stir(make_policy(preferences=CHOICE)), {"step": 3}, training)
    return tmp_path / "run"


@pytest.fixture
def shelf(tmp_path, run, monkeypatch):
    """A folder of two shipped models, dawn and dusk, in the place of the package's; dusk is the default."""
    folder = tmp_path / "weights"
    (tmp_path / "card.md").write_text(CARD)
    save_checkpoint(tmp_path / "other/best", stir(make_model("restorer")))
    for name, source in (("dusk", run), ("dawn", tmp_path / "other")):
        ship.main(source, name, tmp_path / "card.md", default=name == "dusk", out=folder)
    monkeypatch.setattr(weights, "FOLDER", folder)
    return folder


def _dark():
    return np.random.default_rng(0).integers(0, 60, (20, 28, 3), dtype=np.uint8)


PIPELINES = {kind.purpose: kind for kind in (Enhancer, Denoiser, Completer, PhotoRestorer, Upscaler)}


def check_shipped(folder):
    """What holds of every folder of shipped models; gives their names."""
    models = weights.list_models(folder=folder)
    assert sum(model.default for model in models) == (1 if models else 0)
    listed = weights.read_sums(folder)
    exports = {model.name: [path.name for path in model.folder.glob("*.onnx")] for model in models}
    assert set(listed) == {f"{model.name}/{file}" for model in models
                           for file in (weights.MODEL, weights.CONFIG, *exports[model.name])}
    for model in models:
        assert weights.NAME.fullmatch(model.name)
        assert sorted(path.name for path in model.folder.iterdir()) == sorted(
            (weights.MODEL, weights.CONFIG, weights.CARD, *exports[model.name]))
        assert model.size <= weights.LARGEST
        assert weights.read_card(model.folder / weights.CARD) == model.about
        weights.verify(model.folder)
        place, picture = weights.locate(model.name, folder), _dark()
        if model.info.purpose == "bracket":
            assert BracketPlanner(model=place).next([picture], [0.0], [-1.0, 0.0, 1.0]) in (-1.0, 1.0, None)
            continue
        network = load_model(place)
        if getattr(network, "channels", 3) == 1:  # it takes grey pictures alone
            picture = np.repeat(picture[..., :1], 3, axis=2)
        mask = None
        if read_info(place).purpose == "completion":
            mask = np.zeros(picture.shape[:2], bool)
            mask[4:12, 5:14] = True
        result = PIPELINES[read_info(place).purpose](place)(picture, mask=mask)
        size = np.multiply(picture.shape, (*[getattr(network, "scale", 1)] * 2, 1))
        assert result.shape == tuple(size) and not np.array_equal(result, picture)
    return [model.name for model in models]


def test_every_shipped_model_holds():
    """Each model of the package has its card, its sums, its size, and enhances."""
    check_shipped(SHIPPED)


def test_the_package_brightens_a_dark_photograph(tmp_path, monkeypatch):
    """With the default of the package, a dark photograph needs no options, and every shipped preset is obeyed."""
    if weights.default_model(SHIPPED) is None:
        pytest.skip("the package holds no default model")
    monkeypatch.chdir(tmp_path)
    scene = np.kron(np.random.default_rng(0).integers(2, 40, (4, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    write(scene, tmp_path / "night.png")
    assert cli.main(["enhance", "night.png"]) == 0
    result = read("night_enhanced.png").pixels
    assert result.shape == scene.shape and result.mean() > 2 * scene.mean()
    enhancer = Enhancer()
    for preset in shipped_presets():
        enhancer.with_settings(preset.settings)


def test_a_run_can_be_shipped(shelf, run):
    """A shipped run holds what enhancing needs and gives the same pictures as the run."""
    assert check_shipped(shelf) == ["dawn", "dusk"]
    assert np.array_equal(Enhancer("dusk")(_dark()), Enhancer(run)(_dark()))
    assert (run / "best/training.safetensors").exists()
    assert json.loads((shelf / "dusk/config.json").read_text())["about"] == {"step": 3}


def test_the_log_of_a_shipped_run_goes_along(shelf, run, tmp_path):
    """Settings and log under the model's name, as they are in the run; without a log nothing is shipped."""
    words = {"name": "noon", "card": tmp_path / "card.md", "out": shelf, "log": tmp_path / "logs"}
    with pytest.raises(UsageError, match="no log"):
        ship.main(run, **words)
    assert not (shelf / "noon").exists()
    for file, text in (("config.json", "{}"), ("metrics.csv", "step\n0\n")):
        (run / file).write_text(text)
    ship.main(run / "best", **words)
    assert [(tmp_path / "logs" / f"noon{ending}").read_text() for ending in (".json", ".csv")] == ["{}", "step\n0\n"]


def test_weights_can_be_shipped_in_16_bits(shelf, run, capsys):
    """Stored in half the bytes, a model still computes in 32 bits and gives nearly the same pictures."""
    words = {"run": run, "card": shelf / "dusk" / weights.CARD, "out": shelf}
    ship.main(name="noon", **words)
    ship.main(name="noon-half", half=True, **words)
    whole, half = (load_model(shelf / name) for name in ("noon", "noon-half"))
    assert next(half.parameters()).dtype == next(whole.parameters()).dtype
    sizes = [(shelf / name / weights.MODEL).stat().st_size for name in ("noon", "noon-half")]
    assert sizes[1] < 0.75 * sizes[0]
    assert np.abs(Enhancer("noon")(_dark()).astype(int) - Enhancer("noon-half")(_dark())).max() <= 3


def test_sums_are_those_of_sha256sum(shelf):
    """SHA256SUMS is what the usual command writes, and checks."""
    for line in (shelf / "SHA256SUMS").read_text().splitlines():
        digits, name = line.split("  ")
        assert hashlib.sha256((shelf / name).read_bytes()).hexdigest() == digits
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=shelf).returncode == 0


def test_the_shipped_default_is_used(shelf, run, tmp_path, monkeypatch):
    """Where a model is shipped, a photograph needs no options, wherever one stands; a run of one's own is named."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "runs/lol/mine/best", stir(make_policy(), 0.3))
    write(_dark(), tmp_path / "night.png")
    results = []
    for number, words in enumerate(([], ["-m", "dusk"], ["-m", str(run)], ["-m", "dawn"], ["-m", "runs/lol/mine"])):
        assert cli.main(["enhance", "night.png", "-o", f"{number}.png", *words]) == 0
        results.append(read(f"{number}.png").pixels.tobytes())
    assert results[0] == results[1] == results[2]
    assert len(set(results)) == 3
    assert np.array_equal(Enhancer()(_dark()), Enhancer("dusk")(_dark()))


def test_a_folder_of_the_same_name_is_named_with_its_place(shelf, tmp_path, monkeypatch):
    """A bare name is the shipped model's; ./NAME is a folder."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "dusk/best", stir(make_policy(), 0.3))
    assert weights.locate("dusk") == shelf / "dusk"
    assert Enhancer("./dusk").folder.resolve() == tmp_path / "dusk/best"


def test_without_a_shipped_model_one_is_named(tmp_path, monkeypatch):
    """Where none is shipped, the Enhancer says so, and an unknown name is answered with those that there are."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    with pytest.raises(UsageError, match="no model is shipped"):
        Enhancer()
    with pytest.raises(UsageError, match=r"dusk: no such run.*none is shipped"):
        Enhancer("dusk")


def test_unknown_names_are_answered_with_those_that_there_are(shelf):
    """A name that is not shipped is answered with the list."""
    with pytest.raises(UsageError, match=r"noon: no such run.*dawn, dusk"):
        Enhancer("noon")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["changed", "gone", "unlisted"])
def test_damage_is_named(shelf, file, damage):
    """A shipped file that was changed is named and never used, by name or by its path."""
    path = shelf / "dusk" / file
    if damage == "changed":
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(data)
    elif damage == "gone":
        path.unlink()
    else:
        lines = (shelf / "SHA256SUMS").read_text().splitlines(keepends=True)
        (shelf / "SHA256SUMS").write_text("".join(line for line in lines if f"dusk/{file}" not in line))
    for model in ("dusk", shelf / "dusk"):
        if damage == "gone" and file == "model.safetensors" and model == "dusk":
            continue  # then there is no such model
        with pytest.raises(UsageError, match=f"dusk/{file}"):
            Enhancer(model)
    Enhancer("dawn")


def test_damaged_lists_are_named(shelf):
    """SHA256SUMS and DEFAULT are checked as well."""
    (shelf / "DEFAULT").write_text("noon\n")
    with pytest.raises(UsageError, match=r"DEFAULT.*noon"):
        weights.list_models()
    with pytest.raises(UsageError, match="noon"):
        Enhancer()
    (shelf / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(UsageError, match=r"SHA256SUMS.*nonsense"):
        Enhancer("dusk")


def test_models_are_listed(shelf, tmp_path, monkeypatch, capsys):
    """`rlenhance models` names each, its size, its knobs with their defaults, the line of its card, and the default."""
    assert cli.main(["models"]) == 0
    dawn, card, dusk, again = capsys.readouterr().out.splitlines()
    assert dawn.startswith("dawn: enhance, 0.0") and "MB, no preferences" in dawn
    assert dusk.startswith("dusk (default): enhance, 0.0") and dusk.endswith("MB, --exposure 0.25 to 0.75 (0.475)")
    assert card.strip() == again.strip() == "A small policy for tests."
    save_checkpoint(tmp_path / "knobs/best", stir(make_tone()))
    ship.main(tmp_path / "knobs", "knobs", tmp_path / "card.md", out=shelf)
    capsys.readouterr()
    assert cli.main(["models", "--purpose", "denoise"]) == 0
    assert capsys.readouterr().out.startswith("no model")
    assert cli.main(["models"]) == 0
    assert ("MB, --exposure auto or 0.2 to 0.7 (auto), --contrast -1 to 1 (0), --color -1 to 1 (0), "
            "--smoothness 0 to 1 (0.5), --highlights 0 to 1 (0)\n") in capsys.readouterr().out
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "none")
    assert cli.main(["models"]) == 0
    assert "lol_train" in capsys.readouterr().out


@pytest.mark.parametrize("words, told", [
    (["--name", "dusk"], "exists"), (["--name", "../noon"], "--name has"), (["--name", "Noon"], "--name has"),
    (["--name", "noon", "--card", "nowhere.md"], "nowhere.md"),
    (["--name", "noon", "--card", "short.md"], "short.md.*Seeds, Limits"),
    (["--name", "noon", "--card", "headless.md"], "begins with a sentence"),
])
def test_what_cannot_be_shipped_is_refused(shelf, run, tmp_path, monkeypatch, capsys, words, told):
    """A taken or odd name and an incomplete card are refused, and the folder stays as it was."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.md").write_text(CARD.replace("## Seeds\n\nSome.", "## Seeds\n").replace("## Limits", "## Limit"))
    (tmp_path / "headless.md").write_text(CARD.replace("A small policy for tests.", ""))
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    words = [str(run), "--out", str(shelf), *([] if "--card" in words else ["--card", "card.md"]), *words]
    assert run_cli(ship.main, words=words) == 2
    assert re.search(told, capsys.readouterr().err)
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before


def test_large_models_are_not_shipped(shelf, run, tmp_path, monkeypatch):
    """What has more bytes than a shipped model may is refused, and nothing of it stays."""
    monkeypatch.setattr(weights, "LARGEST", 1000)
    with pytest.raises(UsageError, match="at most 1,000"):
        ship.main(run, "noon", tmp_path / "card.md", out=shelf)
    assert sorted(path.name for path in shelf.iterdir()) == ["DEFAULT", "SHA256SUMS", "dawn", "dusk"]


def test_a_checkpoint_of_the_package_is_loaded_like_any_other(shelf):
    """What is shipped is an ordinary checkpoint, and its name stands for its folder."""
    image = torch.rand(1, 3, 20, 28)
    by_name, by_folder = load_model("dusk"), load_model(shelf / "dusk")
    assert by_name.policy.preferences.ranges == CHOICE and torch.equal(by_name(image), by_folder(image))
    with pytest.raises(UsageError, match=r"no shipped model of that name .*dawn, dusk"):
        load_model("noon")

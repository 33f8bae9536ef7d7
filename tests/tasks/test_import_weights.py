"""Published files become runs: read without running anything, refused by name, and used like any other run."""

import json
import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from research import rl_restore_scores
from rlenhance.cli.main import main as command
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.compare import compare, compare_command
from rlenhance.experiments.core.published_weights import IMPORTERS, read_rellie, read_zero_dce
from rlenhance.experiments.scripts import import_weights
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON
from rlenhance.experiments.tasks.denoise_compare import DENOISE_COMPARISON
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.io import read, write
from tests.support.data import make_pairs
from tests.support.published import (
    made_up_ffdnet,
    made_up_gated,
    made_up_pixelrl,
    made_up_rellie,
    made_up_rl_restore,
    made_up_rl_tools,
    made_up_zero_dce,
)
from tests.support.training import train_lowlight


def test_imported_weights_enhance_photographs_and_are_compared(tmp_path, rellie_file, zero_dce_file, capsys):
    """From the file to a picture on disk, the scores, and rows of the comparison: the user's whole way."""
    pairs = make_pairs(tmp_path / "pairs", size=(24, 28))
    dark = next((pairs / "low").iterdir())
    for name, file in (("rellie", rellie_file), ("zero_dce", zero_dce_file)):
        words = [name, str(file), "-o", str(tmp_path / name)]
        assert run_cli(import_weights.main, words=words) == 0
        assert json.loads((tmp_path / name / "config.json").read_text())["origin"]["file"] == file.name
        assert command(["enhance", str(dark), "-m", str(tmp_path / name), "-o", str(tmp_path / f"{name}.png")]) == 0
        assert read(tmp_path / f"{name}.png").pixels.shape == (24, 28, 3)
    assert "307,602 values" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/best/*")}
    named = (tmp_path / "rellie", tmp_path / "zero_dce", tmp_path / "zero_dce" / "best")
    found = compare(LOWLIGHT_COMPARISON, LowLightCompareConfig(
        learners=(), models=tuple(map(str, named)), out=tmp_path / "compare", data=LowLightDataConfig(data=pairs)))
    rows = list(found.rows.values())[-3:]
    assert [row.name for row in rows] == ["rellie", "zero_dce", str(named[2])]
    assert [row.parameters for row in rows] == [307602, 79416, 79416]
    assert {row.facts["reference"] for row in rows} == {"imported"} and rows[-1].mean("", "psnr") > 0
    assert "| rellie |" in found.text
    assert before == {path: path.stat().st_mtime_ns for path in before}
    scores = evaluate(EvaluateConfig(tmp_path / "rellie", data=pairs, split="val", watch=True))
    least = min(scores[f"collapse/top_choice_share/head{index}"] for index in range(3))
    assert 0 <= scores["collapse/top_choice_share"] <= least + 1e-6
    with pytest.raises(UsageError, match="--watch is for policies"):
        evaluate(EvaluateConfig(tmp_path / "zero_dce", data=pairs, split="val", watch=True))
    with pytest.raises(UsageError, match="holds another network"):
        train_lowlight(pairs, out=tmp_path / "runs", init=tmp_path / "rellie")


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("network", ["rellie", "zero_dce"])
@pytest.mark.parametrize("form", ["pickle", "torch.save", "old torch.save", "npz", "npy"])
def test_a_malicious_pickle_is_refused_unread(network, form, tmp_path):
    """Whatever its wrapping, code in a file is never run, and nothing is left behind."""
    victim, file, out = tmp_path / "victim", tmp_path / "weights", tmp_path / "run"
    bad = Malicious(victim)
    pickle.loads(pickle.dumps(bad)).close()
    assert victim.exists()  # it would have done it
    victim.unlink()
    state = dict(made_up_zero_dce()) if network == "zero_dce" else made_up_rellie()
    state[next(iter(state))] = bad
    with file.open("wb") as opened:
        if form == "pickle":
            pickle.dump(state, opened)
        elif form == "npz":
            np.savez(opened, **state | {next(iter(state)): np.array(bad, dtype=object)})
        elif form == "npy":
            np.save(opened, np.array(bad, dtype=object), allow_pickle=True)
        else:
            torch.save(state, opened, _use_new_zipfile_serialization=form == "torch.save")
    with pytest.raises(UsageError, match=r"weights: .*(never loaded|lacks)"):
        import_weights.main(network, file, out)
    assert not victim.exists() and not out.exists()


def _without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize("change, text", [
    (lambda a: _without(a, "conv7_g_pi/model/W"), "lacks conv7_g_pi/model/W; rellie takes the released model.npz"),
    (lambda a: a | {"conv8/W": a["conv1/W"]}, "also holds conv8/W"),
    (lambda a: a | {"conv1/W": a["conv1/W"][:, :1]}, r"conv1/W has shape \(64, 1, 3, 3\), expected \(64, 3, 3, 3\)"),
    (lambda a: a | {"conv1/b": a["conv1/b"] * np.nan}, "conv1/b is not finite"),
    (lambda a: a | {"conv1/b": np.array(["a"] * 64)}, "conv1/b holds values of the type <U1"),
])
def test_other_arrays_are_refused_by_name(tmp_path, change, text):
    """A file of another network says what it lacks, what it has too much, or what has another shape."""
    np.savez(tmp_path / "model.npz", **change(made_up_rellie()))
    with pytest.raises(UsageError, match=text):
        read_rellie(tmp_path / "model.npz")


@pytest.mark.parametrize("change, text", [
    (lambda t: _without(t, "e_conv3.bias"), "lacks e_conv3.bias; zero_dce takes the released Epoch99.pth"),
    (lambda t: t | {"e_conv8.bias": t["e_conv1.bias"]}, "also holds e_conv8.bias"),
    (lambda t: t | {"e_conv7.bias": torch.zeros(12)}, r"e_conv7.bias has shape \(12,\), expected \(24,\)"),
    (lambda t: t | {"e_conv7.bias": torch.full((24,), torch.inf)}, "e_conv7.bias is not finite"),
    (lambda t: {"state_dict": t}, "holds dict, not named tensors"),
    (lambda t: list(t.values()), "holds list, not named tensors"),
])
def test_other_tensors_are_refused_by_name(tmp_path, change, text):
    """The same for Zero-DCE's file."""
    torch.save(change(made_up_zero_dce()), tmp_path / "Epoch99.pth")
    with pytest.raises(UsageError, match=text):
        read_zero_dce(tmp_path / "Epoch99.pth")


def test_one_file_for_the_other_is_refused(rellie_file, zero_dce_file, tmp_path):
    """Mixed up, damaged, missing, or where something stands already: one line with the way out."""
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(rellie_file.read_bytes()[:-5000])
    for network, file, text in (("rellie", zero_dce_file, "lacks"), ("zero_dce", rellie_file, "not a file of plain"),
                                ("rellie", damaged, "damaged"), ("zero_dce", damaged, "damaged"),
                                ("rellie", tmp_path / "no.npz", "no such file"),
                                ("relie", rellie_file, "did you mean")):
        with pytest.raises(UsageError, match=text):
            import_weights.main(network, file, tmp_path / "run")
    with pytest.raises(UsageError, match="exists; choose another folder with -o"):
        import_weights.main("rellie", rellie_file, tmp_path)


FILES = {"rellie": ("model.npz", made_up_rellie), "zero_dce": ("Epoch99.pth", made_up_zero_dce),
         "pixelrl": ("pretrained_25.npz", made_up_pixelrl), "ffdnet": ("net_rgb.pth", made_up_ffdnet),
         "rl_restore": ("policy.npz", made_up_rl_restore),
         "gated_pixelrnn": ("model_epoch190.pth", made_up_gated)}


def imported(name):
    """Import a made-up file into runs/NAME; the printed commands."""
    file, make = FILES[name]
    if file.endswith(".npz"):
        np.savez(file, **make())
    else:
        torch.save(make(), file)
    assert run_cli(import_weights.main, words=[name, file, "-o", f"runs/{name}"]) == 0


def run(line):
    """A printed command, in this process, with the least work."""
    words = shlex.split(line)
    if words[0] == "rlenhance":
        return command(words[1:])
    if words[2] == "rlenhance.experiments.evaluate":
        return run_cli(evaluate, EvaluateConfig, [*words[3:], "--split", "val"])
    if words[2] == "rlenhance.experiments.denoise_compare":
        return compare_command(DENOISE_COMPARISON, [*words[3:], "--limit", "1", "--levels", "25", "--no-baselines"])
    if words[2] == "research.rl_restore_scores":
        made_up_rl_tools(Path(words[3]))
        return run_cli(rl_restore_scores.main, rl_restore_scores.Arguments, [*words[3:], "--limit", "1"])
    assert words[2] == "rlenhance.experiments.complete_compare"
    return compare_command(COMPLETION_COMPARISON, [*words[3:], "--limit", "1", "--sizes", "32", "--baselines",
                                                   "laplace"])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a photograph that has a black square, its mask, and pairs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 120, (24, 28, 3), dtype=np.uint8)
    mask = np.zeros_like(picture)
    picture[6:16, 8:18], mask[6:16, 8:18] = 0, 255
    write(picture, tmp_path / "PHOTO.png")
    write(mask, tmp_path / "MASK.png")
    make_pairs(tmp_path / "DIR", size=(40, 44))
    return tmp_path


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_every_printed_command_runs(place, name, capsys):
    """Whatever can be imported says what it is good for, by commands that end with status 0."""
    if name == "rellie":
        imported("ffdnet")  # its denoiser, which one of the commands names
        capsys.readouterr()
    imported(name)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert len(lines) >= 2
    for number, line in enumerate(lines):
        folder = "goods" if "denoise_compare" in line or "complete_compare" in line or "rl_restore" in line \
            else "DIR"
        if folder == "goods" and not (place / folder).exists():
            for index in range(8):
                picture = np.random.default_rng(index).integers(0, 255, (64, 66, 3), dtype=np.uint8)
                write(picture, place / folder / f"p{index}.png")
        line = line.replace("PHOTO", "PHOTO.png").replace("MASK", "MASK.png").replace("DIR", folder)
        line = line.replace("CHART.png", f"chart{number}.png")
        if " PHOTO.png" in line:
            line += f" -o out{number}.png"
        assert run(line) == 0, (line, capsys.readouterr().err)
        assert " -o " not in line or (place / f"out{number}.png").exists()


@pytest.mark.parametrize("name, fits", [
    ("rellie", ["enhance PHOTO --model runs/rellie", "--steps 3", "--denoiser runs/ffdnet"]),
    ("ffdnet", ["denoise PHOTO --model runs/ffdnet", "enhance PHOTO --denoiser runs/ffdnet"]),
    ("pixelrl", ["denoise PHOTO --model runs/pixelrl", "enhance PHOTO --denoiser runs/pixelrl"]),
    ("gated_pixelrnn", ["complete PHOTO --mask MASK --model runs/gated_pixelrnn"]),
    ("zero_dce", ["enhance PHOTO --model runs/zero_dce"]),
])
def test_the_commands_fit_the_network(place, name, fits, capsys):
    """A denoiser is never offered as a model to enhance, and ReLLIE comes with and without denoising."""
    imported(name)
    out = capsys.readouterr().out
    assert [fit for fit in fits if fit not in out] == []
    assert name not in ("ffdnet", "pixelrl", "gated_pixelrnn") or f"enhance PHOTO --model runs/{name}" not in out

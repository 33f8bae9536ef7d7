"""Every command that import_weights prints runs, for each network, on files of its names and shapes."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from research import rl_restore_scores
from rlenhance.cli.main import main as command
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.core.published_weights import IMPORTERS
from rlenhance.experiments.scripts import import_weights
from rlenhance.experiments.scripts.import_weights import Arguments
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON
from rlenhance.experiments.tasks.denoise_compare import DENOISE_COMPARISON
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.io import write
from tests.support.data import make_pairs
from tests.support.published import (
    made_up_ffdnet,
    made_up_pixelrl,
    made_up_rellie,
    made_up_rl_restore,
    made_up_rl_tools,
    made_up_zero_dce,
)
from tests.tasks.test_restore import made_up_gated

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
    assert run_cli(import_weights.main, Arguments, [name, file, "-o", f"runs/{name}"]) == 0


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

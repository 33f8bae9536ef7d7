"""A photographer's commands need none of the libraries of trainings; others name the extra that adds them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlenhance.io import read, write
from tests.support.files_passed import lay_out

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "scipy", "gymnasium", "matplotlib", "sklearn", "skimage", "onnx", "onnxruntime", "tyro",
           "lightning_fabric", "tensorboard")
COMMANDS = {
    "enhance": "enhance night.png -o out/",
    "enhance, look and strength": "enhance night.png -o styled.png --look mine.json --strength 0.5 --white auto",
    "enhance, every flag": "enhance night.png -o flags.png --preset soft --reward exposure=1.2 --save-recipe r.json",
    "enhance, denoised": "enhance night.png -o clean.png --denoise 0.5",
    "enhance, a series": "enhance night.png day.png -o series --match-series",
    "enhance, a table": "enhance night.png -o table.png --cube table.cube",
    "denoise": "denoise night.png -o denoised.png",
    "denoise, grey": "denoise grey.png -o denoised_grey.png -m filters-grey",
    "upscale": "upscale night.png -o large.png",
    "complete": "complete night.png -o whole.png --mask mask.png",
    "complete, patches": "complete night.png -o patched.png --mask mask.png --model patches",
    "restore": "restore night.png -o restored.png",
    "variants": "variants night.png -o looks.png --presets natural --exposures 0.5 --strengths 1",
    "watch": "watch arriving -o arrived --once --stable-for 0",
    "fuse": "fuse day.png darker.png -o fused.png", "bracket": "bracket day.png darker.png",
    "bracket, the next shot": "bracket --next day.png",
    "compare": "compare night.png day.png -o sheet.png",
    "models": "models", "presets": "presets", "doctor": "doctor",
    "score": "score day.png --reference night.png",
    "score, without a reference": "score day.png --source night.png",
    "learn": "learn before after -o mine.json --overwrite",
    "taste": "taste night.png day.png -o taste.json --simulate --picks 2 --no-open --size 64",
    "training": "",
}
REFUSED = {  # what torch alone does -> how its refusal begins
    "denoise, explained": ("denoise grey.png -o explained.png -m filters-grey --explain drawn.png",
                           "error: this needs torch, of the extra train: pip"),
    "enhance on a GPU": ("enhance night.png -o gpu.png --device cuda",
                         "error: device cuda: this needs torch, of the extra train: pip"),
}
CHILD = f"""
import contextlib, io, json, sys, traceback
class Without:  # as if they were not installed
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {BLOCKED} else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
from rlenhance.cli.main import main
for name, words in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            status = main(words.split())
        except BaseException:
            status = traceback.format_exc()
    print(json.dumps([name, status, said.getvalue(), [name for name in {BLOCKED} if name in sys.modules]]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each command gave in one process without those libraries: name -> (status, errors, what was imported)."""
    place = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for name, most in (("night", 60), ("day", 220), ("before/a", 60), ("arriving/a", 60)):
        write(random.integers(0, most, (40, 56, 3), dtype=np.uint8), place / f"{name}.png")
    write(read(place / "day.png").pixels // 3, place / "darker.png")
    write(2 * read(place / "before/a.png").pixels, place / "after/a.png")
    write(np.repeat(random.integers(0, 90, (40, 56, 1), dtype=np.uint8), 3, axis=2), place / "grey.png")
    hole = np.zeros((40, 56, 3), np.uint8)
    hole[10:20, 20:30] = 255
    write(hole, place / "mask.png")
    words = {name: line for name, line in COMMANDS.items() if line}
    words = {"learn": words.pop("learn"), **words,  # the look that others take
             **{name: line for name, (line, _) in REFUSED.items()}}
    child = subprocess.run([sys.executable, "-c", CHILD, json.dumps(words)], cwd=place, capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    found = {name: rest for name, *rest in map(json.loads, child.stdout.splitlines())}
    train = subprocess.run([sys.executable, "-c", CHILD.split("from rlenhance")[0] + "sys.argv[:] = ['-m']; "
                            "import experiments"], cwd=place, capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    line = "error: training needs torch" in train.stderr and "[train]" in train.stderr
    return {**found, "training": [0 if train.returncode == 1 and line else train.stderr, "", []]}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_needs_no_library_of_the_trainings(answers, name):
    """It works, and imports none; a training names the extra that it needs."""
    status, errors, imported = answers[name]
    assert status == 0, f"{status}\n{errors}"
    assert not imported


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_torch_says_how_to_install_it(answers, name):
    """In one line, and nothing is written."""
    status, errors, imported = answers[name]
    assert status == 2 and errors.startswith(REFUSED[name][1]) and errors.count("\n") == 1, errors
    assert not imported


@pytest.mark.slow
def test_the_web_page_needs_no_library_of_the_trainings():
    """With the extra `demo` alone."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')
    code = CHILD.split("from rlenhance")[0] + f"""
import rlenhance.web.api, rlenhance.web.page, rlenhance.web.server
print([name for name in {BLOCKED} if name in sys.modules])"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.stdout.strip() == "[]", child.stderr


def test_a_photograph_passes_what_it_needs_alone(tmp_path):
    """Neither cluster nor ledger nor edit nor series nor the formats of other files; `files_passed` lists them."""
    lay_out(tmp_path)
    done = subprocess.run([sys.executable, "-m", "tests.support.files_passed", "enhance", "photo.jpg"], cwd=tmp_path,
                          text=True, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    passed = {line.split()[-1] for line in done.stdout.splitlines()[:-1]}
    assert {"io/jpeg.py", "pipelines/enhance.py"} <= passed
    assert not {name for name in passed if name.startswith(("many/", "learning/", "looks/", "tools/", "web/"))}
    assert not passed & {"cli/edit_option.py", "cli/follow_options.py", "cli/series_options.py", "pipelines/series.py",
                         "pipelines/configure.py", "pipelines/looks.py", "engine/networks.py",
                         "io/exif.py", "io/png.py", "io/profiles.py", "io/tiff.py"}

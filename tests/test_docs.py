"""The pages say what is so: names are complete, links lead somewhere, and every command runs."""

import ast
import csv
import importlib.util
import inspect
import io
import itertools
import json
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlenhance.agents import A3CConfig, SACConfig
from rlenhance.experiments.tasks.lowlight import LowLightLearners
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.io import read, write
from rlenhance.learning.data.datasets import sample_path
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.rewards import TERMS
from rlenhance.ops.style import MEASURES
from rlenhance.pipelines.looks import shipped_presets
from rlenhance.pipelines.options import PREFERENCE_FLAGS
from tests.support import corpus
from tests.support.bedrooms import make_bedrooms
from tests.support.camera import Camera
from tests.support.camera import scene as bracket_scene
from tests.support.clips import make_clip
from tests.support.data import make_pairs
from tests.support.networks import make_policy
from tests.support.plugins import page_files
from tests.support.training import SMALL, train_lowlight
from tests.tasks.test_rse_train import scenes

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/docs/*.md"),
                *(ROOT / "plugins").glob("*/README.md")])
CARDS = sorted((ROOT / "rlenhance/hub/weights").glob("*/card.md"))
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(kind):
    """(page, number, text) of every fenced block of a kind."""
    return [(page.name, number, match.group(2)) for page in PAGES
            for number, match in enumerate(_BLOCK.finditer(page.read_text())) if match.group(1) == kind]


def test_every_reward_term_stands_in_its_table_with_its_weight():
    """docs/reference/rewards.md lists what is registered, no more and no less."""
    text = (ROOT / "docs/reference/rewards.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE))
    assert {name: float(weight) for name, weight in rows.items()} == {name: TERMS[name].default for name in TERMS}


def explained_patterns():
    """Patterns of the logged names in the table of docs/reference/training.md."""
    table = (ROOT / "docs/reference/training.md").read_text().split("## Every number")[1]
    names = {name for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
             for name in re.findall(r"`([^`]+)`", cell)}
    return [re.escape(name).replace("SCOPE", "(global|local)").replace("NAME", r"\w+").replace("stepK", r"step\d+")
            for name in names]


def test_every_logged_number_is_explained(tmp_path, pairs):
    """Each column of metrics.csv matches a row of docs/reference/training.md."""
    patterns = explained_patterns()
    configs = LowLightLearners(sac=SACConfig(max_kl=0.02),
                               a3c=A3CConfig(value_warmup_updates=1, kl_ref_coef=(1.0, 0.0)))
    for learner, curve in (("a3c", "continuous"), ("a3c", "categorical"), ("direct", "continuous"),
                           ("sac", "continuous"), ("supervised", "continuous")):
        result = train_lowlight(pairs, learner=learner, out=tmp_path, learners=configs, name=f"{learner}-{curve}",
                                updates=2, batch_size=2, policy=replace(SMALL, curve=curve))
        header = (result.run / "metrics.csv").read_text().splitlines()[0].split(",")
        unexplained = [name for name in header if not any(re.fullmatch(pattern, name) for pattern in patterns)]
        assert unexplained == []


@pytest.mark.parametrize("log", sorted((ROOT / "docs/results/shipped").glob("*.csv")), ids=lambda path: path.stem)
def test_logs_in_the_docs_hold_whole_numbers_under_names_of_today(log):
    """Every column is explained, shares are shares, and no number has lost its exponent or digits."""
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert [name for name in rows[0] if not any(re.fullmatch(pattern, name) for pattern in explained_patterns())] == []
    for name, text in [(name, text) for row in rows for name, text in row.items() if text]:
        assert text == f"{float(text):.6g}", (name, text)
        if re.fullmatch(r"policy/clip_fraction/.*|val/clipped|val/mean|collapse/top_choice_share", name):
            assert 0 <= float(text) <= 1, (name, text)
    returns = [(row["rollout/return"], row) for row in rows if row.get("rollout/return")]
    weights = json.loads(log.with_suffix(".json").read_text())["reward"]["weights"]
    weights = {re.sub("asked_(.*)", r"\1_preference", term): weight for term, weight in weights.items()}
    for whole, row in returns:
        terms = {name.removeprefix("reward/"): float(text) for name, text in row.items()
                 if name.startswith("reward/") and text}
        assert float(whole) == pytest.approx(sum(weights[term] * value for term, value in terms.items()), abs=1e-4)


def test_every_knob_preset_and_measure_stands_in_its_place():
    """docs/howto/enhance.md lists the knobs with their preferences, the measured ones, and names every preset."""
    text = (ROOT / "docs/howto/enhance.md").read_text()
    rows = re.findall(r"^\| `(--\w+)[^`]*` \| `(\w+)` \|", text, re.MULTILINE)
    assert {name: option for option, name in rows} == PREFERENCE_FLAGS
    measured = text.split("--match-style` measures")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", measured, re.MULTILINE)) == set(MEASURES)
    assert all(f"`{preset.name}`" in text for preset in shipped_presets())


def test_every_knob_and_number_of_obedience_is_explained(tmp_path, pairs):
    """docs/explanation/adapt_obey.md lists the knobs, and every row and column that evaluate prints."""
    text = (ROOT / "docs/explanation/adapt_obey.md").read_text()
    assert re.findall(r"^\| `(--\w+)` \|", text, re.MULTILINE) == list(PREFERENCE_FLAGS.values())
    save_checkpoint(tmp_path / "run", make_policy(preferences={name: (0.2, 0.5, 0.7) for name in PREFERENCE_FLAGS}))
    tables = evaluate(EvaluateConfig(tmp_path / "run", data=pairs, side=16, controllability=True, adaptivity=True,
                                              scenes=True))
    kinds = tables["scenes"].values()
    names = {name for answer in tables["controllability"].values() for name in answer} | set(tables["adaptivity"])
    names |= {row for rows in kinds for row in rows} | {name for rows in kinds for row in rows.values() for name in row}
    assert [name for name in names | set(tables["scenes"]) if f"`{name}`" not in text] == []


def test_every_name_in_the_map_of_the_papers_exists():
    """docs/explanation/paper_map.md: code can be imported, arguments are taken, test files are there."""
    text = (ROOT / "docs/explanation/paper_map.md").read_text()
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ")][1:]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row[2])}
    assert len(names) > 40 and [name for name in names if not _exists(name)] == []
    cells = [row[3] for row in rows]
    assert [topic for cell in cells for topic in unresolved_topics(cell)] == []


def unresolved_topics(cell):
    """What a cell of the map says of tests, "test_file: words, words; test_file: words", and no test says of itself."""
    parts = [part.partition(": ") for part in cell.split("; ")]
    return [f"{file}: {topic}" for file, _, topics in parts for topic in topics.split(", ")
            if not any(set(_stems(topic)) <= set(_stems(words)) for words in _tests_of(file.strip()) if topic)]


def _stems(text):
    return [word[:5] for word in re.findall("[a-z0-9]+", text.lower()) if len(word) > 2]


def _tests_of(file):
    """Name and docstring of every test of a file, which may lie in any folder of the tests."""
    nodes = [node for path in (ROOT / "tests").rglob(f"{file}.py") for node in ast.walk(ast.parse(path.read_text()))]
    return [f"{node.name.replace('_', ' ')} {ast.get_docstring(node) or ''}" for node in nodes
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def test_a_wrong_name_in_the_map_is_found():
    """A file that is not there, one that says nothing of its topic, and one without a topic."""
    assert unresolved_topics("test_actions: black and white stay; test_rse: trust region holds") == []
    for cell in ("test_self_enhance: trust region holds", "test_actions: trust region holds", "test_actions",
                 "test_actions: black and white stay, trust region holds"):
        assert len(unresolved_topics(cell)) == 1, cell


def _exists(name):
    """`module.attribute(argument=)` can be imported and takes the argument."""
    path, _, arguments = name.partition("(")
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return not arguments or set(re.findall(r"(\w+)=", arguments)) <= set(inspect.signature(found).parameters)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    """Every relative link and picture exists."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


#: What commands add to the names of their results.
_ENDINGS = ("enhanced", "denoised", "completed", "upscaled", "restored", "fused")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as the pages imagine it: night.jpg, mask.png, night16.tif, night.dng, phone.heic, clip.mp4, photos/,
    edits/, bracket/, data/, my_rewards.py, the plugins of own_parts.md, a run, and one that takes every knob, which is
    the newest, whatever the pages train."""
    folder = tmp_path_factory.mktemp("work")
    own = next(text for page, _, text in blocks("python") if page == "own_reward.md")
    for name, text in {"my_rewards.py": own, **page_files()}.items():
        (folder / name).write_text(text)
    make_pairs(folder / "data", scenes=12)
    if importlib.util.find_spec("av"):
        make_clip(folder / "clip.mp4")
    dark = np.random.default_rng(0).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    for name in ("night", "old", "lamp", "evening"):
        write(dark, folder / f"{name}.jpg")
    write(np.where(np.arange(64)[None, :, None] < 32, 255, 0).astype(np.uint8).repeat(48, 0).repeat(3, 2),
          folder / "mask.png")
    for number, name in enumerate("abcdef"):
        whole = read(sample_path(("coffee", "astronaut", "chelsea")[number % 3])).pixels
        photo = whole[:256, :256] if number < 3 else whole[-256:, -256:]
        write(photo // 2, folder / "photos" / f"{name}.jpg")
        write(photo, folder / "edits" / f"{name}.jpg")
        write(photo // 2, folder / "evening" / f"{name}.jpg")
    for step, name in ((-2, "a"), (0, "b"), (2, "c")):
        write(Camera(bracket_scene()).shoot(step), folder / "bracket" / f"{name}.jpg")
    for number, scene in enumerate(scenes(16, 64)):
        write(scene, folder / ("celeba_test" if number % 4 == 3 else "celeba_train") / f"{number}.png")
    write(dark.astype(np.uint16) * 257, folder / "night16.tif")
    (folder / "night.dng").write_bytes(corpus.dng())
    write(dark, folder / "phone.heic")
    for name in ("first", "all-knobs"):
        train_lowlight(folder / "data", out=folder / "runs/lol", name=name, updates=1, batch_size=2,
                       policy=PolicyConfig())
    os.utime(folder / "runs/lol/all-knobs/best/config.json", (4e9, 4e9))
    return folder


_AGAIN = itertools.count()  # runs of pages that give theirs one name


def shortened(line):
    """The same command with the least budget."""
    line = re.sub(r"--minutes \S+", "--minutes 0", line)  # a budget of updates instead
    if "lol_train" in line and "--resume" not in line:
        line = re.sub(r"--updates \S+", "", line) + " --updates 1 --batch-size 2 --no-progress --device cpu"
        line = re.sub(r"--name (first|tuned)", rf"--name \1-{next(_AGAIN)}", line)
    if "lol_train" in line and "--resume" in line:
        line = re.sub(r"--updates \S+", "--updates 2", line) + " --no-progress --device cpu"
    if "denoiser_train" in line:
        line += " --updates 1 --batch-size 2 --size 16 --no-progress --device cpu"
        line += "" if "--widths" in line else " --widths 8 8 --down 1 1 --up 1"
    if "network_train" in line:
        line = re.sub(r"--(epochs|checkpoint-epochs) \S+", "", line) + \
            " --updates 1 --batch-size 2 --size 16 --no-progress --device cpu"
        line += " --size 8" if "--scale" in line else ""
    if line.startswith("rlenhance taste") and "--simulate" not in line:
        line += " --simulate"
    if "toolchain_train" in line:
        line += " --updates 1 --patches 8 --batch-size 2 --no-progress --device cpu"
    if "tools_train" in line:
        line = re.sub(r"--(updates|eval-interval) \S+", r"--\1 1", line)
    if "bracket_train" in line:
        line += " --parts 0 --gradient-steps 2 --width 8"
    if "tool_gains_train" in line:
        line = re.sub(r"--collect-minutes \S+", "--collect-minutes 0.05", line)
    if "taste_simulation" in line:
        line += " --count 1 --strategies random"
    if "rse_train" in line:
        line = re.sub(r"--rl[_-]minutes \S+", "", line) + (
            " --updates 1 --rl_updates 1 --recursions 1 --latent_dim 16 --width 4 --codebook_size 32 --clusters 2"
            " --axes 2 --crop 32 --crops_per_image 1 --batch_size 2 --rl_batch_size 2 --val_images 1 --test_images 2"
            " --codebook_images 2 --val_size 48 --test_size 48 --horizon 2 --no-progress --device cpu")
    if "denoise_train" in line:
        line += " --updates 1 --batch-size 2 --no-progress --device cpu"
    if "complete_train" in line:
        line += " --updates 1 --batch-size 2 --val-images 1 --size 48 --window 32 --no-progress --device cpu"
    if "complete_compare" in line:
        line += " --limit 1 --sizes 48"
    if "denoise_compare" in line:
        line += " --limit 1 --levels 25"
    if "lol_compare" in line or "lol_report" in line:
        line = re.sub(r"--data \S+", "--data data", line) + " --updates 1 --batch-size 2"
    return line


def run_command(command, folder):
    """Run one as from the checkout, and write it down where RLENHANCE_COMMANDS names a file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250,
                          env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})
    if log := os.environ.get("RLENHANCE_COMMANDS"):
        with open(log, "a") as file:
            file.write(f"{command[2]}\n" if command[0] == "bash" else f"python: {command[2].splitlines()[0]} ...\n")
    return done


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", [page for page in PAGES if _BLOCK.search(page.read_text()) and
                                  page.name != "originals.md"],  # that page's folders: tests/tasks/test_originals.py
                         ids=lambda page: page.name)
def test_every_command_and_example_of_a_page_runs(workplace, tmp_path, page):
    """In their order, in a fresh folder: commands with a small budget end with status 0, examples as they stand."""
    folder = tmp_path / "work"
    shutil.copytree(workplace, folder)
    for kind, text in _BLOCK.findall(page.read_text()):
        if "sidd_noise" in text or ("clip.mp4" in text and not importlib.util.find_spec("av")):
            continue  # folders of its own: tests/tasks/test_rse_switches.py; clips: pip install ".[video]"
        if kind == "python":
            done = run_command([sys.executable, "-c", text], folder)
            assert done.returncode == 0, f"{text}\n{done.stderr[-2000:]}"
            continue
        made = []
        for result in (path for ending in _ENDINGS for path in folder.glob(f"*_{ending}*")):
            result.unlink()
        for line in text.strip().splitlines():
            done = run_command(["bash", "-c", shortened(line.split("  #")[0])], folder)
            assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
            if "-o " in line and "--overwrite" not in line:  # the same name may stand in several blocks
                target = folder / re.search(r"-o (\S+)", line).group(1)
                assert target.exists(), line
                made += [target] if target.is_file() else list(target.iterdir())
        for path in made:
            path.unlink(missing_ok=True)


#: The data sets that cards name, and the folder of the workplace that stands for each.
_DATA = {"sice_pairs": "data", "sice_half": "data", "fused": "data", "bsd400_color": "edits", "bsd432_gray": "edits",
         "faces256": "celeba_train", "bedrooms/original_images": "edits"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_the_commands_of_a_card_run(workplace, tmp_path, card):
    """On small data under the names that the card gives, with a small budget; a run that is begun with one of another
    card, or of before, begins without it."""
    folder = tmp_path / "work"
    shutil.copytree(workplace, folder)
    for name, other in _DATA.items():
        if f"--out {name}" not in card.read_text() and ("/" not in name or name in card.read_text()):
            shutil.copytree(folder / other, folder / name)
    if not (folder / "bedrooms").exists():
        make_bedrooms(folder)
        (folder / "bedrooms").symlink_to("dataset")
    if "--data brackets" in card.read_text():
        for scene in range(4):
            for place, level in enumerate((10, 40, 90, 150, 200, 230, 250)):
                write(np.full((24, 32, 3), level + scene, np.uint8), folder / f"brackets/{scene}/{place}.png")
    for line in re.findall(r"^    (python -m .+)$", card.read_text(), re.MULTILINE):
        begun = re.search(r" --(?:init|warm-start) (\S*/\S*)", line)
        if begun and not (folder / begun[1]).exists():
            line = line.replace(begun[0], "")
        if "--warm-start denoiser " in line:  # as the card says of the denoiser of today
            line += " --widths 32 64 128"
        line = shortened(line).replace(" --widths 8 8 --down 1 1 --up 1", "")  # what follows asks for the card's
        done = run_command(["bash", "-c", line], folder)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"


@pytest.mark.slow
def test_the_pages_use_options_of_today(monkeypatch):
    """Each option behind `python -m experiments.NAME` or `rlenhance COMMAND` in a page, in a sentence too, stands in
    the help of that command; a plugin brings options of its own."""
    used = {}
    for page in [*PAGES, *CARDS]:
        for command, words in re.findall(r"(?:^ *|`)(?:python -m )?"
                                         r"((?:experiments|rlenhance_read)\.[a-z][\w.]+|rlenhance [a-z]+)"
                                         r"(?!.*--plugin )((?: [^`\n]*)?)", page.read_text().replace("\\\n", " "),
                                         re.MULTILINE):
            words = re.split(r"  #| -- |; |&&|\|", words.replace("_", "-"))[0]
            used.setdefault(command, set()).update(re.findall(r"(?<=\s)--[a-z][\w.-]*\w", words))
    unknown = {}
    for command, options in used.items():
        words = command.split() + (["celeba"] if command.endswith("rse_train") else [])
        if not options:
            continue
        monkeypatch.setattr(sys, "argv", [*words, "--help-all"])
        with redirect_stdout(io.StringIO()) as told, pytest.raises(SystemExit):
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        known = set(re.findall(r"--[a-z][\w.-]*", told.getvalue().replace("_", "-")))
        unknown |= {command: sorted(options - known)} if options - known else {}
    assert len(used) > 20 and unknown == {}

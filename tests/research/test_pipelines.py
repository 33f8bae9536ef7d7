"""Command lines side by side: every damage, rules and commands, series, and what is refused."""

import json
import re
import shlex

import numpy as np
import pytest

from research.photographs import DAMAGES, photographs
from research.pipelines import RULES, Arguments, main
from research.results import DOCS
from rlenhance.cli.main import main as rlenhance
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import parse, run_cli
from rlenhance.io import write
from tests.support.data import make_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Eight scenes of two frames."""
    return make_pairs(tmp_path_factory.mktemp("pairs"), 8, (96, 128))


def test_commands_and_rules_are_scored(pairs, tmp_path, capsys):
    """The first row is what the others are compared to; the numbers and the table are stored."""
    rows = ("keep: enhance --white keep --denoise 0", "auto: enhance --denoise 0", "input: input",
            "stop: stop-at-mean 0.45")
    found = main(Arguments((pairs,), rows, limit=2, out=tmp_path / "rows.json"))
    assert [len(row) for row in found[""].values()] == [2] * 4
    assert found[""]["keep"][0]["PSNR, dB"] > found[""]["input"][0]["PSNR, dB"]
    assert found[""]["input"][0]["as they are, %"] == 100 and found[""]["keep"][0]["detail"] == pytest.approx(1)
    table, = json.loads((tmp_path / "rows.json").read_text())["tables"]
    assert [row[0] for row in table["rows"]] == ["keep", "auto", "input", "stop"] and table["rows"][0][2:4] == ["", ""]
    assert "less keep's" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_the_same_for_a_seed(damage, pairs):
    """Photographs beside references of their size, or half or a quarter of it."""
    one, other = (photographs(damage, [pairs], "test", 1, 0)[0] for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels) and one.pixels.dtype == np.uint8
    scale = {"half": 2, "quarter": 4}.get(damage, 1)
    assert one.reference.shape == (scale * one.pixels.shape[0], scale * one.pixels.shape[1], 3)


def test_networks_are_measured_on_damaged_photographs(pairs, capsys):
    """A table for each damage; what enlarges is compared at the larger size."""
    rows = ("input: input", "restore: restore", "nlm: non-local-means")
    found = main(Arguments((pairs,), rows, ("old JPEG", "clean"), limit=1))
    assert list(found) == ["old JPEG", "clean"] and found["clean"]["input"][0]["PSNR, dB"] == 99
    found = main(Arguments((pairs,), ("lanczos: lanczos 2", "x2: upscale --scale 2"), ("half",), limit=1))
    assert "change, 255ths" not in found["half"]["x2"][0] and found["half"]["x2"][0]["PSNR, dB"] > 20
    assert "half: 1 photographs" in capsys.readouterr().out


def test_series_are_given_scene_by_scene(pairs, capsys):
    """Their frames become more alike."""
    main(Arguments((pairs,), ("photographed: input", "matched: enhance --denoise 0 --match-series"), split="val",
                   series=True))
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "photographed |" in line
             or "matched |" in line]
    assert float(lines[1][1].split()[0]) < float(lines[0][1].split()[0])


def test_photographs_without_reference_have_scores_of_their_own(tmp_path):
    """Noise, contrast, mean, cost, and what has changed."""
    for number in range(4):
        write(np.full((40, 40, 3), 30 + number, np.uint8), tmp_path / f"photos/{number}.png")
    found = main(Arguments((tmp_path / "photos",), ("ours: enhance --denoise 0",)))
    assert set(found[""]["ours"][0]) == {"newly clipped, %", "change, 255ths", "as they are, %", "detail",
                                         "noise, 255ths", "contrast", "mean", "CPU s / MP"}


def test_a_row_is_an_option_that_repeats(pairs, capsys):
    """On the command line, quoted."""
    words = [str(pairs), "--limit", "1", "--row", "keep: enhance --white keep --denoise 0", "--row", "before: input"]
    assert run_cli(main, Arguments, words) == 0
    assert "| keep |" in (printed := capsys.readouterr().out) and "| before |" in printed


@pytest.mark.parametrize(("words", "message"), [
    ({}, "--row \"NAME: COMMAND OPTIONS\" is given"), ({"row": ("enhance",)}, "got 'enhance'"),
    ({"row": ("a: input", "a: input")}, "a name of its own"), ({"damage": ("rust",)}, "got rust"),
    ({"split": "tset"}, "--split is one of"), ({"row": ("a: enhance --denoise 7",)}, "--row a: rlenhance enhance"),
    ({"row": ("a: enhance --nope",)}, "--row a: rlenhance enhance"),
    ({"row": ('a: enhance "x',)}, "--row a: No closing"),
    ({"row": ("a: lanczos abc",)}, "takes a number"), ({"row": ("a: stop-at-mean",)}, "takes a number"),
    ({"row": ("a: input 7",)}, "takes nothing more"), ({"row": ("a: enhance --dry-run",)}, "made 0 of 1")])
def test_what_cannot_be_compared_is_refused(words, message, pairs):
    """With the option that is wrong."""
    with pytest.raises(UsageError, match=message):
        main(Arguments((pairs,), **{"row": ("a: input",), "limit": 1, **words} if words else {}))


@pytest.mark.parametrize("line", sorted({line for page in DOCS.rglob("*.md") for line in re.findall(
    r"python -m research\.pipelines (.*--row .*)", page.read_text())}), ids=lambda line: line.split(" --")[0])
def test_comparisons_of_the_pages_have_rows_of_today(line, tmp_path):
    """Damages that there are, and commands whose options are taken; models of runs are left out."""
    arguments = parse(Arguments, shlex.split(line), "")
    assert set(arguments.damage) <= set(DAMAGES) and len(arguments.row) > 1
    photograph = write(np.full((40, 40, 3), 30, np.uint8), tmp_path / "a.png")
    for words in (shlex.split(row.partition(":")[2]) for row in arguments.row):
        if words[0] not in RULES and not any(word.startswith("runs/") for word in words):
            assert rlenhance([words[0], str(photograph), *words[1:], "-o", f"{tmp_path}/out/", "--dry-run", "-q"]) == 0

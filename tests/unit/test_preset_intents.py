"""Every preset does what it is for, measured; and thumbnails that nobody can tell apart are not offered as looks."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.presets import INTENTS, MEANINGS, MEASURES, Arguments, Bound, Measured, intents_table, looks_of, main
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.samples import sample_path
from rlenhance.ops.color_difference import TOLD_APART, thumbnail_difference
from rlenhance.pipelines.presets import shipped_presets

DOCS = Path(__file__).parents[2] / "docs"


def _dark(picture, light=0.12):
    """A photograph as a short exposure has it: less light, in 8 bits."""
    small = cv2.resize(picture, (96, 96 * picture.shape[0] // picture.shape[1]), interpolation=cv2.INTER_AREA)
    return np.rint(255 * ((small / 255.0) ** 2.2 * light) ** (1 / 2.2)).astype(np.uint8)


@pytest.fixture(scope="module")
def dark():
    """Photographs with little light."""
    return {name: _dark(read(sample_path(name)).pixels) for name in ("astronaut", "coffee", "chelsea", "flower")}


def test_every_preset_has_an_intent_that_is_measured():
    """And no other has; what is bounded is measured and explained."""
    assert set(INTENTS) == {preset.name for preset in shipped_presets()}
    assert {bound.measure for bounds in INTENTS.values() for bound in bounds} <= set(MEASURES) == set(MEANINGS)


def test_the_page_has_the_intents():
    """docs/howto/enhance.md has the table as the code makes it, and every measure of it in words."""
    text = (DOCS / "howto/enhance.md").read_text()
    assert intents_table() in text
    assert all(f"*{name}*: {meaning}" in text.replace("\n", " ") for name, meaning in MEANINGS.items()
               if any(bound.measure == name for bounds in INTENTS.values() for bound in bounds))


@pytest.fixture(scope="module")
def measured(dark):
    """The shipped presets of the shipped default on those photographs."""
    found, looks = Measured(), looks_of(None)
    for name, initial in dark.items():
        found.add(name, initial, {look: enhancer(initial) for look, enhancer in looks.items()})
    return found


@pytest.mark.parametrize("name", INTENTS)
def test_presets_hold_their_intents(measured, name):
    """On photographs that no bound was chosen on."""
    for bound in INTENTS[name]:
        value = bound.value(measured.mean(name, bound.measure), measured.mean("default", bound.measure))
        assert bound.holds(value), (bound.words(), value)


def test_presets_are_told_apart(measured):
    """Every two, and each from the default, as thumbnails."""
    assert {pair: np.mean(values) for pair, values in measured.distances.items()
            if np.mean(values) < TOLD_APART} == {}


def test_bounds_are_ratios_or_differences():
    """Of the preset to the default; nothing to nothing is the same."""
    assert Bound("mean", 0.9, 1.1).holds(Bound("mean").value(0.42, 0.4))
    assert Bound("newly burnt", high=0.5).holds(Bound("newly burnt").value(0, 0))
    assert not Bound("newly burnt", high=0.5).holds(Bound("newly burnt").value(0.1, 0))
    assert Bound("newly burnt", high=0.02, points=True).value(0.03, 0.01) == pytest.approx(0.02)
    assert [Bound("mean", 0.9, 1.1).words(), Bound("noise", low=2).words(), Bound("noise", high=2).words(),
            Bound("newly burnt", high=0.02, points=True).words()] == [
        "mean 0.9 to 1.1 ×", "noise at least 2 ×", "noise at most 2 ×", "newly burnt at most +2 %"]


def test_the_command_measures_a_folder(tmp_path, capsys, dark):
    """Tables, a sheet, what falls short by name; grey photographs are not asked for colours."""
    grey = dark["coffee"].mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8)
    write(grey, tmp_path / "photos/grey.png")
    tables = main(Arguments(tmp_path / "photos", tmp_path / "out", sheets=1))
    assert json.loads((tmp_path / "out/presets.json").read_text()).keys() == tables.keys()
    assert (tmp_path / "out/presets-1.png").is_file()
    saturation = [row for row in tables["intents"].rows if row[1].startswith("saturation")]
    assert len(saturation) == 2 and all(row[2:] == (None, None) for row in saturation)
    out = capsys.readouterr().out
    assert "1 of them grey" in out and "falls short: " in out


def test_the_difference_is_that_of_thumbnails():
    """Nothing for the same picture and for noise that a thumbnail does not show; 100 from black to white."""
    black, white = (np.full((128, 192, 3), level, np.uint8) for level in (0, 255))
    assert thumbnail_difference(black, white) == pytest.approx(100, abs=0.1)
    noisy = np.random.default_rng(0).normal(120, 8, (256, 256, 3)).round().clip(0, 255).astype(np.uint8)
    assert thumbnail_difference(noisy, np.full((256, 256, 3), 120, np.uint8)) < TOLD_APART
    with pytest.raises(UsageError, match="one size"):
        thumbnail_difference(black, white[1:])


def test_variants_are_told_apart(tmp_path, monkeypatch, capsys, dark):
    """What looks like another on the sheet is left out with a note; what was named is shown all the same."""
    monkeypatch.chdir(tmp_path)
    write(dark["astronaut"], "dark.png")
    assert cli.main(["variants", "dark.png", "-m", "natural"]) == 0
    printed = capsys.readouterr()
    count, left_out = int(printed.out.split()[0]), printed.err.count("is left out: this photograph does not tell it")
    assert count + left_out == 2 + len(shipped_presets()) + 5 and left_out >= 1
    write(np.zeros((40, 40, 3), np.uint8), "black.png")
    assert cli.main(["variants", "black.png", "-m", "natural"]) == 0
    assert "2 pictures" in capsys.readouterr().out  # as it is, and the default
    assert cli.main(["variants", "black.png", "-m", "natural", "--presets", "vivid", "--exposures", "0.5",
                     "--overwrite"]) == 0
    assert "4 pictures" in capsys.readouterr().out

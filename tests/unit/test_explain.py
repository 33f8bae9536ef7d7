"""Explanations and tables of colours: what a look is, why it came about, and what the table leaves out."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rlenhance.cli import main as cli
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import srgb_from_linear
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.pipelines.decision import Decision
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.explain import explain, stops_gained
from rlenhance.pipelines.lut import make_cube, to_text
from tests.support.networks import make_policy, make_tone, stir


def test_a_cube_is_the_picture_level_look(tone_run, dark):
    """Pillow, applying the table, comes to what the policy does without its local agents, within two levels."""
    enhancer = Enhancer(tone_run)
    decision = enhancer.decide(dark)
    cube = make_cube(enhancer.network, decision)
    table = ImageFilter.Color3DLUT(cube.shape[0], cube.reshape(-1, 3).astype(float).ravel().tolist())
    seen = np.asarray(Image.fromarray(dark + 40).filter(table)).astype(int)
    still = [{level: entry if level == "global" else np.zeros_like(entry) for level, entry in action.items()}
             for action in decision.actions]
    wanted = enhancer.with_decision(replace(decision, actions=still))(dark + 40).astype(int)
    assert np.abs(seen - wanted).max() <= 2 and np.abs(wanted - dark - 40).max() > 10
    half = make_cube(enhancer.network, decision, points=5, strength=0.5)
    ramp = np.linspace(0, 1, 5)
    same = np.stack(np.meshgrid(ramp, ramp, ramp, indexing="ij")[::-1], axis=-1)
    assert np.allclose(half, same + 0.5 * (make_cube(enhancer.network, decision, points=5) - same), atol=1e-6)


def test_a_cube_is_written_as_others_read_it(tone_run, dark):
    """Size and range stand in the head, red changes fastest, black and white stay."""
    enhancer = Enhancer(tone_run)
    lines = to_text(make_cube(enhancer.network, enhancer.decide(dark), points=3), "a look").splitlines()
    numbers = np.array([[float(word) for word in line.split()] for line in lines if line[0].isdigit()])
    assert "LUT_3D_SIZE 3" in lines and lines[0] == 'TITLE "a look"' and numbers.shape == (27, 3)
    assert (numbers[0] == 0).all() and (numbers[-1] == 1).all()
    assert numbers[2, 0] == 1 and numbers[2, 1] == 0 and numbers[6, 1] == 1 and numbers[18, 2] == 1


def test_a_cube_needs_a_look_of_the_whole(tmp_path, dark):
    """A policy that decides pixel by pixel has none, and says so."""
    policy = stir(make_policy({"agent_stride": 1, "global_agent": False}, decision_size=None))
    with pytest.raises(UsageError, match="place by place"):
        make_cube(Enhancer(save_checkpoint(tmp_path / "best", policy)).network, Decision())


def test_an_explanation_shows_every_step(tone_run, dark):
    """Input, output, gain, histogram, curve, and a map per step; a policy without a state size shows the first four."""
    cells = explain(Enhancer(tone_run), dark)
    labels = [cell.lines[0] for cell in cells]
    steps = Enhancer(tone_run).model.steps
    assert labels[:2] == ["input", "output"] and labels[-1] == f"step {steps} of {steps}" and len(cells) == 5 + steps
    assert all(cell.pixels.dtype == np.uint8 and cell.pixels.shape[2] == 3 for cell in cells)
    assert any("brightness" in line for line in cells[-1].lines)
    assert len(explain(Enhancer(tone_run, steps=1), dark)) == 6


def test_edge_aware_curves_have_a_cube_and_an_explanation(tmp_path):
    """The table is what happens to a flat surface of each colour; the explanation names parts of the luminance."""
    policy = stir(make_tone(actions={"name": "bilateral", "agent_stride": 8}), 0.05)
    enhancer = Enhancer(save_checkpoint(tmp_path / "best", policy), denoise=0, preference={"smoothness": 1.0})
    color = np.array([51, 102, 51], np.uint8)  # on points of a table with six
    flat = np.broadcast_to(color, (70, 80, 3)).copy()
    cube = make_cube(enhancer.network, enhancer.decide(flat), points=6)
    assert np.abs(cube[1, 2, 1] * 255 - enhancer(flat)[30, 40]).max() <= 0.51
    cells = explain(enhancer, flat)
    assert any(line.startswith("highlights") for line in cells[-1].lines)


def test_the_command_takes_region_explanation_and_cube(tone_run, dark, tmp_path, capsys):
    """One command writes all; the result outside the region is the photograph, byte for byte."""
    mask = np.zeros((60, 90, 3), np.uint8)
    mask[:, :45] = 255
    write(dark, tmp_path / "night.png")
    write(mask, tmp_path / "mask.png")
    words = ["enhance", str(tmp_path / "night.png"), "--model", str(tone_run), "--region", str(tmp_path / "mask.png"),
             "--explain", str(tmp_path / "why.png"), "--cube", str(tmp_path / "look.cube")]
    assert main(words) == 0
    result = read(tmp_path / "night_enhanced.png").pixels
    assert np.array_equal(result[:, 45:], dark[:, 45:]) and not np.array_equal(result[:, :30], dark[:, :30])
    assert np.array_equal(result, Enhancer(tone_run, region=mask[..., 0])(dark))
    assert (tmp_path / "look.cube").read_text().startswith("TITLE") and read(tmp_path / "why.png").pixels.size
    assert main(words) == 2 and "exists" in capsys.readouterr().err


@pytest.mark.parametrize("words, told", [
    (["--explain", "why.txt"], "must end in"), (["--cube", "look.png"], "must end in .cube"),
    (["other.png", "--cube", "night.cube"], "about one photograph"), (["--region", "none.png"], "none.png"),
    (["--region", "small.png"], "and the picture 90x60"), (["--explain", "night.png"], "would replace a file"),
], ids=str)
def test_the_command_refuses_what_cannot_be(tone_run, dark, tmp_path, capsys, monkeypatch, words, told):
    """Each mistake is named, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    for name in ("night.png", "other.png"):
        write(dark, tmp_path / name)
    write(dark[:8, :9], tmp_path / "small.png")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["enhance", "night.png", *words, "--model", str(tone_run)]) == 2
    assert told in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.fixture
def place(tmp_path, dark, monkeypatch):
    """A folder with a photograph, from where commands run."""
    monkeypatch.chdir(tmp_path)
    write(dark, "night.png")
    return tmp_path


def test_nothing_is_explained_of_a_photograph_that_fails(place, tone_run, capsys):
    """Neither sheet nor table nor map stands there, where the result could not be written."""
    save_checkpoint(place / "filters", stir(MODELS.create("filter_policy", backbone={"name": "fcn", "width": 4},
                                                          horizon=2)))
    bad = ["-o", "night.png/x.png"]  # no folder
    explained = ["--explain", "e.png", "--cube", "c.cube"]
    assert cli.main(["enhance", "night.png", *bad, "--model", str(tone_run), *explained]) == 2
    assert cli.main(["denoise", "night.png", *bad, "--model", "filters", "--explain", "e.png"]) == 2
    assert not list(place.glob("e.png")) and not list(place.glob("c.cube"))
    assert cli.main(["denoise", "night.png", "--model", "filters", "--explain", "e.png"]) == 0
    assert (place / "e.png").exists() and "which filter won where -> e.png" in capsys.readouterr().out


def test_a_table_of_colours_says_what_it_leaves_out(place, tone_run, capsys):
    """--denoise and --region have no room in it."""
    write(read("night.png"), "mask.png")
    words = ["enhance", "night.png", "--model", str(tone_run), "--overwrite", "--cube", "look.cube"]
    for more, told in (([], ""), (["--region", "mask.png"], "is without --region:"),
                       (["--denoise", "0.5", "--region", "mask.png"], "is without --denoise and --region:")):
        assert cli.main([*words, *more]) == 0
        out = capsys.readouterr().out
        assert told in out and ("note:" in out) == bool(told)


def test_the_gain_is_told_in_stops_of_light():
    """Twice the light is one stop; what was left alone is zero."""
    light = np.full((60, 80, 3), 0.1, np.float32)
    before = np.rint(255 * srgb_from_linear(light)).astype(np.uint8)
    light[:30] *= 2
    gains = stops_gained(before, np.rint(255 * srgb_from_linear(light)).astype(np.uint8))
    assert gains.shape == (36, 48) and gains[19:] == pytest.approx(0, abs=0.01)
    assert gains[:17] == pytest.approx(1, abs=0.03)
    assert np.abs(stops_gained(np.zeros_like(before), np.full_like(before, 255))).max() <= 9.9

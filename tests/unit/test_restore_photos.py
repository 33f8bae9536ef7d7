"""`rlenhance restore`: a chain of tools for a photograph whose damage is unknown."""

import cv2
import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import Photo, read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.photo_faults import PhotoFaults, see_faults
from rlenhance.pipelines.restore import NOTHING, PhotoRestorer, apply_tool, describe
from rlenhance.pipelines.tool_choice import patches_of
from rlenhance.tools import Tool, tool_of
from tests.support.networks import make_planner


def photograph(height=48, width=64):
    """(H, W, 3) uint8, with some noise."""
    return np.random.default_rng(0).integers(40, 150, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def planner(tmp_path):
    """The checkpoint of a planner that predicts given gains for every picture."""
    return lambda *gains, **config: save_checkpoint(tmp_path / "run" / "best", make_planner(gains, **config)).parent


def test_the_chain_has_the_tools_of_the_largest_gain(planner):
    """Each step takes the best one, as many as the budget or `steps` allows, and the result is that of the tools."""
    pixels, restorer = photograph(), PhotoRestorer(planner(1.0, 2.0))
    photo, decision = restorer.process(Photo(pixels))
    wanted = tool_of("unsharp")(tool_of("median")(pixels.astype(np.float32) / 255))
    assert decision["chain"] == ["median", "unsharp"]
    assert decision["words"].endswith(": single pixels smoothed, sharpened a little")
    assert np.abs(photo.pixels - 255 * wanted).max() <= 0.5 + 1e-3
    many = "denoise-even-8", "denoise-even-20", "denoise-even-45", "unsharp", "median", "bilateral", "deconvolve-1"
    restorer = PhotoRestorer(planner(*range(1, 8), tools=many))
    assert [len(restorer.with_settings(budget=budget).process(Photo(pixels)).decision["chain"])
            for budget in ("fast", "normal", "best")] == [2, 4, 6]
    assert restorer.with_settings(steps=1).process(Photo(pixels)).decision["chain"] == ["deconvolve-1"]


def test_a_good_photograph_is_copied(planner, tmp_path, capsys):
    """Where nothing would be gained, the file is the same to the byte, and the line says so."""
    pixels = np.full((48, 64, 3), 120, np.uint8)
    source, photo = write(pixels, tmp_path / "good.png"), Photo(pixels)
    assert PhotoRestorer(planner(0.05, -3.0)).process(photo).photo is photo
    assert main(["restore", str(source), "--model", str(tmp_path / "run")]) == 0
    assert (tmp_path / "good_restored.png").read_bytes() == source.read_bytes()
    assert f"good_restored.png: {NOTHING}" in capsys.readouterr().out


def test_light_photographs_are_not_brightened(planner):
    """Whatever gain is predicted of it."""
    folder = planner(2.0, 1.0, tools=("brighten-gamma", "median"))
    for level, first in ((40, "brighten-gamma"), (150, "median")):
        pixels = np.full((48, 64, 3), level, np.uint8)
        assert PhotoRestorer(folder, steps=1).process(Photo(pixels)).decision["chain"] == [first]


def test_only_the_named_tools_are_used(planner, tmp_path, monkeypatch, capsys):
    """`--tool` names them; the sheet of --explain and the line say what was done."""
    monkeypatch.chdir(tmp_path)
    write(photograph(300, 400), "old.png")
    words = ["restore", "old.png", "--model", str(planner(1.0, 2.0)), "--tool", "unsharp", "--steps", "1"]
    assert main([*words, "--explain", "why.png"]) == 0
    said = capsys.readouterr().out
    assert ": sharpened a little\n" in said and "each step -> why.png" in said
    assert read("why.png").pixels.shape[1] > 800
    assert main([*words, "--overwrite", "--tool", "sharpen"]) == 2
    assert "unknown tool 'sharpen'" in capsys.readouterr().err


@pytest.mark.parametrize("dark, lit, brightened", [(20, 60, True), (20, 220, False), (1, 60, False), (110, 120, False)])
def test_what_is_dark_by_intent_stays(planner, dark, lit, brightened):
    """A dark photograph is brightened; one with something lit in it, or where nothing was recorded, is not."""
    pixels = np.full((48, 64, 3), dark, np.uint8)
    pixels[10:20, 10:30] = lit
    restorer = PhotoRestorer(planner(0.0, 0.0), tools=["median", Tool("brighten", "brightened", np.sqrt, 0, 0)])
    assert restorer.process(Photo(pixels)).decision["chain"] == ["brighten"] * brightened


def test_visible_blocks_are_repaired_for_less(tmp_path):
    """Where the blocks of JPEG show, tools against it need a smaller gain; other tools and other photographs do not."""
    network = make_planner((0.3, 0.4), tools=("deblock-30", "unsharp"))
    for head in network.heads:
        head[-1].bias.data[-1] = 3.5  # a PSNR of 35 dB
    restorer = PhotoRestorer(save_checkpoint(tmp_path / "run" / "best", network).parent, steps=1)
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (144, 144, 3)), (0, 0), 2)
    clean = (128 + 120 * noise).clip(0, 255).astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", clean, [cv2.IMWRITE_JPEG_QUALITY, 12])[1], cv2.IMREAD_COLOR)
    for pixels, chain in ((clean, []), (coded, ["deblock-30"]), (coded[:, 4:], ["deblock-30"])):
        assert restorer.process(Photo(np.ascontiguousarray(pixels))).decision["chain"] == chain


@pytest.mark.parametrize("words, told", [
    (["--tool", "sh -c 'sleep 30' {in} {out}", "--tool-timeout", "0.2"], "raise the limit (--tool-timeout)"),
    (["--tool", "false {in} {out}", "--tool-memory", "500"], "its limits are 500 MiB (--tool-memory)"),
    (["--tool", "cp {in} {out}", "--tool-timeout", "0"], "seconds must lie in (0, 86400]; got 0"),
    (["--tool", "rl-deblur-1"], "give path"), (["--tool", "rl-deblur-1", "--tool-weights", "nowhere"], "no such file"),
])
def test_what_a_tool_lacks_is_told(words, told, tmp_path, capsys):
    """In one line that names the option, before anything is written."""
    source = write(photograph(), tmp_path / "old.png")
    assert main(["restore", str(source), *words]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]


def test_a_tool_that_fails_on_one_photograph_leaves_the_others(planner, tmp_path, capsys):
    """The folder goes on; each failed photograph is named, and the command with it."""
    write(np.full((48, 64, 3), 150, np.uint8), tmp_path / "in" / "a.png")
    write(photograph(), tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:999])
    command = """sh -c 'test $(wc -c < "$0") -gt 1000 || exit 3; cp "$0" "$1"' {in} {out}"""
    words = ["restore", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(planner(1.0, 2.0))]
    assert main([*words, "--tool", command, "--tool", "median"]) == 2
    said = capsys.readouterr().err
    assert "a.png: " in said and "ended with exit 3" in said and "c.png: damaged" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_tools_that_the_planner_does_not_know_are_judged_by_their_results(planner, monkeypatch):
    """A function of one's own is tried on the patches, and used where the judge finds the results better."""
    restorer = PhotoRestorer(planner(1.0, 2.0), steps=1, tools=[
        Tool("worse", "made worse", lambda picture: picture * 0, 0, 0),
        Tool("better", "made better", lambda picture: np.full_like(picture, 0.9), 0, 0)])
    monkeypatch.setattr(restorer.judge, "assess", lambda images: (
        np.zeros((len(images), 2)), 10 * images.mean(axis=(1, 2, 3))))
    assert restorer.process(Photo(photograph())).decision["words"].endswith(": made better")


def test_what_is_found_is_told_with_its_strength():
    """Noise as strong as it is, darkness, and what was done; nothing to repair only where nothing is wrong."""
    rng = np.random.default_rng(0)
    noisy = np.rint(128 + 14 * rng.standard_normal((192, 192, 3))).astype(np.uint8)
    found, unsharp = see_faults(noisy), tool_of("unsharp")
    assert found.noise == pytest.approx(14, abs=1.5) and found.damage == [f"noise {found.noise:.0f} of 255"]
    good, dark = PhotoFaults(0.4, 0, 0, 0, False, ""), PhotoFaults(0.1, 0, 0, 14, True, "")
    assert describe([], good) == NOTHING and describe([unsharp], good) == "sharpened a little"
    assert describe([unsharp, unsharp], dark) == (
        "found noise 14 of 255, JPEG blocks, very dark (brightness 0.10): sharpened a little twice; rlenhance enhance "
        "brightens it")
    told = describe([], dark)
    assert "noise 14 of 255" in told and "brightens it" in told and NOTHING not in told
    assert "brightens it" not in describe([tool_of("brighten-gamma")], dark)


@pytest.mark.parametrize("size, count", [((48, 64), 1), ((5, 300), 2), ((400, 300), 8), ((1000, 200), 8)])
def test_patches_lie_within_the_picture(size, count):
    """On the grid of blocks, no more than are asked for, in pictures of any size."""
    height, width = size
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=2) / 1024
    patches = patches_of(np.dstack([place, place[..., :1]]).astype(np.float32), count)
    assert 1 <= len(patches) <= count and patches.shape[1:] == (3, min(height, 96), min(width, 96))
    assert not (1024 * patches[:, :2, 0, 0] % 8).any()


def test_patches_lie_on_the_blocks_of_a_picture_that_was_cut():
    """Where a JPEG was cut out of another one, its blocks are found; where there are none, patches begin at 0."""
    blocks = np.kron(np.random.default_rng(0).random((20, 20, 3)), np.ones((8, 8, 1))).astype(np.float32)
    first = patches_of(blocks[3:, 6:], 1)[0, 0]
    assert (first[:8, :8] == first[0, 0]).all() and first[0, 7] != first[0, 8] and first[7, 0] != first[8, 0]


def test_a_large_picture_is_that_of_its_tiles(monkeypatch):
    """A tool with a radius gives the same in tiles as for the whole picture."""
    picture = np.random.default_rng(0).random((90, 130, 3), dtype=np.float32)
    whole = apply_tool(tool_of("unsharp"), picture)
    monkeypatch.setattr("rlenhance.pipelines.restore._TILE", 32)
    assert np.abs(apply_tool(tool_of("unsharp"), picture) - whole).max() < 1e-5


def test_what_is_no_planner_is_refused(planner):
    """A budget of another name, and a model for something else, are named."""
    with pytest.raises(UsageError, match="budget must be fast or normal or best; got \"much\""):
        PhotoRestorer(planner(1.0, 1.0), budget="much")
    with pytest.raises(UsageError, match="a model to denoise, not to restore"):
        PhotoRestorer("denoiser")

"""`rlenhance score`: the numbers are those of the metrics, files find each other, and what fails is told."""

import json

import numpy as np
import pytest
import torch

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.engine.scores import COSTS, RELATIVE, ssim_map
from rlenhance.io import write
from rlenhance.learning.metrics import full_reference
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, mean_level, psnr, ssim
from rlenhance.learning.ops.image import limit_side, to_tensor
from rlenhance.learning.rewards import TERMS, Transition
from rlenhance.pipelines.photo_faults import PhotoFaults
from rlenhance.pipelines.score import SIDE, with_reference, without_reference


def _pair(size, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    picture = rng.integers(0, top // 2, (*size, 3), dtype=dtype)
    noise = rng.integers(0, top // 8, (*size, 3), dtype=dtype)
    return picture, picture + noise


@pytest.mark.parametrize("size", [(5, 8), (10, 40), (11, 12), (40, 50), (300, 20), (530, 33)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_equal_the_whole(size, dtype):
    """Photographs of any height score band by band what the metrics say of them as a whole."""
    picture, reference = _pair(size, dtype)
    scores = with_reference(picture, reference)
    one, other = to_tensor(picture), to_tensor(reference)
    for name, metric in (("psnr", psnr), ("ssim", ssim), ("gt_mean_psnr", gt_mean_psnr)):
        assert scores[name] == pytest.approx(metric(one, other).item(), abs=2e-4), name


def test_depths_are_compared_at_their_own_scale():
    """A photograph of 16 bits against one of 8 that says the same scores as equal."""
    picture, _ = _pair((20, 30))
    scores = with_reference(picture.astype(np.uint16) * 257, picture)
    assert scores["psnr"] == pytest.approx(100) and scores["ssim"] == pytest.approx(1)
    black = np.zeros((20, 30, 3), np.uint8)
    assert all(np.isfinite(value) for value in with_reference(black, picture).values())


def test_without_a_reference_the_terms_count():
    """Every state term that needs none; those that compare with the original only where it is given."""
    picture, origin = _pair((40, 50))
    wanted = {name for name in TERMS if TERMS[name].kind == "state" and not TERMS[name].reference}
    relative = {"clipping", "contrast", "chromaticity", "noise", "revealed_noise"}
    alone, both = without_reference(picture), without_reference(picture, origin)
    assert set(both) == wanted | {"level"} and set(alone) == set(both) - relative
    assert alone["level"] == pytest.approx(mean_level(to_tensor(picture)).item())
    assert without_reference(picture, picture)["noise"] == 0 < both["chromaticity"]
    assert without_reference(picture, exposure=0.1)["exposure"] != alone["exposure"]
    large = np.tile(picture, (30, 1, 1))
    assert without_reference(large)["color"] == pytest.approx(
        TERMS["color"].cost(limit_side(to_tensor(large), SIDE), None).item(), abs=1e-8)  # float32 means there


def test_sizes_must_agree():
    """Two sizes are named."""
    for score in (with_reference, without_reference):
        with pytest.raises(UsageError, match=r"30x20 .* 31x20"):
            score(np.zeros((20, 30, 3), np.uint8), np.zeros((20, 31, 3), np.uint8))


@pytest.fixture
def album(tmp_path, monkeypatch):
    """out/ with results, high/ with references of other endings, low/ with what they were made of."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, reference) in enumerate((("a", "a.bmp"), ("b_enhanced", "b.png"), ("deep/c", "deep/c.tif"))):
        picture, other = _pair((20, 30), seed=seed)
        write(picture, tmp_path / f"out/{name}.png")
        write(other, tmp_path / "high" / reference)
        write(picture // 2, tmp_path / "low" / reference)
    return tmp_path


def score(*words):
    return cli.main(["score", *words])


@pytest.mark.parametrize("suffix", ["_enhanced", "_denoised", "_completed", "_upscaled"])
def test_results_of_every_command_find_their_references(album, suffix, capsys):
    """What a command puts behind the name does not hide the reference."""
    (album / "out/b_enhanced.png").rename(album / f"out/b{suffix}.png")
    assert score("out", "--reference", "high", "-r") == 0
    assert f"out/b{suffix}.png" in capsys.readouterr().out


def test_photographs_find_their_references(album, capsys):
    """By name without the ending, with or without what enhance puts behind it, and in mirrored folders; a table."""
    assert score("out", "--reference", "high", "-r") == 0
    head, *rows, mean = capsys.readouterr().out.splitlines()
    assert head.split() == ["psnr", "ssim", "gt_mean_psnr", "photograph"]
    assert [row.split()[-1] for row in rows] == ["out/a.png", "out/b_enhanced.png", "out/deep/c.png"]
    for seed, row in enumerate(rows):
        wanted = with_reference(*_pair((20, 30), seed=seed))
        assert [float(word) for word in row.split()[:3]] == pytest.approx(list(wanted.values()), abs=1e-4)
    assert mean.endswith("mean of 3")
    assert float(mean.split()[0]) == pytest.approx(np.mean([float(row.split()[0]) for row in rows]), abs=1e-3)


def test_one_reference_for_all(album, capsys):
    """A file is the reference of every photograph; so is one source."""
    assert score("out", "--reference", "high/a.bmp", "--source", "low/a.bmp", "--json") == 0
    *photographs, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert all(photo["reference"] == "high/a.bmp" and photo["source"] == "low/a.bmp" for photo in photographs)
    assert {"psnr", "ssim", "level", "noise"} <= set(photographs[0]["scores"])
    assert last["summary"]["scored"] == 2 and last["summary"]["failed"] == 0
    assert last["summary"]["mean"]["psnr"] == pytest.approx(np.mean([p["scores"]["psnr"] for p in photographs]))


def test_without_options_words_are_told(album, capsys):
    """What a photographer sees: a dark noisy photograph, a burnt one, a good one."""
    rng, soft = np.random.default_rng(0), np.add.outer(np.linspace(0.3, 0.45, 256), np.linspace(0, 0.15, 256))
    cases = {"night": 0.2 * soft + 14 / 255 * rng.standard_normal(soft.shape), "good": soft,
             "burnt": np.where(np.arange(256) < 64, 1.0, soft)}
    for name, grey in cases.items():
        write(np.rint(255 * grey[..., None].repeat(3, 2).clip(0, 1)).astype(np.uint8), album / f"seen/{name}.png")
    assert score("seen") == 0
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert lines["seen/night.png"].startswith("very dark (brightness 0.") and "noise 1" in lines["seen/night.png"]
    assert "25.0 % burnt out" in lines["seen/burnt.png"] and "0.0 % burnt out" in lines["seen/good.png"]
    assert "no noise seen, no blocks, no cast" in lines["seen/good.png"]
    assert PhotoFaults(0.4, 0, 0, 0, False, "green").words.endswith("a green cast")
    assert score("seen", "--json") == 0
    *photographs, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert all({"brightness", "burnt", "black", "noise", "blocks"} == set(one["scores"]) and one["words"]
               for one in photographs) and last["summary"]["mean"]["burnt"] > 0


def test_with_terms_the_terms_are_told(album, capsys):
    """The columns are the level and the terms."""
    assert score("out/a.png", "--terms") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "level" and "exposure" in head and "psnr" not in head and row.endswith("out/a.png")


def test_what_cannot_be_scored_is_told(album, capsys):
    """No partner, several, another size, a damaged file: each is named, the others are scored, the status is 2."""
    write(np.zeros((20, 30, 3), np.uint8), album / "out/lone.png")
    write(np.zeros((20, 31, 3), np.uint8), album / "out/wide.png")
    write(np.zeros((20, 30, 3), np.uint8), album / "high/wide.png")
    for name in ("high/many.bmp", "high/many.tif", "out/many.png"):
        write(np.zeros((20, 30, 3), np.uint8), album / name)
    (album / "out/bad.png").write_text("no picture")
    (album / "high/bad.png").write_text("no picture")
    assert score("out", "--reference", "high") == 2
    printed = capsys.readouterr()
    failed = sorted(line for line in printed.err.splitlines())
    assert [line.split(":")[1].strip() for line in failed] == [f"out/{n}.png" for n in ("bad", "lone", "many", "wide")]
    assert "no file of its name" in failed[1] and "several files" in failed[2] and "31x20" in failed[3]
    assert printed.out.splitlines()[-1].endswith("mean of 2")


@pytest.mark.parametrize("words, told", [
    (["nowhere.png"], "no such file"), (["out", "--reference", "nowhere"], "no such file"), (["-"], "no name"),
    (["out", "--exposure", "2"], "--exposure must lie"), (["out", "--source", "empty"], "holds no picture"),
])
def test_bad_words_are_answered_in_a_line(album, capsys, words, told):
    """Status 2 and one line."""
    (album / "empty").mkdir()
    assert score(*words) == 2
    printed = capsys.readouterr().err
    assert told in printed and printed.count("\n") == 1


def picture_of(height, width, seed=0, dtype=np.uint8):
    """Dark at the left, bright at the right, with noise, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1.05, width)[None, :, None] * (0.6 + 0.4 * rng.random((1, 1, 3)))
    noisy = (ramp + rng.normal(0, 0.05, (height, width, 3))).clip(0, 1)
    return np.rint(noisy * np.iinfo(dtype).max).astype(dtype)


class Looked(Transition):
    """A transition that records whether its initial picture is read."""

    looked = False

    def __getattribute__(self, name):
        if name == "initial":
            object.__setattr__(self, "looked", True)
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("size, dtype", [((40, 50), np.uint8), ((7, 9), np.uint8), ((90, 700), np.uint16)])
def test_costs_are_those_of_the_reward_terms(size, dtype):
    """All terms that need no reference, in their order; and which of them compare with the original."""
    picture, origin = picture_of(*size, 0, dtype), picture_of(*size, 1, dtype)
    terms = {name: TERMS[name] for name in TERMS if TERMS[name].kind == "state" and not TERMS[name].reference
             and TERMS[name].cost.__module__.startswith("rlenhance.")}
    assert list(COSTS) == list(terms)
    image, initial = (limit_side(to_tensor(part), SIDE) for part in (picture, origin))
    found = without_reference(picture, origin, 0.4)
    for name, term in terms.items():
        transition = Looked(image, image, initial, torch.zeros(1, 1, 1, 1),
                            {"exposure_level": torch.full((1, 1, 1, 1), 0.4)})
        assert found[name] == pytest.approx(term.cost(image, transition).mean().item(), abs=2e-5), name
        assert (name in RELATIVE) == transition.looked, name
    assert found["level"] == pytest.approx(full_reference.mean_level(image).item(), abs=1e-6)


@pytest.mark.parametrize("size", [(30, 41), (4, 20)])
def test_similarity_is_that_of_the_metric(size):
    """At every pixel, also where the window is larger than the picture."""
    one, other = (picture_of(*size, seed) for seed in (0, 1))
    theirs = full_reference.ssim_map(to_tensor(one), to_tensor(other))[0].permute(1, 2, 0).numpy()
    ours = ssim_map(*(part.astype(np.float32) / 255 for part in (one, other)))
    assert np.abs(ours - theirs).max() < 1e-4

"""`rlenhance enhance --denoiser RUN`: a policy and any denoiser in one call, in files of every kind."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from rlenhance.cli.main import main as command
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.models.published.ffdnet import gain_map
from rlenhance.learning.ops.image import to_tensor
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from tests.support.networks import CHOICE, make_tone, stir


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with runs of two policies and five denoisers, and a dark photograph."""
    monkeypatch.chdir(tmp_path)
    made = {
        "rellie": MODELS.create("rellie", width=4, horizon=2), "tone": make_tone(preferences=CHOICE, auto=()),
        "ffdnet": MODELS.create("ffdnet", width=4, layers=2),
        "learned": MODELS.create("denoiser", widths=(4, 4), down=(1, 1), up=(1,)),
        "filters": MODELS.create("filter_policy", backbone={"name": "fcn", "width": 4}, horizon=2),
        "pixelrl": MODELS.create("pixelrl", width=4, horizon=2, channels=1),
        "restorer": MODELS.create("restorer", backbone={"name": "fcn", "width": 4}, statistics=False),
    }
    for number, (name, network) in enumerate(made.items()):
        torch.manual_seed(number)
        save_checkpoint(tmp_path / name / "best", stir(network, 0.3))
    write(np.random.default_rng(0).integers(5, 60, (22, 30, 3), dtype=np.uint8), tmp_path / "night.png")
    return tmp_path


@pytest.mark.parametrize("policy", ["rellie", "tone"])
@pytest.mark.parametrize("denoiser", ["ffdnet", "learned", "filters", "pixelrl", "restorer"])
def test_every_kind_of_denoiser_works_behind_every_policy(runs, policy, denoiser):
    """The result differs from the policy's own, --denoise mixes, and a pickled copy gives the same picture."""
    dark = read("night.png").pixels
    plain, both = Enhancer(policy)(dark), Enhancer(policy, denoiser=denoiser)
    assert both.settings.denoise == 1
    result = both(dark)
    assert result.dtype == dark.dtype and not np.array_equal(result, plain)
    half = Enhancer(policy, denoiser=denoiser, denoise=0.5)(dark).astype(float)
    assert np.abs(half - (result.astype(float) + plain) / 2).max() <= 1
    assert np.array_equal(pickle.loads(pickle.dumps(both))(dark), result)
    assert np.array_equal(both.with_settings(denoise=0)(dark), plain)


def test_rellie_and_ffdnet_in_one_call_are_the_published_pipeline(runs):
    """The policy, then FFDNet once, with the stretched gain of every value as its noise map."""
    assert command(["enhance", "night.png", "--model", "rellie", "--denoiser", "ffdnet", "-o", "both.png"]) == 0
    dark = read("night.png").pixels
    bright = Enhancer("rellie")(dark)
    expected = Denoiser("ffdnet").clean(bright, gain_map(to_tensor(dark), to_tensor(bright)).numpy())
    assert np.array_equal(read("both.png").pixels, expected)


def test_a_policy_over_filters_is_the_command_denoise_behind_enhance(runs):
    """A denoiser that is told no noise gives what `rlenhance denoise --model` makes of the enhanced file."""
    for words in (["enhance", "night.png", "-m", "tone", "-o", "bright.png"],
                  ["denoise", "bright.png", "-m", "filters", "-o", "two.png"],
                  ["enhance", "night.png", "-m", "tone", "--denoiser", "filters", "-o", "one.png"]):
        assert command(words) == 0
    assert np.array_equal(read("one.png").pixels, read("two.png").pixels)


def test_folders_depth_and_transparency_are_kept(runs):
    """A folder of pictures of 16 bits, with alpha and grey: the same kinds come out."""
    dark = read("night.png").pixels
    write(dark.astype(np.uint16) * 257, runs / "in" / "deep.png")
    alpha = np.full((*dark.shape[:2], 1), 90, np.uint8)
    Image.fromarray(np.concatenate([dark, alpha], axis=2)).save(runs / "in" / "veiled.png")
    assert command(["enhance", "in", "-m", "rellie", "--denoiser", "ffdnet", "-o", "out"]) == 0
    deep, veiled = read(runs / "out" / "deep.png"), read(runs / "out" / "veiled.png")
    assert deep.pixels.dtype == np.uint16 and len(np.unique(deep.pixels % 257)) > 1
    assert veiled.alpha is not None and (veiled.alpha == 90).all()
    assert np.abs(deep.pixels / 257 - veiled.pixels).mean() < 2  # up to what rounding in 8 bits costs


def test_a_recipe_keeps_the_denoiser(runs, capsys):
    """It repeats the picture, and refuses other weights of the denoiser."""
    words = ["enhance", "night.png", "-m", "tone", "--denoiser", "ffdnet", "--denoise", "0.8"]
    assert command([*words, "--save-recipe", "look.json"]) == 0
    assert json.loads((runs / "look.json").read_text())["denoiser"] == "ffdnet"
    assert command(["enhance", "night.png", "--recipe", "look.json", "-o", "again.png"]) == 0
    assert np.array_equal(read("again.png").pixels, read("night_enhanced.png").pixels)
    assert command(["enhance", "night.png", "--recipe", "look.json", "--denoiser", "learned", "-o", "x.png"]) == 2
    assert "leave out --denoiser" in capsys.readouterr().err
    save_checkpoint(runs / "ffdnet" / "best", stir(MODELS.create("ffdnet", width=4, layers=2)))
    assert command(["enhance", "night.png", "--recipe", "look.json", "-o", "x.png"]) == 2
    assert "was made with the denoiser ffdnet" in capsys.readouterr().err


@pytest.mark.parametrize("words, said", [
    (["--denoiser", "tone"], "the denoiser tone: a model to enhance, not to denoise; name a shipped one"),
    (["--denoiser", "nothing"], "nothing: no such run"),
    (["--denoiser", "ffdnet", "--denoise", "0"], "denoise 0 takes nothing out: leave out the denoiser ffdnet"),
    (["--denoiser", "ffdnet", "--denoise", "1.5"], "denoise must lie between 0 and 1"),
])
def test_wrong_denoisers_are_refused_in_words(runs, capsys, words, said):
    """One line, and no file is written."""
    assert command(["enhance", "night.png", "-m", "tone", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (runs / "night_enhanced.png").exists()

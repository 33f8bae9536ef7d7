"""`rlenhance enhance --reward TERM=WEIGHT`: weights become the preferences of a policy that was trained for them."""

import json

import numpy as np
import pytest

from rlenhance.cli.main import main as command
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.learning.data import ImageCache, load_split, sample_photographs
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.ops.image import to_array
from rlenhance.learning.rewards import TERMS
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import EnhanceSettings
from rlenhance.pipelines.reward_weights import PREFERENCES_OF_TERMS, apply_reward
from tests.support.networks import make_tone, stir

RANGES = {"exposure_level": (0.2, 0.475, 0.7), "color": (-1, 0, 1), "highlights": (0, 0, 1)}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A conditioned policy, one that is not, and a dark photograph."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "tone" / "best", stir(make_tone(), 0.3))
    save_checkpoint(tmp_path / "rellie" / "best", MODELS.create("rellie", width=4, horizon=2))
    write(np.random.default_rng(0).integers(5, 60, (22, 30, 3), dtype=np.uint8), tmp_path / "night.png")
    return tmp_path


def test_every_term_with_a_preference_can_be_weighed():
    """The map has the registry's terms, and every name in it is a term."""
    assert {name for name in TERMS if TERMS[name].preference} <= set(PREFERENCES_OF_TERMS) <= set(TERMS)


def test_weights_say_what_they_become():
    """A line for each; a weight of the training's own is no change of the exposure, and 0 leaves a preference out."""
    found, lines = apply_reward(EnhanceSettings(), {"exposure": 0.9, "color_preference": 0.5}, RANGES)
    assert lines == ["exposure 0.9 -> --exposure-shift -0.10", "color_preference 0.5 -> --color +0.50"]
    assert found == EnhanceSettings(preference={"color": 0.5}, exposure_shift=-0.1)
    same, _ = apply_reward(EnhanceSettings(), {"exposure": 1.0}, RANGES)
    assert same == EnhanceSettings()


@pytest.mark.parametrize("reward, said", [
    ({"clipping": 3}, "clipping=3 cannot be set; at use time it takes exposure=W, color=W, color_preference=W"),
    ({"color": 2}, "color must lie between -1 and 1"), ({"color": -1}, "must not be negative"),
    ({"exposure": 3}, "a weight of exposure lies between 0 and 2"), ({"colour": 1}, "did you mean"),
    ({"exposure": float("nan")}, "must be a finite number"),
])
def test_other_weights_are_refused_in_words(reward, said):
    """Outside the range, unknown, no number, or settled by the training."""
    with pytest.raises(UsageError) as error:
        apply_reward(EnhanceSettings(), reward, RANGES)
    assert said in str(error.value)


def test_a_preference_and_a_weight_for_the_same_are_refused(runs, capsys):
    """The message has the flag and the weight."""
    assert command(["enhance", "night.png", "-m", "tone", "--color", "0.2", "--reward", "color=0.5"]) == 2
    assert "the preference --color and the weight color=0.5 ask for the same" in capsys.readouterr().err


def test_the_command_says_how_and_equals_the_flags_and_python(runs, capsys):
    """The printed flags make the same picture, and so does Enhancer(reward=...)."""
    words = ["enhance", "night.png", "-m", "tone"]
    assert command([*words, "--reward", "exposure=1.2", "color=0.5", "-o", "a.png"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["exposure 1.2 -> --exposure-shift +0.20", "color 0.5 -> --color +0.50"]
    flags = [word for line in out[:2] for word in line.partition(" -> ")[2].split()]
    assert command([*words, *flags, "-o", "b.png"]) == 0
    a, b = read("a.png").pixels, read("b.png").pixels
    assert np.array_equal(a, b) and not np.array_equal(a, Enhancer("tone")(read("night.png").pixels))
    assert np.array_equal(a, Enhancer("tone", reward={"exposure": 1.2, "color": 0.5})(read("night.png").pixels))


@pytest.mark.parametrize("shift", [-1, -0.1, 0.15, 1])
def test_a_shift_moves_the_level_of_each_picture(runs, shift):
    """From where the model would be, automatic or named, to the ends of its range at most."""
    dark = read("night.png").pixels
    level = Enhancer("tone").automatic_exposure(dark)
    low, _, high = Enhancer("tone").preference_ranges["exposure_level"]
    for named in (None, 0.4):
        wanted = min(max((level if named is None else named) + shift, low), high)
        moved = Enhancer("tone", preference={"exposure_level": named}, exposure_shift=shift)
        assert np.array_equal(moved(dark), Enhancer("tone", preference={"exposure_level": wanted})(dark))


def test_a_model_without_exposure_refuses_the_shift(runs):
    """By name."""
    with pytest.raises(UsageError, match="takes no exposure_level"):
        Enhancer("rellie", exposure_shift=0.1)


def test_recipes_and_presets_keep_weights(runs, capsys):
    """A recipe has what they became, a preset of one's own the weights; explicit weights beat those of the preset."""
    (runs / "mine.json").write_text(json.dumps({"reward": {"exposure": 1.1, "color": 0.5}}))
    assert command(["enhance", "night.png", "-m", "tone", "--preset", "mine.json", "--reward", "color=0.25",
                    "--save-recipe", "look.json"]) == 0
    assert "color 0.25 -> --color +0.25" in capsys.readouterr().out
    assert json.loads((runs / "look.json").read_text())["settings"]["exposure_shift"] == pytest.approx(0.1)
    assert command(["enhance", "night.png", "--recipe", "look.json", "-o", "again.png"]) == 0
    assert np.array_equal(read("again.png").pixels, read("night_enhanced.png").pixels)
    (runs / "bad.json").write_text(json.dumps({"reward": {"exposure": "1.1"}}))
    assert command(["enhance", "night.png", "-m", "tone", "--preset", "bad.json", "-o", "x.png"]) == 2
    assert "bad.json: reward must be an object of numbers" in capsys.readouterr().err


def test_variants_show_the_weights_of_a_preset(runs):
    """A preset of weights alone is shown with what they ask for, and not as the default."""
    (runs / "mine.json").write_text(json.dumps({"reward": {"exposure": 1.3}}))
    assert command(["variants", "night.png", "-m", "tone", "--exposures", "--presets", "mine.json", "-o", "a.png"]) == 0
    dark, sheet = read("night.png").pixels, read("a.png").pixels
    mine = Enhancer("tone").with_reward({"exposure": 1.3})(dark)
    assert np.array_equal(mine, Enhancer("tone", reward={"exposure": 1.3})(dark))
    places = np.lib.stride_tricks.sliding_window_view(sheet, mine.shape)[:, :, 0]
    assert (places == mine).all(axis=(2, 3, 4)).any()


def test_a_model_of_settled_weights_names_the_training(runs, capsys):
    """For a policy without preferences, and for a word that is no weight."""
    assert command(["enhance", "night.png", "-m", "rellie", "--reward", "exposure=1.2", "color=0.5"]) == 2
    said = capsys.readouterr().err
    assert "exposure=1.2 cannot be set" in said
    assert "python -m rlenhance.experiments.lol_train --reward exposure=1.2 color=0.5" in said
    assert command(["enhance", "night.png", "-m", "tone", "--reward", "exposure"]) == 2
    assert "a reward is written name=weight" in capsys.readouterr().err


def _spread(pixels):
    return (pixels.max(axis=2).astype(float) - pixels.min(axis=2)).mean()


@pytest.mark.parametrize("term, weights, measure", [
    ("exposure", (0.75, 0.9, 1, 1.1, 1.25), np.mean), ("color", (0, 0.5, 1), _spread)])
def test_the_shipped_model_follows_weights(term, weights, measure):
    """More weight on the exposure is a brighter picture, more on the colour a stronger one, on each sample."""
    splits = sample_photographs()
    pictures = [to_array(batch.image)[::4, ::4] for batch in load_split(splits.val, ImageCache(0))]
    for picture in pictures:
        found = [measure(Enhancer("natural", reward={term: weight})(picture)) for weight in weights]
        assert (np.diff(found) > 0).all()


def test_an_unknown_term_is_told_the_terms_by_name(tmp_path, capsys):
    """Some terms are called like a preference; in that list they are not flags."""
    write(np.full((8, 8, 3), 20, np.uint8), tmp_path / "dark.png")
    assert command(["enhance", str(tmp_path / "dark.png"), "--reward", "exposre=1"]) == 2
    told = capsys.readouterr().err
    assert "exposre" in told and " color," in told and "--" not in told

"""Obeying and adapting are measured: what answers is told from what does not."""

import json
from types import SimpleNamespace

import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.experiments.tasks.controllability import RESPONSES, adaptivity, controllability, defaults, well_exposed
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import GreedyEpisode
from rlenhance.pipelines.options import PREFERENCE_FLAGS
from tests.support.networks import make_model, make_policy, stir

KNOBS = {"exposure_level": (0.2, 0.475, 0.7), "contrast": (-1, 0, 1), "color": (-1, 0, 1), "smoothness": (0, 0.5, 1),
         "highlights": (0, 0.5, 1)}


class Answering(GreedyEpisode):
    """A model with every knob that answers by a rule: sense 1 obeys, -1 does the opposite, 0 is deaf."""

    def __init__(self, sense=1, ranges=KNOBS, auto=()):
        super().__init__(make_policy())
        self.sense, self.asked = sense, []
        self.policy.preferences = SimpleNamespace(ranges=ranges, auto=auto)

    def forward(self, image, mask=None, preference=None):
        self.asked.append(dict(preference or {}))
        value = {name: default for name, (_, default, _) in KNOBS.items()}
        value |= {name: number for name, number in (preference or {}).items() if number is not None}
        turn = {name: self.sense * (value[name] - default) for name, (_, default, _) in KNOBS.items()}
        grey, drift = image.mean(dim=1, keepdim=True), torch.linspace(-1, 1, image.shape[-1])
        result = grey + (1 + 0.5 * turn["color"]) * (image - grey)
        result = result.mean() + (1 + 0.5 * turn["contrast"]) * (result - result.mean())
        result = result * (1 + (1 - turn["smoothness"]) * 0.2 * drift)
        result = result.clamp(max=result.max().item() * (0.8 - 0.2 * turn["highlights"]))
        return (result + 0.475 + turn["exposure_level"] - result.mean()).clamp(0, 1)


@pytest.fixture
def pictures(generator):
    """Three coloured pictures of middling contrast, with references."""
    images = 0.2 + 0.2 * torch.rand(3, 3, 4, 5, generator=generator)
    images = torch.nn.functional.interpolate(images, (24, 40), mode="bilinear")
    return [Batch(image, (image * 1.5).clamp(0, 1)) for image in images.split(1)]


def test_every_knob_has_its_measure():
    """What the command line can turn can be measured."""
    assert set(RESPONSES) == set(PREFERENCE_FLAGS)


def test_an_obedient_model_scores_full_marks(pictures):
    """Every level is met, every measure rises with its knob; a picture is enhanced once for each setting."""
    model = Answering()
    answers = controllability(model, pictures)
    assert set(answers) == set(KNOBS)
    level = answers.pop("exposure_level")
    assert level["error"] < 0.002 and level["error_95"] < 0.003
    assert level["within_0.05"] == level["ordered"] == 1 and level["rank"] == pytest.approx(1)
    for name, answer in answers.items():
        assert answer["rises"] == 1 and answer["change"] > 1e-3, name
    assert len(model.asked) == 3 * (9 + 4 * 5)


def test_a_deaf_model_and_a_contrary_one_are_found_out(pictures):
    """A deaf model has no rank and moves nothing; a contrary one has the opposite rank and never rises."""
    deaf, contrary = controllability(Answering(0), pictures), controllability(Answering(-1), pictures)
    assert deaf["exposure_level"]["rank"] == deaf["exposure_level"]["ordered"] == 0
    assert deaf["exposure_level"]["error"] == pytest.approx(0.116, abs=0.01)  # mean distance of the levels from 0.475
    assert contrary["exposure_level"]["rank"] == pytest.approx(-1)
    for name in set(KNOBS) - {"exposure_level"}:
        assert deaf[name]["change"] == pytest.approx(0, abs=1e-6) and deaf[name]["rises"] == 1
        assert contrary[name]["change"] < -1e-3 and contrary[name]["rises"] == 0


def test_only_what_the_policy_takes_is_asked(pictures):
    """Levels stay in the policy's range, its own choice stands where it has one, and no knobs are refused."""
    model = Answering(ranges={"exposure_level": (0.3, 0.4, 0.5), "warmth": (0, 0, 1)})
    assert set(controllability(model, pictures[:1])) == {"exposure_level"}
    assert {min(asked.values()) for asked in model.asked} >= {0.3} and max(max(a.values()) for a in model.asked) == 0.5
    model = Answering(ranges={name: KNOBS[name] for name in ("exposure_level", "color")}, auto=("exposure_level",))
    controllability(model, pictures[:1])
    assert [a for a in model.asked if "color" in a] == [
        {"exposure_level": None, "color": value} for value in (-1, -0.5, 0, 0.5, 1)]
    assert defaults(model) == {"exposure_level": None} and defaults(Answering()) == {}
    with pytest.raises(UsageError, match="nothing to obey"):
        controllability(GreedyEpisode(make_policy()), pictures)


def test_a_real_policy_can_be_asked(pictures):
    """An untrained network takes every level and every end of its ranges."""
    answers = controllability(GreedyEpisode(stir(make_policy(preferences=KNOBS))), pictures[:1])
    assert set(answers) == set(KNOBS) and 0 < answers["exposure_level"]["error"] < 1


def test_leaving_alone_is_told_from_brightening(pictures):
    """No change is 0 %, a gain of 1; a doubling is a gain of 2, in the shadows too, and clips what it clips."""
    good = [batch.target for batch in pictures]
    same = adaptivity(lambda image: image, pictures, good)
    assert same["change"] == same["clipped"] == 0 and same["few_clipped"] == same["shadow_gain"] == 1
    assert same["well_exposed"] == 3 and same["constant_psnr"] > 45
    doubled = adaptivity(lambda image: image * 2, pictures, good)
    assert doubled["shadow_gain"] == pytest.approx(2) and doubled["change"] > 20
    burnt = pictures[0].image.clone()
    burnt[..., :6, :] = 0.5
    clipped = adaptivity(lambda image: image * 2, [Batch(burnt), Batch(burnt / 3)], [])
    assert clipped["clipped"] == pytest.approx(0.125) and clipped["few_clipped"] == 0.5
    assert "change" not in clipped and clipped["well_exposed"] == 0


def test_the_models_own_choice_is_measured(pictures):
    """Where a policy can choose the level itself, it is told to."""
    model = Answering(auto=("exposure_level",))
    adaptivity(model, pictures, [])
    assert model.asked == [{"exposure_level": None}] * 3


def test_well_exposed_pictures_are_references_that_need_nothing(generator):
    """Dark, bright and burnt references are left out, one that stands twice counts once; else there are samples."""
    image, good = torch.zeros(1, 3, 20, 20), 0.45 + 0.1 * torch.rand(1, 3, 20, 20, generator=generator)
    burnt = good.clone()
    burnt[:, 0, :2] = 1
    chosen = well_exposed([Batch(image, part) for part in (good, good * 0.5, good * 1.5, burnt, good.clone())], 64)
    assert len(chosen) == 1 and torch.equal(chosen[0], good)
    samples = well_exposed([Batch(image), Batch(image, image)], 48)
    assert samples and all(max(sample.shape[-2:]) == 48 and 0.4 <= sample.mean() <= 0.6 for sample in samples)


@pytest.fixture
def run(tmp_path):
    """An untrained policy that takes every knob."""
    return save_checkpoint(tmp_path / "run", stir(make_policy(preferences=KNOBS)))


def test_the_command_prints_what_it_returns_and_writes_nothing(tmp_path, pairs, run, capsys):
    """--controllability, --adaptivity and --scenes come together or alone, as a table or as JSON."""
    before = sorted(tmp_path.rglob("*"))
    arguments = dict(data=pairs, split="val", side=32)
    tables = evaluate(EvaluateConfig(tmp_path / "run", controllability=True, adaptivity=True, scenes=True, json=True,
                                              **arguments))
    assert json.loads(capsys.readouterr().out) == {"split": "val", **tables}
    assert set(tables) == {"controllability", "adaptivity", "scenes"} and set(tables["controllability"]) == set(KNOBS)
    assert set(tables["scenes"]) == {"backlit", "lamp", "corner", "low contrast", "middle contrast"}  # two pictures
    for option in tables:
        shown = evaluate(EvaluateConfig(tmp_path / "run", **{option: True}, **arguments))
        assert shown == {option: tables[option]}
        assert text_table(tables[option]) in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words, told", [
    (["--controllability", "--watch"], "--watch goes with the scores"),
    (["--controllability", "--side", "8"], "--side"),
    (["--scenes", "--model", "plain"], "--scenes is for policies"),
    (["--controllability", "--model", "plain"], "--controllability is for"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_measured_is_told(tmp_path, pairs, run, capsys, words, told):
    """A network that takes no actions, and options that do not go together, are refused in a line."""
    place = "run"
    if "plain" in words:
        words, place = words[:-2], "plain"
        save_checkpoint(tmp_path / place, make_model("restorer"))
    assert run_cli(evaluate, EvaluateConfig, [str(tmp_path / place), "--data", str(pairs), *words]) == 2
    assert told in capsys.readouterr().err


def test_adapting_is_measured_of_any_model(tmp_path, pairs, capsys):
    """A network that acts in one pass adapts or not, too."""
    save_checkpoint(tmp_path / "plain", make_model("restorer"))
    tables = evaluate(EvaluateConfig(tmp_path / "plain", data=pairs, adaptivity=True, side=32))
    assert tables["adaptivity"]["shadow_gain"] > 0


def test_tables_put_numbers_under_their_names():
    """Numbers stand a line each, rows under their columns, and a row of other columns begins a new head."""
    assert text_table({"psnr": 21.5}).split() == ["psnr", "21.5000"]
    lines = text_table({"a": {"x": 1.0}, "b": {"x": 2.0}, "c": {"y": 3.0}}).splitlines()
    assert [line.split() for line in lines] == [["x"], ["a", "1.0000"], ["b", "2.0000"], ["y"], ["c", "3.0000"]]
    assert text_table({"lamp": {"input": {"psnr": 9.0}}}).split() == ["lamp", "psnr", "input", "9.0000"]

"""Rewards of one's own: found, tried, followed, kept with the run, and not needed where nothing is rewarded."""

import dataclasses
import json
import shutil
import sys

import pytest
import torch

from rlenhance.agents import A3C, SAC, Direct
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import gather, train_command
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights, Transition, load_terms, state_term
from rlenhance.learning.rewards.custom import SOURCES, nondifferentiable, validate_term
from tests.support.training import SMALL

pytestmark = pytest.mark.usefixtures("no_curves")

HEAD = "import numpy as np\nimport torch\nfrom rlenhance.learning.rewards import action_term, state_term\n"
LEVELS = """
def levels(image, transition):
    '''Distinct grey levels, counted by NumPy.'''
    pictures = (image.detach().mean(dim=1) * 255).round().byte().cpu().numpy()
    return -torch.tensor([len(np.unique(one)) / 256 for one in pictures]).view(-1, 1, 1, 1)
"""


def forget():
    """What a new process would not know."""
    for name in [name for name in TERMS if not TERMS[name].cost.__module__.startswith("rlenhance.")]:
        TERMS.remove(name)
    SOURCES.clear()
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty current folder that Python does not look into yet; afterwards every term is forgotten."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield folder
    forget()


def write_module(folder, text, name="own_terms"):
    (folder / f"{name}.py").write_text(HEAD + text)


def train(folder, *words, name="run"):
    """The status of a tiny training run."""
    return train_command(LOWLIGHT, [
        "--out", str(folder), "--name", name, "--updates", "2", "--batch-size", "2", "--device", "cpu", "--no-progress",
        "--state-size", "16", "--horizon", "2", *words])


def test_a_plain_function_and_registered_ones_become_terms(place):
    """A function counts with weight 1 under its name; a registered one keeps its own name, kind and weight."""
    write_module(place, LEVELS + """
@state_term("reds", default=0.5)
def redness(image, transition):
    return image[:, :1]

@action_term("boldness")
def boldness(strength, previous):
    return strength.abs().mean(dim=1, keepdim=True)
""")
    assert load_terms(["own_terms:levels", "own_terms:redness", "own_terms:boldness"]) == ["levels", "reds", "boldness"]
    assert [TERMS[name].kind for name in ("levels", "reds", "boldness")] == ["state", "state", "action"]
    assert [RewardWeights()[name] for name in ("levels", "reds", "boldness")] == [1.0, 0.5, 0.0]
    assert load_terms(["own_terms:reds", "own_terms:levels"]) == ["reds", "levels"]  # once more, or by the term's name
    assert TERMS["levels"].summary == "Distinct grey levels, counted by NumPy."


@pytest.mark.parametrize("source, text, wanted", [
    ("levels", "", "module:function"),
    ("own_terms.py:levels", "", "module:function"),
    ("own/terms:levels", "", "module:function"),
    ("own_missing:levels", "", "no module 'own_missing'"),
    ("own_terms:level", LEVELS, "no function 'level'; it has levels"),
    ("own_terms:level", "", "it has none"),
    ("own_terms:f", "def f(image): return image", "cannot be called as f(image, transition)"),
    ("own_terms:f", "import own_needed", "needs the module own_needed"),
    ("own_terms:f", "1 / 0", "ZeroDivisionError"),
    ("own_terms:f", "def f(:", "SyntaxError"),
    ("own_terms:exposure", "def exposure(image, transition): return image[:, :1]", "the name exposure is taken"),
    ("own_terms:f", "@state_term('exposure')\ndef f(image, transition): return image[:, :1]", "registered already"),
    ("own_terms:f", "def f(image, transition): return image.mean()", r"(N, 1, 1, 1), (N, 1, h, w) or (N, 1, H, W)"),
    ("own_terms:f", "def f(image, transition): return image.mean(dim=(1, 2, 3))", "gave a tensor (6,)"),
    ("own_terms:f", "def f(image, transition): return image", "gave a tensor (6, 3, 64, 64)"),
    ("own_terms:f", "def f(image, transition): return image.mean().view(1, 1, 1, 1)", "gave a tensor (1, 1, 1, 1)"),
    ("own_terms:f", "def f(image, transition): return image.numpy()", "gave a ndarray"),
    ("own_terms:f", "def f(image, transition): return image[:, :1] / 0", "must be finite"),
    ("own_terms:f", "def f(image, transition): return image[:, 7:8] @ image", "own_terms.py, line 4"),
])
def test_what_cannot_be_a_term_is_refused(place, source, text, wanted):
    """The module, what it has, what it gave and the shapes that are allowed; nothing stays registered."""
    if text:
        write_module(place, text)
    elif source == "own_terms:level":
        write_module(place, "")
    before = list(TERMS)
    with pytest.raises(UsageError) as caught:
        load_terms([source])
    assert wanted in str(caught.value)
    assert list(TERMS) == before and not SOURCES


def test_a_term_that_was_mended_loads(place):
    """After an error the module is read anew."""
    write_module(place, "@state_term('f')\ndef f(image, transition): return image.mean()")
    with pytest.raises(UsageError, match="f must give"):
        load_terms(["own_terms:f"])
    write_module(place, "@state_term('f')\ndef f(image, transition): return image[:, :1].mean(dim=1, keepdim=True)")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    assert load_terms(["own_terms:f"]) == ["f"]


def test_numbers_of_another_type_become_the_pictures(place, generator):
    """A double-precision or whole cost, as NumPy gives it, is a reward like any other."""
    write_module(place, LEVELS + "\ndef ones(image, transition): return (image[:, :1] > 0.5).long()\n")
    load_terms(["own_terms:levels", "own_terms:ones"])
    before, after = torch.rand(2, 2, 3, 8, 8, generator=generator)
    levels = {"exposure_level": torch.full((1, 1, 1, 1), 0.5)}
    terms = Reward(RewardWeights.only(levels=1, ones=1)).terms(
        Transition(before, after, before, torch.zeros(2, 1, 1, 1), levels))
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert terms["levels"].shape == (2, 1, 1, 1) and terms["ones"].shape == (2, 1, 8, 8)


def test_terms_of_the_project_pass_the_trial():
    """Every built-in term is accepted, by every learner."""
    for name in TERMS:
        validate_term(TERMS[name])
    assert nondifferentiable(TERMS, {"state", "action"}) == []


def _rounds(image, transition):
    return (10 * image[:, :1]).round() / 10


def _counts(image, transition):
    return (image[:, :1] > 0.5).float()


def _cut(image, transition):
    return image.detach()[:, :1]


def _numpy(image, transition):
    return torch.from_numpy(image.numpy()[:, :1])


def _hinge(image, transition):
    return (image.mean(dim=(1, 2, 3), keepdim=True) - 0.9).clamp(min=0)


def _straight_through(image, transition):
    return image[:, :1] + (image.round() - image).detach()[:, :1]


@pytest.mark.parametrize("function, passes", [
    (_rounds, False), (_counts, False), (_cut, False), (_numpy, False), (_hinge, True), (_straight_through, True),
])
def test_direct_refuses_what_no_gradient_passes(function, passes):
    """Rounding, counting, detaching, NumPy: named by `direct`, taken by `a3c` and `sac`; at weight 0 by all."""
    state_term("tried")(function)

    def policy(kind):
        return MODELS.create("pixel_policy", actions={"name": "curve"}, backbone={"name": "compact", "width": 8},
                             horizon=2, decision_size=16, std_mode=kind.std_mode)

    reward = Reward(RewardWeights.only(tried=1, exposure=1))
    for kind in (A3C, SAC):
        kind(policy(kind), reward)
    Direct(policy(Direct), Reward(RewardWeights.only(tried=0, exposure=1)))
    if passes:
        Direct(policy(Direct), reward)
    else:
        with pytest.raises(UsageError, match=r"no gradient passes through the reward term tried.*a3c or sac.*tried=0"):
            Direct(policy(Direct), reward)


def test_an_action_term_needs_a_gradient_for_every_learner(place):
    """Learners take action terms on the mean action, by back-propagation."""
    write_module(place, "@action_term('busy')\ndef busy(strength, previous): return (strength > 0.1).float()[:, :1]\n")
    load_terms(["own_terms:busy"])
    policy = MODELS.create("pixel_policy", actions={"name": "curve"}, backbone={"name": "compact"}, decision_size=16)
    with pytest.raises(UsageError, match=r"no gradient passes through the reward term busy.*as a state term"):
        A3C(policy, Reward(RewardWeights.only(busy=1)))


@pytest.mark.parametrize("learner", ["a3c", pytest.param("sac", marks=pytest.mark.slow)])
def test_a_run_keeps_its_term(place, tmp_path, pairs, learner, capsys, monkeypatch):
    """It is in config.json; a run folder has no code imported: the term is named again, and found where its module
    lies, not where the folder says."""
    write_module(place, LEVELS)
    words = ["--data", str(pairs), "--learner", learner, "--reward-term", "own_terms:levels", "--reward", "levels=2"]
    assert train(tmp_path / "runs", *words) == 0
    assert "reward term levels: " in capsys.readouterr().out
    run = tmp_path / "runs" / "run"
    config = json.loads((run / "config.json").read_text())
    assert config["reward"]["weights"]["levels"] == 2
    assert config["reward_terms"]["levels"]["source"] == "own_terms:levels"
    assert config["reward_terms"]["levels"]["folder"] == str(place)
    assert "reward/levels" in (run / "metrics.csv").read_text().splitlines()[0]

    def resume(*named):
        forget()
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(place)])
        capsys.readouterr()
        status = train_command(LOWLIGHT, ["--resume", str(run), "--no-progress", *named])
        return status, capsys.readouterr().err

    again = ["--reward-term", "own_terms:levels"]
    status, error = resume()
    assert status == 2 and "--reward-term own_terms:levels" in error and "own_terms" not in sys.modules
    assert resume(*again) == (0, "")
    monkeypatch.chdir(tmp_path)
    status, error = resume(*again)
    assert status == 2 and "no module 'own_terms'" in error and f"it lay in {place}" in error
    monkeypatch.chdir(place)
    write_module(place, LEVELS + "\n# another\n")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    status, error = resume(*again)
    assert status == 0 and "own_terms.py is not what it was when the run began" in error
    (place / "own_terms.py").unlink()
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    status, error = resume(*again)
    assert status == 2 and "no module 'own_terms'" in error and str(place) in error and "put it back" in error


def test_the_module_is_needed_only_where_something_is_rewarded(place, tmp_path, pairs):
    """`rlenhance enhance`, `evaluate` and --init work without it."""
    write_module(place, LEVELS)
    assert train(tmp_path / "runs", "--data", str(pairs), "--reward-term", "own_terms:levels") == 0
    (place / "own_terms.py").unlink()
    forget()
    best = tmp_path / "runs" / "run" / "best"
    assert cli.main(["enhance", str(next((pairs / "low").iterdir())), "-o", str(place / "out.png"),
                     "--model", str(best)]) == 0
    assert (place / "out.png").is_file()
    scores = evaluate(EvaluateConfig(best.parent, data=pairs, split="val", watch=True))
    assert 0 < scores["psnr"] < 100
    assert train(tmp_path / "runs", "--data", str(pairs), "--init", str(best.parent), name="on") == 0


def test_direct_says_so_and_leaves_nothing_behind(place, tmp_path, pairs, capsys):
    """Status 2 before anything is written; with the weight 0 it trains and logs the term."""
    write_module(place, LEVELS)
    words = ["--data", str(pairs), "--learner", "direct", "--reward-term", "own_terms:levels"]
    assert train(tmp_path / "runs", *words) == 2
    assert "no gradient passes through the reward term levels" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert train(tmp_path / "runs", *words, "--reward", "levels=0") == 0
    assert "own_terms.py; its weight is 0, it is logged only" in capsys.readouterr().out
    best = json.loads((tmp_path / "runs" / "run" / "best" / "config.json").read_text())
    assert "val/reward/levels" in best["about"]["scores"]
    assert train(tmp_path / "runs", "--data", str(pairs), name="other") == 0  # its weight of 1 is no other run's
    kept = json.loads((tmp_path / "runs" / "other" / "config.json").read_text())
    assert kept["reward"]["weights"]["levels"] == 0 and kept["reward_terms"] == {}


@pytest.mark.slow
def test_workers_know_the_term(place, tmp_path, pairs):
    """Asynchronous workers are new processes; they load it too."""
    write_module(place, LEVELS)
    assert train(tmp_path / "runs", "--data", str(pairs), "--reward-term", "own_terms:levels", "--workers", "2") == 0


def test_a_comparison_takes_rewards_in_words(place, tmp_path, pairs):
    """Words of --reward are a reward of the comparison, a term is a column; named rewards leave the term out."""
    write_module(place, LEVELS)
    config = LowLightCompareConfig(
        learners=("a3c",), rewards=("no reference", "exposure=0 levels=3"), seeds=(0,), minutes=0.0, updates=1,
        batch_size=2, reward_term=("own_terms:levels",), out=tmp_path / "compare",
        data=LowLightDataConfig(data=pairs, crop=16), network=SMALL)
    rows = compare(LOWLIGHT_COMPARISON, config).rows
    assert list(rows)[-2:] == ["a3c, no reference", "a3c, exposure=0 levels=3"]
    assert rows["input"].mean("", "term/levels") == 0
    assert all("term/levels" in row.entries[""][0].scores[0] for row in rows.values())
    kept = [json.loads((tmp_path / "compare" / name / "config.json").read_text())["reward"]["weights"]
            for name in ("a3c-no_reference-0", "a3c-exposure=0_levels=3-0")]
    assert [weights["levels"] for weights in kept] == [0, 3] and kept[1]["exposure"] == 0
    assert "levels, gained" in (tmp_path / "compare" / "table.md").read_text()
    with pytest.raises(UsageError, match=r"direct, levels=1: no gradient.*leave direct out of --learners"):
        compare(LOWLIGHT_COMPARISON, dataclasses.replace(config, learners=("direct",), rewards=("levels=1",),
                                                         out=tmp_path / "other"))
    with pytest.raises(UsageError, match="'no reference', 'SSIM"):
        compare(LOWLIGHT_COMPARISON, LowLightCompareConfig(rewards=("none",), out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_repeated_options_are_brought_together():
    """A list option that is given twice keeps all of its values; other options stay where they are."""
    words = ["--reward", "a=1", "--seed", "1", "--reward=b=2", "c=3", "--reward_term", "x:y", "--reward-term", "x:z",
             "--no-progress"]
    assert gather(LowLightConfig, words) == [
        "--reward", "a=1", "b=2", "c=3", "--seed", "1", "--reward-term", "x:y", "x:z", "--no-progress"]
    for words in (["RUN", "--json"], ["--json", "RUN", "--max-side", "3"], []):
        assert gather(EvaluateConfig, words) == words

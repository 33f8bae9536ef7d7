"""Rules, scores and comparisons: honest numbers, and no reference where none may be."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.collapse import collapse_warning, distance_to_single_curve, fit_single_curve
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.core.config import from_json
from rlenhance.experiments.core.scores import Baseline
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig, LowLightLearners, LowLightTrainConfig
from rlenhance.experiments.tasks.lowlight_baselines import fit_baselines, oracle_stop, stop_at_mean
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, enhance_batch, evaluate, score, stop_by_reward
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.experiments.tasks.lowlight_rows import REWARDS
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import MODELS, build_model
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.training import SMALL, train_lowlight

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture
def batches(image):
    """Two pictures with their references."""
    return [Batch(image[i : i + 1], (image[i : i + 1] * 2.2).clamp(0, 1)) for i in range(2)]


def test_no_reference_reaches_a_model_at_test_time(batches, generator):
    """Noise in the reference's place changes no output, of a network or of any rule that is not called an oracle."""
    noise = [dataclasses.replace(b, target=torch.rand(b.image.shape, generator=generator)) for b in batches]
    torch.manual_seed(0)
    models = list(fit_baselines(batches, 0.475).values())
    models += [build_model(MODELS.create("pixel_policy", actions={"name": "curve"}, backbone={"name": "compact"}))]
    for model in models:
        same = [torch.equal(enhance_batch(model, a), enhance_batch(model, b))
                for a, b in zip(batches, noise, strict=True)]
        assert all(same) != getattr(model, "uses_target", False)


def test_constants_are_the_best_of_their_family_on_the_training_pictures(batches):
    """No other strength or level does better there."""
    rules = fit_baselines(batches, 0.475, side=16)
    for name in ("constant", "gamma", "stop"):
        assert score(rules[name], batches)["psnr"] > score(rules["input"], batches)["psnr"]
    assert score(rules["oracle"], batches)["psnr"] >= score(rules["stop"], batches)["psnr"] - 1e-6


def test_a_rule_is_fitted_to_what_a_policy_is_asked_for(batches):
    """No other level earns more of the reward; a picture that stays as it is earns nothing."""
    reward = Reward(RewardWeights.only(exposure=10, highlights=6))
    rule = stop_by_reward(batches, reward)
    best = score(rule, batches, reward)["reward"]
    assert re.fullmatch(r"stop at mean 0\.\d+, by the reward", rule.name) and best > 0
    for level in (0.25, 0.4, 0.5, 0.65):
        other = Baseline("other", lambda batch, level=level: stop_at_mean(batch.image, level))
        assert score(other, batches, reward)["reward"] <= best
    rules = fit_baselines(batches, 0.475, side=16)
    assert score(rules["input"], batches, reward)["reward"] == 0 and "reward" not in score(rule, batches)


def test_rules_without_references_aim_at_the_asked_level(image):
    """Dark photographs alone: the constant curve meets the level on average."""
    rules = fit_baselines([Batch(image[:1]), Batch(image[1:])], 0.5)
    assert rules["stop"](Batch(image)).mean().item() == pytest.approx(0.5, abs=0.08)


def test_stop_at_mean_stops_and_the_oracle_never_loses(image):
    """The mean ends within one small step above the level; a picture above it stays as it is."""
    image = image[:1]
    out = stop_at_mean(image, 0.4)
    assert 0.4 <= out.mean() < 0.43
    assert torch.equal(stop_at_mean(out, 0.3), out)
    target = (image * 2).clamp(0, 1)
    assert psnr(oracle_stop(image, target), target) >= psnr(image, target)


def test_collapse_watch_tells_a_constant_from_a_policy_that_adapts(generator):
    """One curve for all pictures scores above the alarm, a curve for each far below."""
    pictures = list(torch.rand(4, 3, 32, 32, generator=generator).round(decimals=2).split(1))
    constant = [p + 0.4 * p * (1 - p) for p in pictures]
    adapting = [p + a * p * (1 - p) for p, a in zip(pictures, (0.0, 0.3, 0.6, 0.9), strict=True)]
    assert distance_to_single_curve(pictures, constant) > 45 > 30 > distance_to_single_curve(pictures, adapting)
    assert collapse_warning({"collapse/constant_psnr": 50.0, "collapse/top_choice_share": 0.5})
    assert collapse_warning({"collapse/constant_psnr": 20.0, "collapse/top_choice_share": 0.995})
    assert collapse_warning({"collapse/constant_psnr": 20.0, "collapse/top_choice_share": 0.5}) is None


def test_no_curve_is_nearer_than_the_free_one(image):
    """The single curve of a picture meets any tone curve exactly, and beats every number of a family elsewhere."""
    image = (image[:1] * 255).round() / 255
    curved = image + 0.5 * image * (1 - image)
    assert torch.allclose(fit_single_curve([image], [curved])[0], curved, atol=1e-6)
    target = curved * torch.linspace(0.5, 1, image.shape[-1])
    assert psnr(fit_single_curve([image], [target])[0], target) >= psnr(oracle_stop(image, target), target)


def test_learners_are_trained_and_compared(tmp_path, pairs):
    """A row per baseline, and per learner and reward with its seeds; finished runs are not trained again."""
    config = LowLightCompareConfig(
        learners=("a3c", "supervised"), rewards=("SSIM + PSNR",), seeds=(0, 1), minutes=0.0, updates=2, batch_size=2,
        out=tmp_path / "compare", data=LowLightDataConfig(data=pairs, crop=16), network=SMALL)
    found = compare(LOWLIGHT_COMPARISON, config)
    rows = list(found.rows.values())
    assert [row.name for row in rows[7:]] == ["a3c, SSIM + PSNR", "supervised"] and found.split == "val"
    references = [LOWLIGHT_COMPARISON.facts(row)["reference in training"] for row in rows]
    assert references == ["no", "its number", "no", "its number", "its number", "its number", "oracle", "yes", "yes"]
    assert all(len(row.entries[""]) == 2 for row in rows[7:])
    assert rows[-1].facts["pictures"] == 4 and rows[-1].parameters > 0
    assert "GT-mean PSNR (uses the reference)" in found.text and "±" in found.text
    assert (tmp_path / "compare" / "grid.png").is_file()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "compare").glob("*/metrics.csv")}
    assert compare(LOWLIGHT_COMPARISON, config).text == found.text and len(times) == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(UsageError, match=r"other settings .*updates"):
        compare(LOWLIGHT_COMPARISON, dataclasses.replace(config, updates=3))


def test_evaluate_scores_a_run(tmp_path, pairs, capsys):
    """The command prints the same numbers that it returns; an absent split is named."""
    run = train_lowlight(pairs, out=tmp_path, name="run", updates=1).run
    capsys.readouterr()
    scores = evaluate(EvaluateConfig(run, data=pairs, split="val", json=True))
    assert json.loads(capsys.readouterr().out) == {"split": "val", **scores}
    own = evaluate(EvaluateConfig(run))  # the data it was trained on
    assert {k: v for k, v in own.items() if k[0] != "c"} == {k: v for k, v in scores.items() if k[0] != "c"}
    with pytest.raises(UsageError, match="has no 'test' split"):
        evaluate(EvaluateConfig(run, data=pairs, split="test"))


@pytest.mark.parametrize("words, text", [
    (["--reward", "exposur=1"], "did you mean exposure"),
    (["--learner", "a2c"], "known are a3c"),
    (["--backbone", "fnc"], "did you mean fcn"),
    (["--exposure-level", "7"], "between 0 and 1"),
    (["--data", "no/such/folder"], "no such folder"),
    (["--learner", "supervised", "--dark-only"], "--learner a3c"),
    (["--reward", "ssim=1", "--dark-only"], "ssim"),
    (["--resume", "nowhere"], "not a run"),
    (["--init", "nowhere"], "no such run"),
    (["--init", "nowhere", "--warm-start", "nowhere"], "use one of them"),
    (["--updates", "-1"], "at least 1"),
    (["--a3c.gamma", "1.05"], "gamma"),
    (["--a3c.clip-range", "nan"], "clip"),
    (["--batch-size", "0"], "--batch-size"),
    (["--minutes", "inf"], "minutes"),
    (["--name", "../elsewhere"], "--name"),
    (["--reward", "exposure=0", "local_exposure=0", "clipping=0", "contrast=0", "smoothness=0", "effort=0",
      "steadiness=0", "contrast_preference=0", "color_preference=0", "highlights=0"], "nothing to learn from"),
])
def test_bad_input_ends_with_one_line_and_status_2(tmp_path, pairs, capsys, words, text):
    """The value seen and the way out on standard error; nothing is left behind."""
    if "--dark-only" in words:
        words = [word for word in words if word != "--dark-only"] + ["--data", str(pairs / "low")]
    words = [*words, "--out", str(tmp_path / "runs"), "--device", "cpu", "--no-progress"]
    assert train_command(LOWLIGHT, words) == 2
    assert text in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "runs").exists()


def test_a_message_of_several_lines_is_printed_in_lines(capsys):
    """Continued lines are indented, and nothing is escaped but what drives a terminal."""
    assert train_command(LOWLIGHT, ["--data", "no\x1bfolder"]) == 2
    first, *more = capsys.readouterr().err.rstrip().split("\n")
    assert first.startswith(r"error: no\x1bfolder: no such folder") and len(more) > 3
    assert all(line.startswith("  ") and "\\n" not in line for line in more)


def test_dark_photographs_alone_train(tmp_path, pairs):
    """No reference anywhere: the run still says how bright it became."""
    result = train_lowlight(pairs / "low", out=tmp_path, name="run", updates=2, eval_interval=2, batch_size=2)
    assert "psnr" not in result.scores["a3c"] and 0 < result.scores["a3c"]["mean"] < 1


def test_classic_pixel_wise_agents_train(tmp_path, pairs):
    """agent_stride 1 on native crops with PixelRL's network, categorical, with a reward-map kernel."""
    policy = PolicyConfig(actions="curve", controls=False, backbone="fcn", state_size=0, agent_stride=1,
                          global_agent=False, curve="categorical", channels="coupled", momentum=0.2, horizon=2)
    learners = LowLightLearners()
    learners = dataclasses.replace(learners, a3c=dataclasses.replace(learners.a3c, reward_map_kernel=3, update_epochs=1,
                                                                      rollouts_per_image=2))
    result = train_lowlight(pairs, out=tmp_path, name="run", updates=1, batch_size=2, policy=policy, learners=learners)
    assert np.isfinite(result.scores["a3c"]["psnr"])


def test_config_json_becomes_a_configuration_again(tmp_path):
    """What a run stores is what it was called with; a field of another version is refused."""
    config = LowLightConfig(LowLightTrainConfig(reward=("exposure=2",), init=tmp_path), network=SMALL)
    stored = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    assert from_json(LowLightConfig, stored) == config
    with pytest.raises(UsageError, match="sharpen"):
        from_json(LowLightConfig, stored | {"sharpen": 1})


def test_rewards_of_the_comparison_parse():
    """Every named reward is a valid word list; exactly the second needs references."""
    needs = {name: RewardWeights.parse(words).needs_reference for name, words in REWARDS.items()}
    assert needs["no reference"] == [] and sorted(needs["SSIM + PSNR"]) == ["psnr", "ssim"]

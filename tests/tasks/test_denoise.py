"""Denoising with filters: the environment, policies, training and comparison, on small pictures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rlenhance.agents import A3C, A3CConfig
from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.envs import DenoiseEnv
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks import denoise_baselines as denoise_rules
from rlenhance.experiments.tasks.denoise import (
    DENOISE,
    DenoiseConfig,
    DenoiseDataConfig,
    DenoiseNetworkConfig,
    DenoiseTrainConfig,
    load_noisy,
    step_shares,
)
from rlenhance.experiments.tasks.denoise_baselines import best_sequences, filtered
from rlenhance.experiments.tasks.denoise_compare import DENOISE_COMPARISON, DenoiseCompareConfig
from rlenhance.io import write
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import MODELS, GreedyEpisode, build_model, warm_start
from rlenhance.learning.models.restorer import measured_noise
from rlenhance.learning.models.warm_start import as_restorer
from rlenhance.ops.plane_statistics import noise_deviation
from tests.support.pictures import noisy, scene

SMALL = {"name": "gru_unet", "widths": (8, 8), "blocks": (1, 1)}


@pytest.fixture
def folder(tmp_path):
    """Twelve good pictures."""
    for index in range(12):
        write(np.repeat(scene(index)[:, :, None], 3, axis=2), tmp_path / "clean" / f"{index:02d}.png")
    return tmp_path / "clean"


@pytest.mark.parametrize("level", [5, 15, 25, 50])
def test_the_noise_of_a_picture_is_seen(level):
    """Within a tenth (and two 255ths, for the edges) where the picture is flat between them; pictures of one pixel
    have none."""
    batch = noisy(2, str(level), (128, 128))
    assert (noise_deviation(batch.image) * 255).flatten().tolist() == pytest.approx([level] * 2, rel=0.1, abs=2)
    assert noise_deviation(torch.rand(1, 1, 1, 7)).item() == 0


# --- environment ---


def test_reward_is_pixelrls_and_telescopes(generator):
    """The map is 255 times what the squared error of each pixel fell by; its sum is that of first and last."""
    env, batch = DenoiseEnv(2, size=24, horizon=3), noisy()
    env.reset(options={"batch": batch})
    total = 0
    for _ in range(3):
        before = env._state.image
        _, reward, _, _, info = env.step(torch.randint(9, (2, 1, 24, 32), generator=generator))
        after = info["final_obs"]["image"] if "final_obs" in info else env._state.image
        expected = 255 * ((before - batch.target) ** 2 - (after - batch.target) ** 2)
        assert torch.allclose(info["reward_map"], expected, atol=1e-4)
        assert torch.allclose(reward, expected.mean(dim=(1, 2, 3)), atol=1e-4)
        total = total + info["reward_map"]
    assert torch.allclose(total, 255 * ((batch.image - batch.target) ** 2 - (after - batch.target) ** 2), atol=1e-3)


def test_real_pairs_bring_their_own_noise(tmp_path):
    """input/ beside gt/ is taken as it is; good pictures alone are not enough."""
    for index in range(4):
        clean = np.repeat(scene(index)[:, :, None], 3, axis=2)
        write(clean, tmp_path / "pairs/gt" / f"{index}.png")
        write(clean // 2, tmp_path / "pairs/input" / f"{index}.png")
    env = DenoiseEnv(2, data=tmp_path / "pairs", noise="real", size=16)
    observation, _ = env.reset(seed=0)
    assert torch.allclose(observation["image"], (env.episode.batch.target * 255).div(2).floor() / 255, atol=1e-5)
    for data, text in ((None, "name their folder"), (tmp_path / "pairs/gt", "needs pairs, input/")):
        with pytest.raises(UsageError, match=text):
            DenoiseEnv(1, data=data, noise="real")


@pytest.mark.parametrize("change, text", [
    (lambda b: Batch(b.image + 3, b.target), "noise may reach 1 beyond"),
    (lambda b: Batch(b.image[:, :1].expand(-1, 2, -1, -1), None), r"\(N, 1 or 3, H, W\)"),
    (lambda b: Batch(b.image), "compare with a reference"),
])
def test_pictures_that_cannot_be_are_refused(change, text):
    """Values far out, two channels, no reference."""
    with pytest.raises(UsageError, match=text):
        DenoiseEnv(1, size=16).reset(options={"batch": change(noisy())})


# --- policies ---


def make_policy(**config):
    """A small policy over filters for grey pictures."""
    torch.manual_seed(0)
    return MODELS.create("filter_policy",
                         **{"backbone": SMALL, "horizon": 3, "channels": 1, "noise": (5, 55), **config})


def test_a_warm_start_begins_near_the_supervised_picture(generator):
    """Every step takes the tool whose result is nearest to the estimate, and that is the restorer's."""
    restorer = MODELS.create("restorer", backbone=SMALL, num_passes=1, channels=1, statistics=False, range_margin=1.0,
                             noise_conditioned=True)
    with torch.no_grad():
        for value in restorer.parameters():
            value.add_(0.03 * torch.randn(value.shape, generator=generator))
    policy, batch = make_policy(), noisy()
    warm_start(policy, restorer.eval())
    with torch.no_grad():
        estimate = batch.image + restorer.residual(batch.image)
        results = policy.actions.apply_all(batch.image)
        nearest = (results - estimate[:, :, None]).abs().argmin(dim=2)
        first = GreedyEpisode(policy.eval()).decide(batch.image)[0]["local"]
    assert (first == nearest).float().mean() > 0.999
    with pytest.raises(UsageError, match="takes 3 channels, the supervised run 1"):
        warm_start(make_policy(channels=3), restorer)


def small_denoiser():
    """A learned denoiser for grey pictures whose weights do something."""
    torch.manual_seed(1)
    denoiser = MODELS.create("denoiser", channels=1, widths=(8, 8), down=(1, 1), up=(1,))
    with torch.no_grad():
        for value in denoiser.parameters():
            value.add_(0.05 * torch.randn(value.shape))
    return denoiser.eval()


def test_a_learned_denoiser_is_a_warm_start(tmp_path):
    """A policy and a supervised twin begin with what it does: the estimate is its picture, told the same noise."""
    denoiser, batch = small_denoiser(), noisy(size=(32, 32))
    policy = warm_start(make_policy(horizon=1), denoiser).eval()
    with torch.no_grad():
        clean = denoiser.denoise(batch.image, 25 / 255)
        nearest = (policy.actions.apply_all(batch.image) - clean[:, :, None]).abs().argmin(dim=2)
        first = GreedyEpisode(policy).decide(batch.image, preference={"noise": 25.0})[0]["local"]
        other = GreedyEpisode(policy).decide(batch.image, preference={"noise": 50.0})[0]["local"]
        assert (first == nearest).float().mean() > 0.99 and (other == nearest).float().mean() < 0.95
        restorer = as_restorer(denoiser, "first")
        seen = denoiser.denoise(batch.image, measured_noise(batch.image))
        assert torch.allclose(batch.image + restorer.residual(batch.image), seen, atol=1e-5)
        twin = MODELS.create("restorer", backbone=SMALL, num_passes=1, channels=1, statistics=False, range_margin=1.0,
                             noise_conditioned=True).eval()
        warm_start(twin, denoiser)
        assert torch.equal(twin.residual(batch.image), restorer.residual(batch.image))
    with pytest.raises(UsageError, match="needs the same backbone"):
        warm_start(make_policy(backbone={**SMALL, "blocks": (2, 1)}), denoiser)
    with pytest.raises(UsageError, match="up to equal down without its last"):
        as_restorer(MODELS.create("denoiser", channels=1, widths=(8, 8), down=(1, 1), up=(2,)))


def test_views_turn_with_the_picture():
    """With all eight views, what is done to a turned picture is what is done to the picture, turned; with one not."""
    image = noisy(1, size=(16, 24)).image
    results = {}
    for views in (1, 8):
        policy = make_policy(num_tta_views=views, horizon=2).eval()
        with torch.no_grad():
            for value in policy.parameters():
                value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
            model = build_model(policy)
            pairs = [(d4_inverse(model(d4_transform(image, way)), way), model(image)) for way in range(1, NUM_D4)]
        results[views] = max(((a - b).abs() > 1e-4).float().mean().item() for a, b in pairs)
    assert results[8] < 0.01 < 0.1 < results[1]
    with pytest.raises(UsageError, match="num_tta_views lies between 1 and 8; got 9"):
        make_policy(num_tta_views=9)


def test_what_was_turned_is_turned_back():
    """All eight ways are different and can be undone."""
    image = torch.arange(12.0).view(1, 1, 3, 4)
    ways = [d4_transform(image, way) for way in range(NUM_D4)]
    assert all(torch.equal(d4_inverse(view, way), image) for way, view in enumerate(ways))
    assert len({tuple(view.flatten().tolist()) + tuple(view.shape) for view in ways}) == NUM_D4


@pytest.mark.parametrize("memory", ["first", "every", "none"])
def test_memory_is_carried_where_there_is_one(memory):
    """What was seen at the first step changes the second, and its gradient reaches the first look."""
    policy = make_policy(backbone={**SMALL, "memory": memory}, estimate=False)
    with torch.no_grad():
        for value in policy.parameters():
            value.add_(0.1 * torch.randn(value.shape))
    image, other = noisy(1).image, noisy(2).image[1:]
    left = torch.full((1, 1), 0.5)
    state = policy({"image": image, "remaining": left + 0.5})[2]
    second = policy({"image": other, "remaining": left}, state)[0].scopes["local"].log_probs
    fresh = policy({"image": other, "remaining": left})[0].scopes["local"].log_probs
    assert (state is None) == (memory == "none") == torch.allclose(second, fresh, atol=1e-5)


def test_grey_policies_take_every_size(generator):
    """Three equal channels pass and come back, odd sizes and one pixel too; NaN is refused."""
    model = build_model(make_policy().eval())
    for size in ((1, 1), (7, 5), (16, 33)):
        plane = torch.rand(1, 1, *size, generator=generator)
        with torch.no_grad():
            assert torch.equal(model(plane.expand(-1, 3, -1, -1)), model(plane).expand(-1, 3, -1, -1))
    with pytest.raises(UsageError, match="values must lie in"):
        model(torch.full((1, 1, 8, 8), torch.nan))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
def test_the_environment_takes_pictures_of_a_pixel(size, generator):
    """Every tool has a value there, finite; the reward is what the error falls by."""
    clean = torch.rand(2, 1, *size, generator=generator)
    env = DenoiseEnv(2, size=8, horizon=9, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"batch": Batch((clean + 0.1).clamp(-1, 2), clean)})
    for tool in range(9):
        observation, reward, _, _, info = env.step(torch.full((2, 1, *size), tool))
        assert observation["image"].isfinite().all() and info["reward_map"].isfinite().all()
        assert torch.allclose(reward, info["reward_map"].mean(dim=(1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("call, told", [
    (lambda: DenoiseEnv(tools=("nothing", "medain")), "unknown filter 'medain'"),
    (lambda: make_policy(tools=("nothing", "medain")), "unknown filter 'medain'"),
    (lambda: DenoiseEnv(1, size=8).reset(options={"batch": Batch(*torch.full((2, 1, 1, 8, 8), 2.5))}),
     "noise may reach 1 beyond"),
    (lambda: make_policy()({"image": torch.full((1, 1, 8, 8), torch.nan), "remaining": torch.ones(1, 1)}),
     "got nan to nan"),
    (lambda: make_policy()({"image": torch.rand(1, 3, 8, 8), "remaining": torch.ones(1, 1)}),
     "use a model for colour, make it grey first, or hand its channels over"),
], ids=["tool of the environment", "tool of a policy", "beyond the margin", "not a number", "colours for grey"])
def test_bad_input_is_named(call, told):
    """With the way out."""
    with pytest.raises(UsageError, match=told):
        call()


def test_an_action_that_is_no_tool_is_named():
    """With the places that are."""
    env = DenoiseEnv(1, size=8)
    env.reset(seed=0)
    with pytest.raises(UsageError, match="the place of a filter, 0 to 8; got 9 to 9"):
        env.step(torch.full((1, 1, 8, 8), 9))


def test_noise_outside_the_trained_range_is_named():
    """With the range and a command; what is inside it the policy can be told, unless it knows one strength alone."""
    policy = make_policy()
    assert policy.check_noise_level(25) == 25 and policy.noise_preference(25) == {"noise": 25}
    assert make_policy(noise=(25, 25)).noise_preference(25) == {}
    assert make_policy(noise_conditioned=False).noise_preference(25) == {}
    with pytest.raises(UsageError, match=r"noise 70 is outside .*5 to 55.*--noise 70"):
        policy.check_noise_level(70)


def test_a3c_learns_which_filter_is_right():
    """Where noise is strong and the picture flat, a policy without a head start learns to smooth."""
    torch.manual_seed(0)
    policy = make_policy(horizon=1, estimate=False, tools=("nothing", "brighter", "box"))
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(8, 1, 1, 1, generator=generator).expand(-1, -1, 12, 12)
    batch = Batch(clean + 0.1 * torch.randn(clean.shape, generator=generator), clean)
    from rlenhance.envs.denoise import DENOISING_REWARD
    from rlenhance.learning.rewards import Reward, RewardWeights
    learner = A3C(policy, Reward(RewardWeights.only(**DENOISING_REWARD)), A3CConfig(
        rollouts_per_image=2, update_epochs=2, reward_map_kernel=3, entropy_target=(0.05, 0.0)))
    for _ in range(25):
        learner.step(batch)
    share = step_shares(policy.eval(), [batch])[0]
    assert share[2] > 0.9


# --- experiments ---


def test_the_best_sequence_is_found_and_is_not_worse_than_a_single_filter():
    """By brute force over all of length two; what brings nothing is left out."""
    pictures = [noisy(1, "30", (32, 32)) for _ in range(1)]
    tools = ("nothing", "box", "median", "gaussian_0.5")
    single, best = best_sequences(pictures, tools, longest=2)

    def score(sequence):
        return psnr(filtered(pictures[0].image, sequence).clamp(0, 1), pictures[0].target).item()

    assert score(single) == max(score((name,)) for name in tools)
    assert score(best) >= max(score((a, b)) for a in tools for b in tools) - 0.011
    assert best_sequences([Batch(pictures[0].target, pictures[0].target)], tools)[1] == ()


def test_learners_train_resume_and_are_compared(tmp_path, folder, capsys):
    """supervised, then a3c from it, and direct; a run goes on; then the table with rules and shares, made once."""
    config = DenoiseDataConfig(data=folder, noise="blind", crop=16)
    network = DenoiseNetworkConfig(horizon=2)
    common = {"out": tmp_path / "runs", "updates": 2, "batch_size": 2, "device": "cpu", "progress": False,
              "eval_interval": 1}
    runs = {}
    for learner, warm in (("supervised", None), ("a3c", "supervised"), ("direct", "supervised")):
        warm_start = tmp_path / "runs" / warm if warm else None
        result = train(DENOISE, DenoiseConfig(
            DenoiseTrainConfig(learner=learner, name=learner, warm_start=warm_start, **common), config, network))
        assert result.fitted.updates == 2 and set(result.scores[learner]) == {"15", "25", "50"}
        runs[learner] = result.run
    models = (f"policy={runs['a3c']}", str(runs["direct"]), str(runs["supervised"]))
    found = compare(DENOISE_COMPARISON, DenoiseCompareConfig(
        models=models, tta_views=2, levels=(25.0, 70.0), limit=2, out=tmp_path / "table", data=config))
    rows = found.rows
    assert list(rows)[:3] == ["input", "best single filter", "best fixed sequence"]
    assert set(rows["policy"].entries) == {"25"} and set(rows["supervised"].entries) == {"25", "70"}
    assert list(rows)[-2:] == ["policy, 2 views", "direct, 2 views"]
    assert np.sum(rows["policy"].entries["25"][0].details, axis=1) == pytest.approx([1, 1])
    assert "Filters that policy takes at noise 25" in found.text
    assert load_network(runs["a3c"]).noise == (5.0, 55.0)


def test_rounded_noise_and_differences_stand_in_one_table(tmp_path, folder, monkeypatch):
    """Columns of 8 bits beside the others, BM3D where it is installed, intervals against a row, shares beside it;
    what was interrupted goes on row by row."""
    save_checkpoint(tmp_path / "policy", make_policy(horizon=2).eval())
    asked = []
    monkeypatch.setattr(denoise_rules, "has_bm3d", lambda: True)
    monkeypatch.setattr(denoise_rules, "bm3d", lambda image, level: asked.append(level) or filtered(image, ["box"]))
    config = DenoiseCompareConfig(
        models=(f"policy={tmp_path / 'policy'}",), levels=(25.0,), also_quantized=True,
        baseline="BM3D (told the noise)", limit=2, out=tmp_path / "table", data=DenoiseDataConfig(data=folder))
    comparison = compare(DENOISE_COMPARISON, config)
    rows = comparison.rows
    assert set(rows["policy"].entries) == set(rows[config.baseline].entries) == {"25", "25, 8 bits"}
    assert len(asked) == 4 and rows["input"].mean("25", "psnr") != rows["input"].mean("25, 8 bits", "psnr")
    found = comparison.difference("policy", config.baseline, "25", "psnr")
    assert f"| policy | {found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})" in comparison.text
    shares = (tmp_path / "table" / "shares.csv").read_text().splitlines()
    assert len(shares) == 1 + 2 * 2 * 9 and shares[1].startswith('policy,"25",1,darker,')
    kept = json.loads((tmp_path / "table" / "scores.json").read_text())
    (tmp_path / "table" / "scores.json").write_text(json.dumps({key: kept[key] for key in kept if "input" not in key}))
    assert compare(DENOISE_COMPARISON, config).rows.keys() == rows.keys() and len(asked) == 4
    with pytest.raises(UsageError, match="--baseline nobody: no such row; there are policy"):
        compare(DENOISE_COMPARISON, dataclasses.replace(config, baseline="nobody", baselines=False))
    with pytest.raises(UsageError, match="--also-quantized is for Gaussian noise; got --noise jpeg"):
        compare(DENOISE_COMPARISON, dataclasses.replace(config, data=DenoiseDataConfig(data=folder, noise="jpeg")))


def test_learners_that_do_not_fit_are_refused(tmp_path, folder):
    """sac has no discrete choices; a warm start needs a supervised run or a denoiser, which may be a shipped one."""
    pictures = load_noisy(DenoiseDataConfig(data=folder))

    def network(learner, **changes):
        config = DenoiseConfig(DenoiseTrainConfig(learner=learner, **changes), DenoiseDataConfig(data=folder))
        return DENOISE.learner(config, pictures, torch.device("cpu")).network

    warm = Path("denoiser-grey")
    twin, policy = network("supervised", warm_start=warm), network("a3c", warm_start=warm)
    assert torch.equal(twin.head.weight, policy.residual.weight) and twin.head.weight.abs().max() > 0
    save_checkpoint(tmp_path / "policy", make_policy())
    with pytest.raises(UsageError, match="holds a FilterPolicy: use --init"):
        network("a3c", warm_start=tmp_path / "policy")
    with pytest.raises(UsageError, match="sac does not choose among tools"):
        DENOISE.check(DenoiseConfig(DenoiseTrainConfig(learner="sac")), {})
    with pytest.raises(UsageError, match="use one of them"):
        network("a3c", init=tmp_path, warm_start=tmp_path)
    batch = DENOISE.batches(DenoiseConfig(), pictures, policy)(0)
    assert batch.image.shape == (8, 1, 64, 64) and batch.target is not None

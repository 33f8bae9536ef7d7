"""The environment whose best episode is known: the oracle is the best, the metrics say so, and a learner gets near."""

import gymnasium
import numpy as np
import pytest
import torch

from rlenhance.agents import A3C, A3CConfig, OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.envs import CurveOracleEnv, InvertibleCurveSource
from rlenhance.envs.curve_oracle import invert_curve
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance.learning.rewards import Reward, RewardWeights

CURVES = {
    "picture": {"agent_stride": 0},
    "two regions": {"agent_stride": 8, "global_agent": False},
    "two levels": {"agent_stride": 4},
    "pixels": {"agent_stride": 1, "global_agent": False},
    "chroma": {"agent_stride": 0, "channels": "chroma"},
    "classic": {"kind": "categorical", "agent_stride": 1, "global_agent": False, "channels": "coupled"},
    "momentum": {"agent_stride": 0, "momentum": 0.2},
}
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)


def play(env, action_of):
    """The return of one episode of all pictures (N,), and the last step's info."""
    total = 0
    for _ in range(env.horizon):
        _, reward, _, _, info = env.step(action_of(env))
        total = total + reward
    return total, info


def oracle(env):
    return env.oracle()


@every_curve
@pytest.mark.parametrize("term", ["l1", "squared_error", "ssim"])
def test_oracle_earns_the_best_return(curve, term):
    """Its return is the distance at the start; regret and the distance in A are 0, in each form and for each term."""
    env = CurveOracleEnv(4, curve=curve, reward={term: 2})
    _, info = env.reset(seed=0)
    total, last = play(env, oracle)
    assert torch.allclose(total, info["best_return"], atol=1e-5) and (total > 0.02).all()
    assert last["regret"].abs().max() < 1e-5 and last["action_error"].max() < 1e-5


@every_curve
def test_no_other_action_beats_the_oracle(curve):
    """Neither drawn at random nor near the oracle; the regret is what was lost, to the last step."""
    env = CurveOracleEnv(32, curve=curve)
    env.action_space.seed(0)
    generator = torch.Generator().manual_seed(0)

    def drawn(env):
        sample = env.action_space.sample()
        return {k: torch.as_tensor(v) for k, v in sample.items()} if isinstance(sample, dict) else \
            torch.as_tensor(sample)

    def near(env):
        best = env.oracle()
        return {k: shifted(v) for k, v in best.items()} if isinstance(best, dict) else shifted(best)

    def shifted(value):
        if not value.is_floating_point():
            return (value + torch.randint(-2, 3, value.shape, generator=generator)).clamp(0, 26)
        return (value + 0.1 * torch.randn(value.shape, generator=generator)).clamp(-1, 1)

    for action_of in (drawn, near):
        for seed in range(4):
            _, info = env.reset(seed=seed)
            total, last = play(env, action_of)
            assert (total < info["best_return"]).all() and (last["action_error"] > 0).all()
            assert torch.allclose(last["regret"], info["best_return"] - total, atol=1e-5)


@every_curve
def test_finished_pictures_have_the_asked_mean(curve):
    """So the curve can be told from the picture: every channel's mean (of each half) is the level; nothing clips."""
    source = InvertibleCurveSource(ACTION_SETS.create("curve", **curve), 4, 16, level=0.4)
    batch = source.batch(0, 4).check()
    halves = [batch.target[..., :8], batch.target[..., 8:]] if curve["agent_stride"] else [batch.target]
    for half in halves:
        assert torch.allclose(half.mean(dim=(2, 3)), torch.full((4, 3), 0.4), atol=1e-4)
    assert batch.target.min() > 0.1 and batch.target.max() < 0.7
    assert (batch.image.mean(dim=(1, 2, 3)) < 0.36).all()


def test_halves_want_different_curves():
    """With local agents no single curve is the best."""
    env = CurveOracleEnv(16, curve=CURVES["two regions"])
    _, info = env.reset(seed=0)
    even = env.oracle().mean(dim=(2, 3), keepdim=True).expand(-1, -1, 2, 2)
    _, last = play(env, lambda _: even)
    assert (last["regret"] > 0.02 * info["best_return"]).float().mean() > 0.8


def test_unbend_takes_the_curve_back(generator):
    """c -> c + A c (1 - c) -> c, for brightening, darkening and no curve."""
    image = torch.rand(2, 3, 8, 8, generator=generator)
    for bend in (-0.9, -0.3, 0.0, 1e-6, 0.5, 1.0):
        curved = image + bend * image * (1 - image)
        assert torch.allclose(invert_curve(curved, torch.tensor(bend)), image, atol=2e-3 if bend == 1 else 1e-5)


def test_preference_asks_for_another_mean():
    """The same patterns are finished at the level that the preference names, and the oracle follows."""
    env = CurveOracleEnv(2, preferences={"exposure_level": (0.3, 0.5, 0.7)})
    for encoded, level in ((-1.0, 0.3), (0.0, 0.5), (1.0, 0.7)):
        env.reset(seed=0, options={"preference": torch.full((2, 1), encoded)})
        _, last = play(env, oracle)
        finished = last["final_obs"]["image"].mean(dim=(1, 2, 3))
        assert torch.allclose(finished, torch.full((2,), level), atol=1e-4) and last["regret"].max() < 1e-5


def test_drawing_depends_on_the_seed_and_the_number_alone():
    """Two draws of two are one draw of four; another seed draws others."""
    source = InvertibleCurveSource(ACTION_SETS.create("curve", agent_stride=0), 4, 16, seed=3)
    parts = Batch.stack([source.batch(0, 2), source.batch(1, 2)])
    assert torch.equal(parts.image, source.batch(0, 4).image)
    assert not torch.equal(parts.image, source.with_seed(4).batch(0, 4).image)


def test_next_episode_has_an_oracle_of_its_own():
    """SAME_STEP begins the next episode at once; its oracle is the best again."""
    env = CurveOracleEnv(2)
    env.reset(seed=0)
    first = env.oracle()
    for _ in range(3):
        _, last = play(env, oracle)
        assert last["final_info"]["regret"].abs().max() < 1e-5
    assert not torch.equal(first, env.oracle())


@every_curve
def test_one_picture_in_numpy_has_the_same_oracle(curve):
    """Through gymnasium.make: arrays in the action space, numbers in info."""
    env = gymnasium.make("rlenhance/CurveOracle-v0", curve=curve)
    _, info = env.reset(seed=0)
    action, total, terminated = env.unwrapped.oracle(), 0.0, False
    assert env.action_space.contains(action)
    while not terminated:
        _, reward, terminated, _, last = env.step(action)
        total += reward
    assert total == pytest.approx(float(info["best_return"]), abs=1e-5)
    assert isinstance(last["regret"], np.ndarray) and last["regret"].shape == () and abs(last["regret"]) < 1e-5


@pytest.mark.parametrize("arguments, told", [
    ({"reward": {"exposure": 1}}, "known for a reward of l1, squared_error, ssim; got exposure"),
    ({"reward": {"l1": 0}}, "got no weight"),
    ({"size": 4}, "at least 8 pixels wide; got size 4"),
    ({"exposure_level": 0.9}, r"between 0\.3 and 0\.7.*got 0\.9"),
    ({"preferences": {"exposure_level": (0.1, 0.4, 0.6)}}, r"got 0\.1 to 0\.6"),
    ({"preferences": {"contrast": (0.1, 0.4, 0.6)}}, "exposure_level; got contrast"),
])
def test_what_has_no_known_optimum_is_refused(arguments, told):
    """With the way out."""
    with pytest.raises(UsageError, match=told):
        CurveOracleEnv(1, **arguments)


def test_pictures_of_ones_own_are_refused():
    """Nobody knows their best episode; nor is there an oracle before the first reset."""
    env = CurveOracleEnv(1)
    with pytest.raises(UsageError, match="call reset first"):
        env.oracle()
    with pytest.raises(UsageError, match="LowLight-v0"):
        env.reset(options={"batch": Batch(torch.rand(1, 3, 16, 16))})


@pytest.mark.parametrize("curve", [CURVES["picture"], CURVES["two regions"]], ids=["picture", "two regions"])
def test_a3c_gets_near_the_optimum(curve):
    """Seconds take it from under three quarters to over nine tenths of the best return, on unseen pictures."""
    torch.manual_seed(0)
    policy = MODELS.create("pixel_policy", actions={"name": "curve", **curve}, horizon=4, decision_size=16,
                           backbone={"name": "compact", "width": 8})
    learner = A3C(policy, Reward(RewardWeights.only(l1=1)), A3CConfig(optimizer=OptimizerConfig(learning_rate=1e-2)))
    source, env = InvertibleCurveSource(policy.actions, 4, 16, seed=1), CurveOracleEnv(32, curve=curve)

    def share():
        observation, info = env.reset(seed=999)
        for _ in range(4):
            with torch.no_grad():
                action = policy(observation)[0].mode()
            observation, _, _, _, last = env.step(action)
        return 1 - (last["regret"].sum() / info["best_return"].sum()).item()

    before = share()
    for step in range(80):
        learner.step(source.batch(step, 6), step / 80)
    assert before < 0.75 and share() > 0.9

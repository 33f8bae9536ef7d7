"""`rlenhance/Toolchain-v0`: chains, stops, prices, budgets, regions, scores."""

import gymnasium
import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.envs import ToolchainEnv
from rlenhance.learning.actions import ToolchainActions
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.tools import Tool, ToolCache

ADD, HALF = (Tool(name, name, function, cost, 0) for name, function, cost in (
    ("add", lambda picture: (picture + np.float32(0.1)).clip(0, 1), 0.5), ("half", lambda picture: picture / 2, 2.0)))
STOP = 2


def make(**arguments):
    return ToolchainEnv(**{"tools": (ADD, HALF), "horizon": 3, "size": 16, "autoreset_mode": "Disabled", **arguments})


def begin(env, value=0.3, target=0.65, count=2):
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.rand(count, 3, 16, 16, generator=generator)
    return env.reset(options={"batch": Batch(value + noise, target + noise)})[0]


def choose(*indices):
    return torch.tensor(indices)


def test_a_chain_is_its_tools_in_order_and_the_return_telescopes():
    """The picture is what the tools make of it; the return is the gain of the PSNR less the price of what ran."""
    env = make(price=0.25)
    first = begin(env)["image"]
    target, total, cost = env.episode.batch.target, 0, 0
    for action in (choose(0, 1), choose(0, STOP), choose(STOP, STOP)):
        seen, reward, ended, _, info = env.step(action)
        total, cost = total + reward, cost + info["cost"]
    assert ended.all() and cost.tolist() == [1.0, 2.0]
    assert torch.allclose(seen["image"], torch.stack([first[0] + 0.2, first[1] / 2]), atol=1e-4)
    assert torch.allclose(total, psnr(seen["image"], target) - psnr(first, target) - 0.25 * cost, atol=1e-3)


def test_a_stop_is_for_good():
    """After a stop no tool is allowed, and naming one changes nothing and costs nothing."""
    env = make(price=1.0)
    begin(env)
    seen, *_ = env.step(choose(STOP, 0))
    assert seen["action_mask"][:, :, 0, 0].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert seen["last_tools"][:, :, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
    after, reward, *_, info = env.step(choose(1, 1))
    assert torch.equal(after["image"][0], seen["image"][0]) and reward[0] == 0 and info["cost"].tolist() == [0, 2]
    assert after["last_tools"][0, STOP] == 1


def test_a_budget_closes_what_it_does_not_pay_for():
    """The dear tool first, then the cheap one only; what is left is observed."""
    env = make(budget=2.5)
    assert begin(env)["budget"].tolist() == [[1.0], [1.0]]
    seen, *_ = env.step(choose(0, 1))
    assert torch.allclose(seen["budget"], torch.tensor([[0.8], [0.2]]))
    assert seen["action_mask"][:, :, 0, 0].tolist() == [[1, 1, 1], [1, 0, 1]]
    *_, info = env.step(choose(1, 1))
    assert info["cost"].tolist() == [2.0, 0.0]


def test_regions_are_blended_over_a_partition_of_unity():
    """Equal choices are the whole picture's; unequal ones lie between, pure at the far sides; cells pay a share."""
    env, whole = make(regions=2, price=1.0), make(price=1.0)
    begin(env), begin(whole)
    seen, reward, *_ = env.step(torch.zeros(2, 1, 2, 2, dtype=torch.long))
    same, same_reward, *_ = whole.step(choose(0, 0))
    assert torch.allclose(seen["image"], same["image"], atol=1e-4) and torch.allclose(reward, same_reward, atol=2e-2)
    first = begin(env)["image"]
    left = torch.tensor([[0, STOP], [0, STOP]]).expand(2, 1, 2, 2)
    seen, _, _, _, info = env.step(left)
    change = seen["image"] - first
    assert torch.allclose(change[..., 0], torch.tensor(0.1), atol=1e-4) and change[..., -1].abs().max() == 0
    assert (change.diff(dim=-1) <= 1e-4).all() and torch.allclose(info["cost"], torch.tensor(0.25))
    assert info["agent_rewards"]["local"].shape == (2, 1, 2, 2)
    assert seen["action_mask"][0, 0].tolist() == [[1, 0], [1, 0]]


def test_weights_of_regions_sum_to_one(image):
    """Tools that change nothing leave the picture as it is, whatever the cells choose."""
    actions = ToolchainActions(("a", "b"), regions=3, functions=(lambda x: x, lambda x: x.clone()))
    choice = torch.randint(0, 3, (len(image), 1, 3, 3), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(actions.apply(image, {"local": choice}), image, atol=1e-6)


@pytest.mark.parametrize("score, after", [
    ("ssim", lambda image, target: None),
    ({"l1": 2.0}, lambda image, target: -2 * (image - target).abs().mean((1, 2, 3))),
    (lambda image, target: image.mean((1, 2, 3)), lambda image, target: image.mean((1, 2, 3)))])
def test_any_score_is_rewarded_by_its_rise(score, after):
    """A term, a mapping of terms, a function that needs no reference."""
    env = make(score=score)
    first = begin(env)["image"]
    seen, reward, *_, info = env.step(choose(0, 1))
    expected = after(seen["image"], env.episode.batch.target)
    if expected is not None:
        assert torch.allclose(reward, expected - after(first, env.episode.batch.target), atol=1e-4)
    assert torch.allclose(info["agent_rewards"]["global"].flatten(), reward, atol=1e-5) and reward.abs().min() > 0
    if callable(score):
        env.reset(options={"batch": Batch(first)})
        assert torch.equal(env.step(choose(0, 1))[1], reward)


def test_the_price_may_be_asked_for():
    """As a preference that is observed; each picture has its own."""
    env = make(price_range=(0.0, 0.1, 1.0))
    assert torch.allclose(begin(env)["preference"], torch.tensor([[-0.8], [-0.8]]))
    free, dear = (env.preferences.encode({"price": price}, 1) for price in (0.0, 1.0))
    env.reset(options={"batch": env.episode.batch, "preference": torch.cat([free, dear])})
    *_, info = env.step(choose(1, 1))
    begin(make())
    gains = info["agent_rewards"]["global"].flatten()
    plain = make()
    begin(plain)
    assert torch.allclose(plain.step(choose(1, 1))[1] - gains, torch.tensor([0.0, 2.0]), atol=1e-4)


def test_no_tool_runs_twice_on_a_picture():
    """Copies of a picture and later episodes share results; the cache may be shared too."""
    cache = ToolCache((ADD, HALF))
    env = make(cache=cache)
    begin(env)
    batch = env.episode.batch.repeat(2)
    for _ in range(2):
        env.reset(options={"batch": batch})
        env.step(choose(0, 0, 1, 1)), env.step(choose(1, 0, 1, 1))
    assert cache.computed == 2 + 3  # of a, a, b, b; then a-1, a-0, b-1 once


@pytest.mark.parametrize("arguments, text", [
    ({"tools": "magic"}, "magic"), ({"tools": (ADD, ADD)}, "different names"),
    ({"price": -1.0}, "price must be finite"),
    ({"price_range": (-1.0, 0.0, 1.0)}, "not negative; got -1"), ({"regions": 0}, "regions must be at least 1"),
    ({"budget": float("nan")}, "budget must be finite"),
])
def test_bad_arguments_are_refused(arguments, text):
    """By name, with what would do."""
    with pytest.raises(UsageError, match=text):
        make(**arguments)


def test_single_pictures_and_names_of_tools():
    """`gymnasium.make` holds one picture; tools are a kit or names."""
    env = gymnasium.make("rlenhance/Toolchain-v0", tools=["median", "unsharp"], size=16, horizon=2, damage="wide")
    first, _ = env.reset(seed=3)
    assert env.observation_space.contains(first) and env.action_space.n == 3
    seen, reward, *_, info = env.step(1)
    assert isinstance(reward, float) and info["cost"] > 0 and not np.array_equal(seen["image"], first["image"])

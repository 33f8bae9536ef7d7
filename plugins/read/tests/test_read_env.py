"""`rlenhance/Read-v0`: reads, their price, what is seen of them, and a policy that learns when to try again."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from made_up_reading import CHAINS, LevelScenes, level_scenes, rendered
from rlenhance.agents import OptimizerConfig
from rlenhance.agents.vine import Vine, VineConfig
from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import load_installed, loaded_plugins
from rlenhance.experiments.core.sweep_settings import task_of
from rlenhance.experiments.laws import cases
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS
from rlenhance_read.learning.env import ReadEnv
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.learning.task import seen_examples, validate
from rlenhance_read.ocr.engines import FunctionEngine

STOP = len(CHAINS)


def make_env(**arguments):
    """Bright and dark scenes; the plain chain reads the first, the inverted one the others."""
    return ReadEnv(source=level_scenes(), **{"horizon": 3, "price": 0.05, "autoreset_mode": "Disabled",
                                             "check_nan": False, "info_maps": False, **arguments})


def begin(env, rows):
    return env.reset(options={"batch": env.scenes.pictures(rows)})[0]


def test_gymnasium_finds_nothing_to_complain_of():
    """With scenes that are rendered; spaces hold what comes."""
    engine = FunctionEngine(lambda picture: ("word", float(picture.mean()) / 255))
    env = gymnasium.make("rlenhance/Read-v0", source=ReadScenes(rendered(), 5, engine), horizon=2,
                         render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=False)
    assert [str(warning.message) for warning in caught] == []
    observation, _ = env.reset(seed=3)
    assert env.observation_space.contains(observation)


def test_rewards_telescope():
    """Their sum is the accuracy of the answer less the price of the reads; the surer reading is the answer."""
    env = make_env()
    begin(env, [0, 1])
    rewards, costs = torch.zeros(2), torch.zeros(2)
    for action in ([0, 0], [1, 1], [STOP, 2]):
        _, reward, terminated, _, info = env.step(torch.tensor(action))
        rewards, costs = rewards + reward, costs + info["cost"]
    assert terminated.all() and torch.equal(info["accuracy"], torch.ones(2))
    assert torch.allclose(costs, torch.tensor([2.05, 3.10]))
    assert torch.allclose(rewards, info["accuracy"] - 0.05 * costs)


def test_a_worse_reading_costs_its_price_alone():
    """The answer stays where the second reading is less sure."""
    env = make_env()
    begin(env, [1])
    _, first, *_ = env.step(torch.tensor([0]))
    _, second, *_ = env.step(torch.tensor([1]))
    assert first.item() == pytest.approx(0.95) and second.item() == pytest.approx(-0.05 * 1.05)


def test_no_chain_is_read_twice():
    """It is not allowed, and counts as a stop; after a stop nothing is allowed."""
    env = make_env()
    begin(env, [0, 1])
    observation, *_ = env.step(torch.tensor([0, STOP]))
    assert observation["action_mask"][:, :, 0, 0].tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    _, reward, *_ = env.step(torch.tensor([0, 1]))
    assert reward.tolist() == [0, 0]


def test_what_is_seen_holds_no_truth():
    """Nothing of the readings before the first; the same whatever the text is."""
    env = make_env()
    observation = begin(env, [0, 1])
    assert not observation["readings"].any() and observation["look"].any()
    seen, *_ = env.step(torch.tensor([0, 0]))
    env.scenes.text[:] = ["other"] * len(env.scenes.text)
    env.scenes.accuracy[:] = 0.5
    begin(env, [0, 1])
    again, *_ = env.step(torch.tensor([0, 0]))
    assert all(torch.equal(seen[name], again[name]) for name in seen)
    assert seen["readings"][0].tolist() != seen["readings"][1].tolist()


def test_reads_are_made_once_and_only_where_asked_for():
    """A branch goes on as its scenes would, and the environment itself stays."""
    env = make_env()
    begin(env, [0, 1, 2])
    env.step(torch.tensor([0, 0, STOP]))
    assert env.scenes.known.sum() == 2
    before = env.action_mask()
    branch = env.branch(torch.tensor([0, 0, 1]))
    _, reward, *_ = branch.step(torch.tensor([1, 2, STOP]))
    assert torch.equal(env.action_mask(), before) and env.scenes.known.sum() == 4
    assert reward[0] > 0.4 and reward[2] == 0


def test_a_table_is_the_same_after_it_was_written(tmp_path):
    """Other chains are refused; and pictures that are no scenes."""
    scenes = level_scenes(4)
    scenes.read_all()
    scenes.save(tmp_path / "table.npz")
    other = level_scenes(4)
    other.load(tmp_path / "table.npz")
    other.load(tmp_path / "table.npz")
    assert all(np.allclose(getattr(scenes, name), getattr(other, name), atol=0.002) for name in (
        "small", "look", "numbers", "accuracy", "agreement"))
    assert other.text == scenes.text and len(other.pictures([2, 3])) == 2
    with pytest.raises(UsageError, match="other chains"):
        ReadScenes(LevelScenes(), 4, None, CHAINS[:2]).load(tmp_path / "table.npz")
    with pytest.raises(UsageError, match="scenes of its own"):
        make_env().reset(options={"batch": Batch(torch.rand(1, 3, 24, 24))})


@pytest.mark.statistical
def test_vine_learns_to_read_where_it_pays():
    """Bright scenes are read as they are, dark ones inverted, each once."""
    env = make_env()
    env.scenes.read_all()
    torch.manual_seed(0)
    policy = MODELS.create("read_policy", tools=[tool.name for tool in env.tools], horizon=3, hidden=32)
    policy.standardize(seen_examples(env, 40))
    learner = Vine(policy, env, VineConfig(optimizer=OptimizerConfig(3e-3, 10, 0.02, 5.0), ema_decay=0.9,
                                           gradient_steps=16, states=48, entropy=(0.05, 0.0)), seed=1)
    for update in range(8):
        learner.step(env.scenes.batch(update, 8), update / 8)
    found = validate(policy, env)
    assert found["val/accuracy"] == pytest.approx(1) and found["val/reads"] == pytest.approx(1)


def test_the_plugin_is_found():
    """Its environment, its network in checkpoints, and its training in sweeps."""
    assert gymnasium.spec("rlenhance/Read-v0").entry_point == "rlenhance_read.learning.env:ReadImageEnv"
    load_installed()
    assert "read_policy" in loaded_plugins()["rlenhance_read.learning.policy"].names
    assert task_of("read_train").command == "rlenhance_read.train"


@pytest.mark.parametrize("law, name", cases("model", ["read_policy"]), ids=str)
def test_laws(law, name):
    """The policy obeys every law of networks."""
    law.check(name)

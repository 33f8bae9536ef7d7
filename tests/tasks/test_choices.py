"""What an option that takes a registered name takes: every entry that serves the task, and no other."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from rlenhance.agents import A3C, LEARNERS, SAC, Direct, Supervised, reward_learners
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.config import chooses_tools, fitting, is_policy_learner
from rlenhance.experiments.tasks.denoise import DENOISE, DenoiseNetworkConfig
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, edits_photographs, make_policy
from rlenhance.learning.actions import ACTION_SETS, PointwiseActions
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.rewards import RewardWeights
from tests.support.training import train_lowlight

pytestmark = pytest.mark.usefixtures("no_curves")


@dataclass(frozen=True)
class Gamma(PointwiseActions):
    """A user's own set: one number per agent, with a stride and an argument of its own."""

    agent_stride: int = 4
    kind: str = "gamma"
    action_dim: ClassVar[int] = 1
    global_agent = True

    def parameters(self, action):
        return action["global"]

    magnitude = parameters

    def apply_parameters(self, image, parameters):
        return image.clamp(1e-3, 1) ** torch.exp(-parameters)

    def noop(self, count, height, width):
        return {scope: torch.zeros(count, 1, *self.agent_grid(scope, height, width)) for scope in self.scopes}


@pytest.fixture
def gamma():
    """It is registered for as long as a test takes."""
    ACTION_SETS.register("gamma")(Gamma)
    yield
    ACTION_SETS.remove("gamma")


@pytest.mark.parametrize("name", list(ACTION_SETS))
def test_every_action_set_for_photographs_makes_a_policy_and_others_are_refused_by_name(name):
    """The set that is asked for, not another one."""
    config = PolicyConfig(actions=name, controls=False, state_size=16, horizon=2)
    if edits_photographs(ACTION_SETS[name]):
        assert make_policy(config, RewardWeights()).actions.spec["name"] == name
    else:
        told = rf"{name} is for the task {ACTION_SETS[name].purpose}; .* curve, bilateral, tone"
        with pytest.raises(UsageError, match=told):
            make_policy(config, RewardWeights())


def test_an_action_set_of_ones_own_is_trained_with_the_settings_that_it_has(gamma, tmp_path, pairs):
    """The stride is the option's; its other arguments keep their defaults."""
    policy = PolicyConfig(actions="gamma", controls=False, agent_stride=2, state_size=16, horizon=2)
    made = make_policy(policy, RewardWeights())
    assert isinstance(made.actions, Gamma)
    assert made.actions.spec == {"name": "gamma", "agent_stride": 2, "kind": "gamma"}
    result = train_lowlight(pairs, out=tmp_path, name="run", updates=1, batch_size=2, policy=policy)
    assert result.fitted.updates == 1


@pytest.mark.parametrize("words, told", [
    (["--actions", "nonsense"], "unknown action set 'nonsense'"),
    (["--actions", "filters", "--no-controls"], "the action set filters is for the task denoise"),
    (["--actions", "gamma", "--controls"],
     "--controls need agents that can follow them: --actions bilateral or tone; got gamma"),
    (["--actions", "gamma", "--no-controls", "--momentum", "0.2", "--no-global-agent"],
     "the action set gamma has no global_agent, momentum: leave them out"),
    (["--actions", "tone", "--channels", "coupled"], "the action set tone has no channels: leave it out"),
])
def test_settings_that_an_action_set_does_not_have_are_refused(words, told, gamma, tmp_path, capsys):
    """Before pictures are read, by name."""
    assert train_command(LOWLIGHT, [*words, "--out", str(tmp_path / "runs")]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_a_learner_says_what_it_can_train():
    """Tables of names follow the classes."""
    assert set(reward_learners()) == {"a3c", "sac"}
    assert set(fitting(LEARNERS, chooses_tools)) == {name for name in LEARNERS if LEARNERS[name] is not SAC}
    assert [LEARNERS[name] for name in fitting(LEARNERS, is_policy_learner)] == [A3C, Direct, SAC]
    assert not is_policy_learner(Supervised)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_memory_is_for_backbones_that_have_one(name):
    """Others refuse to be told how to remember."""
    config = DenoiseNetworkConfig(backbone=name, memory="every")
    if name.startswith("gru_"):
        assert config.spec == {"name": name, "memory": "every"}
    else:
        assert DenoiseNetworkConfig(backbone=name).spec == {"name": name}
        with pytest.raises(UsageError, match=f"{name} has no memory"):
            _ = config.spec
    assert DENOISE.Config().network.memory == "first"

"""Which reward terms an environment works out: those with a weight, the others on request."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from rlenhance import envs  # noqa: F401 - registers the ids
from rlenhance.agents import A3C, SAC, A3CConfig, Direct, DirectConfig, SACConfig
from rlenhance.core.errors import UsageError
from rlenhance.envs import ENV_IDS, LowLightEnv
from rlenhance.envs.transition import unweighted_gains
from rlenhance.learning.data import Batch
from rlenhance.learning.models.policy import PixelPolicy
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights

every_id = pytest.mark.parametrize("name", ENV_IDS)


def make(name, **arguments):
    torch.manual_seed(5)  # of networks without a model
    env = gymnasium.make(name, size=16, **arguments)
    env.reset(seed=5)
    env.action_space.seed(5)
    return env


@every_id
def test_terms_without_weight_are_not_worked_out(name, monkeypatch):
    """By default no term of weight 0 is computed at all, and `info` has the others."""
    env = make(name)
    active = set(env.unwrapped.env.reward.weights.active)

    def refuse(*arguments):
        raise AssertionError("a term of weight 0 was computed")

    for term in [TERMS[name] for name in TERMS if name not in active]:
        monkeypatch.setitem(TERMS._entries, term.name, replace(term, cost=refuse))
    *_, info = env.step(env.action_space.sample())
    assert set(info["term_maps"]) == set(info["reward_terms"])
    assert info["reward_terms"] and set(info["reward_terms"]) <= active


@every_id
def test_all_terms_stand_in_info_on_request(name):
    """`info_terms="all"` adds every other term that can be computed, and changes neither reward nor map."""
    few, many = make(name), make(name, info_terms="all")
    action = few.action_space.sample()
    (_, reward, *_, less), (_, same, *_, more) = few.step(action), many.step(action)
    assert reward == same
    np.testing.assert_array_equal(less["reward_map"], more["reward_map"])
    inner = many.unwrapped.env
    has_reference = inner.episode.batch.target is not None
    told = {name for name in TERMS if TERMS[name].default_factor and (has_reference or not TERMS[name].reference)}
    assert set(more["reward_terms"]) == set(more["term_maps"]) == told > set(less["reward_terms"])
    for term, part in less["reward_terms"].items():
        assert part["raw"] == more["reward_terms"][term]["raw"], term
    vector = gymnasium.make_vec(name, num_envs=2, size=16, info_terms="all", output="torch")
    vector.reset(seed=5)
    *_, info = vector.step(vector.action_space.sample())
    assert {name for name in info["reward_terms"] if not name.startswith("_")} == told  # `_name`: which images have it


def test_a_reward_of_ones_own_needs_no_term():
    """With every weight at zero the environment goes on; reward and map are zero."""
    env = make("rlenhance/LowLight-v0", reward=dict.fromkeys(TERMS, 0.0))
    _, reward, *_, info = env.step(env.action_space.sample())
    assert reward == 0 and not info["reward_map"].any() and info["reward_map"].shape == (1, 16, 16)


@every_id
def test_other_words_are_refused(name):
    """With the two that there are."""
    with pytest.raises(UsageError, match="info_terms is active or all; got 'every'"):
        gymnasium.make_vec(name, num_envs=1, size=16, info_terms="every")


def test_gains_of_unweighted_terms_are_the_sums_over_the_steps(image, generator):
    """From the first and the last image alone, with a reference and without."""
    for target in (None, (image * 2).clamp(0, 1)):
        env = LowLightEnv(2, horizon=3, info_terms="all", autoreset_mode="Disabled")
        first, _ = env.reset(options={"batch": Batch(image, target)})
        sums = {}
        for _ in range(3):
            action = {scope: torch.rand((2, *space.shape), generator=generator) * 2 - 1
                      for scope, space in env.single_action_space.spaces.items()}
            last, *_, info = env.step(action)
            for name, part in info["reward_terms"].items():
                sums[name] = sums.get(name, 0) + part["raw"]
        gains = unweighted_gains(env.episode, first["image"], last["image"])
        weights = env.reward.weights
        assert set(gains) == {name for name in sums if TERMS[name].kind == "state" and not weights[name]}
        for name, gain in gains.items():
            assert torch.allclose(gain.mean(dim=(1, 2, 3)), sums[name], atol=1e-4), name


@pytest.mark.parametrize("kind, config", [(A3C, A3CConfig), (SAC, SACConfig), (Direct, DirectConfig)])
def test_trainings_log_unweighted_terms_at_every_kth_update(kind, config, image):
    """Training rows have them at the second and fourth update; they do not change what is learned."""
    batch, learners = Batch(image), []
    for interval in (2, 0):
        torch.manual_seed(0)
        policy = PixelPolicy({"name": "curve"}, {"name": "compact", "width": 8}, horizon=2, decision_size=None,
                             std_mode=kind.std_mode)
        learners.append(kind(policy, Reward(RewardWeights({"noise": 0})), config(log_all_terms_interval=interval)))
    logs = [[learner.step(batch) for _ in range(4)] for learner in learners]
    assert ["reward/noise" in row for row in logs[0]] == [False, True, False, True]
    assert not any("reward/noise" in row for row in logs[1])
    assert not any("reward/l1" in row for row in logs[0])  # there is no reference
    for one, other in zip(*logs, strict=True):
        assert all(one[name] == value for name, value in other.items())

"""Which reward terms an environment works out: those with a weight, the others on request."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

import envs  # noqa: F401 - registers the ids
from envs import ENV_IDS
from rlenhance.core.errors import UsageError
from rlenhance.rewards import TERMS

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

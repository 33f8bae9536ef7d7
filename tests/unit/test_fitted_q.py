"""Fitted Q: small trees with known answers, and the network that values exposures."""

import copy

import numpy as np
import pytest
import torch

from rlenhance.agents.fitted_q import FittedQ, FittedQConfig, greedy, grow_tree, join_trees
from rlenhance.core.errors import UsageError
from rlenhance.engine.bracket_network import BracketNetwork
from rlenhance.envs import BracketEnv
from rlenhance.experiments.tasks.bracket import Config, Data, Network, all_choices, experience, main, returns_of, train
from rlenhance.hub.open import open_network
from rlenhance.learning.data.brackets import sample_brackets
from rlenhance.learning.models import MODELS, BracketValues
from rlenhance.ops.bracket import NUM_OBSERVED, taken_places

QUICK = FittedQConfig(gradient_steps=150, states=64, learning_rate=1e-2, folds=2)
BET, SURE = 0, 1


class Door:
    """Two steps. A bet earns 2 or 0 by a second choice that nothing tells; what is sure earns 1.4, or 1 and then 0.

    The best return is 2, by the bet; the best that anybody reaches who does not know is 1.4.
    """

    def __init__(self, count=64):
        self.hidden, self.first, self.ids = np.arange(count) // 2 % 2, np.full(count, -1), np.arange(count)

    def observe(self):
        seen = np.zeros((len(self.ids), NUM_OBSERVED), np.float32)
        seen[:, 0], seen[:, 1] = self.first >= 0, self.first == BET
        return {"observation": seen, "action_mask": np.ones((len(seen), 2), np.int8)}

    def branch(self, rows):
        made = copy.copy(self)
        made.hidden, made.first, made.ids = self.hidden[rows], self.first[rows], self.ids[rows]
        return made

    def step(self, actions):
        ended = self.first >= 0
        reward = np.where(ended, np.where(self.first == BET, 2.0 * (actions == self.hidden), 0.0),
                          np.where(actions == BET, 0.0, 1.4))
        self.first = np.where(ended, self.first, actions)
        return self.observe(), reward, ended, np.zeros(len(ended), bool), {}

    def keys(self):
        return list(zip(self.ids.tolist(), self.first.tolist(), strict=True))

    def groups(self):
        return [str(number) for number in self.ids]

    def potential(self):
        return np.zeros(len(self.ids))


def network(outputs):
    torch.manual_seed(0)
    return BracketValues(width=16, heads=2, dropout=0.0, outputs=outputs)


def test_it_learns_what_can_be_known():
    """What a bet is worth to those who do not know is 1, so the sure door is taken. The best possible return, which
    regression of it promises, is 2, and only 1 comes of it; the next reward alone is sure too."""
    door = Door()
    tree = grow_tree(door, door.observe())
    starts = np.flatnonzero(tree.depth == 0)
    assert len(tree) == 3 * 64 and tree.best()[starts].tolist() == [2.0] * 64
    ends = {}
    for bootstrap in ("value", "policy", "optimal", "none"):
        made = network(2)
        FittedQ(made, FittedQConfig(**{**vars(QUICK), "bootstrap": bootstrap})).fit(tree)
        ends[bootstrap] = tree.follow(greedy(made, tree.observation, tree.allowed), starts).mean()
    assert ends == pytest.approx({"value": 1.4, "policy": 1.4, "optimal": 1.0, "none": 1.4})


def test_every_state_is_in_a_tree_once():
    """Of seven places up to three are taken where a choice is left: 63 states of a scene, whatever the order."""
    scenes = sample_brackets()[:2]
    tree = all_choices(scenes)
    taken = taken_places(tree.observation)
    assert len(tree) == 2 * 63 == len({(group, chosen) for group, chosen in zip(tree.group, taken, strict=True)})
    assert np.bincount(tree.depth).tolist() == [14, 42, 70]
    row = next(number for number, chosen in enumerate(taken) if chosen == {2} and tree.group[number] == 1)
    after = tree.following[row, 5]
    assert taken[after] == {2, 5} and tree.group[after] == 1
    assert tree.potential[after] == pytest.approx(tree.potential[row] + tree.reward[row, 5])
    both = join_trees([tree, tree]).part([1])
    assert len(both) == 126 and set(both.group) == {1} and both.best().max() == pytest.approx(
        tree.part([1]).best().max())


def test_it_chooses_better_than_by_the_next_gain_on_scenes_it_knows():
    """By more than half a decibel; what is followed is what the environment gives."""
    scenes = sample_brackets()[:4]
    tree, _ = experience(scenes, 0, 0)
    whole = all_choices(scenes)
    made, _ = train(Network(width=64, heads=2, dropout=0.0, learner=QUICK), tree, 0)
    ends = returns_of(made, whole)
    starts = whole.depth == 0
    best = (whole.potential + whole.best())[starts]
    assert (ends <= best + 1e-9).all() and ends.mean() > best.mean() - 2.5
    env = BracketEnv(1, brackets=scenes[:1], autoreset_mode="Disabled")
    seen, _ = env.reset(options={"starts": [0], "brackets": scenes[:1]})
    ended = np.array([False])
    while not ended.all():
        seen, _, ended, _, info = env.step(greedy(made, seen["observation"], seen["action_mask"] > 0))
    assert info["quality"][0] == pytest.approx(ends[0])


def test_few_scenes_are_refused():
    """With the numbers."""
    tree = all_choices(sample_brackets()[:1])
    with pytest.raises(UsageError, match="1 groups"):
        FittedQ(network(8)).fit(tree)


def test_the_engine_gives_the_same_values(tmp_path, monkeypatch):
    """The command's network, opened without torch."""
    monkeypatch.chdir(tmp_path)
    folder = main(Config(Data(parts=0), Network(width=16, heads=2, learner=FittedQConfig(gradient_steps=2))))
    opened = open_network(folder / "best")
    assert isinstance(opened, BracketNetwork)
    seen = np.random.default_rng(0).random((5, NUM_OBSERVED), np.float32)
    from rlenhance.learning.hub.checkpoint import load_network

    wanted = load_network(folder / "best")(torch.from_numpy(seen)).detach().numpy()
    assert np.abs(opened.values(seen) - wanted).max() < 1e-3 and np.abs(opened.values(seen[0]) - wanted[0]).max() < 1e-3


def test_bad_networks_are_refused():
    """By the model, and by the engine where weights and config do not fit."""
    with pytest.raises(UsageError, match="heads"):
        MODELS.create("bracket_values", heads=0)
    weights = {name: value.numpy() for name, value in network(8).state_dict().items()}
    with pytest.raises(UsageError, match=r"the weight weights\.0 has the shape"):
        BracketNetwork({"width": 32, "heads": 2}, weights)

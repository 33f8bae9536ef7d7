"""Fitted Q iteration over decision trees: for discrete environments that can branch, and whose episodes are short."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError, check_ranges


class BranchingEnv(Protocol):
    """A vector environment of NumPy arrays whose present states can be gone on with elsewhere.

    Its observations have "observation" (N, D) and "action_mask" (N, A).
    """

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every episode."""

    def branch(self, rows: np.ndarray) -> Self:
        """The episodes of some rows; a row may be there several times."""

    def potential(self) -> np.ndarray:
        """What values are counted from, (N,): a value is the return from now on, plus this."""

    def keys(self) -> list[Hashable]:
        """Equal for equal states: (N,)."""

    def groups(self) -> list[str]:
        """What folds never divide, as the scene: (N,)."""


@dataclass(frozen=True)
class DecisionTree:
    """All states that choices lead to, with what each choice earns.

    Attributes:
        observation: (M, D) float32.
        allowed: (M, A) bool.
        reward: (M, A), 0 where a choice is not allowed.
        following: (M, A), the number of the state after it; -1: the episode ends.
        potential: (M,).
        group: (M,) whole numbers.
        depth: (M,) steps from the start.
    """

    observation: np.ndarray
    allowed: np.ndarray
    reward: np.ndarray
    following: np.ndarray
    potential: np.ndarray
    group: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.depth)

    def part(self, groups: Sequence[int] | np.ndarray) -> DecisionTree:
        """The states of some groups."""
        rows = np.flatnonzero(np.isin(self.group, groups))
        places = np.full(len(self) + 1, -1)
        places[rows] = np.arange(len(rows))
        return replace(self, **{name: getattr(self, name)[rows] for name in vars(self) if name != "following"},
                       following=places[self.following[rows]])

    def returns(self, values: np.ndarray) -> np.ndarray:
        """What each choice comes to, (M, A), given the return from each state on, (M,)."""
        return self.reward + np.where(self.following >= 0, values[self.following], 0.0)

    def best(self) -> np.ndarray:
        """The highest return from each state on: (M,)."""
        values = np.zeros(len(self))
        for depth in range(self.depth.max(), -1, -1):
            rows = self.depth == depth
            values[rows] = np.where(self.allowed, self.returns(values), -np.inf)[rows].max(axis=1)
        return values

    def follow(self, choice: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The return of the choices (M,), from the states `rows` on: (len(rows),)."""
        total, present, going = np.zeros(len(rows)), rows.copy(), np.ones(len(rows), bool)
        while going.any():
            taken = choice[present[going]]
            total[going] += self.reward[present[going], taken]
            present[going] = self.following[present[going], taken]
            going = present >= 0
        return total


def grow_tree(env: BranchingEnv, observation: dict[str, np.ndarray]) -> DecisionTree:
    """Every state that choices lead to from the present ones; equal states are one.

    Args:
        env: at the start of its episodes, which all end after some steps.
        observation: what `reset` gave.
    """
    numbers: dict[Hashable, int] = {}
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("observation", "allowed", "potential", "group", "depth")}
    edges: list[tuple[np.ndarray, np.ndarray]] = []
    groups: dict[str, int] = {}
    new, depth = _unseen(env.keys(), numbers, np.arange(len(observation["action_mask"]))), 0
    frontier, seen = env.branch(new), {name: value[new] for name, value in observation.items()}
    while len(new):
        allowed = seen["action_mask"] > 0
        parts["observation"].append(seen["observation"])
        parts["allowed"].append(allowed)
        parts["potential"].append(frontier.potential())
        parts["group"].append(np.array([groups.setdefault(name, len(groups)) for name in frontier.groups()]))
        parts["depth"].append(np.full(len(allowed), depth))
        rows, actions = np.nonzero(allowed)
        tried = frontier.branch(rows)
        after, reward, ended, cut, _ = tried.step(actions)
        earned, following = np.zeros(allowed.shape), np.full(allowed.shape, -1)
        earned[rows, actions] = reward
        going, keys = np.flatnonzero(~(ended | cut)), tried.keys()
        new = _unseen(keys, numbers, going)
        following[rows[going], actions[going]] = [numbers[keys[row]] for row in going]
        edges.append((earned, following))
        frontier, seen, depth = tried.branch(new), {name: value[new] for name, value in after.items()}, depth + 1
    return DecisionTree(**{name: np.concatenate(part) for name, part in parts.items()},
                        reward=np.concatenate([edge[0] for edge in edges]),
                        following=np.concatenate([edge[1] for edge in edges]))


def _unseen(keys: Sequence[Hashable], numbers: dict[Hashable, int], rows: np.ndarray) -> np.ndarray:
    """Those of some rows whose states have no number yet, once each; they get one."""
    new = []
    for row in rows.tolist():
        if keys[row] not in numbers:
            numbers[keys[row]] = len(numbers)
            new.append(row)
    return np.array(new, int)


def join_trees(trees: Sequence[DecisionTree]) -> DecisionTree:
    """Trees as one; groups of the same number stay one group."""
    starts = np.cumsum([0, *(len(tree) for tree in trees)])
    joined = {name: np.concatenate([getattr(tree, name) for tree in trees]) for name in vars(trees[0])}
    joined["following"] = np.concatenate([np.where(tree.following >= 0, tree.following + start, -1)
                                          for tree, start in zip(trees, starts, strict=False)])
    return DecisionTree(**joined)


@dataclass(frozen=True)
class FittedQConfig:
    """How values are regressed."""

    bootstrap: Literal["value", "policy", "optimal", "none"] = "value"
    """Value of what follows a choice: the highest one that is predicted by networks which have not learned from its
    scene (value: fitted Q), the return of what these choose (policy), the highest return there is (optimal), or
    none: the next reward alone."""
    folds: int = 4
    """Parts of the groups; the value of a state is predicted by a network that has learned from the other parts."""
    gradient_steps: int = 4000
    """Of the network, and three quarters as many of the one for each fold and depth."""
    states: int = 64
    """States of a gradient step, for each head."""
    learning_rate: float = 2e-3
    """Highest rate of AdamW; it rises and falls (one cycle)."""
    weight_decay: float = 0.01
    """Of AdamW."""
    value_weight: float = 1.0
    """Weight of the differences between the values of a state's choices."""
    level_weight: float = 1.0
    """Weight of the mean value of a state."""
    regret_weight: float = 0.0
    """Weight of the expected regret in dB of a choice drawn like exp(value in dB): a policy gradient over all choices
    (vine)."""

    def __post_init__(self) -> None:
        check_ranges(self, "[2, inf)", "folds")
        check_ranges(self, "[1, inf)", "gradient_steps", "states")
        check_ranges(self, "(0, inf)", "learning_rate")
        check_ranges(self, "[0, inf)", "weight_decay", "value_weight", "level_weight", "regret_weight")


class FittedQ:
    """Learn the values of choices by regression, from the last step of an episode to the first.

    What follows a choice is worth the highest value that is predicted there, by a network that has not learned from
    that group: its own prediction would be too high, and so is the best return there is, which only somebody reaches
    who knows what the state does not show. Beside the values, the differences between the choices of a state are
    regressed: they decide.

    Args:
        network: values of observations, as `rlenhance.learning.models.BracketValues`; it is trained in place.
        config: settings.
        seed: of the batches.

    Source: fitted Q iteration (Ernst et al. 2005) over a finite horizon, from its end (Murphy 2005); we depart in the
    prediction across folds (as cross-fitting does), and in the loss.
    """

    def __init__(self, network: Any, config: FittedQConfig | None = None, *, seed: int = 0):
        self.network, self.config = network, config or FittedQConfig()
        self.generator = torch.Generator().manual_seed(seed)
        self._fresh = copy.deepcopy(network)

    def fit(self, tree: DecisionTree) -> dict[str, float]:
        """Learn from a tree; returns numbers for the log.

        Raises:
            UsageError: fewer groups than folds.
        """
        count = len(np.unique(tree.group))
        if count < self.config.folds:
            raise UsageError(f"the tree has {count} groups (scenes), and returns are learned in {self.config.folds} "
                             f"folds: take more scenes, or fewer folds")
        values = self._values(tree)
        loss = self.regress(tree, tree.returns(values) + tree.potential[:, None])
        return {"loss": loss, "states": float(len(tree)), "groups": float(count)}

    def regress(self, tree: DecisionTree, targets: np.ndarray) -> float:
        """Learn given values (M, A) of the choices of a tree; returns the last loss."""
        return self._train(self.network, tree, targets, np.arange(len(tree)), self.config.gradient_steps)

    def _values(self, tree: DecisionTree) -> np.ndarray:
        """The return from each state on, as `bootstrap` says."""
        values = np.zeros(len(tree))
        if self.config.bootstrap in ("optimal", "none"):
            return tree.best() if self.config.bootstrap == "optimal" else values
        folds = np.unique(tree.group, return_inverse=True)[1] % self.config.folds
        for depth in range(tree.depth.max(), 0, -1):
            targets = tree.returns(values)
            for fold in range(self.config.folds):
                rows = (tree.depth == depth) & (folds == fold)
                others = np.flatnonzero((tree.depth == depth) & (folds != fold))
                if not rows.any() or not len(others):
                    continue
                network = copy.deepcopy(self._fresh)
                self._train(network, tree, targets + tree.potential[:, None], others,
                            max(1, 3 * self.config.gradient_steps // 4))
                found = predict(network, tree.observation[rows], tree.allowed[rows])
                values[rows] = found.max(axis=1) - tree.potential[rows] if self.config.bootstrap == "value" else \
                    np.take_along_axis(targets[rows], found.argmax(axis=1)[:, None], axis=1)[:, 0]
        return values

    def _train(self, network: Any, tree: DecisionTree, targets: np.ndarray, rows: np.ndarray, steps: int) -> float:
        observation, wanted = (torch.from_numpy(np.ascontiguousarray(part[rows], np.float32)) for part in
                               (tree.observation, targets))
        allowed = torch.from_numpy(tree.allowed[rows])
        network.standardize(observation, float(wanted[allowed].mean()))
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), self.config.learning_rate,
                                      weight_decay=self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.config.learning_rate, max(steps, 2))
        recent = 0.0
        for step in range(steps):
            batch = torch.randint(len(rows), (network.heads, self.config.states), generator=self.generator)
            loss = self._loss(network.each(observation[batch]), wanted[batch], allowed[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            if step + 1 < steps:
                schedule.step()
            recent += (loss.item() - recent) / min(step + 1, 100)
        network.eval()
        return recent

    def _loss(self, values: Tensor, wanted: Tensor, allowed: Tensor) -> Tensor:
        """Differences between the choices of a state, their mean, and the regret: in units of 5 dB."""
        count = allowed.sum(dim=-1, keepdim=True)
        means = [torch.where(allowed, part, 0.0).sum(dim=-1, keepdim=True) / count for part in (values, wanted)]
        errors = F.smooth_l1_loss((values - means[0]) / _SCALE, (wanted - means[1]) / _SCALE, beta=0.5,
                                  reduction="none")
        loss = (self.config.value_weight * errors[allowed].mean()
                + self.config.level_weight * F.smooth_l1_loss(means[0] / _SCALE, means[1] / _SCALE))
        if self.config.regret_weight:
            chances = values.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
            best = wanted.masked_fill(~allowed, -torch.inf).amax(dim=-1, keepdim=True)
            regret = torch.where(allowed, chances * (best - wanted).clamp(max=2 * _SCALE), 0.0).sum(dim=-1).mean()
            loss = loss + self.config.regret_weight * regret / _SCALE
        return loss


_SCALE = 5.0  # dB that count as 1 in a loss


@torch.no_grad()
def predict(network: Any, observation: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The values of choices, -inf where they are not allowed: (N, D), (N, A) -> (N, A)."""
    values = network(torch.from_numpy(np.ascontiguousarray(observation, np.float32)))
    return np.asarray(np.where(allowed, values.numpy(), -np.inf))


def greedy(network: Any, observation: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The allowed choices of the highest value: (N, D), (N, A) -> (N,)."""
    return np.asarray(predict(network, observation, allowed).argmax(axis=1))

"""The planner of `rlenhance bracket --next`, by fitted Q iteration over all choices on brackets of a camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlenhance.agents.fitted_q import DecisionTree, FittedQ, FittedQConfig, greedy, grow_tree, join_trees
from rlenhance.envs import BracketEnv
from rlenhance.experiments.core.config import Flat
from rlenhance.learning.data.brackets import Bracket, load_brackets, sample_brackets
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.ops.bracket import MOST_PRICE, MOST_SHOTS

_WHOLE_SHARE = 0.6  # of the episodes with a price that have all shots


@dataclass(frozen=True)
class Data:
    """The scenes."""

    data: Path | None = None
    """Folder with a folder for each scene, which holds its frames (default: rendered sample scenes, a
    demonstration)."""
    parts: int = 7
    """Random parts of each scene that are learned from beside the whole, half of them with fewer exposures."""


@dataclass(frozen=True)
class Network:
    """The network, and how it learns."""

    width: int = 128
    """Units of each of the two hidden layers."""
    heads: int = 4
    """Perceptrons whose mean decides."""
    dropout: float = 0.1
    """Share of the hidden units that are left out in training."""
    learner: Flat[FittedQConfig] = field(default_factory=FittedQConfig)


@dataclass(frozen=True)
class Config:
    """Learn which exposure of a bracket to take next: every choice is tried on every scene."""

    data: Flat[Data] = field(default_factory=Data)
    network: Flat[Network] = field(default_factory=Network)
    name: str = "bracket"
    """Of the run, in runs/bracket."""
    out: Path = Path("runs/bracket")
    """Folder of the runs."""
    seed: int = 0
    """Of the parts, the prices and the weights."""


def all_choices(scenes: Sequence[Bracket], price: float = 0.0, shots: int = MOST_SHOTS) -> DecisionTree:
    """What every choice on every scene comes to, from every first shot; groups are places in `scenes`."""
    starts = [(scene, place) for scene in scenes for place in scene.offered]
    env = BracketEnv(len(starts), brackets=scenes, shots=shots, price=price, autoreset_mode="Disabled")
    observation, _ = env.reset(seed=0, options={"brackets": [scene for scene, _ in starts],
                                                "starts": [place for _, place in starts]})
    return grow_tree(env, observation)


def experience(scenes: Sequence[Bracket], parts: int, seed: int,
               describe: Callable[[Bracket], np.ndarray] | None = None) -> tuple[DecisionTree, np.ndarray]:
    """All choices on the scenes, and on parts of them: without a price, and with a random one and fewer shots.

    Args:
        describe: what else is wanted of each scene or part, (K,).

    Returns:
        The states, and what `describe` gave for the scene of each: (M, K), or (M, 0).
    """
    rng, trees, described = np.random.default_rng(seed), list[DecisionTree](), list[np.ndarray]()
    for number in range(parts + 1):
        seen = [scene.part(rng) for scene in scenes] if number else scenes
        about = np.array([[] if describe is None else describe(scene) for scene in seen])
        shots = MOST_SHOTS if rng.random() < _WHOLE_SHARE else int(rng.integers(2, MOST_SHOTS))
        for price, most in ((0.0, MOST_SHOTS), (float(rng.uniform(0, MOST_PRICE)), shots)):
            trees.append(all_choices(seen, price, most))
            described.append(about[trees[-1].group])
    return join_trees(trees), np.concatenate(described)


def train(config: Network, tree: DecisionTree, seed: int) -> tuple[Any, dict[str, float]]:
    """A network that has learned from a tree, and numbers of its training."""
    torch.manual_seed(seed)
    network = MODELS.create("bracket_values", width=config.width, heads=config.heads, dropout=config.dropout)
    return network, FittedQ(network, config.learner, seed=seed).fit(tree)


def returns_of(network: Any, tree: DecisionTree) -> np.ndarray:
    """What the choices of a network end with, from each start: returns and what they are counted from, in dB."""
    starts = np.flatnonzero(tree.depth == 0)
    choice = greedy(network, tree.observation, tree.allowed)
    return tree.potential[starts] + tree.follow(choice, starts)


def main(config: Config) -> Path:
    """Learn, save; returns the run's folder."""
    scenes = sample_brackets(config.seed) if config.data.data is None else load_brackets(config.data.data)
    print(f"{len(scenes)} scenes, {config.data.parts} parts of each")
    tree, _ = experience(scenes, config.data.parts, config.seed)
    network, log = train(config.network, tree, config.seed)
    whole = all_choices(scenes)
    starts = whole.depth == 0
    line = (f"{log['states']:.0f} states; on the scenes it learned from {returns_of(network, whole).mean():.2f} dB, "
            f"the best there is {(whole.potential + whole.best())[starts].mean():.2f}; figures on others: "
            f"python -m research.bracket_compare")
    print(line)
    save_checkpoint(config.out / config.name / "best", network.eval(), {"fit": line})
    return config.out / config.name

"""What a learned planner of brackets is worth: `python -m research.bracket_compare DIR`, cross-validated by scene.

Every planner takes up to four of seven exposures from each first shot of each scene; its score is the PSNR of their
fusion to that of all seven, less the price of the shots after the first. Networks have the same inputs, sizes and
scenes; fitted Q and vine train further ones for the returns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from rlenhance.agents.fitted_q import DecisionTree, FittedQ, FittedQConfig, greedy
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.config import Flat
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.stored_tables import table_made_here
from rlenhance.experiments.tasks.bracket import Network, all_choices, experience, train
from rlenhance.io.files import write_atomically
from rlenhance.learning.data.brackets import Bracket, load_brackets
from rlenhance.learning.models import BracketValues
from rlenhance.ops.bracket import MOST_SHOTS, PLACES, taken_places

STOP = PLACES
_METERED = 118 / 255
_SETS = [frozenset(chosen) for count in range(1, MOST_SHOTS + 1) for chosen in combinations(range(PLACES), count)]
_NUMBER = {chosen: number for number, chosen in enumerate(_SETS)}
_SIZES = np.array([len(chosen) for chosen in _SETS])
_NEAR = 25  # training scenes of similar brightness
_DRAWS = 4000  # of the bootstrap
#: The main row, with which all others are compared.
LEARNED = "fitted Q"
_OTHERS = {"regression of the next gain": FittedQConfig(bootstrap="none"),
           "regression of the oracle's return": FittedQConfig(bootstrap="optimal"),
           "policy gradient over all choices (vine)": FittedQConfig(bootstrap="policy", value_weight=0,
                                                            level_weight=0, regret_weight=1)}
#: The next place after some, or STOP; of a scene by its number.
Choice = Callable[[int, frozenset[int]], int]


@dataclass(frozen=True)
class Arguments:
    """Compare planners of brackets, cross-validated by scene."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder with a folder for each scene, which holds seven frames or more."""
    out: Path = Path("runs/bracket_compare.json")
    """File of the results."""
    prices: tuple[float, ...] = (0.0, 1.5)
    """Prices of a shot in dB."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the networks, and of the parts of scenes that they learn from."""
    scene_folds: int = 4
    """Parts of the scenes; each is scored by planners that learned from the others."""
    parts: int = 7
    """Random parts of each scene that are learned from."""
    network: Flat[Network] = field(default_factory=Network)


def values_of(scene: Bracket) -> np.ndarray:
    """The quality of every set of up to four shots, in dB, -inf where a place is not offered: (sets,)."""
    return np.array([scene.quality(chosen) if chosen <= set(scene.offered) else -np.inf for chosen in _SETS])


def best_set(values: np.ndarray, taken: frozenset[int], price: float) -> frozenset[int]:
    """That of the highest value (sets,), less its price, which holds what is taken."""
    holds = np.array([taken <= chosen for chosen in _SETS])
    return _SETS[int(np.where(holds, values - price * _SIZES, -np.inf).argmax())]


def play(choose: Choice, values: np.ndarray, scene: int, start: int, price: float) -> float:
    """What a planner ends with on a scene: its quality, less the price of the shots after the first."""
    taken = frozenset({start})
    while len(taken) < MOST_SHOTS and (place := choose(scene, taken)) != STOP:
        taken |= {place}
    return float(values[_NUMBER[taken]] - price * (len(taken) - 1))


def planners(trained: Mapping[str, Choice], predicted: Callable[[int, frozenset[int]], np.ndarray], values: np.ndarray,
             levels: np.ndarray, learned_from: np.ndarray, price: float) -> dict[str, Callable[[int, int], float]]:
    """What each planner ends with, given a scene and its first place.

    Args:
        trained: choices of networks.
        predicted: the values of all sets, as a network sees them after some shots.
        values: (scenes, sets); levels: (scenes, PLACES) mean brightness.
        learned_from: numbers of the training scenes.
    """
    def keep(chosen: Callable[[int, frozenset[int]], frozenset[int]]) -> Callable[[int, int], float]:
        def final(scene: int, start: int) -> float:
            wanted = chosen(scene, frozenset({start}))
            return float(values[scene, _NUMBER[wanted]] - price * (len(wanted) - 1))
        return final

    def follow(choose: Choice) -> Callable[[int, int], float]:
        return lambda scene, start: play(choose, values[scene], scene, start, price)

    def similar(scene: int, taken: frozenset[int]) -> frozenset[int]:
        start = min(taken)
        near = learned_from[np.argsort(np.abs(levels[learned_from, start] - levels[scene, start]))[:_NEAR]]
        return best_set(values[near].mean(axis=0), taken, price)

    def farthest_first(scene: int, taken: frozenset[int]) -> int:
        rest = best_set(predicted(scene, taken), taken, price) - taken
        return max(sorted(rest), key=lambda place: min(abs(place - one) for one in taken)) if rest else STOP

    def truly_greedy(scene: int, taken: frozenset[int]) -> int:
        gains = {place: values[scene, _NUMBER[taken | {place}]] - values[scene, _NUMBER[taken]] - price
                 for place in range(PLACES) if place not in taken}
        best = max(gains, key=lambda place: gains[place])
        return best if gains[best] > 0 or price == 0 else STOP

    fixed = {start: best_set(values[learned_from].mean(axis=0), frozenset({start}), price) for start in range(PLACES)}
    return {
        "the best fixed set for each first place": keep(lambda _, taken: fixed[min(taken)]),
        "the best set by the first shot's brightness": keep(similar),
        "greedy with true gains": follow(truly_greedy),
        "regression of whole sets, one shot": keep(lambda scene, taken: best_set(predicted(scene, taken), taken,
                                                                                price)),
        "regression of whole sets, replanned": follow(farthest_first),
        **{name: follow(choose) for name, choose in trained.items()},
        "oracle": keep(lambda scene, taken: best_set(values[scene], taken, price)),
    }


def choices(network: BracketValues, tree: DecisionTree, numbers: np.ndarray) -> Choice:
    """The greedy choices of a network for the states of a tree, whose groups have these numbers."""
    chosen = greedy(network, tree.observation, tree.allowed).tolist()
    known = {(int(numbers[group]), taken): place for group, taken, place in
             zip(tree.group, taken_places(tree.observation), chosen, strict=True)}
    return lambda scene, taken: known[scene, taken]


@torch.no_grad()
def set_predictions(network: BracketValues, tree: DecisionTree,
                    numbers: np.ndarray) -> Callable[[int, frozenset[int]], np.ndarray]:
    """The values of all sets that a network predicts for the states of a tree."""
    found = network(torch.from_numpy(tree.observation)).numpy()
    known = {(int(numbers[group]), taken): row for group, taken, row in
             zip(tree.group, taken_places(tree.observation), found, strict=True)}
    return lambda scene, taken: known[scene, taken]


def learn_sets(config: Network, tree: DecisionTree, values: np.ndarray, seed: int) -> BracketValues:
    """A network that predicts the value of every set from each state of a tree.

    Args:
        values: (M, sets), that of each state's scene.
    """
    torch.manual_seed(seed)
    network = BracketValues(config.width, config.heads, config.dropout, len(_SETS))
    held = np.array([[taken <= chosen for chosen in _SETS] for taken in taken_places(tree.observation)])
    allowed = held & np.isfinite(values)
    FittedQ(network, config.learner, seed=seed).regress(replace(tree, allowed=allowed), np.where(allowed, values, 0))
    return network.eval()


def compare(arguments: Arguments) -> dict[str, dict[str, list[list[float]]]]:
    """What each planner ends with: price -> planner -> (scenes, PLACES) by the first place, the mean over seeds."""
    scenes = [scene for scene in load_brackets(arguments.data) if len(scene.offered) == PLACES]
    if len(scenes) < 2 * arguments.scene_folds:
        raise UsageError(f"{arguments.data}: has {len(scenes)} scenes of {PLACES} frames or more, and "
                         f"{arguments.scene_folds} folds need {2 * arguments.scene_folds}: name more scenes, or fewer "
                         f"folds")
    values, levels = np.array([values_of(scene) for scene in scenes]), np.array([scene.levels for scene in scenes])
    whole = {price: all_choices(scenes, price) for price in arguments.prices}
    total: dict[str, dict[str, np.ndarray]] = {}
    for seed in arguments.seeds:
        tree, known = experience(scenes, arguments.parts, seed, values_of)
        print(f"seed {seed}: {len(scenes)} scenes, {len(tree)} states", file=sys.stderr)
        for fold in range(arguments.scene_folds):
            numbers = np.arange(len(scenes))
            inside = numbers % arguments.scene_folds == fold
            held, seen = numbers[inside], numbers[~inside]
            rows = np.isin(tree.group, seen)
            own, config = tree.part(seen), arguments.network
            networks = {name: train(replace(config, learner=_with(config.learner, other)), own, 100 * seed + fold)[0]
                        for name, other in {**_OTHERS, LEARNED: FittedQConfig()}.items()}
            sets = learn_sets(config, own, known[rows], 100 * seed + fold)
            for price, every in whole.items():
                part = every.part(held)
                trained = {name: choices(network, part, numbers) for name, network in networks.items()}
                found = planners(trained, set_predictions(sets, part, numbers), values, levels, seen, price)
                for name, final in found.items():
                    row = total.setdefault(str(price), {}).setdefault(name, np.zeros((len(scenes), PLACES)))
                    for scene in held:
                        row[scene] += [final(scene, start) / len(arguments.seeds) for start in range(PLACES)]
            print(f"seed {seed}, fold {fold} of {arguments.scene_folds}", file=sys.stderr, flush=True)
    return {"levels": {"mean brightness": levels.tolist()},
            **{price: {name: row.tolist() for name, row in rows.items()} for price, rows in total.items()}}


def _with(learner: FittedQConfig, other: FittedQConfig) -> FittedQConfig:
    return replace(learner, bootstrap=other.bootstrap, value_weight=other.value_weight,
                   level_weight=other.level_weight, regret_weight=other.regret_weight)


def table(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], price: str) -> list[list[str]]:
    """Rows of text: planner, mean from a random and from a metered start, and what each lacks of the learned one with
    its 95 % interval by a bootstrap over scenes."""
    levels = np.array(found["levels"]["mean brightness"])
    metered = np.abs(levels - _METERED).argmin(axis=1)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(levels), (_DRAWS, len(levels)))

    def starts(name: str) -> list[np.ndarray]:
        row = np.array(found[price][name])
        return [row.mean(axis=1), row[np.arange(len(row)), metered]]

    rows = []
    for name in found[price]:
        cells = [name]
        for own, learned in zip(starts(name), starts(LEARNED), strict=True):
            low, high = np.percentile((learned - own)[draws].mean(axis=1), [2.5, 97.5])
            cells += [f"{own.mean():.2f}", "" if name in (LEARNED, "oracle") else
                      f"{(learned - own).mean():.2f} ({low:.2f} to {high:.2f})"]
        rows.append(cells)
    return rows


def main(arguments: Arguments) -> Path:
    """Compare, print, store."""
    found = compare(arguments)
    tables = [table_made_here([f"price {price:g} dB", "random start", "less", "metered start", "less"],
                              table(found, str(price)), arguments.seeds) for price in arguments.prices]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out, json.dumps({**found, "tables": tables}).encode())
    for each in tables:
        print("\n" + "\n".join(markdown_table(each["columns"], each["rows"])))
    return arguments.out


if __name__ == "__main__":
    raise SystemExit(run_cli(main, Arguments))

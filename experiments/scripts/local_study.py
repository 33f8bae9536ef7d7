"""What local agents could win, a row per reward: `python -m experiments.scripts.local_study --data DIR`.

Every row is optimised twice by `reward_optimum`, each picture by itself and without a network: once with the global
agent alone, once with local agents beside it. The difference is all that local agents can gain by that reward. Most
rows ask for a pseudo-reference (`experiments.scripts.local_targets`) that is known at use time; `stack_fusion` and
`brightest_frame` are made from the other frames of the scene, which only training has, and `reference` is the ceiling.

The actions are chosen on reduced pictures, applied at full size, and the results reduced again to be scored: noise is
averaged away, and nothing is won by undoing what reducing does to a curve (rows in `_reduced` show how much that is).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from rlenhance.agents.base import make_env
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.collapse import fit_single_curve
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.scripts import local_targets
from rlenhance.experiments.scripts.reward_optimum import episode_return, optimize
from rlenhance.experiments.tasks.controllability import enhance
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from rlenhance.experiments.tasks.lowlight_evaluate import score_picture
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, make_policy
from rlenhance.hub.shipped import locate
from rlenhance.io import write
from rlenhance.learning.actions import Action
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, relative_contrast
from rlenhance.learning.models import GreedyEpisode, PixelPolicy, Policy
from rlenhance.learning.ops.image import brightness, resize, to_array
from rlenhance.learning.ops.visualize import grid
from rlenhance.learning.rewards import Reward, RewardWeights

#: Weights of the rows with a pseudo-reference; `shape` compares after both pictures were brought to one mean.
PSEUDO = ("exposure=10", "contrast=0", "local_exposure=0", "clipping=2", "smoothness=0.1", "shape=20")
#: Rows without one: name -> weights.
REWARDS: Mapping[str, tuple[str, ...]] = {
    "defaults": (),
    "shipped": ("exposure=10", "contrast=0", "local_exposure=0", "clipping=2"),
    "local_exposure": ("exposure=10", "contrast=0", "local_exposure=5", "clipping=2", "smoothness=0.1"),
}
#: Rows with a pseudo-reference that only training has.
OF_SCENES = ("histogram", "brightest_frame", "stack_fusion", "stack_fusion_reduced", "reference", "reference_reduced")


@dataclass(frozen=True)
class Arguments:
    """Score the optimum of each reward with the global agent alone and with local agents."""

    rows: tuple[str, ...] = (*REWARDS, *local_targets.TARGETS, *OF_SCENES)
    """Which rewards."""
    count: int = 0
    """How many pictures, evenly spread; 0 for all."""
    split: str = "val"
    """train (constants are chosen there) or val (reported)."""
    side: int = 128
    """Longer side at which the results are scored."""
    iterations: int = 60
    """Steps of the ascent."""
    reward: tuple[str, ...] = ()
    """name=weight, over the row's own."""
    runs: tuple[Path, ...] = ()
    """Run folders or shipped models, a row each: without their local agents (global) and with them (local)."""
    sheet: Path | None = None
    """PNG file for a contact sheet: input, pseudo-reference, global agent alone, with local agents, reference."""
    shown: tuple[int, ...] = (0, 10, 20, 30, 40, 50, 60)
    """Which of the pictures stand on the sheet."""
    pictures: Annotated[LowLightDataConfig, tyro.conf.arg(name="")] = field(default_factory=LowLightDataConfig)
    policy: Annotated[PolicyConfig, tyro.conf.arg(name="")] = field(
        default_factory=lambda: PolicyConfig(actions="tone", controls=False, vary_exposure=False))


@dataclass(frozen=True)
class Scenes:
    """The pictures of the study, and the frames of their scenes.

    Attributes:
        dataset: the pictures of all splits.
        split: which are studied.
        places: which pictures of the split.
    """

    dataset: Dataset
    split: str
    places: Sequence[int]
    _fused: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, number: int) -> Batch:
        """A picture and its reference, at full size."""
        return self.dataset.load(self.split)[self.places[number]]

    def target(self, number: int) -> Tensor:
        """The reference of a picture."""
        return _target(self.batch(number))

    def stack(self, number: int) -> list[Tensor]:
        """The dark frames of a picture's scene, darkest first, and their reference."""
        examples = self.dataset.splits.parts[self.split]
        scene = examples[self.places[number]].scene
        loaded = self.dataset.load(self.split)
        frames = [loaded[place].image for place, example in enumerate(examples) if example.scene == scene]
        return [*sorted(frames, key=lambda frame: frame.mean().item()), self.target(number)]

    def fused(self, number: int) -> Tensor:
        """The scene's frames and reference, fused by exposure: it holds windows and shadows. (1, 3, H, W)."""
        if number not in self._fused:
            self._fused[number] = local_targets.fuse(self.stack(number))
        return self._fused[number]

    def small(self, side: int) -> Tensor:
        """The pictures at the size on which agents decide: (N, 3, side, side)."""
        return torch.cat([resize(self.batch(number).image, side) for number in range(len(self))])

    def pseudo_reference(self, row: str, side: int) -> Tensor | None:
        """The pseudo-references of a row on the size on which agents decide: (N, 3, side, side); None: it has none."""
        if row in REWARDS:
            return None
        images, numbers = self.small(side), range(len(self))
        if row in local_targets.TARGETS:
            return local_targets.TARGETS[row](images)
        if row == "histogram":
            references = [_target(batch) for batch in self.dataset.load("train", limit=120, side=side)]
            return local_targets.by_rank(local_targets.quantiles(references))(local_targets.curve(images))
        makers = {"stack_fusion": self.fused, "reference": self.target,
                  "brightest_frame": lambda number: local_targets.curve(self.stack(number)[-2])}
        wanted = map(makers[row.removesuffix("_reduced")], numbers)
        if row.endswith("_reduced"):
            return torch.cat([resize(target, side) for target in wanted])
        return torch.cat([local_targets.commuted(self.batch(number).image, target, side)
                          for number, target in enumerate(wanted)])


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise UsageError("the study compares with references: use pairs (low/ and high/)")
    return batch.target


def commutation(scenes: Scenes, side: int) -> tuple[float, float]:
    """Mean GT-mean PSNR at `side` pixels of `local_targets.curve`, reduced after it and before it."""
    after, before = [], []
    for number in range(len(scenes)):
        batch = scenes.batch(number)
        target = resize(_target(batch), side)
        after.append(gt_mean_psnr(resize(local_targets.curve(batch.image), side), target).item())
        before.append(gt_mean_psnr(local_targets.curve(resize(batch.image, side)), target).item())
    return float(np.mean(after)), float(np.mean(before))


def ceilings(scenes: Scenes, side: int, places: int = 8) -> tuple[float, float]:
    """Mean GT-mean PSNR of the free curve that fits each reference best, and of that curve and a map beside it.

    Args:
        side: at which results are scored and maps are applied.
        places: of the map, along each side.
    """
    alone, beside = [], []
    for number in range(len(scenes)):
        batch = scenes.batch(number)
        target = resize(_target(batch), side)
        fitted = resize(fit_single_curve([batch.image], [_target(batch)])[0], side)
        gain = resize(brightness(target), places) / resize(brightness(fitted), places).clamp(min=1e-3)
        mapped = fitted * F.interpolate(gain, (side, side), mode="bilinear", align_corners=False)
        alone.append(gt_mean_psnr(fitted, target).item())
        beside.append(gt_mean_psnr(mapped.clamp(0, 1), target).item())
    return float(np.mean(alone)), float(np.mean(beside))


def load_scenes(arguments: Arguments) -> Scenes:
    """The pictures of the split, evenly spread."""
    dataset = load_pictures(arguments.pictures)
    found = len(dataset.splits.parts[arguments.split])
    places = np.linspace(0, found - 1, min(arguments.count or found, found)).round().astype(int)
    return Scenes(dataset, arguments.split, places.tolist())


def optimum(scenes: Scenes, words: Sequence[str], target: Tensor | None, policy: PolicyConfig,
            iterations: int) -> tuple[list[Tensor], list[list[Action]], list[PixelPolicy]]:
    """Each picture optimised by itself, first with the global agent alone, then from there with local agents.

    Local agents that lower the return of a picture are left out of it, so that the second is an optimum too.

    Returns:
        Returns (N,), actions of every step, and networks; of both.
    """
    weights = RewardWeights.parse(words)
    small = Batch(scenes.small(policy.state_size), target)
    gains: list[Tensor] = []
    chosen: list[list[Action]] = []
    networks = []
    for stride in (0, policy.agent_stride):
        network = make_policy(replace(policy, agent_stride=stride), weights)
        env = make_env(network, Reward(weights, every_term=False), "cpu")
        preference = network.preferences.encode(None, len(small))
        if not stride:
            actions = optimize(env, small, preference, iterations)
        else:
            neutral = network.actions.noop(len(small), policy.state_size, policy.state_size)
            start = [{**neutral, "global": action["global"]} for action in chosen[0]]
            actions = optimize(env, small, preference, iterations, start)
            better = episode_return(env, small, preference, actions) > gains[0]
            actions = [{scope: torch.where(better[:, None, None, None], entry, first[scope])
                        for scope, entry in action.items()} for action, first in zip(actions, start, strict=True)]
        gains.append(episode_return(env, small, preference, actions))
        chosen.append(actions)
        networks.append(network)
    return gains, chosen, networks


def rendered(scenes: Scenes, network: PixelPolicy, actions: Sequence[Action]) -> Iterator[Tensor]:
    """The pictures by these actions, at full size: (1, 3, H, W) each."""
    model = GreedyEpisode(network)
    for number in range(len(scenes)):
        yield model.render(scenes.batch(number).image, [{scope: entry[number : number + 1]
                                                         for scope, entry in action.items()} for action in actions])


def study(arguments: Arguments, scenes: Scenes, row: str) -> tuple[dict[str, float], list[list[Tensor]]]:
    """One row: its numbers, and for each picture (pseudo-reference, global agent alone, with local agents)."""
    policy = arguments.policy
    target = scenes.pseudo_reference(row, policy.state_size)
    words = (*REWARDS.get(row, PSEUDO), *arguments.reward)
    gains, chosen, networks = optimum(scenes, words, target, policy, arguments.iterations)
    images = (rendered(scenes, network, actions) for network, actions in zip(networks, chosen, strict=True))
    numbers, parts = compare(scenes, arguments.side, target, *images)
    return numbers | {"gain in return": (gains[1] - gains[0]).mean().item()}, parts


def of_run(scenes: Scenes, side: int, run: Path) -> tuple[dict[str, float], list[list[Tensor]]]:
    """The row of a trained policy."""
    network = load_network(locate(run))
    if not isinstance(network, Policy):
        raise UsageError(f"{run} holds a {type(network).__name__}; rows are policies")

    def outputs(local: bool) -> Iterator[Tensor]:
        model = GreedyEpisode(network, local=local)
        return (enhance(model, scenes.batch(number).image) for number in range(len(scenes)))

    return compare(scenes, side, None, outputs(False), outputs(True))


def compare(scenes: Scenes, side: int, target: Tensor | None, alone: Iterator[Tensor],
            beside: Iterator[Tensor]) -> tuple[dict[str, float], list[list[Tensor]]]:
    """Numbers and pictures of a row.

    Args:
        side: at which results are scored.
        target: pseudo-references for the sheet.
        alone, beside: results at full size of the global agent alone, and with local agents.
    """
    pairs = [scenes.batch(number).map(partial(resize, size=side)) for number in range(len(scenes))]
    fused = [resize(scenes.fused(number), side) for number in range(len(scenes))]
    numbers: dict[str, float] = {}
    outputs, scores = [], []
    for label, images in (("global", alone), ("local", beside)):
        results = [resize(image, side) for image in images]
        rows = [score_picture(image, batch) | {"fused": gt_mean_psnr(image, other).item()}
                for image, batch, other in zip(results, pairs, fused, strict=True)]
        numbers |= {f"{label} {name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}
        outputs.append(results)
        scores.append([row["gt_mean_psnr"] for row in rows])
    gains = np.subtract(scores[1], scores[0])
    order = np.argsort([relative_contrast(batch.image).item() for batch in pairs])
    numbers |= {"gain": float(gains.mean()), "gain fused": numbers["local fused"] - numbers["global fused"]}
    numbers |= {f"gain {name}": float(gains[third].mean())
                for name, third in zip(("low", "middle", "high"), np.array_split(order, 3), strict=True)}
    wanted = [batch.image for batch in pairs] if target is None else list(target.split(1))
    return numbers, [[batch.image, *parts, _target(batch)]
                     for batch, *parts in zip(pairs, wanted, *outputs, strict=True)]


_COLUMNS = {"global: PSNR": "global psnr", "local: PSNR": "local psnr", "global: GT-mean": "global gt_mean_psnr",
            "local: GT-mean": "local gt_mean_psnr", "gain": "gain", "low contrast": "gain low",
            "middle": "gain middle", "high": "gain high", "gain to fused": "gain fused", "in return": "gain in return",
            "clipped": "local clipped"}


def main(arguments: Arguments) -> dict[str, dict[str, float]]:
    """Optimise, score, print a table in Markdown; returns the numbers by row."""
    if arguments.split not in ("train", "val"):
        raise UsageError(f"--split is train or val; got {arguments.split!r}: rewards are not chosen on test pictures")
    known = (*REWARDS, *local_targets.TARGETS, *OF_SCENES)
    unknown = [row for row in arguments.rows if row not in known]
    if unknown:
        raise UsageError(f"--rows are some of {', '.join(known)}; got {', '.join(unknown)}")
    if not arguments.policy.agent_stride or not arguments.policy.state_size:
        raise UsageError("the study compares local agents with none, on a reduced picture: --agent-stride and "
                         "--state-size must not be 0")
    scenes = load_scenes(arguments)
    after, before = commutation(scenes, arguments.policy.state_size)
    free, mapped = ceilings(scenes, arguments.side)
    print(f"{len(scenes)} {arguments.split} pictures, applied at full size, scored at {arguments.side} pixels\n"
          f"one curve, GT-mean PSNR at {arguments.policy.state_size} pixels: {after:.2f} reduced after it, "
          f"{before:.2f} before it\n"
          f"best free curve for each reference: {free:.2f}; with an 8x8 map beside it: {mapped:.2f}\n\n"
          f"| reward | {' | '.join(_COLUMNS)} |\n|{'---|' * (len(_COLUMNS) + 1)}", flush=True)
    found, sheets = {}, []
    for row in (*arguments.rows, *map(str, arguments.runs)):
        numbers, parts = study(arguments, scenes, row) if row in known else of_run(scenes, arguments.side, Path(row))
        cells = ["" if key not in numbers else f"{100 * numbers[key]:.1f} %" if "clipped" in key else
                 f"{numbers[key]:.2f}" for key in _COLUMNS.values()]
        print(f"| `{row}` | {' | '.join(cells)} |", flush=True)
        found[row] = numbers
        sheets += [parts[number] for number in arguments.shown if number < len(parts)]
    if arguments.sheet is not None:
        write(to_array(grid(sheets, arguments.side)), arguments.sheet)
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

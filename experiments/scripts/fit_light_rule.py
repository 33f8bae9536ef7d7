"""Fits the numbers of `experiments.scripts.light_rule`: `python -m experiments.scripts.fit_light_rule --data DIR`.

The rule is fitted on training scenes, on pictures that were brightened at full size and then reduced, so that it learns
nothing of what reducing does to a curve. Cross-validation by scene says what its two parts are worth: the gain by
brightness (one curve for the picture) and the gain by place (what local agents could win).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts import light_rule as rule
from rlenhance.experiments.scripts.local_study import Scenes
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, match_mean
from rlenhance.learning.ops.image import brightness, resize

_PICTURES, _RATE = 24, 0.004  # of an update
PARTS = {"curve": (True, False), "places": (False, True), "both": (True, True)}


@dataclass(frozen=True)
class Arguments:
    """Fit the rule; print what it gains on scenes that it has not seen, and its numbers."""

    folds: int = 5
    """Of the training scenes, for the cross-validation."""
    updates: int = 400
    """Of Adam."""
    shrink: float = 0.02
    """Weight of the sum of the coefficients' magnitudes."""
    fused: bool = False
    """Fit to the scene's frames fused by exposure instead of the references."""
    reduced: bool = False
    """Brighten the reduced pictures instead of reducing the brightened ones: shows what that feigns."""
    pictures: Annotated[LowLightDataConfig, tyro.conf.arg(name="")] = field(default_factory=LowLightDataConfig)


@dataclass(frozen=True)
class Material:
    """What the rule sees of N pictures, and what it is to reach.

    Attributes:
        base: the pictures at `light_rule.LEVEL`, brightened at full size, then reduced, (N, 3, side, side).
        target: their references, reduced, (N, 3, side, side).
        statistics: (N, S); places: (N, P, h, w).
        scenes: number of the scene of each picture, (N,).
    """

    base: Tensor
    target: Tensor
    statistics: Tensor
    places: Tensor
    scenes: Tensor

    def select(self, index: Tensor) -> Material:
        return Material(*(value[index] for value in vars(self).values()))


def gather(config: LowLightDataConfig, fused: bool = False, reduced: bool = False) -> Material:
    """The training pictures, with their references or with the fused frames of their scenes.

    Args:
        fused, reduced: see `Arguments`.
    """
    dataset = load_pictures(config)
    scenes = [example.scene for example in dataset.splits.parts["train"]]
    pictures = Scenes(dataset, "train", range(len(scenes)))
    base, target, statistics, places = [], [], [], []
    for number in range(len(pictures)):
        batch = pictures.batch(number)
        small = resize(batch.image, rule.SIDE)
        bright = rule.brighten(small, rule.LEVEL)
        base.append(bright if reduced else resize(rule.brighten(batch.image, rule.LEVEL), rule.SIDE))
        target.append(resize(pictures.fused(number) if fused else pictures.target(number), rule.SIDE))
        statistics.append(rule.statistics(small, bright))
        places.append(rule.place_features(small, bright))
    names = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
    return Material(torch.cat(base), torch.cat(target), torch.cat(statistics), torch.cat(places),
                    torch.tensor([names[scene] for scene in scenes]))


def corrected(material: Material, curve: Tensor, places: Tensor) -> Tensor:
    """The pictures by the rule: curve (S, KNOTS), places (P,)."""
    by_curve = rule.by_brightness(brightness(material.base), material.statistics @ curve)
    by_place = torch.einsum("nphw,p->nhw", material.places, places)[:, None]
    gain = by_curve + F.interpolate(by_place, material.base.shape[-2:], mode="bilinear", align_corners=False)
    return material.base * torch.exp(gain)


def fit(material: Material, use_curve: bool, use_places: bool, updates: int, shrink: float,
        seed: int = 0) -> tuple[Tensor, Tensor]:
    """The numbers of least squared error, in dB, after both pictures were brought to one mean.

    Returns:
        curve (S, KNOTS) and places (P,), averages over the last updates; zero where a part is not used.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = material.places.std(dim=(0, 2, 3)) + 1e-6
    curve = torch.zeros(material.statistics.shape[1], rule.KNOTS, requires_grad=use_curve)
    places = torch.zeros(len(scale), requires_grad=use_places)  # per deviation of the feature
    free = [value for value in (curve, places) if value.requires_grad]
    optimizer = torch.optim.Adam(free, lr=_RATE)
    average = [curve.detach().clone(), places.detach().clone()]
    for _ in range(updates):
        part = material.select(torch.randint(len(material.base), (_PICTURES,), generator=generator))
        error = (match_mean(corrected(part, curve, places / scale), part.target) - part.target) ** 2
        loss = torch.log(error.mean(dim=(1, 2, 3)) + 1e-4).mean()
        loss = loss + shrink * sum((value.abs().sum() for value in free), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for kept, value in zip(average, (curve, places), strict=True):
            kept.lerp_(value.detach(), 0.02)
    return average[0], average[1] / scale


def cross_validate(material: Material, arguments: Arguments) -> dict[str, Tensor]:
    """GT-mean PSNR of every picture by a rule that was fitted on other scenes: part -> (N,)."""
    count = int(material.scenes.max()) + 1
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(0))[material.scenes] % arguments.folds
    found = {"base": gt_mean_psnr(material.base, material.target)}
    for name, uses in PARTS.items():
        scores = torch.zeros(len(material.base))
        for number in range(arguments.folds):
            seen, held = (fold != number).nonzero()[:, 0], (fold == number).nonzero()[:, 0]
            numbers = fit(material.select(seen), *uses, arguments.updates, arguments.shrink, number)
            part = material.select(held)
            scores[held] = gt_mean_psnr(corrected(part, *numbers), part.target)
        found[name] = scores
    return found


def interval(differences: Tensor, scenes: Tensor, draws: int = 4000) -> tuple[float, float, float]:
    """Mean over the pictures, and the 95 % interval by drawing scenes anew."""
    count = int(scenes.max()) + 1
    sums = np.bincount(scenes.numpy(), differences.numpy(), count)
    sizes = np.bincount(scenes.numpy(), minlength=count)
    drawn = np.random.default_rng(0).integers(count, size=(draws, count))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))
    return differences.mean().item(), float(low), float(high)


def main(arguments: Arguments) -> dict[str, float]:
    """Fit, print; returns the mean gains of the cross-validation, in dB."""
    material = gather(arguments.pictures, arguments.fused, arguments.reduced)
    scores = cross_validate(material, arguments)
    gains = {name: scores[name] - scores["base"] for name in PARTS} | {"both - curve": scores["both"] - scores["curve"]}
    print(f"{len(material.base)} pictures; one curve for all at {rule.LEVEL}: {scores['base'].mean():.3f} dB")
    for name, gain in gains.items():
        mean, low, high = interval(gain, material.scenes)
        print(f"{name:<14} {mean:+.3f} dB ({low:+.3f} to {high:+.3f}) on scenes that it has not seen")
    curve, places = fit(material, True, True, arguments.updates, arguments.shrink)
    print(json.dumps({"curve": [[round(number, 4) for number in row] for row in curve.tolist()],
                      "places": [round(number, 4) for number in places.tolist()]}))
    return {name: gain.mean().item() for name, gain in gains.items()}


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

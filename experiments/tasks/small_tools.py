"""The small tools of a toolchain: pictures, damage, training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from torch import Tensor

from rlenhance.agents.tools_learner import ToolsConfig, ToolsLearner
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.config import Flat, RunConfig, TrainConfig, one_of, with_defaults
from rlenhance.experiments.core.fit import Evaluator, FitResult
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.tasks.clean_pictures import CleanPictures, load_clean
from rlenhance.learning.data import Batch, Sampler
from rlenhance.learning.data.mixed_damage import DAMAGES, LEVELS, MixedDamage, damage
from rlenhance.learning.data.sampler import rng_of
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import MODELS, TOOL_NAMES, SmallTools

#: Least and most degree of blur, noise and JPEG (see `rlenhance.learning.data.mixed_damage`) that each tool learns on.
DEGREES = {
    "deblur-weak": ((1, 5), (0, 0), (0, 0)), "deblur-strong": ((5, 10), (0, 0), (0, 0)),
    "denoise-weak": ((0, 0), (1, 5), (0, 0)), "denoise-strong": ((0, 0), (5, 10), (0, 0)),
    "deblock-weak": ((0, 0), (0, 0), (1, 4)), "deblock-strong": ((0, 0), (0, 0), (4, 10)),
}
#: A tool for mixed damage as a whole, for comparison with chains.
BLIND = "blind"
_TRACE = 2  # largest degree of the other kinds of damage, in half of a tool's crops
_VALIDATED = 96  # crops of each kind


@dataclass(frozen=True)
@with_defaults(("learner", "devices", "warm_start"), {
    "name": "tools, date and time", "updates": "2000, or as many as --minutes allows", "monitor": "val/oracle"},
    learner="tools", out=Path("runs/tools"), eval_interval=200)
class ToolsTrainConfig(TrainConfig):
    """Settings of a training run."""

    batch_size: int = 16
    """Crops of each tool per update."""


@dataclass(frozen=True)
class ToolsDataConfig:
    """Which pictures."""

    data: tuple[Path, ...] = ()
    """Folders of good pictures, or of pairs, whose references are taken; each counts alike (default: the bundled
    photographs). Near-duplicates are left out."""
    crop: int = 64
    """Side in pixels of the crops to learn from."""
    level: Annotated[str, one_of(dict.fromkeys(LEVELS))] = "moderate"
    """Severity of the mixed damage."""


@dataclass(frozen=True)
class ToolsNetworkConfig:
    """Which tools."""

    tools: tuple[str, ...] = TOOL_NAMES
    """Their names, each of which states its damage: deblur-weak, deblur-strong, denoise-weak, denoise-strong,
    deblock-weak, deblock-strong, or blind for all together."""
    width: int = 24
    """Channels inside each."""
    dilations: tuple[int, ...] = (1, 1, 1)
    """Of the convolutions of each."""


@dataclass(frozen=True)
class ToolsLearnerConfigs:
    """Settings of the learner."""

    tools: ToolsConfig = field(default_factory=ToolsConfig)
    """The chains, and the optimizer."""


@dataclass(frozen=True)
class ToolsRunConfig(RunConfig):
    """Train small networks for one damage each, then together on what chains of them leave behind."""

    train: Flat[ToolsTrainConfig] = field(default_factory=ToolsTrainConfig)
    data: Flat[ToolsDataConfig] = field(default_factory=ToolsDataConfig)
    network: Flat[ToolsNetworkConfig] = field(default_factory=ToolsNetworkConfig)
    learners: Flat[ToolsLearnerConfigs] = field(default_factory=ToolsLearnerConfigs)


def tool_degrees(name: str, count: int, level: str, rng: np.random.Generator) -> np.ndarray:
    """Degrees of the damage of a tool's crops: (count, 5) int64, see `damage`.

    Half of a tool's crops have traces of the other kinds too, as crops in a chain have.
    """
    if name == BLIND:
        return MixedDamage(cast(Any, level)).draw(count, rng)
    degrees = np.zeros((count, len(DAMAGES)), np.int64)
    for column, (least, most) in enumerate(DEGREES[name]):
        own = rng.integers(least, most + 1, count)
        degrees[:, column] = own if most else rng.integers(0, _TRACE + 1, count) * (rng.random(count) < 0.5)
    return degrees


def make_batch(clean: Tensor, names: Sequence[str], level: str, rng: np.random.Generator) -> Batch:
    """Crops with the damage of each tool, in equal parts, and the last with mixed damage: (N, 3, H, W)."""
    kinds = (*names, BLIND)
    degrees = np.concatenate([tool_degrees(name, len(clean) // len(kinds), level, rng) for name in kinds])
    return Batch(damage(clean, degrees, rng), clean)


@torch.no_grad()
def validate(network: SmallTools, batch: Batch) -> dict[str, float]:
    """Mean PSNR in dB of each tool on its damage, `val/psnr/NAME`, their mean `val/psnr`, and `val/oracle`: of the
    mixed crops after the best chain of two tools, found step by step with the reference.

    Args:
        network: the tools.
        batch: see `make_batch`.
    """
    assert batch.target is not None
    size = len(batch) // (len(network.names) + 1)
    *own, (image, clean) = zip(batch.image.split(size), batch.target.split(size), strict=True)
    scores = {name: psnr(network.apply_tool(name, damaged).clamp(0, 1), target).mean().item()
              for name, (damaged, target) in zip(network.names, own, strict=True)}
    for _ in range(2):
        results = torch.stack([image, *(network.apply_tool(name, image).clamp(0, 1) for name in network.names)])
        best = (results - clean).square().mean(dim=(2, 3, 4)).argmin(dim=0)
        image = results[best, torch.arange(size)]
    return {"val/psnr": sum(scores.values()) / len(scores), **{f"val/psnr/{name}": x for name, x in scores.items()},
            "val/oracle": psnr(image, clean).mean().item()}


class SmallToolsTask(Task[ToolsRunConfig, CleanPictures]):
    """Tools for `rlenhance/Toolchain-v0`: see docs/results/toolchain.md."""

    name = "tools"
    command = "rlenhance.experiments.tools_train"
    Config = ToolsRunConfig
    default_updates = 2000
    registry = {"tools": ToolsLearner}

    def dataset(self, config: ToolsRunConfig) -> CleanPictures:
        unknown = set(config.network.tools) - {*DEGREES, BLIND}
        if unknown:
            raise UsageError(f"--tools are among {', '.join((*DEGREES, BLIND))}; got {', '.join(sorted(unknown))}")
        return load_clean(config.data.data)

    def model(self, config: ToolsRunConfig, data: CleanPictures) -> Any:
        network = config.network
        return MODELS.create("small_tools", names=network.tools, width=network.width, dilations=network.dilations)

    def batches(self, config: ToolsRunConfig, data: CleanPictures,
                model: torch.nn.Module) -> Callable[[int], Batch]:
        train, names, level = config.train, config.network.tools, config.data.level
        sampler = Sampler(data.train, data.cache, config.data.crop, crop="native", seed=train.seed)

        def draw(step: int) -> Batch:
            clean = sampler.batch(step, train.batch_size * (len(names) + 1)).image
            return make_batch(clean, names, level, rng_of(train.seed, 1 << 42 | step))

        return draw

    def evaluator(self, config: ToolsRunConfig, data: CleanPictures) -> Evaluator:
        names = config.network.tools
        sampler = Sampler(data.splits.val, data.cache, config.data.crop, crop="native", seed=1)
        clean = sampler.batch(0, _VALIDATED * (len(names) + 1)).image
        batch = make_batch(clean, names, config.data.level, rng_of(1, 0))
        return lambda network: validate(network, batch)  # type: ignore[arg-type]

    def monitor(self, config: ToolsRunConfig) -> str:
        return config.train.monitor or "val/oracle"

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        scores = {name: value for name, value in fitted.best.items() if name.startswith("val/")}
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}")
        print("\n".join(f"  {name:<26} {value:.3f} dB" for name, value in scores.items()))
        return {"tools": scores}


SMALL_TOOLS = SmallToolsTask()

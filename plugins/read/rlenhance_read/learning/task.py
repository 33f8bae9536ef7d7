"""Reading: policies that choose how a photograph of text is prepared and read, and when to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from rlenhance.agents.dqn import DQN, DQNConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.agents.vine import Vine, VineConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.config import Flat, LearnerSettings, RunConfig, default_is, one_of
from rlenhance.experiments.core.fit import Evaluator, FitResult
from rlenhance.experiments.core.task import Session
from rlenhance.experiments.tasks.toolchain import PlannerTask, PlannerTrainConfig, run_chains
from rlenhance.learning.data import Batch, ImageCache, Splits
from rlenhance.learning.models import MODELS
from rlenhance_read.learning.dataset import ReadDataset, read_scenes
from rlenhance_read.learning.env import ReadEnv
from rlenhance_read.learning.policy import ReadPolicy
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.engines import ENGINES


@dataclass(frozen=True)
class ReadTrainConfig(PlannerTrainConfig):
    """Settings of a training run."""

    learner: Annotated[str, one_of({"vine": Vine, "dqn": DQN})] = "vine"
    """vine (probabilities; every chain is tried at each state, and the policy is followed to the end after each) or
    dqn (values, every chain is tried)."""
    out: Path = Path("runs/read")
    """Where run folders are made."""
    updates: Annotated[int | None, default_is("300, or as many as --minutes allows", "INT")] = None
    """Learner steps; beside --resume, how many the run is to have in all."""
    batch_size: int = 24
    """Scenes per update."""
    eval_interval: int = 20
    """Updates between validations; each one saves last/."""
    val_scenes: int = 250
    """Scenes of each validation."""


@dataclass(frozen=True)
class ReadDataConfig:
    """Which scenes, and who reads them."""

    scenes: int = 1200
    """Training scenes, rendered; each is read once through every chain, which takes about a second."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """The engine."""
    cache: Path = Path("runs/readings")
    """Folder where readings are kept, for further runs."""
    tools: tuple[str, ...] = ()
    """Further ways to read, beside the package's: filters and tools with blanks between them, as
    "brighten denoise-measured tophat", and behind a comma the layout, as ", sparse"."""


@dataclass(frozen=True)
class ReadNetworkConfig:
    """The episodes, and the network."""

    horizon: int = 6
    """The most reads."""
    price: float = 0.01
    """Price of a read, in character accuracy."""
    price_range: tuple[float, ...] = (0.0, 0.01, 0.06)
    """Lowest, default and highest price: the user may then ask for one. Empty: the price is fixed."""
    hidden: int = 128
    """Units of the hidden layers."""
    dropout: float = 0.2
    """Share of them that is left out in training."""


@dataclass(frozen=True)
class ReadLearnerConfigs(LearnerSettings):
    """Settings of each learner; accuracies are below 1, so the weights of entropies are small."""

    vine: VineConfig = field(default_factory=lambda: VineConfig(
        entropy=(0.01, 0.0), most_loss=0.5, gradient_steps=24, optimizer=OptimizerConfig(1e-3, 50, 0.02, 1.0)))
    dqn: DQNConfig = field(default_factory=lambda: DQNConfig(
        temperature=(0.1, 0.02), min_target=-0.5, gradient_steps=24))


@dataclass(frozen=True)
class ReadConfig(RunConfig):
    """Learn how to prepare and read a photograph of text, and when to stop."""

    train: Flat[ReadTrainConfig] = field(default_factory=ReadTrainConfig)
    data: Flat[ReadDataConfig] = field(default_factory=ReadDataConfig)
    network: Flat[ReadNetworkConfig] = field(default_factory=ReadNetworkConfig)
    learners: Flat[ReadLearnerConfigs] = field(default_factory=ReadLearnerConfigs)


def make_read_env(scenes: ReadScenes, network: ReadNetworkConfig) -> ReadEnv:
    """The environment of scenes, as learners take it.

    Raises:
        UsageError: a price range that is none.
    """
    asked: Any = network.price_range or None
    if asked is not None and len(asked) != 3:
        raise UsageError(f"--price-range is the lowest, default and highest price; got {asked}")
    return ReadEnv(source=scenes, horizon=network.horizon, price=network.price, price_range=asked, info_maps=False,
                   check_nan=False, autoreset_mode="Disabled")


@torch.no_grad()
def seen_examples(env: ReadEnv, count: int = 400) -> Tensor:
    """What a policy sees after random reads, to standardise by: (count, look and readings)."""
    rng, rows = np.random.default_rng(0), np.arange(count) % env.scenes.count
    read = rng.random((count, len(env.tools))) < rng.uniform(0, 0.4, (count, 1))
    return torch.from_numpy(np.concatenate([env.scenes.look[rows], env.scenes.seen(rows, read)], axis=1))


@torch.no_grad()
def validate(network: nn.Module, env: ReadEnv) -> dict[str, float]:
    """Means over all scenes of an environment: `val/return`, `val/accuracy`, and `val/reads`."""
    training = network.training
    network.eval()
    planner: Any = network
    batch = env.scenes.pictures(range(env.scenes.count))
    done = run_chains(planner, env, batch)
    network.train(training)
    price = planner.preferences.ranges["price"][1] if len(planner.preferences) else env.price
    return {"val/return": (done.gain - price * done.cost).mean().item(), "val/accuracy": done.gain.mean().item(),
            "val/reads": done.length.mean().item(), "val/cost": done.cost.mean().item(),
            "val/most_frequent": done.first.long().bincount().max().item() / len(done.first)}


class ReadTask(PlannerTask[ReadConfig, ReadDataset]):
    """Choose how photographs of text are read: see docs/howto/read.md."""

    name = "read"
    command = "rlenhance_read.train"
    env_id = "Read-v0"
    Config = ReadConfig
    registry = {"vine": Vine, "dqn": DQN}
    default_updates = 300

    def dataset(self, config: ReadConfig) -> ReadDataset:
        data, train = config.data, config.train
        scenes = {split: read_scenes(split, count, data.cache, data.engine, train.seed, train.progress, data.tools)
                  for split, count in (("train", data.scenes), ("val", train.val_scenes))}
        about = f"{data.scenes} rendered scenes to learn on, {train.val_scenes} to validate, read by {data.engine}"
        return ReadDataset(Splits([], [], source="rendered scenes"), ImageCache(0), about=about,
                           train=scenes["train"], val=scenes["val"],
                           env=make_read_env(scenes["train"], config.network),
                           val_env=make_read_env(scenes["val"], config.network))

    def model(self, config: ReadConfig, data: ReadDataset) -> Any:
        """The policy."""
        network = config.network
        made: ReadPolicy = MODELS.create(
            "read_policy", tools=[tool.name for tool in data.env.tools], horizon=network.horizon,
            learns_values=config.train.learner == "dqn", price_range=network.price_range or None,
            hidden=network.hidden, dropout=network.dropout)
        made.standardize(seen_examples(data.env))
        return made

    def batches(self, config: ReadConfig, data: ReadDataset, model: nn.Module) -> Callable[[int], Batch]:
        return partial(data.train.batch, count=config.train.batch_size)

    def evaluator(self, config: ReadConfig, data: ReadDataset) -> Evaluator:
        return lambda network: validate(network, data.val_env)

    def headline(self, config: ReadConfig, data: ReadDataset) -> str:
        accuracy = data.val.accuracy
        known = {"nothing": accuracy[:, 0].mean(), "the best chain for all": accuracy.mean(axis=0).max(),
                 "the best for each": accuracy.max(axis=1).mean()}
        return "\n".join([data.describe(), f"{config.train.learner}, {len(data.env.tools)} chains, at most "
                          f"{config.network.horizon} reads", "character accuracy on validation scenes: " + ", ".join(
                              f"{name} {value:.3f}" for name, value in known.items())])

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, best = session.config, fitted.best
        session.run.draw_curves(panels={"validation return": ["val/return"], "character accuracy": ["val/accuracy"],
                                        "reads": ["val/reads"], "loss": ["loss"]})
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: accuracy "
              f"{best['val/accuracy']:.3f} with {best['val/reads']:.2f} reads on {config.train.val_scenes} validation "
              f"scenes\nresult in {session.run.path} (best/, curves.png, metrics.csv)")
        return {config.train.learner: best}


READ = ReadTask()

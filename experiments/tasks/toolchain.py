"""Toolchains: patches with mixed damage, tools, policies that choose among them, training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from rlenhance.agents import A3CConfig, Learner
from rlenhance.agents.dqn import DQN, DQNConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.agents.toolchain_actor import ToolchainA3C
from rlenhance.agents.vine import Vine, VineConfig
from rlenhance.core.errors import UsageError
from rlenhance.envs import ToolchainEnv
from rlenhance.experiments.core.config import (
    Flat,
    RunConfig,
    TrainConfig,
    default_is,
    learner_settings,
    one_of,
    with_defaults,
)
from rlenhance.experiments.core.fit import Evaluator, FitResult
from rlenhance.experiments.core.task import C, D, Session, Task
from rlenhance.experiments.tasks.clean_pictures import CleanPictures, load_clean
from rlenhance.experiments.tasks.toolchain_data import PATCH, Patches, draw_patches
from rlenhance.learning.data import Batch
from rlenhance.learning.data.mixed_damage import LEVELS
from rlenhance.learning.data.sampler import shuffled
from rlenhance.learning.models import MODELS, ToolchainPolicy
from rlenhance.tools import TOOLKITS, ToolCache, tool_of, toolkit

_PART = 64  # pictures of an episode in evaluations


@dataclass(frozen=True)
@with_defaults(("devices", "warm_start"), {"monitor": "val/return"})
class PlannerTrainConfig(TrainConfig):
    """Settings of a training run of a policy that plans chains."""


@dataclass(frozen=True)
@with_defaults(shown={"updates": "250, or as many as --minutes allows"}, out=Path("runs/toolchain"), eval_interval=25)
class ToolchainTrainConfig(PlannerTrainConfig):
    """Settings of a training run."""

    learner: Annotated[str, one_of({"vine": Vine, "dqn": DQN, "a3c": ToolchainA3C})] = "vine"
    """vine (probabilities; every tool is tried at each state, and the policy is followed to the end after each), dqn
    (values, every tool is tried) or a3c (probabilities, from what is taken alone; regions)."""
    batch_size: int = 16
    """Patches per update."""
    val_patches: int = 128
    """Patches of each validation."""


@dataclass(frozen=True)
class ToolchainDataConfig:
    """Which pictures, and their damage."""

    data: tuple[Path, ...] = ()
    """Folders of good pictures, or of pairs, whose references are taken; each counts alike (default: the bundled
    photographs). Near-duplicates are left out."""
    level: Annotated[str, one_of(dict.fromkeys(LEVELS))] = "moderate"
    """Severity of the mixed damage."""
    patches: int = 1000
    """Training patches, which are visited in turn."""
    tools: tuple[str, ...] = ("opencv",)
    """Kits (opencv, rl-restore and others), tools by name, MODULE:FUNCTION, or commands with {in} and {out}."""
    weights: Path | None = None
    """Folder with the weights of a kit that are not shipped (rl-restore)."""
    tool_cache: Path | None = None
    """Folder where results of tools outlive the process, for further runs on the same patches."""
    memory: float = 1.0
    """Gigabytes of results of tools that are kept in memory."""


@dataclass(frozen=True)
class ToolchainNetworkConfig:
    """The chain, and the network."""

    horizon: int = 3
    """The most tools in a chain."""
    score: str = "psnr"
    """What counts as better: psnr, ssim, or another state term of the rewards."""
    price: float = 0.0
    """Price of a second of processor time per megapixel, in units of the score."""
    price_range: tuple[float, ...] = ()
    """Lowest, default and highest price: the user may then ask for one."""
    budget: Annotated[float | None, default_is("no limit", "FLOAT")] = None
    """Seconds per megapixel that a chain may cost."""
    regions: int = 1
    """Cells along each side that choose for themselves (a3c)."""
    conv_channels: int = 0
    """Channels of the first convolution; 0: the spectrum of 8x8 blocks alone."""
    hidden: int = 256
    """Units of the hidden layers."""
    dropout: Annotated[float | None, default_is("0.2 for vine, 0 for others", "FLOAT")] = None
    """Share of them that is left out in training."""


ToolchainLearners = learner_settings(
    vine=VineConfig(), dqn=DQNConfig(),
    a3c=A3CConfig(entropy_target=(0.5, 0.02), target_kl=0.1, update_epochs=8,
                  optimizer=OptimizerConfig(3e-3, 20, 0.02, 5.0)))


@dataclass(frozen=True)
class ToolchainConfig(RunConfig):
    """Learn which tools, in which order, repair a picture whose damage is unknown."""

    train: Flat[ToolchainTrainConfig] = field(default_factory=ToolchainTrainConfig)
    data: Flat[ToolchainDataConfig] = field(default_factory=ToolchainDataConfig)
    network: Flat[ToolchainNetworkConfig] = field(default_factory=ToolchainNetworkConfig)
    learners: Flat[ToolchainLearners] = field(default_factory=ToolchainLearners)  # type: ignore[valid-type]


@dataclass(frozen=True)
class PatchSource:
    """Patches in batches, in another order in each pass over them; a function of the number of the draw alone.

    Args:
        patches: all of them.
        seed: of the order.
    """

    patches: Patches
    seed: int = 0

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Batch:
        """The `count` patches of draw `step`; of these only `part`."""
        total = len(self.patches)
        rows = [int(shuffled(self.seed, number // total, total)[number % total])
                for number in range(step * count, (step + 1) * count)]
        return Batch(self.patches.image[rows], self.patches.target[rows])[part]

    def with_seed(self, seed: int) -> PatchSource:
        """The same patches in another order."""
        return replace(self, seed=seed)


@dataclass(kw_only=True)
class ToolchainDataset(CleanPictures):
    """Good pictures, patches of them with mixed damage, and the environment that has the tools.

    Attributes:
        source: draws the patches to train on.
        validation: the patches of validations.
        env: where learners act, and policies are evaluated.
    """

    source: PatchSource
    validation: Patches
    env: ToolchainEnv


def open_toolchain(config: ToolchainConfig) -> ToolchainDataset:
    """Pictures, patches and tools of a run.

    Raises:
        UsageError: pictures, tools or numbers that cannot be used.
    """
    data, network, train = config.data, config.network, config.train
    asked: Any = network.price_range or None
    if asked is not None and len(asked) != 3:
        raise UsageError(f"--price-range is the lowest, default and highest price; got {asked}")
    tools = tuple(tool for word in data.tools
                  for tool in (toolkit(word, data.weights) if word in TOOLKITS else (tool_of(word),)))
    pictures = load_clean(data.data)
    source = PatchSource(draw_patches(pictures, "train", data.patches, data.level, train.seed), train.seed)
    env = ToolchainEnv(tools=tools, horizon=network.horizon, score=network.score, price=network.price,
                       price_range=asked, budget=network.budget, regions=network.regions, size=PATCH, source=source,
                       cache=ToolCache(tools, int(data.memory * 2**30), data.tool_cache), info_maps=False,
                       check_nan=False, autoreset_mode="Disabled")
    return ToolchainDataset(pictures.splits, pictures.cache, pictures.skipped, pictures.about, train=pictures.train,
                            source=source, validation=draw_patches(pictures, "val", train.val_patches, data.level),
                            env=env)


@dataclass
class ChainResult:
    """What greedy chains came to, for each picture.

    Attributes:
        image: (N, 3, H, W) after the chains.
        gain: (N,) return without the price.
        cost: (N,) seconds per megapixel.
        length: (N,) tools that ran; with regions, the mean over them.
        first: (N,) the first choice.
    """

    image: Tensor
    gain: Tensor
    cost: Tensor
    length: Tensor
    first: Tensor


@torch.no_grad()
def run_chains(planner: ToolchainPolicy, env: ToolchainEnv, batch: Batch, price: float | None = None) -> ChainResult:
    """The greedy chains of a policy, with a price that is asked for."""
    stop = planner.actions.stop
    preference = planner.preferences.encode(None if price is None else {"price": price}, len(batch))
    observation: Any
    observation, _ = env.reset(options={"batch": batch, "preference": preference})
    gain, cost, length, first = (torch.zeros(len(batch)) for _ in range(4))
    paid = env.user_targets.get("price", torch.tensor(env.price)).flatten()
    for step in range(env.horizon):
        choice = planner.evaluate(observation)[0].argmax(dim=1, keepdim=True)
        observation, reward, _, _, info = env.step({env.actions.scopes[0]: choice})
        gain, cost = gain + reward + paid * info["cost"], cost + info["cost"]
        length = length + (choice != stop).float().mean(dim=(1, 2, 3))
        first = choice[:, 0, 0, 0] if step == 0 else first
    return ChainResult(observation["image"], gain, cost, length, first)


def validate(network: nn.Module, env: ToolchainEnv, patches: Patches) -> dict[str, float]:
    """Means over the patches: `val/return`, `val/psnr` and `val/score_gain`, `val/cost` in seconds per megapixel,
    `val/length`, and how often the most frequent first choice is taken."""
    training = network.training
    network.eval()
    planner: Any = network
    whole = Batch(patches.image, patches.target)
    parts = [run_chains(planner, env, whole[start : start + _PART]) for start in range(0, len(patches), _PART)]
    network.train(training)
    image, gain, cost, length, first = (torch.cat([getattr(part, name) for part in parts])
                                        for name in ("image", "gain", "cost", "length", "first"))
    default = planner.preferences.ranges["price"][1] if len(planner.preferences) else env.price
    error = ((image - patches.target) ** 2).mean(dim=(1, 2, 3))
    return {"val/return": (gain - default * cost).mean().item(), "val/score_gain": gain.mean().item(),
            "val/psnr": (-10 * (error + 1e-10).log10()).mean().item(), "val/cost": cost.mean().item(),
            "val/length": length.mean().item(), "val/most_frequent": first.long().bincount().max().item() / len(first)}


@torch.no_grad()
def headroom(env: ToolchainEnv, patches: Patches) -> dict[str, float]:
    """The mean gain of the score that one tool can have: the best one for all pictures, and the best for each."""
    gains = []
    for start in range(0, len(patches), _PART):
        env.reset(options={"batch": Batch(patches.image, patches.target)[start : start + _PART]})
        gains.append(env.try_tools()[1])
    all_gains = torch.cat(gains)
    best = all_gains.mean(dim=0)
    return {"one tool for all": max(0.0, best.max().item()),
            "the best tool for each": all_gains.max(dim=1).values.clamp(min=0).mean().item()}


class PlannerTask(Task[C, D]):
    """A task whose policies plan chains: its data set has the environment where learners act."""

    def learner(self, config: Any, data: Any, device: torch.device, fresh: bool = True) -> Learner | None:
        torch.manual_seed(config.train.seed)
        network, kind = self.model(config, data), config.train.learner
        if fresh and config.train.init is not None:
            self.initialize(network, config.train.init)
        make: Any = self.registry[kind]
        made: Learner = make(network, data.env, getattr(config.learners, kind), seed=config.train.seed, device=device)
        return made

    def monitor(self, config: Any) -> str:
        return str(config.train.monitor or "val/return")


class ToolchainTask(PlannerTask[ToolchainConfig, ToolchainDataset]):
    """Choose tools for damaged pictures: see docs/howto/toolchains.md."""

    name = "toolchain"
    command = "rlenhance.experiments.toolchain_train"
    env_id = "Toolchain-v0"
    Config = ToolchainConfig
    registry = {"vine": Vine, "dqn": DQN, "a3c": ToolchainA3C}
    default_updates = 250

    def dataset(self, config: ToolchainConfig) -> ToolchainDataset:
        return open_toolchain(config)

    def model(self, config: ToolchainConfig, data: ToolchainDataset) -> Any:
        """The policy."""
        network, usual = config.network, 0.2 if config.train.learner == "vine" else 0.0
        made = MODELS.create("toolchain_policy", tools=data.env.actions.tools, horizon=network.horizon,
                             regions=network.regions, learns_values=config.train.learner == "dqn",
                             price_range=network.price_range or None, conv_channels=network.conv_channels,
                             hidden=network.hidden,
                             dropout=usual if network.dropout is None else network.dropout)
        made.standardize(data.source.patches.image)
        return made

    def batches(self, config: ToolchainConfig, data: ToolchainDataset, model: nn.Module) -> Callable[[int], Batch]:
        return partial(data.source.batch, count=config.train.batch_size)

    def evaluator(self, config: ToolchainConfig, data: ToolchainDataset) -> Evaluator:
        return lambda network: validate(network, data.env, data.validation)

    def headline(self, config: ToolchainConfig, data: ToolchainDataset) -> str:
        lines = [data.describe(), f"{config.train.learner}, {len(data.env.tools)} tools, chains of at most "
                                  f"{config.network.horizon}, {len(data.source.patches)} patches"]
        if config.network.regions == 1:
            known = headroom(data.env, data.validation)
            lines.append(f"gain ({config.network.score}) of one tool on validation patches: " + ", ".join(
                f"{name} {value:.2f}" for name, value in known.items()))
        return "\n".join(lines)

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, best = session.config, fitted.best
        session.run.draw_curves(panels={"validation return": ["val/return"], "validation PSNR in dB": ["val/psnr"],
                                        "tools in a chain": ["val/length"], "loss": ["loss"]})
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: gain "
              f"{best['val/score_gain']:.2f} ({config.network.score}) with {best['val/length']:.1f} tools and "
              f"{best['val/cost']:.2f} s per megapixel, PSNR {best['val/psnr']:.2f} dB on {config.train.val_patches} "
              f"validation patches\nresult in {session.run.path} (best/, curves.png, metrics.csv)")
        return {config.train.learner: best}


TOOLCHAIN = ToolchainTask()

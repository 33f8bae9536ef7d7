"""Low-light enhancement: pictures, networks, learners, training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import tyro

from rlenhance.agents import (
    LEARNERS,
    A3CConfig,
    AsyncA3C,
    DirectConfig,
    Learner,
    SACConfig,
    SupervisedConfig,
    distributed,
)
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.backbones import RESTORE_COMMANDS, with_backbone_of
from rlenhance.experiments.core.config import (
    Flat,
    RunConfig,
    TrainConfig,
    default_is,
    learner_settings,
    one_of,
    with_defaults,
)
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.distributed import make_fabric
from rlenhance.experiments.core.fit import ArtifactCallback, FitResult
from rlenhance.experiments.core.plugins import load_terms_of, own_terms, plugin_words, term_files
from rlenhance.experiments.core.presets import Preset, preset_option
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.core.train import rlenhance_command
from rlenhance.experiments.tasks.lowlight_baselines import Baseline, fit_baselines
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures, with_more_light
from rlenhance.experiments.tasks.lowlight_evaluate import LowLightEvaluator, score, stop_by_reward
from rlenhance.experiments.tasks.lowlight_policy import (
    PolicyConfig,
    actions_of,
    fitted,
    make_policy,
    make_supervised,
    refuse_ignored,
    refuse_other_network,
)
from rlenhance.experiments.tasks.presets import LOWLIGHT_PRESETS, NATURAL_REWARD, with_words
from rlenhance.hub.shipped import locate
from rlenhance.io import write
from rlenhance.learning.data import Batch, ImageCache, Sampler, load_example
from rlenhance.learning.hub.checkpoint import load_model, load_network
from rlenhance.learning.models import (
    ConvLSTMCompleter,
    GatedPixelRNNCompleter,
    GreedyEpisode,
    MRPNetSR,
    PictureToPicture,
    Policy,
    Restorer,
    warm_start,
)
from rlenhance.learning.ops.image import to_array
from rlenhance.learning.ops.visualize import action_colors, grid
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights, load_terms
from rlenhance.learning.rewards.custom import registered_sources
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

_VALIDATION_SIDE, _VALIDATION_PICTURES, _BASELINE_PICTURES = 128, 48, 96
_RULE_SIDE = 64  # pixels, on which the rule is fitted to the reward
_PATIENCE = 4  # validations of a demonstration
def reward_hint(default: str) -> str:
    """All reward terms, and their weights where none is given."""
    weights = RewardWeights.parse(default.split())
    return f"(default: {' '.join(f'{name}={weights[name]:g}' for name in TERMS)})"


@dataclass(frozen=True)
@with_defaults(out=Path("runs/lol"))
class LowLightTrainConfig(TrainConfig):
    """Settings of a training run on dark photographs."""

    learner: Annotated[str, one_of(LEARNERS)] = "a3c"
    """a3c (advantage actor-critic), sac, direct (back-propagation through the episode), supervised, or your own."""
    workers: int = 1
    """a3c on a CPU: asynchronous actor-learners, a process each (1: all pictures in one batch, the default)."""
    warm_start: Path | None = None
    """Begin a policy with the backbone of this supervised run: of this command, or of network_train gated_pixelrnn,
    convlstm_autoencoder or combined, imported ones too. The run brings --backbone and its arguments; see also
    --a3c.value-warmup-updates and --a3c.kl-ref-coef."""
    preset: Annotated[str, preset_option(LOWLIGHT_PRESETS)] = "natural"
    """The recipe that all other settings begin with; options that are named beat it. In Python:
    `begin_with(LowLightConfig, NAME)`."""
    reward: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint=reward_hint)] = NATURAL_REWARD
    """name=weight, as in `exposure=4 color=0.5`; terms that are not named keep the weight that the preset gives them
    (docs/reference/rewards.md)."""
    reward_term: tuple[str, ...] = ()
    """Your own terms, module:function each, as in `my_rewards:edges` (docs/tutorials/own_reward.md)."""
    exposure_level: float = DEFAULT_EXPOSURE
    """Asked exposure where the user names none, in (0, 1)."""
    patience: Annotated[int | None, default_is(f"{_PATIENCE} on the sample photographs, otherwise 0", "INT")] = None
    """Stop when the monitored score has not improved for so many validations (0: never)."""


LowLightLearners = learner_settings(a3c=A3CConfig(ema_decay=0.95), sac=SACConfig(), direct=DirectConfig(),
                                    supervised=SupervisedConfig())


@dataclass(frozen=True)
class LowLightConfig(RunConfig):
    """Learn to enhance dark photographs."""

    presets: ClassVar[Mapping[str, Preset]] = LOWLIGHT_PRESETS

    train: Flat[LowLightTrainConfig] = field(default_factory=LowLightTrainConfig)
    data: Flat[LowLightDataConfig] = field(default_factory=LowLightDataConfig)
    network: Flat[PolicyConfig] = field(default_factory=PolicyConfig)
    learners: Flat[LowLightLearners] = field(default_factory=LowLightLearners)  # type: ignore[valid-type]

    def settled(self, base: LowLightConfig, named: frozenset[str]) -> LowLightConfig:
        """What a command line means: terms that it does not name keep the weights of its preset.

        Args:
            base: its preset.
            named: the options on it.
        """
        reward, network, run = self.train.reward, fitted(self.network, named), self.train.warm_start
        train = replace(self.train, reward=with_words(base.train.reward, reward)) if "reward" in named else self.train
        if run is not None and "backbone" in named:  # also where it is the default
            network = with_backbone_of(network, _supervised(run).backbone, run, named)
        elif run is not None:  # a preset's gives way
            network = replace(network, backbone=PolicyConfig.backbone)
        return replace(self, train=train, network=network)


def sample_sheet(network: torch.nn.Module, pictures: Sequence[Batch], side: int = 96) -> tuple[torch.Tensor, Any]:
    """Episodes step by step: a row per picture with the input, each state and its action map, the output, the target.

    Returns:
        The sheet (1, 3, H, W), and every A that was chosen (None for a network that acts in one pass).
    """
    rows, strengths = [], []
    device = next(network.parameters()).device
    with torch.no_grad():
        for batch in pictures:
            row = [batch.image]
            if isinstance(network, Policy):
                episode = GreedyEpisode(network).run(batch.image.to(device))
                for action, state in zip(episode.actions, episode.states[1:], strict=True):
                    strength = network.actions.magnitude(action)
                    strengths.append(strength.flatten())
                    row += [action_colors(strength, (side, side)), state]
                row.append(episode.image)
            else:
                row.append(network(batch.image.to(device)))
            rows.append(row if batch.target is None else [*row, batch.target])
    return grid(rows, side), torch.cat(strengths) if strengths else None


def _supervised(path: Path) -> Any:
    """The network of a supervised run, or of a restoration network, that a policy can begin with.

    Raises:
        UsageError: it holds another network.
    """
    source = load_network(locate(path))
    if not isinstance(source, Restorer | MRPNetSR | GatedPixelRNNCompleter | ConvLSTMCompleter | PictureToPicture):
        raise UsageError(
            f"--warm-start {path}: holds a {type(source).__name__}; a policy begins with a supervised run of this "
            f"command (--learner supervised), or with one of the restoration networks, trained or imported:\n"
            f"  {RESTORE_COMMANDS}\nwith --init it begins with another policy of the same shape")
    return source


def make_sample_sheet(pictures: Sequence[Batch]) -> ArtifactCallback:
    """A callback that logs the sheet and the histogram of the actions after each validation."""

    def sample(network: torch.nn.Module, run: Run, step: int) -> None:
        sheet, strengths = sample_sheet(network, pictures)
        run.log_image("episodes", sheet, step)
        if strengths is not None:
            run.log_histogram("actions/A", strengths, step)

    return sample


class LowLightTask(Task[LowLightConfig, Dataset]):
    """Brighten photographs: see docs/reference/training.md."""

    name = "lowlight"
    command = "rlenhance.experiments.lol_train"
    env_id = "LowLight-v0"
    Config = LowLightConfig
    supports_ddp = True

    def check(self, config: LowLightConfig, stored: Mapping[str, Any]) -> None:
        load_terms_of(stored, config.train.reward_term)
        self.weights(config)
        super().check(config, stored)
        actions_of(config.network)
        if not stored:  # runs of 0.2 passed over settings without effect
            refuse_ignored(config.network)
            refuse_other_network(config.network, LEARNERS[config.train.learner].is_policy)
            if config.data.data is not None and config.data.sample_set != LowLightDataConfig.sample_set:
                raise UsageError(f"--data and --sample-set {config.data.sample_set} both name the pictures: use one of "
                                 f"them")
        train, workers = config.train, config.train.workers
        if workers < 1 or (workers > 1 and train.learner != "a3c"):
            raise UsageError(f"--workers is at least 1, and more than one are for a3c; got {workers} for "
                             f"{train.learner}")
        if workers > 1:
            if train.device not in ("auto", "cpu") or train.precision != "32" or train.devices > 1:
                raise UsageError(f"--workers {workers} share weights in memory: they need --device cpu, --precision "
                                 f"32 and --devices 1; got {train.device}, {train.precision} and {train.devices}")
            a3c: A3CConfig = getattr(config.learners, train.learner)
            if a3c.value_warmup_updates or any(a3c.kl_ref_coef):
                raise UsageError("--a3c.value-warmup-updates and --a3c.kl-ref-coef are for the batched learner: leave "
                                 "out --workers")

    def weights(self, config: LowLightConfig) -> RewardWeights:
        """The weights of the reward; terms that another run in this process has loaded do not count."""
        train = config.train
        known = (*own_terms(train.reward_term, train.plugin), *(word.partition("=")[0] for word in train.reward))
        others = [f"{name}=0" for name in term_files() if name not in known]
        return RewardWeights.parse((*train.reward, *others), exposure_level=train.exposure_level)

    def reward(self, config: LowLightConfig) -> Reward:
        return Reward(self.weights(config))

    def dataset(self, config: LowLightConfig) -> Dataset:
        side, is_policy = config.network.state_size, LEARNERS[config.train.learner].is_policy
        # policies that look at a reduced picture need no more than this of it
        data = load_pictures(config.data, max_side=max(256, 2 * side) if is_policy and side else None)
        self._check_references(config, data)
        return data

    def _check_references(self, config: LowLightConfig, data: Dataset) -> None:
        weights, kind, has_references = self.weights(config), LEARNERS[config.train.learner], data.splits.has_references
        Reward(weights).check(has_references)
        counting = [name for name in weights.active if config.network.controls or TERMS[name].default_factor]
        if kind.is_policy and not counting:
            raise UsageError("every reward has the weight 0: there is nothing to learn from; weigh one, as in "
                             "exposure=4")
        if kind.requires_target and not has_references:
            raise UsageError(f"{config.train.learner} learns from references, and {data.splits.source} has none: "
                             f"use pairs (low/ and high/), or --learner a3c")

    def fabric(self, config: LowLightConfig) -> Any:
        train = config.train
        return make_fabric("cpu" if train.workers > 1 else train.device, train.precision, train.devices)

    def model(self, config: LowLightConfig, data: Dataset) -> Any:
        kind = LEARNERS[config.train.learner]
        if kind.is_policy:
            return make_policy(config.network, self.weights(config), kind.std_mode)
        return make_supervised(config.network)

    def adopted(self, config: LowLightConfig) -> LowLightConfig:
        path = config.train.warm_start
        if path is None or config.train.init is not None:
            return config
        if not LEARNERS[config.train.learner].is_policy:
            raise UsageError(f"--warm-start begins a policy, and {config.train.learner} learns none: use --init with a "
                             f"run of this learner")
        return replace(config, network=with_backbone_of(config.network, _supervised(path).backbone, path))

    def warm_start(self, network: Any, path: Path) -> None:
        warm_start(network, _supervised(path))

    def make_learner(self, config: LowLightConfig, network: Any, device: torch.device) -> Learner:
        train = config.train
        if train.workers > 1:
            return AsyncA3C(network, self.reward(config), getattr(config.learners, train.learner), seed=train.seed,
                            device=device, workers=train.workers)
        return super().make_learner(config, network, device)

    def batches(self, config: LowLightConfig, data: Dataset, model: torch.nn.Module) -> Callable[[int], Batch]:
        """At the size the network looks at; of several processes, each gets its share of the same pictures."""
        train, state_size = config.train, getattr(model, "decision_size", None)
        sampler = Sampler(with_more_light(data.splits.train, config.data), data.cache, state_size or config.data.crop,
                          crop="whole" if state_size else "native", seed=train.seed)
        share = distributed.local_batch_size(train.batch_size)
        part = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
        return lambda step: sampler.batch(step, train.batch_size, part)

    def evaluator(self, config: LowLightConfig, data: Dataset) -> LowLightEvaluator:
        return LowLightEvaluator(list(data.load("val", limit=_VALIDATION_PICTURES, side=_VALIDATION_SIDE)),
                                 self.reward(config))

    def patience(self, config: LowLightConfig) -> int:
        patience = config.train.patience
        return (_PATIENCE if config.data.data is None else 0) if patience is None else patience

    def monitor(self, config: LowLightConfig) -> str:
        return config.train.monitor or ("val/return" if LEARNERS[config.train.learner].is_policy else "val/psnr")

    def callback(self, config: LowLightConfig, data: Dataset) -> ArtifactCallback:
        return make_sample_sheet(list(data.load("val", limit=4, side=256)))

    def facts(self, config: LowLightConfig) -> dict[str, Any]:
        return {"reward": self.weights(config).to_dict(),
                "reward_terms": {name: registered_sources()[name] for name in load_terms(config.train.reward_term)}}

    def headline(self, config: LowLightConfig, data: Dataset) -> str:
        weights = self.weights(config)
        lines = [data.describe(), f"{config.train.learner} with {weights}"]
        for name in own_terms(config.train.reward_term, config.train.plugin):
            unweighted = "" if weights[name] else \
                f"; its weight is 0, it is logged only: weigh it with --reward {name}=1"
            lines.append(f"reward term {name} from {term_files()[name]['file']}{unweighted}")
        return "\n".join(lines)

    def baselines(self, config: LowLightConfig, data: Dataset) -> dict[str, Baseline]:
        return fit_baselines(data.load("train", limit=_BASELINE_PICTURES, side=_VALIDATION_SIDE),
                             config.train.exposure_level)

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        config, data, run, validation = session.config, session.data, session.run, session.evaluator.pictures
        learner, baselines = config.train.learner, self.baselines(config, data)
        reward = self.reward(config) if LEARNERS[learner].is_policy else None
        rules = [baselines[name] for name in ("input", "constant", "stop")]
        if reward is not None:
            rules.append(stop_by_reward(data.load("train", limit=_BASELINE_PICTURES, side=_RULE_SIDE), reward))
        rows = {rule.name: score(rule, validation, reward) for rule in rules}
        rows[learner] = score(load_model(run.path / "best"), validation, reward)
        run.draw_curves({name: row["psnr"] for name, row in rows.items()
                         if "psnr" in row and name not in ("input", learner)})
        monitor = self.monitor(config)
        chosen = {"val/return": "return", "val/psnr": "PSNR"}.get(monitor, monitor)
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} "
              f"(chosen by the validation {chosen})")
        print(f"on {len(data.splits.val)} validation pictures at {_VALIDATION_SIDE} pixels:")
        for name in own_terms(config.train.reward_term, config.train.plugin):
            if f"val/reward/{name}" in fitted.best:
                print(f"  reward term {name}: {fitted.best[f'val/reward/{name}']:+.4f} over an episode, unweighted")
        names = ["psnr", "ssim", "mean"] if "psnr" in next(iter(rows.values())) else ["mean", "clipped"]
        names += ["reward"] * (reward is not None)
        width = max(34, *(len(name) + 2 for name in rows))
        for name, row in rows.items():
            print(f"  {name:<{width}}" + "  ".join(f"{column.upper() if column in ('psnr', 'ssim') else column} "
                                              f"{row[column]:.3f}" for column in names))
        if reward is not None:
            print(f"  {_learned(learner, rows[learner]['reward'], rows[rules[-1].name]['reward'], reward)}")
        if config.data.data is None:
            print(f"  (a demonstration: the rules' one number was chosen on {len(data.splits.train)} pictures)")
        some = data.splits.val[:: max(1, len(data.splits.val) // 16)]
        darkest = min((load_example(example, ImageCache(0)).image for example in some), key=lambda image: image.mean())
        dark = write(to_array(darkest), run.path / "samples" / "dark.png")
        board = ", tensorboard/" if "tensorboard" in config.train.logger else ""
        print(f"result in {run.path} (best/, curves.png, samples/{board})\n"
              f"enhance a photograph with it (dark.png is one; put your own in its place):\n"
              f"  {rlenhance_command()} enhance {os.path.relpath(dark)} --model {run.path / 'best'}"
              f"{plugin_words(config.train.plugin)}")
        return rows


def _learned(learner: str, own: float, rule: float, reward: Reward) -> str:
    """What a policy has learned, in a sentence."""
    if own < rule:
        return (f"{learner} earns {own:.2f} of the reward, and the rule that suits the reward best {rule:.2f}: it has "
                f"not learned enough; give it more minutes")
    blind = "" if reward.weights.needs_reference else ", which it never saw: it learned from the reward alone"
    return (f"{learner} learned to earn more of the reward ({own:.2f}) than the rule that suits the reward best "
            f"({rule:.2f}); PSNR is the distance to references{blind}")


LOWLIGHT = LowLightTask()

"""What the low-light experiments share: pictures, networks, learners, sample sheets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from agents import (
    LEARNERS,
    A3CConfig,
    AsyncA3C,
    DirectConfig,
    Learner,
    SACConfig,
    SupervisedConfig,
    distributed,
)
from experiments.core.run import Run
from rlenhance.core.errors import UsageError
from rlenhance.core.visualize import action_colors, grid
from rlenhance.data import (
    Batch,
    Example,
    ImageCache,
    Relight,
    Sampler,
    Splits,
    check_disjoint,
    load_split,
    open_dataset,
    sample_photographs,
    validate_splits,
)
from rlenhance.hub.checkpoint import load_network
from rlenhance.io import list_photos
from rlenhance.models import MODELS, Combined, PixelPolicy, Policy, Restorer, UnrolledPolicy, warm_start
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE
from rlenhance.rewards import Reward, RewardWeights

#: Levels that a policy without `knobs` is trained to obey.
EXPOSURE_RANGE = (0.3, 0.65)
#: What a policy with `knobs` is trained to obey: lowest, default, highest. The exposure may be automatic as well.
KNOBS = {"exposure_level": (0.2, DEFAULT_EXPOSURE, 0.7), "contrast": (-1.0, 0.0, 1.0), "color": (-1.0, 0.0, 1.0),
         "smoothness": (0.0, 0.5, 1.0), "highlights": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class PictureConfig:
    """Which pictures."""

    data: Path | None = None
    """Data folder (layouts in docs/howto/data.md); without it, the sample photographs: a demonstration."""
    fold: int = 0
    """Which part of the scenes is held out: of a folder of pairs, a fifth is the test split of each fold, 0 to 4."""
    on_bad_image: str = "stop"
    """stop names every bad file and ends; skip leaves them out."""
    cache_megabytes: int = 1024
    """Memory for decoded pictures."""
    well_exposed: bool = False
    """The references stand among the training pictures too: they are to be left alone."""
    relit: bool = False
    """The references stand among the training pictures relit, too: back-lit, a lamp at night, a dark corner."""
    light: Path | None = None
    """Folder of well-lit photographs that stand beside the references for --well-exposed and --relit."""
    judge_relit_alone: bool = False
    """References of dark frames serve scores alone: in the reward only what was relit is judged by its truth."""
    crop: int = 128
    """Side in pixels of the native crops that `supervised`, and policies with --state-size 0, learn from."""


@dataclass(frozen=True)
class PolicyConfig:
    """Which network, and what an agent may do."""

    actions: str = "curve"
    """curve, or tone (handles for brightness, contrast, highlights and saturation)."""
    knobs: bool = False
    """tone: train for every knob (exposure, automatic too; contrast, color, smoothness, highlights), so that the user
    can turn them later."""
    smoothness: float = 0.5
    """Default of the knob smoothness: 1 leaves the picture to one curve, 0 lets the local agents do as they choose."""
    backbone: str = "compact"
    """compact, fcn (PixelRL), mrpnet, or pixelrnn (carries a state from step to step)."""
    horizon: int = 8
    """Steps of an episode, T."""
    state_size: int = 64
    """Side of the reduced picture on which a policy decides, in training and in use (0: the picture itself)."""
    agent_stride: int = 8
    """Pixels of that picture per local agent, along each side; 1 is pixel-wise, 0 is no local agents."""
    picture_agent: bool = True
    """One agent acts for the whole picture."""
    curve: str = "continuous"
    """continuous, or categorical (27 levels per head)."""
    channels: str = "luminance"
    """luminance (one curve for all channels), chroma (bounded offsets for red and blue) or coupled (as ReLLIE)."""
    coupling: float = 0.1
    """coupled: share of a channel's own head."""
    lead: int = 0
    """coupled: the channel whose head leads the others (0 red, 1 green, 2 blue; ReLLIE: 2)."""
    chroma: float = 0.1
    """chroma: largest offset of A for red and blue."""
    momentum: float = 0.0
    """Share of the picture before a step that stays in it (ReLLIE: 0.2)."""
    vary_exposure: bool = True
    """Train for every asked exposure from 0.3 to 0.65, so that the user can choose it later."""


@dataclass(frozen=True)
class LearnerConfigs:
    """Settings of each learner."""

    a3c: A3CConfig = field(default_factory=A3CConfig)
    sac: SACConfig = field(default_factory=SACConfig)
    direct: DirectConfig = field(default_factory=DirectConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)


@dataclass
class Pictures:
    """Splits that were scanned, and the cache that holds them."""

    splits: Splits
    cache: ImageCache
    skipped: list[str]

    def load(self, split: str, *, limit: int | None = None, side: int | None = None) -> Sequence[Batch]:
        """Whole pictures of a split, one batch each; `limit` of them, evenly spread."""
        return load_split(self.splits.parts[split], self.cache, limit=limit, side=side)

    def digest(self) -> dict[str, str]:
        """A hash of each split's pictures."""
        return {
            name: hashlib.blake2b("".join(sorted(
                self.cache.info(path).digest for example in part for path in example.paths)).encode(),
                digest_size=16).hexdigest()
            for name, part in self.splits.parts.items() if part
        }


def load_pictures(config: PictureConfig, seed: int = 0, max_side: int | None = None) -> Pictures:
    """Open, scan and check the pictures.

    Args:
        seed: of the deal of scenes.
        max_side: keep decoded pictures at this longer side.

    Raises:
        UsageError: bad files, splits that overlap.
    """
    if config.cache_megabytes < 1:
        raise UsageError(f"--cache-megabytes must be at least 1; got {config.cache_megabytes}")
    cache = ImageCache(config.cache_megabytes << 20, max_side)
    splits = open_dataset(config.data, seed, config.fold) if config.data else sample_photographs()
    splits, skipped = validate_splits(splits, cache, config.on_bad_image)
    if config.data:
        check_disjoint(splits, cache)
    return Pictures(splits, cache, skipped)


def make_policy(config: PolicyConfig, weights: RewardWeights, deviation: str = "scheduled") -> PixelPolicy:
    """A policy with fresh weights, from the global random stream.

    Args:
        weights: where no term looks at the asked level, the policy is not asked for one.
        deviation: see `PixelPolicy`; a learner says which it needs.
    """
    level, (low, high) = weights.exposure_level, EXPOSURE_RANGE
    if config.knobs and config.actions != "tone":
        raise UsageError(f"--knobs need agents that can follow them: --actions tone; got {config.actions}")
    if config.actions == "tone":
        if not config.picture_agent or config.curve != "continuous" or config.channels != "luminance":
            raise UsageError("--actions tone has a picture agent, and continuous heads of its own: "
                             "leave out --no-picture-agent, --curve and --channels")
        tone: dict[str, Any] = {"name": "tone", "agent_stride": config.agent_stride}
    ranges = {"exposure_level": (min(low, level), level, max(high, level))}
    asked = config.vary_exposure and (weights["exposure"] or weights["local_exposure"])
    if config.knobs:
        ranges, asked = {**KNOBS, "smoothness": (0.0, config.smoothness, 1.0)}, True
    return MODELS.create(
        "pixel_policy",
        actions=tone if config.actions == "tone" else {
                 "name": "curve", "kind": config.curve, "agent_stride": config.agent_stride,
                 "picture_agent": config.picture_agent, "channels": config.channels, "coupling": config.coupling,
                 "lead": config.lead, "chroma": config.chroma, "momentum": config.momentum},
        backbone={"name": config.backbone}, horizon=config.horizon, state_size=config.state_size or None,
        preferences=ranges if asked else {}, auto=("exposure_level",) if config.knobs else (), deviation=deviation,
    )


def make_learner(name: str, policy: PolicyConfig, learners: LearnerConfigs, weights: RewardWeights, *, seed: int,
                 device: torch.device | str = "cpu", init: Path | None = None, warm: Path | None = None,
                 workers: int = 1) -> Learner:
    """A learner and its network.

    Args:
        name: in the registry of learners.
        init: begin with the weights of this run or checkpoint.
        warm: begin an acting learner with the backbone of this supervised run.
        workers: of `a3c`; more than one learn asynchronously.

    Raises:
        UnknownName: no such learner or backbone.
        UsageError: `init` holds another network.
    """
    kind = LEARNERS[name]
    torch.manual_seed(seed)
    if kind.is_policy:
        network: Any = make_policy(policy, weights, kind.std_mode)
    else:
        network = MODELS.create("restorer", backbone={"name": policy.backbone})
    if init is not None and warm is not None:
        raise UsageError("--init and --warm-start both give the backbone its weights: use one of them")
    if init is not None:
        other = load_network(init)
        try:
            network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            there: Any = other.spec
            differing = [key for key, value in network.spec.items() if there.get(key) != value]
            raise UsageError(f"--init {init}: holds another network than the one asked for; they differ in "
                             f"{', '.join(differing) or 'kind'}: use the settings of that run") from error
    if warm is not None:
        restorer = load_network(warm)
        if not kind.is_policy or not isinstance(restorer, Restorer | Combined):
            raise UsageError(f"--warm-start begins a policy from a supervised run; {warm} holds a "
                             f"{type(restorer).__name__}, and {name} {'acts' if kind.is_policy else 'does not act'}: "
                             f"use --init for the same network")
        warm_start(network, restorer)
    settings = getattr(learners, name, None)
    if workers > 1:
        return AsyncA3C(network, Reward(weights), settings, seed=seed, device=device, workers=workers)
    if kind.is_policy:
        return kind(network, Reward(weights), settings, seed=seed, device=device)
    return kind(network, settings, seed=seed, device=device)


def with_more_light(examples: Sequence[Example], config: PictureConfig) -> list[Example]:
    """The examples, and for each well-lit picture one that is to be left alone, and one that is relit.

    Where these are more than the examples, the examples are repeated: they stay about half of what is drawn.

    Raises:
        UsageError: there are no well-lit pictures.
    """
    if config.judge_relit_alone:
        examples = [replace(example, target_in_reward=False) for example in examples]
    if not (config.well_exposed or config.relit):
        return list(examples)
    goods = {example.target: example for example in examples if example.target is not None}
    if config.light is not None:
        goods |= {path: Example(path.name, path.name, path) for path in list_photos(config.light)}
    if not goods:
        raise UsageError("--well-exposed and --relit take their light from references, and these pictures have none: "
                         "use pairs (low/ and high/), name a folder with --light, or leave it out")
    more = [variant for good, example in goods.items() for variant in (
        Example(f"{example.name}-good", example.scene, good, good) if config.well_exposed else None,
        Example(f"{example.name}-relit", example.scene, None, good, Relight()) if config.relit else None) if variant]
    return [*list(examples) * max(1, len(more) // len(examples)), *more]


def make_batches(pictures: Pictures, config: PictureConfig, learner: Learner, batch_size: int,
                 seed: int) -> Callable[[int], Batch]:
    """Update number -> training batch, at the size the learner's network looks at; of several processes, each gets
    its share of the same pictures.

    Raises:
        UsageError: the batch does not divide by the processes.
    """
    state_size = getattr(learner.network, "state_size", None)
    examples = with_more_light(pictures.splits.train, config)
    sampler = Sampler(examples, pictures.cache, state_size or config.crop,
                      crop="whole" if state_size else "native", seed=seed)
    share = distributed.local_batch_size(batch_size)
    part = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
    return lambda step: sampler.batch(step, batch_size, part)


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
                episode = UnrolledPolicy(network).play(batch.image.to(device))
                for action, state in zip(episode.actions, episode.states[1:], strict=True):
                    strength = network.actions.strength(action)
                    strengths.append(strength.flatten())
                    row += [action_colors(strength, (side, side)), state]
                row.append(episode.image)
            else:
                row.append(network(batch.image.to(device)))
            rows.append(row if batch.target is None else [*row, batch.target])
    return grid(rows, side), torch.cat(strengths) if strengths else None


def make_sample_sheet(pictures: Sequence[Batch]) -> Callable[[torch.nn.Module, Run, int], None]:
    """What `fit` calls after each validation: the sheet and the histogram of the actions."""

    def sample(network: torch.nn.Module, run: Run, step: int) -> None:
        sheet, strengths = sample_sheet(network, pictures)
        run.log_image("episodes", sheet, step)
        if strengths is not None:
            run.log_histogram("actions/A", strengths, step)

    return sample

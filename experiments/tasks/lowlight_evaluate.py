"""Scores of a model on a split: `python -m experiments.evaluate RUN --data DIR`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import collect_rollout
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.collapse import TrainingWatch, collapse_metrics, policy_collapse_metrics
from rlenhance.experiments.core.markdown import text_table
from rlenhance.experiments.core.migrate import BEFORE
from rlenhance.experiments.core.scores import Baseline, mean_scores
from rlenhance.experiments.tasks.controllability import adaptivity, controllability, enhance, well_exposed
from rlenhance.experiments.tasks.lowlight_baselines import stop_at_mean
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.relit_scenes import real_scenes, relit_scenes
from rlenhance.hub.info import read_info
from rlenhance.hub.shipped import locate
from rlenhance.learning.data import Batch, ImageCache, load_split, open_dataset, sample_photographs, validate_splits
from rlenhance.learning.hub.checkpoint import load_model
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, newly_clipped, psnr, sharpness_ratio, ssim
from rlenhance.learning.models import GreedyEpisode, Policy, build_model
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards import Reward, Transition

_LEVELS = [round(0.25 + 0.025 * number, 3) for number in range(17)]  # mean brightness at which a rule stops
_WATCHED = 16  # pictures for --watch: whole ones fill the memory


def score_picture(output: Tensor, batch: Batch, reward: Reward | None = None) -> dict[str, float]:
    """Scores of one picture: those against the reference only where there is one.

    Args:
        output: (1, 3, H, W).
        batch: the picture, and its reference.
        reward: adds `term/NAME`, what its state terms give for the way from the input to the output, unweighted.
    """
    output = output.clamp(0, 1)
    scores = {"clipped": newly_clipped(output, batch.image).item(), "mean": output.mean().item()}
    if batch.target is not None:
        scores |= {
            "psnr": psnr(output, batch.target).item(), "ssim": ssim(output, batch.target).item(),
            "sharpness": sharpness_ratio(output, batch.target).item(),
            "gt_mean_psnr": gt_mean_psnr(output, batch.target).item(),
        }
    if reward is not None:
        level = output.new_full((1, 1, 1, 1), reward.weights.exposure_level)
        step = Transition(batch.image, output, batch.image, output.new_zeros(1, 1, 1, 1), {"exposure_level": level},
                          batch.target)
        scores |= {f"term/{name}": value.mean().item() for name, value in reward.terms(step).items()}
    return scores


def enhance_batch(model: Callable[..., Tensor], batch: Batch) -> Tensor:
    """A model's output. Only a baseline with `uses_target` is ever handed the reference."""
    if isinstance(model, Baseline):
        return model(batch)
    return enhance(model, batch.image)


def score(model: Callable[..., Tensor], pictures: Sequence[Batch], reward: Reward | None = None) -> dict[str, float]:
    """Mean scores over pictures, and the CPU milliseconds per megapixel that the model took; with a reward `reward`,
    what its state terms give for the way from the input to the output, weighted."""
    rows, seconds, pixels = [], 0.0, 0
    with torch.no_grad():
        for batch in pictures:
            begun = time.process_time()
            output = enhance_batch(model, batch)
            seconds += time.process_time() - begun
            pixels += output.shape[-1] * output.shape[-2]
            rows.append(score_picture(output, batch, reward))
            if reward is not None:
                rows[-1]["reward"] = sum(reward.weights[name.partition("/")[2]] * rows[-1].pop(name)
                                         for name in [*rows[-1]] if name.startswith("term/"))
    return {**mean_scores(rows), "cpu_ms_per_megapixel": 1e9 * seconds / pixels}


def stop_by_reward(pictures: Sequence[Batch], reward: Reward) -> Baseline:
    """Stop at mean, at the level that earns most of a reward on these pictures: the rule for what a policy is asked."""
    def rule(level: float) -> Baseline:
        return Baseline(f"stop at mean {level:g}, by the reward", lambda batch: stop_at_mean(batch.image, level))

    return max(map(rule, _LEVELS), key=lambda found: score(found, pictures, reward)["reward"])


@dataclass
class LowLightEvaluator:
    """Scores a network on the validation split, the same way at every call.

    Args:
        pictures: one batch each.
        reward: its return is reported, every term with it.
        side: state size for policies that have none of their own.
    """

    pictures: Sequence[Batch]
    reward: Reward
    side: int = 64

    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        """`val/...` scores and `collapse/...` signs of collapse."""
        was_training = network.training
        network.eval()
        scores = {f"val/{name}": value for name, value in score(build_model(network), self.pictures).items()
                  if name != "cpu_ms_per_megapixel"}
        if isinstance(network, Policy):
            scores |= self._acting(network)
        network.train(was_training)
        return scores

    def _acting(self, policy: Policy) -> dict[str, float]:
        size = policy.decision_size or self.side
        batch = Batch.stack([batch.map(partial(resize, size=size)) for batch in self.pictures])
        device = next(policy.parameters()).device
        env = make_env(policy, replace(self.reward, every_term=True), device)
        preference = policy.preferences.encode(None, len(batch), device)
        rollout = collect_rollout(policy, env, batch.to(device), preference, None)
        terms = {name: sum(terms[name].mean().item() for terms in rollout.terms) for name in rollout.terms[0]}
        watch = collapse_metrics(policy, [rollout])
        return {
            "val/return": torch.stack(rollout.rewards).sum(dim=0).mean().item(),
            **{f"val/reward/{name}": value for name, value in terms.items()},
            **{f"collapse/{name}": value for name, value in watch.items()},
        }


@dataclass(frozen=True)
class EvaluateConfig:
    """Score a trained model on a split."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder, or a checkpoint in it."""
    data: Path | None = None
    """Data folder (docs/howto/data.md); without it what the run was trained on."""
    fold: int | None = None
    """Which scenes are held out; without it those that the run has not learned from."""
    split: str = ""
    """train, val or test (default: test, or val where there is no test split)."""
    max_side: int = 0
    """Reduce pictures to this longer side in pixels first (0: full size)."""
    watch: bool = False
    """Look for collapse too, on up to 16 of the pictures (policies): one action everywhere, one curve for all."""
    controllability: bool = False
    """Instead of the scores: turn each control, and measure whether the pictures follow
    (docs/explanation/adapt_obey.md)."""
    adaptivity: bool = False
    """Instead of the scores: what becomes of good and of dark pictures when nothing is asked."""
    scenes: bool = False
    """Instead of the scores: relit and real scenes by type, with the local agents and without."""
    side: int = 256
    """Longer side in pixels of the pictures for --controllability, --adaptivity and --scenes."""
    json: bool = False
    """Print JSON."""


def data_of(run: Path) -> tuple[Path | None, int, str]:
    """The data folder that a run (or a checkpoint in it) was trained on, None for sample photographs; its fold; the
    set of sample photographs."""
    for folder in (run, run.parent):
        try:
            stored = read_object(folder / "config.json", finite=False)["arguments"]["data"]
            samples = stored.get("sample_set", BEFORE["LowLightDataConfig"]["sample_set"])
            return Path(stored["data"]) if stored["data"] else None, int(stored.get("fold", 0)), str(samples)
        except (UsageError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
    return None, 0, LowLightDataConfig.sample_set


def _policy_of(config: EvaluateConfig, model: Any, option: str) -> GreedyEpisode:
    if not isinstance(model, GreedyEpisode):
        raise UsageError(f"{config.run}: acts in one pass and takes no actions; {option} is for policies")
    return model


def _behaviour(config: EvaluateConfig, model: Any, pictures: Sequence[Batch]) -> dict[str, dict[str, Any]]:
    """The tables of --controllability, --adaptivity and --scenes, as far as they are set."""
    tables: dict[str, dict[str, Any]] = {}
    if config.controllability:
        tables["controllability"] = controllability(_policy_of(config, model, "--controllability"), pictures)
    if config.adaptivity:
        tables["adaptivity"] = adaptivity(model, pictures, well_exposed(pictures, config.side))
    if config.scenes:
        policy = _policy_of(config, model, "--scenes").policy
        tables["scenes"] = {**relit_scenes(policy, well_exposed(pictures, config.side)),
                            **real_scenes(policy, pictures)}
    return tables


def check_purpose(run: Path) -> None:
    """Refuse networks whose output has no picture of the same size as reference, and name their commands.

    Raises:
        UsageError: the network completes or enlarges.
    """
    commands = {"completion": f"python -m rlenhance.experiments.complete_compare --data DIR --models {run}",
                "upscale": f"rlenhance upscale DIR -o OUT --model {run}, then rlenhance score OUT --reference HIGH"}
    purpose = read_info(locate(run)).purpose
    if purpose in commands:
        raise UsageError(f"{run}: a network for {purpose}, and this command scores enhanced pictures; score it with "
                         f"{commands[purpose]}")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Score, print, and return the scores, or the tables by option."""
    if config.max_side < 0:
        raise UsageError(f"--max-side must not be negative; got {config.max_side}")
    if config.side < 16:
        raise UsageError(f"--side must be at least 16 pixels; got {config.side}")
    behaves = config.controllability or config.adaptivity or config.scenes
    if behaves and config.watch:
        raise UsageError("--watch goes with the scores: leave out --controllability, --adaptivity and --scenes, or "
                         "call twice")
    check_purpose(config.run)
    model = load_model(config.run)
    cache = ImageCache()
    stored, fold, samples = data_of(config.run)
    data, fold = config.data or stored, fold if config.fold is None else config.fold
    opened = open_dataset(data, fold=fold) if data else sample_photographs(names=samples)
    splits, skipped = validate_splits(opened, cache, "skip")
    for line in skipped:
        print(f"left out: {line}", file=sys.stderr)
    split = config.split or ("test" if splits.test else "val")
    if split not in splits.parts or not splits.parts[split]:
        raise UsageError(f"{splits.source} has no {split!r} split; it has "
                         f"{', '.join(name for name, part in splits.parts.items() if part)}")
    side = config.side if behaves else config.max_side or None
    pictures = load_split(splits.parts[split], cache, side=side)
    shown = f"{len(pictures)} {split} pictures of {splits.source}"
    if behaves:
        tables = _behaviour(config, model, pictures)
        print(json.dumps({"split": split, **tables}) if config.json else
              "\n\n".join([shown, *map(text_table, tables.values())]))
        return tables
    scores = score(model, pictures)
    if config.watch:
        policy = _policy_of(config, model, "--watch").policy
        scores |= policy_collapse_metrics(policy, pictures[:: -(-len(pictures) // _WATCHED)])
    print(json.dumps({"split": split, **scores}) if config.json else f"{shown}\n{text_table(scores)}")
    for warning in TrainingWatch().after_validation(scores):
        print(f"warning: {warning}", file=sys.stderr)
    return scores

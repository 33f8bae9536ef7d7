"""Low-light learners beside each other, beside baselines that need no training, and beside models that are there."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from agents import LEARNERS
from experiments.core.compare import CompareConfig, TaskComparison, fingerprint
from experiments.core.config import Flat, one_of
from experiments.core.dataset import Dataset
from experiments.core.plugins import own_terms, term_files
from experiments.core.presets import Preset, preset_option
from experiments.core.scores import Baseline, Candidate, Column, Comparison, Row
from experiments.core.train import check_same, train
from experiments.tasks.controllability import enhance
from experiments.tasks.lowlight import LOWLIGHT, LearnerConfigs, LowLightConfig, LowLightTrainConfig
from experiments.tasks.lowlight_baselines import fit_baselines
from experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from experiments.tasks.lowlight_evaluate import enhance_batch, score_picture
from experiments.tasks.lowlight_policy import PolicyConfig, actions_of, fitted, refuse_ignored
from experiments.tasks.presets import LOWLIGHT_PRESETS, for_comparison, preset_reward, with_words
from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array
from rlenhance.core.visualize import grid
from rlenhance.data import Batch, evenly_spread
from rlenhance.hub.checkpoint import find_checkpoint, load_model, read_config
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE
from rlenhance.rewards import TERMS, Reward, RewardWeights

#: Rewards that a comparison can give a policy: name -> words of --reward, on top of those of its preset.
REWARDS = {
    "no reference": (),
    "SSIM + PSNR": ("exposure=0", "local_exposure=0", "clipping=0", "contrast=0", "ssim=4", "psnr=0.1"),
}
_UNFITTED = ("input", "CLAHE (L, limit 2)")  # baselines that choose nothing


@dataclass(frozen=True)
class LowLightCompareConfig(CompareConfig):
    """Train every learner over several seeds on the same pictures with the same budget, and score all on the test
    split (validation where there is none)."""

    presets: ClassVar[Mapping[str, Preset]] = for_comparison(LOWLIGHT_PRESETS)

    preset: Annotated[str, preset_option(LOWLIGHT_PRESETS)] = "natural"
    """The recipe that pictures, network, learners' settings and rewards begin with; options that are named beat it."""
    out: Path = Path("runs/lol_compare")
    """Where the table and the runs go; runs that are finished there are not trained again."""
    learners: Annotated[tuple[str, ...], one_of(LEARNERS)] = ("a3c", "direct", "supervised")
    """Which learners."""
    rewards: tuple[str, ...] = ("no reference", "SSIM + PSNR")
    """Which rewards the acting learners get: `no reference` (that of the preset), `SSIM + PSNR`, or the words of
    --reward, quoted, as in `"exposure=2 edges=10"`."""
    reward_term: tuple[str, ...] = ()
    """Terms of your own, module:function each (docs/own_reward.md); each becomes a column. The two named rewards leave
    them out, words weigh them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    minutes: float = 2.0
    """Training time per run, evaluation left out (0: only `updates` counts)."""
    updates: int = 0
    """Updates per run (0: as many as `minutes` allows)."""
    batch_size: int = 8
    """Pictures per update."""
    eval_interval: int = 50
    """Updates between validations."""
    exposure_level: float = DEFAULT_EXPOSURE
    """Asked exposure."""
    max_side: int = 0
    """Reduce test pictures to this longer side in pixels (0: full size)."""
    data: Flat[LowLightDataConfig] = field(default_factory=LowLightDataConfig)
    network: Flat[PolicyConfig] = field(default_factory=PolicyConfig)
    configs: Flat[LearnerConfigs] = field(default_factory=LearnerConfigs)

    def settled(self, base: LowLightCompareConfig, named: frozenset[str]) -> LowLightCompareConfig:
        """What a command line means, see `LowLightConfig.settled`."""
        return replace(self, network=fitted(self.network, named))


class LowLightComparison(TaskComparison[LowLightCompareConfig, Dataset]):
    """One condition: the pictures of the split as they are."""

    Config = LowLightCompareConfig

    def check(self) -> None:
        config, own = self.config, own_terms(self.config.reward_term, self.config.plugin)
        actions_of(config.network)
        refuse_ignored(config.network)
        for learner, reward in itertools.product(config.learners, config.rewards):
            weights, kind = _weights(config, reward, own), LEARNERS[learner]
            try:
                if kind.is_policy:
                    kind.check_reward(weights)
            except UsageError as error:
                raise UsageError(f"{learner}, {reward}: {error}; or leave {learner} out of --learners") from error
        if not config.seeds or len(set(config.seeds)) != len(config.seeds):
            raise UsageError(f"--seeds needs at least one, each once; got {config.seeds}")
        if config.learners and not config.rewards:
            raise UsageError("--rewards needs at least one")
        if config.max_side < 0:
            raise UsageError(f"--max-side must not be negative; got {config.max_side}")

    def dataset(self) -> Dataset:
        data = load_pictures(self.config.data)
        if not data.splits.has_references:
            raise UsageError(f"{data.splits.source}: scores need references; use pairs (low/ and high/). On dark "
                             f"photographs alone, train with experiments.lol_train and look at samples/ of the run")
        return data

    def pictures(self, condition: str = "") -> Sequence[Batch]:
        return self.data.load(self.split, limit=self.config.limit or None, side=self.config.max_side or None)

    def groups(self, count: int) -> list[str]:
        return [example.scene for example in evenly_spread(self.data.splits.parts[self.split], count)]

    def cache_key(self) -> str:
        sources = [(name, term_files()[name]["digest"]) for name in state_terms(self.config)]
        return f"{super().cache_key()} {self.config.max_side} {self.config.exposure_level:g} {sources}"

    def baselines(self, condition: str) -> Mapping[str, Baseline]:
        fitted = fit_baselines(self.data.load("train", limit=96, side=128), self.config.exposure_level)
        return {baseline.name: baseline for baseline in fitted.values()}

    def trained(self) -> list[Candidate]:
        config, candidates = self.config, list[Candidate]()
        own = own_terms(config.reward_term, config.plugin)
        for learner in config.learners:
            for reward in config.rewards if LEARNERS[learner].is_policy else ("",):
                runs = [_train(config, own, learner, reward, seed) for seed in config.seeds]
                updates, seconds = (statistics.fmean(numbers[key] for _, numbers in runs)
                                    for key in ("updates", "seconds"))
                used = LEARNERS[learner].requires_target or bool(_weights(config, reward, own).needs_reference)
                candidates.append(Candidate(
                    f"{learner}, {reward}" if reward else learner, [load_model(run / "best") for run, _ in runs],
                    [fingerprint(run / "best") for run, _ in runs], runs[0][0], {
                        "learner": learner, "reference": "yes" if used else "no", "updates": updates,
                        "pictures": updates * config.batch_size, "seconds": seconds}))
        return candidates

    def variants(self, candidates: list[Candidate]) -> list[Candidate]:
        for candidate in candidates:
            imported = "imported" in read_config(find_checkpoint(candidate.path))["about"]
            candidate.facts["reference"] = "imported" if imported else "unknown"
        return []

    def apply(self, model: Any, batch: Batch, condition: str) -> tuple[Tensor, Any]:
        return enhance(model, batch.image), None

    def score(self, output: Tensor, batch: Batch) -> dict[str, float]:
        own = state_terms(self.config)
        weights = RewardWeights.only(**dict.fromkeys(own, 1.0), exposure_level=self.config.exposure_level)
        return score_picture(output, batch, Reward(weights) if own else None)

    def columns(self) -> Sequence[Column]:
        return (Column("psnr", "PSNR", 2, difference="dB"), Column("ssim", "SSIM", 3, difference="SSIM"),
                Column("sharpness", "sharpness", 2), Column("clipped", "newly clipped", 4),
                Column("gt_mean_psnr", "GT-mean PSNR (uses the reference)", 2),
                Column("cpu_s_per_megapixel", "CPU ms / MP", 0, scale=1000),
                *(Column(f"term/{name}", f"{name}, gained", 4) for name in state_terms(self.config)))

    def facts(self, row: Row) -> dict[str, str]:
        baseline = "oracle" if row.name.startswith("oracle") else "no" if row.name in _UNFITTED else "its number"
        budget = {"updates": "updates", "pictures": "pictures", "training s": "seconds"}
        return {"reference in training": row.facts.get("reference", baseline), **super().facts(row),
                **{heading: f"{row.facts[key]:.0f}" if key in row.facts else "" for heading, key in budget.items()}}

    def about(self, comparison: Comparison) -> list[str]:
        config = self.config
        size = f"reduced to {config.max_side} pixels" if config.max_side else "at full size"
        budget = f"{config.minutes:g} minutes" if config.minutes else f"{config.updates or 400} updates"
        training = (f"{budget} of training per run, seeds {', '.join(map(str, config.seeds))} (mean ± standard "
                    f"deviation), best/ chosen on validation" if config.learners else "nothing was trained for it")
        return [f"{self.data.splits.describe()}.", f"Scored on {comparison.count} {self.split} pictures {size}; "
                f"{training}; torch threads {torch.get_num_threads()}.", ""]

    def write(self, comparison: Comparison) -> list[str]:
        models = [row.models[""][0] if row.models else comparison.baselines[""][row.name]
                  for row in comparison.rows.values()]
        test, lines = self.pictures(), []
        for batch in [test[i * len(test) // 6] for i in range(min(6, len(test)))]:
            with torch.no_grad():
                shown = [enhance_batch(model, batch) for model in models]
            lines.append(shown if batch.target is None else [*shown, batch.target])
        write(to_array(grid(lines, 160)), self.config.out / "grid.png")
        return ["grid.png: columns in the table's order, the reference last"]


def state_terms(config: LowLightCompareConfig) -> list[str]:
    """The user's own state terms, each a score."""
    return [name for name in own_terms(config.reward_term, config.plugin) if TERMS[name].kind == "state"]


def _words(config: LowLightCompareConfig, reward: str, own: Sequence[str]) -> tuple[str, ...]:
    """The words of --reward that a reward's name stands for, or that it is itself, on top of those of the preset."""
    base = preset_reward(config.preset)
    if reward in REWARDS:
        return (*with_words(base, REWARDS[reward]), *(f"{name}=0" for name in own))
    if reward and "=" not in reward:
        raise UsageError(f"--rewards are {', '.join(map(repr, REWARDS))}, or words of --reward, quoted, as in "
                         f"'exposure=2 color=0.5'; got {reward!r}")
    return with_words(base, tuple(reward.split()))


def _weights(config: LowLightCompareConfig, reward: str, own: Sequence[str]) -> RewardWeights:
    return RewardWeights.parse(_words(config, reward, own))


def _train(config: LowLightCompareConfig, own: Sequence[str], learner: str, reward: str,
           seed: int) -> tuple[Path, dict[str, float]]:
    """One run, and its budget's numbers; a finished one is taken as it is."""
    slug = "-".join(part.lower().replace(" ", "_").replace("+", "and") for part in (learner, reward, str(seed)) if part)
    run, is_policy = config.out / slug, LEARNERS[learner].is_policy
    wanted = LowLightConfig(
        LowLightTrainConfig(
            learner=learner, preset=config.preset, patience=0,
            reward=_words(config, reward, own) if is_policy else preset_reward(config.preset),
            reward_term=config.reward_term if is_policy else (), exposure_level=config.exposure_level, name=slug,
            plugin=config.plugin, out=config.out, seed=seed, updates=config.updates or None, minutes=config.minutes,
            batch_size=config.batch_size, eval_interval=config.eval_interval),
        config.data, config.network, config.configs)
    begun = (run / "config.json").is_file()
    if begun:
        check_same(LOWLIGHT, run, wanted)
    if (run / "done.json").is_file():
        return run, json.loads((run / "done.json").read_text())
    result = train(LOWLIGHT, LowLightConfig(LowLightTrainConfig(resume=run)) if begun else wanted)
    numbers = {"updates": float(result.fitted.updates), "seconds": result.fitted.seconds}
    write_atomically(run / "done.json", json.dumps(numbers).encode())
    return result.run, numbers


LOWLIGHT_COMPARISON = LowLightComparison(LOWLIGHT)

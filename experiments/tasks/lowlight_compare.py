"""Low-light learners beside each other, beside baselines that need no training, and beside models that are there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import CompareConfig, TaskComparison, fingerprint
from rlenhance.experiments.core.config import Flat, one_of
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.plugins import own_terms, term_files
from rlenhance.experiments.core.presets import Preset, preset_option
from rlenhance.experiments.core.scores import Baseline, Candidate, Column, Comparison, Row
from rlenhance.experiments.tasks.controllability import enhance
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightLearners
from rlenhance.experiments.tasks.lowlight_baselines import fit_baselines
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig, load_pictures
from rlenhance.experiments.tasks.lowlight_evaluate import enhance_batch, score_picture
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig, actions_of, fitted, refuse_ignored
from rlenhance.experiments.tasks.lowlight_rows import ROW_PRESETS, estimate, train_row, trained_rows
from rlenhance.experiments.tasks.presets import LOWLIGHT_PRESETS, for_comparison
from rlenhance.io import write
from rlenhance.learning.data import Batch, evenly_spread
from rlenhance.learning.hub.checkpoint import find_checkpoint, load_model, read_config
from rlenhance.learning.ops.image import to_array
from rlenhance.learning.ops.visualize import grid
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

_UNFITTED = ("input", "CLAHE (L, limit 2)")  # baselines that choose nothing


@dataclass(frozen=True)
class LowLightCompareConfig(CompareConfig):
    """Train every learner over several seeds on the same pictures with the same budget, and score all on the test
    split (validation where there is none)."""

    presets: ClassVar[Mapping[str, Preset]] = for_comparison(LOWLIGHT_PRESETS)

    preset: Annotated[str, preset_option(for_comparison(LOWLIGHT_PRESETS))] = "natural"
    """The recipe that pictures, network, learners' settings and rewards begin with; options that are named beat it."""
    out: Path = Path("runs/lol_compare")
    """Where the table and the runs go; runs that are finished there are not trained again."""
    learners: Annotated[tuple[str, ...], one_of(LEARNERS, also=ROW_PRESETS)] = (
        "a3c", "sac", "direct", "supervised", *ROW_PRESETS)
    """Which rows: learners, on the network of --preset, and presets of lol_train as they are (rellie; mrpnet,
    gated_pixelrnn and convlstm_autoencoder are the earlier projects' supervised networks)."""
    rewards: tuple[str, ...] = ("no reference", "SSIM + PSNR")
    """Which rewards the acting learners get: `no reference` (that of the preset), `SSIM + PSNR`, or the words of
    --reward, quoted, as in `"exposure=2 edges=10"`."""
    reward_term: tuple[str, ...] = ()
    """Your own terms, module:function each (docs/tutorials/own_reward.md); each becomes a column. The two named
    rewards leave them out, words weigh them."""
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
    configs: Flat[LowLightLearners] = field(default_factory=LowLightLearners)  # type: ignore[valid-type]

    def settled(self, base: LowLightCompareConfig, named: frozenset[str]) -> LowLightCompareConfig:
        """What a command line means, see `LowLightConfig.settled`."""
        return replace(self, network=fitted(self.network, named))


class LowLightComparison(TaskComparison[LowLightCompareConfig, Dataset]):
    """One condition: the pictures of the split as they are."""

    Config = LowLightCompareConfig

    def check(self) -> None:
        config = self.config
        actions_of(config.network)
        refuse_ignored(config.network)
        trained_rows(config)
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
        rows = trained_rows(config)
        for line in estimate(rows, config.seeds, self.data, self.pictures()) if rows else ():
            print(line, flush=True)
        for row in rows:
            numbers = [train_row(row, seed) for seed in config.seeds]
            updates, seconds = (statistics.fmean(each[key] for each in numbers) for key in ("updates", "seconds"))
            runs = [row.run(seed) for seed in config.seeds]
            candidates.append(Candidate(
                row.name, [load_model(run / "best") for run in runs], [fingerprint(run / "best") for run in runs],
                runs[0], {"learner": row.learner,
                          "reference": "yes" if row.reference else "no", "updates": updates,
                          "pictures": updates * row.config.train.batch_size, "seconds": seconds}))
        return candidates

    def variants(self, candidates: list[Candidate]) -> list[Candidate]:
        for candidate in candidates:
            imported = "imported" in read_config(find_checkpoint(candidate.path))["about"]
            candidate.facts["reference"] = "imported" if imported else "not recorded"
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
        most = [f"{config.updates} updates"] * bool(config.updates) + [f"{config.minutes:g} minutes"] * bool(
            config.minutes)
        budget = f"at most {' or '.join(most)}" if len(most) == 2 else most[0] if most else "400 updates"
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
    """User-defined state terms, each a score."""
    return [name for name in own_terms(config.reward_term, config.plugin) if TERMS[name].kind == "state"]


LOWLIGHT_COMPARISON = LowLightComparison(LOWLIGHT)

"""The comparison of denoising: models and baselines on the same noisy pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import CompareConfig, TaskComparison
from rlenhance.experiments.core.config import Flat
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.scores import Baseline, Candidate, Column, Comparison, Row, ScoreEntry
from rlenhance.experiments.tasks.denoise import DENOISE, LEVELS, DenoiseDataConfig, DenoiseDataset, filter_shares
from rlenhance.experiments.tasks.denoise_baselines import baseline_names, denoising_baselines, has_bm3d
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import REAL, Batch
from rlenhance.learning.metrics.full_reference import sharpness_ratio
from rlenhance.learning.models import MODELS, BaseFilterPolicy, FilterPolicy, GreedyEpisode, NoiseConditionedModel

_TRAIN_PICTURES, _TRAIN_SIDE = 24, 128  # of the training split, to choose what baselines choose


@dataclass(frozen=True)
class DenoiseCompareConfig(CompareConfig):
    """Score baselines that need no training, and models, on the test split (validation where there is none).

    Models of one name share a row, one per level of noise.
    """

    out: Path = Path("runs/denoise_compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    levels: tuple[float, ...] = LEVELS
    """Standard deviations of Gaussian noise in 255ths (with --noise real, salt_pepper, ...: that noise alone)."""
    also_quantized: bool = False
    """Beside the columns of unrounded noise, those of the same noise clipped and rounded to 8 bits."""
    baselines: bool = True
    """Score the baselines too."""
    tta_views: int = 1
    """Score policies over filters once more, averaged over so many turned and mirrored views (to 8)."""
    filter_usage: bool = True
    """Write shares.csv: how often policies take each filter at each step."""
    precision: str = "32"
    """32, or bf16: on a CPU that has it, large networks several times faster, PSNR the same to about 0.01 dB."""
    data: Flat[DenoiseDataConfig] = field(default_factory=DenoiseDataConfig)


class DenoiseComparison(TaskComparison[DenoiseCompareConfig, DenoiseDataset]):
    """Conditions are kinds of noise; the details of a score are how often a policy takes each filter at each step."""

    Config = DenoiseCompareConfig

    def check(self) -> None:
        if self.config.precision not in ("32", "bf16"):
            raise UsageError(f"--precision is 32 or bf16; got {self.config.precision}")
        noises(self.config)

    def conditions(self) -> Sequence[str]:
        return list(noises(self.config))

    def label(self, condition: str) -> str:
        return f"noise {condition}"

    def pictures(self, condition: str) -> Sequence[Batch]:
        level, rounded = noises(self.config)[condition]
        return self.data.at(self.split, level, eight_bit=rounded, limit=self.config.limit or None)

    def cache_key(self) -> str:
        return f"{super().cache_key()} {self.config.data.color} {self.config.data.eight_bit}"

    def baselines(self, condition: str) -> Mapping[str, Baseline]:
        if not self.config.baselines:
            return {}
        level, rounded = noises(self.config)[condition]

        @cache
        def fitted() -> Mapping[str, tuple[str, Callable[[Tensor], Tensor]]]:
            return denoising_baselines(self.data.at("train", level, eight_bit=rounded, limit=_TRAIN_PICTURES,
                                                    side=_TRAIN_SIDE), level)

        def baseline(name: str) -> Baseline:  # it chooses when it is first used
            return Baseline(name, lambda batch: fitted()[name][1](batch.image), about=lambda: fitted()[name][0])

        return {name: baseline(name) for name in baseline_names(level)}

    def variants(self, candidates: list[Candidate]) -> list[Candidate]:
        views = self.config.tta_views
        for candidate in candidates:
            candidate.marks = [f"{mark} {self.config.precision}" for mark in candidate.marks]
        return [] if views == 1 else [
            replace(candidate, name=f"{candidate.name}, {views} views",
                    models=[with_views(model, views) for model in candidate.models],
                    marks=[f"{mark} {views} views" for mark in candidate.marks])
            for candidate in candidates if isinstance(policy_of(candidate.models[0]), FilterPolicy)]

    def fits(self, model: Any, condition: str) -> bool:
        level, policy = noises(self.config)[condition][0], policy_of(model)
        if level is None or policy is None:
            return True
        try:
            policy.check_noise_level(level)
        except UsageError:
            return False
        return True

    def apply(self, model: Any, batch: Batch, condition: str) -> tuple[Tensor, Any]:
        level, policy = noises(self.config)[condition][0], policy_of(model)
        known: dict[str, float] = {}
        if level is not None and policy:
            known = policy.noise_preference(level)
        elif level is not None and isinstance(model, NoiseConditionedModel):
            known = {"noise": level}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16"):
            if policy is not None:
                episode = model.run(batch.image, preference=known)
                return episode.image, filter_shares(policy, episode.actions)
            return model(batch.image, **({"preference": known} if known else {})), None

    def score(self, output: Tensor, batch: Batch) -> dict[str, float]:
        assert batch.target is not None
        colors = output.expand(-1, 3, -1, -1), batch.target.expand(-1, 3, -1, -1)
        return {**super().score(output, batch), "sharpness": sharpness_ratio(*colors).item()}

    def summarize(self, details: list[Any]) -> list[list[float]]:
        return torch.stack(details).mean(dim=0).tolist()

    def columns(self) -> Sequence[Column]:
        return (Column("psnr", "PSNR", 2, difference="dB"), Column("ssim", "SSIM", 3),
                Column("sharpness", "sharpness", 2), Column("cpu_s_per_megapixel", "CPU s / MP", 2))

    def about(self, comparison: Comparison) -> list[str]:
        data, also_quantized = self.config.data, self.config.also_quantized
        rounded = "clipped and rounded to 8 bits" if data.eight_bit and not also_quantized else "not rounded"
        rounded += ", but where a column says 8 bits: clipped and rounded" * also_quantized
        precision = "" if self.config.precision == "32" else f" Networks in {self.config.precision}."
        return [f"{self.data.splits.describe()}.", f"Scored on {comparison.count} {self.split} pictures, "
                f"{'in colour' if data.color else 'grey'}; noise {rounded}; outputs clipped, not rounded. "
                f"PSNR in dB / SSIM.{precision}", ""]

    def tables(self, comparison: Comparison) -> list[str]:
        columns, conditions, baseline = self.columns(), self.conditions(), self.config.baseline
        rows = [row for row in comparison.rows.values() if row.entries]
        table = []
        for row in rows:
            cells = [" / ".join(self.cell(row, noise, column) for column in columns[:2]) if noise in row.entries else ""
                     for noise in conditions]
            middle = "25" if "25" in row.entries else next(iter(row.entries))
            table.append([row.name, *cells, *(self.cell(row, middle, column) for column in columns[2:]),
                          *self.facts(row).values()])
        lines = markdown_table(["", *map(self.label, conditions), *(column.heading for column in columns[2:]),
                                "parameters"], table)
        lines += ["", *(f"- {row.name}, noise {noise}: {entry.about}" for row, noise, entry in _entries(rows)
                        if entry.about and row.name != "input")]
        if self.config.baselines and not has_bm3d():
            lines.append("- BM3D is not installed (pip install bm3d): it has no row")
        if baseline:
            table = [[row.name, *(self.difference(comparison, row, noise, columns[0]) if noise in row.entries else ""
                                  for noise in conditions)] for row in rows if row.name != baseline]
            lines += ["", f"PSNR in dB minus that of {baseline}, picture by picture (95 % bootstrap interval over "
                      f"pictures):", "", *markdown_table(["", *map(self.label, conditions)], table)]
        for row, noise, entry in _entries(rows):
            if entry.details and self.config.filter_usage:
                usage = [[str(step), *(f"{100 * share:.1f}" for share in shares)]
                         for step, shares in enumerate(entry.details, 1)]
                lines += ["", f"Filters that {row.name} takes at noise {noise}, percent of the pixels:", "",
                          *markdown_table(["step", *_filters(row, noise)], usage)]
        return lines

    def write(self, comparison: Comparison) -> list[str]:
        lines = [f'{row.name},"{noise}",{step},{name},{share:.6f}'
                 for row, noise, entry in _entries(comparison.rows.values()) for step, shares in
                 enumerate(entry.details or (), 1) for name, share in zip(_filters(row, noise), shares, strict=True)]
        text = "\n".join(["row,noise,step,tool,share", *lines, ""])
        write_atomically(self.config.out / "shares.csv", text.encode())
        return ["shares.csv"]


def noises(config: DenoiseCompareConfig) -> dict[str, tuple[float | None, bool]]:
    """Name of the noise -> its level, or None where it is not of the levels, and whether it is rounded."""
    noise, rounded = config.data.noise, config.data.eight_bit
    if noise == REAL or (noise[:1].isalpha() and noise != "blind"):
        if config.also_quantized:
            raise UsageError(f"--also-quantized is for Gaussian noise; got --noise {noise}: run it again with "
                             f"--eight-bit")
        return {noise: (None, rounded)}
    if not config.levels:
        raise UsageError("--levels needs at least one")
    kinds = (False, True) if config.also_quantized else (rounded,)
    return {f"{level:g}{', 8 bits' if kind else ''}": (level, kind) for kind in kinds for level in config.levels}


def policy_of(model: Any) -> BaseFilterPolicy | None:
    """The policy over filters that a model plays, or None."""
    policy = model.policy if isinstance(model, GreedyEpisode) else None
    return policy if isinstance(policy, BaseFilterPolicy) else None


def with_views(model: Any, views: int) -> GreedyEpisode:
    """A greedy episode of a policy over filters that averages over so many views."""
    turning = MODELS.rebuild({**model.policy.spec, "num_tta_views": views})
    turning.load_state_dict(model.policy.state_dict())
    return GreedyEpisode(turning.eval())


def _entries(rows: Any) -> Iterator[tuple[Row, str, ScoreEntry]]:
    return ((row, noise, entries[0]) for row in rows for noise, entries in row.entries.items())


def _filters(row: Row, noise: str) -> Sequence[str]:
    return row.models[noise][0].policy.actions.tools


DENOISE_COMPARISON = DenoiseComparison(DENOISE)

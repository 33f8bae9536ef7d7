"""A report on whether reinforcement learning is worth it on given pictures, with intervals and in words."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from rlenhance.agents import LEARNERS, needs_no_gradient, reward_learners
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import MIN_SCENES, Interval, bootstrap_interval
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.core.config import Flat, one_of
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.presets import Preset
from rlenhance.experiments.core.scores import Column, Comparison
from rlenhance.experiments.core.seeds import RowStatistics, row_statistics, span, statistics_text
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig, state_terms
from rlenhance.experiments.tasks.presets import prefixed
from rlenhance.io.files import write_atomically

#: Scores that a report can be on, all of them better when higher: name -> (unit, digits).
METRICS = {"psnr": ("dB", 2), "ssim": ("SSIM", 3), "gt_mean_psnr": ("dB GT-mean PSNR", 2)}


@dataclass(frozen=True)
class LowLightReportConfig:
    """Train, compare with baselines on held-out scenes, and say in words whether reinforcement learning was worth
    it."""

    presets: ClassVar[Mapping[str, Preset]] = prefixed(LowLightCompareConfig.presets, "comparison")

    learner: Annotated[str, one_of(LEARNERS, needs_no_gradient)] = "a3c"
    """The learner in question, of reinforcement learning."""
    metric: str = "psnr"
    """The score that decides: psnr, ssim, gt_mean_psnr, or your own reward term (--reward-term)."""
    resamples: int = 2000
    """How often the scenes are drawn anew for an interval."""
    resample_seed: int = 0
    """Of those draws."""
    comparison: Flat[LowLightCompareConfig] = field(default_factory=lambda: LowLightCompareConfig(
        learners=("a3c", "direct", "supervised"), rewards=("no reference",), seeds=(0,), out=Path("runs/lol_report")))

    def settled(self, base: LowLightReportConfig, named: frozenset[str]) -> LowLightReportConfig:
        """What a command line means, see `LowLightConfig.settled`."""
        return dataclasses.replace(self, comparison=self.comparison.settled(base.comparison, named))


@dataclass
class Report:
    """The result of a report.

    Attributes:
        scores: row -> the score.
        differences: row -> the learner's score less that row's, frame by frame.
        statistics: what the seeds of each row say of the score.
        verdict: in words, one sentence each; the last one answers the question.
    """

    scores: dict[str, Interval]
    differences: dict[str, Interval]
    statistics: list[RowStatistics]
    verdict: list[str]


def report(config: LowLightReportConfig) -> Report:
    """Train what is missing, score, and write report.md, report.json and the tables of the comparison."""
    _check(config)
    comparison = compare(LOWLIGHT_COMPARISON, config.comparison)
    made = make_report(config, comparison)
    unit, digits = METRICS.get(config.metric, (config.metric, 4))
    key = _key(config)
    table = markdown_table(["", unit, f"{config.learner} less that"], [
        [name, _span(score, digits), _span(made.differences[name], digits) if name in made.differences else ""]
        for name, score in made.scores.items()])
    first = next(iter(made.scores.values()))
    seeds = [] if key == "psnr" else statistics_text(  # of PSNR the comparison's own text has them
        comparison, Column(key, unit, digits), {"": ""}, {"": made.statistics})
    text = "\n".join(["# Is reinforcement learning worth it here?", "", *(f"- {line}" for line in made.verdict), "",
                      _how(config, comparison, first), "", *table, "", *seeds, "", "## All scores", "",
                      comparison.text])
    out = config.comparison.out
    write_atomically(out / "report.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(config), "split": comparison.split,
             **dataclasses.asdict(made)}
    write_atomically(out / "report.json", json.dumps(facts, indent=1, default=str).encode())
    print("\n".join(["", *table, "", *made.verdict, f"written to {out} (report.md, report.json)"]))
    return made


def _check(config: LowLightReportConfig) -> None:
    learner, learners = config.learner, config.comparison.learners
    if learner not in reward_learners() or learner not in learners:
        raise UsageError(f"--learner is {' or '.join(reward_learners())}, and one of --learners; got {learner!r} and "
                         f"{', '.join(learners)}")
    if len(config.comparison.rewards) != 1:
        raise UsageError(f"a report is on one reward: give --rewards one; got {config.comparison.rewards}")
    metrics = (*METRICS, *state_terms(config.comparison))
    if config.metric not in metrics:
        raise UsageError(f"--metric is {', '.join(metrics)} (your own term needs --reward-term); got "
                         f"{config.metric!r}")
    bootstrap_interval([0.0], ["a"], resamples=config.resamples)  # impossible numbers are refused before training


def _how(config: LowLightReportConfig, comparison: Comparison, some: Interval) -> str:
    """How the numbers were obtained."""
    seeds = config.comparison.seeds
    trained = f"the seeds {', '.join(map(str, seeds))}, averaged" if len(seeds) > 1 else f"the one seed {seeds[0]}"
    watched = "" if comparison.split == "test" else \
        " There is no test split: validation chose best/ among the checkpoints on these same scenes."
    return (f"Means over {some.frames} {comparison.split} pictures of {some.scenes} scenes, with 95 % intervals over "
            f"scenes (bootstrap, {config.resamples} resamples, seed {config.resample_seed}); differences are "
            f"paired, frame by frame. The intervals say what other scenes of the same kind may show, for what was "
            f"trained with {trained}.{watched}")


def make_report(config: LowLightReportConfig, comparison: Comparison) -> Report:
    """Intervals of every row and of the differences to the learner in question, and the verdict."""
    key = _key(config)
    bootstrap = {"resamples": config.resamples, "seed": config.resample_seed}
    learner = _row_of(comparison, config.learner)
    assert learner is not None  # `_check` has seen to it
    scores = {name: bootstrap_interval(row.of_pictures("", key), comparison.groups, **bootstrap)
              for name, row in comparison.rows.items()}
    differences = {name: comparison.difference(learner, name, "", key, **bootstrap)
                   for name in comparison.rows if name != learner}
    statistics = row_statistics(comparison, "", key, **bootstrap)
    return Report(scores, differences, statistics, _verdict(config, comparison, differences, statistics))


def _key(config: LowLightReportConfig) -> str:
    """The score's key."""
    return config.metric if config.metric in METRICS else f"term/{config.metric}"


def _row_of(comparison: Comparison, learner: str) -> str | None:
    """The row of a learner."""
    return next((name for name, row in comparison.rows.items() if row.facts.get("learner") == learner), None)


def _verdict(config: LowLightReportConfig, comparison: Comparison, differences: dict[str, Interval],
             statistics: list[RowStatistics]) -> list[str]:
    """A sentence for each comparison, and the answer."""
    stop, oracle = (next(name for name in comparison.rows if name.startswith(start)) for start in ("stop", "oracle"))
    unit, digits = METRICS.get(config.metric, (config.metric, 4))
    trained = {learner: differences[name] for learner in ("direct", "supervised")
               if (name := _row_of(comparison, learner)) is not None}
    lines = [_sentence(config.learner, other, difference, unit, digits)
             for other, difference in {stop: differences[stop], **trained}.items()]
    if config.metric == "psnr":
        above = -differences[oracle].mean
        lines.append(f"An oracle stop, with each picture's reference in sight, is {abs(above):.2f} dB "
                     f"{'above' if above >= 0 else 'below'} {config.learner}.")
    lines += [_seeds(config.learner, each) for each in statistics
              if each.row == _row_of(comparison, config.learner) and each.improvement]
    return [*lines, _answer(config.learner, stop, differences[stop], trained)]


def _answer(learner: str, rule: str, over_rule: Interval, trained: dict[str, Interval]) -> str:
    better = [name for name, difference in trained.items() if difference.verdict < 0]
    if over_rule.scenes < MIN_SCENES:
        held_out = "1 held-out scene says" if over_rule.scenes == 1 else f"{over_rule.scenes} held-out scenes say"
        return f"No conclusion: {held_out} nothing about others; bring at least {MIN_SCENES}, better 30."
    if over_rule.verdict < 0:
        return f"Not worth it here: {rule} needs no training and is better."
    if over_rule.verdict == 0:
        return (f"Not shown to be worth it: with these scenes and this budget {learner} cannot be "
                f"distinguished from {rule}, which needs no training.")
    if better:
        return (f"A trained model is worth it here; that reinforcement learning trains it is not: "
                f"{' and '.join(better)} did better with the same budget.")
    if "direct" not in trained:
        return f"Worth it, against {rule}; direct was not trained beside it."
    if trained["direct"].verdict == 0:
        return ("A trained policy is worth it here; that reinforcement learning trains it is not shown: it cannot be "
                "distinguished from direct (back-propagation through the same episode).")
    return f"Worth it: {learner} is better than {rule}, and than back-propagation through the same episode."


def _seeds(learner: str, found: RowStatistics) -> str:
    """How often a run of the learner is better than one of its strongest rival."""
    assert found.improvement is not None
    told = f"{span(found.improvement)}, interval over {found.improvement.seeds} seeds" if found.improvement.seeds > 1 \
        else f"{span(found.improvement)}; with one seed, other seeds may do otherwise"
    return f"The probability that a run of {learner} scores higher on a picture than {found.rival}: {told}."


def _sentence(learner: str, other: str, difference: Interval, unit: str, digits: int) -> str:
    span = f"{difference.low:.{digits}f} to {difference.high:.{digits}f}"
    if difference.verdict:
        where = "above" if difference.verdict > 0 else "below"
        low, high = sorted((abs(difference.low), abs(difference.high)))
        return (f"{learner} is {abs(difference.mean):.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}) "
                f"{where} {other}.")
    return (f"No difference between {learner} and {other} can be shown with {difference.scenes} "
            f"scene{'s' * (difference.scenes > 1)} ({difference.mean:+.{digits}f} {unit}, {span}).")


def _span(interval: Interval, digits: int) -> str:
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"

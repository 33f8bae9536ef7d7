"""Is reinforcement learning worth it on these pictures? `python -m experiments.lol_report --data DIR`."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from experiments import lol_compare
from experiments.core.bootstrap import MIN_SCENES, Interval, bootstrap_interval
from experiments.core.cli import run_cli
from experiments.lol_compare import Comparison, Row
from rlenhance.core.errors import UsageError
from rlenhance.io.files import write_atomically
from rlenhance.rewards import TERMS, load_terms

#: Scores that may be judged, all of them better when higher: name -> (unit, digits).
METRICS = {"psnr": ("dB", 2), "ssim": ("SSIM", 3), "gt_mean_psnr": ("dB GT-mean PSNR", 2)}


@dataclass(frozen=True)
class Arguments:
    """Train, compare with rules on held-out scenes, and say in words whether reinforcement learning was worth it."""

    judged: str = "a3c"
    """The learner in question: a3c or sac."""
    metric: str = "psnr"
    """The score to judge by: psnr, ssim, gt_mean_psnr, or a reward term of your own (--reward-term)."""
    resamples: int = 2000
    """How often the scenes are drawn anew for an interval."""
    resample_seed: int = 0
    """Of those draws."""
    comparison: Annotated[lol_compare.Arguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: lol_compare.Arguments(rewards=("no reference",), seeds=(0,),
                                                      out=Path("runs/lol_report")))


@dataclass
class Report:
    """What came of it.

    Attributes:
        scores: row -> the judged score.
        against: row -> the judged learner's score less that row's, frame by frame.
        verdict: in words, one sentence each; the last one answers the question.
    """

    scores: dict[str, Interval]
    against: dict[str, Interval]
    verdict: list[str]


def main(arguments: Arguments) -> Report:
    """Train what is missing, score, and write report.md, report.json and the tables of `lol_compare`."""
    _check(arguments)
    comparison = lol_compare.compare(arguments.comparison)
    table = lol_compare.write_table(arguments.comparison, comparison)
    report = make_report(arguments, comparison)
    unit, digits = METRICS.get(arguments.metric, (arguments.metric, 4))
    lines = [f"| | {unit} | {arguments.judged} less that |", "|---|---|---|"]
    for name, score in report.scores.items():
        difference = report.against.get(name)
        lines.append(f"| {name} | {_span(score, digits)} | {_span(difference, digits) if difference else ''} |")
    first = next(iter(report.scores.values()))
    text = "\n".join(["# Is reinforcement learning worth it here?", "", *(f"- {line}" for line in report.verdict), "",
                      _how(arguments, comparison, first), "", *lines, "", "## All scores", "", table])
    out = arguments.comparison.out
    write_atomically(out / "report.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": comparison.split,
             **dataclasses.asdict(report)}
    write_atomically(out / "report.json", json.dumps(facts, indent=1, default=str).encode())
    print("\n".join(["", *lines, "", *report.verdict, f"written to {out} (report.md, report.json)"]))
    return report


def _check(arguments: Arguments) -> None:
    judged, learners = arguments.judged, arguments.comparison.learners
    if judged not in ("a3c", "sac") or judged not in learners:
        raise UsageError(f"--judged is a3c or sac, and one of --learners; got {judged!r} and {', '.join(learners)}")
    if len(arguments.comparison.rewards) != 1:
        raise UsageError(f"a report is on one reward: give --rewards one; got {arguments.comparison.rewards}")
    own = [name for name in load_terms(arguments.comparison.reward_term) if TERMS[name].kind == "state"]
    if arguments.metric not in (*METRICS, *own):
        raise UsageError(f"--metric is {', '.join((*METRICS, *own))} (a term of your own needs --reward-term); "
                         f"got {arguments.metric!r}")
    bootstrap_interval([0.0], ["a"], resamples=arguments.resamples)  # an impossible number is told before training


def _how(arguments: Arguments, comparison: Comparison, some: Interval) -> str:
    """What the numbers are."""
    seeds = arguments.comparison.seeds
    trained = f"the seeds {', '.join(map(str, seeds))}, averaged" if len(seeds) > 1 else f"the one seed {seeds[0]}"
    watched = "" if comparison.split == "test" else \
        " There is no test split: validation chose best/ among the checkpoints on these same scenes."
    return (f"Means over {some.frames} {comparison.split} pictures of {some.scenes} scenes, with 95 % intervals over "
            f"scenes (bootstrap, {arguments.resamples} resamples, seed {arguments.resample_seed}); differences are "
            f"paired, frame by frame. The intervals say what other scenes of the same kind may show, for what was "
            f"trained with {trained}.{watched}")


def make_report(arguments: Arguments, comparison: Comparison) -> Report:
    """Intervals of every row and of the differences to the judged learner, and the verdict."""
    key = arguments.metric if arguments.metric in METRICS else f"term/{arguments.metric}"

    def interval(values: Sequence[float]) -> Interval:
        return bootstrap_interval(values, comparison.scenes, resamples=arguments.resamples,
                                  seed=arguments.resample_seed)

    values = {row.name: _of_frames(row, key) for row in comparison.rows}
    judged = _name(comparison, arguments.judged)
    assert judged is not None  # `_check` has seen to it
    against = {name: interval([ours - other for ours, other in zip(values[judged], theirs, strict=True)])
               for name, theirs in values.items() if name != judged}
    return Report({name: interval(each) for name, each in values.items()}, against,
                  _verdict(arguments, comparison, against))


def _of_frames(row: Row, key: str) -> list[float]:
    """One number per frame: the mean over the seeds."""
    return [statistics.fmean(scores[key] for scores in frame) for frame in zip(*row.each, strict=True)]


def _name(comparison: Comparison, learner: str) -> str | None:
    """The row of a learner."""
    return next((row.name for row in comparison.rows if row.learner == learner), None)


def _verdict(arguments: Arguments, comparison: Comparison, against: dict[str, Interval]) -> list[str]:
    """What the intervals say, a sentence per opponent, and the answer."""
    judged, rule, oracle = arguments.judged, comparison.rules["stop"], comparison.rules["oracle"]
    unit, digits = METRICS.get(arguments.metric, (arguments.metric, 4))
    trained = {learner: against[name] for learner in ("direct", "supervised")
               if (name := _name(comparison, learner)) is not None}
    lines = [_sentence(judged, other, difference, unit, digits)
             for other, difference in {rule: against[rule], **trained}.items()]
    if arguments.metric == "psnr":
        above = -against[oracle].mean
        lines.append(f"An oracle stop, with each picture's reference in sight, is {abs(above):.2f} dB "
                     f"{'above' if above >= 0 else 'below'} {judged}.")
    return [*lines, _answer(judged, rule, against[rule], trained)]


def _answer(judged: str, rule: str, over_rule: Interval, trained: dict[str, Interval]) -> str:
    better = [name for name, difference in trained.items() if difference.verdict < 0]
    if over_rule.scenes < MIN_SCENES:
        held_out = "1 held-out scene says" if over_rule.scenes == 1 else f"{over_rule.scenes} held-out scenes say"
        return f"Not to be told: {held_out} nothing about others; bring at least {MIN_SCENES}, better 30."
    if over_rule.verdict < 0:
        return f"Not worth it here: {rule} needs no training and is better."
    if over_rule.verdict == 0:
        return (f"Not shown to be worth it: with these scenes and this budget {judged} cannot be told from {rule}, "
                f"which needs no training.")
    if better:
        return (f"A trained model is worth it here; that reinforcement learning trains it is not: "
                f"{' and '.join(better)} did better with the same budget.")
    if "direct" not in trained:
        return f"Worth it, against {rule}; direct was not trained beside it."
    if trained["direct"].verdict == 0:
        return ("A trained policy is worth it here; that reinforcement learning trains it is not shown: it cannot be "
                "told from direct (back-propagation through the same episode).")
    return f"Worth it: {judged} is better than {rule}, and than back-propagation through the same episode."


def _sentence(judged: str, other: str, difference: Interval, unit: str, digits: int) -> str:
    span = f"{difference.low:.{digits}f} to {difference.high:.{digits}f}"
    if difference.verdict:
        where = "above" if difference.verdict > 0 else "below"
        low, high = sorted((abs(difference.low), abs(difference.high)))
        return (f"{judged} is {abs(difference.mean):.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}) {where} "
                f"{other}.")
    return (f"No difference between {judged} and {other} can be told with {difference.scenes} "
            f"scene{'s' * (difference.scenes > 1)} ({difference.mean:+.{digits}f} {unit}, {span}).")


def _span(interval: Interval, digits: int) -> str:
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

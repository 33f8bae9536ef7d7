"""Compare learners with each other and with rules that need no training: `python -m experiments.lol_compare`."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from agents import LEARNERS
from experiments import lol_train
from experiments.baselines import fit_rules
from experiments.commands import run_command
from experiments.evaluate import enhance_batch, score
from experiments.lowlight import LearnerConfigs, PictureConfig, Pictures, PolicyConfig, load_pictures
from rlenhance.checkpoint import find_checkpoint, load_model, read_config
from rlenhance.data import Batch
from rlenhance.errors import UsageError
from rlenhance.images import to_array
from rlenhance.photo import write
from rlenhance.photo.files import write_atomically
from rlenhance.rewards import TERMS, RewardWeights
from rlenhance.statistics import DEFAULT_EXPOSURE
from rlenhance.visualize import grid

#: Rewards that a comparison can give a policy: name -> words of --reward.
REWARDS = {
    "no reference": (),
    "SSIM + PSNR": ("exposure=0", "local_exposure=0", "clipping=0", "contrast=0", "ssim=4", "psnr=0.1"),
}
_COLUMNS = (  # key, heading, digits
    ("psnr", "PSNR", 2), ("ssim", "SSIM", 3), ("sharpness", "sharpness", 2), ("clipped", "newly clipped", 4),
    ("gt_mean_psnr", "GT-mean PSNR (uses the reference)", 2), ("cpu_ms_per_megapixel", "CPU ms / MP", 0),
)


@dataclass(frozen=True)
class Arguments:
    """Train every learner over several seeds on the same pictures with the same budget, and score all on the test
    split (validation where there is none)."""

    learners: tuple[str, ...] = ("a3c", "direct", "supervised")
    """Which learners."""
    rewards: tuple[str, ...] = ("no reference", "SSIM + PSNR")
    """Which rewards the acting learners get: `no reference`, `SSIM + PSNR`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    minutes: float = 2.0
    """Training time per run, evaluation left out (0: only `updates` counts)."""
    updates: int = 0
    """Updates per run (0: as many as `minutes` allows)."""
    batch_size: int = 8
    """Pictures per update."""
    evaluate_every: int = 50
    """Updates between validations."""
    exposure_level: float = DEFAULT_EXPOSURE
    """Asked exposure."""
    max_side: int = 0
    """Reduce test pictures to this longer side in pixels (0: full size)."""
    out: Path = Path("runs/lol_compare")
    """Where the table and the runs go; runs that are finished there are not trained again."""
    threads: int = 0
    """Threads of torch (0: its default)."""
    models: tuple[Path, ...] = ()
    """Runs to add as they are: trained before, or imported (experiments.import_weights)."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)
    policy: Annotated[PolicyConfig, tyro.conf.arg(name="")] = field(default_factory=PolicyConfig)
    configs: Annotated[LearnerConfigs, tyro.conf.arg(name="")] = field(default_factory=LearnerConfigs)


@dataclass
class Row:
    """A line of the table.

    Attributes:
        name: of the rule, or learner and reward.
        scores: one mapping per seed.
        reference: how the reference entered: "no", "yes" (trained on it), "its numbers" (constants chosen on it),
            "oracle"; of models that were added as they are, "imported" or "unknown".
        parameters: of the network.
        updates, pictures, seconds: of training, mean over the seeds.
    """

    name: str
    scores: list[dict[str, float]]
    reference: str
    parameters: int = 0
    updates: float = 0.0
    pictures: float = 0.0
    seconds: float = 0.0


def main(arguments: Arguments) -> list[Row]:
    """Train what is missing, score everything, write table.md, table.json and grid.png."""
    for name in arguments.learners:
        LEARNERS[name]
    for name in arguments.rewards:
        if name not in REWARDS:
            raise UsageError(f"--rewards are {', '.join(map(repr, REWARDS))}; got {name!r}")
    if not arguments.seeds or len(set(arguments.seeds)) != len(arguments.seeds):
        raise UsageError(f"--seeds needs at least one, each once; got {arguments.seeds}")
    if arguments.learners and not arguments.rewards:
        raise UsageError("--rewards needs at least one")
    if arguments.threads < 0 or arguments.max_side < 0:
        raise UsageError(f"--threads and --max-side must not be negative; "
                         f"got {arguments.threads}, {arguments.max_side}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    added = {path: load_model(path) for path in arguments.models}  # a wrong one is told before anything is trained
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(arguments.pictures)
    split = "test" if pictures.splits.test else "val"
    test = pictures.load(split, side=arguments.max_side or None)
    if not pictures.splits.has_references:
        raise UsageError(f"{pictures.splits.source}: scores need references; use pairs (low/ and high/)")
    rules = fit_rules(pictures.load("train", limit=96, side=128), arguments.exposure_level)
    rows, models = [], dict[str, Any]()
    for key, rule in rules.items():
        chosen = "oracle" if rule.oracle else "no" if key in ("input", "clahe") else "its number"
        rows.append(Row(rule.name, [score(rule, test)], chosen))
        models[rule.name] = rule
    for name, learner, reward in _variants(arguments):
        runs = [_train(arguments, learner, reward, seed) for seed in arguments.seeds]
        models[name] = load_model(runs[0][0] / "best")
        rows.append(_trained_row(name, learner, reward, runs, test, arguments.batch_size))
        print(f"{name}: {_cell(rows[-1], 'psnr', 2)} dB", flush=True)
    for path, model in added.items():
        rows.append(_added_row(path, model, taken={row.name for row in rows}, test=test))
        models[rows[-1].name] = model
    _write(arguments, pictures, split, rows, models, test)
    return rows


def _variants(arguments: Arguments) -> list[tuple[str, str, str]]:
    """(name, learner, reward) of every row that is trained."""
    variants = []
    for learner in arguments.learners:
        rewards: Sequence[str] = arguments.rewards if LEARNERS[learner].acts else ("",)
        variants += [(f"{learner}, {reward}" if reward else learner, learner, reward) for reward in rewards]
    return variants


def _train(arguments: Arguments, learner: str, reward: str, seed: int) -> tuple[Path, dict[str, float]]:
    """One run, and its budget's numbers; a finished one is taken as it is."""
    slug = "-".join(part.lower().replace(" ", "_").replace("+", "and") for part in (learner, reward, str(seed)) if part)
    done = arguments.out / slug / "done.json"
    wanted = lol_train.Arguments(
        learner=learner, reward=REWARDS.get(reward, ()), exposure_level=arguments.exposure_level, name=slug,
        out=arguments.out, seed=seed, updates=arguments.updates, minutes=arguments.minutes,
        batch_size=arguments.batch_size, evaluate_every=arguments.evaluate_every, pictures=arguments.pictures,
        policy=arguments.policy, learners=arguments.configs,
    )
    begun = (arguments.out / slug / "config.json").is_file()
    if begun:
        lol_train.check_same(arguments.out / slug, wanted)
    if done.is_file():
        return done.parent, json.loads(done.read_text())
    result = lol_train.main(lol_train.Arguments(resume=arguments.out / slug) if begun else wanted)
    numbers = {"updates": float(result.fitted.updates), "seconds": result.fitted.seconds}
    write_atomically(done, json.dumps(numbers).encode())
    return result.run, numbers


def _trained_row(name: str, learner: str, reward: str, runs: Sequence[tuple[Path, Mapping[str, float]]],
                 test: Sequence[Batch], batch_size: int) -> Row:
    weights = RewardWeights.parse(REWARDS.get(reward, ()))
    used = LEARNERS[learner].needs_reference or any(TERMS[term].reference for term in weights.active)
    scores, parameters = [], 0
    for run, _ in runs:
        model = load_model(run / "best")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        scores.append(score(model, test))
    updates = statistics.fmean(numbers["updates"] for _, numbers in runs)
    return Row(name, scores, "yes" if used else "no", parameters, updates, updates * batch_size,
               statistics.fmean(numbers["seconds"] for _, numbers in runs))


def _added_row(path: Path, model: Any, taken: set[str], test: Sequence[Batch]) -> Row:
    """The row of a model that was trained elsewhere: named after its run, or by its path where that is taken."""
    name = path.name if path.name not in taken | {"best", "last", ""} else str(path)
    imported = "imported" in read_config(find_checkpoint(path))["about"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Row(name, [score(model, test)], "imported" if imported else "unknown", parameters)


def _cell(row: Row, key: str, digits: int) -> str:
    values = [scores[key] for scores in row.scores]
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1 or key == "cpu_ms_per_megapixel":
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ["", *(heading for _, heading, _ in _COLUMNS), "reference in training", "parameters",
            "updates", "pictures", "training s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        budget = [f"{row.updates:.0f}", f"{row.pictures:.0f}", f"{row.seconds:.0f}"]
        cells = [row.name, *(_cell(row, key, digits) for key, _, digits in _COLUMNS), row.reference,
                 f"{row.parameters:,}" if row.parameters else "", *(budget if row.updates else ["", "", ""])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _write(arguments: Arguments, pictures: Pictures, split: str, rows: Sequence[Row], models: Mapping[str, Any],
           test: Sequence[Batch]) -> None:
    size = f"reduced to {arguments.max_side} pixels" if arguments.max_side else "at full size"
    budget = f"{arguments.minutes:g} minutes" if arguments.minutes else f"{arguments.updates or 400} updates"
    training = (f"{budget} of training per run, seeds {', '.join(map(str, arguments.seeds))} (mean ± standard "
                f"deviation), best/ chosen on validation" if arguments.learners else "nothing was trained for it")
    text = (f"{pictures.splits.describe()}.\nScored on {len(test)} {split} pictures {size}; {training}; "
            f"torch threads {torch.get_num_threads()}.\n\n{table(rows)}\n")
    write_atomically(arguments.out / "table.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": split,
             "rows": [dataclasses.asdict(row) for row in rows]}
    write_atomically(arguments.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    shown = [test[i * len(test) // 6] for i in range(min(6, len(test)))]
    with torch.no_grad():
        lines = [[enhance_batch(models[row.name], batch) for row in rows] for batch in shown]
    for line, batch in zip(lines, shown, strict=True):
        line += [batch.target] if batch.target is not None else []
    write(to_array(grid(lines, 160)), arguments.out / "grid.png")
    print(f"\n{text}\nwritten to {arguments.out} (table.md, table.json; grid.png: columns in the table's order, "
          f"the reference last)")


if __name__ == "__main__":
    sys.exit(run_command(main, Arguments))

"""Compare learners with each other and with rules that need no training: `python -m experiments.lol_compare`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from agents import LEARNERS
from experiments.core.cli import run_cli
from experiments.core.dataset import Dataset
from experiments.core.train import check_same, train
from experiments.tasks.lowlight import (
    LOWLIGHT,
    LearnerConfigs,
    LowLightConfig,
    LowLightDataConfig,
    LowLightTrainConfig,
    PolicyConfig,
    load_pictures,
)
from experiments.tasks.lowlight_baselines import fit_baselines
from experiments.tasks.lowlight_evaluate import enhance_batch, mean_scores, score_pictures
from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array
from rlenhance.core.visualize import grid
from rlenhance.data import Batch
from rlenhance.hub.checkpoint import find_checkpoint, load_model, read_config
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE
from rlenhance.rewards import TERMS, Reward, RewardWeights, load_terms

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
    """Which rewards the acting learners get: `no reference`, `SSIM + PSNR`, or the words of --reward, quoted, as in
    `"exposure=2 edges=10"`."""
    reward_term: tuple[str, ...] = ()
    """Terms of your own, module:function each (docs/tutorials/own_reward.md); each becomes a column. The two named
    rewards leave them out, words weigh them."""
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
    """Runs to add as they are: trained before, or imported (experiments.scripts.import_weights)."""
    pictures: Annotated[LowLightDataConfig, tyro.conf.arg(name="")] = field(default_factory=LowLightDataConfig)
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
        each: per seed, the scores of each picture.
        learner: that trained it; "" for others.
    """

    name: str
    scores: list[dict[str, float]]
    reference: str
    parameters: int = 0
    updates: float = 0.0
    pictures: float = 0.0
    seconds: float = 0.0
    each: list[list[dict[str, float]]] = field(default_factory=list)
    learner: str = ""


@dataclass
class Comparison:
    """What was compared, and on what.

    Attributes:
        rows: of the table.
        models: by the name of the row; of a learner, its first seed's.
        pictures, split: where the scored pictures are from.
        test: the scored pictures.
        own: names of the user's own state terms.
        rules: key of each rule, see `fit_baselines` -> name of its row.
    """

    rows: list[Row]
    models: dict[str, Any]
    pictures: Dataset
    split: str
    test: Sequence[Batch]
    own: list[str]
    rules: dict[str, str]

    @property
    def scenes(self) -> list[str]:
        """The scene of each scored picture."""
        return [example.scene for example in self.pictures.splits.parts[self.split]]


def main(arguments: Arguments) -> list[Row]:
    """Train what is missing, score everything, write table.md, table.json and grid.png."""
    comparison = compare(arguments)
    write_table(arguments, comparison)
    return comparison.rows


def compare(arguments: Arguments) -> Comparison:
    """Train what is missing, and score everything.

    Raises:
        UsageError: an argument that cannot be; a reward that a learner would be blind to; pictures without references.
    """
    own = _check(arguments)
    added = {path: load_model(path) for path in arguments.models}  # a wrong one is told before anything is trained
    pictures = load_pictures(arguments.pictures)
    split = "test" if pictures.splits.test else "val"
    test = pictures.load(split, side=arguments.max_side or None)
    if not pictures.splits.has_references:
        raise UsageError(f"{pictures.splits.source}: scores need references; use pairs (low/ and high/). On dark "
                         f"photographs alone, train with experiments.lol_train and look at samples/ of the run")
    arguments.out.mkdir(parents=True, exist_ok=True)
    terms = [name for name in own if TERMS[name].kind == "state"]
    reward = Reward(RewardWeights.only(**dict.fromkeys(terms, 1.0), exposure_level=arguments.exposure_level),
                    every_term=False) if terms else None
    rules = fit_baselines(pictures.load("train", limit=96, side=128), arguments.exposure_level)
    rows, models = [], dict[str, Any]()
    for key, rule in rules.items():
        chosen = "oracle" if rule.uses_target else "no" if key in ("input", "clahe") else "its number"
        rows.append(_row(rule.name, [score_pictures(rule, test, reward)], chosen))
        models[rule.name] = rule
    for name, learner, words in _variants(arguments):
        runs = [_train(arguments, own, learner, words, seed) for seed in arguments.seeds]
        trained = [load_model(run / "best") for run, _ in runs]
        models[name] = trained[0]
        used = LEARNERS[learner].requires_target or bool(_weights(words, own).needs_reference)
        updates = statistics.fmean(numbers["updates"] for _, numbers in runs)
        rows.append(_row(name, [score_pictures(model, test, reward) for model in trained], "yes" if used else "no",
                         parameters=_count(trained[0]), updates=updates, pictures=updates * arguments.batch_size,
                         seconds=statistics.fmean(numbers["seconds"] for _, numbers in runs), learner=learner))
        print(f"{name}: {_cell(rows[-1], 'psnr', 2)} dB", flush=True)
    for path, model in added.items():
        name = path.name if path.name not in {"best", "last", ""} | {row.name for row in rows} else str(path)
        chosen = "imported" if "imported" in read_config(find_checkpoint(path))["about"] else "unknown"
        rows.append(_row(name, [score_pictures(model, test, reward)], chosen, parameters=_count(model)))
        models[name] = model
    names = {key: rule.name for key, rule in rules.items()}
    return Comparison(rows, models, pictures, split, test, terms, names)


def _check(arguments: Arguments) -> list[str]:
    """Refuse what cannot be before anything is trained; the names of the user's own terms."""
    own = load_terms(arguments.reward_term)
    for learner, reward in itertools.product(arguments.learners, arguments.rewards):
        weights, kind = _weights(reward, own), LEARNERS[learner]
        try:
            if kind.is_policy:
                kind.check_reward(weights)
        except UsageError as error:
            raise UsageError(f"{learner}, {reward}: {error}; or leave {learner} out of --learners") from error
    if not arguments.seeds or len(set(arguments.seeds)) != len(arguments.seeds):
        raise UsageError(f"--seeds needs at least one, each once; got {arguments.seeds}")
    if arguments.learners and not arguments.rewards:
        raise UsageError("--rewards needs at least one")
    if arguments.threads < 0 or arguments.max_side < 0:
        raise UsageError(f"--threads and --max-side must not be negative; "
                         f"got {arguments.threads}, {arguments.max_side}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return own


def _words(reward: str, own: Sequence[str]) -> tuple[str, ...]:
    """The words of --reward that a reward's name stands for, or that it is itself.

    Raises:
        UsageError: neither.
    """
    if reward in REWARDS:
        return (*REWARDS[reward], *(f"{name}=0" for name in own))
    if reward and "=" not in reward:
        raise UsageError(f"--rewards are {', '.join(map(repr, REWARDS))}, or words of --reward, quoted, as in "
                         f"'exposure=2 color=0.5'; got {reward!r}")
    return tuple(reward.split())


def _weights(reward: str, own: Sequence[str]) -> RewardWeights:
    return RewardWeights.parse(_words(reward, own))


def _variants(arguments: Arguments) -> list[tuple[str, str, str]]:
    """(name, learner, reward) of every row that is trained."""
    variants = []
    for learner in arguments.learners:
        rewards: Sequence[str] = arguments.rewards if LEARNERS[learner].is_policy else ("",)
        variants += [(f"{learner}, {reward}" if reward else learner, learner, reward) for reward in rewards]
    return variants


def _train(arguments: Arguments, own: Sequence[str], learner: str, reward: str,
           seed: int) -> tuple[Path, dict[str, float]]:
    """One run, and its budget's numbers; a finished one is taken as it is."""
    slug = "-".join(part.lower().replace(" ", "_").replace("+", "and") for part in (learner, reward, str(seed)) if part)
    done = arguments.out / slug / "done.json"
    is_policy = LEARNERS[learner].is_policy
    wanted = LowLightConfig(
        LowLightTrainConfig(
            learner=learner, reward=_words(reward, own) if is_policy else (),
            reward_term=arguments.reward_term if is_policy else (), exposure_level=arguments.exposure_level, name=slug,
            out=arguments.out, seed=seed, updates=arguments.updates or None, minutes=arguments.minutes,
            batch_size=arguments.batch_size, eval_interval=arguments.evaluate_every),
        arguments.pictures, arguments.policy, arguments.configs)
    begun = (arguments.out / slug / "config.json").is_file()
    if begun:
        check_same(LOWLIGHT, arguments.out / slug, wanted)
    if done.is_file():
        return done.parent, json.loads(done.read_text())
    result = train(LOWLIGHT, LowLightConfig(LowLightTrainConfig(resume=arguments.out / slug)) if begun else wanted)
    numbers = {"updates": float(result.fitted.updates), "seconds": result.fitted.seconds}
    write_atomically(done, json.dumps(numbers).encode())
    return result.run, numbers


def _row(name: str, each: list[list[dict[str, float]]], reference: str, **about: Any) -> Row:
    return Row(name, [mean_scores(pictures) for pictures in each], reference, **about, each=each)


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _cell(row: Row, key: str, digits: int) -> str:
    values = [scores[key] for scores in row.scores]
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1 or key == "cpu_ms_per_megapixel":
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(rows: Sequence[Row], own: Sequence[str] = ()) -> str:
    """Markdown; `own` are the reward terms that get a column."""
    columns = (*_COLUMNS, *((f"term/{name}", f"{name}, gained", 4) for name in own))
    head = ["", *(heading for _, heading, _ in columns), "reference in training", "parameters",
            "updates", "pictures", "training s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        budget = [f"{row.updates:.0f}", f"{row.pictures:.0f}", f"{row.seconds:.0f}"]
        cells = [row.name, *(_cell(row, key, digits) for key, _, digits in columns), row.reference,
                 f"{row.parameters:,}" if row.parameters else "", *(budget if row.updates else ["", "", ""])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_table(arguments: Arguments, comparison: Comparison) -> str:
    """table.md (its text is returned), table.json with every picture's scores, and grid.png."""
    pictures, rows, test = comparison.pictures, comparison.rows, comparison.test
    size = f"reduced to {arguments.max_side} pixels" if arguments.max_side else "at full size"
    budget = f"{arguments.minutes:g} minutes" if arguments.minutes else f"{arguments.updates or 400} updates"
    training = (f"{budget} of training per run, seeds {', '.join(map(str, arguments.seeds))} (mean ± standard "
                f"deviation), best/ chosen on validation" if arguments.learners else "nothing was trained for it")
    text = (f"{pictures.splits.describe()}.\nScored on {len(test)} {comparison.split} pictures {size}; {training}; "
            f"torch threads {torch.get_num_threads()}.\n\n{table(rows, comparison.own)}\n")
    write_atomically(arguments.out / "table.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": comparison.split,
             "scenes": comparison.scenes, "rows": [dataclasses.asdict(row) for row in rows]}
    write_atomically(arguments.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    shown = [test[i * len(test) // 6] for i in range(min(6, len(test)))]
    with torch.no_grad():
        lines = [[enhance_batch(comparison.models[row.name], batch) for row in rows] for batch in shown]
    for line, batch in zip(lines, shown, strict=True):
        line += [batch.target] if batch.target is not None else []
    write(to_array(grid(lines, 160)), arguments.out / "grid.png")
    print(f"\n{text}\nwritten to {arguments.out} (table.md, table.json; grid.png: columns in the table's order, "
          f"the reference last)")
    return text


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

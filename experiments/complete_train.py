"""Train a policy that fills holes, or its twins: `python -m experiments.complete_train --learner a3c`."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from agents import LEARNERS
from envs.completion import COMPLETION_REWARD
from experiments.core.cli import run_cli
from experiments.core.config import from_json
from experiments.core.distributed import make_fabric
from experiments.core.fit import Budget, FitResult, fit
from experiments.core.run import Run
from experiments.tasks.completion import (
    MEMBRANE,
    CompletionDataset,
    CompletionEvaluator,
    LearnerConfigs,
    NetworkConfig,
    PictureConfig,
    load_pictures,
    make_batches,
    make_learner,
)
from rlenhance.core.errors import UsageError
from rlenhance.rewards import RewardWeights

_UPDATES, _NO_LIMIT = 200, 10**9  # what 0 stands for, without and with a limit of time


@dataclass(frozen=True)
class Arguments:
    """Learn to complete pictures: at each step every pixel of the hole takes what one of a few tools finds for it."""

    learner: str = "a3c"
    """a3c (advantage actor-critic), direct (back-propagation through the mixture of all tools' results), sac (small
    continuous changes) or supervised (the same backbone regresses the original)."""
    name: str = ""
    """Of the run folder (default: learner, date and time)."""
    out: Path = Path("runs/complete")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, pictures, holes and exploration."""
    updates: int = 0
    """Learner steps (0: 200, or as many as `minutes` allows)."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out (0: only `updates` counts)."""
    reward: tuple[str, ...] = ()
    """Policies: weights of the terms that count, as name=weight (docs/reference/rewards.md); default l1=1 ssim=0.2.
    seam and texture need no original."""
    select: str = "val/psnr"
    """The validation score whose maximum chooses best/: val/psnr, val/ssim or, of policies, val/return."""
    batch_size: int = 4
    """Pictures per update."""
    evaluate_every: int = 50
    """Updates between validations; each one saves last/."""
    validate_on: int = 32
    """Pictures of the validation split, evenly spread."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --no-progress)."""
    warm_start: Path | None = None
    """Begin a policy with the backbone and the estimate of this supervised run, or with another policy."""
    progress: bool = True
    """Show a progress bar."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    learners: Annotated[LearnerConfigs, tyro.conf.arg(name="")] = field(default_factory=LearnerConfigs)


@dataclass
class Result:
    """What a training run came to: its folder, how the loop ended, and the validation scores of the best update."""

    run: Path
    fitted: FitResult
    scores: dict[str, float]


def main(arguments: Arguments) -> Result:
    """Train, and say how it went.

    Raises:
        UsageError: settings or pictures that cannot be used.
    """
    stored: dict[str, Any] = {}
    if arguments.resume:
        run, stored = Run.open(arguments.resume)
        arguments = _resumed(arguments, stored["arguments"])
    LEARNERS[arguments.learner]  # an unknown name is told before pictures are read
    if arguments.batch_size < 1 or arguments.validate_on < 1:
        raise UsageError(f"--batch-size and --validate-on must be at least 1; got {arguments.batch_size} and "
                         f"{arguments.validate_on}")
    budget = Budget(arguments.updates or (_NO_LIMIT if arguments.minutes else _UPDATES), arguments.minutes,
                       arguments.evaluate_every, arguments.select)
    reward = _reward(arguments)
    pictures = load_pictures(arguments.pictures)
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run")
    fabric = make_fabric(arguments.device, arguments.precision)
    learner = make_learner(arguments.learner, arguments.network, arguments.learners, pictures, seed=arguments.seed,
                           device=fabric.device, warm=None if stored else arguments.warm_start, reward=reward)
    if not stored:
        run = _begin(arguments, pictures, cast(Any, learner.network.spec))
    lines = [pictures.about, pictures.splits.describe(), f"{arguments.learner}, prior {arguments.network.prior}",
             f"run folder {run.path}"]
    print("\n".join(filter(None, lines)), flush=True)
    learner.use_fabric(fabric)
    shown = pictures.at("val", arguments.pictures.size, arguments.validate_on)
    fitted = fit(learner, make_batches(pictures, learner.network, arguments.batch_size, arguments.seed),
                 CompletionEvaluator(shown, arguments.pictures.window, reward), run, budget, show=arguments.progress)
    if fitted.interrupted:
        print(f"stopped and saved after {fitted.updates} updates; go on with --resume {run.path}")
        raise KeyboardInterrupt
    run.draw_curves(panels={"loss": ["loss", "rollout/return"], "validation PSNR of the holes in dB": ["val/psnr"]})
    run.close()
    best = fitted.best
    print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} (chosen by "
          f"{arguments.select}): holes of {len(shown)} validation pictures {best['val/psnr']:.2f} dB, "
          f"{best['val/psnr_gain']:+.2f} on the prior\nresult in {run.path} (best/, curves.png, metrics.csv); compare "
          f"it with rules that need no training:\n  python -m experiments.complete_compare --models {run.path}")
    return Result(run.path, fitted, best)


def _reward(arguments: Arguments) -> RewardWeights:
    """The weights that were asked for, and no other.

    Raises:
        UsageError: a term or weight that is none; a score to select by that there is not.
    """
    scores = ("val/psnr", "val/ssim", *(["val/return"] if LEARNERS[arguments.learner].is_policy else []))
    if arguments.select not in scores:
        raise UsageError(f"--select is one of {', '.join(scores)}; got {arguments.select!r}")
    if not arguments.reward:
        return RewardWeights.only(**COMPLETION_REWARD)
    named = RewardWeights.parse(arguments.reward)
    return RewardWeights.only(**{word.partition("=")[0]: named[word.partition("=")[0]] for word in arguments.reward})


def _begin(arguments: Arguments, pictures: CompletionDataset, model: dict[str, Any]) -> Run:
    """A new run folder; its config.json has whole paths, so that the run can go on from another folder."""
    if Path(arguments.name).name != arguments.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {arguments.name!r}")
    data, warm, prior = arguments.pictures.data, arguments.warm_start, arguments.network.prior
    anchored = dataclasses.replace(
        arguments, warm_start=warm and warm.resolve(),
        pictures=dataclasses.replace(arguments.pictures, data=data and data.resolve()),
        network=dataclasses.replace(arguments.network, prior=prior if prior == MEMBRANE or not Path(prior).exists()
                                    else str(Path(prior).resolve())))
    name = arguments.name or f"{arguments.learner}-{time.strftime('%Y%m%d-%H%M%S')}"
    about = {"data": {"source": pictures.splits.source, "digest": pictures.digest(), "skipped": pictures.skipped},
             "model": model}
    return Run.create(arguments.out / name, dataclasses.asdict(anchored), about)


def _resumed(given: Arguments, stored: dict[str, Any]) -> Arguments:
    """The settings of the run; only the progress bar and the device may be chosen anew.

    Raises:
        UsageError: another setting was given beside --resume.
    """
    plain = Arguments()
    others = [field.name for field in dataclasses.fields(Arguments)
              if field.name not in ("resume", "progress", "device")
              and getattr(given, field.name) != getattr(plain, field.name)]
    if others:
        raise UsageError(f"--resume goes on with the settings of the run; leave out {', '.join(others)}")
    arguments = from_json(Arguments, stored)
    device = arguments.device if given.device == plain.device else given.device
    return dataclasses.replace(arguments, progress=given.progress, device=device)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

"""Train a policy that denoises with filters, or its twins: `python -m experiments.denoise_train --noise 25`."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from agents import LEARNERS
from experiments.core.cli import run_cli
from experiments.core.config import from_json
from experiments.core.distributed import make_fabric
from experiments.core.fit import Budget, FitResult, fit
from experiments.core.run import Run
from experiments.tasks.denoise_filters import (
    DenoiseDataset,
    DenoisingEvaluator,
    LearnerConfigs,
    NetworkConfig,
    PictureConfig,
    level_scores,
    load_noisy,
    make_batches,
    make_learner,
    validation,
)
from rlenhance.core.errors import UsageError
from rlenhance.hub.checkpoint import load_model

_UPDATES, _NO_LIMIT = 300, 10**9  # what 0 stands for, without and with a limit of time


@dataclass(frozen=True)
class Arguments:
    """Learn to denoise: at each step every pixel takes one of a few filters."""

    learner: str = "a3c"
    """a3c (advantage actor-critic), direct (back-propagation through the mixture of all tools' results) or supervised
    (the same backbone regresses the clean picture)."""
    name: str = ""
    """Of the run folder (default: learner, date and time)."""
    out: Path = Path("runs/denoise")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops, noise and exploration."""
    updates: int = 0
    """Learner steps (0: 300, or as many as `minutes` allows)."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out (0: only `updates` counts)."""
    batch_size: int = 8
    """Crops per update."""
    evaluate_every: int = 100
    """Updates between validations; each one saves last/."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --no-progress)."""
    init: Path | None = None
    """Begin with the weights of this run."""
    warm_start: Path | None = None
    """Begin with the backbone and the estimate of this supervised run, or of this learned denoiser: a run of
    denoiser_train, or a shipped one (denoiser-grey)."""
    progress: bool = True
    """Show a progress bar."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    learners: Annotated[LearnerConfigs, tyro.conf.arg(name="")] = field(default_factory=LearnerConfigs)


@dataclass
class Result:
    """What a training run came to: its folder, how the loop ended, and validation PSNR by row and noise."""

    run: Path
    fitted: FitResult
    scores: dict[str, dict[str, float]]


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
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1; got {arguments.batch_size}")
    budget = Budget(arguments.updates or (_NO_LIMIT if arguments.minutes else _UPDATES), arguments.minutes,
                       arguments.evaluate_every, "val/psnr")
    pictures = load_noisy(arguments.pictures)
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run with --init {run.path}")
    fabric = make_fabric(arguments.device, arguments.precision)
    learner = make_learner(arguments.learner, arguments.network, arguments.learners, pictures, seed=arguments.seed,
                           device=fabric.device, init=None if stored else arguments.init,
                           warm=None if stored else arguments.warm_start)
    if not stored:
        run = _begin(arguments, pictures, cast(Any, learner.network.spec))
    print(f"{pictures.splits.describe()}\n{arguments.learner}, noise {arguments.pictures.noise}\n"
          f"run folder {run.path}", flush=True)
    learner.use_fabric(fabric)
    shown = validation(pictures)
    fitted = fit(learner, make_batches(pictures, arguments.batch_size, arguments.seed), DenoisingEvaluator(shown), run,
                 budget, show=arguments.progress)
    if fitted.interrupted:
        print(f"stopped and saved after {fitted.updates} updates; go on with --resume {run.path}")
        raise KeyboardInterrupt
    run.draw_curves()
    run.close()
    rows = {"input": level_scores(lambda image: image, shown),
            arguments.learner: level_scores(load_model(run.path / "best"), shown)}
    print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} (chosen by the "
          f"validation PSNR)\nPSNR in dB on {len(next(iter(shown.values())))} validation pictures:")
    for name, row in rows.items():
        print(f"  {name:<12}" + "  ".join(f"noise {noise}: {value:.2f}" for noise, value in row.items()))
    print(f"result in {run.path} (best/, curves.png, metrics.csv); compare it with rules that need no training:\n"
          f"  python -m experiments.denoise_compare --models {run.path}")
    return Result(run.path, fitted, rows)


def _begin(arguments: Arguments, pictures: DenoiseDataset, model: dict[str, Any]) -> Run:
    """A new run folder; its config.json has whole paths, so that the run can go on from another folder."""
    if Path(arguments.name).name != arguments.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {arguments.name!r}")

    def whole(path: Path | None) -> Path | None:
        return path.resolve() if path and path.exists() else path  # what is not there is the name of a shipped model

    anchored = dataclasses.replace(arguments, init=whole(arguments.init), warm_start=whole(arguments.warm_start),
                                   pictures=dataclasses.replace(arguments.pictures,
                                                                data=whole(arguments.pictures.data)))
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
        raise UsageError(f"--resume goes on with the settings of the run; leave out {', '.join(others)} "
                         f"(to change them, begin a new run with --init {given.resume})")
    arguments = from_json(Arguments, stored)
    device = arguments.device if given.device == plain.device else given.device
    return dataclasses.replace(arguments, progress=given.progress, device=device)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

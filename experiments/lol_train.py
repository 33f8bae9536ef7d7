"""Train a low-light policy, or its supervised baseline: `python -m experiments.lol_train`."""

from __future__ import annotations

import dataclasses
import os
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents import LEARNERS, distributed
from experiments.core.config_cli import rebuild, run_command
from experiments.core.distributed import launch, make_fabric
from experiments.core.fit import FitConfig, Fitted, fit
from experiments.core.run import Run
from experiments.tasks.lowlight import (
    LearnerConfigs,
    PictureConfig,
    Pictures,
    PolicyConfig,
    load_pictures,
    make_batches,
    make_learner,
    make_sample_sheet,
)
from experiments.tasks.lowlight_baselines import fit_baselines
from experiments.tasks.lowlight_evaluate import LowLightEvaluator, score
from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_array
from rlenhance.data import ImageCache, load_example
from rlenhance.hub.checkpoint import load_model
from rlenhance.io import write
from rlenhance.ops.image_statistics import DEFAULT_EXPOSURE
from rlenhance.rewards import TERMS, Reward, RewardWeights, load_terms
from rlenhance.rewards.custom import registered_sources

_UPDATES, _NO_LIMIT = 400, 10**9  # what 0 stands for, without and with a limit of time
_VALIDATION_SIDE, _VALIDATION_PICTURES, _RULE_PICTURES = 128, 48, 96


@dataclass(frozen=True)
class Arguments:
    """Learn to enhance dark photographs."""

    learner: str = "a3c"
    """a3c (advantage actor-critic), sac, direct (back-propagation through the episode) or supervised."""
    reward: tuple[str, ...] = ()
    """name=weight, as in `exposure=4 color=0.5`; terms that are not named keep their default
    (docs/reference/rewards.md)."""
    reward_term: tuple[str, ...] = ()
    """Terms of your own, module:function each, as in `my_rewards:edges` (docs/tutorials/own_reward.md)."""
    exposure_level: float = DEFAULT_EXPOSURE
    """Asked exposure where the user names none, in (0, 1)."""
    name: str = ""
    """Of the run folder (default: learner, date and time)."""
    out: Path = Path("runs/lol")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops, noise and exploration."""
    updates: int = 0
    """Learner steps (0: 400, or as many as `minutes` allows)."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out (0: only `updates` counts)."""
    batch_size: int = 8
    """Pictures per update."""
    evaluate_every: int = 40
    """Updates between validations; each one saves last/."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    devices: int = 1
    """How many devices, with a process and an equal share of `batch_size` each (docs/reference/training.md)."""
    workers: int = 1
    """a3c on a CPU: asynchronous actor-learners, a process each (1: all pictures in one batch, the default)."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --no-progress)."""
    init: Path | None = None
    """Begin with the weights of this run."""
    warm_start: Path | None = None
    """Begin a policy with the backbone of this supervised run; see also --a3c.value-warmup-updates and
    --a3c.kl-ref-coef."""
    progress: bool = True
    """Show a progress bar."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)
    policy: Annotated[PolicyConfig, tyro.conf.arg(name="")] = field(default_factory=PolicyConfig)
    learners: Annotated[LearnerConfigs, tyro.conf.arg(name="")] = field(default_factory=LearnerConfigs)


@dataclass
class Result:
    """What a training run came to.

    Attributes:
        run: its folder.
        fitted: how the loop ended.
        scores: row name -> validation scores at 128 pixels, the policy's and the rules'.
    """

    run: Path
    fitted: Fitted
    scores: dict[str, dict[str, float]]


def main(arguments: Arguments) -> Result:
    """Train, and say how it went."""
    stored: dict[str, Any] = {}
    if arguments.resume:
        run, stored = Run.open(arguments.resume)
        arguments = _resumed(arguments, stored["arguments"])
    LEARNERS[arguments.learner]  # an unknown name is told before pictures are read
    own = load_terms(arguments.reward_term, stored.get("reward_terms"))
    named = [word.partition("=")[0] for word in arguments.reward]
    # terms of another run in this process
    others = [f"{name}=0" for name in registered_sources() if name not in (*own, *named)]
    weights = RewardWeights.parse((*arguments.reward, *others), exposure_level=arguments.exposure_level)
    updates = arguments.updates or (_NO_LIMIT if arguments.minutes else _UPDATES)
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1; got {arguments.batch_size}")
    if Path(arguments.name).name != arguments.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {arguments.name!r}")
    budget = FitConfig(updates, arguments.minutes, arguments.evaluate_every,
                       "val/return" if LEARNERS[arguments.learner].is_policy else "val/psnr")
    pictures = load_pictures(arguments.pictures, max_side=_kept_side(arguments))
    _check_references(arguments, weights, pictures)
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run with --init {run.path}")
    fabric = _make_fabric(arguments)
    leads = fabric.global_rank == 0
    learner = make_learner(arguments.learner, arguments.policy, arguments.learners, weights, seed=arguments.seed,
                           device=fabric.device, init=None if stored else arguments.init,
                           warm=None if stored else arguments.warm_start, workers=arguments.workers)
    if not leads:
        run = Run(Path())  # the first process alone writes
    elif not stored:
        about = {"data": {"source": pictures.splits.source, "digest": pictures.digest(),
                          "skipped": pictures.skipped},
                 "reward": weights.to_dict(), "reward_terms": {name: registered_sources()[name] for name in own},
                 "model": learner.network.spec}
        run = Run.create(arguments.out / (arguments.name or _default_name(arguments)),
                              dataclasses.asdict(_anchored(arguments)), about)
    if leads:
        print(f"{pictures.splits.describe()}\n{arguments.learner} with {weights}\nrun folder {run.path}", flush=True)
        for name in own:
            print(f"reward term {name} from {registered_sources()[name]['file']}" + (
                "" if weights[name] else f"; its weight is 0, it is logged only: weigh it with --reward {name}=1"))
    launch(fabric)
    learner.use_fabric(fabric)
    validation = list(pictures.load("val", limit=_VALIDATION_PICTURES, side=_VALIDATION_SIDE))
    shown = list(pictures.load("val", limit=4, side=256))
    fitted = fit(
        learner, make_batches(pictures, arguments.pictures, learner, arguments.batch_size, arguments.seed),
        LowLightEvaluator(validation, Reward(weights)), run,
        budget, sample=make_sample_sheet(shown), show=arguments.progress,
    )
    if not leads:
        return Result(run.path, fitted, {})
    if fitted.interrupted:
        run.draw_curves()
        print(f"stopped and saved after {fitted.updates} updates; go on with\n"
              f"  {_python()} -m experiments.lol_train --resume {run.path}")
        raise KeyboardInterrupt
    rules = fit_baselines(pictures.load("train", limit=_RULE_PICTURES, side=_VALIDATION_SIDE), weights.exposure_level)
    rows = {rules[name].name: score(rules[name], validation) for name in ("input", "constant", "stop")}
    rows[arguments.learner] = score(load_model(run.path / "best"), validation)
    run.draw_curves({name: row["psnr"] for name, row in rows.items()
                     if "psnr" in row and name not in ("input", arguments.learner)})
    _report(arguments, run, fitted, rows, pictures)
    return Result(run.path, fitted, rows)


def _make_fabric(arguments: Arguments) -> Any:
    """The device or devices; what several processes or workers cannot do is refused."""
    device, workers = arguments.device, arguments.workers
    if workers < 1 or (workers > 1 and arguments.learner != "a3c"):
        raise UsageError(f"--workers is at least 1, and more than one are for a3c; got {workers} for "
                         f"{arguments.learner}")
    if workers > 1:
        if device not in ("auto", "cpu") or arguments.precision != "32" or arguments.devices > 1:
            raise UsageError(f"--workers {workers} share weights in memory: they need --device cpu, --precision 32 and "
                             f"--devices 1; got {device}, {arguments.precision} and {arguments.devices}")
        settings = arguments.learners.a3c
        if settings.value_warmup_updates or any(settings.kl_ref_coef):
            raise UsageError("--a3c.value-warmup-updates and --a3c.kl-ref-coef are for the batched learner: leave "
                             "out --workers")
        device = "cpu"
    fabric = make_fabric(device, arguments.precision, arguments.devices)
    if fabric.world_size > 1:
        if not LEARNERS[arguments.learner].supports_ddp:
            shared = ", ".join(name for name in LEARNERS if LEARNERS[name].supports_ddp)
            raise UsageError(f"{arguments.learner} learns in one process; --devices is for {shared}")
        distributed.local_batch_size(arguments.batch_size, fabric.world_size)
    return fabric


def _kept_side(arguments: Arguments) -> int | None:
    """Policies that look at a reduced picture need no more than this of it."""
    acts = LEARNERS[arguments.learner].is_policy
    if not acts or not arguments.policy.state_size:
        return None
    return max(256, 2 * arguments.policy.state_size)


def _check_references(arguments: Arguments, weights: RewardWeights, pictures: Pictures) -> None:
    has_references = pictures.splits.has_references
    Reward(weights).check(has_references)
    counting = [name for name in weights.active if arguments.policy.knobs or TERMS[name].default_factor]
    if LEARNERS[arguments.learner].is_policy and not counting:
        raise UsageError("every reward has the weight 0: there is nothing to learn from; weigh one, as in exposure=4")
    if LEARNERS[arguments.learner].requires_target and not has_references:
        raise UsageError(f"{arguments.learner} learns from references, and {pictures.splits.source} has none: "
                         f"use pairs (low/ and high/), or --learner a3c")


def _resumed(given: Arguments, stored: dict[str, Any]) -> Arguments:
    """The settings of the run; only the progress bar and the devices may be chosen anew.

    Raises:
        UsageError: another setting was given beside --resume.
    """
    plain = Arguments()
    others = [field.name for field in dataclasses.fields(Arguments)
              if field.name not in ("resume", "progress", "device", "devices")
              and getattr(given, field.name) != getattr(plain, field.name)]
    if others:
        raise UsageError(f"--resume goes on with the settings of the run; leave out {', '.join(others)} "
                         f"(to change them, begin a new run with --init {given.resume})")
    arguments = rebuild(Arguments, stored)
    device = arguments.device if given.device == plain.device else given.device
    return dataclasses.replace(arguments, progress=given.progress, device=device, devices=given.devices)


def check_same(run: Path, wanted: Arguments) -> None:
    """Refuse a run that was begun with other settings.

    Raises:
        UsageError: names the settings that differ.
    """
    _, stored = Run.open(run)
    kept, asked = rebuild(Arguments, stored["arguments"]), _anchored(wanted)
    differing = [field.name for field in dataclasses.fields(Arguments)
                 if field.name not in ("progress", "device", "devices", "resume", "out")
                 and getattr(kept, field.name) != getattr(asked, field.name)]
    if differing:
        raise UsageError(f"{run}: was trained with other settings ({', '.join(differing)}); choose another --out, or "
                         f"remove it")


def _anchored(arguments: Arguments) -> Arguments:
    """The same with whole paths, so that the run can go on from another folder."""
    def whole(path: Path | None) -> Path | None:
        return path.resolve() if path else None

    pictures = dataclasses.replace(arguments.pictures, data=whole(arguments.pictures.data))
    return dataclasses.replace(arguments, pictures=pictures, init=whole(arguments.init),
                               warm_start=whole(arguments.warm_start))


def _default_name(arguments: Arguments) -> str:
    return f"{arguments.learner}-{time.strftime('%Y%m%d-%H%M%S')}"


def _python() -> str:
    executable = Path(sys.executable)
    try:
        return str(executable.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "python"


def _command() -> str:
    """The `rlenhance` command as the user can type it here."""
    script = Path(sysconfig.get_path("scripts")) / "rlenhance"
    if not script.exists():
        return f"{_python()} -m rlenhance"
    try:
        return str(script.relative_to(Path.cwd()))
    except ValueError:
        return "rlenhance"


def _report(arguments: Arguments, run: Run, fitted: Fitted, rows: dict[str, dict[str, float]],
            pictures: Pictures) -> None:
    """The last lines: how it compares, where it lies, what to type next."""
    print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step} "
          f"(chosen by the validation {'PSNR' if not LEARNERS[arguments.learner].is_policy else 'return'})")
    print(f"on {len(pictures.splits.val)} validation pictures at {_VALIDATION_SIDE} pixels:")
    for name in load_terms(arguments.reward_term):
        if f"val/term/{name}" in fitted.best:
            print(f"  reward term {name}: {fitted.best[f'val/term/{name}']:+.4f} over an episode, unweighted")
    names = ["psnr", "ssim", "mean"] if "psnr" in next(iter(rows.values())) else ["mean", "clipped"]
    for name, row in rows.items():
        print(f"  {name:<34}" + "  ".join(f"{column.upper() if column in ('psnr', 'ssim') else column} "
                                          f"{row[column]:.3f}" for column in names))
    if arguments.pictures.data is None:
        print("  (a demonstration: the rules' one number was chosen on three pictures)")
    full_size = ImageCache(0)
    dark = write(to_array(load_example(pictures.splits.val[len(pictures.splits.val) // 2], full_size).image),
                 run.path / "samples" / "dark.png")
    print(f"result in {run.path} (best/, curves.png, samples/, tensorboard/)\n"
          f"enhance a photograph with it (dark.png is one; put your own in its place):\n"
          f"  {_command()} enhance {os.path.relpath(dark)} --model {run.path / 'best'}")


if __name__ == "__main__":
    sys.exit(run_command(main, Arguments))

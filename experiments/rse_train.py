"""RSE-RL, all of it: `python -m experiments.rse_train celeba`, or `sidd` for real noise."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.core.bootstrap import MIN_SCENES, Interval
from experiments.core.cli import run_cli
from experiments.core.config import from_json
from experiments.core.distributed import make_fabric
from experiments.core.markdown import text_table
from experiments.core.run import Run
from experiments.tasks.rse.config import BudgetConfig, LearnerConfigs, Plan, anchored, settled
from experiments.tasks.rse.data import PathConfig, RSEDataset, bank_pictures, open_rse, portion_of
from experiments.tasks.rse.figures import draw_groups, draw_recursions, draw_steps
from experiments.tasks.rse.model import NetworkConfig, check_networks
from experiments.tasks.rse.stages import Stages
from rlenhance.core.errors import UsageError

_LEARNERS = ("sac", "a3c", "direct", "none")


@dataclass(frozen=True)
class Arguments:
    """Train a patch autoencoder to its plateau, fill a bank of clean codes, train agents that move codes by
    trust-region SAC, and let what comes out re-enter the training."""

    data_set: Annotated[str, tyro.conf.Positional] = "celeba"
    """celeba (good pictures; noise of variance 0.02 is made) or sidd (real noise beside its clean pictures)."""
    learner: str = "sac"
    """Of the agents: sac, a3c (rollouts of the same picture beside each other), direct (back-propagation through the
    episode, the control), or none (the autoencoder alone)."""
    blocking: float = 2.0
    """Weight of the reward for seams of patches that vanish, beside that of the squared error (0: none)."""
    warm_start: str = ""
    """The U-Net begins with that of this learned denoiser for colour, a shipped one (denoiser) or a run."""
    init: str = ""
    """The autoencoder begins with that of this run, or of this shipped model, of the same settings."""
    beside: tuple[str, ...] = ("denoiser",)
    """Learned denoisers, shipped ones or runs, that have rows of the table; how noisy a picture is they find."""
    name: str = ""
    """Of the run folder (default: data set, learner, date and time)."""
    out: Path = Path("runs/rse")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops, noise and exploration."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --no-progress)."""
    progress: bool = True
    """Show a progress bar."""
    paths: Annotated[PathConfig, tyro.conf.arg(name="")] = field(default_factory=PathConfig)
    budget: Annotated[BudgetConfig, tyro.conf.arg(name="")] = field(default_factory=BudgetConfig)
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    learners: Annotated[LearnerConfigs, tyro.conf.arg(name="")] = field(default_factory=LearnerConfigs)


@dataclass
class Result:
    """What a run came to.

    Attributes:
        run: its folder.
        means: rows of the table, means over the held-out pictures.
        gains: what the agents and the recursions add in dB; nothing without agents.
    """

    run: Path
    means: dict[str, dict[str, float]]
    gains: dict[str, Interval]


def main(arguments: Arguments) -> Result:
    """Train in stages, and say how it went.

    Raises:
        UsageError: settings or pictures that cannot be used.
    """
    stored: dict[str, Any] = {}
    if arguments.resume:
        run, stored = Run.open(arguments.resume)
        arguments = _resumed(arguments, stored["arguments"])
    if arguments.warm_start and arguments.init:
        raise UsageError("--warm-start and --init both give the autoencoder its weights: use one of them")
    if arguments.learner not in _LEARNERS:
        raise UsageError(f"--learner is one of {', '.join(_LEARNERS)}; got {arguments.learner!r}")
    network = settled(arguments.network, arguments.data_set)
    check_networks(network)
    pictures = open_rse(arguments.data_set, arguments.paths)
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run")
    fabric = make_fabric(arguments.device, arguments.precision)
    if not stored:
        run = _begin(arguments, pictures)
    print(f"{pictures.splits.describe()}\nthe table is of the {pictures.held} split\nrun folder {run.path}", flush=True)
    plan = Plan(arguments.learner, network, arguments.learners, arguments.budget, arguments.blocking,
                arguments.warm_start, arguments.init, arguments.beside, portion_of(arguments.data_set, arguments.paths),
                arguments.seed, arguments.progress)
    stages = Stages(plan, pictures, fabric, arguments.precision == "bf16", run)
    stages.run_all()
    assert stages.autoencoder is not None
    run.save("best", stages.kept or stages.autoencoder, {"scores": stages.means()})
    examples, batches = pictures.tested(3, arguments.budget.test_side)
    draw_steps(run.path / "steps.png", list(batches), [example.name for example in examples], stages)
    draw_recursions(run.path / "recursions.png", stages.rows)
    if stages.kept is not None:
        draw_groups(run.path / "groups.png", stages.kept, bank_pictures(pictures, arguments.budget.bank_from))
    return Result(run.path, stages.means(), _tell(stages, run))


def _tell(stages: Stages, run: Run) -> dict[str, Interval]:
    """The table, what the agents and the recursions add, and what to do with it."""
    count = len(stages.notes["pictures"])
    print(f"\nmeans of {count} held-out pictures: PSNR in dB, SSIM, UQI, and the jumps across seams, relative to the "
          f"clean pictures' (1: they do not show)")
    width = max(map(len, stages.rows))
    print(text_table({name.rjust(width): row for name, row in stages.means().items()}, " " * width))
    gains = stages.gains()
    if gains:
        print("\ndifferences in dB, and where they lie for other pictures of the kind (95 %):")
    for told, gain in gains.items():
        where = f"{gain.low:+.3f} to {gain.high:+.3f}" if gain.scenes >= MIN_SCENES else "too few pictures to say"
        print(f"  {told:<42} {gain.mean:+.3f} ({where})")
    if "ended" in stages.notes:
        print(f"the recursions ended with number {stages.notes['ended']}, after which the validation PSNR fell")
    figures = "steps.png, recursions.png" + (", groups.png" if stages.kept is not None else "")
    print(f"result in {run.path} (best/, table.json, {figures}); denoise a photograph with it:\n"
          f"  rlenhance denoise PHOTO --model {run.path}")
    return gains


def _begin(arguments: Arguments, pictures: RSEDataset) -> Run:
    """A new run folder; its config.json has whole paths, so that the run can go on from another folder."""
    if Path(arguments.name).name != arguments.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {arguments.name!r}")
    paths = arguments.paths
    whole = dataclasses.replace(
        paths, train_files_path=anchored(paths.train_files_path), test_files_path=anchored(paths.test_files_path),
        validation_file_path=anchored(paths.validation_file_path),
        test_validation_files_path=anchored(paths.test_validation_files_path))
    warm, init = (str(Path(value).resolve()) if value and Path(value).exists() else value
                  for value in (arguments.warm_start, arguments.init))
    arguments = dataclasses.replace(arguments, paths=whole, warm_start=warm, init=init)
    name = arguments.name or f"{arguments.data_set}-{arguments.learner}-{time.strftime('%Y%m%d-%H%M%S')}"
    about = {"data": {"source": pictures.splits.source, "digest": pictures.digest(), "skipped": pictures.skipped}}
    return Run.create(arguments.out / name, dataclasses.asdict(arguments), about)


def _resumed(given: Arguments, stored: dict[str, Any]) -> Arguments:
    """The settings of the run; only the progress bar and the device may be chosen anew.

    Raises:
        UsageError: another setting was given beside --resume.
    """
    plain = Arguments()
    others = [part.name for part in dataclasses.fields(Arguments)
              if part.name not in ("resume", "progress", "device", "data_set")
              and getattr(given, part.name) != getattr(plain, part.name)]
    if others:
        raise UsageError(f"--resume goes on with the settings of the run; leave out {', '.join(others)}")
    arguments = from_json(Arguments, stored)
    device = arguments.device if given.device == plain.device else given.device
    return dataclasses.replace(arguments, progress=given.progress, device=device)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

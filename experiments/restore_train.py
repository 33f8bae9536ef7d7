"""Train a supervised network: `python -m experiments.restore_train prior --data bedrooms --minutes 45`."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from agents import Supervised, SupervisedConfig
from agents.optim import OptimizerConfig
from experiments.core.cli import run_cli
from experiments.core.config import from_json
from experiments.core.distributed import make_fabric
from experiments.core.fit import Budget, FitResult, fit
from experiments.core.run import Run
from experiments.tasks.restore import OWN, Keeper, Own, Task, hole_task, pair_task, plainly, score, validate
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.data import Downscale
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import load_network
from rlenhance.models import MODELS

_NO_LIMIT = 10**9  # updates, where minutes count
_TERMS = ("l1", "mse", "ssim", "psnr")


#: The networks as they were published, where that differs from ours.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gated_pixelrnn": {"dilations": (1, 1, 1)},
    "convlstm_autoencoder": {"widths": (64, 128, 256), "looks": 1, "skips": False, "told_mask": False},
}


@dataclass(frozen=True)
class Arguments:
    """Train a network that fills holes (gated_pixelrnn, convlstm_autoencoder, prior) or restores and enlarges
    (combined). What is 0 or empty is the network's own setting (docs/howto/restore.md lists them)."""

    model: Annotated[str, tyro.conf.Positional] = ""
    """gated_pixelrnn, convlstm_autoencoder, prior or combined."""
    data: Path | None = None
    """Filling: original_images/ beside occluded_images/, or a folder of good pictures. combined: pairs (train/train and
    train/gt, low/ and high/, ...), or a folder of good pictures, which are shrunk. Without: the bundled photographs."""
    name: str = ""
    """Of the run folder (default: model, date and time)."""
    out: Path = Path("runs/restore")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops and holes."""
    epochs: int = 0
    """Times that every picture is seen."""
    updates: int = 0
    """Steps, in the place of epochs."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out, whatever the epochs."""
    size: int = 0
    """Side of the pictures in pixels (of the small ones, where a network enlarges)."""
    batch_size: int = 0
    """Pictures per update."""
    learning_rate: float = 0.0
    """Peak learning rate of Adam."""
    loss: tuple[str, ...] = ()
    """Weights of the loss, as in mse=0.8 ssim=0.2; l1, mse, ssim and psnr."""
    evaluate_every: int = 0
    """Updates between validations, each of which saves last/ (0: an epoch)."""
    validate_on: int = 48
    """Validation pictures."""
    keep_every: int = 0
    """Epochs between checkpoints that are kept in checkpoints/ (0: best/ and last/ alone)."""
    published: bool = False
    """The network in its published form: its middle sees nothing of the picture in a large hole."""
    widths: tuple[int, ...] = ()
    """Channels: of each level (prior, convlstm_autoencoder), or one number (gated_pixelrnn, combined)."""
    blocks: tuple[int, ...] = ()
    """Residual blocks: of each level (prior), or of the generator (combined)."""
    holes: str = "squares"
    """Filling: holes that are made, square, squares, brush or mixed."""
    scale: int = 1
    """combined: 1, 2 or 4."""
    exposure: bool = False
    """combined: a tone curve chosen from the whole picture comes first."""
    blur: tuple[float, float] = (0.15, 0.4)
    """combined, good pictures: range of the blur's deviation in pixels of the small picture."""
    noise: float = 8.0
    """combined, good pictures: the largest standard deviation of the noise, in 255ths."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --minutes, --no-progress)."""
    init: Path | None = None
    """Begin with the weights of this run, or of a shipped network of that name."""
    progress: bool = True
    """Show a progress bar."""


@dataclass
class Result:
    """What a training run came to: its folder, how the loop ended, validation PSNR, and the plain rule's."""

    run: Path
    fitted: FitResult
    psnr: float
    plain: float


def main(arguments: Arguments) -> Result:
    """Train, and say how it went.

    Raises:
        UsageError: settings or pictures that cannot be used.
    """
    stored: dict[str, Any] = {}
    if arguments.resume:
        run, stored = Run.open(arguments.resume)
        asked = from_json(Arguments, stored["arguments"])
        arguments = dataclasses.replace(asked, resume=arguments.resume, device=arguments.device,
                                        minutes=arguments.minutes or asked.minutes, progress=arguments.progress)
    own = settings(arguments)
    fabric = make_fabric(arguments.device, arguments.precision)
    task = make_task(arguments, own)
    pictures = task.pictures
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run with --init {run.path}")
    torch.manual_seed(arguments.seed)
    network = make_network(arguments)
    config = learner_config(own)
    learner = Supervised(network, config, seed=arguments.seed, device=fabric.device)
    if not stored:
        where = arguments.data.resolve() if arguments.data else None
        name = arguments.name or f"{arguments.model}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = Run.create(arguments.out / name, dataclasses.asdict(dataclasses.replace(arguments, data=where)), {
            "data": {"source": pictures.splits.source, "digest": pictures.digest(), "skipped": pictures.skipped},
            "own": dataclasses.asdict(own), "model": network.spec})
    learner.use_fabric(fabric)
    epoch = math.ceil(len(task.train) / own.batch_size)
    updates = arguments.updates or (_NO_LIMIT if arguments.minutes and not arguments.epochs else own.epochs * epoch)
    validation = task.validation(arguments.validate_on)
    plain = sum(score(plainly(batch), batch) for batch in validation) / len(validation)
    print(f"{task.about}\nrun folder {run.path}\nwithout a network: {plain:.2f} dB", flush=True)
    fitted = fit(learner, lambda step: task.batch(step, own.batch_size), lambda model: validate(model, validation), run,
                 Budget(updates, arguments.minutes, arguments.evaluate_every or epoch, "val/psnr"),
                 sample=Keeper(validation, epoch, arguments.keep_every), show=arguments.progress)
    run.close()
    if fitted.interrupted:
        print(f"stopped and saved after {fitted.updates} updates; go on with --resume {run.path}")
        raise KeyboardInterrupt
    best = fitted.best["val/psnr"]
    print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}: validation PSNR "
          f"{'in the hole ' if validation[0].mask is not None else ''}{best:.2f} dB, without a network {plain:.2f} dB")
    return Result(run.path, fitted, best, plain)


def settings(arguments: Arguments) -> Own:
    """The network's own settings, with what the command line says in their place.

    Raises:
        UsageError: an unknown network, or a loss that is none.
    """
    if arguments.model not in OWN:
        raise UnknownName("network", arguments.model, OWN)
    given: dict[str, Any] = {name: getattr(arguments, name) for name in
                             ("size", "epochs", "batch_size", "learning_rate") if getattr(arguments, name)}
    if any(value < 0 for value in given.values()) or arguments.validate_on < 1 or arguments.keep_every < 0:
        raise UsageError(f"size, epochs, batch size and learning rate must be positive, --validate-on at least 1; got "
                         f"{given} and {arguments.validate_on}")
    loss = {}
    for word in arguments.loss:
        name, _, weight = word.partition("=")
        try:
            loss[name] = float(weight)
        except ValueError:
            loss[name] = math.nan
        if name not in _TERMS or not loss[name] >= 0:
            raise UsageError(f"--loss takes weights of {', '.join(_TERMS)}, as in mse=0.8 ssim=0.2; got {word!r}")
    if loss:
        given["loss"] = loss
    return dataclasses.replace(OWN[arguments.model], **given)


def learner_config(own: Own) -> SupervisedConfig:
    """The learner's settings."""
    weights = {term: own.loss.get(term, 0.0) for term in _TERMS}
    return SupervisedConfig(**weights, ssim_radius=own.ssim_radius, ema_decay=own.average,
                            optimizer=OptimizerConfig(own.learning_rate, 100, own.final, 1.0))


def make_task(arguments: Arguments, own: Own) -> Task:
    """The pictures."""
    if arguments.model == "combined":
        shrink = Downscale(arguments.scale, arguments.blur[1], arguments.blur[0], arguments.noise)
        return pair_task(arguments.data, own.size, shrink, arguments.seed)
    return hole_task(arguments.data, own.size, arguments.holes, arguments.seed)


def make_network(arguments: Arguments) -> Any:
    """The network, fresh or with the weights of --init.

    Raises:
        UsageError: widths or blocks that do not fit; an --init of another network.
    """
    model, widths, blocks = arguments.model, arguments.widths, arguments.blocks
    wanted = {"gated_pixelrnn": (1, 0), "convlstm_autoencoder": (3, 0), "prior": (len(widths), len(widths)),
              "combined": (1, 1)}[model]
    if (widths and len(widths) != wanted[0]) or (blocks and len(blocks) != wanted[1]):
        raise UsageError(f"--widths and --blocks: {model} takes {wanted[0]} and {wanted[1]} numbers; got {len(widths)} "
                         f"and {len(blocks)}")
    recipe: dict[str, Any] = {"side": arguments.size} if model != "combined" and arguments.size else {}
    if model == "combined":
        recipe |= {"scale": arguments.scale, "exposure": arguments.exposure}
    if arguments.published:
        recipe |= PUBLISHED.get(model, {})
    for name, given in (("widths", widths), ("blocks", blocks)):
        if given:
            one = {"gated_pixelrnn": "width", "combined": "generator_width"}.get(model) if name == "widths" else name
            recipe[one or name] = given[0] if wanted[name == "blocks"] == 1 else given
    network = MODELS.create(model, **recipe)
    if arguments.init and not arguments.resume:
        theirs = load_network(weights.locate(arguments.init))
        try:
            network.load_state_dict(theirs.state_dict())
        except RuntimeError as error:
            raise UsageError(f"--init {arguments.init}: a {type(theirs).__name__} whose weights do not fit this "
                             f"{model}; give it the same --widths, --blocks and --scale") from error
    return network


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

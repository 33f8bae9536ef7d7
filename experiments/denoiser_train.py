"""Train the learned denoiser: `python -m experiments.denoiser_train --data DIR --channels 1 --minutes 45`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from agents.denoiser_learner import DenoiserConfig, DenoiserLearner
from experiments.core.cli import run_cli
from experiments.core.config import from_json
from experiments.core.dataset import Dataset
from experiments.core.distributed import make_fabric
from experiments.core.fit import Budget, FitResult, fit
from experiments.core.run import Run
from rlenhance.core.errors import UsageError
from rlenhance.data import (
    Batch,
    CameraJpegSampler,
    Example,
    ImageCache,
    Sampler,
    Splits,
    open_clean,
    open_dataset,
    sample_photographs,
    validate_splits,
)
from rlenhance.hub import shipped as weights
from rlenhance.hub.checkpoint import find_checkpoint, load_network
from rlenhance.metrics.full_reference import psnr
from rlenhance.models import MODELS, DenoisingUNet
from rlenhance.ops.noise_estimation import LARGEST_NOISE, NOISE_FLOOR, noise_map_from_image

#: The noise that is validated on and reported, in 255ths.
LEVELS = (15, 25, 50)
_UPDATES, _NO_LIMIT = 2000, 10**9  # what 0 stands for, without and with a limit of time
_SHOWN, _CROP = 16, 256  # validation pictures, and the longest side of what is taken from their middle


@dataclass(frozen=True)
class Arguments:
    """Learn to take noise away from grey or colour pictures."""

    data: tuple[Path, ...] = ()
    """Folders of good pictures, or of pairs, whose references are taken; each counts alike (default: the bundled
    photographs)."""
    channels: int = 3
    """1 for grey pictures, 3 for colour."""
    name: str = ""
    """Of the run folder (default: denoiser, channels, date and time)."""
    out: Path = Path("runs/denoiser")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops and noise."""
    updates: int = 0
    """Steps (0: 2000, or as many as `minutes` allows)."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out (0: only `updates` counts)."""
    batch_size: int = 32
    """Crops per update."""
    crop: int = 64
    """Their side in pixels."""
    coded: float = 0.0
    """Share of the updates on brightened dark photographs, smoothed and coded as a camera does; the best weights are
    then those that are best on them."""
    pairs: Path | None = None
    """A folder of pairs: of those photographs, three in ten are its real dark frames beside their references."""
    max_side: int = 0
    """Reduce pictures to this longer side first (0: as they are): takes the traces of JPEG away."""
    evaluate_every: int = 500
    """Updates between validations; each one saves last/."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of the network's levels."""
    down: tuple[int, ...] = (1, 2, 1)
    """Residual blocks of each level on the way down."""
    up: tuple[int, ...] = (1, 2)
    """Residual blocks of each level on the way up."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --no-progress)."""
    init: Path | None = None
    """Begin with the weights of this run, or of a shipped denoiser, where they fit: a network for colour can begin with
    one for grey pictures."""
    progress: bool = True
    """Show a progress bar."""
    denoising: DenoiserConfig = field(default_factory=DenoiserConfig)
    """The noise that is made, and the optimizer."""


@dataclass
class Result:
    """What a training run came to: its folder, how the loop ended, and validation PSNR by strength of the noise."""

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
        arguments = dataclasses.replace(from_json(Arguments, stored["arguments"]), resume=arguments.resume,
                                        device=arguments.device, progress=arguments.progress)
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1; got {arguments.batch_size}")
    updates = arguments.updates or (_NO_LIMIT if arguments.minutes else _UPDATES)
    budget = Budget(updates, arguments.minutes, arguments.evaluate_every,
                       "val/psnr/camera" if arguments.coded else "val/psnr")
    pictures, train = load_clean(arguments.data, arguments.max_side)
    if stored and stored["data"]["digest"] != pictures.digest():
        raise UsageError(f"{run.path}: the pictures in {pictures.splits.source} are not those the run began with; "
                         f"restore them, or begin a new run with --init {run.path}")
    fabric = make_fabric(arguments.device, arguments.precision)
    torch.manual_seed(arguments.seed)
    network = MODELS.create("denoiser", channels=arguments.channels, widths=arguments.widths, down=arguments.down,
                            up=arguments.up, unseen=NOISE_FLOOR if arguments.coded else 0.0)
    if arguments.init and not stored:
        begin_with(network, arguments.init)
    learner = DenoiserLearner(network, arguments.denoising, seed=arguments.seed, device=fabric.device)
    if not stored:
        whole = dataclasses.replace(arguments, data=tuple(path.resolve() for path in arguments.data))
        name = arguments.name or f"denoiser-{arguments.channels}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = Run.create(arguments.out / name, dataclasses.asdict(whole), {
            "data": {"source": pictures.splits.source, "digest": pictures.digest(), "skipped": pictures.skipped},
            "model": network.spec})
    print(f"{pictures.splits.describe()}\nrun folder {run.path}", flush=True)
    learner.use_fabric(fabric)
    draw = sampler_of(arguments, pictures, train)
    validation = [batch.image for batch in pictures.load("val", limit=_SHOWN)]
    photographs = coded_validation(arguments, pictures) if arguments.coded else None
    fitted = fit(learner, draw, lambda network: validate(cast(Any, network), validation, photographs), run, budget,
                 show=arguments.progress)
    run.close()
    if fitted.interrupted:
        print(f"stopped and saved after {fitted.updates} updates; go on with --resume {run.path}")
        raise KeyboardInterrupt
    scores = {name: value for name, value in fitted.best.items() if name.startswith("val/")}
    print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}")
    print("\n".join(f"  {name:<12} {value:.3f} dB" for name, value in scores.items()))
    print(f"denoise a photograph with it:\n  rlenhance denoise PHOTO --model {run.path / 'best'}")
    return Result(run.path, fitted, scores)


def sampler_of(arguments: Arguments, pictures: Dataset, train: Sequence[Example]) -> Callable[[int], Batch]:
    """The batch of every update: clean crops, and in their share of the updates brightened photographs with noise.

    Raises:
        UsageError: a share outside [0, 1], or a folder that cannot be used.
    """
    if not 0 <= arguments.coded <= 1:
        raise UsageError(f"--coded is a share in [0, 1]; got {arguments.coded:g}")
    plain = Sampler(train, pictures.cache, arguments.crop, crop="native", seed=arguments.seed)
    if not arguments.coded:
        return lambda step: plain.batch(step, arguments.batch_size)
    pairs = open_dataset(arguments.pairs).train if arguments.pairs else ()
    coded = CameraJpegSampler(train, pictures.cache, arguments.crop, _told, pairs=pairs, seed=arguments.seed)

    def draw(step: int) -> Batch:
        before = int(step * arguments.coded)
        if int((step + 1) * arguments.coded) > before:
            return coded.batch(before, arguments.batch_size)
        return plain.batch(step, arguments.batch_size)

    return draw


def coded_validation(arguments: Arguments, pictures: Dataset) -> Batch:
    """Crops of brightened photographs of the validation pictures, always the same."""
    sampler = CameraJpegSampler(pictures.splits.val, pictures.cache, 128, _told, seed=1)
    return Batch.stack([sampler.batch(16 * number, 1) for number in range(_SHOWN)])


_told = partial(noise_map_from_image, noise_floor=NOISE_FLOOR)


def load_clean(folders: Sequence[Path], max_side: int = 0) -> tuple[Dataset, list[Example]]:
    """Good pictures of several folders, scanned, and those to train on so repeated that each folder counts alike.

    Raises:
        UsageError: bad files; a folder that cannot be used, see `open_clean`.
    """
    if max_side < 0:
        raise UsageError(f"--max-side must not be negative; got {max_side}")
    cache = ImageCache(max_side=max_side or None)
    parts = [open_clean(folder) for folder in folders] or [_samples()]
    train, val, test = ([example for part in parts for example in part.parts[name]]
                        for name in ("train", "val", "test"))
    joined = Splits(train, val, test, ", ".join(part.source for part in parts))
    splits, skipped = validate_splits(joined, cache)
    most = max(len(part.train) for part in parts)
    repeated = [example for part in parts for example in list(part.train) * -(-most // len(part.train))]
    return Dataset(splits, cache, skipped), repeated


def _samples() -> Splits:
    """The sample photographs in their roles, as they are."""
    splits = sample_photographs()
    train, val = ({e.scene: Example(e.scene, e.scene, e.target, e.target) for e in part}.values()
                  for part in (splits.train, splits.val))
    return Splits(list(train), list(val), (), "sample photographs (a demonstration on four photographs)")


def begin_with(network: DenoisingUNet, run: Path) -> None:
    """Take over the weights of another denoiser, those of the same shape.

    Raises:
        UsageError: no checkpoint, or nothing in it fits.
    """
    theirs = load_network(find_checkpoint(weights.locate(run))).state_dict()
    ours = network.state_dict()
    fitting = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    if not fitting:
        raise UsageError(f"--init {run}: none of its weights has the shape of ours; name a run of denoiser_train with "
                         f"the same --widths")
    network.load_state_dict({**ours, **fitting})


@torch.no_grad()
def validate(network: DenoisingUNet, pictures: Sequence[torch.Tensor],
             photographs: Batch | None = None) -> dict[str, float]:
    """Mean PSNR in dB of the middles of pictures, the same noise at every call: `val/psnr` over the levels, and each.

    Args:
        pictures: (1, 3, H, W) each, without noise.
        photographs: brightened ones with their noise: `val/psnr/camera`, from their mean squared error.
    """
    rows: dict[int, list[float]] = {level: [] for level in LEVELS}
    for number, picture in enumerate(pictures):
        clean = _middle(picture)
        clean = clean if network.channels == 3 else clean.mean(dim=1, keepdim=True)
        made = torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        for level in LEVELS:
            device = next(network.parameters()).device
            output = network.denoise((clean + level / 255 * made).to(device), level / 255).cpu()
            rows[level].append(psnr(output.clamp(0, 1), clean).item())
    means = {f"val/psnr/sigma{level}": sum(row) / len(row) for level, row in rows.items()}
    if photographs is not None:
        assert photographs.target is not None and photographs.noise_std is not None
        image, target = (part if network.channels == 3 else part.mean(dim=1, keepdim=True)
                         for part in (photographs.image, photographs.target))
        output = network.denoise(image.to(device), photographs.noise_std.clamp(max=LARGEST_NOISE).to(device)).cpu()
        means["val/psnr/camera"] = -10 * ((output.clamp(0, 1) - target) ** 2).mean().log10().item()
    levels = [means[f"val/psnr/sigma{level}"] for level in LEVELS]
    return {"val/psnr": sum(levels) / len(levels), **means}


def _middle(picture: torch.Tensor) -> torch.Tensor:
    top, left = (max(0, (length - _CROP) // 2) for length in picture.shape[-2:])
    return picture[..., top : top + _CROP, left : left + _CROP]



if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

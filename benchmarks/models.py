"""`python -m benchmarks models`: what each model costs per megapixel and on the disk, side by side in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from benchmarks.photo import dark_photograph
from benchmarks.table import Table, interleaved
from rlenhance.core.errors import UsageError
from rlenhance.engine.graph import COMPILED, NUMPY
from rlenhance.engine.networks import load
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config, read_info, read_weights
from rlenhance.hub.shipped import COMMANDS
from rlenhance.learning.hub.checkpoint import find_checkpoint
from rlenhance.learning.hub.torch_network import TorchNetwork
from rlenhance.pipelines.complete import Completer
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.upscale import Upscaler

_NOISE = 15  # given to denoisers, in 255ths
_HOLE = 0.3  # side of the hole, as a share of the picture's


@dataclass(frozen=True)
class Arguments:
    """Measure what models cost: seconds of processor time for a megapixel, files and imports excluded, and megabytes.

    Megapixels are those of the photograph that is given, also where a model enlarges it.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Shipped models or runs: old and new weights side by side (default: all that are shipped)."""
    side: int = 1024
    """Of the square picture, in pixels; what takes more than ten seconds for it gets a picture of a quarter of the
    side."""
    repeats: int = 3
    """Rounds; all models take turns, and medians count."""
    threads: int = 1
    """Of this process."""
    beside: tuple[str, ...] = ()
    """Beside each, the same model computed by torch, or on a backend: `torch`, `compiled` and `numpy`."""


def main(arguments: Arguments) -> Table:
    """Measure and print.

    Raises:
        UsageError: a number below 1, a picture below 64 pixels, a model that has no command, or none on a backend.
    """
    if min(arguments.repeats, arguments.threads) < 1 or arguments.side < 64:
        raise UsageError(f"--repeats and --threads must be at least 1, --side at least 64; got {arguments.repeats}, "
                         f"{arguments.threads} and {arguments.side}")
    if not set(arguments.beside) <= {"torch", COMPILED, NUMPY}:
        raise UsageError(f"--beside takes torch, {COMPILED} and {NUMPY}; got {', '.join(arguments.beside)}")
    torch.set_num_threads(arguments.threads)
    names = arguments.models or [model.name for model in shipped.list_models() if model.info.purpose in _MAKERS]
    others = [title for backend in arguments.beside for title in (f"with {backend}", "times")]
    columns = ("model", "command", "megapixels", "CPU s per megapixel", *others, "MB")
    table = Table("models", "What models cost", columns)
    works: dict[str, Callable[[], Any]] = {}
    sides = {}
    for name in names:
        process = _maker(name)
        for side in (arguments.side, arguments.side // 4):
            works[name], sides[name] = partial(process, _picture(name, side)), side
            process(_picture(name, 64))
            begun = time.process_time()
            works[name]()
            if time.process_time() - begun < 10:
                break
        for backend in arguments.beside:
            works[f"{name} with {backend}"] = partial(_maker(name, backend), _picture(name, sides[name]))
    seconds = interleaved(works, arguments.repeats, time.process_time)
    for name in names:
        million, beside = sides[name] ** 2 / 1e6, [seconds[f"{name} with {backend}"] for backend in arguments.beside]
        table.rows.append((name, COMMANDS[_info(name)[1].purpose], million, seconds[name] / million,
                           *(part for other in beside for part in (other / million, other / seconds[name])),
                           _megabytes(name)))
    print(f"{arguments.threads} thread(s), load {os.getloadavg()[0]:.1f}\n\n{table.markdown()}")
    return table


def _info(name: str) -> tuple[Path, Any]:
    folder = find_checkpoint(shipped.locate(name))
    return folder, read_info(folder)


def _picture(name: str, side: int) -> np.ndarray:
    """Dark noise; grey for a model for grey pictures."""
    picture = dark_photograph(side, side)
    return picture if _info(name)[1].channels == 3 else np.repeat(picture[..., :1], 3, axis=2)


def _megabytes(name: str) -> float:
    return sum(file.stat().st_size for file in _info(name)[0].glob("*.safetensors")) / 1e6


def _maker(name: str, backend: str | None = None) -> Callable[[np.ndarray], object]:
    """A model as its command uses it, given all that the command would measure; or computed otherwise."""
    purpose = _info(name)[1].purpose
    if purpose not in _MAKERS:
        raise UsageError(f"{name}: has no command of its own; name a model to {', '.join(_MAKERS)}")
    pipeline = _MAKERS[purpose](name)
    if backend == "torch":
        pipeline.network = TorchNetwork.load(pipeline.folder)
    elif backend is not None:
        pipeline.network = load(pipeline.folder, read_config(pipeline.folder), read_weights(pipeline.folder), backend)
        if pipeline.network is None:
            raise UsageError(f"{name}: has no graph for {backend}; leave it out of --beside")
    return partial(_complete, pipeline) if purpose == "completion" else pipeline


def _complete(completer: Completer, picture: np.ndarray) -> object:
    mask = np.zeros(picture.shape[:2], np.uint8)
    low, high = (round(len(picture) * (0.5 + sign * _HOLE / 2)) for sign in (-1, 1))
    mask[low:high, low:high] = 255
    return completer(picture, mask=mask)


_MAKERS: dict[str, Callable[[str], Any]] = {
    "enhance": lambda name: Enhancer(name, device="cpu", denoise=0.0),
    "denoise": lambda name: Denoiser(name, device="cpu", noise=_NOISE),
    "completion": lambda name: Completer(name, device="cpu", texture=0),
    "upscale": lambda name: Upscaler(name, device="cpu"),
}

"""Write the graphs of shipped denoisers and enlargers in 8 bits, and measure what that costs:
`python -m experiments.scripts.quantize_networks denoiser --data FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments.core.cli import run_cli
from experiments.scripts.export_shipped import write_sums
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import resize_planes, to_planes
from rlenhance.data import ImageCache, open_clean
from rlenhance.data.examples import evenly_spread
from rlenhance.engine.networks import QUANTIZED, load
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config
from rlenhance.hub.quantize import Recorder, quantize_part
from rlenhance.hub.weight_files import read_weights


@dataclass(frozen=True)
class Arguments:
    """Write graphs in 8 bits: the steps of their activations are measured on training pictures, and the loss of quality
    on validation pictures."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Shipped denoisers and enlargers."""
    data: Path
    """Folder of clean pictures."""
    levels: tuple[float, ...] = (5.0, 15.0, 25.0, 50.0)
    """Deviations of the noise, in 255ths."""
    train_pictures: int = 12
    """Whose inputs are recorded."""
    val_pictures: int = 8
    """On which the loss is measured, at each level."""
    crop: int = 192
    """Pixels along their middle."""
    most_loss: float = 0.05
    """Mean loss in dB, at any level, above which nothing is written."""
    seed: int = 0
    """Of the noise."""
    folder: Path = shipped.FOLDER
    """Of the shipped models."""


def main(arguments: Arguments) -> dict[str, float]:
    """Write the graphs; prints and returns the largest mean loss of each, in dB.

    Raises:
        UsageError: a model that was not exported.
    """
    losses = {}
    for name in arguments.names:
        folder = arguments.folder / name
        config, weights = read_config(folder), read_weights(folder)
        network = load(folder, config, weights, "onnxruntime", quantized=False)
        if network is None:
            raise UsageError(f"{name}: was not exported; python -m experiments.scripts.export_shipped does")
        recorder = Recorder(network.graphs["model"])
        network.graphs["model"] = recorder  # type: ignore[assignment]
        for given, _, level in pairs(arguments, network, "train"):
            restored(network, given, level)
        quantize_part(folder, "model", recorder.feeds)
        networks = [load(folder, config, weights, "onnxruntime", quantized=quantized) for quantized in (False, True)]
        found: dict[float, list[list[float]]] = {}
        for given, clean, level in pairs(arguments, network, "val"):
            found.setdefault(level, []).append(
                [float(-10 * np.log10(np.square(restored(each, given, level).clip(0, 1) - clean).mean()))
                 for each in networks])
        means = {level: np.mean(rows, axis=0) for level, rows in found.items()}
        losses[name] = max(float(before - after) for before, after in means.values())
        told = ", ".join(f"{before:.3f} -> {after:.3f} dB" + f" at {level:g}" * (level > 0)
                         for level, (before, after) in means.items())
        if losses[name] > arguments.most_loss:
            (folder / QUANTIZED.format(part="model")).unlink()
            told += f": more than {arguments.most_loss:g} lost, not written"
        print(f"{name}: {told}", flush=True)
    write_sums(arguments.folder)
    return losses


def restored(network: Any, given: np.ndarray, level: float) -> np.ndarray:
    """The result of a denoiser or an enlarger."""
    result: np.ndarray = network.denoise(given, level / 255) if level else network.restore_unclamped(given)
    return result


def pairs(arguments: Arguments, network: Any, part: str) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """What a network is given, (1, C, H, W), what is wanted, and the noise in 255ths (0: the picture is reduced)."""
    rng, cache = np.random.default_rng((arguments.seed, part == "val")), ImageCache()
    count = arguments.val_pictures if part == "val" else arguments.train_pictures
    for example in evenly_spread(getattr(open_clean(arguments.data), part), count):
        picture = cache.load(example.target or example.image)
        top, left = (max(0, (side - arguments.crop) // 2) for side in picture.shape[:2])
        clean = to_planes(picture[top : top + arguments.crop, left : left + arguments.crop])
        if network.purpose == "upscale":
            height, width = (side // network.scale for side in clean.shape[2:])
            clean = clean[..., : network.scale * height, : network.scale * width]
            yield resize_planes(clean, (height, width)), clean, 0.0
            continue
        clean = clean.mean(axis=1, keepdims=True) if network.channels == 1 else clean
        for level in arguments.levels:
            noise = rng.standard_normal(clean.shape).astype(np.float32)
            yield clean + np.float32(level / 255) * noise, clean, level


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

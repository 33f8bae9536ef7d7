"""Write the graphs of shipped networks in 8 bits, and measure what that costs:
`python -m research.quantize_networks upscale-x2 rse-faces --data FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import resize_planes, to_planes
from rlenhance.engine.graph import adds_bytes_exactly
from rlenhance.engine.networks import QUANTIZED, export_path, load
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.scripts.export_shipped import write_sums
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config
from rlenhance.hub.weight_files import read_weights
from rlenhance.learning.data import ImageCache, open_clean
from rlenhance.learning.data.examples import evenly_spread
from rlenhance.learning.hub.quantize import Recorder, quantize_part

PART = "model"  # the graph that is written; of policies over latent codes the U-Net


@dataclass(frozen=True)
class Arguments:
    """Write graphs in 8 bits: the steps of their activations are measured on training pictures, and the loss of quality
    on validation pictures."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Shipped denoisers, enlargers and policies that denoise."""
    data: tuple[Path, ...]
    """Folders of clean pictures."""
    levels: tuple[float, ...] = (5.0, 15.0, 25.0, 50.0)
    """Deviations of the noise, in 255ths; of policies, those that they were trained for."""
    train_pictures: int = 12
    """Whose inputs are recorded, of each folder."""
    val_pictures: int = 8
    """On which the loss is measured, of each folder, at each level."""
    crop: int = 192
    """Pixels along their middle."""
    every: int = 1
    """One of so many inputs is kept: policies run a graph many times for a picture."""
    most_loss: float = 0.05
    """Mean loss in dB, at any level, above which nothing is written."""
    seed: int = 0
    """Of the noise."""
    folder: Path = shipped.FOLDER
    """Of the shipped models."""


def main(arguments: Arguments) -> dict[str, float]:
    """Write the graphs; prints and returns the largest mean loss of each, in dB.

    Raises:
        UsageError: a model that was not exported, or a processor that computes no graph in 8 bits.
    """
    if not adds_bytes_exactly():
        raise UsageError("this processor may saturate in 8 bits and computes in 32, so that no loss can be measured; "
                         "write the graphs on one with VNNI, or on ARM")
    losses = {}
    for name in arguments.names:
        folder = arguments.folder / name
        if not export_path(folder, PART).is_file():
            raise UsageError(f"{folder}: has no export; name a shipped model that python -m "
                             f"rlenhance.experiments.scripts.export_shipped writes one for")
        network = opened(folder, quantized=False)
        recorder = Recorder(network.graphs[PART], arguments.every)
        network.graphs[PART] = recorder
        for given, _, level in pairs(arguments, network, "train"):
            restored(network, given, level)
        quantize_part(folder, PART, recorder.feeds)
        networks = [opened(folder, quantized) for quantized in (False, True)]
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
            (folder / QUANTIZED.format(part=PART)).unlink()
            told += f": more than {arguments.most_loss:g} lost, not written"
        print(f"{name}: {told}", flush=True)
    write_sums(arguments.folder)
    return losses


def opened(folder: Path, quantized: bool) -> Any:
    """The exported network of a checkpoint, on onnxruntime."""
    return load(folder, read_config(folder), read_weights(folder), "onnxruntime", quantized=quantized)


def restored(network: Any, given: np.ndarray, level: float) -> np.ndarray:
    """The result of a denoiser, an enlarger, or a policy that measures the noise itself: (1, C, H, W)."""
    if hasattr(network, "denoise"):
        result: np.ndarray = network.denoise(given, level / 255)
    elif hasattr(network, "restore_unclamped"):
        result = network.restore_unclamped(given)
    else:
        result = network(given.clip(0, 1))
    return result


def pairs(arguments: Arguments, network: Any, part: str) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """What a network is given, (1, C, H, W), what is wanted, and the noise in 255ths (0: the picture is reduced)."""
    rng, cache = np.random.default_rng((arguments.seed, part == "val")), ImageCache()
    count = arguments.val_pictures if part == "val" else arguments.train_pictures
    for example in (example for data in arguments.data
                    for example in evenly_spread(getattr(open_clean(data), part), count)):
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

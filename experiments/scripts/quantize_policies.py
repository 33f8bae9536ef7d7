"""Write the graphs of shipped denoising policies in 8 bits, and measure what that costs:
`python -m experiments.scripts.quantize_policies rse-faces --data FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments.core.cli import run_cli
from experiments.scripts.export_shipped import write_sums
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import to_pixels, to_planes
from rlenhance.data import ImageCache, open_clean
from rlenhance.data.examples import evenly_spread
from rlenhance.engine.networks import QUANTIZED, load
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config
from rlenhance.hub.quantize import Recorder, quantize_part
from rlenhance.hub.weight_files import read_weights

#: Parts that are computed in 8 bits, and the outputs of each whose last convolution is not.
PARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"rse-faces": {"model": ()}}


@dataclass(frozen=True)
class Arguments:
    """Write graphs in 8 bits: the steps of their activations are measured on training pictures, and the loss of quality
    on validation pictures."""

    name: Annotated[str, tyro.conf.Positional]
    """rse-faces."""
    data: tuple[Path, ...]
    """Folders of clean pictures."""
    levels: tuple[float, ...] = (15.0, 30.0, 50.0)
    """Deviations of the noise, in 255ths."""
    train_pictures: int = 4
    """Whose inputs are recorded."""
    val_pictures: int = 8
    """On which the loss is measured."""
    crop: int = 160
    """Pixels along their middle."""
    most_loss: float = 0.05
    """Mean loss in dB above which nothing is written."""
    seed: int = 0
    """Of the noise."""
    folder: Path = shipped.FOLDER
    """Of the shipped models."""


def pairs(arguments: Arguments, part: str, count: int, grey: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noisy planes (1, 3, H, W) and the clean picture (H, W, 3) in [0, 1]."""
    rng, cache = np.random.default_rng((arguments.seed, part == "val")), ImageCache()
    for folder in arguments.data:
        for number, example in enumerate(evenly_spread(getattr(open_clean(folder), part), count)):
            clean = cache.load(example.target or example.image).astype(np.float32) / 255
            top, left = (max(0, (side - arguments.crop) // 2) for side in clean.shape[:2])
            clean = clean[top : top + arguments.crop, left : left + arguments.crop]
            clean = np.repeat(clean.mean(axis=2, keepdims=True), 3, axis=2) if grey else clean
            noise = rng.standard_normal((*clean.shape[:2], 1 if grey else 3)).astype(np.float32)
            level = arguments.levels[number % len(arguments.levels)] / 255
            yield to_planes((clean + level * noise).clip(0, 1)), clean


def main(arguments: Arguments) -> float:
    """Write the graphs, print and return the mean loss in dB.

    Raises:
        UsageError: another model, one that was not exported, or a loss above `most_loss`: then no graph is left.
    """
    if arguments.name not in PARTS:
        raise UsageError(f"name is {' or '.join(PARTS)}; got {arguments.name}")
    folder = arguments.folder / arguments.name
    config, weights = read_config(folder), read_weights(folder)

    def opened(quantized: bool) -> Any:
        network = load(folder, config, weights, "onnxruntime", quantized=quantized)
        if network is None:
            raise UsageError(f"{folder}: was not exported; python -m experiments.scripts.export_shipped does")
        return network

    network, grey = opened(False), config["channels"] == 1
    recorders = {part: Recorder(network.graphs[part], every=3) for part in PARTS[arguments.name]}
    network.graphs |= recorders
    for noisy, _ in pairs(arguments, "train", arguments.train_pictures, grey):
        network(noisy)
    for part, kept in PARTS[arguments.name].items():
        quantize_part(folder, part, recorders[part].feeds, kept)
    found = []
    for noisy, clean in pairs(arguments, "val", arguments.val_pictures, grey):
        found.append([10 * np.log10(1 / np.square(to_pixels(each(noisy), np.float32) - clean).mean())
                      for each in (opened(False), opened(True))])
    before, after = np.mean(found, axis=0)
    print(f"{arguments.name}: {before:.3f} dB, in 8 bits {after:.3f} dB ({len(found)} pictures)")
    if before - after > arguments.most_loss:
        for part in PARTS[arguments.name]:
            (folder / QUANTIZED.format(part=part)).unlink(missing_ok=True)
        raise UsageError(f"{arguments.name}: 8 bits lose {before - after:.3f} dB, more than {arguments.most_loss:g}; "
                         f"no graph was written")
    write_sums(arguments.folder)
    return float(before - after)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

"""Scores of networks that enlarge: `python -m research.upscale_scores --data DIR --models upscale RUN`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.hub.shipped import locate
from rlenhance.learning.data import (
    Downscale,
    Example,
    ImageCache,
    evenly_spread,
    load_super_resolution,
    open_super_resolution,
)
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import psnr, ssim
from rlenhance.learning.ops.image import to_array, to_tensor

_Enlarge = Callable[[Tensor], Tensor]
_RULES = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Arguments:
    """Score networks beside Lanczos and bicubic interpolation on photographs that were reduced, in 8 bits."""

    data: Path
    """A folder of good photographs."""
    models: tuple[str, ...] = ()
    """Shipped networks or runs; one of scale 4 makes 2 by the mean over 2x2 pixels."""
    scale: int = 4
    """2 or 4."""
    split: str = "test"
    """test, or val: to choose by."""
    sharp: float = 1.0
    """Share of the pictures that are reduced by antialiased bicubic interpolation; the others are blurred and noisy."""
    noise: float = 8.0
    """Of those, the largest standard deviation of the noise, in 255ths."""
    ensemble: bool = False
    """Also each network's mean over the eight turned and mirrored pictures."""
    limit: int = 0
    """Photographs at most (0: all)."""


def main(arguments: Arguments) -> dict[str, list[float]]:
    """Print the table; name of the row -> PSNR of each picture."""
    if arguments.scale not in (2, 4) or arguments.split not in ("val", "test"):
        raise UsageError(f"--scale is 2 or 4, --split val or test; got {arguments.scale}, {arguments.split}")
    examples: list[Example] = list(evenly_spread(
        open_super_resolution(arguments.data).parts[arguments.split], arguments.limit or None))
    if not examples:
        raise UsageError(f"{arguments.data}: no picture in the {arguments.split} split")
    rows: dict[str, _Enlarge] = {name: partial(_by_rule, rule, arguments.scale) for name, rule in _RULES.items()}
    for name in arguments.models:
        network = load_network(locate(name)).eval()
        if network.purpose != "upscale" or network.scale % arguments.scale:
            raise UsageError(f"--models {name}: does not enlarge {arguments.scale} times")
        rows[name] = partial(_by_network, network, arguments.scale)
        if arguments.ensemble:
            rows[f"{name}, eight turns"] = partial(_ensemble, rows[name])
    cache, downscale = ImageCache(), Downscale(arguments.scale, max_noise=arguments.noise, sharp=arguments.sharp)
    scores: dict[str, list[float]] = {name: [] for name in rows}
    others: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rows}
    for example in examples:
        batch = load_super_resolution(example, cache, downscale)
        assert batch.target is not None
        for name, enlarge in rows.items():
            begin = time.process_time()
            with torch.inference_mode():
                large = enlarge(batch.image)
            seconds = time.process_time() - begin
            large = (large.clamp(0, 1) * 255).round() / 255
            scores[name].append(psnr(large, batch.target).item())
            others[name].append((ssim(large, batch.target).item(), _overshoot(large, batch.target),
                                 seconds / (large[0, 0].numel() / 1e6)))
    scenes = [example.scene for example in examples]
    table = []
    for name, values in scores.items():
        gain = bootstrap_interval([a - b for a, b in zip(values, scores["lanczos"], strict=True)], scenes)
        similarity, overshoot, cost = np.mean(others[name], axis=0)
        table.append([name, f"{np.mean(values):.2f}", f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f})",
                      f"{similarity:.4f}", f"{overshoot:.2f}", f"{cost:.2f}"])
    print(f"{len(examples)} {arguments.split} pictures of {arguments.data.name}, scale {arguments.scale}\n")
    print("\n".join(markdown_table(["", "PSNR, dB", "dB over lanczos (95 %)", "SSIM", "overshoot, 255ths",
                                    "CPU s per megapixel of the result"], table)))
    return scores


def _by_rule(rule: Image.Resampling, scale: int, image: Tensor) -> Tensor:
    size = image.shape[-1] * scale, image.shape[-2] * scale
    return to_tensor(np.asarray(Image.fromarray(to_array(image)).resize(size, rule)))


def _by_network(network: torch.nn.Module, scale: int, image: Tensor) -> Tensor:
    large: Tensor = network(image)
    return F.avg_pool2d(large, large.shape[-1] // (image.shape[-1] * scale))


def _ensemble(enlarge: _Enlarge, image: Tensor) -> Tensor:
    """The mean over the eight turned and mirrored pictures."""
    results = []
    for turns in range(4):
        for mirrored in (False, True):
            turned = torch.rot90(image, turns, (2, 3))
            large = enlarge(turned.flip(3) if mirrored else turned)
            results.append(torch.rot90(large.flip(3) if mirrored else large, -turns, (2, 3)))
    return torch.stack(results).mean(dim=0)


def _overshoot(large: Tensor, target: Tensor) -> float:
    """Mean, in 255ths, of what lies beyond the brightest and darkest pixels of the original within two pixels."""
    highest, lowest = F.max_pool2d(target, 5, 1, 2), -F.max_pool2d(-target, 5, 1, 2)
    return 255 * ((large - highest).clamp(min=0) + (lowest - large).clamp(min=0)).mean().item()


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

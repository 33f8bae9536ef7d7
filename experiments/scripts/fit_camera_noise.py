"""Fit the noise estimate of processed files: `python -m experiments.scripts.fit_camera_noise --data D --pairs P`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.learning.data import Example, ImageCache, SimulatedCamera, as_jpeg, open_clean, open_dataset
from rlenhance.learning.data.camera_jpeg import align_pair
from rlenhance.ops.camera_noise import OFFSET, SMALLEST_SIDE, block_means, noise_statistics, perceptron

_KINDS = {"camera": 0.5, "even": 0.12, "clean": 0.2, "dark": 0.18}
_DARKEST = 8  # mean of a dark frame, in 255ths, below which a curve makes blotches of it
_GREY = 0.15  # share of the pictures that lose their colours


@dataclass(frozen=True)
class Arguments:
    """Photograph clean pictures with simulated cameras, and learn their noise from statistics of flat blocks."""

    data: Path
    """A folder of good pictures."""
    pairs: Path
    """A folder of pairs: dark frames beside their references."""
    out: Path = Path("runs/camera_noise")
    """Where statistics and the fitted weights go; statistics that are there are used again."""
    examples: int = 5400
    """Photographs of the training split."""
    validation: int = 390
    """Photographs of the validation split."""
    chunk: int = 30
    """Photographs whose statistics are stored together."""
    seconds: float = 1e9
    """Stop making photographs after this time; the next call goes on."""
    width: int = 24
    """Units of both hidden layers."""
    steps: int = 10_000
    """Of the optimizer."""
    clean_weight: float = 2.0
    """Weight in the loss of pictures without noise: what is seen there costs detail."""
    seed: int = 0


@dataclass(frozen=True)
class Pictures:
    """Clean pictures and real pairs of a split."""

    clean: Sequence[Example]
    pairs: Sequence[Example]
    cache: ImageCache

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A collage of two or four pictures, one picture, or a reference of the pairs."""
        kind = rng.random()
        if kind < 0.5:
            return np.vstack([np.hstack([self._wide(rng)[:320, :480] for _ in range(2)])
                              for _ in range(1 + (rng.random() < 0.3))])
        return self._wide(rng) if kind < 0.75 else self.pair(rng)[1]

    def pair(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A dark frame and its reference."""
        dark, reference = self.pairs[int(rng.integers(len(self.pairs)))].load(self.cache)
        assert dark is not None and reference is not None
        return dark, reference

    def _wide(self, rng: np.random.Generator) -> np.ndarray:
        picture = self.clean[int(rng.integers(len(self.clean)))].load(self.cache)[1]
        assert picture is not None
        return picture if picture.shape[1] > picture.shape[0] else np.ascontiguousarray(picture.transpose(1, 0, 2))


def photograph(kind: str, pictures: Pictures, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and the same without noise but with the same coding: (H, W, 3) uint8 each."""
    if kind == "dark":
        dark, reference = pictures.pair(rng)
        while dark.mean() < _DARKEST:
            dark, reference = pictures.pair(rng)
        lift, wanted = align_pair(dark, reference)
        return _eight_bit(lift(dark.astype(np.float32) / 255)), _eight_bit(wanted)
    picture = pictures.draw(rng)
    if kind == "camera":
        camera = SimulatedCamera().draw(rng)
        if picture.size < 6e5 and rng.random() < 0.5:
            camera = replace(camera, reduction=1)
        clean = camera.photograph(picture, None)
        return (clean if rng.random() < 0.15 else camera.photograph(picture, rng)), clean
    if rng.random() < 0.5:
        picture = np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    noisy = picture
    if kind == "even":
        deviation = np.exp(rng.uniform(0, np.log(40)))
        noisy = np.rint(picture + deviation * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality, halved = int(rng.uniform(70, 99)), bool(rng.random() < 0.6)
        noisy, picture = as_jpeg(noisy, quality, halved), as_jpeg(picture, quality, halved)
    return noisy, picture


def examples_of(pictures: Pictures, seeds: range) -> dict[str, np.ndarray]:
    """Statistics, deviations in 255ths and kinds of the bins of photographs, one for each seed."""
    rows: dict[str, list[np.ndarray]] = {"statistics": [], "deviations": [], "kinds": [], "weights": []}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
        noisy, clean = photograph(kind, pictures, rng)
        if rng.random() < _GREY:
            noisy, clean = (np.repeat(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
                            for part in (noisy, clean))
        seen = noise_statistics(noisy)
        if not seen.bins:
            raise UsageError(f"--data and --pairs need pictures of at least {2 * SMALLEST_SIDE} pixels along each side")
        energy = block_means(((noisy.astype(np.float32) - clean) ** 2).mean(axis=2))
        flat = seen.bins
        if kind == "dark":  # the frames of a pair differ in edges: only smooth places show the noise
            detail = block_means(cv2.absdiff(clean, cv2.GaussianBlur(clean, (0, 0), 3)).mean(axis=2).astype(np.float32))
            flat = [part[np.argsort(detail[part])[: max(8, len(part) // 3)]] for part in seen.bins]
        rows["statistics"].append(seen.values)
        rows["deviations"].append(np.sqrt([energy[part].mean() for part in flat]))
        rows["kinds"].append(np.full(len(flat), "clean" if noisy is clean or (noisy == clean).all() else kind))
        rows["weights"].append(np.full(len(flat), 1 / len(flat)))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def fit(found: dict[str, np.ndarray], width: int, steps: int, seed: int,
        clean_weight: float = 1.0) -> dict[str, np.ndarray]:
    """Weights of a perceptron with two hidden layers, for `estimate_camera_noise`: Huber's loss of the logarithm, the
    statistics slightly noisy."""
    mean, scale = found["statistics"].mean(axis=0), found["statistics"].std(axis=0) + 0.1
    inputs = torch.from_numpy((found["statistics"] - mean) / scale).float()
    wanted = torch.from_numpy(np.log2(found["deviations"] + OFFSET)).float()
    weights = torch.from_numpy(found["weights"] * np.where(found["kinds"] == "clean", clean_weight, 1)).float()
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(inputs.shape[1], width), torch.nn.Linear(width, width), torch.nn.Linear(width, 1)]
    network = torch.nn.Sequential(layers[0], torch.nn.SiLU(), layers[1], torch.nn.SiLU(), layers[2])
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        drawn = torch.randint(len(inputs), (256,))
        output = network(inputs[drawn] + 0.1 * torch.randn(256, inputs.shape[1]))[:, 0]
        loss = torch.nn.functional.smooth_l1_loss(output, wanted[drawn], reduction="none", beta=0.5)
        optimizer.zero_grad()
        (weights[drawn] * loss).mean().backward()
        optimizer.step()
        schedule.step()
    fitted = {"mean": mean, "scale": scale}
    for number, layer in enumerate(layers):
        fitted |= {f"weight{number}": layer.weight.detach().numpy().T, f"bias{number}": layer.bias.detach().numpy()}
    return {name: values.astype(np.float16) for name, values in fitted.items()}


def collect(arguments: Arguments, split: str, count: int, until: float) -> dict[str, np.ndarray]:
    """Statistics of a split; those of earlier calls are read."""
    pictures: Pictures | None = None
    chunks = []
    first = {"train": 0, "val": 1_000_000}[split] + 10_000_000 * arguments.seed
    for start in range(0, count, arguments.chunk):
        place = arguments.out / f"{split}-{first + start}-{arguments.chunk}.npz"
        if not place.exists():
            if time.monotonic() > until:
                break
            pictures = pictures or _open(arguments, split)
            made = examples_of(pictures, range(first + start, first + start + arguments.chunk))
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(place, **made)  # type: ignore[arg-type]
        with np.load(place, allow_pickle=False) as stored:
            chunks.append({name: stored[name] for name in stored.files})
    if not chunks:
        raise UsageError(f"no photographs of the {split} split in --seconds {arguments.seconds:g}: give it more")
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def main(arguments: Arguments) -> dict[str, dict[str, float]]:
    """Fit, store camera_noise.npz, print and give the validation errors: kind -> score -> value."""
    until = time.monotonic() + arguments.seconds
    val = collect(arguments, "val", arguments.validation, until)
    train = collect(arguments, "train", arguments.examples, until)
    fitted = fit(train, arguments.width, arguments.steps, arguments.seed, arguments.clean_weight)
    place = arguments.out / "camera_noise.npz"
    with place.open("wb") as stream:
        np.savez_compressed(stream, **fitted)  # type: ignore[arg-type]
    rows = score(np.maximum(np.exp2(perceptron(fitted, val["statistics"])) - OFFSET, 0), val)
    print(f"{len(train['weights'])} bins to learn from, {len(val['weights'])} to validate on -> {place}")
    print(text_table(rows))
    return rows


def score(estimates: np.ndarray, found: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of each kind: bins, mean deviation and estimate, the 95th percentile of the estimates in 255ths; mean and mean
    absolute error in octaves, of deviations above 1."""
    rows = {}
    for kind in sorted(set(found["kinds"])):
        there = found["kinds"] == kind
        wanted, seen = found["deviations"][there], estimates[there]
        error = np.log2(seen + OFFSET) - np.log2(wanted + OFFSET)
        rows[str(kind)] = {"bins": float(there.sum()), "made": float(wanted.mean()), "seen": float(seen.mean()),
                           "seen_95": float(np.quantile(seen, 0.95)), "bias": float(error.mean()),
                           "error": float(np.abs(error).mean())}
    return rows


def _open(arguments: Arguments, split: str) -> Pictures:
    clean, pairs = open_clean(arguments.data).parts[split], open_dataset(arguments.pairs).parts[split]
    if not clean or not pairs:
        raise UsageError(f"--data and --pairs need pictures in the {split} split")
    return Pictures(clean, pairs, ImageCache())


def _eight_bit(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

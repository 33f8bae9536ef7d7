"""Low light with and without the noise: `python -m research.denoise_lowlight --data DIR`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.experiments.tasks.lowlight_baselines import small_steps, steps_to_mean
from rlenhance.io import list_photos, read
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Darken, ImageCache, load_split, open_dataset, sample_photographs, validate_splits
from rlenhance.learning.metrics.full_reference import (
    detail_kept,
    gt_mean_psnr,
    newly_clipped,
    psnr,
    relative_contrast,
    sharpness_ratio,
    ssim,
)
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.ops.noise_estimation import estimate_sigma
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer

#: A way to enhance: (H, W, 3) uint8 -> the same.
Way = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Arguments:
    """Enhance dark pictures with made-up sensor noise, and as they are, with and without `--denoise`."""

    data: Path | None = None
    """A folder of pairs; its test split is scored, or its validation split (default: the bundled photographs)."""
    split: str = "test"
    """train, val or test; one that is empty becomes val."""
    limit: int = 0
    """Score that many pictures, evenly spread over the split (0: all)."""
    model: str = ""
    """The policy to enhance with (default: the shipped one)."""
    denoiser: str = ""
    """The denoiser (default: the shipped one)."""
    denoise: tuple[float, ...] = (0.5, 1.0)
    """Strengths of the denoiser, a row each."""
    stop_at: float = 0.0
    """Rows of the rule that brightens until the mean reaches this level, with and without its noise (0: none)."""
    noisy: bool = True
    """Score them with made-up sensor noise as well, and the policy with its noise taken as if it were even."""
    shot: float = 2e-4
    """Variance of the made-up noise per unit of light, in units of full scale."""
    read: float = 5e-4
    """Its standard deviation without light."""
    rellie: Path | None = None
    """A run that `rlenhance.experiments.scripts.import_weights rellie` made: rows of its own pipeline."""
    ffdnet: Path | None = None
    """A run that `rlenhance.experiments.scripts.import_weights ffdnet` made: the denoiser of that pipeline."""
    plain: Path | None = None
    """A folder of photographs without reference: a table of their own."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the tables there too, as JSON."""


def main(arguments: Arguments) -> dict[str, Any]:
    """Score, print, and give the tables: `noisy`, `clean` and `plain`, way -> score -> mean."""
    splits, _ = validate_splits(open_dataset(arguments.data) if arguments.data else sample_photographs(), ImageCache())
    if arguments.split not in splits.parts:
        raise UsageError(f"--split is one of {', '.join(splits.parts)}; got {arguments.split!r}")
    examples = splits.parts[arguments.split] or splits.val
    if not splits.has_references:
        raise UsageError(f"{splits.source}: has no references; name it with --plain")
    ways = make_ways(arguments)
    pictures = load_split(examples, ImageCache(0), limit=arguments.limit or None)
    sensor = Darken(1.0, 1.0, arguments.shot, arguments.read)
    tables: dict[str, Any] = {"noisy": score_pairs(ways, pictures, sensor)} if arguments.noisy else {}
    tables["clean"] = score_pairs(ways, pictures, None)
    if arguments.plain:
        photographs = [read(path).pixels for path in list_photos(arguments.plain)]
        tables["plain"] = score_plain(ways, photographs[: arguments.limit or None])
    for name, rows in tables.items():
        print(f"\n{_TITLES[name].format(len(pictures))}\n{text_table(rows)}", flush=True)
    if arguments.out:
        about = {"pictures": len(pictures), "source": splits.source, "shot": arguments.shot, "read": arguments.read}
        write_atomically(arguments.out, json.dumps({**about, **tables}, indent=1).encode())
    return tables


_TITLES = {"noisy": "{} dark pictures with made-up sensor noise", "clean": "the same as they are",
           "plain": "photographs without reference"}
_ALONE = ("without", "rellie", "stop")  # what denoises nothing


def make_ways(arguments: Arguments) -> dict[str, Way]:
    """The compared ways by name; "without" is the policy alone."""
    enhancer = Enhancer(arguments.model or None, denoise=0.0, white="keep")
    ways: dict[str, Way] = {"without": enhancer, "auto": enhancer.with_settings(denoise=None)}
    for share in arguments.denoise:
        cleaner = Enhancer(arguments.model or None, denoise=share, white="keep")
        cleaner.denoiser = Denoiser(arguments.denoiser or None, strength=share)
        ways[f"denoise {share:g}"] = cleaner
    if arguments.noisy:
        even = Denoiser(arguments.denoiser or None)
        ways["even noise"] = lambda picture: evenly(even, enhancer(picture))
    if arguments.stop_at:
        ways["stop"] = lambda picture: stopped(picture, arguments.stop_at)[0]
        for share in arguments.denoise:
            ways[f"stop, denoise {share:g}"] = partial(_stopped_clean, arguments.stop_at, Denoiser(
                arguments.denoiser or None, strength=share))
    if arguments.rellie:
        released = Enhancer(arguments.rellie, white="keep")
        ways["rellie"] = released
        if arguments.ffdnet:
            ways["rellie + ffdnet"] = Enhancer(arguments.rellie, denoiser=arguments.ffdnet, white="keep")
        ours = Denoiser(arguments.denoiser or None)
        ways["rellie + ours"] = lambda picture: ours.denoise_enhanced(picture, released(picture), None)
    return ways


def stopped(picture: np.ndarray, level: float) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """`stop_at_mean`, and the curve that this was for the picture, for others of any size."""
    steps = steps_to_mean(to_tensor(picture), level)

    def curve(values: np.ndarray) -> np.ndarray:
        return to_array(small_steps(to_tensor(values), steps), values.dtype.type)

    return curve(picture), curve


def _stopped_clean(level: float, denoiser: Denoiser, picture: np.ndarray) -> np.ndarray:
    return denoiser.denoise_enhanced(picture, *stopped(picture, level))


def evenly(denoiser: Denoiser, picture: np.ndarray) -> np.ndarray:
    """Denoised by one number for the whole picture: what can be done without the curve's derivative."""
    return denoiser.clean(picture, np.full((1, 1, 1, 1), estimate_sigma(picture), np.float32), camera_jpeg=True)


def score_pairs(ways: Mapping[str, Way], pictures: Sequence[Any], sensor: Darken | None) -> dict[str, dict[str, float]]:
    """Mean scores over pictures with references.

    Args:
        sensor: makes the noise, the same at every call; None: the pictures as they are.

    Returns:
        Way -> psnr, gt_mean_psnr, ssim, sharpness beside the reference, percent newly clipped; `detail`, how much of
        the detail is there that the way without denoising shows in the picture without noise; `noise`, what is left
        of it in 255ths.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number, batch in enumerate(pictures):
        dark = to_array(batch.image)
        seen = sensor(dark, np.random.default_rng(number)) if sensor else dark
        clean = {name: to_tensor(ways[name](dark)) for name in _ALONE if name in ways}
        for name, way in ways.items():
            output = to_tensor(way(seen))
            rows[name].append({
                "psnr": psnr(output, batch.target).item(), "gt_mean_psnr": gt_mean_psnr(output, batch.target).item(),
                "ssim": ssim(output, batch.target).item(),
                "sharpness": sharpness_ratio(output, batch.target).item(),
                "clipped": 100 * newly_clipped(output, batch.image).item(),
                "detail": detail_kept(output, _beside(name, clean)).item(),
                "noise": 255 * estimate_sigma(to_array(output))})
    return {name: _means(found) for name, found in rows.items()}


def _beside(name: str, alone: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The result without denoising to which a way adds."""
    return alone[next((start for start in ("rellie", "stop") if name.startswith(start)), "without")]


def score_plain(ways: Mapping[str, Way], photographs: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean numbers of photographs without reference: `noise` that is left in 255ths, `detail` beside the policy alone,
    relative contrast and mean brightness."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for picture in photographs:
        alone = {name: to_tensor(ways[name](picture)) for name in _ALONE if name in ways}
        for name, way in ways.items():
            output = alone[name] if name in alone else to_tensor(way(picture))
            rows[name].append({
                "noise": 255 * estimate_sigma(to_array(output)),
                "detail": detail_kept(output, _beside(name, alone)).item(),
                "contrast": relative_contrast(output).item(), "mean": output.mean().item()})
    return {name: _means(found) for name, found in rows.items()}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

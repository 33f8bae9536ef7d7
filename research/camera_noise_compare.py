"""What `rlenhance denoise` makes of camera noise: `python -m research.camera_noise_compare`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.tasks.denoise_baselines import bm3d, has_bm3d
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import ImageCache, SimulatedCamera, as_jpeg, evenly_spread, open_clean, open_dataset
from rlenhance.learning.data.camera_jpeg import align_pair
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.seen_noise import see_noise

#: (H, W, 3) uint8 -> the same.
Way = Callable[[np.ndarray], np.ndarray]
_DARKEST = 8  # mean of a dark frame, in 255ths, below which a curve makes blotches of it
_SHOWN, _SIDE = 6, 192  # pictures of a sheet, and the side of what is taken from their middle
_CAMERAS = {
    "camera, 8 bits": SimulatedCamera(jpeg_prob=0), "camera, JPEG 95, 4:4:4": SimulatedCamera(
        jpeg_prob=1, quality=(95, 95), subsampling_prob=0),
    "camera, JPEG 85, 4:2:0": SimulatedCamera(jpeg_prob=1, quality=(85, 85), subsampling_prob=1)}


@dataclass(frozen=True)
class Arguments:
    """Score denoising of photographs of simulated cameras, of brightened dark frames, and of clean pictures."""

    data: Path | None = None
    """A folder of good pictures (default: the bundled photographs)."""
    pairs: Path | None = None
    """A folder of pairs: dark frames beside their references; one frame of each scene."""
    split: str = "test"
    """train, val or test; one that is empty becomes val."""
    limit: int = 0
    """Take that many pictures of each kind, evenly spread (0: all)."""
    models: tuple[str, ...] = ()
    """Denoisers that get a row each, beside the default."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Write the table there as JSON, and a contact sheet of crops beside it: photograph, result, means, reference."""


def main(arguments: Arguments) -> dict[str, dict[str, list[Any]]]:
    """Score, print, and give PSNR picture by picture: kind -> way -> numbers."""
    ours: dict[str, Way] = {"input": lambda photograph: photograph, "rlenhance denoise": Denoiser(),
                            **{name: Denoiser(name) for name in arguments.models}}
    others: dict[str, Way] = {"non-local means (OpenCV, h = 3)": non_local_means}
    if has_bm3d():
        others["BM3D at the level that was seen"] = block_matching
    found: dict[str, dict[str, list[Any]]] = {}
    shown: list[np.ndarray] = []
    for kind, scene, photograph, reference in photographs(arguments):
        ways = ours if kind.startswith("clean") else ours | others
        results = {name: way(photograph) for name, way in ways.items()}
        scores = found.setdefault(kind, {"scene": [], **{name: [] for name in ways}})
        scores["scene"].append(scene)
        for name, result in results.items():
            scores[name].append(psnr(result, reference))
        if len(scores["scene"]) <= _SHOWN and not kind.startswith("clean"):
            strip = [*results.values(), np.rint(255 * reference).astype(np.uint8)]
            shown.append(np.hstack([_middle(part) for part in strip]))
    print("\n".join(table(found)))
    if arguments.out:
        write_atomically(arguments.out, json.dumps(found, indent=1).encode())
        write(np.vstack(shown), arguments.out.with_suffix(".png"))
    return found


def photographs(arguments: Arguments) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Kind, scene, photograph (H, W, 3) uint8, and reference, float32 in [0, 1]."""
    cache = ImageCache()
    parts = open_clean(arguments.data).parts
    if arguments.split not in parts:
        raise UsageError(f"--split is one of {', '.join(parts)}; got {arguments.split!r}")
    examples = evenly_spread(parts[arguments.split] or parts["val"], arguments.limit)
    clean = {example.scene: example.load(cache)[1] for example in examples}
    for kind, camera in _CAMERAS.items():
        for number, (scene, picture) in enumerate(clean.items()):
            assert picture is not None
            yield kind, scene, *camera(picture, np.random.default_rng(number))
    if arguments.pairs:
        pairs = open_dataset(arguments.pairs).parts
        scenes = {example.scene: example for example in pairs[arguments.split] or pairs["val"]}
        for scene, example in evenly_spread(list(scenes.items()), arguments.limit):
            dark, reference = example.load(cache)
            if dark is None or reference is None or dark.mean() < _DARKEST:
                continue
            lift, wanted = align_pair(dark, reference)
            yield "dark frames, brightened", scene, np.rint(255 * lift(dark.astype(np.float32) / 255)).clip(
                0, 255).astype(np.uint8), wanted
    for quality in (0, 95, 85):
        for scene, picture in clean.items():
            assert picture is not None
            yield f"clean, {f'JPEG {quality}' if quality else '8 bits'}", scene, as_jpeg(
                picture, quality) if quality else picture, picture.astype(np.float32) / 255


def non_local_means(photograph: np.ndarray) -> np.ndarray:
    """OpenCV's, at its default strength."""
    return np.asarray(cv2.fastNlMeansDenoisingColored(photograph, None, 3, 3, 7, 21))


def block_matching(photograph: np.ndarray) -> np.ndarray:
    """BM3D, given the noise that the estimate measures."""
    return to_array(bm3d(to_tensor(photograph), max(1.0, see_noise(photograph).level)).clamp(0, 1))


def psnr(result: np.ndarray, reference: np.ndarray) -> float:
    """PSNR in dB of (H, W, 3) uint8 to float in [0, 1]; equal pictures have 99."""
    error = float(np.mean((result.astype(np.float32) / 255 - reference) ** 2))
    return min(99.0, -10 * np.log10(max(error, 1e-12)))


def table(found: dict[str, dict[str, list[Any]]]) -> list[str]:
    """PSNR in dB, and the gain over the input with its 95 % bootstrap interval over scenes; of clean pictures in
    8 bits, which are their own reference, the share that is changed."""
    rows = []
    for kind, scores in found.items():
        before = np.array(scores["input"])
        cells = [f"{kind} ({len(before)})", f"{before.mean():.2f}"]
        for name in list(scores)[2:]:
            gains = np.array(scores[name]) - before
            if before.min() == 99:
                changed = np.array(scores[name]) < 99
                lowest = f", {np.array(scores[name])[changed].mean():.1f} dB" if changed.any() else ""
                cells.append(f"{100 * changed.mean():.0f} % changed{lowest}")
            else:
                span = bootstrap_interval(list(gains), scores["scene"])
                cells.append(f"{gains.mean():+.2f} ({span.low:+.2f} to {span.high:+.2f}), worst {gains.min():+.2f}")
        rows.append(cells)
    names = list(next(iter(found.values())))[2:]
    return markdown_table(["photographs", "input", *names], [row + [""] * (len(names) + 2 - len(row)) for row in rows])


def _middle(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture, mirrored where it is smaller: (_SIDE, _SIDE, 3)."""
    height, width = (min(_SIDE, side) for side in picture.shape[:2])
    top, left = ((whole - part) // 2 for whole, part in zip(picture.shape[:2], (height, width), strict=True))
    part = picture[top : top + height, left : left + width]
    return np.asarray(cv2.copyMakeBorder(part, 0, _SIDE - height, 0, _SIDE - width, cv2.BORDER_REFLECT))


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

"""Good pictures in SIDD's layout, with a sensor's noise: `python -m research.sidd_layout DIR --out DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import write
from rlenhance.learning.data import Darken, Example, ImageCache, open_clean

_CAMERAS = ("S6", "GP", "N6", "G4", "IP")  # as SIDD names them; here they differ in the exposure alone
_EXPOSURES = (1 / 8, 1 / 12, 1 / 16, 1 / 24, 1 / 32)


def main(data: Annotated[Path, tyro.conf.Positional], out: Path, scenes: int = 40, blocks: int = 8, side: int = 256,
         seed: int = 0) -> Path:
    """Make pairs of noisy and clean pictures, to try what learns from SIDD without its 12 gigabytes.

    A picture is under-exposed with shot and read noise and made bright again, as a high ISO setting does.

    Args:
        data: A folder of good pictures, or of pairs, whose references are taken; those of its test split become
            the blocks.
        out: The folder to make.
        scenes: Pictures at most to make pairs of, each a scene with one instance.
        blocks: Pictures at most to cut validation blocks from.
        side: Reduce pictures to this longer side first: takes the traces of JPEG away.
        seed: Of the noise.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out}: exists and holds something; choose another --out")
    if min(scenes, blocks, side // 64) < 1:
        raise UsageError(f"--scenes and --blocks are at least 1, --side 64; got {scenes}, {blocks} "
                         f"and {side}")
    splits, cache = open_clean(data), ImageCache(max_side=side)
    rng = np.random.default_rng(seed)
    learned = [*splits.val, *splits.train][:scenes]
    for number, example in enumerate(learned, 1):
        camera = number % len(_CAMERAS)
        clean = _good(example, cache)
        place = out / "Data" / f"{number:04d}_{number:03d}_{_CAMERAS[camera]}_01600_00100_5500_N"
        write(clean, place / f"{number:04d}_GT_SRGB_010.PNG")
        write(with_sensor_noise(clean, _EXPOSURES[camera], rng), place / f"{number:04d}_NOISY_SRGB_010.PNG")
    held = splits.test[:blocks]
    if held:
        _write_blocks([_good(example, cache) for example in held], out, rng)
    print(f"{out}: {len(learned)} pairs, blocks of {len(held)} pictures; learn from them with\n"
          f"  python -m rlenhance.experiments.rse_train sidd --train_files_path {out}")
    return out


def with_sensor_noise(picture: np.ndarray, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 taken with so little light, and made as bright again: (H, W, 3) uint8."""
    dark = Darken(exposure, exposure)(picture, rng)
    light = linear_from_srgb(dark.astype(np.float32) / 255) / np.float32(exposure)
    return np.rint(srgb_from_linear(light.clip(0, 1)) * 255).astype(np.uint8)


def _good(example: Example, cache: ImageCache) -> np.ndarray:
    assert example.target is not None
    return cache.load(example.target)


def _write_blocks(pictures: Sequence[np.ndarray], out: Path, rng: np.random.Generator) -> None:
    """Four blocks of each picture, half its shorter side wide, as the two .mat files hold them."""
    from scipy.io import savemat

    side = min(min(picture.shape[:2]) for picture in pictures) // 2
    clean = np.stack([np.stack([cv2.resize(picture, (2 * side, 2 * side), interpolation=cv2.INTER_AREA)[
        row : row + side, column : column + side] for row in (0, side) for column in (0, side)])
        for picture in pictures])
    noisy = np.stack([np.stack([with_sensor_noise(block, _EXPOSURES[number % len(_EXPOSURES)], rng)
                                for block in row]) for number, row in enumerate(clean)])
    for name, values in (("ValidationGtBlocksSrgb", clean), ("ValidationNoisyBlocksSrgb", noisy)):
        savemat(out / f"{name}.mat", {name: values}, do_compression=True)


if __name__ == "__main__":
    sys.exit(run_cli(main))

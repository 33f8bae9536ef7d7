"""Good pictures in SIDD's layout, with a sensor's noise: `python -m research.sidd_layout DIR --out DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Arguments:
    """Make pairs of noisy and clean pictures, to try what learns from SIDD without its 12 gigabytes.

    A picture is under-exposed with shot and read noise and made bright again, as a high ISO setting does.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A folder of good pictures, or of pairs, whose references are taken; those of its test split become the blocks."""
    out: Path
    """The folder to make."""
    scenes: int = 40
    """Pictures at most to make pairs of, each a scene with one instance."""
    blocks: int = 8
    """Pictures at most to cut validation blocks from."""
    side: int = 256
    """Reduce pictures to this longer side first: takes the traces of JPEG away."""
    seed: int = 0
    """Of the noise."""


def main(arguments: Arguments) -> Path:
    """Write the folder, and give it back."""
    if arguments.out.exists() and any(arguments.out.iterdir()):
        raise UsageError(f"{arguments.out}: exists and holds something; choose another --out")
    if min(arguments.scenes, arguments.blocks, arguments.side // 64) < 1:
        raise UsageError(f"--scenes and --blocks are at least 1, --side 64; got {arguments.scenes}, {arguments.blocks} "
                         f"and {arguments.side}")
    splits, cache = open_clean(arguments.data), ImageCache(max_side=arguments.side)
    rng = np.random.default_rng(arguments.seed)
    learned = [*splits.val, *splits.train][: arguments.scenes]
    for number, example in enumerate(learned, 1):
        camera = number % len(_CAMERAS)
        clean = _good(example, cache)
        place = arguments.out / "Data" / f"{number:04d}_{number:03d}_{_CAMERAS[camera]}_01600_00100_5500_N"
        write(clean, place / f"{number:04d}_GT_SRGB_010.PNG")
        write(with_sensor_noise(clean, _EXPOSURES[camera], rng), place / f"{number:04d}_NOISY_SRGB_010.PNG")
    held = splits.test[: arguments.blocks]
    if held:
        _write_blocks([_good(example, cache) for example in held], arguments.out, rng)
    print(f"{arguments.out}: {len(learned)} pairs, blocks of {len(held)} pictures; learn from them with\n"
          f"  python -m rlenhance.experiments.rse_train sidd --train_files_path {arguments.out}")
    return arguments.out


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
    sys.exit(run_cli(main, Arguments))

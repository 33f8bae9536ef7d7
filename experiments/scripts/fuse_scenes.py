"""References that hold windows and rooms: `python -m experiments.scripts.fuse_scenes DIR --out DIR`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import read, write
from rlenhance.learning.data.datasets import examples_in
from rlenhance.learning.ops.exposure_fusion import brighten, fuse
from rlenhance.learning.ops.image import to_array, to_tensor

_STOPS = (1.0, 4.0)  # range of the under-exposure of `darker` frames
_QUALITY = 92  # of their JPEG coding


@dataclass(frozen=True)
class Arguments:
    """Make pairs whose references keep highlights, from exposure stacks.

    The reference of an exposure stack often burns its windows; a shorter exposure of the same scene holds them. All
    dark frames of a scene and its reference are fused by exposure (Mertens et al. 2007), and the new reference is a
    blend of both, brightened part of the way to the mean of the old one.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A folder of pairs, low/ and high/, with scenes in the names (s012_0034.jpg)."""
    out: Path
    """The folder to make; its scenes fall into the same splits."""
    share: float = 0.5
    """Share of the fused picture in the blend, in [0, 1]."""
    level: float = 0.0
    """Part of the way to the mean of the old reference, in [0, 1]."""
    darker: float = 0.0
    """Share of the scenes, in [0, 1], whose darkest frame is added under-exposed by one to four stops more, coded anew:
    frames that hold only a few values above black."""
    seed: int = 0
    """Of the scenes and their under-exposures."""


def main(arguments: Arguments) -> None:
    """Make the folder.

    Raises:
        UsageError: no pairs, a share or a level beyond [0, 1], or the folder exists.
    """
    for name in ("share", "level", "darker"):
        if not 0 <= getattr(arguments, name) <= 1:
            raise UsageError(f"{name} lies in [0, 1]; got {getattr(arguments, name)}")
    if arguments.out.exists():
        raise UsageError(f"{arguments.out} exists: give a folder that does not")
    pairs, _ = examples_in(arguments.data)
    scenes: dict[str, list[tuple[Path, Path]]] = {}
    for pair in pairs:
        if not isinstance(pair.image, Path) or not isinstance(pair.target, Path):
            raise UsageError(f"{arguments.data} has no references: use pairs (low/ and high/)")
        scenes.setdefault(pair.scene, []).append((pair.image, pair.target))
    generator = np.random.default_rng(arguments.seed)
    for folder in ("low", "high"):
        (arguments.out / folder).mkdir(parents=True)
    for members in scenes.values():
        _make_scene(members, arguments, generator)
    print(f"{arguments.out}: {len(pairs)} frames of {len(scenes)} scenes")


def _make_scene(members: Sequence[tuple[Path, Path]], arguments: Arguments, generator: np.random.Generator) -> None:
    """The frames of a scene, and their new references.

    Args:
        members: each frame and its reference.
    """
    frames = sorted(((read(image).pixels, image, target) for image, target in members), key=lambda one: one[0].mean())
    made: dict[Path, np.ndarray] = {}
    for _, image, target in frames:
        if target not in made:
            stack = [to_tensor(pixels) for pixels, _, _ in frames]
            made[target] = _reference([*stack, to_tensor(read(target).pixels)], arguments)
        shutil.copyfile(image, arguments.out / "low" / image.name)
        write(made[target], arguments.out / "high" / f"{image.stem}.png")
    pixels, image, target = frames[0]
    if generator.random() < arguments.darker:
        factor = 2.0 ** -generator.uniform(*_STOPS)
        dark = np.round(srgb_from_linear(linear_from_srgb(pixels / 255.0) * factor) * 255).astype(np.uint8)
        cv2.imwrite(str(arguments.out / "low" / f"{image.stem}_darker.jpg"), dark[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        write(made[target], arguments.out / "high" / f"{image.stem}_darker.png")


def _reference(stack: Sequence[torch.Tensor], arguments: Arguments) -> np.ndarray:
    """The blend of the last picture of a stack and the fused stack: (H, W, 3) uint8."""
    plain = stack[-1]
    blend = torch.lerp(plain, fuse(stack), arguments.share)
    below = (plain.mean() - blend.mean()).clamp(min=0)
    if below > 0:
        blend = brighten(blend, float(blend.mean() + arguments.level * below))
    return to_array(blend, np.uint8)


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

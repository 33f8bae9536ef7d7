"""How often `rlenhance complete` takes a dark photograph for one with holes, and how many true holes it finds.

    python -m research.auto_mask --dark DIR DIR --holes BEDROOMS
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rlenhance.cli.main import main as rlenhance
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import read
from rlenhance.io.discovery import iter_photos
from rlenhance.ops.masks import mask_from_difference
from rlenhance.pipelines.complete import AUTO, to_mask

_SAME = 0.75  # intersection over union from which two masks show one hole


@dataclass(frozen=True)
class Arguments:
    """Count what `complete` and `complete --auto-mask` take for holes."""

    dark: tuple[Path, ...] = ()
    """Folders of dark photographs without holes."""
    holes: Path | None = None
    """Folder of pairs: occluded_images/occluded_NAME and original_images/NAME, a black rectangle in each."""


def main(arguments: Arguments) -> dict[str, int]:
    """Count, print and return: numbers of pictures by what they are."""
    counts: dict[str, int] = {}
    if arguments.dark:
        dark = [path for folder in arguments.dark for path in iter_photos(folder, recursive=False, exclude=None)]
        counts |= {"dark": len(dark), "written without a mask": written(dark),
                   "written with --auto-mask": written(dark, "--auto-mask")}
    if arguments.holes:
        counts |= true_holes(arguments.holes)
    if not counts:
        raise UsageError("nothing to count: name folders with --dark and --holes")
    print("\n".join(f"{count:6d} {name}" for name, count in counts.items()), flush=True)
    return counts


def written(photos: Iterable[Path], *options: str) -> int:
    """Number of results of `rlenhance complete` for photographs."""
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for number, photo in enumerate(photos):  # each apart, so that a refusal stops no other
            rlenhance(["complete", str(photo), "-o", f"{folder}/{number}.png", "-m", "laplace", "-q", *options])
        return sum(1 for _ in Path(folder).iterdir())


def true_holes(folder: Path) -> dict[str, int]:
    """Counts of pairs, of their holes that `--auto-mask` finds, and of originals in which it finds one."""
    pairs = found = false = 0
    for path in iter_photos(folder / "occluded_images", recursive=False, exclude=None):
        occluded = read(path).pixels
        original = read(folder / "original_images" / path.name.removeprefix("occluded_")).pixels
        truth, seen = mask_from_difference(occluded, original), find(occluded)
        pairs += 1
        found += seen is not None and bool((seen & truth).sum() >= _SAME * (seen | truth).sum())
        false += find(original) is not None
    return {"true holes": pairs, "found": found, "found in the originals, where there is none": false}


def find(picture: np.ndarray) -> np.ndarray | None:
    """The hole that is found in a picture (H, W, 3), or None."""
    try:
        return to_mask(AUTO, picture)
    except UsageError:
        return None


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

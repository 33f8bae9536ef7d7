"""Compare what fills holes on the same pictures: `python -m experiments.complete_compare --models RUN ...`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from experiments.core.bootstrap import Interval, bootstrap_interval
from experiments.core.cli import run_cli
from experiments.core.score_cache import ScoreCache
from experiments.tasks.completion import CompletionDataset, PictureConfig, load_pictures
from rlenhance.core.errors import UsageError
from rlenhance.data import Batch
from rlenhance.hub.checkpoint import MODEL, find_checkpoint, load_model
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically
from rlenhance.metrics.completion import boundary_discontinuity, erode_to_center, hole_error, texture_difference
from rlenhance.metrics.full_reference import hole_psnr, ssim
from rlenhance.models import Completing, GreedyEpisode
from rlenhance.ops.inpaint import INPAINT_METHODS

#: Names of the numbers of a picture, and how they stand in the table.
SCORES = {"psnr": "hole PSNR, dB", "ssim": "SSIM", "centre": "error at the centre", "seam": "seam",
          "texture": "texture gap", "cpu_s": "CPU s"}
#: Of these, how much a row differs from another is told with its interval, and with so many digits.
PAIRED = {"psnr": ("dB", 2), "texture": ("texture gap", 3)}
_ORIGINAL = "original"


@dataclass(frozen=True)
class Arguments:
    """Score rules that need no training, and models, on the test split (validation where there is none)."""

    models: tuple[str, ...] = ()
    """Runs or shipped models; NAME=RUN names its row."""
    sizes: tuple[int, ...] = (128, 224)
    """Sides in pixels to which whole pictures are reduced."""
    limit: int = 0
    """Score so many pictures, evenly spread (0: all)."""
    split: str = "test"
    """test, or val: to choose by."""
    rules: tuple[str, ...] = tuple(INPAINT_METHODS)
    """Which of laplace, telea, navier-stokes and patches."""
    against: str = "laplace"
    """The row from which differences are told, with 95 % bootstrap intervals over pictures."""
    out: Path = Path("runs/complete_compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)


#: Row -> size -> the numbers of each picture.
Rows = dict[str, dict[int, list[dict[str, float]]]]


def main(arguments: Arguments) -> Rows:
    """Score what is missing, write table.md and table.json.

    Raises:
        UsageError: pictures, models or rules that cannot be used.
    """
    if arguments.split not in ("test", "val") or min(arguments.sizes, default=0) < 32 or arguments.limit < 0:
        raise UsageError(f"--split is test or val, --sizes are at least 32, --limit is not negative; got "
                         f"{arguments.split}, {arguments.sizes}, {arguments.limit}")
    fills: dict[str, tuple[str, Callable[[Batch], torch.Tensor]]] = {_ORIGINAL: ("", _original)}
    for name in arguments.rules:
        fills[name] = name, partial(_fill, INPAINT_METHODS[name])
    for word in arguments.models:
        name, model, mark = _named(word)
        fills[name] = mark, partial(_fill, model)
    if arguments.against not in fills:
        raise UsageError(f"--against names a row; got {arguments.against!r}, and there are {', '.join(fills)}")
    pictures = load_pictures(arguments.pictures)
    split = arguments.split if pictures.splits.parts[arguments.split] else "val"
    cache = ScoreCache(arguments.out, f"{pictures.digest()[split]} {arguments.limit} {arguments.pictures.holes}")
    rows: Rows = {}
    for size in arguments.sizes:
        batches = pictures.at(split, size, arguments.limit or None)
        for name, (mark, fill) in fills.items():
            rows.setdefault(name, {})[size] = cache.get_or_compute(
                f"{name} {mark} {size}", partial(score, fill, batches))
            print(f"{size} px, {name}: {_mean(rows[name][size], 'psnr'):.3f} dB", flush=True)
    text = describe(arguments, pictures, split, rows)
    write_atomically(arguments.out / "table.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": split,
             "rows": rows}
    write_atomically(arguments.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    print(f"\n{text}\nwritten to {arguments.out} (table.md, table.json)")
    return rows


def _original(batch: Batch) -> torch.Tensor:
    assert batch.target is not None
    return batch.target


def _named(word: str) -> tuple[str, Any, str]:
    """Name of the row, the model, and a mark of its weights."""
    name, sign, path = word.partition("=")
    place = locate(path if sign else word)
    model = load_model(place)
    inner = model.policy if isinstance(model, GreedyEpisode) else model
    if not isinstance(inner, Completing):
        raise UsageError(f"{place}: a {type(inner).__name__} fills no holes; name a run of complete_train or "
                         f"restore_train")
    mark = hashlib.sha256((find_checkpoint(place) / MODEL).read_bytes()).hexdigest()[:16]
    return (name if sign else place.name if place.name not in ("best", "last") else str(place)), model, mark


def _fill(model: Callable[..., torch.Tensor], batch: Batch) -> torch.Tensor:
    return model(batch.image, batch.mask)


def score(fill: Callable[[Batch], torch.Tensor], batches: Sequence[Batch]) -> list[dict[str, float]]:
    """The numbers of each picture: PSNR of the hole, SSIM of the whole, mean absolute error of the hole's centre
    (255ths), and what needs no original."""
    rows = []
    with torch.no_grad():
        for batch in batches:
            assert batch.mask is not None and batch.target is not None
            begun = time.process_time()
            output = fill(batch)
            spent = time.process_time() - begun
            rows.append({"psnr": hole_psnr(output, batch.target, batch.mask).item(),
                         "ssim": ssim(output, batch.target).item(),
                         "centre": 255 * hole_error(output, batch.target, erode_to_center(batch.mask)).item(),
                         "seam": boundary_discontinuity(output, batch.mask).item(),
                         "texture": texture_difference(output, batch.mask).item(), "cpu_s": spent})
    return rows


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def gain(rows: Rows, name: str, against: str, size: int, score: str) -> Interval:
    """How much higher a row's score is than another's, picture by picture, with its interval."""
    pairs = zip(rows[name][size], rows[against][size], strict=True)
    differences = [one[score] - other[score] for one, other in pairs]
    return bootstrap_interval(differences, [str(index) for index in range(len(differences))])


def describe(arguments: Arguments, pictures: CompletionDataset, split: str, rows: Rows) -> str:
    """The table in Markdown."""
    count = len(next(iter(rows[_ORIGINAL].values())))
    lines = [*filter(None, [pictures.about]), f"{pictures.splits.describe()}. Scored on {count} {split} pictures, "
             "composited: outside the hole they are the picture as it came.",
             "Error at the centre in 255ths, mean absolute; seam and texture gap need no original (0 is best; the row "
             f"of the originals shows what is natural). What a row differs from {arguments.against}: with its 95 % "
             "interval over pictures.", ""]
    paired = [f"{what}, less {arguments.against}'s" for what, _ in PAIRED.values()]
    for size in arguments.sizes:
        lines += [f"| {size} px | " + " | ".join((*SCORES.values(), *paired)) + " |",
                  "|---" * (len(SCORES) + 1 + len(paired)) + "|"]
        for name, row in rows.items():
            cells = [_cell(key, _mean(row[size], key), name) for key in SCORES]
            for key, (_, digits) in PAIRED.items():
                found = gain(rows, name, arguments.against, size, key)
                cells.append("" if name in (_ORIGINAL, arguments.against) else
                             f"{found.mean:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(name: str, value: float, row: str) -> str:
    if row == _ORIGINAL and name in ("psnr", "cpu_s"):
        return ""
    digits = {"psnr": 2, "ssim": 4, "centre": 1, "seam": 4, "texture": 3, "cpu_s": 2}[name]
    return f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

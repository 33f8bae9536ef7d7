"""The comparison of completion: models and baselines on the same pictures with the same holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.compare import CompareConfig, TaskComparison
from rlenhance.experiments.core.config import Flat
from rlenhance.experiments.core.scores import Baseline, Column, Comparison, Row
from rlenhance.experiments.tasks.completion import COMPLETION, CompletionDataConfig, CompletionDataset
from rlenhance.hub.shipped import locate
from rlenhance.io import write
from rlenhance.io.contact_sheet import Cell, make_sheet
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.completion import (
    boundary_discontinuity,
    erode_to_center,
    masked_error,
    texture_difference,
)
from rlenhance.learning.metrics.full_reference import masked_psnr, ssim
from rlenhance.learning.models import GreedyEpisode
from rlenhance.learning.ops.image import to_array
from rlenhance.learning.ops.masked_tensors import on_tensors
from rlenhance.ops.inpaint import INPAINT_METHODS
from rlenhance.ops.patchmatch import patchmatch_fill
from rlenhance.pipelines.complete import GUIDE_DETAIL, SHIPPED

_ORIGINAL, _GUIDED = "original", "guided"
_SHOWN, _SHEET = 6, "sheet.png"  # pictures of the sheet, and its file


@dataclass(frozen=True)
class CompletionCompareConfig(CompareConfig):
    """Score baselines that need no training, and models, on the test split (validation where there is none)."""

    baseline: str = "laplace"
    """Name of a row: differences to its scores are shown, with 95 % bootstrap intervals over pictures ("": none)."""
    out: Path = Path("runs/complete_compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    sizes: tuple[int, ...] = (128, 224)
    """Sides in pixels to which whole pictures are reduced."""
    split: str = "test"
    """test, or val: to choose by."""
    baselines: tuple[str, ...] = (*INPAINT_METHODS, _GUIDED)
    """Which of laplace, telea, navier-stokes, patches, and guided: patches along what the shipped network fills in."""
    drawn: bool = False
    """Make holes (--holes) in the originals of pairs, the same at every call, in the place of their own."""
    data: Flat[CompletionDataConfig] = field(default_factory=CompletionDataConfig)


class CompletionComparison(TaskComparison[CompletionCompareConfig, CompletionDataset]):
    """Conditions are sizes. A split without originals has no scores against them, see `referenced`."""

    Config = CompletionCompareConfig

    def check(self) -> None:
        split, sizes = self.config.split, self.config.sizes
        if split not in ("test", "val") or min(sizes, default=0) < 32:
            raise UsageError(f"--split is test or val, --sizes are at least 32; got {split}, {sizes}")

    def check_model(self, model: Any, place: Path) -> None:
        inner = model.policy if isinstance(model, GreedyEpisode) else model
        if inner.purpose != "completion":
            raise UsageError(f"{place}: a {type(inner).__name__} completes no holes; name a run of complete_train or "
                             f"network_train")

    def scored_split(self) -> str:
        return self.config.split if self.data.splits.parts[self.config.split] else "val"

    @property
    def referenced(self) -> bool:
        """Whether a picture of the split has an original."""
        return any(example.target is not None for example in self.data.splits.parts[self.split])

    def conditions(self) -> Sequence[str]:
        return list(map(str, self.config.sizes))

    def label(self, condition: str) -> str:
        return f"{condition} px"

    def pictures(self, condition: str) -> Sequence[Batch]:
        return self.data.at(self.split, int(condition), self.config.limit or None, self.config.drawn)

    def cache_key(self) -> str:
        return f"{super().cache_key()} {self.config.data.holes} {self.config.data.mask_threshold}" + (
            " drawn" * self.config.drawn)

    def baselines(self, condition: str) -> Mapping[str, Baseline]:
        fills = {name: Baseline(name, partial(_fill, guided_fill if name == _GUIDED else
                                         on_tensors(INPAINT_METHODS[name])))
                 for name in self.config.baselines}
        return {_ORIGINAL: Baseline(_ORIGINAL, _target, uses_target=True), **fills} if self.referenced else fills

    def score(self, output: Tensor, batch: Batch) -> dict[str, float]:
        assert batch.mask is not None
        scores = {"seam": boundary_discontinuity(output, batch.mask).item(),
                  "texture": texture_difference(output, batch.mask).item()}
        if batch.target is None:
            return scores
        return {"psnr": masked_psnr(output, batch.target, batch.mask).item(), "ssim": ssim(output, batch.target).item(),
                "centre": 255 * masked_error(output, batch.target, erode_to_center(batch.mask)).item(), **scores}

    def columns(self) -> Sequence[Column]:
        alone = (Column("seam", "seam", 4), Column("texture", "texture gap", 3, difference="texture gap"),
                 Column("cpu_s", "CPU s", 2))
        return (Column("psnr", "hole PSNR, dB", 2, difference="dB"), Column("ssim", "SSIM", 4),
                Column("centre", "error at the centre", 1), *alone) if self.referenced else alone

    def facts(self, row: Row) -> dict[str, str]:
        return {}

    def cell(self, row: Row, condition: str, column: Column) -> str:
        return "" if row.name == _ORIGINAL and column.key in ("psnr", "cpu_s") else super().cell(row, condition, column)

    def difference(self, comparison: Comparison, row: Row, condition: str, column: Column) -> str:
        return "" if row.name == _ORIGINAL else super().difference(comparison, row, condition, column)

    def about(self, comparison: Comparison) -> list[str]:
        data, baseline = self.data, self.config.baseline
        return [*filter(None, [data.about]), f"{data.splits.describe()}. Scored on {comparison.count} {self.split} "
                f"pictures, composited: outside the hole they are the picture as it came (of a network with a "
                f"whole output, as published, they are what it gives). {_SHEET} shows {_SHOWN}.",
                ("Error at the centre in 255ths, mean absolute; seam and texture gap need no original (0 is best; the "
                 "row of the originals shows what is natural)." if self.referenced else
                 "These pictures have no originals: there is no PSNR, no SSIM and no error; seam and texture gap need "
                 "none (0 is best).")
                + f" What a row differs from {baseline}: with its 95 % interval over pictures." * bool(baseline), ""]


    def write(self, comparison: Comparison) -> list[str]:
        """The sheet: occluded, completed by every row, and original, from top to bottom."""
        condition = self.conditions()[-1]
        pictures = list(self.pictures(condition))[:_SHOWN]
        rows = {"occluded": [batch.image for batch in pictures]}
        for row in comparison.rows.values():
            if models := row.models.get(condition):
                with torch.no_grad():
                    rows[row.name] = [self.apply(models[0], batch, condition)[0] for batch in pictures]
            elif row.name != _ORIGINAL:
                rows[row.name] = [comparison.baselines[condition][row.name](batch) for batch in pictures]
        if self.referenced:
            rows[_ORIGINAL] = [_target(batch) for batch in pictures]
        cells = [Cell(to_array(image), (name,)) for name, images in rows.items()
                 for image in images]
        write(make_sheet(cells, len(pictures), int(condition)), self.config.out / _SHEET)
        return [_SHEET]


def _target(batch: Batch) -> Tensor:
    assert batch.target is not None
    return batch.target


@lru_cache(maxsize=1)
def _completer() -> Any:
    return load_network(locate(SHIPPED)).eval()


@torch.no_grad()
def guided_fill(image: Tensor, mask: Tensor) -> Tensor:
    """Patches along what the shipped network fills in, as `rlenhance complete` lays them: (N, 3, H, W)."""
    network = _completer()
    detail = GUIDE_DETAIL * max(1.0, min(image.shape[-2:]) / network.train_size)
    return on_tensors(partial(patchmatch_fill, guide_detail=detail))(network(image, mask), mask)


def _fill(method: Any, batch: Batch) -> Tensor:
    return method(batch.image, batch.mask)


COMPLETION_COMPARISON = CompletionComparison(COMPLETION)

"""`--explain`, `--cube` and `--sidecar`: why a result came about, and its look for other editors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.cli.parser import refuse_written
from rlenhance.cli.photo_command import notes_stream, reader_of, run_plan
from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    import numpy as np

    from rlenhance.io import BatchPlan
    from rlenhance.io.batch import Process
    from rlenhance.pipelines.enhance import Enhancer

_SIDE = 512  # pixels along the longer side that settings for raw developers are measured on


def check_explain_options(arguments: argparse.Namespace, plan: BatchPlan) -> None:
    """Refuse --explain, --cube and --sidecar for several photographs, or with a place that cannot be written."""
    from rlenhance.io import STDIO
    from rlenhance.io.containers import WRITABLE

    sources = [job.source for job in (*plan.jobs, *plan.skipped)]
    for option, endings in (("explain", WRITABLE), ("cube", (".cube",)), ("sidecar", (".xmp",))):
        path = getattr(arguments, option, None)
        if path is None:
            continue
        if len(sources) != 1 or sources[0] == STDIO:
            raise UsageError(f"--{option} is about one photograph with a name; got {len(sources)}: name one")
        if path.suffix.lower() not in endings:
            raise UsageError(f"--{option} {path}: must end in {', '.join(endings)}")
    refuse_written(sources, arguments)


def run_explained(plan: BatchPlan, process: Process, arguments: argparse.Namespace,
                  draw: Callable[[np.ndarray], tuple[np.ndarray, str]]) -> int:
    """Carry a plan out, and with --explain draw the one photograph; the exit status.

    Args:
        process: see `run_batch`.
        draw: (H, W, 3) uint8 or uint16 -> what --explain writes, and what it is, with {} for its place.
    """
    from rlenhance.io.own_files import write_sheet

    source = (*plan.jobs, *plan.skipped)[0].source
    drawn = draw(reader_of(arguments)(source).visible_pixels) if arguments.explain else None
    summary = run_plan(plan, process, arguments)
    if drawn and not summary.failed:
        place = printable(write_sheet(drawn[0], arguments.explain))
        print(drawn[1].replace("{}", place, 1), file=notes_stream(plan, arguments))
    return summary.status


def make_explanations(arguments: argparse.Namespace, enhancer: Enhancer, source: Path) -> list[Callable[[], str]]:
    """Make the table, the settings and the sheet.

    Returns:
        Functions that write each and return a line about it, to be called after the photograph is written.

    Raises:
        UsageError: the photograph cannot be read, or the model has no look of the whole picture.
    """
    from rlenhance.io.own_files import write_sheet
    from rlenhance.ops.region import check_region
    from rlenhance.pipelines.lut import make_cube, save_cube

    pixels, ready = reader_of(arguments)(source).visible_pixels, list[Callable[[], str]]()
    if enhancer.region is not None:
        check_region(enhancer.region, pixels)
    if arguments.cube:
        decision = enhancer.decide(pixels)
        if decision.actions is None:
            raise UsageError("--cube: this model decides place by place and has no look of the whole picture; use a "
                             "policy with a state size")
        cube = make_cube(enhancer.network, decision, strength=enhancer.settings.strength)
        title = f"{source.stem}, {enhancer.folder.name if enhancer.folder else ''}"
        ready.append(lambda: f"look -> {save_cube(cube, arguments.cube, title)}")
        left = ["--denoise"] * bool(enhancer.settings.denoise) + ["--region"] * (enhancer.region is not None)
        if left:
            print(f"note: the look in {printable(arguments.cube)} is without {' and '.join(left)}: no table of colours "
                  f"holds that")
    if arguments.sidecar:
        from rlenhance.pipelines.sidecar import develop_settings, save_sidecar

        step = max(1, max(pixels.shape[:2]) // _SIDE)
        settings = develop_settings(pixels[step // 2 :: step, step // 2 :: step], enhancer.preview(pixels, _SIDE),
                                    enhancer.settings.white)
        ready.append(lambda: f"settings for raw developers, approximately -> "
                             f"{save_sidecar(settings, arguments.sidecar)}")
    if arguments.explain:
        from rlenhance.io.contact_sheet import make_sheet
        from rlenhance.pipelines.explain import explain

        sheet = make_sheet(explain(enhancer, pixels), columns=5)
        ready.append(lambda: f"explanation -> {write_sheet(sheet, arguments.explain)}")
    return ready

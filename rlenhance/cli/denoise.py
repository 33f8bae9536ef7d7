"""`rlenhance denoise`: noisy photographs in, clean ones out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rlenhance.cli.explain_options import check_explain_options
from rlenhance.cli.photo_command import (
    add_photo_command,
    add_region,
    notes_stream,
    pipeline_options,
    plan_photos,
    print_plan,
    read_settings,
    run_plan,
)
from rlenhance.core.errors import printable
from rlenhance.pipelines.options import DenoiseSettings


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    denoise = add_photo_command(
        commands, "denoise", DenoiseSettings, summary="take the noise out of photographs",
        description="Take the noise out of photographs.",
        models="a shipped denoiser, or a run of your own, of a learned denoiser or of a policy over filters (default: "
               "denoiser-grey for grey photographs, denoiser-photo for JPEGs in colour whose noise is not named, else "
               "denoiser)")
    add_region(denoise)
    denoise.add_argument("--explain", type=Path, metavar="FILE.png",
                         help="of one photograph and a policy over filters: a picture of which filter won where")


def run(arguments: argparse.Namespace) -> int:
    """Denoise what was named."""
    settings, plan = read_settings(arguments, DenoiseSettings), plan_photos(arguments, DenoiseSettings.suffix)
    check_explain_options(arguments, plan)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    options = pipeline_options(arguments, "denoise")
    from rlenhance.io import read, write
    from rlenhance.pipelines.denoise import Denoiser
    from rlenhance.pipelines.explain_filters import map_tools

    denoiser = Denoiser(arguments.model, settings, **options)
    choices = map_tools(denoiser.model, read((*plan.jobs, *plan.skipped)[0].source).pixels,
                        denoiser.noise_preference()) if arguments.explain else None
    summary = run_plan(plan, denoiser.process, arguments)
    if choices and not summary.failed:
        place = printable(write(choices.picture(), arguments.explain))
        print(f"which filter won where -> {place}\n{choices.describe()}", file=notes_stream(plan, arguments))
    return summary.status

"""`rlenhance upscale`: small photographs in, larger ones out."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.cli.photo_command import (
    add_no_mark,
    add_photo_command,
    add_region,
    limit_of,
    pipeline_options,
    plan_photos,
    print_plan,
    read_settings,
    run_plan,
)
from rlenhance.pipelines.options import UpscaleSettings


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    upscale = add_photo_command(
        commands, "upscale", UpscaleSettings, verb="enlarge", summary="enlarge photographs two or four times",
        description="Enlarge photographs, and take noise and blur out on the way.",
        models="a shipped network, or your own run of experiments.network_train enlarger or combined (default: "
               "upscale-x4, or upscale-x2 with --scale 2; upscale: for dark, noisy photographs)")
    add_region(upscale)
    add_no_mark(upscale)


def run(arguments: argparse.Namespace) -> int:
    """Enlarge what was named."""
    settings, plan = read_settings(arguments, UpscaleSettings), plan_photos(arguments, UpscaleSettings.suffix)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    options = pipeline_options(arguments, "upscale")
    from rlenhance.pipelines.upscale import Upscaler

    upscaler = Upscaler(arguments.model, settings, megapixels=limit_of(arguments), **options)
    upscaler.mark = arguments.mark
    return run_plan(plan, upscaler.process, arguments, copy=False).status

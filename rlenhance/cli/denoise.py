"""`rlenhance denoise`: noisy photographs in, clean ones out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from rlenhance.cli.explain_options import check_explain_options, run_explained
from rlenhance.cli.parser import add_written_file
from rlenhance.cli.photo_command import (
    add_photo_command,
    add_region,
    pipeline_options,
    plan_photos,
    print_plan,
    read_settings,
)
from rlenhance.core.torch_parts import torch_part
from rlenhance.pipelines.options import DenoiseSettings

if TYPE_CHECKING:
    import numpy as np


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    denoise = add_photo_command(
        commands, "denoise", DenoiseSettings, summary="take the noise out of photographs",
        description="Take the noise out of photographs.",
        models="a shipped denoiser, or your own run, of a learned denoiser or of a policy over filters (default: "
               "denoiser-grey for grey photographs, denoiser-photo for colours with noise that a camera has smoothed "
               "or coded, denoiser-camera for fine noise of 3 to 35 of 255, else denoiser)")
    add_region(denoise)
    add_written_file(denoise, "--explain", kind="sheet", metavar="FILE.png",
                         help="of one photograph and a policy over filters: a picture of which filter won where")


def run(arguments: argparse.Namespace) -> int:
    """Denoise what was named."""
    settings, plan = read_settings(arguments, DenoiseSettings), plan_photos(arguments, DenoiseSettings.suffix)
    check_explain_options(arguments, plan)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    options = pipeline_options(arguments, "denoise")
    from rlenhance.pipelines.denoise import Denoiser

    denoiser = Denoiser(arguments.model, settings, **options)

    def draw(pixels: np.ndarray) -> tuple[np.ndarray, str]:
        choices = torch_part("map_tools")(  # torch, for the filter of each pixel
            denoiser.model, pixels, denoiser.noise_preference())
        return choices.picture(), f"which filter won where -> {{}}\n{choices.describe()}"

    return run_explained(plan, denoiser.process, arguments, draw)

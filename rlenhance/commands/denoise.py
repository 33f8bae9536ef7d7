"""`rlenhance denoise`: noisy photographs in, clean ones out."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.commands.batches import add_photos, carry_out, plan_photos, tell_plan

SUFFIX = "_denoised"


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    denoise = commands.add_parser(
        "denoise", help="take the noise out of photographs",
        description="Take the noise out of photographs. night.jpg becomes night_denoised.jpg beside it; a source is "
                    "never overwritten. Exit status: 0, or 2 where something was refused or a photograph failed.",
    )
    add_photos(denoise, verb="denoise")
    denoise.add_argument("-m", "--model", metavar="NAME|RUN/best",
                         help="a shipped denoiser, or a run of your own (default: denoiser, and denoiser-grey for grey "
                              "photographs)")
    denoise.add_argument("--noise", type=float, metavar="SIGMA",
                         help="how strong the noise is everywhere: its standard deviation in 255ths, 0 to 75 (default: "
                              "as each photograph shows it)")
    denoise.add_argument("--strength", type=float, default=1.0, metavar="S",
                         help="how much of the noise is taken: 0 (none, the same pixels) to 1 (default)")
    denoise.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Denoise what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    plan = plan_photos(arguments, SUFFIX)
    if arguments.dry_run:
        return tell_plan(plan, arguments)
    from rlenhance.denoise import NoiseRemover
    from rlenhance.settings import check_device

    remover = NoiseRemover(arguments.model, noise=arguments.noise, strength=arguments.strength,
                           device=check_device(arguments.device))
    return carry_out(plan, remover.denoise_photo, arguments).status

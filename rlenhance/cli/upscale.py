"""`rlenhance upscale`: small photographs in, larger ones out."""

from __future__ import annotations

import argparse
from typing import Any

from rlenhance.cli.photo_command import add_photos, carry_out, limit_of, plan_photos, tell_plan

SUFFIX = "_upscaled"


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    upscale = commands.add_parser(
        "upscale", help="enlarge photographs two or four times",
        description="Enlarge photographs, and take noise and blur out on the way. night.jpg becomes night_upscaled.jpg "
                    "beside it; a source is never overwritten. Exit status: 0, or 2 where something was refused or a "
                    "photograph failed.",
    )
    add_photos(upscale, verb="enlarge")
    upscale.add_argument("-m", "--model", metavar="NAME|RUN/best",
                         help="a shipped network, or a run of your own of experiments.restore_train combined (default: "
                              "upscale)")
    upscale.add_argument("--scale", type=int, metavar="N",
                         help="how much larger along each side: 2 or 4 (default: as the model, 4)")
    upscale.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Enlarge what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    plan = plan_photos(arguments, SUFFIX)
    if arguments.dry_run:
        return tell_plan(plan, arguments)
    from rlenhance.pipelines.configure import check_device
    from rlenhance.pipelines.upscale import Upscaler

    upscaler = Upscaler(arguments.model, scale=arguments.scale, device=check_device(arguments.device),
                        megapixels=limit_of(arguments))
    return carry_out(plan, upscaler.upscale_photo, arguments, copy=False).status

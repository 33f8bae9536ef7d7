"""`rlenhance restore`: old and damaged photographs in, repaired ones out."""

from __future__ import annotations

import argparse
from pathlib import Path
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
from rlenhance.pipelines.options import RestoreSettings

if TYPE_CHECKING:
    import numpy as np


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    restore = add_photo_command(
        commands, "restore", RestoreSettings, verb="repair", summary="find out what is wrong with photographs, and "
        "repair it",
        description="Find out what is wrong with photographs (noise, JPEG blocks, blur, darkness) and repair it with a "
                    "chain of tools, which is printed. A good photograph is copied as it is.",
        models="a planner that chooses among tools: a shipped one, or your own run (default: tool-gains)",
        everyday=("--explain",))
    restore.add_argument("--tool", dest="tools", action="append", default=[], metavar="NAME|MODULE:FUNCTION|COMMAND",
                         help="choose among these tools alone; may be given again. A command has {in} and {out} in the "
                              "places of its files, and is run without a shell: name none that you do not trust")
    restore.add_argument("--tool-timeout", type=float, default=60.0, metavar="SECONDS",
                         help="how long a command may take each time (default: 60)")
    restore.add_argument("--tool-memory", type=float, default=8192.0, metavar="MIB",
                         help="address space that each process of a command may have (default: 8192)")
    restore.add_argument("--tool-weights", type=Path, metavar="DIR",
                         help="weights of the tools, where they are not shipped (rl-restore) or your own (own)")
    add_region(restore)
    add_written_file(restore, "--explain", kind="sheet", metavar="FILE.png",
                         help="of one photograph: write a sheet with the picture after each tool")


def run(arguments: argparse.Namespace) -> int:
    """Repair what was named."""
    settings, plan = read_settings(arguments, RestoreSettings), plan_photos(arguments, RestoreSettings.suffix)
    check_explain_options(arguments, plan)
    if arguments.dry_run:
        return print_plan(plan, arguments)
    options = pipeline_options(arguments, "restore")
    from rlenhance.io.contact_sheet import make_sheet
    from rlenhance.pipelines.explain import explain_chain
    from rlenhance.pipelines.restore import PhotoRestorer

    restorer = PhotoRestorer(arguments.model, settings, tools=arguments.tools, tool_weights=arguments.tool_weights,
                             tool_seconds=arguments.tool_timeout, tool_memory=arguments.tool_memory, **options)

    def draw(pixels: np.ndarray) -> tuple[np.ndarray, str]:
        cells = explain_chain(restorer, pixels)
        return make_sheet(cells, columns=len(cells) // 2), "each step -> {}"

    return run_explained(plan, restorer.process, arguments, draw)

"""`rlenhance export`: a trained policy for programs without torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError, printable


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    export = commands.add_parser(
        "export", help="write a model for other programs",
        description="Write a policy as an ONNX graph: all its steps, for pictures of any size, with the preferences as "
                    "inputs; or a network that works in one pass. It is compared with torch before it is "
                    "written. Needs the extra onnx.")
    export.add_argument("--onnx", type=Path, required=True, metavar="FILE.onnx", help="write it there")
    export.add_argument("-m", "--model", metavar="NAME|RUN/best", help="which (default: as for `rlenhance enhance`)")
    export.add_argument("--steps", type=int, metavar="N", help="stop the policy after N of its steps")
    export.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    from rlenhance.io.output_plan import check_output

    check_output(arguments.onnx, (), arguments.overwrite)
    from rlenhance.hub.checkpoint import load_network
    from rlenhance.hub.shipped import locate
    from rlenhance.models.base import FeedForwardModel
    from rlenhance.pipelines.configure import resolve_model
    from rlenhance.pipelines.enhance import Enhancer
    from rlenhance.pipelines.onnx import export_network, export_onnx

    model = resolve_model(arguments.model)
    network = load_network(locate(str(model)))
    if isinstance(network, FeedForwardModel):
        if arguments.steps is not None:
            raise UsageError(f"--steps: {model} works in one pass; leave it out")
        found = export_network(network, arguments.onnx)
    else:
        found = export_onnx(Enhancer(model, steps=arguments.steps), arguments.onnx)
    print(f"{printable(arguments.onnx)}: opset {found['opset']}, inputs {', '.join(found['inputs'])}; differs from "
          f"torch by at most {found['largest']:.1g}")
    return 0

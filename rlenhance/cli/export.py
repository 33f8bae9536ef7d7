"""`rlenhance export`: a trained model for use without torch, for other programs, or as a folder for model hubs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rlenhance.cli.parser import add_written_file
from rlenhance.core.errors import UsageError, printable
from rlenhance.core.torch_parts import torch_part


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    export = commands.add_parser(
        "export", help="write a model for use without torch, or for other programs",
        description="Write what a run's network computes beside its weights, so that rlenhance uses it without torch; "
                    "trainings end with it. Or write a policy as an ONNX graph: all its steps, for pictures of any "
                    "size, with the preferences as inputs; or a network that works in one pass. Graphs are compared "
                    "with torch before they are written, and need the extra onnx. Or write the folder that model hubs "
                    "take: a card, the weights, and the graph where the extra is there and the model has one.")
    target = export.add_mutually_exclusive_group()
    add_written_file(target, "--onnx", kind="graph", metavar="FILE.onnx", help="write an ONNX graph there")
    target.add_argument("--hub", type=Path, metavar="DIR", help="write README.md, config.json, model.safetensors, "
                        "metrics.json and graphs into this folder; --model takes it")
    export.add_argument("--card", type=Path, metavar="FILE.md", help="--hub: a text for the card, beginning with a "
                        "sentence that says what the model is (default: that of a shipped model)")
    export.add_argument("--name", default="", help="--hub: the model's name in its card (default: that of DIR)")
    export.add_argument("--license", default="", help="--hub: of the weights, as hubs name it (mit, apache-2.0)")
    export.add_argument("-m", "--model", metavar="NAME|RUN/best", help="which (default: as for `rlenhance enhance`)")
    export.add_argument("--steps", type=int, metavar="N", help="stop the policy after N of its steps")
    export.add_argument("--overwrite", action="store_true", help="replace what exists: the file, or the folder's model")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    if arguments.hub is not None:
        return _write_folder(arguments)
    if arguments.onnx is None:
        return _write_beside(arguments)
    from rlenhance.io.output_plan import check_output

    check_output(arguments.onnx, (), arguments.overwrite)
    from rlenhance.hub.shipped import resolve_model

    found = torch_part("export_onnx")(resolve_model(arguments.model), arguments.onnx, steps=arguments.steps)
    print(f"{printable(arguments.onnx)}: opset {found['opset']}, inputs {', '.join(found['inputs'])}; differs from "
          f"torch by at most {found['largest']:.1g}")
    return 0


def _write_beside(arguments: argparse.Namespace) -> int:
    """The graphs of a run, for the engine."""
    from rlenhance.hub import shipped
    from rlenhance.hub.info import find_checkpoint, read_config

    if arguments.model is None or arguments.steps is not None:
        raise UsageError("name a run with --model, to write its graphs beside its weights; or --onnx FILE.onnx "
                         "(which --steps goes with), or --hub DIR")
    folder = find_checkpoint(shipped.locate(arguments.model))
    if folder.resolve().parent == shipped.FOLDER.resolve():
        raise UsageError(f"{arguments.model}: a shipped model, which needs no torch as it is; name a run")
    from rlenhance.hub.open import direct_opener

    paths = torch_part("export_checkpoint")(folder)
    if not paths and direct_opener(read_config(folder)["model"]) is not None:
        print(f"{printable(folder)}: needs no torch as it is")
    elif not paths:
        raise UsageError(f"{arguments.model}: a network that is used with torch alone")
    for path in paths:
        print(f"{printable(path)}: {path.stat().st_size:,} bytes")
    return 0


def _write_folder(arguments: argparse.Namespace) -> int:
    from rlenhance.hub.shipped import resolve_model

    if arguments.steps is not None:
        raise UsageError("--steps is for --onnx: a folder holds the whole policy")
    made = torch_part("write_hub_folder")(resolve_model(arguments.model), arguments.hub, name=arguments.name,
                                          card=arguments.card, license=arguments.license,
                                          overwrite=arguments.overwrite)
    print(f"{printable(made.path)}: {', '.join(made.files)}")
    if made.without_graph:
        print(f"model.onnx is left out: {printable(made.without_graph)}")
    return 0

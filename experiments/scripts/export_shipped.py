"""Write the exports of the shipped models anew, and their checksums: `python -m experiments.scripts.export_shipped`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from rlenhance.experiments.core.cli import run_cli
from rlenhance.hub import shipped
from rlenhance.io.files import write_atomically
from rlenhance.learning.hub.export import export_checkpoint


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = (), folder: Path = shipped.FOLDER) -> list[Path]:
    """Write the graphs that run without torch beside the weights of shipped models.

    Args:
        names: Of the models (default: all).
        folder: Of the shipped models.

    Raises:
        UsageError: see `rlenhance.learning.hub.export.export_checkpoint`.
    """
    chosen = names or [model.name for model in shipped.list_models(folder=folder)]
    paths = [path for name in chosen for path in export_checkpoint(folder / name)]
    write_sums(folder)
    for path in paths:
        print(f"{path}: {path.stat().st_size:,} bytes")
    return paths


def write_sums(folder: Path) -> None:
    """SHA256SUMS of all shipped models: weights, config and exports."""
    sums = {f"{path.parent.name}/{path.name}": shipped.sha256(path)
            for name in (shipped.MODEL, shipped.CONFIG, "*.onnx") for path in folder.glob(f"*/{name}")
            if shipped.NAME.fullmatch(path.parent.name)}
    lines = "".join(f"{digits}  {key}\n" for key, digits in sorted(sums.items()))
    write_atomically(folder / shipped.SUMS, lines.encode())


if __name__ == "__main__":
    sys.exit(run_cli(main))

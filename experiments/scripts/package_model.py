"""Put a trained model among those that are shipped:
`python -m experiments.scripts.package_model RUN --name NAME --card FILE`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.controllability import without_effect
from rlenhance.hub import shipped as weights
from rlenhance.hub.shipped import CALLS
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import ImageCache, load_split, sample_photographs
from rlenhance.learning.hub.checkpoint import find_checkpoint, load_network, read_config, save_checkpoint
from rlenhance.learning.hub.export import can_export, export_checkpoint
from rlenhance.learning.models import ImageNetwork, Policy, build_model


def main(run: Annotated[Path, tyro.conf.Positional], name: str, card: Path, default: bool = False,
         out: Path = weights.FOLDER, half: bool = False, log: Path | None = None) -> Path:
    """Copy what a run needs to enhance (weights and config, nothing for training) with its card into the folder of
    the shipped models, and write their checksums.

    Args:
        run: A run (its best checkpoint), or a checkpoint.
        name: The name for --model: small letters, digits and hyphens.
        card: Its card in Markdown: a sentence, then the sections Data, Recipe, Command, Seeds, Scores, Limits
            and Licence of the training data.
        default: Use it where no model is named.
        out: The folder of the shipped models.
        half: Store the weights in 16 bits, half the size; they compute in 32.
        log: Folder that gets the settings and the log of the run too, as NAME.json and NAME.csv
            (docs/results/shipped).

    Raises:
        UsageError: no checkpoint; a name that is taken or has another form; a card that leaves something out; more
            than `weights.LARGEST` bytes; no log where it is asked for. Nothing was written.
    """
    if not weights.NAME.fullmatch(name):
        raise UsageError(f"--name has small letters, digits and hyphens, as in night-small; got {name!r}")
    place, beside = out / name, out / f".{name}.part"
    if place.exists():
        raise UsageError(f"{place}: exists; choose another --name, or remove it")
    weights.read_card(card)
    source = find_checkpoint(run)
    folder = next((place for place in (run, run.parent) if (place / "metrics.csv").is_file()), None)
    if log is not None and folder is None:
        raise UsageError(f"{run}: no log (metrics.csv) beside it; name the folder of the run, or leave out "
                         f"--log")
    network = load_network(source)
    sums = {key: value for key, value in weights.read_sums(out).items() if key.partition("/")[0] != name}
    shutil.rmtree(beside, ignore_errors=True)  # of one that was killed
    try:
        about = {**(read_config(source).get("about") or {}), **facts(network)}
        save_checkpoint(beside, network.half() if half else network, about)
        exports = export_checkpoint(beside) if can_export() else []
        shutil.copyfile(card, beside / weights.CARD)
        size = sum(path.stat().st_size for path in beside.iterdir())
        if size > weights.LARGEST:
            raise UsageError(f"{source}: {size:,} bytes with its card, and a shipped model has at most "
                             f"{weights.LARGEST:,}: ship a smaller one")
        sums |= {f"{name}/{file}": weights.sha256(beside / file)
                 for file in (weights.MODEL, weights.CONFIG, *(path.name for path in exports))}
        os.replace(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    lines = "".join(f"{digits}  {key}\n" for key, digits in sorted(sums.items()))
    write_atomically(out / weights.SUMS, lines.encode())
    if log is not None and folder is not None:
        log.mkdir(parents=True, exist_ok=True)
        for file, ending in (("config.json", ".json"), ("metrics.csv", ".csv")):
            shutil.copyfile(folder / file, log / f"{name}{ending}")
    if default:
        write_atomically(out / weights.DEFAULT, f"{name}\n".encode())
    print(f"{place}: {size:,} bytes{', the default' if default else ''}; try it with\n"
          f"  rlenhance {CALLS[network.purpose]} PHOTO --model {name}")
    return place


def facts(network: ImageNetwork) -> dict[str, list[str]]:
    """`without_effect`, the preferences of an enhancing policy that change none of the sample photographs."""
    if not isinstance(network, Policy) or network.purpose != "enhance" or not len(network.preferences):
        return {}
    splits = sample_photographs()
    pictures = load_split(splits.val, ImageCache(0), side=96)
    found = without_effect(build_model(network).eval(), pictures)
    return {"without_effect": found} if found else {}


if __name__ == "__main__":
    sys.exit(run_cli(main))

"""`python -m benchmarks`: measure, print tables, draw charts.

`looks`, `blind`, `presets`, `failures`, `models` and `start` are commands apart.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from benchmarks.cases import COARSE, PIXELWISE, PIXELWISE_CONTINUOUS, Case
from benchmarks.charts import draw
from benchmarks.filters import measure_filters
from benchmarks.photo import SIZES, measure_photo
from benchmarks.physics import measure_physics
from benchmarks.scaling import measure_memory, measure_processes, measure_scaling, process_options
from benchmarks.share import measure_share
from benchmarks.speed import measure_environment, measure_updates
from benchmarks.table import Table
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.run import versions


@dataclass(frozen=True)
class Arguments:
    """Measure what training costs, side by side in one run."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """share, physics, environment, filters, speed, batch, size, processes, memory, photo (default: all)."""
    out: Path = Path("runs/benchmarks")
    """Folder for benchmarks.json, NAME.json of each part (research.results --take takes it) and the charts; parts that
    are not measured again stay as they are there."""
    repeats: int = 3
    """Rounds; all that is compared takes turns, and medians count. With 1, the time to warm up counts too."""
    threads: int = 1
    """Of this process. Compare ratios at one number; `processes` chooses its own."""
    quick: bool = False
    """The least of everything: shows that it runs, measures nothing."""


def plan(arguments: Arguments) -> dict[str, Callable[[], Table]]:
    """Every part, ready to be measured."""
    quick, repeats, threads = arguments.quick, arguments.repeats, arguments.threads

    def small(case: Case, **changes: int) -> Case:
        tiny = {"pictures": 1, "rollouts": 2, "horizon": 2, "side": 16} if quick else {}
        wanted: Any = {**changes, **tiny}
        return replace(case, **wanted)

    one = {"pictures": 1}
    short = {"rollouts": 2, "horizon": 4}
    backbones = ("compact",) if quick else ("compact", "pixelrnn", "mrpnet", "fcn")
    recipes = [small(case, **one) for case in (PIXELWISE, PIXELWISE_CONTINUOUS, COARSE)]
    environments = [small(replace(case, rollouts=1), pictures=count)
                    for case in (COARSE, PIXELWISE_CONTINUOUS, PIXELWISE)
                    for count in (1, 8, 48)[: 1 if quick else None]]
    updates = [small(Case(backbone, stride), pictures=count, **short) for backbone in backbones for stride in (8, 1)
               for count in ((1, 4) if backbone in ("compact", "pixelrnn") else (1, 2))[: 1 if quick else None]]
    batches = [small(COARSE, pictures=count) for count in (1, 2, 4, 8, 16)]
    batches += [small(PIXELWISE, pictures=count, **short) for count in (1, 2)]
    sizes = [small(COARSE, side=side, **one) for side in (32, 64, 128, 256)]
    sizes += [small(PIXELWISE, side=side, **short, **one) for side in (32, 64, 96)]
    memories = [small(case, pictures=count) for case, counts in ((COARSE, (1, 8)), (PIXELWISE, (1,)))
                for count in counts]
    options = process_options(1 if quick else os.cpu_count() or 2)
    least = ("--batch-size", "2", "--state-size", "16", "--horizon", "2") if quick else ()
    return {
        "share": lambda: measure_share(recipes, repeats),
        "physics": lambda: measure_physics((16,) if quick else (64, 256), 2 if quick else 8, 1 if quick else 10,
                                           repeats if quick else 3 * repeats),
        "environment": lambda: measure_environment(environments, repeats),
        "filters": lambda: measure_filters(((2, 16),) if quick else ((1, 70), (64, 70), (4, 256)), 2 if quick else 5,
                                           repeats, threads),
        "speed": lambda: measure_updates(updates, repeats),
        "batch": lambda: measure_scaling("batch", list(dict.fromkeys(batches)), repeats),
        "size": lambda: measure_scaling("size", list(dict.fromkeys(sizes)), repeats),
        "processes": lambda: measure_processes(options, 4 if quick else 24, 1, least),
        "memory": lambda: measure_memory(list(dict.fromkeys(memories)), threads),
        "photo": lambda: measure_photo(((60, 40),) if quick else SIZES, repeats, threads),
    }


def main(arguments: Arguments) -> dict[str, Table]:
    """Measure the parts, print them as they come, write benchmarks.json and the charts.

    Raises:
        UnknownName: no such part.
        UsageError: repeats or threads below 1.
    """
    if arguments.repeats < 1 or arguments.threads < 1:
        raise UsageError(f"--repeats and --threads must be at least 1; got {arguments.repeats} and {arguments.threads}")
    parts = plan(arguments)
    for name in arguments.parts:
        if name not in parts:
            raise UnknownName("part", name, parts)
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "benchmarks.json"
    try:
        stored = read_object(file, finite=False) if file.exists() else {}
        tables = {name: Table(**table) for name, table in stored.items()}
    except TypeError as error:
        raise UsageError(f"{file}: damaged ({error}); remove it, and everything is measured again") from error
    for name in arguments.parts or parts:
        begun = time.perf_counter()
        table = tables[name] = parts[name]()
        table.about = {"cores": os.cpu_count(), "threads": arguments.threads, "repeats": arguments.repeats,
                       "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None, "versions": versions()}
        print(f"\n{name}: {table.title}  ({time.perf_counter() - begun:.0f} s)\n\n{table.markdown()}", flush=True)
        file.write_text(json.dumps({name: dataclasses.asdict(table) for name, table in tables.items()}, indent=1))
        (arguments.out / f"{name}.json").write_text(json.dumps({"tables": [table.stored()]}, indent=1))
    print(f"\n{', '.join(str(path) for path in [file, *draw(tables, arguments.out)])}")
    return tables


if __name__ == "__main__":
    if sys.argv[1:2] in (["looks"], ["blind"], ["presets"], ["failures"], ["models"], ["start"]):
        command = import_module(f"benchmarks.{sys.argv[1]}")
        sys.exit(run_cli(command.main, command.Arguments, sys.argv[2:]))
    sys.exit(run_cli(main, Arguments))

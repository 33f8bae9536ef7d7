"""`python -m benchmarks failures DIR`: ten photographs of the five kinds that go wrong, before and after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.looks import measure, model_ways, row_of
from benchmarks.table import Table
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.io.contact_sheet import Cell, make_sheet


@dataclass(frozen=True)
class Failure:
    """A photograph that goes wrong.

    Attributes:
        kind: of what goes wrong.
        file: in the folder of the data.
        place: left and top of the crop at 1:1, in pixels.
    """

    kind: str
    file: str
    place: tuple[int, int]


#: Two of each kind: training and validation scenes, and night photographs; none of a test split.
FAILURES = (
    Failure("nearly black", "sice_pairs/low/s205_1499.jpg", (20, 200)),
    Failure("nearly black", "sice_pairs/low/s033_0243.jpg", (0, 150)),
    Failure("window in a dark room", "sice_pairs/low/s252_1911.jpg", (60, 60)),
    Failure("window in a dark room", "sice_pairs/low/s228_1727.jpg", (240, 60)),
    Failure("lamp", "sice_pairs/low/s034_0250.jpg", (60, 0)),
    Failure("lamp", "night_unpaired/VIS26.bmp", (250, 20)),
    Failure("fog", "sice_pairs/low/s136_0975.jpg", (250, 180)),
    Failure("fog", "sice_pairs/low/s125_0918.jpg", (100, 150)),
    Failure("coloured cast", "sice_pairs/low/s187_1322.jpg", (250, 100)),
    Failure("coloured cast", "sice_pairs/low/s180_1216.jpg", (150, 200)),
)


@dataclass(frozen=True)
class Arguments:
    """Brighten ten photographs that are known to go wrong; write a sheet of each kind, and a table of their faults."""

    pictures: Annotated[Path, tyro.conf.Positional]
    """The folder that holds sice_pairs/ and night_unpaired/."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/failures")
    """Folder for the sheets and failures.json."""
    models: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--model"])] = ("natural",)
    """Shipped models or runs: old and new weights side by side."""
    denoise: tuple[str, ...] = ("auto",)
    """Each model with these: auto, or a share from 0 to 1."""
    peer: tuple[str, ...] = ()
    """Published weights beside them, NETWORK=FILE as `import_weights` knows them: zero_dce=Epoch99.pth."""
    crop: int = 200
    """Side of the crops at 1:1 below the whole pictures."""


def main(arguments: Arguments) -> Table:
    """Measure, write the sheets, print the table.

    Raises:
        UsageError: a photograph is missing.
    """
    missing = [failure.file for failure in FAILURES if not (arguments.pictures / failure.file).is_file()]
    if missing:
        raise UsageError(f"{arguments.pictures}: has no {', '.join(missing)}; name the folder that holds sice_pairs "
                         f"and night_unpaired")
    ways = model_ways(arguments.models, arguments.denoise, arguments.peer)
    sheets: dict[str, list[list[Cell]]] = {}
    table = Table("failures", "ten photographs", ("kind", "photograph", "way", "newly burnt, %", "noise, 255ths",
                                                  "banding, %", "mean"))
    for failure in FAILURES:
        path = arguments.pictures / failure.file
        initial = read(path).visible_pixels
        made = {name: way(initial) for name, way in ways.items()}
        reference = path.parent.with_name("high") / path.name
        others = {"reference": read(reference).visible_pixels} if reference.is_file() else {}
        left, top = failure.place
        square = slice(top, top + arguments.crop), slice(left, left + arguments.crop)
        sheets.setdefault(failure.kind, []).append(
            row_of(path.stem, {"input": initial, **made, **others}, arguments.crop, square))
        for name, image in {"input": initial, **made}.items():
            found = measure(image, initial, None, None)
            table.rows.append((failure.kind, path.stem, name, 100 * found["burnt"], found["noise"],
                               100 * found["banding"], found["mean"]))
    for kind, rows in sheets.items():
        columns = max(map(len, rows)) // 2
        empty = Cell(initial[:1, :1], ("",))
        cells = [cell for row in rows for part in (row[: len(row) // 2], row[len(row) // 2 :])
                 for cell in [*part, *[empty] * (columns - len(part))]]
        write(make_sheet(cells, columns, max(300, arguments.crop)),
              arguments.out / f"failures-{kind.replace(' ', '-')}.png")
    (arguments.out / "failures.json").write_text(json.dumps({"rows": table.rows, "tables": [table.stored()]}, indent=1))
    print(f"{table.markdown()}\n\n{arguments.out}")
    return table

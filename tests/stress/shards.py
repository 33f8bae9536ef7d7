"""Shards of data sets, damaged: every picture of a tar file or a Parquet table is read, or the shard is refused."""

import io
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.shards import read_shard
from tests.stress.damage import damaged
from tests.stress.registry import Case, Property


def _picture(number):
    return cv2.imencode(".png", np.full((6, 9, 3), 20 * number, np.uint8))[1].tobytes()


@cache
def _whole():
    """Names and bytes of whole shards."""
    import pyarrow
    import pyarrow.parquet

    found, data = [], io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for number in range(4):
            for part in ("low", "high"):
                member = tarfile.TarInfo(f"s{number:03}_{number}.{part}.png")
                member.size = len(_picture(number))
                tar.addfile(member, io.BytesIO(_picture(number)))
    found.append(("a.tar", data.getvalue()))
    cells = [_picture(number) for number in range(6)]
    tables = ({"image": cells, "name": [f"n{number}" for number in range(6)]}, {"low": cells, "high": cells},
              {"image": [{"bytes": cell, "path": "x"} for cell in cells], "scene": ["s"] * 6})
    with tempfile.TemporaryDirectory() as folder:
        for number, table in enumerate(tables):
            for compression in ("snappy", "zstd", "none"):
                place = Path(folder, f"{number}.parquet")
                pyarrow.parquet.write_table(pyarrow.table(table), place, row_group_size=3, compression=compression)
                found.append((place.name, place.read_bytes()))
    return found


def cases(rng):
    """Damage anywhere; half of the time in the description, at the end of a table."""
    whole = _whole()
    while True:
        name, data = rng.choice(whole)
        at = len(data) // 2 if name.endswith(".parquet") and rng.random() < 0.5 else 0
        yield Case(name, data[:at] + damaged(rng, data[at:], tuple(other for _, other in whole)))


def check(case, folder):
    """All of it; this process does not end, whatever pyarrow does in its child."""
    place = folder / case.name
    place.write_bytes(case.data)
    examples, _ = read_shard(place)
    refused = 0
    for example in examples[:20]:
        for source in filter(None, (example.image, example.target)):
            try:
                source.read()
            except UsageError as error:
                refused += 1
                if str(place) not in str(error):
                    raise
    return {"whole": 1} if not refused else {"refused": 1}


PROPERTY = Property("shards", "A damaged tar file or Parquet table is read, or refused by its name; it never ends this "
                    "process.", cases, check, share=0.5, seconds=30, mib=900, block=40, short=4)

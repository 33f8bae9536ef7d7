"""Weights of strangers: safetensors, torch files for import_weights, NumPy files and ONNX; each is read or named."""

import functools
import io
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.published_weights import IMPORTERS
from rlenhance.hub.info import CONFIG, MODEL, TRAINING
from rlenhance.learning.hub.checkpoint import load_model, load_training, save_checkpoint
from rlenhance.learning.models import MODELS
from tests.stress.damage import damaged
from tests.stress.registry import Case, Property


@functools.cache
def _saved():
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        network = MODELS.create("ffdnet", width=8, layers=3)
        place = save_checkpoint(Path(folder) / "model", network, {"step": 1}, {"step": 1, "state": [torch.ones(3)]})
        return {path.name: path.read_bytes() for path in place.iterdir()}


def _header(rng, data):
    """Another header: sizes, types, places, names."""
    (size,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + size])
    names = [name for name in head if name != "__metadata__"]
    part = head[rng.choice(names)]
    way = rng.randrange(6)
    if way == 0:
        part["shape"] = rng.choice(([], [0], [1 << 62, 4], [-1], [1] * 1000, [2**32, 2**32], "x"))
    elif way == 1:
        part["dtype"] = rng.choice(("F64", "F16", "I64", "BOOL", "C64", "F8_E4M3", "U16", "X", 5))
    elif way == 2:
        part["data_offsets"] = [rng.choice((0, 4, -1, 1 << 40)), rng.choice((0, 4, 1 << 40))]
    elif way == 3:
        head[rng.choice(("x" * 1000, "", "__metadata__", "\n", "a.b"))] = dict(part)
    elif way == 4:
        head["__metadata__"] = rng.choice(({"outline": "[" * 5000}, {"outline": '{"mapping": [[1]]}'}, {}, 5,
                                           {"outline": '{"tensor": "99"}'}))
    else:
        head = {f"w{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
    text = json.dumps(head).encode()
    return struct.pack("<Q", rng.choice((len(text), len(text), 1 << 40, 9 << 20))) + text + data[8 + size :]


def _pickled(rng):
    value = rng.choice(({"a": torch.ones(3)}, [1, 2], {"state_dict": {"x": torch.ones(2, 2)}}, 5, {5: {}}, {"a": "b"}))
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    return file.getvalue()


def _arrays(rng):
    file = io.BytesIO()
    np.savez(file, a=np.ones((3, 3), np.float32), b=np.array(["x"]))
    return damaged(rng, file.getvalue()) if rng.random() < 0.8 else file.getvalue()


def cases(rng):
    """Damage to each kind of file."""
    files = _saved()
    while True:
        for name in (MODEL, TRAINING):
            data = files[name]
            yield Case(name, _header(rng, data) if rng.random() < 0.6 else damaged(rng, data))
        data = _pickled(rng)
        yield Case(rng.choice(("model.pth", "net.pt")), damaged(rng, data) if rng.random() < 0.7 else data)
        yield Case("model.npz", _arrays(rng))
        yield Case("net.onnx", damaged(rng, b"\x08\x07\x12\x04test" * 20))


def check(case, folder):
    """Load the file with the reader of its kind."""
    if case.name in (MODEL, TRAINING):
        for name, data in _saved().items():
            (folder / name).write_bytes(data)
        config = json.loads((folder / CONFIG).read_text())
        del config["digests"]  # a stranger's are right
        (folder / CONFIG).write_text(json.dumps(config))
        (folder / case.name).write_bytes(case.data)
        (load_model if case.name == MODEL else load_training)(folder)
        return None
    (folder / case.name).write_bytes(case.data)
    if case.name.endswith(".onnx"):
        load_model(folder / case.name)
        return None
    counts = {"whole": 0, "refused": 0}
    for reader in map(IMPORTERS.__getitem__, IMPORTERS):
        try:
            reader(folder / case.name)
            counts["whole"] += 1
        except UsageError as error:
            assert case.name in str(error) and "\n" not in str(error), str(error)
            counts["refused"] += 1
    return counts


PROPERTY = Property("checkpoints", "Weights of any bytes are read or refused by name, without a signal.", cases, check,
                    share=1.0, seconds=15, mib=400, block=60, short=5)

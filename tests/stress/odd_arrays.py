"""Weights of strangers as arrays and tensors of every kind: taken as they should be, or refused by file and name."""

import warnings
import zipfile

import numpy as np
import torch

from rlenhance.learning.hub.plain_arrays import checked_arrays, read_npz, read_state_dict
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property

_TENSORS = {
    "plain": lambda n: torch.ones(3), "half": lambda n: torch.ones(3, dtype=torch.float16),
    "whole": lambda n: torch.ones(3, dtype=torch.int64), "double": lambda n: torch.ones(3, dtype=torch.float64),
    "truth": lambda n: torch.ones(3, dtype=torch.bool), "empty": lambda n: torch.ones(0),
    "expanded": lambda n: torch.ones(1).expand(n), "twice": lambda n: torch.ones(1).expand(n, n),
    "view": lambda n: torch.ones(9)[::3], "complex": lambda n: torch.ones(3, dtype=torch.complex64),
    "meta": lambda n: torch.ones(n, device="meta"), "sparse": lambda n: torch.ones(3).to_sparse(),
    "compressed": lambda n: torch.eye(3).to_sparse_csr(), "not finite": lambda n: torch.full((3,), float("nan")),
    "quantized": lambda n: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "nested": lambda n: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "parameter": lambda n: torch.nn.Parameter(torch.ones(3)), "scalar": lambda n: torch.tensor(1.0)}
_TAKEN = {"plain", "truth", "half", "whole", "double", "view", "parameter"}
_HEADERS = ("(3,)", "(300000000,)", "(3, 100000000)", "(-3,)", "()", "(3", "(10**12,)", "(0, 3)", "(True,)")
_TYPES = ("<f4", "<f8", "<c8", "|O", "<U9", "|V4", "<i8", ">f4", "<f16", "<M8[s]")


def cases(rng):
    """A tensor of any kind in a .pth, or an array of any header in a .npz; a third of them are damaged."""
    while True:
        options = {"harm": rng.randrange(2**32) if rng.random() < 0.3 else None}
        if rng.random() < 0.5:
            yield Case("w.pth", options=options | {"kind": rng.choice(list(_TENSORS)),
                                                   "count": 10 ** rng.randrange(1, 10)})
        else:
            yield Case("w.npz", options=options | {"shape": rng.choice(_HEADERS), "dtype": rng.choice(_TYPES),
                                                   "bytes": rng.choice((12, 0, 24, 3_000_000))})


def check(case, folder):
    """Within the memory of an idle process, whatever the file says of itself."""
    import random

    place, asked = folder / case.name, case.options
    if case.name.endswith(".pth"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save({"a": _TENSORS[asked["kind"]](asked["count"])}, place)
    else:
        head = f"{{'descr': '{asked['dtype']}', 'fortran_order': False, 'shape': {asked['shape']}, }}\n".encode()
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(asked["bytes"]))
    if asked["harm"] is not None:
        place.write_bytes(damaged(random.Random(asked["harm"]), place.read_bytes()))
    found = read_state_dict(place) if case.name.endswith(".pth") else read_npz(place)
    arrays = checked_arrays(place, found, {"a": (3,)}, "it takes one")
    if arrays["a"].shape != (3,) or arrays["a"].dtype != torch.float32 or not np.isfinite(arrays["a"].numpy()).all():
        raise Broken(f"{case.options}: {arrays}")
    if asked["harm"] is None and case.name.endswith(".pth") and asked["kind"] not in _TAKEN:
        raise Broken(f"{asked['kind']} was taken")


PROPERTY = Property("odd_arrays", "Arrays and tensors of every kind, shape and size are taken as plain numbers, or "
                    "refused by file and name, before memory is taken for them.", cases, check, share=0.3, seconds=10,
                    mib=400, block=60, short=12)

"""Models of strangers: config.json and weights are checked by type, range and size before anything is built of them."""

import json
import resource
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.published_weights import IMPORTERS
from rlenhance.hub.info import CONFIG, MAX_HEADER, MODEL, TRAINING, read_info
from rlenhance.hub.open import open_network
from rlenhance.learning.hub.checkpoint import load_model, load_network, load_training, save_checkpoint
from rlenhance.learning.hub.plain_arrays import checked_arrays, read_npz, read_state_dict
from rlenhance.learning.models import MODELS

BACKBONE = {"name": "compact", "width": 8}


@pytest.fixture
def model(tmp_path):
    """A checkpoint, and a function that changes a field of its config.json by a path with dots."""
    torch.manual_seed(0)
    policy = MODELS.create("pixel_policy", actions={"name": "tone"}, backbone=BACKBONE, decision_size=16)
    place = save_checkpoint(tmp_path / "model", policy, {"step": 1}, {"step": 1, "state": torch.ones(3)})

    def change(path, value):
        config = json.loads((place / CONFIG).read_text())
        *parts, last = path.split(".")
        holder = config
        for part in parts:
            holder = holder[part]
        holder[last] = value
        (place / CONFIG).write_text(json.dumps(config))
        return place

    return change


@pytest.mark.parametrize(("path", "value", "wanted"), [
    ("model.backbone.width", -1, r"model\.backbone\.width must lie in \[1, 2,048\]; got -1"),
    ("model.backbone.width", 20_000, r"width must lie in \[1, 2,048\]; got 20000"),
    ("model.backbone.width", 2048, r"the config asks for more|do not fit together"),
    ("model.backbone.width", True, "width must be a whole number; got True"),
    ("model.backbone.dilations", [1, 2] * 1000, "dilations must have at most 256 entries; got 2,000"),
    ("model.backbone.dilations", [1, float("nan")], "dilations must be finite; got nan"),
    ("model.backbone.dilations", 3, "dilations must be a list, each entry a whole number; got 3"),
    ("model.backbone.name", "nonsense", "unknown backbone 'nonsense'"),
    ("model.backbone.nonsense", 1, "has no such argument; it takes"),
    ("model.horizon", float("inf"), "horizon must be finite; got inf"),
    ("model.horizon", 10**9, r"model\.horizon must lie in \[1, 1,000\]; got 1000000000"),
    ("model.horizon", "8", "horizon must be a whole number; got '8'"),
    ("model.decision_size", 10**6, "decision_size must lie in"),
    ("model.actions", None, 'actions must be an object with a "name"|actions must be an object'),
    ("model.name", 5, 'must be an object with a "name" in quotes'),
])
def test_an_argument_of_a_foreign_model_is_named_with_its_range(model, path, value, wanted):
    place = model(path, value)
    with pytest.raises(UsageError, match=wanted) as refused:
        load_network(place)
    assert str(place / CONFIG) in str(refused.value) or "fit together" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("field", "value"), [
    ("scale", 1e9), ("scale", 10**6), ("channels", "3"), ("preferences", {"exposure_level": [0, 1]}),
    ("auto_preferences", "auto"), ("receptive_radius", -1), ("about", {"without_effect": 5}), ("needs_mask", "no")])
def test_a_field_of_the_description_is_named(model, field, value):
    place = model(field, value)
    with pytest.raises(UsageError, match=f"{CONFIG}: .*({field}|without_effect)"):
        read_info(place)


def test_nothing_is_built_beyond_the_size_of_the_weights(model, monkeypatch):
    """A network of 150 million numbers is refused before its tensors are made."""
    made = []
    place = model("model.backbone", {"name": "fcn", "width": 2048, "dilations": [1] * 64})

    def fill(tensor, **_):
        made.append(tensor.numel())
        return tensor

    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", fill)
    with pytest.raises(UsageError, match=r"numbers in .* tensors, and the config asks for more"):
        load_network(place)
    assert sum(made) < 20e6


def test_a_prior_that_names_itself_ends(model, tmp_path):
    place = save_checkpoint(tmp_path / "fill", MODELS.create("completion_policy", backbone=BACKBONE))
    config = json.loads((place / CONFIG).read_text())
    config["model"]["prior"] = str(place)
    (place / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UsageError, match="its prior has a prior"):
        load_network(place)


@pytest.mark.parametrize("read", [load_model, load_training])
def test_a_huge_header_and_odd_types_are_refused(model, read):
    place = model("about", {})
    name = MODEL if read is load_model else TRAINING
    (place / name).write_bytes(struct.pack("<Q", MAX_HEADER + 1) + b"{" + b" " * 100)
    with pytest.raises(UsageError, match=f"{name}: .*(header of|not what was saved)"):
        read(place)
    if read is load_model:
        save_file({"a": torch.ones(2, dtype=torch.complex64)}, place / name)
        with pytest.raises(UsageError, match=f"{name}: the weight a is of type C64"):
            read(place)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    """Zeros take a thousandth of their size in an archive: it is refused before they are unpacked."""
    monkeypatch.setattr("rlenhance.learning.hub.plain_arrays._MOST_UNPACKED", 1 << 20)
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2 << 20))
    with pytest.raises(UsageError, match=r"model\.npz: unpacks to 2,097,152 bytes; the limit is 1,048,576"):
        IMPORTERS["rellie"](path)


@pytest.mark.parametrize("torch_there", [True, False])
@pytest.mark.parametrize(("path", "value", "wanted"), [
    ("model.horizon", 10**9, r"horizon must lie in \[1, 1,000\]"),
    ("model.backbone.dilations", [1] * 300, "at most 256 entries"),
    ("digests", {MODEL: "0" * 32}, f"{MODEL}: damaged, it is not what was saved"),
])
def test_models_for_arrays_are_checked_as_well(model, monkeypatch, path, value, wanted, torch_there):
    """What is computed without torch has the same limits and digests."""
    place = model(path, value)
    if not torch_there:
        monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=wanted):
        open_network(place)


def test_arguments_that_the_engine_does_not_know_are_left_to_torch(model):
    """A policy of a later version is never computed without a part of it."""
    with pytest.raises(UsageError, match="has no such argument"):
        open_network(model("model.nonsense", 1))


ODD_TENSORS = {
    "expanded": lambda: torch.zeros(1).expand(40_000, 40_000), "meta": lambda: torch.zeros(3, device="meta"),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64), "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.parametrize("shape", [(3,), (40_000, 40_000)])
def test_odd_tensors_are_refused_before_anything_is_computed(kind, shape, tmp_path):
    """By the file and the name, whatever shape is expected: an expanded tensor would take gigabytes."""
    path = tmp_path / "odd.pth"
    torch.save({"a.weight": ODD_TENSORS[kind]()}, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=r"odd\.pth: (a\.weight|damaged)") as refused:
        checked_arrays(path, read_state_dict(path), {"a.weight": shape}, "it takes one")
    assert "\n" not in str(refused.value) and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize(("array", "wanted"), [
    (np.zeros((50_000, 1000), np.float32), "has shape"), (np.zeros(3, np.complex64), "holds values of the type"),
    (np.array(["a"] * 3), "holds values of the type"), (np.array([{}] * 3, dtype=object), "holds pickled objects")])
def test_odd_arrays_are_refused_by_their_headers(array, wanted, tmp_path):
    """Nothing is unpacked of an array of another shape or kind."""
    np.savez_compressed(tmp_path / "odd.npz", a=array)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_npz(tmp_path / "odd.npz")
    with pytest.raises(UsageError, match=rf"odd\.npz: a {wanted}"):
        checked_arrays(tmp_path / "odd.npz", found, {"a": (3,)}, "it takes one")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_array_that_lies_about_its_shape_is_refused(tmp_path):
    """A header that claims more numbers than the archive holds."""
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    data = (tmp_path / "a.npy").read_bytes().replace(b"(3, 4)", b"(3, 9)")
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(UsageError, match="a says that it has the shape"):
        checked_arrays(tmp_path / "odd.npz", read_npz(tmp_path / "odd.npz"), {"a": (3, 9)}, "it takes one")

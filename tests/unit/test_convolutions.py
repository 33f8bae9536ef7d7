"""Compiled convolutions: equal to torch for every kind, in groups, at any size, with any number of threads."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.core.errors import UsageError
from rlenhance.engine import convolutions
from rlenhance.engine.array_operations import evaluate
from rlenhance.engine.convolution_plan import plan
from rlenhance.engine.convolutions import Convolutions
from rlenhance.engine.graph import COMPILED, NUMPY
from rlenhance.engine.networks import load
from rlenhance.engine.onnx_file import Node
from rlenhance.hub import shipped
from rlenhance.hub.info import read_config, read_weights
from rlenhance.hub.open import open_network
from rlenhance.learning.hub.checkpoint import load_network

pytestmark = pytest.mark.skipif(convolutions.NATIVE is None, reason="the package was installed without a C compiler")
KINDS = {"cells": ("Conv", 3, 1, 1), "points": ("Conv", 1, 0, 1), "down": ("Conv", 2, 0, 2),
         "up": ("ConvTranspose", 2, 0, 2)}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def convolution(kind, source, result, groups=1, bias=True):
    operation, side, pad, step = KINDS[kind]
    attributes = {"kernel_shape": [side, side], "pads": [pad] * 4, "group": groups}
    return Node(operation, (source, f"{result}.weight", *[f"{result}.bias"] * bias), result,
                attributes if step == 1 else {**attributes, "strides": [step, step]})


def run(nodes, weights, inputs, wanted=("out",), threads=1):
    found = Convolutions(plan(nodes, weights, list(inputs), list(wanted)), threads)(inputs, list(wanted))
    return found[0] if len(found) == 1 else found


@pytest.mark.parametrize("size", [(2, 2), (8, 6), (22, 50), (10, 148)])
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(5, 3, 1), (40, 20, 1), (32, 64, 4), (128, 64, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_equals_torch(kind, inputs, outputs, groups, size):
    """Channels need not fill vectors or panels where there are no groups; several pictures are computed alike."""
    operation, side, pad, step = KINDS[kind]
    shape = (outputs, inputs // groups) if operation == "Conv" else (inputs, outputs // groups)
    weights = {"out.weight": numbers(*shape, side, side, seed=1), "out.bias": numbers(outputs, seed=2)}
    pictures = numbers(2, inputs, *size)
    found = run([convolution(kind, "in", "out", groups)], weights, {"in": pictures}) if kind != "points" else \
        run([convolution("points", "in", "mid", groups), convolution("cells", "mid", "out", bias=False)],
            {"mid.weight": weights["out.weight"], "mid.bias": weights["out.bias"],
             "out.weight": np.pad(np.eye(outputs, dtype=np.float32)[..., None, None], ((0, 0),) * 2 + ((1, 1),) * 2)},
            {"in": pictures})
    function = F.conv2d if operation == "Conv" else F.conv_transpose2d
    wanted = function(torch.from_numpy(pictures), *map(torch.from_numpy, weights.values()), stride=step, padding=pad,
                      groups=groups).numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max() + 1e-5


def gated(groups=1):
    """A gate as in recurrent cells, whose film follows from an array that is no picture."""
    nodes = [convolution("cells", "in", "seen", groups), Node("Relu", ("seen",), "lit", {}),
             Node("Gemm", ("rest", "film.weight", "film.bias"), "film", {"transB": 1}),
             Node("Unsqueeze", ("film", "axes"), "filmed", {}), Node("Mul", ("lit", "filmed"), "scaled", {}),
             convolution("points", "scaled", "own", groups),
             convolution("points", "state", "other", groups, bias=False),
             Node("Add", ("own", "other"), "sum", {}), Node("Sigmoid", ("sum",), "gate", {}),
             Node("Sub", ("scaled", "state"), "change", {}), Node("Mul", ("gate", "change"), "moved", {}),
             Node("Add", ("state", "moved"), "after", {}), convolution("cells", "after", "out")]
    weights = {"seen.weight": numbers(32, 16 // groups, 3, 3, seed=1), "seen.bias": numbers(32, seed=2),
               "film.weight": numbers(32, 1, seed=3), "film.bias": numbers(32, seed=4),
               "axes": np.array([2, 3]), "own.weight": numbers(32, 32 // groups, 1, 1, seed=5),
               "own.bias": numbers(32, seed=6), "other.weight": numbers(32, 32 // groups, 1, 1, seed=7),
               "out.weight": numbers(11, 32, 3, 3, seed=8), "out.bias": numbers(11, seed=9)}
    return nodes, {name: value if name == "axes" else 0.2 * value for name, value in weights.items()}


def by_torch(weights, inputs, groups):
    own = {name: torch.from_numpy(value) for name, value in {**weights, **inputs}.items()}
    lit = F.relu(F.conv2d(own["in"], own["seen.weight"], own["seen.bias"], padding=1, groups=groups))
    scaled = lit * F.linear(own["rest"], own["film.weight"], own["film.bias"])[..., None, None]
    gate = torch.sigmoid(F.conv2d(scaled, own["own.weight"], own["own.bias"], groups=groups)
                         + F.conv2d(own["state"], own["other.weight"], groups=groups))
    after = own["state"] + gate * (scaled - own["state"])
    return F.conv2d(after, own["out.weight"], own["out.bias"], padding=1).numpy(), after.numpy()


@pytest.mark.parametrize("groups", [1, 2])
def test_what_acts_on_every_pixel_alone_equals_torch(groups):
    """Several inputs and outputs; each picture has its own array beside it."""
    nodes, weights = gated(groups)
    inputs = {"in": numbers(2, 16, 13, 30, seed=10), "state": numbers(2, 32, 13, 30, seed=11),
              "rest": numbers(2, 1, seed=12)}
    for found, wanted in zip(run(nodes, weights, inputs, ("out", "after")), by_torch(weights, inputs, groups),
                             strict=True):
        assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("count", [3, 16])
def test_the_input_may_be_added(count):
    """Its channels need not fill panels."""
    nodes = [convolution("cells", "in", "seen", bias=False), Node("Add", ("in", "seen"), "sum", {}),
             convolution("cells", "sum", "out", bias=False)]
    weights = {f"{name}.weight": numbers(count, count, 3, 3, seed=seed) for seed, name in enumerate(("seen", "out"))}
    picture = numbers(1, count, 9, 14)
    now = torch.from_numpy(picture)
    for kernel, share in zip(weights.values(), (1, 0), strict=True):
        now = share * now + F.conv2d(now, torch.from_numpy(kernel), padding=1)
    found = run(nodes, weights, {"in": picture})
    assert np.abs(found - now.numpy()).max() < 1e-4 * float(now.abs().max())


def test_pictures_of_two_sizes_are_not_added():
    """A foreign graph could read beside a layer otherwise."""
    nodes = [convolution("cells", "in", "seen", bias=False), convolution("down", "seen", "half", bias=False),
             convolution("cells", "half", "more", bias=False), Node("Add", ("more", "seen"), "out", {})]
    weights = {"seen.weight": numbers(16, 16, 3, 3), "half.weight": numbers(16, 16, 2, 2),
               "more.weight": numbers(16, 16, 3, 3)}
    with pytest.raises(ValueError, match="a sum of pictures of"):
        run(nodes, weights, {"in": numbers(1, 16, 12, 12)})


def test_threads_and_bands_do_not_show():
    """The same bits; a picture of several bands."""
    nodes, weights = gated()
    inputs = {"in": numbers(1, 16, 130, 90), "state": numbers(1, 32, 130, 90), "rest": numbers(1, 1)}
    assert np.array_equal(*(run(nodes, weights, inputs, threads=count) for count in (1, 3)))


def test_what_follows_from_weights_is_computed_once():
    """Kernels that are turned within a graph become constants of its plan."""
    nodes = [Node("Constant", (), "places", {"value": np.arange(9)[::-1].copy()}),
             Node("Constant", (), "flat", {"value": np.array([3, 4, 9])}),
             Node("Constant", (), "square", {"value": np.array([3, 4, 3, 3])}),
             Node("Reshape", ("kernel", "flat"), "rows", {}), Node("Gather", ("rows", "places"), "turned", {"axis": 2}),
             Node("Reshape", ("turned", "square"), "out.weight", {}), convolution("cells", "in", "out", bias=False)]
    kernel, picture = numbers(3, 4, 3, 3), numbers(1, 4, 9, 9)
    made = plan(nodes, {"kernel": kernel}, ["in"], ["out"])
    assert np.array_equal(made.known["out.weight"], kernel[..., ::-1, ::-1]) and not made.later
    wanted = F.conv2d(torch.from_numpy(picture), torch.from_numpy(kernel[..., ::-1, ::-1].copy()), padding=1).numpy()
    assert np.abs(Convolutions(made, 1)({"in": picture}, ["out"])[0] - wanted).max() < 1e-4


@pytest.mark.parametrize("nodes", [
    [Node("Conv", ("in", "out.weight"), "out", {"kernel_shape": [3, 3], "pads": [0, 0, 0, 0]})],
    [Node("Conv", ("in", "out.weight"), "out", {"kernel_shape": [3, 3], "pads": [1] * 4, "dilations": [2, 2]})],
    [convolution("cells", "in", "out", groups=2)], [convolution("cells", "in", "out"), Node("Pad", ("out",), "x", {})],
    [Node("Sigmoid", ("in",), "out", {})], [convolution("cells", "in", "x")], [convolution("cells", "y", "out")], []])
def test_other_graphs_are_left_to_the_other_backends(nodes):
    """Other kernels, groups that do not fill vectors, other operations, outputs that no convolution makes."""
    with pytest.raises(ValueError):
        plan(nodes, {"out.weight": numbers(16, 4, 3, 3)}, ["in"], ["out"])


def test_arrays_that_would_grow_without_bound_are_refused():
    """A few nodes of a foreign graph could ask for any memory."""
    with pytest.raises(ValueError, match="numbers"):
        evaluate(Node("Gather", (), "", {"axis": 0}), [np.zeros(1 << 14), np.zeros(1 << 14, np.int64)])
    with pytest.raises(ValueError, match="numbers"):
        evaluate(Node("Add", (), "", {}), [np.zeros((1 << 14, 1)), np.zeros(1 << 14)])
    with pytest.raises(ValueError, match="Transpose"):
        evaluate(Node("Transpose", (), "", {}), [np.zeros((2, 2))])


@pytest.mark.parametrize("part", ["model", "later"])
def test_the_shipped_policy_over_filters_is_compiled(part):
    """All views at once, in groups, with the memory between steps."""
    folder = shipped.FOLDER / "filters-grey"
    found, other = (load(folder, read_config(folder), read_weights(folder), backend).graphs[part]
                    for backend in (None, NUMPY))
    assert found.backend == COMPILED
    inputs = {"cells": np.abs(numbers(1, 8, 24, 32))}
    if part == "later":
        inputs |= {"remaining": np.full((1, 1), 0.5, np.float32), "state": numbers(1, 128, 24, 32)}
    for one, two in zip(found.run(**inputs), other.run(**inputs), strict=True):
        assert np.abs(one - two).max() < 1e-5 * max(1, np.abs(two).max())


def test_a_checkpoint_with_a_part_missing_falls_back_to_torch(tmp_path):
    """Its export is of a version with fewer parts."""
    folder = shutil.copytree(shipped.FOLDER / "upscale", tmp_path / "upscale")
    (folder / "generator.onnx").unlink()
    with pytest.raises(UsageError, match="write it anew with rlenhance export"):
        load(folder, read_config(folder), read_weights(folder))
    image = np.abs(numbers(1, 3, 12, 16)).clip(0, 1)
    with torch.no_grad():
        wanted = load_network(folder).restore_unclamped(torch.from_numpy(image)).numpy()
    assert np.abs(open_network(folder).restore_unclamped(image) - wanted).max() < 1e-6

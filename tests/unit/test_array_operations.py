"""Graphs that NumPy computes: every operation that an export may have, as torch computes it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance.engine.array_operations import ArrayGraph, evaluate
from rlenhance.engine.onnx_file import Node


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("side", "pad", "step", "gap", "groups"), [
    (3, 1, 1, 1, 1), (3, 0, 2, 1, 1), (3, 2, 1, 2, 2), (1, 0, 1, 1, 4), (2, 0, 2, 1, 1), (5, 2, 3, 1, 2)])
def test_convolutions_equal_torch(side, pad, step, gap, groups, count):
    """Also those that are not compiled; of pictures of several bands too."""
    kernel, bias = numbers(12, 8 // groups, side, side, seed=1), numbers(12, seed=2)
    about = {"kernel_shape": [side] * 2, "pads": [pad] * 4, "strides": [step] * 2, "dilations": [gap] * 2,
             "group": groups}
    for size in ((11, 14), (90, 120)):
        pictures = numbers(count, 8, *size)
        wanted = F.conv2d(*map(torch.from_numpy, (pictures, kernel, bias)), step, pad, gap, groups).numpy()
        found = evaluate(Node("Conv", (), "", about), [pictures, kernel, bias])
        assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize(("side", "pad", "step", "groups"), [(2, 0, 2, 1), (4, 3, 2, 1), (3, 1, 1, 2), (2, 0, 3, 2)])
def test_convolutions_that_enlarge_equal_torch(side, pad, step, groups):
    pictures, kernel, bias = numbers(2, 8, 7, 9), numbers(8, 6 // groups, side, side, seed=1), numbers(6, seed=2)
    wanted = F.conv_transpose2d(*map(torch.from_numpy, (pictures, kernel, bias)), step, pad, groups=groups).numpy()
    about = {"kernel_shape": [side] * 2, "pads": [pad] * 4, "strides": [step] * 2, "group": groups}
    found = evaluate(Node("ConvTranspose", (), "", about), [pictures, kernel, bias])
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-4


def test_borders_are_repeated_or_zero():
    picture, sides = numbers(1, 2, 4, 5), np.array([0, 0, 1, 2, 0, 0, 3, 0])
    for mode, name in ((b"edge", "replicate"), (None, "constant")):
        about = {} if mode is None else {"mode": mode}
        wanted = F.pad(torch.from_numpy(picture), (2, 0, 1, 3), name).numpy()
        assert np.array_equal(evaluate(Node("Pad", (), "", about), [picture, sides]), wanted)


@pytest.mark.parametrize(("kind", "about", "arrays"), [
    ("Conv", {"pads": [1 << 20] * 4}, (numbers(1, 1, 2, 2), numbers(1, 1, 3, 3))),
    ("ConvTranspose", {"strides": [1 << 20] * 2}, (numbers(1, 1, 4, 4), numbers(1, 1, 3, 3))),
    ("Pad", {}, (numbers(2, 2), np.array([0, 0, 1 << 20, 1 << 20]))),
    ("ConstantOfShape", {"value": np.zeros(1, np.int64)}, (np.array([1 << 20, 1 << 20]),)),
    ("MatMul", {}, (numbers(1 << 14, 1), numbers(1, 1 << 14)))])
def test_what_would_take_all_memory_is_refused(kind, about, arrays):
    """A few nodes of a foreign graph could ask for it."""
    with pytest.raises(ValueError, match="numbers"):
        evaluate(Node(kind, (), "", about), arrays)


@pytest.mark.parametrize(("kind", "about"), [
    ("Conv", {"auto_pad": b"SAME_UPPER"}), ("ConvTranspose", {"dilations": [2, 2]}), ("Conv", {"group": 7}),
    ("Cast", {"to": 9}), ("Pad", {"mode": b"wrap"}), ("If", {})])
def test_what_no_export_has_is_refused(kind, about):
    with pytest.raises(ValueError):
        evaluate(Node(kind, (), "", about), [numbers(1, 2, 5, 5), numbers(2, 2, 3, 3)][: 1 + (kind != "Cast")])


def test_what_follows_from_weights_is_computed_once():
    """And the results of a graph are those of its operations, one after the other."""
    nodes = [Node("Transpose", ("kernel",), "turned", {"perm": [1, 0]}), Node("MatMul", ("in", "turned"), "mid", {}),
             Node("Relu", ("mid",), "lit", {}), Node("Add", ("lit", "mid"), "out", {})]
    graph, weights = ArrayGraph(nodes, {"kernel": numbers(3, 4)}), numbers(2, 4, seed=1)
    assert [node.kind for node in graph.nodes] == ["MatMul", "Relu", "Add"]
    mid = weights @ numbers(3, 4).T
    for found, wanted in zip(graph({"in": weights}, ["out", "mid"]), (mid + mid.clip(0), mid), strict=True):
        assert np.array_equal(found, wanted)

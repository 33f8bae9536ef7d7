"""RL-Restore: its arrays are read as TensorFlow computes them; its policy restores its sample pairs.

The last tests need the published files: RLENHANCE_DATA names a folder with weights/rlrestore.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from research.rl_restore_scores import Arguments, main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.published_weights import read_rl_restore
from rlenhance.learning.models import RL_RESTORE
from rlenhance.tools import rl_restore_tool, tool_of, toolkit
from tests.support.published import made_up_rl_restore, made_up_rl_tools

DATA = os.environ.get("RLENHANCE_DATA")
published = pytest.mark.skipif(not DATA, reason="RLENHANCE_DATA names no folder with weights/rlrestore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Made-up weights of the published names and shapes."""
    place = made_up_rl_tools(tmp_path_factory.mktemp("rl_restore"))
    np.savez(place / "policy.npz", **made_up_rl_restore())
    return place


def convolve(values, weights, bias, stride=1):
    """TensorFlow's "SAME" convolution of (height, width, channels): the odd pixel of padding lies behind."""
    size = weights.shape[0]
    pads, sizes = [], []
    for length in values.shape[:2]:
        out = -(-length // stride)
        missing = max((out - 1) * stride + size - length, 0)
        pads.append((missing // 2, missing - missing // 2))
        sizes.append(out)
    padded = np.pad(values, (*pads, (0, 0)))
    result = np.zeros((*sizes, weights.shape[-1])) + bias
    for i in range(size):
        for j in range(size):
            part = padded[i : i + (sizes[0] - 1) * stride + 1 : stride, j : j + (sizes[1] - 1) * stride + 1 : stride]
            result += part @ weights[i, j]
    return result


def relu(values):
    return np.maximum(values, 0)


@pytest.mark.parametrize("number", [1, 3, 6, 8, 11])
def test_a_tool_computes_what_its_arrays_say(folder, number):
    """On the picture with height and width swapped, in the order of the arrays (an independent convolution)."""
    arrays, rng = np.load(folder / f"tool{number:02d}.npz"), np.random.default_rng(number)
    picture = 0.3 + 0.4 * rng.random((13, 10, 3), np.float32)
    layer = lambda values, name: convolve(values, arrays[f"{name}.weights"], arrays[f"{name}.biases"])  # noqa: E731
    swapped = picture.swapaxes(0, 1)
    features = relu(layer(swapped, "conv1"))
    if "conv1_2.weights" in arrays:
        features = layer(features, "conv1_2")
        for first, second in (("conv2", "conv2a"), ("conv2c", "conv2d")):
            features = features + layer(relu(layer(relu(features), first)), second)
        features = relu(layer(features, "conv2_2"))
    else:
        features = relu(layer(features, "conv2"))
    expected = (swapped + layer(features, "conv3")).swapaxes(0, 1).clip(0, 1)
    tool = rl_restore_tool(number, folder)
    assert np.abs(tool(picture) - expected).max() < 1e-5 and np.abs(expected - picture).max() > 1e-3
    assert tool.name == RL_RESTORE[number - 1] and tool_of(tool.name, path=folder)(picture).shape == (13, 10, 3)


def test_the_policy_computes_what_its_arrays_say(folder):
    """Two steps with memory, against TensorFlow's convolutions and LSTM in NumPy."""
    arrays, place = made_up_rl_restore(), "prediction"
    policy, rng = read_rl_restore(folder / "policy.npz"), np.random.default_rng(0)
    state, memory, cell = None, np.zeros(50), np.zeros(50)
    last = np.zeros(13)
    for step in range(2):
        picture = rng.random((63, 63, 3), np.float32)
        features = picture.swapaxes(0, 1)
        for index in range(1, 5):
            features = relu(convolve(features, arrays[f"{place}.l{index}.w"], arrays[f"{place}.l{index}.biases"], 2))
        features = relu(features.ravel() @ arrays[f"{place}.l7.Matrix"] + arrays[f"{place}.l7.bias"])
        units = f"{place}.prediction_rnn.basic_lstm_cell"
        gates = np.concatenate([features, last[:12], memory]) @ arrays[f"{units}.kernel"] + arrays[f"{units}.bias"]
        enter, new, keep, leave = np.split(gates, 4)
        logistic = lambda values: 1 / (1 + np.exp(-values))  # noqa: E731
        cell = cell * logistic(keep + 1) + logistic(enter) * np.tanh(new)
        memory = np.tanh(cell) * logistic(leave)
        expected = memory @ arrays[f"{place}.q.Matrix"] + arrays[f"{place}.q.bias"]
        observation = {"image": torch.from_numpy(picture.transpose(2, 0, 1).copy())[None],
                       "last_tools": torch.from_numpy(last)[None].float()}
        with torch.no_grad():
            values, state = policy.advance(observation, state)
        assert np.abs(values[0].numpy() - expected).max() < 1e-4
        last = np.eye(13)[3 + step]


def test_the_policy_stops_for_good(folder):
    """A patch that was stopped stays; a chain has at most the steps that are asked for."""
    policy, tools = read_rl_restore(folder / "policy.npz"), toolkit("rl-restore", folder)
    images = torch.rand(6, 3, 63, 63, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        policy.values.bias[12] = 100.0
        assert all((choices == 12).all() and torch.equal(after, images) for choices, after in policy.run(images, tools))
        assert policy.plan(images[:1], tools) == []
        policy.values.bias[12] = -100.0
    trace = policy.run(images, tools, steps=2)
    assert len(trace) == 2 and all((choices < 12).all() for choices, _ in trace)
    plan = policy.plan(images[:1], tools, steps=2)
    assert [name for name, _ in plan] == [RL_RESTORE[int(choices[0])] for choices, _ in trace]
    assert torch.allclose(plan[-1][1], trace[-1][1][:1], atol=1e-5)
    with pytest.raises(UsageError, match="its own tools"):
        policy.run(images, tools[:3])
    with pytest.raises(UsageError, match="no prices"):
        policy.plan(images[:1], tools, price=0.5)
    with pytest.raises(UsageError, match="63x63"):
        policy.advance({"image": images[..., :32], "last_tools": torch.zeros(6, 13)})
    assert policy({"image": torch.rand(2, 3, 200, 40)}).shape == (2, 13)


def test_other_files_are_refused(folder, tmp_path):
    """A missing, damaged or foreign file is named with what is wanted."""
    with pytest.raises(UsageError, match=r"tool01\.npz: no such file"):
        toolkit("rl-restore", tmp_path)
    (tmp_path / "tool01.npz").write_bytes(b"PK\x03\x04" + bytes(99))
    with pytest.raises(UsageError, match="damaged"):
        toolkit("rl-restore", tmp_path)
    (tmp_path / "tool01.npz").write_bytes((folder / "tool03.npz").read_bytes())
    with pytest.raises(UsageError, match="also holds conv1_2"):
        toolkit("rl-restore", tmp_path)
    arrays = dict(np.load(folder / "tool01.npz"))
    np.savez(tmp_path / "tool01.npz", **{**arrays, "conv1.biases": np.full(32, np.nan, np.float32)})
    with pytest.raises(UsageError, match="not finite"):
        toolkit("rl-restore", tmp_path)
    np.savez(tmp_path / "tool01.npz", **{**arrays, "conv1.biases": np.array([print], object)})
    with pytest.raises(UsageError, match="pickles are never"):
        toolkit("rl-restore", tmp_path)
    with pytest.raises(UsageError, match="rl_restore takes"):
        read_rl_restore(folder / "tool01.npz")


@published
def test_the_published_policy_restores_its_sample_pairs():
    """At least 3.4 dB on the mean of four pairs of every level, in three steps (its own weights and pictures)."""
    scores = main(Arguments(Path(DATA) / "weights" / "rlrestore"))
    for level, wanted in (("mild", 24.71), ("moderate", 24.78), ("severe", 23.43)):
        assert scores[f"samples/{level}"][-1] == pytest.approx(wanted, abs=0.1)

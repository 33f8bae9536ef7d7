"""The ancestors' networks are the published ones: the same actions, curves and pictures as a re-computation in NumPy.

The last tests need the published files: RLENHANCE_DATA names a folder with weights/ and lowlight/.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.ndimage import correlate

from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import collect_rollout
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.collapse import collapse_metrics, collapse_warning, policy_collapse_metrics
from rlenhance.experiments.core.published_weights import read_pixelrl, read_rellie, read_zero_dce
from rlenhance.experiments.tasks.lowlight_evaluate import score_picture
from rlenhance.io import read
from rlenhance.learning.actions import PIXELRL_TOOLS
from rlenhance.learning.data import Batch
from rlenhance.learning.models import build_model
from rlenhance.learning.ops.image import to_tensor
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.pictures import noisy
from tests.support.published import convolve, made_up_pixelrl, made_up_rellie, made_up_zero_dce

DATA = os.environ.get("RLENHANCE_DATA")
published = pytest.mark.skipif(not DATA, reason="RLENHANCE_DATA names no folder with weights/ and lowlight/")


# --- the published law once more, in NumPy ---


def published_logits(x, arrays):
    """The three heads of the released network for a BGR picture (3, H, W): r, g, b, each (27, H, W)."""
    def layer(name, x, dilation=1):
        return np.maximum(convolve(x, arrays[f"{name}/W"], arrays[f"{name}/b"], dilation), 0)

    x = layer("conv1", x)
    for name, dilation in (("2", 2), ("3", 3), ("4", 4), ("5_pi", 3), ("6_pi", 2)):
        x = layer(f"diconv{name}/diconv", x, dilation)
    return [convolve(x, arrays[f"conv7_{head}_pi/model/W"], arrays[f"conv7_{head}_pi/model/b"]) for head in "rgb"]


def published_step(x, indices):
    """The released transition on BGR: channel 0 bends by its own A, the others by a tenth of theirs."""
    strength = (indices - 6) / 20
    after = np.empty_like(x)
    after[0] = x[0] + strength[0] * x[0] * (1 - x[0])
    for channel in (1, 2):
        bend = 0.1 * strength[channel] + 0.9 * strength[0]
        after[channel] = x[channel] + bend * x[channel] * (1 - x[channel])
    return 0.8 * after + 0.2 * x


def published_episode(rgb, arrays, steps=6):
    """A picture (3, H, W), RGB, and what each step chose (indices (3, H, W) in RGB) and left (RGB)."""
    x, chosen, states = rgb[::-1], [], []
    for _ in range(steps):
        indices = np.stack([logits.argmax(0) for logits in published_logits(x, arrays)])
        x = published_step(x, indices)
        chosen.append(indices[::-1])
        states.append(x[::-1])
    return chosen, states


def published_curves(rgb, tensors):
    """Zero-DCE's released network and curves on (3, H, W), RGB."""
    def layer(number, *parts):
        return convolve(np.concatenate(parts), tensors[f"e_conv{number}.weight"], tensors[f"e_conv{number}.bias"])

    def relu(x):
        return np.maximum(x, 0)

    first = relu(layer(1, rgb))
    second = relu(layer(2, first))
    third = relu(layer(3, second))
    fifth = relu(layer(5, third, relu(layer(4, third))))
    maps = np.tanh(layer(7, first, relu(layer(6, second, fifth))))
    for number in range(8):
        rgb = rgb + maps[3 * number : 3 * number + 3] * (rgb**2 - rgb)
    return rgb


def test_the_convolution_of_these_tests_is_scipys():
    """The reference itself stands on another's work."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(3, 7, 9)), rng.normal(size=(2, 3, 3, 3)), rng.normal(size=2)
    for dilation in (1, 2, 4):
        spread = np.zeros((2, 3, 2 * dilation + 1, 2 * dilation + 1))
        spread[..., ::dilation, ::dilation] = weight
        expected = [sum(correlate(x[i], spread[o, i], mode="constant") for i in range(3)) + bias[o] for o in range(2)]
        np.testing.assert_allclose(convolve(x, weight, bias, dilation), expected, atol=1e-12)


# --- with made-up weights ---


def test_rellie_acts_as_published(rellie_file, generator):
    """The same action on every pixel at every step, and the same pictures, as the released network on BGR."""
    arrays = {name: array.astype(np.float64) for name, array in made_up_rellie().items()}
    image = torch.rand(1, 3, 24, 31, generator=generator)
    with torch.no_grad():
        episode = build_model(read_rellie(rellie_file)).run(image)
    chosen, states = published_episode(image[0].double().numpy(), arrays)
    assert len(episode.actions) == 6 and len(np.unique(chosen)) > 10
    for action, state, indices, expected in zip(episode.actions, episode.states[1:], chosen, states, strict=True):
        np.testing.assert_array_equal(action["local"][0], indices)
        np.testing.assert_allclose(state[0], expected, atol=1e-5)


def test_rellies_blue_leads(rellie_file, generator):
    """Blue bends by the A of its own head, red and green by nine tenths of it."""
    policy = read_rellie(rellie_file)
    indices = torch.randint(27, (1, 3, 4, 5), generator=generator)
    strength = policy.actions.magnitude({"local": indices})
    own = -0.3 + 0.05 * indices
    assert torch.allclose(strength[:, 2], own[:, 2], atol=1e-6)
    assert torch.allclose(strength[:, :2], 0.1 * own[:, :2] + 0.9 * own[:, 2:], atol=1e-6)


def test_rellie_learns_as_a_whole(rellie_file, generator, image):
    """The losses of its actions and of its values reach every weight."""
    network = read_rellie(rellie_file)
    distribution, values, _ = network({"image": image})
    loss = distribution.log_prob(distribution.sample(generator))["local"].sum() + values["local"].sum()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_zero_dce_enhances_as_published(zero_dce_file, generator):
    """The released network's curves, and no value leaves [0, 1]."""
    tensors = {name: tensor.double().numpy() for name, tensor in made_up_zero_dce().items()}
    image = torch.rand(1, 3, 13, 18, generator=generator)
    network = read_zero_dce(zero_dce_file)
    with torch.no_grad():
        result = network(image)
    np.testing.assert_allclose(result[0], published_curves(image[0].double().numpy(), tensors), atol=1e-5)
    assert result.min() >= 0 and result.max() <= 1 and len(network.strengths(image)) == 8


def test_zero_dce_gradient_reaches_every_parameter(zero_dce_file, image):
    """No convolution is idle."""
    network = read_zero_dce(zero_dce_file)
    (network(image) ** 2).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_values_that_slow_a_processor_down_become_zero(tmp_path, generator):
    """Next to nothing becomes nothing, and the picture stays the same."""
    tensors = made_up_zero_dce()
    for name in tensors:
        tensors[name] = torch.where(torch.rand(tensors[name].shape, generator=generator) < 0.3, 1e-38, tensors[name])
    torch.save(tensors, tmp_path / "tiny.pth")
    network = read_zero_dce(tmp_path / "tiny.pth")
    assert all(parameter[parameter != 0].abs().min() >= 1e-30 for parameter in network.parameters())
    image = torch.rand(1, 3, 9, 9, generator=generator)
    expected = published_curves(image[0].numpy(), {name: tensor.numpy() for name, tensor in tensors.items()})
    with torch.no_grad():
        np.testing.assert_allclose(network(image)[0], expected, atol=1e-5)


@pytest.mark.parametrize("collapsed", [False, True])
def test_collapse_watch_counts_every_head(tmp_path, generator, collapsed):
    """One action everywhere is an alarm where every head does it, whichever action each has chosen."""
    np.savez(tmp_path / "model.npz", **made_up_rellie(collapsed=collapsed))
    pictures = [Batch(torch.rand(1, 3, 16, 12 + 4 * index, generator=generator)) for index in range(2)]
    signs = policy_collapse_metrics(read_rellie(tmp_path / "model.npz"), pictures)
    assert (collapse_warning(signs) is not None) == collapsed
    assert (signs["collapse/top_choice_share"] == 1) == collapsed
    assert (signs["collapse/entropy/local"] < 1e-3) == collapsed


# --- with the published files ---


def _lol_pairs():
    folder = Path(DATA) / "lowlight" / "lol_layout" / "our485"
    return {path.stem: Batch(*(to_tensor(read(folder / side / path.name).pixels) for side in ("low", "high")))
            for path in sorted((folder / "low").iterdir())}


@published
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_published_rellie_scores_as_published_and_is_flagged():
    """On four LOL pairs: every pixel as re-computed, PSNR within 0.1 dB, and a constant by our own watch."""
    path = Path(DATA) / "weights" / "rellie" / "model.npz"
    policy, pairs = read_rellie(path), _lol_pairs()
    with np.load(path, allow_pickle=False) as opened:
        arrays = {name: opened[name] for name in opened.files}
    env, rollouts = make_env(policy, Reward(RewardWeights()), "cpu"), []
    for name, batch in pairs.items():
        with torch.no_grad():
            episode = build_model(policy).run(batch.image)
        rollouts.append(collect_rollout(policy, env, batch, policy.preferences.encode(None, 1), None))
        chosen, states = published_episode(batch.image[0].numpy(), arrays)
        expected = -10 * np.log10(np.mean((states[-1] - batch.target[0].numpy()) ** 2, dtype=np.float64))
        for output in (episode.image, rollouts[-1].final_image):
            assert abs(score_picture(output, batch)["psnr"] - expected) < 0.1, name
        same = [np.mean(a["local"][0].numpy() == b) for a, b in zip(episode.actions, chosen, strict=True)]
        assert same[0] > 0.99999 and min(same) > 0.9999, name
    signs = collapse_metrics(policy, rollouts)
    assert signs["top_choice_share"] > 0.99 and signs["constant_psnr"] > 45  # in every head; for all pictures
    assert collapse_warning({f"collapse/{sign}": value for sign, value in signs.items()}) is not None


@published
@pytest.mark.slow
def test_published_zero_dce_brightens_as_published():
    """On four LOL pairs: brighter than before, and the same picture as re-computed."""
    path = Path(DATA) / "weights" / "zero_dce" / "Epoch99.pth"
    network = read_zero_dce(path)
    tensors = {name: torch.where(tensor.abs() < 1e-30, 0, tensor).numpy() for name, tensor in
               torch.load(path, map_location="cpu", weights_only=True).items()}
    for name, batch in _lol_pairs().items():
        with torch.no_grad():
            result = network(batch.image)
        expected = published_curves(batch.image[0].numpy(), tensors)
        np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-4, err_msg=name)
        assert result.mean() > 2 * batch.image.mean(), name


def pixelrl_tools(x):
    """The released transition's candidates, with OpenCV, for (H, W) float32; the median's border is mirrored here."""
    return np.stack([x - 1 / 255, x, x + 1 / 255, cv2.GaussianBlur(x, (5, 5), 0.5), cv2.bilateralFilter(x, 5, 0.1, 5),
                     ndimage.median_filter(x, 5, mode="mirror"), cv2.GaussianBlur(x, (5, 5), 1.5),
                     cv2.bilateralFilter(x, 5, 1.0, 5), cv2.boxFilter(x, -1, (5, 5))])


def test_pixelrl_acts_as_published(tmp_path):
    """The same tool on every pixel at every step, and the same pictures, as a re-computation in NumPy and OpenCV."""
    arrays = made_up_pixelrl()
    np.savez(tmp_path / "pretrained_25.npz", **arrays)
    policy = read_pixelrl(tmp_path / "pretrained_25.npz")
    assert policy.noise == (25, 25) and policy.horizon == 5 and policy.actions.tools == PIXELRL_TOOLS
    image = noisy(1, size=(16, 19)).image
    with torch.no_grad():
        episode = build_model(policy).run(image)
    x, hidden, taken = image[0, 0].numpy(), np.zeros((64, 16, 19)), set()
    for action, state in zip(episode.actions, episode.states[1:], strict=True):
        choice, hidden = pixelrl_step(x[None].astype(np.float64), hidden, arrays)
        np.testing.assert_array_equal(action["local"][0, 0], choice)
        x = np.take_along_axis(pixelrl_tools(x), choice[None], 0)[0].astype(np.float32)
        np.testing.assert_allclose(state[0, 0], x, atol=1e-4)
        taken |= set(choice.ravel())
    assert len(taken) > 2
    np.savez(tmp_path / "other.npz", **{key: value for key, value in arrays.items() if key != "conv_R/W"})
    with pytest.raises(UsageError, match="lacks conv_R/W; pixelrl takes a released"):
        read_pixelrl(tmp_path / "other.npz")


def pixelrl_step(x, hidden, arrays):
    """Tool of every pixel, and the next hidden state, as published, in NumPy: x (1, H, W)."""
    def conv(name, value, dilation=1):
        weight = arrays[f"{name}/W"].astype(np.float64)
        return convolve(value, weight, arrays.get(f"{name}/b", np.zeros(len(weight))).astype(np.float64), dilation)

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    seen = np.maximum(conv("conv1", x), 0)
    for name, dilation in (("2", 2), ("3", 3), ("4", 4), ("5_pi", 3), ("6_pi", 2)):
        seen = np.maximum(conv(f"diconv{name}/diconv", seen, dilation), 0)
    update = sigmoid(conv("conv7_Wz", seen) + conv("conv7_Uz", hidden))
    reset = sigmoid(conv("conv7_Wr", seen) + conv("conv7_Ur", hidden))
    new = np.tanh(conv("conv7_W", seen) + conv("conv7_U", reset * hidden))
    hidden = (1 - update) * hidden + update * new
    return conv("conv8_pi/model", hidden).argmax(0), hidden

"""Readers of published weights: files of other projects as networks of this one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from rlenhance.core.registry import Registry
from rlenhance.learning.hub.plain_arrays import checked_arrays, read_npz, read_state_dict
from rlenhance.learning.models import MODELS, ImageNetwork, RLRestorePolicy

#: Importers by name: each takes a file and gives a network of the `MODELS` registry. A pickle of anything but tensors,
#: a damaged file, missing or foreign arrays, other shapes and values that are not finite raise `UsageError`.
IMPORTERS: Registry[Callable[..., ImageNetwork]] = Registry("importer")
_NORM = ("weight", "bias", "running_mean", "running_var")  # of a batch normalisation
#: Endings of files that torch has pickled; they are read as plain tensors alone.
PICKLES = (".pth", ".pt")
_EPOCH = re.compile(r"^model_epoch(\d+)\.pth$")
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")


@IMPORTERS.register("rellie")
def read_rellie(path: Path) -> ImageNetwork:
    """ReLLIE's released policy: Chainer's arrays, (outputs, inputs, 3, 3) as here.

    The released network sees BGR, and its heads named r, g and b move the channels 0, 1 and 2, which are blue, green
    and red: the input channels of the first convolution and the order of the heads are turned round.
    """
    names = _chainer_names({})
    blue, green, red = (f"conv7_{name}_pi/model" for name in "rgb")
    network = MODELS.create("rellie")
    own = network.state_dict()
    third = own["heads.bias"].shape[0] // 3
    heads: dict[str, tuple[int, ...]] = {}
    for head in (blue, green, red):
        heads |= {f"{head}/W": (third, *own["heads.weight"].shape[1:]), f"{head}/b": (third,)}
    arrays = checked_arrays(path, read_npz(path), {**_shapes(names, own), **heads},
                            "rellie takes the released model.npz")
    tensors = {ours: arrays[theirs] for theirs, ours in names.items()}
    tensors["shared.0.weight"] = tensors["shared.0.weight"].flip(1)
    for letter, part in (("W", "weight"), ("b", "bias")):
        tensors[f"heads.{part}"] = torch.cat([arrays[f"{head}/{letter}"] for head in (red, green, blue)])
    network.load_state_dict(tensors)
    return network.eval()


@IMPORTERS.register("pixelrl")
def read_pixelrl(path: Path) -> ImageNetwork:
    """One of PixelRL's released denoising policies, grey, with GRU: Chainer's arrays, (outputs, inputs, 3, 3) as here.

    The noise that it was trained for is read from the file's name (pretrained_25.npz). The kernel of the reward-map
    convolution is checked like the rest and left out: only training needs it.
    """
    names = _chainer_names({"conv8_pi/model": "heads"})
    level = re.search(r"_(\d+)$", path.stem)
    network = MODELS.create("pixelrl", channels=1, noise=(float(level.group(1)),) * 2 if level else None)
    own = network.state_dict()
    width = own["value.weight"].shape[1]
    expected = _shapes(names, own) | {f"conv7_{name}/W": (width, width, 3, 3)
                                      for name in ("Wz", "Uz", "Wr", "Ur", "W", "U")} | {"conv_R/W": (1, 1, 33, 33)}
    arrays = checked_arrays(path, read_npz(path), expected,
                            "pixelrl takes a released pretrained_25.npz, with convGRU and reward-map convolution")
    # what comes in and what is remembered stand beside each other in our convolutions
    update, reset, new = (torch.cat([arrays[f"conv7_W{name}/W"], arrays[f"conv7_U{name}/W"]], dim=1)
                          for name in ("z", "r", ""))
    network.load_state_dict({**{ours: arrays[theirs] for theirs, ours in names.items()},
                             "cell.gates.weight": torch.cat([update, reset]), "cell.candidate.weight": new})
    return network.eval()


@IMPORTERS.register("zero_dce")
def read_zero_dce(path: Path) -> ImageNetwork:
    """Zero-DCE's released network, RGB as ours."""
    network = MODELS.create("zero_dce")
    names = {f"e_conv{index + 1}.{part}": f"layers.{index}.{part}"
             for index in range(len(network.layers)) for part in ("weight", "bias")}
    tensors = checked_arrays(path, read_state_dict(path), _shapes(names, network.state_dict()),
                             "zero_dce takes the released Epoch99.pth")
    network.load_state_dict({ours: tensors[theirs] for theirs, ours in names.items()})
    return network.eval()


@IMPORTERS.register("ffdnet")
def read_ffdnet(path: Path) -> ImageNetwork:
    """FFDNet's released network for colour; its batch normalisations become parts of the convolutions before them."""
    network = MODELS.create("ffdnet")
    last, place = len(network.layers) - 1, "module.intermediate_dncnn.itermediate_dncnn"
    # 0: convolution, 1: ReLU; then convolution, normalisation, ReLU in turn; the last is a convolution
    numbers = [0, *(2 + 3 * layer for layer in range(last))]
    expected = {f"{place}.{number}.weight": tuple(layer.weight.shape)
                for number, layer in zip(numbers, network.layers, strict=True)}
    expected |= {f"{place}.{number + 1}.{part}": (network.layers[0].out_channels,)
                 for number in numbers[1:-1] for part in _NORM}
    tensors = checked_arrays(path, read_state_dict(path), expected, "ffdnet takes the released net_rgb.pth")
    own: dict[str, Tensor] = {}
    for index, number in enumerate(numbers):
        weight = tensors[f"{place}.{number}.weight"]
        bias = weight.new_zeros(len(weight))
        if 0 < index < last:
            weight, bias = _folded(tensors, f"{place}.{number}", f"{place}.{number + 1}")
        own |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
    network.load_state_dict(own)
    return network.eval()


@IMPORTERS.register("rl_restore")
def read_rl_restore(path: Path) -> RLRestorePolicy:
    """RL-Restore's released policy: TensorFlow's arrays, (height, width, inputs, outputs) of kernels.

    The released code swaps height and width of its pictures; here the kernels are turned, and the columns of the first
    linear layer. TensorFlow's LSTM orders its gates i, g, f, o (torch: i, f, g, o) and adds 1 to the forget gate.
    """
    network: RLRestorePolicy = MODELS.create("rl_restore")
    own, place = network.state_dict(), "prediction"
    convolutions = [f"{place}.l{layer}" for layer in (1, 2, 3, 4)]
    shapes = [tuple(own[f"convolutions.{index}.weight"].shape) for index in range(4)]
    features, cell, units = f"{place}.l7", f"{place}.prediction_rnn.basic_lstm_cell", network.memory.hidden_size
    inputs = network.memory.input_size
    expected: dict[str, tuple[int, ...]] = {"step.step": ()}
    for name, (outputs, planes, height, width) in zip(convolutions, shapes, strict=True):
        expected |= {f"{name}.w": (height, width, planes, outputs), f"{name}.biases": (outputs,)}
    for name, layer in ((features, network.features), (f"{place}.q", network.values)):
        expected |= {f"{name}.Matrix": (layer.in_features, layer.out_features), f"{name}.bias": (layer.out_features,)}
    expected |= {f"{cell}.kernel": (inputs + units, 4 * units), f"{cell}.bias": (4 * units,)}
    arrays = checked_arrays(path, read_npz(path), expected, "rl_restore takes the arrays of the released policy")
    for index, name in enumerate(convolutions):
        own[f"convolutions.{index}.weight"] = arrays[f"{name}.w"].permute(3, 2, 1, 0)
        own[f"convolutions.{index}.bias"] = arrays[f"{name}.biases"]
    planes, side = shapes[-1][0], 4
    own["features.weight"] = arrays[f"{features}.Matrix"].reshape(side, side, planes, -1).permute(3, 2, 1, 0).flatten(1)
    own["features.bias"] = arrays[f"{features}.bias"]
    own["values.weight"], own["values.bias"] = arrays[f"{place}.q.Matrix"].T, arrays[f"{place}.q.bias"]
    order = [0, 2, 1, 3]
    gates = arrays[f"{cell}.kernel"].T.unflatten(0, (4, units))[order].flatten(0, 1)
    own["memory.weight_ih"], own["memory.weight_hh"] = gates.split([inputs, units], dim=1)
    bias = arrays[f"{cell}.bias"].unflatten(0, (4, units))[order]
    bias[1] += 1
    own["memory.bias_ih"], own["memory.bias_hh"] = bias.flatten(), torch.zeros(4 * units)
    network.load_state_dict(own)
    return network.eval()


@IMPORTERS.register("gated_pixelrnn")
def read_gated_pixelrnn(path: Path) -> ImageNetwork:
    """The gated PixelRNN's released network, or one that its project has trained, with its batch normalisation: it may
    be trained on.
    """
    network = MODELS.create("gated_pixelrnn", dilations=(1, 1, 1), batch_norm=True)
    width, depth = network.backbone.width, len(network.backbone.layers)
    names = _in_parts({"input_conv": "backbone.stem", "convlstm.conv": "backbone.memory.gates",
                       "output_conv.0": "head.0", "output_conv.2": "head.2"}, (".weight", ".bias"))
    norm = (*_NORM, "num_batches_tracked")
    for i in range(2):
        for ours, j in (("before", 0), ("after", 3)):
            place = f"res_blocks.{i}.block"
            names |= {f"{place}.{j}.{part}": f"backbone.{ours}.{i}.{part}" for part in ("weight", "bias")}
            names |= {f"{place}.{j + 1}.{part}": f"backbone.{ours}_norm.{i}.{part}" for part in norm}
    expected = _shapes(names, network.state_dict())
    halves = {"conv": (width, width, 3, 3), "bn": (width,)}  # of the gated layers: f and g are one convolution here
    for i in range(depth):
        for part in "fg":
            expected |= {f"layers.{i}.conv_{part}.weight": halves["conv"], f"layers.{i}.conv_{part}.bias": halves["bn"],
                         **{f"layers.{i}.bn_{part}.{name}": halves["bn"] for name in _NORM},
                         f"layers.{i}.bn_{part}.num_batches_tracked": ()}
    tensors = checked_arrays(path, read_state_dict(path), expected,
                             "gated_pixelrnn takes the released model_epoch190.pth")
    made = {ours: tensors[theirs] for theirs, ours in names.items()}
    made["backbone.memory.gates.bias"][width : 2 * width] -= 1  # ours adds 1 to the forget gate
    for i in range(depth):
        for theirs, ours, parts in (("conv", "conv", ("weight", "bias")), ("bn", "norm", _NORM)):
            made |= {f"backbone.layers.{i}.{ours}.{name}": torch.cat(
                [tensors[f"layers.{i}.{theirs}_{part}.{name}"] for part in "fg"]) for name in parts}
        made[f"backbone.layers.{i}.norm.num_batches_tracked"] = tensors[f"layers.{i}.bn_f.num_batches_tracked"]
    network.load_state_dict(made)
    return network.eval()


def newest_checkpoint(place: Path) -> Path | None:
    """The checkpoint of the largest epoch in a `checkpoints/` folder of the gated PixelRNN's project
    (`model_epochN.pth`); None where there is none, or no such folder.
    """
    found = {int(match.group(1)): path for path in (place.iterdir() if place.is_dir() else ())
             if (match := _EPOCH.search(path.name))}
    return found[max(found)] if found else None


def epochs_of_log(text: str) -> str | None:
    """That project's `training_log.txt` as our epochs.tsv; None where no line has its five numbers.

    Args:
        text: tab-separated lines of epoch, learning rate, L1, SSIM and total loss, with a heading or names beside the
            numbers (`Epoch 3`, `L1: 0.02`), or without.
    """
    rows = []
    for line in text.splitlines():
        numbers = [_NUMBER.findall(cell) for cell in line.strip().split("\t")]
        if len(numbers) == 5 and all(numbers):
            epoch, values = numbers[0][0], [found[-1] for found in numbers[1:]]  # "Epoch 3/200", "L1: 0.02"
            rows.append("\t".join([str(int(float(epoch))), *(f"{float(value):.6g}" for value in values)]))
    return "\n".join(["epoch\tlearning_rate\tl1\tssim\ttotal", *rows, ""]) if rows else None


def _in_parts(layers: Mapping[str, str], parts: tuple[str, str]) -> dict[str, str]:
    """Published array -> our tensor, of layers by name; `parts`: how their weights and their biases end."""
    return {f"{theirs}{end}": f"{ours}.{part}" for theirs, ours in layers.items()
            for end, part in zip(parts, ("weight", "bias"), strict=True)}


def _chainer_names(heads: Mapping[str, str]) -> dict[str, str]:
    """`_in_parts` of PixelRL's layers, which ReLLIE has as well, and of its heads."""
    layers = {"conv1": "shared.0", **heads, "conv7_V": "value"}
    layers |= {f"diconv{layer}/diconv": f"shared.{layer - 1}" for layer in (2, 3, 4)}
    for branch, ours in (("pi", "acting"), ("V", "judging")):
        layers |= {f"diconv{layer}_{branch}/diconv": f"{ours}.{layer - 5}" for layer in (5, 6)}
    return _in_parts(layers, ("/W", "/b"))


def _shapes(names: Mapping[str, str], own: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Published array -> the shape of the tensor that it becomes."""
    return {theirs: tuple(own[ours].shape) for theirs, ours in names.items()}


def _folded(tensors: Mapping[str, Tensor], place: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the batch normalisation (1e-5) behind it, as one convolution."""
    weight = tensors[f"{place}.weight"]
    bias = tensors.get(f"{place}.bias", weight.new_zeros(len(weight)))
    scale, shift, mean, variance = (tensors[f"{norm}.{part}"] for part in _NORM)
    scale = scale / (variance + 1e-5).sqrt()
    return weight * scale[:, None, None, None], (bias - mean) * scale + shift

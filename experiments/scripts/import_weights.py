"""Published weights as runs of our own: `python -m experiments.import_weights rellie model.npz -o runs/rellie`."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import torch
import tyro
from torch import Tensor

from experiments.core.cli import run_cli
from experiments.core.run import Run
from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.core.types import Purpose
from rlenhance.models import MODELS, ImageNetwork

#: Importers by name: each takes a file and gives a network of the `MODELS` registry. A pickle of anything but tensors,
#: a damaged file, missing or foreign arrays, other shapes and values that are not finite raise `UsageError`.
IMPORTERS: Registry[Callable[..., ImageNetwork]] = Registry("importer")
#: Smaller values become 0: no output changes, and products that are denormal numbers make a CPU many times slower
#: (a quarter of Zero-DCE's released weights are so small; as they are it takes 45 times as long).
_NOTHING = 1e-30
_NORM = ("weight", "bias", "running_mean", "running_var")  # of a batch normalisation


@dataclass(frozen=True)
class Arguments:
    """Turn a published file of weights into a run folder, which the commands and comparisons take as a model; those
    that fit are printed. Nothing is unpickled that could run code."""

    network: Annotated[str, tyro.conf.Positional]
    """rellie (ReLLIE's model.npz), ffdnet (its denoiser, net_rgb.pth), zero_dce (Zero-DCE's Epoch99.pth), pixelrl
    (PixelRL's pretrained_15.npz, _25, _50) or gated_pixelrnn (the completion project's model_epoch190.pth)."""
    file: Annotated[Path, tyro.conf.Positional]
    """The published file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The run folder to make."""


def main(arguments: Arguments) -> Path:
    """Read, check, and write the run; returns its folder."""
    read = IMPORTERS[arguments.network]
    if not arguments.file.is_file():
        raise UsageError(f"{arguments.file}: no such file")
    if arguments.out.exists():
        raise UsageError(f"{arguments.out}: exists; choose another folder with -o")
    network = read(arguments.file)
    origin = {"imported": arguments.network, "file": arguments.file.name,
              "sha256": hashlib.sha256(arguments.file.read_bytes()).hexdigest()}
    run = Run.create(arguments.out, asdict(arguments), {"model": network.spec, "origin": origin})
    run.save("best", network, origin)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{arguments.network}: {count:,} values in {run.path}")
    for use, command in commands_for(arguments.network, network.purpose, run.path):
        print(f"{use}:\n  {command}")
    return run.path


def commands_for(name: str, purpose: Purpose, run: Path) -> list[tuple[str, str]]:
    """What an imported network is good for, and the commands: PHOTO, MASK and DIR stand for the user's files."""
    enhance, denoise = f"rlenhance enhance PHOTO --model {run}", f"rlenhance denoise PHOTO --model {run}"
    after = ("take out the noise that brightening shows, in one call with any model",
             f"rlenhance enhance PHOTO --denoiser {run}")
    score = ("score it on pairs (low/ and high/)", f"python -m experiments.evaluate {run} --data DIR")
    if name == "rellie":
        return [("enhance without denoising, in its six steps (test_el.py)", enhance),
                ("stop after three of them", f"{enhance} --steps 3"),
                ("enhance with denoising (test.py), once FFDNet is imported",
                 f"{enhance} --denoiser {run.parent / 'ffdnet'}"), score]
    if name == "pixelrl":
        return [("denoise a photograph, a colour at a time", denoise),
                ("see which filter won where", f"{denoise} --explain CHART.png"),
                ("score it on good pictures, made grey and noisy",
                 f"python -m experiments.denoise_compare --data DIR --models {run}"), after]
    if purpose == "denoise":
        return [("denoise a photograph", denoise), after,
                ("name the noise, in 255ths, where it is known", f"{denoise} --noise 25")]
    if purpose == "completion":
        return [("fill the white of a mask", f"rlenhance complete PHOTO --mask MASK --model {run}"),
                ("find the hole first", f"rlenhance complete PHOTO --auto-mask --model {run}"),
                ("score it on pictures with holes",
                 f"python -m experiments.complete_compare --data DIR --models {run}")]
    return [("enhance a photograph", enhance), score]


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
    arrays = _checked(path, _npz(path), {**_shapes(names, own), **heads}, "rellie takes the released model.npz")
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
    arrays = _checked(path, _npz(path), expected,
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
    tensors = _checked(path, _state_dict(path), _shapes(names, network.state_dict()),
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
    tensors = _checked(path, _state_dict(path), expected, "ffdnet takes the released net_rgb.pth")
    own: dict[str, Tensor] = {}
    for index, number in enumerate(numbers):
        weight = tensors[f"{place}.{number}.weight"]
        bias = weight.new_zeros(len(weight))
        if 0 < index < last:
            weight, bias = _folded(tensors, f"{place}.{number}", f"{place}.{number + 1}")
        own |= {f"layers.{index}.weight": weight, f"layers.{index}.bias": bias}
    network.load_state_dict(own)
    return network.eval()


@IMPORTERS.register("gated_pixelrnn")
def read_gated_pixelrnn(path: Path) -> ImageNetwork:
    """The gated PixelRNN's released network, its batch normalisations made parts of the convolutions before them."""
    network = MODELS.create("gated_pixelrnn", dilations=(1, 1, 1))
    width, depth = network.backbone.width, len(network.backbone.layers)
    names = _in_parts({"input_conv": "backbone.stem", "convlstm.conv": "backbone.memory.gates",
                       "output_conv.0": "head.0", "output_conv.2": "head.2"}, (".weight", ".bias"))
    pairs = {f"layers.{i}.conv_{part}": f"layers.{i}.bn_{part}" for i in range(depth) for part in "fg"}
    pairs |= {f"res_blocks.{i}.block.{j}": f"res_blocks.{i}.block.{j + 1}" for i in range(2) for j in (0, 3)}
    expected = _shapes(names, network.state_dict())
    for place, norm in pairs.items():
        expected |= {f"{place}.weight": (width, width, 3, 3), f"{place}.bias": (width,),
                     f"{norm}.num_batches_tracked": (), **{f"{norm}.{part}": (width,) for part in _NORM}}
    tensors = _checked(path, _state_dict(path), expected, "gated_pixelrnn takes the released model_epoch190.pth")
    made = {ours: tensors[theirs] for theirs, ours in names.items()}
    made["backbone.memory.gates.bias"][width : 2 * width] -= 1  # ours adds 1 to the forget gate
    for i in range(depth):
        both = [_folded(tensors, f"layers.{i}.conv_{part}", f"layers.{i}.bn_{part}") for part in "fg"]
        made |= {f"backbone.layers.{i}.conv.{name}": torch.cat(parts)
                 for name, parts in zip(("weight", "bias"), zip(*both, strict=True), strict=True)}
    for i in range(2):
        for ours, theirs in (("before", 0), ("after", 3)):
            weight, bias = _folded(tensors, f"res_blocks.{i}.block.{theirs}", f"res_blocks.{i}.block.{theirs + 1}")
            made |= {f"backbone.{ours}.{i}.weight": weight, f"backbone.{ours}.{i}.bias": bias}
    network.load_state_dict(made)
    return network.eval()


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


def _npz(path: Path) -> Mapping[str, Callable[[], Any]]:
    """Name -> what reads that array; arrays that are pickled objects are refused when they are read."""
    try:
        opened = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        # the text of NumPy's own error advises unsafe loading
        raise UsageError(f"{path}: damaged, or not a NumPy archive of plain arrays (.npz); pickles are never "
                         f"loaded") from error
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise UsageError(f"{path}: one array; the weights are an archive of named arrays (.npz)")
    with opened:
        # what is in the archive beside arrays (a .pth is such an archive) stays unread: it has no array's name
        return {name: _reader(path, name) for name in opened.files}


def _reader(path: Path, name: str) -> Callable[[], Any]:
    def read() -> Tensor:
        try:
            with np.load(path, allow_pickle=False) as opened:
                return torch.from_numpy(np.asarray(opened[name], dtype=np.float32))
        except (OSError, ValueError, EOFError, TypeError, BadZipFile) as error:
            raise UsageError(f"{path}: {name} is damaged, or not an array of numbers; pickles are never "
                             f"loaded") from error

    return read


def _state_dict(path: Path) -> Mapping[str, Callable[[], Any]]:
    """Name -> what gives that tensor. torch builds tensors and plain containers alone, and refuses the rest unread."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can lead to any of them
        raise UsageError(f"{path}: damaged, or not a file of plain tensors (.pth); other pickles can run code and are "
                         f"never loaded") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(f"{path}: holds {type(found).__name__}, not named tensors (a state_dict)")
    return {str(name): value.detach().float for name, value in found.items()}


def _checked(path: Path, found: Mapping[str, Callable[[], Any]], expected: Mapping[str, tuple[int, ...]],
             hint: str) -> dict[str, Tensor]:
    """Every expected array, of its shape and finite, and none beside them."""
    for kind, names in (("lacks", set(expected) - set(found)), ("also holds", set(found) - set(expected))):
        if names:
            some = ", ".join(sorted(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise UsageError(f"{path}: {kind} {some}; {hint} ({len(expected)} arrays)")
    arrays = {name: found[name]() for name in expected}
    for name, array in arrays.items():
        if tuple(array.shape) != expected[name]:
            raise UsageError(f"{path}: {name} has shape {tuple(array.shape)}, expected {expected[name]}; {hint}")
        if not torch.isfinite(array).all():
            raise UsageError(f"{path}: {name} is not finite; get the file again")
    return {name: torch.where(array.abs() < _NOTHING, 0.0, array) for name, array in arrays.items()}


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

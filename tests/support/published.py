"""Made-up weights of published networks, and their law in NumPy."""


import numpy as np
import torch

CONVOLUTIONS = {  # of ReLLIE's file: outputs, inputs
    "conv1": (64, 3), **{f"diconv{name}/diconv": (64, 64) for name in ("2", "3", "4", "5_pi", "6_pi", "5_V", "6_V")},
    **{f"conv7_{head}_pi/model": (27, 64) for head in "rgb"}, "conv7_V": (1, 64),
}


def made_up_rellie(seed=0, collapsed=False):
    """Arrays of ReLLIE's names and shapes; collapsed: its last biases outweigh what the network sees."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, (outputs, inputs) in CONVOLUTIONS.items():
        arrays[f"{name}/W"] = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        arrays[f"{name}/b"] = rng.normal(0, 0.1, outputs).astype(np.float32)
        if collapsed and outputs == 27:
            arrays[f"{name}/b"][rng.integers(27)] = 100
    return arrays


def made_up_pixelrl(seed=0):
    """Arrays of the names and shapes of a released policy of PixelRL."""
    rng, arrays = np.random.default_rng(seed), {"conv_R/W": np.zeros((1, 1, 33, 33), np.float32)}
    places = ("2", "3", "4", "5_pi", "6_pi", "5_V", "6_V")
    shapes = {"conv1": (64, 1), **{f"diconv{n}/diconv": (64, 64) for n in places},
              "conv8_pi/model": (9, 64), "conv7_V": (1, 64)}
    for name, (outputs, inputs) in shapes.items():
        arrays[f"{name}/W"] = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        arrays[f"{name}/b"] = rng.normal(0, 0.1, outputs).astype(np.float32)
    for name in ("Wz", "Uz", "Wr", "Ur", "W", "U"):
        arrays[f"conv7_{name}/W"] = rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32)
    return arrays


def made_up_ffdnet(seed=0):
    """Tensors of FFDNet's names and shapes, for colour."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for layer in range(12):
        number = 0 if layer == 0 else 3 * layer - 1
        inputs, outputs = 15 if layer == 0 else 96, 12 if layer == 11 else 96
        place = "module.intermediate_dncnn.itermediate_dncnn"
        found[f"{place}.{number}.weight"] = 0.02 * torch.randn(outputs, inputs, 3, 3, generator=generator)
        if 0 < layer < 11:
            found |= {f"{place}.{number + 1}.{part}": torch.rand(96, generator=generator) + 0.5
                      for part in ("weight", "bias", "running_mean", "running_var")}
    return found


def made_up_zero_dce(seed=0):
    """Tensors of Zero-DCE's names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    inputs, outputs = [3, 32, 32, 32, 64, 64, 64], [32] * 6 + [24]
    return {f"e_conv{index + 1}.{part}": (2 / (9 * i)) ** 0.5 * torch.randn(shape, generator=generator)
            for index, (i, o) in enumerate(zip(inputs, outputs, strict=True))
            for part, shape in (("weight", (o, i, 3, 3)), ("bias", (o,)))}


def convolve(x, weight, bias, dilation=1):
    """Nine products of matrices, one per place of the kernel; zeros outside. (C, H, W) -> (outputs, H, W)."""
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation)))
    out = np.zeros((len(weight), height * width), x.dtype) + bias[:, None]
    for row in range(3):
        for column in range(3):
            part = padded[:, row * dilation : row * dilation + height, column * dilation : column * dilation + width]
            out += weight[:, :, row, column] @ part.reshape(len(part), -1)
    return out.reshape(-1, height, width)


def made_up_rl_restore(seed=0):
    """Arrays of the names and shapes of RL-Restore's policy."""
    rng, place = np.random.default_rng(seed), "prediction"
    cell = f"{place}.prediction_rnn.basic_lstm_cell"
    shapes = {f"{place}.l1.w": (9, 9, 3, 32), f"{place}.l1.biases": (32,), f"{place}.l7.Matrix": (384, 32),
              f"{place}.l7.bias": (32,), f"{cell}.kernel": (94, 200), f"{cell}.bias": (200,),
              f"{place}.q.Matrix": (50, 13), f"{place}.q.bias": (13,), "step.step": ()}
    for layer, inputs in ((2, 32), (3, 24), (4, 24)):
        shapes |= {f"{place}.l{layer}.w": (5, 5, inputs, 24), f"{place}.l{layer}.biases": (24,)}
    return {name: np.asarray(rng.normal(0, 0.1, shape), np.float32) for name, shape in shapes.items()}


def made_up_rl_tools(folder, seed=0):
    """Files of the names and shapes of RL-Restore's twelve tools in a folder, which is returned."""
    rng = np.random.default_rng(seed)
    small = {"conv1": (9, 9, 3, 32), "conv2": (5, 5, 32, 16), "conv3": (5, 5, 16, 3)}
    deep = {"conv1": (5, 5, 3, 64), "conv1_2": (1, 1, 64, 32), "conv2_2": (1, 1, 32, 64), "conv3": (5, 5, 64, 3),
            **{f"conv2{end}": (3, 3, 32, 32) for end in ("", "a", "c", "d")}}
    for number in range(1, 13):
        arrays = {}
        for name, shape in (deep if (number - 1) % 4 >= 2 else small).items():
            arrays[f"{name}.weights"] = rng.normal(0, 0.6 / np.prod(shape[:3]) ** 0.5, shape).astype(np.float32)
            arrays[f"{name}.biases"] = np.zeros(shape[-1], np.float32)
        np.savez(folder / f"tool{number:02d}.npz", **arrays)
    return folder


def made_up_gated(width=48):
    """A file of the gated PixelRNN's names and shapes."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"input_conv": (width, 4, 7, 7), "convlstm.conv": (4 * width, 2 * width, 3, 3),
              "output_conv.0": (32, width, 3, 3), "output_conv.2": (3, 32, 1, 1)}
    norms = {}
    for i in range(3):
        for part in "fg":
            shapes[f"layers.{i}.conv_{part}"] = (width, width, 3, 3)
            norms[f"layers.{i}.bn_{part}"] = width
    for i in range(2):
        for j in (0, 3):
            shapes[f"res_blocks.{i}.block.{j}"] = (width, width, 3, 3)
            norms[f"res_blocks.{i}.block.{j + 1}"] = width
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = 0.05 * torch.randn(shape, generator=generator)
        found[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    for name, count in norms.items():
        found |= {f"{name}.{part}": torch.rand(count, generator=generator) + 0.5
                  for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return found

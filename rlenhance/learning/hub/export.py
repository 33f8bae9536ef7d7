"""Write what a checkpoint's network computes beside its weights, for use without torch: see `rlenhance.engine`."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.registry import Registry
from rlenhance.engine.graph import COMPILED, NUMPY, Graph, can_compile
from rlenhance.engine.networks import BESIDE, export_path
from rlenhance.engine.onnx_file import StaleExport, facts_text, read_facts
from rlenhance.hub.info import FORMAT, read_config, read_weights
from rlenhance.io.files import write_bytes
from rlenhance.learning.actions import LatentActions
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.hub.export_filters import can_export_filters, first_step, later_step
from rlenhance.learning.models import ImageNetwork
from rlenhance.learning.nn.backbones.compact import Compact
from rlenhance.ops.plane_statistics import STATISTICS

OPSET = 17
#: Largest difference of a graph from torch, in units of the largest output.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Part:
    """A part of a network that is exported as one graph.

    Attributes:
        function: of the network and the inputs; gives a tensor, or a tuple of them. What follows from an input's shape
            must be computed from it, so that the graph takes any size.
        inputs: examples by name, (N, C, H, W) or (N, C); all sides but C are left open.
        outputs: their names.
        folded: whether what follows from weights alone is computed now, and stored; otherwise whoever runs the graph
            computes it once, from the weights of the checkpoint.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...] = ("result",)
    folded: bool = True


#: What is exported of a network, by the name of its model: graphs by name, "model" for the only one. None where
#: this network cannot be exported.
EXPORTS: Registry[Callable[[Any], Mapping[str, Part] | None]] = Registry("export")


class _Traced(nn.Module):
    def __init__(self, network: nn.Module, function: Callable[..., Any]):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.network, *inputs)


def parts_of(network: ImageNetwork) -> Mapping[str, Part]:
    """What is exported of a network; empty where nothing is: policies of the compact backbone run without a graph."""
    name = network.spec["name"]
    return (EXPORTS[name](network) if name in EXPORTS else None) or {}


def can_export() -> bool:
    """Whether the libraries are there that an export needs."""
    return importlib.util.find_spec("onnx") is not None


def export_checkpoint(folder: Path) -> list[Path]:
    """Write the graphs of a checkpoint beside its weights, and compare every backend with torch.

    Args:
        folder: of a checkpoint; its config.json and weights stay as they are.

    Returns:
        The files; none where the network is not one that is exported.

    Raises:
        UsageError: the extra `onnx` is missing; a checkpoint of an old format; a graph that differs from torch by more
            than `TOLERANCE`: then nothing is written.
    """
    config = read_config(folder)
    if config["format"] != FORMAT:
        raise UsageError(f"{folder}: of an old format; train it on for a step, or save it anew")
    network = load_network(folder)
    parts = parts_of(network)
    if parts and not can_export():
        raise UsageError(f"exporting needs onnx: {install_line('onnx')}")
    stored, paths = read_weights(folder), []
    for name, part in parts.items():
        path = _place(folder, name)
        write_bytes(bare_graph(traced(network, part), stored, {"model": config["model"]}), path)
        paths.append(path)
        try:
            for backend in (NUMPY, *((COMPILED,) if can_compile(path, stored) else ())):
                _check(network, part, Graph(path, stored, backend))
        except UsageError:
            for written in paths:
                written.unlink(missing_ok=True)
            raise
    return paths


def _place(folder: Path, part: str) -> Path:
    """Where the export of a part is written: an ONNX file of its name that is no export stays."""
    path = export_path(folder, part)
    try:
        if path.is_file():
            read_facts(path)
    except StaleExport:
        pass
    except UsageError:
        return folder / BESIDE.format(part=part)
    return path


def traced(network: nn.Module, part: Part) -> bytes:
    """A part as an ONNX file with its weights."""
    file = io.BytesIO()
    axes = {name: {axis: f"{name}_{axis}" for axis in range(value.ndim) if axis != 1}
            for name, value in part.inputs.items()}
    axes |= {name: {0: f"{name}_0", 2: f"{name}_2", 3: f"{name}_3"} for name in part.outputs}
    # with gradients, for the shorter ways without them use operations that ONNX lacks
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are fixed indeed
        torch.onnx.export(_Traced(network, part.function).cpu().eval(), tuple(part.inputs.values()), cast(Any, file),
                          input_names=list(part.inputs), output_names=list(part.outputs), opset_version=OPSET,
                          dynamic_axes=axes, dynamo=False, do_constant_folding=part.folded)
    return file.getvalue()


def bare_graph(data: bytes, stored: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """An ONNX file without the weights that a checkpoint has stored, and with its facts."""
    import onnx

    model = onnx.load_from_string(data)
    graph, own = model.graph, {}
    for weight in graph.initializer:
        name = weight.name if weight.name in stored else weight.name.removeprefix("network.")
        if name in stored and np.array_equal(onnx.numpy_helper.to_array(weight), stored[name]):
            own[weight.name] = name
    kept = [weight for weight in graph.initializer if weight.name not in own]
    del graph.initializer[:], graph.value_info[:], model.metadata_props[:]
    graph.initializer.extend(kept)
    _shorten(graph, own)
    model.doc_string = facts_text({
        **facts, "inputs": [entry.name for entry in graph.input], "outputs": [entry.name for entry in graph.output],
        "weights": {name: list(stored[name].shape) for name in own.values()}})
    return cast(bytes, model.SerializeToString())


def _shorten(graph: Any, names: Mapping[str, str]) -> None:
    """Give what is computed in a graph short names, write equal constants once, and no attributes that are defaults.

    Args:
        graph: of an ONNX model.
        names: of the weights: those in the graph, and those that they get.
    """
    short = {**names, **{entry.name: entry.name for entry in (*graph.input, *graph.output)}}
    constants: dict[bytes, str] = {}
    for weight in graph.initializer:
        weight.name = short.setdefault(weight.name, f"v{len(short)}")
    for node in list(graph.node):
        node.ClearField("name")
        node.ClearField("doc_string")
        for attribute in list(node.attribute):
            if (attribute.name in ("strides", "dilations") and set(attribute.ints) == {1}) or \
                    (attribute.name == "allowzero" and not attribute.i):
                node.attribute.remove(attribute)
        node.input[:] = [short[name] if name else "" for name in node.input]
        if node.op_type == "Constant":
            text = node.attribute[0].SerializeToString()
            if text in constants:
                short[node.output[0]] = constants[text]
                graph.node.remove(node)
                continue
            constants[text] = f"v{len(short)}"
        node.output[:] = [short.setdefault(name, f"v{len(short)}") for name in node.output]


def _check(network: ImageNetwork, part: Part, graph: Graph) -> None:
    """Compare a graph with torch for the example, and for one of another size.

    Raises:
        UsageError: they differ.
    """
    generator = torch.Generator().manual_seed(0)
    for factor in (1, 2):
        inputs = {name: torch.rand(value.shape[0], value.shape[1], *(factor * side for side in value.shape[2:]),
                                   generator=generator) for name, value in part.inputs.items()}
        with torch.no_grad():
            wanted = part.function(network, *inputs.values())
        found = graph.run(**{name: value.numpy() for name, value in inputs.items()})
        for ours, theirs in zip(_several(found), _several(wanted), strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            largest = float(np.abs(ours - theirs.numpy()).max()) / scale
            if not largest <= TOLERANCE:
                raise UsageError(f"{graph.path}: the graph differs from torch by {largest:.2g} on {graph.backend}; "
                                 f"nothing was written")


def _several(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@EXPORTS.register("denoiser")
def _denoiser(network: Any) -> dict[str, Part]:
    return {"model": Part(lambda model, cells: model.network.on_cells(cells),
                          {"cells": torch.rand(1, 4 * network.channels + 4, 32, 48)})}


@EXPORTS.register("kernel_denoiser")
def _kernel_denoiser(network: Any) -> dict[str, Part]:
    names = tuple(f"features{level}" for level in range(1, network.levels))
    return {"model": Part(lambda model, cells: model.network.features(cells), {"cells": torch.rand(1, 16, 32, 48)},
                          names)}


@EXPORTS.register("enlarger")
def _enlarger(network: Any) -> dict[str, Part]:
    return {"model": Part(lambda model, image: model.generator.on_cells(image), {"image": torch.rand(1, 3, 32, 48)})}


@EXPORTS.register("restorer")
def _restorer(network: Any) -> dict[str, Part] | None:
    backbone = network.backbone
    if not isinstance(backbone, Compact) or not network.statistics or network.noise_conditioned:
        return None
    return {"model": Part(lambda model, cells, context: model.head(model.backbone.on_cells(cells, context)),
                          {"cells": torch.rand(1, 3 * backbone.stride**2, 12, 16),
                           "context": torch.rand(1, STATISTICS)})}


@EXPORTS.register("combined")
def _combined(network: Any) -> dict[str, Part] | None:
    if network.scale == 1 or network.exposure:  # the curve is for the whole picture, before it is cut into tiles
        return None

    def clean(model: Any, image: Tensor, padded: Tensor) -> Tensor:
        features = model.backbone(padded)[0][..., : image.shape[2], : image.shape[3]]
        found: Tensor = model.clean(features)
        return found if model.paper_form else image + found

    image = torch.rand(1, 3, 32, 48)
    return {"model": Part(clean, {"image": image, "padded": image}),
            "generator": Part(lambda model, image: model.generator.on_cells(image), {"image": image})}


@EXPORTS.register("small_tools")
def _small_tools(network: Any) -> dict[str, Part]:
    first = network.names[0]  # the others have its graph, with their own weights
    return {"model": Part(lambda model, cells: model.tools[first].on_cells(cells),
                          {"cells": torch.rand(1, 12, 32, 48)})}


@EXPORTS.register("filter_policy")
def _filter_policy(network: Any) -> dict[str, Part] | None:
    if not can_export_filters(network):
        return None
    cells = torch.rand(1, 4 * (network.channels + network.noise_conditioned), 16, 24)
    state = torch.rand(1, network.num_tta_views * network.backbone.width, 16, 24)
    outputs = ("numbers", "after")
    return {"model": Part(first_step, {"cells": cells}, outputs, folded=False),
            "later": Part(later_step, {"cells": cells, "remaining": torch.rand(1, 1), "state": state}, outputs,
                          folded=False)}


@EXPORTS.register("pixel_policy")
def _latent_policy(network: Any) -> dict[str, Part] | None:
    actions = network.actions
    if not isinstance(actions, LatentActions) or not isinstance(network.backbone, Compact) \
            or len(network.preferences) or not network.sees_initial_image or network.std_mode != "predicted" \
            or network.uses_mask or not actions.autoencoder.equivariant or actions.autoencoder.skip is None:
        return None
    side, outputs = actions.blocks.patch_size, actions.autoencoder.channels

    def encode(policy: Any, views: Tensor) -> Tensor:
        network = policy.actions.autoencoder
        found = network.encoder(views.view(-1, 3, side, side))[:, :outputs]
        return found + network.linear_encoder(views)

    return {"model": Part(lambda policy, cells: policy.actions.autoencoder.skip.on_cells(cells),
                          {"cells": torch.rand(2, 40, 12, 12)}),
            "encoder": Part(encode, {"views": torch.rand(16, 3 * side * side)}, folded=False)}

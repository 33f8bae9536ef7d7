"""A policy (all its steps) or a network in one pass as an ONNX graph, for pictures of any size, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_bytes
from rlenhance.learning.actions import Action, apply_action, attenuate_local, upsample_agents
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import GreedyEpisode, make_observation
from rlenhance.learning.models.base import FeedForwardModel
from rlenhance.ops import plane_statistics as statistics
from rlenhance.ops.plane_statistics import GUIDE_SIDE
from rlenhance.pipelines.enhance import Enhancer

OPSET = 18
_NEEDED = ("onnx", "onnxruntime")


class Graph(nn.Module):
    """What is exported: (image, one number per preference, strength) -> image.

    The image is (1, 3, H, W) float32 in [0, 1], RGB. A preference is (1,), in the user's units; NaN stands for the
    model's own choice ("auto"), or its default. strength is (1,), in [0, 1].
    """

    def __init__(self, model: GreedyEpisode):
        super().__init__()
        self.policy, self.steps, self.local = model.policy, model.steps, model.local

    def forward(self, image: Tensor, *chosen: Tensor) -> Tensor:
        policy, (*values, strength) = self.policy, chosen
        state = _reduced(image, policy.decision_size) if policy.decision_size else image
        encoded = policy.preferences.resolve_auto(self._encoded(values), state)
        smoothness = policy.preferences.smoothness(encoded)
        first, guide, actions, memory = state, _guide(policy.actions, state), [], None
        for step in range(self.steps):
            start = first if policy.actions.needs_initial_image else None
            action, memory = policy.act(make_observation(state, 1 - step / policy.horizon, encoded, None, start),
                                        memory)
            if not self.local and "local" in action:
                action = {**action, "local": torch.zeros_like(action["local"])}
            action = attenuate_local(action, smoothness)
            actions.append(action)
            state = _edited(policy.actions, state, action, guide)
        result, guide = image, _guide(policy.actions, image)
        for action in actions:
            result = _edited(policy.actions, result, action, guide)
        return image + strength * (result - image)

    def _encoded(self, values: list[Tensor]) -> Tensor:
        """As `Preferences.encode` has it; numbers outside the range are moved to its end."""
        columns, flags = [], []
        for (name, (low, default, high)), value in zip(self.policy.preferences.ranges.items(), values, strict=True):
            missing = torch.isnan(value)
            columns.append(2 * (torch.where(missing, default, value).clamp(low, high) - low) / (high - low) - 1)
            if name in self.policy.preferences.auto:
                flags.append(missing.float())
        return torch.stack([*columns, *flags], dim=1) if columns else torch.zeros(1, 0)


def export_model(model: Path | str, path: Path, *, steps: int | None = None) -> dict[str, Any]:
    """Write a model as an ONNX file: a policy as `export_onnx`, a network in one pass as `export_network`.

    Args:
        model: name of a shipped model, a checkpoint, or a run (its best checkpoint).
        path, returns, raises: see `export_onnx`.
        steps: the policy stops after so many.
    """
    network = load_network(locate(str(model)))
    if not isinstance(network, FeedForwardModel):
        return export_onnx(Enhancer(model, steps=steps), path)
    if steps is not None:
        raise UsageError(f"{model} works in one pass and has no steps; leave them out")
    return export_network(network, path)


def export_onnx(enhancer: Enhancer, path: Path) -> dict[str, Any]:
    """Write a policy as an ONNX file and compare it with torch.

    Args:
        enhancer: a policy with a state size; its steps are baked in, its choices and strength become the defaults that
            the description names.
        path: of the file; its folder must exist or can be made.

    Returns:
        "inputs": their names in order; "opset"; "largest": the largest difference from torch on three sizes.

    Raises:
        UsageError: the extra `onnx` is missing, the model cannot be exported, or the graph's results differ by more
            than 1e-4: then no file is written.
    """
    _check_extra()
    model = enhancer.model
    if not isinstance(model, GreedyEpisode) or not model.policy.decision_size or model.policy.uses_mask:
        raise UsageError(f"{enhancer.folder}: only a policy with a state size and without a mask can be exported")
    names = ["image", *model.policy.preferences.ranges, "strength"]
    return _write(enhancer.folder, model, Graph(model), names, path)


def export_network(network: FeedForwardModel, path: Path) -> dict[str, Any]:
    """Write a network in one pass as an ONNX file `image -> result`, and compare it with torch.

    Args:
        network: for colour pictures, without mask and preferences.
        path, returns, raises: see `export_onnx`.
    """
    _check_extra()
    if network.needs_mask or network.accepted or network.channels != 3:
        raise UsageError(f"{network.spec['name']}: only a network for colour pictures, without mask and preferences, "
                         f"can be exported")
    return _write(network.spec["name"], network, network, ["image"], path)


def _check_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"exporting needs {' and '.join(missing)}: {install_line('onnx')}")


def _write(source: Any, model: Any, graph: nn.Module, names: list[str], path: Path) -> dict[str, Any]:
    data = _traced(graph.cpu().eval(), names)
    largest = compare(model, data, names)
    if not largest <= 1e-4:
        raise UsageError(f"{source}: the exported graph differs from torch by {largest:.2g}; nothing was written")
    write_bytes(data, path)
    return {"inputs": names, "opset": OPSET, "largest": largest}


def _traced(graph: nn.Module, names: list[str]) -> bytes:
    """The ONNX file of a graph; height and width are left open."""
    import io
    import warnings

    example: tuple[Tensor, ...] = (torch.rand(1, 3, 151, 171),)  # odd, so that a network's padding is traced
    if names[1:]:
        example += (*(torch.full((1,), torch.nan) for _ in names[1:-1]), torch.ones(1))
    file = io.BytesIO()
    # with gradients, for the shorter ways without them use operations that ONNX lacks
    with torch.enable_grad(), _exportable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that are fixed indeed
        torch.onnx.export(graph, example, cast(Any, file), input_names=names, output_names=["result"],
                          opset_version=OPSET,
                          dynamic_axes={"image": {2: "height", 3: "width"}, "result": {2: "height", 3: "width"}},
                          dynamo=False)
    return file.getvalue()


def compare(model: GreedyEpisode | FeedForwardModel, data: bytes, names: list[str],
            preference: Mapping[str, float] | None = None) -> float:
    """The largest difference between onnxruntime and torch, on pictures of three sizes, none of them square."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator, largest = torch.Generator().manual_seed(0), 0.0
    for size in ((96, 131), (333, 200), (61, 250)):
        image = 0.4 * torch.rand(1, 3, *size, generator=generator)
        chosen = {name: torch.tensor([(preference or {}).get(name, torch.nan)]) for name in names[1:-1]}
        inputs = {"image": image, **chosen, "strength": torch.ones(1)}
        result = torch.from_numpy(session.run(None, {
            entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()})[0])
        with torch.inference_mode():
            wanted = model(image, preference=preference)
        largest = max(largest, (result - wanted).abs().max().item())
    return largest


def _guide(edits: Any, first: Tensor) -> Tensor | None:
    """`PointwiseActions.guide`, in operations that a graph can do."""
    return edits.guide(first, _reduced(first, GUIDE_SIDE)) if edits.needs_initial_image else None


def _edited(edits: Any, image: Tensor, action: Action, guide: Tensor | None) -> Tensor:
    """The image after an action, for the guide of the first one."""
    if guide is None:
        return apply_action(edits, image, action)
    numbers = upsample_agents(edits.parameters(action), image.shape[-2:])
    edited: Tensor = edits.apply_parameters(image, edits.at_pixels(numbers, guide))
    return edited


def _reduced(image: Tensor, size: int) -> Tensor:
    """`resize` as a product of matrices that are made from the picture's size, which a graph can do."""
    down, across = _means(image[0, 0, :, 0], size), _means(image[0, 0, 0], size)
    return down @ image @ across.transpose(0, 1)


def _means(line: Tensor, size: int) -> Tensor:
    """(size, side) for a line of that side: row i averages places floor(i side / size) to ceil((i + 1) side / size)."""
    place = torch.cumsum(torch.ones_like(line), 0) - 1
    count = place[-1] + 1
    number = torch.arange(size, dtype=line.dtype)
    first, last = torch.floor(number * count / size), torch.ceil((number + 1) * count / size)
    rows = ((place >= first[:, None]) & (place < last[:, None])).to(line.dtype)
    return rows / rows.sum(dim=1, keepdim=True)


@contextmanager
def _exportable() -> Iterator[None]:
    """Statistics in operations that ONNX has, and one that it has and torch's exporter does not know of."""
    before = statistics._median

    def median(level: Tensor) -> Tensor:
        return torch.sort(level, dim=1).values[:, (level.shape[1] - 1) // 2]

    torch.onnx.register_custom_op_symbolic("aten::atanh", lambda graph, x: graph.op("Atanh", x), OPSET)
    statistics._median = median
    try:
        yield
    finally:
        statistics._median = before

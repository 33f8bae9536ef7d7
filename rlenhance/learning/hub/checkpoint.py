"""Saved networks: a folder with model.safetensors and config.json. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor

from rlenhance.core.errors import UnknownName, UsageError, one_line
from rlenhance.core.json_files import parse_json
from rlenhance.core.plugins import load_installed, loaded_plugins, plugins_of, texts_in, warn_if_changed
from rlenhance.hub import migrate
from rlenhance.hub.info import (
    CONFIG,
    FORMAT,
    MODEL,
    TRAINING,
    ModelInfo,
    check_digests,
    check_header,
    config_text,
    digest,
    find_checkpoint,
    read_config,
    reading_safetensors,
    weight_shapes,
)
from rlenhance.hub.shipped import locate
from rlenhance.learning.hub.spec import WithinWeights, check_spec
from rlenhance.learning.models import MODELS, ImageNetwork, Policy, build_model

_MAX_NESTED = 3
_MAX_PATH = 500
_loading = threading.local()


def describe(network: ImageNetwork, about: Mapping[str, Any] | None = None) -> ModelInfo:
    """The description of a network that `save_checkpoint` writes beside its weights."""
    chosen = network.preferences
    return ModelInfo(network.purpose, network.scale, network.channels, network.needs_mask, dict(chosen.ranges),
                     chosen.auto, network.receptive_radius, network.spec, dict(about or {}),
                     {plugin.module: plugin.digest for plugin in plugins_of(set(texts_in(network.spec)))})


def save_checkpoint(folder: Path, network: ImageNetwork, about: Mapping[str, Any] | None = None,
                    training: Mapping[str, Any] | None = None) -> Path:
    """Write a network atomically; an existing checkpoint is replaced.

    Args:
        folder: the checkpoint.
        network: a product of the `MODELS` registry.
        about: further JSON-able facts (step, scores, recipe).
        training: nested mapping of tensors and JSON-able values, for resuming (optimiser, random streams).

    Raises:
        UsageError: a part of the network is larger than can be loaded, a weight is not finite, or the written
            bytes do not load back equal; nothing is written.
    """
    check_spec(network.spec)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    _check_finite(folder, tensors, "the checkpoint is not written")
    data = save(tensors)
    reread = load(data)
    if set(reread) != set(tensors) or any(not torch.equal(reread[name], tensors[name]) for name in tensors):
        raise UsageError(f"{folder}: the weights do not load back equal; the checkpoint is not written")
    config = {"format": FORMAT, **dataclasses.asdict(describe(network, about))}
    if not config["plugins"]:
        del config["plugins"]
    beside = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.part")
    try:
        beside.mkdir(parents=True)
        _write(beside / MODEL, data)
        if training is not None:
            flat, outline = flatten(training)
            state = save(flat, metadata={"outline": json.dumps(outline)})
            _write(beside / TRAINING, state)
            config["digests"] = {MODEL: digest(data), TRAINING: digest(state), CONFIG: digest(config_text(config))}
        _write(beside / CONFIG, config_text(config))
        _swap(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _check_finite(place: Path, tensors: Mapping[str, Tensor], remedy: str) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UsageError(f"{place}: the weight {name} is not finite; {remedy}")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _swap(new: Path, place: Path) -> None:
    """Move `new` to `place`. Killed between the two renames, it leaves the old folder at `place`.old, where
    `find_checkpoint` looks."""
    old = place.with_name(f"{place.name}.old")
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def create_network(name: str, **config: Any) -> ImageNetwork:
    """A new network of the `MODELS` registry, with the prior that its config names.

    Args:
        name: in the registry.
        config: its arguments; `prior` may be the name of a shipped model or a checkpoint's folder.

    Raises:
        UnknownName: the name is not registered.
        UsageError: an argument does not exist or is out of range; the prior cannot be loaded.
    """
    return _build(name, config, None)


def _build(name: str, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]] | None) -> ImageNetwork:
    """See `create_network`; with the shapes of its weights the network must not be larger than they are."""
    prior = config.get("prior")
    loaded = _load_prior(prior) if isinstance(prior, str) else None
    with nullcontext() if shapes is None else WithinWeights(shapes):
        network: Any = MODELS.create(name, **config)
    if loaded is not None:
        network.set_prior(loaded)
    return network


def load_network(folder: Path | str, device: torch.device | str = "cpu") -> ImageNetwork:
    """The network of a checkpoint, in evaluation mode.

    No code is imported for it, but for that of installed plugins: a network with parts of a plugin needs the plugin to
    be loaded (`rlenhance.load_plugin`). A plugin that has changed since is reported on standard error.

    Raises:
        UsageError: see `find_checkpoint` and `read_config`; or the weights are damaged, not finite, or do not fit the
            config; or a part of the network is not registered.
    """
    folder = find_checkpoint(folder)
    config = read_config(folder)
    shapes = weight_shapes(folder)
    network = _create(folder, config, shapes)
    if config["format"] == 1:
        shapes = migrate.upgrade_weights(shapes)
    _check_shapes(folder, network, shapes)
    tensors = _read_tensors(folder / MODEL)
    if config["format"] == 1:
        tensors = migrate.upgrade_weights(tensors)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise UsageError(f"{folder}: weights and config do not fit together ({one_line(error, 400)})") from error
    _check_finite(folder / MODEL, tensors, "use another checkpoint")
    check_digests(folder, config, (MODEL,))
    return network.to(device).eval()


def _check_shapes(folder: Path, network: ImageNetwork, shapes: Mapping[str, Sequence[int]]) -> None:
    """Compare a network with the shapes in the file before the weights are read."""
    wanted = {name: list(value.shape) for name, value in network.state_dict().items()}
    for name in sorted({*wanted, *shapes}):
        if wanted.get(name) != shapes.get(name):
            raise UsageError(f"{folder}: weights and config do not fit together (the weight {name:.60} has the shape "
                             f"{shapes.get(name, 'none')} in {MODEL}, and {wanted.get(name, 'none')} by {CONFIG})")


def _create(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> ImageNetwork:
    """The network of a config.json, with fresh weights; installed plugins are loaded where a name is unknown."""
    def make() -> ImageNetwork:
        check_spec(config["model"])
        arguments = dict(config["model"])
        return _build(arguments.pop("name"), arguments, shapes)

    needed = config.get("plugins") or {}
    try:
        try:
            network = make()
        except UnknownName:
            if not load_installed():
                raise
            network = make()
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, IndexError,
            AssertionError) as error:  # of a wrong spec
        remedy, missing = "", [module for module in needed if module not in loaded_plugins()]
        if isinstance(error, UnknownName) and missing:
            remedy = (f": it has parts of the plugin {', '.join(missing)}, and a checkpoint has no code imported; load "
                      f"it first, with --plugin {missing[0]}.py, or from Python with rlenhance.load_plugin")
        raise UsageError(f"{folder / CONFIG}: its model cannot be built ({one_line(error, 400)}){remedy}") from error
    for module, known in needed.items():
        if module in loaded_plugins():
            warn_if_changed(loaded_plugins()[module], known, f"{folder} was trained")
    return network


def load_model(model: Path | str, device: torch.device | str = "cpu", *, steps: int | None = None) -> ImageNetwork:
    """A trained model, `(image, mask=None, preference=None) -> image`.

    Args:
        model: name of a shipped model, a checkpoint, or a run (its best checkpoint).
        device: of the weights.
        steps: see `rlenhance.learning.models.GreedyEpisode`; for policies only.

    Raises:
        UsageError: see `locate` and `load_network`; or `steps` for another model.
    """
    network = load_network(locate(model), device)
    if steps is not None and not isinstance(network, Policy):
        raise UsageError(f"{model}: a {type(network).__name__} acts in one pass; steps are for policies")
    return build_model(network, steps).eval()


def load_training(folder: Path) -> dict[str, Any]:
    """The argument `training` of `save_checkpoint`.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    path = folder / TRAINING
    if not path.is_file():
        raise UsageError(f"{folder}: holds no training state, it cannot be resumed; start from its weights with --init")
    config = read_config(folder)
    check_digests(folder, config, (MODEL, TRAINING, CONFIG))
    flat = _read_tensors(path)
    with reading_safetensors(path), safe_open(path, framework="pt") as file:
        outline = (file.metadata() or {}).get("outline")
    if outline is None:
        raise UsageError(f"{path}: not a training state; start from the weights with --init")
    parsed = parse_json(outline, path, finite=False)
    try:
        state = restore(flat, parsed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        remedy = "start from the weights with --init"
        raise UsageError(f"{path}: damaged ({error!r:.120}); {remedy}") from error
    return migrate.upgrade_training(state) if config["format"] == 1 else state


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with reading_safetensors(path):
        check_header(path)
        return load_file(path)


def _load_prior(name: str) -> ImageNetwork:
    """The network that another one names as its prior; priors that name each other end in a UsageError."""
    depth = getattr(_loading, "depth", 0)
    if depth == _MAX_NESTED:
        raise UsageError(f"its prior has a prior, more than {_MAX_NESTED} of them")
    if len(name) > _MAX_PATH:
        raise UsageError(f"its prior must be a name or a path; got {name!r:.60}")
    _loading.depth = depth + 1
    try:
        return load_network(locate(name))
    except OSError as error:
        raise UsageError(f"its prior {name!r:.60} cannot be read ({error.strerror})") from error
    finally:
        _loading.depth = depth


def flatten(value: Any) -> tuple[dict[str, Tensor], Any]:
    """Nested mappings, lists and tensors as numbered tensors and a JSON-able outline with their places."""
    tensors: dict[str, Tensor] = {}

    def outline(part: Any) -> dict[str, Any]:
        if isinstance(part, Tensor):
            number = str(len(tensors))
            tensors[number] = part.detach().cpu().contiguous().clone()
            return {"tensor": number}
        if isinstance(part, Mapping):
            return {"mapping": [[key, outline(inner)] for key, inner in part.items()]}
        if isinstance(part, (list, tuple)):
            return {"list": [outline(inner) for inner in part]}
        return {"value": part}

    return tensors, outline(value)


def restore(tensors: Mapping[str, Tensor], outline: Mapping[str, Any]) -> Any:
    """Undo `flatten`; tuples come back as lists."""
    if "tensor" in outline:
        return tensors[outline["tensor"]]
    if "mapping" in outline:
        return {key: restore(tensors, inner) for key, inner in outline["mapping"]}
    if "list" in outline:
        return [restore(tensors, inner) for inner in outline["list"]]
    return outline["value"]

"""Specs of networks from files: their arguments are checked, and the network stays within the size of its weights."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import check_stored
from rlenhance.core.registry import Registry
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.models import MODELS
from rlenhance.learning.nn.backbones import BACKBONES

#: Arguments that are specs themselves -> the registry of their names.
_PARTS: Mapping[str, Registry[Any]] = {"backbone": BACKBONES, "actions": ACTION_SETS, "prior": MODELS,
                                       "network": MODELS}
_SPARE = 1 << 22  # numbers that a network may hold beside its weights: windows, tables, layers that are replaced
_SPARE_TENSORS = 1000
_FACTORIES = frozenset((torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye))


def check_spec(spec: Any, registry: Registry[Any] = MODELS, place: str = "model") -> None:
    """Check the arguments of a spec, and of the specs inside it, by the types in the signature and by `RANGES`.

    Args:
        spec: of a file.
        registry: of its name.
        place: what messages begin with.

    Raises:
        UnknownName: the name is not registered.
        UsageError: not a spec; an argument that does not exist, of another type or outside its range.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise UsageError(f'{place} must be an object with a "name" in quotes; got {spec!r:.60}')
    maker = registry[spec["name"]]
    hints = _hints(maker)
    parameters = inspect.signature(maker).parameters
    for name, value in spec.items():
        if name == "name":
            continue
        if name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise UsageError(f"{place}.{name:.60}: {registry.kind} {spec['name']!r} has no such argument; it takes "
                             f"{', '.join(parameters) or 'none'}")
        if name in _PARTS and isinstance(value, Mapping):
            check_spec(value, _PARTS[name], f"{place}.{name}")
            continue
        if not _fits(value, hints.get(name, Any)):
            raise UsageError(f"{place}.{name} must be {_words(hints[name])}; got {value!r:.60}")
        try:
            check_stored(name, value)
        except UsageError as error:
            raise UsageError(f"{place}.{error}") from error


def _hints(maker: Any) -> dict[str, Any]:
    function = maker.__init__ if inspect.isclass(maker) else maker
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # of a plugin
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of a type; types that JSON does not have fit everything."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in inside)
    if hint in (int, float):
        return type(value) is int or (hint is float and type(value) is float)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    if origin in (tuple, list, Sequence):
        return isinstance(value, list | tuple) and (not inside or all(_fits(item, inside[0]) for item in value))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def _words(hint: Any) -> str:
    """A type in words: "a whole number or null"."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, inside))
    if origin in (tuple, list, Sequence):
        return f"a list, each entry {_words(inside[0])}" if inside else "a list"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes",
            type(None): "null"}.get(hint, "an object")


class WithinWeights(TorchFunctionMode):
    """Context in which a network is built that must not be larger than its weights: a tensor beyond the limit is
    refused before memory is taken for it.

    Args:
        shapes: weight -> shape, of the file.
        factor: how many networks of that size may be built.
        spare: numbers beside them.

    Raises:
        UsageError: the tensors that are made have more numbers than the file, or are many more.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], factor: int = 1, spare: int = _SPARE):
        super().__init__()
        numbers = sum(math.prod(shape) for shape in shapes.values())
        self._numbers, self._tensors = factor * 2 * numbers + spare, factor * 8 * len(shapes) + _SPARE_TENSORS
        self._told = f"the weights have {numbers:,} numbers in {len(shapes):,} tensors, and the config asks for more"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            sizes = kwargs.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self._numbers -= math.prod(side for side in sizes if isinstance(side, int))
            self._tensors -= 1
            if min(self._numbers, self._tensors) < 0:
                raise UsageError(self._told)
        return func(*args, **kwargs)

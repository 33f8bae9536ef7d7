"""Names for what can be plugged in: backbones, action sets, reward terms, models, learners."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from rlenhance.core.errors import UnknownName, UsageError

Entry = TypeVar("Entry", covariant=True)
Registered = TypeVar("Registered")
Product = TypeVar("Product")

#: All registries of this process.
REGISTRIES: WeakSet[Registry[Any]] = WeakSet()
#: Packages of the project; what other modules register is user-defined.
PROJECT = ("rlenhance", "research", "benchmarks")


class Registry(Generic[Entry]):
    """A table from names to entries; entries that make something give their products the recipe.

    Args:
        kind: what one entry is called in messages ("backbone", "reward term").

    Example:
        >>> shapes: Registry[type] = Registry("shape")
        >>> @shapes.register("square")
        ... class Square:
        ...     def __init__(self, side=1):
        ...         self.side = side
        >>> shapes.create("square").spec
        {'name': 'square', 'side': 1}
        >>> shapes["sqare"]
        Traceback (most recent call last):
        rlenhance.core.errors.UnknownName: unknown shape 'sqare': did you mean square? known are square
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Any] = {}
        self._modules: dict[str, str] = {}
        REGISTRIES.add(self)

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator: enter the function or class under `name`, and return it unchanged.

        Raises:
            UsageError: the name is taken.
        """

        def enter(entry: Registered) -> Registered:
            if name in self._entries:
                raise UsageError(f"{self.kind} {name!r} is registered already; choose another name")
            self._entries[name] = entry
            self._modules[name] = _importing_module()
            return entry

        return enter

    def remove(self, name: str) -> None:
        """Take an entry out again."""
        del self._entries[name], self._modules[name]

    def module_of(self, name: str) -> str:
        """The module whose import has registered an entry; "" where it was registered outside of any import."""
        return self._modules[name]

    def own_names(self) -> list[str]:
        """The names of the entries that the project itself has not registered."""
        return [name for name, module in self._modules.items() if module.partition(".")[0] not in PROJECT]

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise UnknownName(self.kind, name, self._entries)
        entry: Entry = self._entries[name]
        return entry

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def create(self: Registry[Callable[..., Product]], name: str, **config: Any) -> Product:
        """Make the product `name`; `.spec` on it is the full recipe, defaults included.

        Raises:
            UnknownName: the name is not registered.
            UsageError: an argument does not exist; the text lists those that do.
        """
        maker = self[name]
        signature = inspect.signature(maker)
        try:
            bound = signature.bind(**config)
        except TypeError as error:
            known = ", ".join(signature.parameters)
            raise UsageError(f"{self.kind} {name!r}: {error}; it takes {known or 'no arguments'}") from error
        bound.apply_defaults()
        product = maker(**config)
        recipe = {"name": name, **bound.arguments}
        for argument, value in bound.arguments.items():  # a part that was itself given as a recipe: its full one
            if isinstance(value, Mapping) and "name" in value:
                recipe[argument] = getattr(getattr(product, argument, None), "spec", value)
        # object.__setattr__ because products may be frozen dataclasses
        object.__setattr__(product, "spec", recipe)
        return product

    def rebuild(self: Registry[Callable[..., Product]], spec: Mapping[str, Any]) -> Product:
        """Make a product again from its `.spec`."""
        config = dict(spec)
        return self.create(config.pop("name"), **config)


def _importing_module() -> str:
    """The module that is being executed: the innermost one on the call stack."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))

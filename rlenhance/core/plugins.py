"""Plugins: user-defined modules that register learners, backbones, action sets, models and reward terms.

A plugin runs the code that it holds. It is imported where the user names it, or where it is installed as a distribution
with an entry point in the group `GROUP`; a checkpoint never has one imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.registry import REGISTRIES

#: Entry points of installed plugins; the value of each is a module.
GROUP = "rlenhance.plugins"


@dataclass(frozen=True)
class Plugin:
    """A plugin that has been loaded.

    Attributes:
        module: its name in Python.
        source: how it is loaded again: path of a file or of a package's folder, or name of a module.
        file: path of its file; "" where it has none.
        digest: BLAKE2 digest of the file; of a package, of all its Python files.
        installed: found by its entry point; False: named by the user.
        registered: kind of registry ("backbone", "reward term") -> names.
    """

    module: str
    source: str
    file: str
    digest: str
    installed: bool
    registered: Mapping[str, Sequence[str]]

    def __str__(self) -> str:
        parts = "; ".join(f"{kind} {', '.join(names)}" for kind, names in self.registered.items())
        return f"{self.module} ({parts or 'registers nothing'})"

    @property
    def names(self) -> set[str]:
        """All names that it has registered."""
        return {name for names in self.registered.values() for name in names}

    def record(self) -> dict[str, str]:
        """What a run stores of it, see `restore_plugins`."""
        return {"module": self.module, "source": self.source, "file": self.file, "digest": self.digest}


_LOADED: dict[str, Plugin] = {}
_REFUSED: set[str] = set()  # entry points that could not be loaded


def loaded_plugins() -> dict[str, Plugin]:
    """The plugins that have been loaded, by the names of their modules."""
    return dict(_LOADED)


def load_plugin(source: Path | str, check: Callable[[Plugin], None] | None = None, *,
                installed: bool = False) -> Plugin:
    """Import a module that registers user-defined parts; one that is loaded already stays as it is.

    Args:
        source: path of a Python file or of a package's folder; or the name of a module, which is searched in the
            current folder and on Python's path.
        check: called with the plugin before it counts as loaded; what it raises undoes the registrations.
        installed: see `Plugin`; the current folder is not searched.

    Raises:
        UsageError: no such file or module, one that fails, or a name that is taken; nothing is registered then.

    Example:
        >>> load_plugin("my_backbone.py")
        Traceback (most recent call last):
        rlenhance.core.errors.UsageError: my_backbone.py: no such file; a plugin is a Python file, the folder of a \
package, or the name of a module
    """
    name, folder = (str(source), "") if installed else _locate(str(source))
    if name in _LOADED:
        return _LOADED[name]
    before = set(sys.modules)
    try:
        module = import_named(name, () if installed else (str(Path.cwd()), folder))
        plugin = Plugin(name, os.path.realpath(source) if folder else name, *digest_of(module), installed,
                        _registered_by(name, set(sys.modules) - before))
        if check is not None:
            check(plugin)
    except BaseException:
        _forget({name, *(set(sys.modules) - before)})
        sys.modules.pop(name, None)
        raise
    _LOADED[name] = plugin
    return plugin


def unload_plugin(module: str) -> None:
    """Take back what a plugin has registered, and forget its module."""
    plugin = _LOADED.pop(module)
    _forget({registry.module_of(name) for registry in REGISTRIES for name in registry.own_names()
             if name in plugin.registered.get(registry.kind, ())})
    sys.modules.pop(module, None)


def load_installed(check: Callable[[Plugin], None] | None = None) -> list[Plugin]:
    """Load the plugins of installed distributions that are not loaded yet.

    One that fails is reported on standard error, once, and left out.

    Returns:
        Those that are new.
    """
    from importlib import metadata  # here: it costs start-up time

    new = []
    for point in metadata.entry_points(group=GROUP):
        if point.module in _LOADED or point.value in _REFUSED:
            continue
        try:
            new.append(load_plugin(point.module, check, installed=True))
        except UsageError as error:
            _REFUSED.add(point.value)
            print(f"warning: the installed plugin {point.name} is left out: {error}", file=sys.stderr)
    return new


def restore_plugins(records: Iterable[Mapping[str, str]], check: Callable[[Plugin], None] | None = None) -> None:
    """Load the plugins of a run again, as far as they are not loaded; one that has changed since is reported on
    standard error. For records of this run's other processes: those of a file would have it choose what is imported.

    Args:
        records: `Plugin.record` of each.
        check: see `load_plugin`.

    Raises:
        UsageError: see `load_plugin`; the message says what the run needs.
    """
    for record in records:
        if record["module"] not in _LOADED:
            load_installed(check)
        try:
            plugin = _LOADED.get(record["module"]) or load_plugin(record["source"], check)
        except UsageError as error:
            name = Path(record["file"]).name
            raise UsageError(f"{error}; the run needs its plugin {record['module']}: put {record['file']} back, or say "
                             f"where it lies now, as in --plugin FOLDER/{name}") from error
        warn_if_changed(plugin, record["digest"], "the run began")


def warn_if_changed(plugin: Plugin, digest: str, when: str) -> None:
    """Report on standard error that a plugin is not what it was."""
    if plugin.digest != digest:
        print(f"warning: {plugin.file} is not what it was when {when}", file=sys.stderr)


def plugins_of(names: Collection[str]) -> list[Plugin]:
    """The loaded plugins that have registered any of these names."""
    return [plugin for plugin in _LOADED.values() if plugin.names & set(names)]


def texts_in(value: Any) -> Iterator[str]:
    """The texts in nested settings, which may be names of registered parts; of name=weight, the name."""
    if isinstance(value, str):
        yield value.partition("=")[0]
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from texts_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from texts_in(part)


def import_named(name: str, folders: Sequence[str] = (), needed: str = "") -> ModuleType:
    """Import a user-defined module.

    Args:
        name: with dots where it lies in a package.
        folders: searched before Python's path, the last one first; "" is none.
        needed: begins the advice where it is missing.

    Raises:
        UsageError: there is none, or it fails; the text names the line.
    """
    for folder in folders:
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"{name} needs the module {error.name}, which is not installed") from error
        places = " and ".join(dict.fromkeys(filter(None, folders)))
        where = f"in {places}, nor on" if places else "on"
        raise UsageError(f"no module {name!r} {where} Python's path: {needed}run the command in the folder where "
                         f"{name.replace('.', '/')}.py lies, or set PYTHONPATH to it") from error
    except UsageError as error:  # of a decorator: the name is taken
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error} ({place.filename}, "
                         f"line {place.lineno})") from error


def digest_of(module: ModuleType) -> tuple[str, str]:
    """The file of a module and its BLAKE2 digest; of a package, the digest of all its Python files."""
    if not module.__file__:
        return "", ""
    file = Path(os.path.realpath(module.__file__))
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
        digest.update(path.read_bytes())
    return str(file), digest.hexdigest()


def module_name(source: Path | str) -> str:
    """The name of the module that a path or a name stands for."""
    named = str(source)
    return Path(named).name.removesuffix(".py") if named.endswith(".py") or os.sep in named else named


def _locate(source: str) -> tuple[str, str]:
    """The module's name, and the folder where it lies ("" for a module that is named).

    Raises:
        UsageError: there is no such file, or its name cannot be a module's.
    """
    name = module_name(source)
    if name == source:
        if all(map(str.isidentifier, source.split("."))):
            return source, ""
        raise UsageError(f"a plugin is a Python file, the folder of a package, or the name of a module; got {source!r}")
    path = Path(os.path.realpath(source))
    if name in _LOADED and not os.path.exists(path):  # of a run: it lies elsewhere now
        return name, str(path.parent)
    if not (os.path.isfile(path) or os.path.isfile(path / "__init__.py")):
        raise UsageError(f"{source}: no such file; a plugin is a Python file, the folder of a package, or the name of "
                         f"a module")
    if not name.isidentifier():
        raise UsageError(f"{source}: {name!r} cannot be the name of a module; rename the file, as in "
                         f"{''.join(sign if sign.isalnum() else '_' for sign in name)}.py")
    taken = _file_of(name)
    if taken not in (None, path, path / "__init__.py"):
        raise UsageError(f"{source}: the name {name} is taken by {taken}; rename the file")
    return name, str(path.parent)


def _file_of(name: str) -> Path | str | None:
    """The file of the module that Python knows, or would find, under a name; None where there is none."""
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder without __init__.py is no module
            return None
        file = spec.origin
    return Path(os.path.realpath(file)) if file and os.path.exists(file) else f"Python's own module {name}"


def _registered_by(module: str, imported: Collection[str]) -> dict[str, list[str]]:
    """What a module, its submodules, and modules that were imported for it have registered."""
    found: dict[str, list[str]] = {}
    for registry in sorted(REGISTRIES, key=lambda registry: registry.kind):
        names = [name for name in registry.own_names() if _belongs(registry.module_of(name), module)
                 or registry.module_of(name) in imported]
        if names:
            found.setdefault(registry.kind, []).extend(names)
    return found


def _belongs(name: str, module: str) -> bool:
    return f"{name}.".startswith(f"{module}.")


def _forget(modules: Collection[str]) -> None:
    """Take back what user-defined modules have registered, and have Python forget those that did."""
    for registry in REGISTRIES:
        for name in registry.own_names():
            if registry.module_of(name) in modules:
                sys.modules.pop(registry.module_of(name), None)
                registry.remove(name)

"""Terms of the user's own, in a module of theirs: named `module:function`, found as Python finds modules."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rlenhance.core.errors import UsageError
from rlenhance.rewards.base import TERMS, Term, state_term
from rlenhance.rewards.trial import try_term


@dataclass(frozen=True)
class TermSource:
    """Where a term of the user's own came from.

    Attributes:
        source: `module:function`.
        folder: in which the module was found.
        file: the module's.
        digest: of that file.
    """

    source: str
    folder: str
    file: str
    digest: str


#: The terms that were loaded: name -> where from.
LOADED: dict[str, TermSource] = {}


def loaded() -> dict[str, dict[str, str]]:
    """What `load_terms` has loaded, for config.json and for other processes: name -> fields of its `TermSource`."""
    return {name: dataclasses.asdict(source) for name, source in LOADED.items() if name in TERMS}


def load_terms(sources: Iterable[str], known: Mapping[str, Mapping[str, str]] | None = None) -> list[str]:
    """Load reward terms of the user's own; those that are loaded already stay as they are.

    A function that the module registers with `@state_term` or `@action_term` is that term; any other function
    `f(image, transition) -> cost map` becomes a state term of its own name and weight 1. Each is tried once on
    made-up pictures.

    Args:
        sources: `module:function` each; the module is looked for in the current folder and on Python's path.
        known: name -> fields of a `TermSource` that a run has kept: its folder is looked at first, and a module that
            has changed since is told on standard error.

    Returns:
        The names of the terms.

    Raises:
        UsageError: no such module or function, a module that fails, a name that is taken, a term that fails on the
            trial; nothing is registered then.
    """
    fields = [field.name for field in dataclasses.fields(TermSource)]
    kept = {about.get("source"): TermSource(*(about.get(field, "") for field in fields))
            for about in (known or {}).values()}
    return [_load(source, kept.get(source)) for source in sources]


def _load(source: str, kept: TermSource | None) -> str:
    for name, found in LOADED.items():
        if found.source == source and name in TERMS:
            return name
    module_name, sign, function = source.partition(":")
    fine = function.isidentifier() and all(map(str.isidentifier, module_name.split(".")))
    if not sign or not fine or module_name.endswith(".py"):
        raise UsageError(f"a reward term is written module:function, as in my_rewards:edges for the function edges in "
                         f"my_rewards.py; got {source!r}")
    terms, modules = set(TERMS), set(sys.modules)
    try:
        module = _module(module_name, kept)
        term = _term(module, function)
        try_term(term)
    except BaseException:
        for name in set(TERMS) - terms:
            TERMS.remove(name)
        if module_name not in modules:
            sys.modules.pop(module_name, None)
        raise
    found = _source_of(source, module)
    if kept is not None and kept.digest != found.digest:
        print(f"warning: {module.__file__} is not what it was when the run began", file=sys.stderr)
    LOADED[term.name] = found
    return term.name


def _module(name: str, kept: TermSource | None) -> ModuleType:
    """Import, from the folder that a run has kept, the current one, or Python's path."""
    for folder in (str(Path.cwd()), kept.folder if kept else ""):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"{name} needs the module {error.name}, which is not installed") from error
        places = " and ".join(dict.fromkeys([str(Path.cwd()), *([kept.folder] if kept else [])]))
        needed = "the run needs its reward term: put it back, or " if kept else ""
        raise UsageError(f"no module {name!r} in {places}, nor on Python's path: {needed}run the command in the folder "
                         f"where {name.replace('.', '/')}.py lies, or set PYTHONPATH to it") from error
    except UsageError as error:  # of a decorator: the name is taken
        raise UsageError(f"{name}: {error}") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(f"{name} cannot be imported: {type(error).__name__}: {error} ({place.filename}, "
                         f"line {place.lineno})") from error


def _term(module: ModuleType, function: str) -> Term:
    """The term of that name, or of the function of that name, which is registered where it is not yet."""
    theirs = [term for term in (TERMS[name] for name in TERMS) if term.function.__module__ == module.__name__]
    found = getattr(module, function, None)
    for term in theirs:
        if term.function is found or term.name == function:
            return term
    if not callable(found):
        there = [term.name for term in theirs]
        there += [name for name, value in vars(module).items() if inspect.isfunction(value)
                  and value.__module__ == module.__name__ and name not in there and not name.startswith("_")]
        raise UsageError(f"{module.__name__} ({module.__file__}) has no function {function!r}; it has "
                         f"{', '.join(there) or 'none'}")
    try:
        inspect.signature(found).bind(None, None)
    except TypeError as error:
        raise UsageError(f"{module.__name__}:{function} cannot be called as {function}(image, transition): {error}; "
                         f"see docs/tutorials/own_reward.md") from error
    if function in TERMS:
        other = LOADED[function].source if function in LOADED else "a term of rlenhance's own"
        raise UsageError(f"{module.__name__}:{function}: the name {function} is taken ({other}); rename the function, "
                         f"or register it with @state_term(\"another_name\")")
    state_term(function, default=1.0)(found)
    return TERMS[function]


def _source_of(source: str, module: ModuleType) -> TermSource:
    if not module.__file__:
        return TermSource(source, "", "", "")
    file = Path(module.__file__).resolve()
    above = module.__name__.count(".") + (file.name == "__init__.py")
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    return TermSource(source, str(file.parents[above]), str(file), digest)

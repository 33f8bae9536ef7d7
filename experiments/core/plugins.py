"""Plugins of a command: loaded before its options are known, because they add to them, and kept with the run."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import tyro

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import (
    Plugin,
    load_installed,
    load_plugin,
    loaded_plugins,
    plugins_of,
    restore_plugins,
    texts_in,
)
from rlenhance.experiments.core.config import LearnerSettings, hints_of, is_flat
from rlenhance.learning.rewards import TERMS, load_terms
from rlenhance.learning.rewards.custom import registered_sources, validate_term

_FLAG = "--plugin"


def check_parts(plugin: Plugin) -> None:
    """Refuse what no command could use: a reward term that fails on test images, a learner without settings.

    Raises:
        UsageError: names the part.
    """
    for name in plugin.registered.get(TERMS.kind, ()):
        validate_term(TERMS[name])
    for name in plugin.registered.get(LEARNERS.kind, ()):
        if not (name.isidentifier() and dataclasses.is_dataclass(getattr(LEARNERS[name], "Config", None))):
            raise UsageError(f"{plugin.module}: the learner {name!r} needs a name that can begin an option, as in "
                             f"my_learner, and the attribute Config, the dataclass of its settings")


def load_plugins(sources: Iterable[str]) -> list[Plugin]:
    """Load the plugins that a command names, and those that are installed.

    Returns:
        Those that are named.
    """
    named = [load_plugin(source, check_parts) for source in sources]
    load_installed(check_parts)
    return named


def load_plugins_of(stored: Mapping[str, Any], sources: Iterable[str] = ()) -> None:
    """Have the plugins of a run that goes on: the user names them again, because a folder that came from elsewhere must
    not have code imported.

    Args:
        stored: config.json of the run.
        sources: paths and modules that the command names.

    Raises:
        UsageError: a plugin of the run is not named; the text holds the option.
    """
    load_plugins(sources)
    records = stored.get("plugins", ())
    missing = [record for record in records if record["module"] not in loaded_plugins()]
    if missing:
        names = ", ".join(record["module"] for record in missing)
        places = shlex.join(record["source"] for record in missing)
        raise UsageError(f"the run needs the code of its plugin {names}, and a run folder has none imported: name what "
                         f"you trust, --plugin {places} (or where it lies now)")
    restore_plugins(records, check_parts)


def require_terms(stored: Any, given: Any) -> None:
    """Refuse a run with user-defined reward terms that are not named again: a folder that came from elsewhere must
    not have code imported.

    Args:
        stored: settings of the run.
        given: `train` of what the command names.

    Raises:
        UsageError: a term is not named, and was not loaded by this process; the text holds the option.
    """
    known = {*getattr(given, "reward_term", ()), *(about["source"] for about in registered_sources().values())}
    missing = [source for source in getattr(stored.train, "reward_term", ()) if source not in known]
    if missing:
        raise UsageError(f"the run needs the code of its reward terms, and a run folder has none imported: name what "
                         f"you trust, --reward-term {shlex.join(missing)}")


def require_tools(stored: Any, given: Any) -> None:
    """Refuse a run over functions or commands as tools that are not named again: a folder that came from elsewhere must
    not have them run.

    Args:
        stored: settings of the run.
        given: what the command names.

    Raises:
        UsageError: a tool is not named; the text holds the option.
    """
    known, named = (getattr(getattr(config, "data", None), "tools", ()) for config in (stored, given))
    if missing := [word for word in known if any(sign in word for sign in ":{ ") and word not in named]:
        raise UsageError(f"the tools of the run hold code ({', '.join(map(repr, missing))}), and a run folder has none "
                         f"run: name its tools again if you trust them, --tools {shlex.join(known)}")


def load_terms_of(stored: Mapping[str, Any], sources: Iterable[str]) -> None:
    """Load the reward terms of a run from the current folder or Python's path; its own record of their folder is not
    searched, because it may come from elsewhere.

    Raises:
        UsageError: see `load_terms`; says where the module lay when the run began.
    """
    records = stored.get("reward_terms", {})
    try:
        load_terms(sources, {name: {**about, "folder": ""} for name, about in records.items()})
    except UsageError as error:
        if not records:
            raise
        folders = ", ".join(sorted({about.get("folder", "") for about in records.values()}))
        raise UsageError(f"{error} (when the run began it lay in {folders})") from error


def named_plugins(words: Sequence[str]) -> list[str]:
    """The values of --plugin on a command line."""
    values, taking = [], False
    for word in words:
        option, sign, value = word.partition("=")
        if word.startswith("--"):
            taking = option == _FLAG
            values += [value] if taking and sign else []
        elif taking:
            values.append(word)
    return values


def run_plugins(config: Any, spec: Any) -> list[Plugin]:
    """The plugins that belong to a run: those that it names, and the installed ones of which it uses a part.

    Args:
        config: its settings.
        spec: of its network; None where it has none yet.
    """
    used = plugins_of({*texts_in(dataclasses.asdict(config)), *texts_in(spec)})
    named = [load_plugin(source, check_parts) for source in config.train.plugin]
    return [plugin for plugin in loaded_plugins().values()
            if plugin in named or (plugin.installed and plugin in used)]


def plugin_words(plugins: Sequence[str]) -> str:
    """The options that name plugins again, for a command that is printed: " --plugin own.py"; "" without plugins."""
    return "".join(f" --plugin {shlex.quote(name)}" for name in plugins)


def own_terms(sources: Iterable[str], plugins: Iterable[str]) -> list[str]:
    """The user-defined reward terms that a command names.

    Args:
        sources: `module:function` each.
        plugins: paths and modules; all their terms count.
    """
    registered = (load_plugin(plugin, check_parts).registered.get(TERMS.kind, ()) for plugin in plugins)
    return list(dict.fromkeys([*load_terms(sources), *(name for names in registered for name in names)]))


def term_files() -> dict[str, dict[str, str]]:
    """Every user-defined reward term that this process has loaded -> its file and the digest of that."""
    plugins = loaded_plugins().values()
    of_plugins = {name: plugin for plugin in plugins for name in plugin.registered.get(TERMS.kind, ())}
    return {**{name: {"file": plugin.file, "digest": plugin.digest} for name, plugin in of_plugins.items()},
            **{name: {"file": about["file"], "digest": about["digest"]}
               for name, about in registered_sources().items()}}


def with_plugins(kind: Any) -> Any:
    """A class of settings whose parts for the learners also hold the settings of the learners of plugins."""
    return _extended(kind, tuple((name, LEARNERS[name].Config) for name in LEARNERS.own_names()
                                 if dataclasses.is_dataclass(getattr(LEARNERS[name], "Config", None))))


@functools.cache
def _extended(kind: Any, own: tuple[tuple[str, Any], ...]) -> Any:
    """A dataclass derived from another one, with the settings of further learners: names and classes."""
    if issubclass(kind, LearnerSettings):
        parts = [(name, config, dataclasses.field(default_factory=config)) for name, config in own]
    else:
        parts = []
        for part in dataclasses.fields(kind):
            default: Any = None if part.default_factory is dataclasses.MISSING else part.default_factory()
            kept: Any = type(default)
            inner: Any = _extended(kept, own) if dataclasses.is_dataclass(default) else kept
            if inner is not kept:
                flat = isinstance(default, LearnerSettings) or is_flat(hints_of(kind)[part.name])
                hint = Annotated[inner, tyro.conf.arg(name="")] if flat else inner
                parts.append((part.name, hint, dataclasses.field(default_factory=_converter(default, own))))
    frozen, about = kind.__dataclass_params__.frozen, {"__doc__": kind.__doc__}
    made: Any = dataclasses.make_dataclass(kind.__name__, parts, bases=(kind,), frozen=frozen, namespace=about)
    return made if parts else kind


def _converter(default: Any, own: tuple[tuple[str, Any], ...]) -> Callable[[], Any]:
    """Makes settings anew in the extended class, with the values of `default`."""
    def convert(value: Any) -> Any:
        if not dataclasses.is_dataclass(value):
            return value
        kind: Any = type(value)
        return _extended(kind, own)(**{part.name: convert(getattr(value, part.name))
                                       for part in dataclasses.fields(value)})

    return lambda: convert(default)


def settings_record(config: Any) -> dict[str, Any]:
    """The settings of a run as config.json holds them: without the settings of learners of plugins that are as they
    come, so that the run goes on where the plugin is not there."""
    record = dataclasses.asdict(config)
    for name in LEARNERS.own_names():
        settings = getattr(config.learners, name, None)
        if settings is not None and name != config.train.learner and settings == type(settings)():
            del record["learners"][name]
    return record

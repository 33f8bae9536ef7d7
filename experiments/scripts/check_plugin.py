"""The laws run on what plugins register: `python -m experiments.check_plugin my_module.py`."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Annotated

import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import Plugin, load_plugin
from rlenhance.experiments.core.config import PluginNames
from rlenhance.experiments.laws.law import LAWS, Law, LawBroken


def check(plugins: Annotated[PluginNames, tyro.conf.Positional]) -> None:
    """Run the laws that the tests of the project hold its own parts to on the parts that plugins register.

    Prints a line for each law. Exit status: 0, 1 where a law is broken, 2 for a plugin that cannot be loaded.

    Args:
        plugins: Files or importable names.

    Raises:
        UsageError: a plugin cannot be loaded, or registers nothing.
        SystemExit: with 1, a law is broken.
    """
    if not plugins:
        raise UsageError("name a plugin, as in python -m rlenhance.experiments.check_plugin my_module.py")
    broken = count = 0
    for source in plugins:
        for text, holds in check_plugin(load_plugin(source)):
            print(text, flush=True)
            count, broken = count + (holds is not None), broken + (holds is False)
    print(f"{broken} of {count} laws broken" if broken else f"{count} laws hold")
    if broken:
        raise SystemExit(1)


def check_plugin(plugin: Plugin) -> Iterator[tuple[str, bool | None]]:
    """Lines of the report, and whether the law of the line holds (None for a heading).

    Raises:
        UsageError: the plugin registers nothing.
    """
    if not plugin.registered:
        raise UsageError(f"{plugin.file or plugin.module}: registers nothing; its decorators are register_backbone and "
                         f"its kin of rlenhance, and LEARNERS.register of agents (docs/howto/own_parts.md)")
    for kind, names in plugin.registered.items():
        for name in names:
            yield f"{plugin.module}: {kind} {name}{'' if kind in LAWS else ', which no laws are about'}", None
            for law in LAWS.get(kind, ()):
                fault = _fault(law, name)
                if fault is not None:
                    yield f"  {'BROKEN' if fault else 'ok':<6}  {law.statement}{fault and f' -- {fault}'}", not fault


def _fault(law: Law, name: str) -> str | None:
    """How a part breaks a law; "" where it holds, None where it is not about this part."""
    try:
        return "" if _holds(law, name) else None
    except LawBroken as error:
        return str(error)


def _holds(law: Law, name: str) -> bool:
    """Whether a law is about a part; if so, it is checked, and an error of the part breaks it."""
    try:
        if law.concerns(name):
            law.check(name)
            return True
    except LawBroken:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise LawBroken(f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})") from error
    return False

"""The configuration of a training run: its dataclasses, their JSON, and how two of them differ."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import check_stored
from rlenhance.core.registry import Registry
from rlenhance.experiments.core.loggers import LOGGERS

T = TypeVar("T")
#: A part of a configuration whose options have no prefix on the command line.
Flat = Annotated[T, tyro.conf.arg(name="")]
_LOCATED = "a path or the name of a shipped model"
#: A run, a checkpoint, or the name of a shipped model.
ModelName = Annotated[str, _LOCATED]
#: Plugins, see `rlenhance.core.plugins`.
PluginNames = tuple[Annotated[str, _LOCATED], ...]


def default_is(text: str, metavar: str | None = None) -> Any:
    """The help of an option whose None (or 0) stands for a value that depends on others: shows that value."""
    def hint(default: str) -> str:
        return f"(default: {text if default in ('', '0', '0.0', 'None', repr('')) else default})"

    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


def one_of(names: Mapping[str, Any] | Registry[Any], fits: Callable[[Any], bool] | None = None,
           also: Sequence[str] = ()) -> Any:
    """The help of an option that takes a registered name: lists all that are registered when help is asked for.

    Args:
        names: a registry.
        fits: entry -> whether the option takes it; None: all.
        also: words that are no names of it.
    """
    def hint(default: str) -> str:
        known = [*fitting(names, fits), *also]
        return f"(one of {', '.join(known)}; default: {default})"

    return tyro.conf.arg(help_behavior_hint=hint)


def fitting(names: Mapping[str, Any] | Registry[Any], fits: Callable[[Any], bool] | None = None) -> list[str]:
    """The registered names whose entries fit."""
    return [name for name in names if fits is None or fits(names[name])]


def is_policy_learner(kind: Any) -> bool:
    """Whether a registered learner trains policies."""
    return getattr(kind, "is_policy", True)


def chooses_tools(kind: Any) -> bool:
    """Whether a registered learner can train agents that choose among tools, or a network in one pass."""
    return getattr(kind, "supports_categorical", True)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of every training run; a task derives its own class, with its own defaults."""

    #: Options that may be given anew beside `resume`: they make a run longer.
    extends: ClassVar[tuple[str, ...]] = ("updates", "minutes", "patience")

    learner: Annotated[str, one_of(LEARNERS)] = "a3c"
    """The learner."""
    name: Annotated[str, default_is("learner, date and time")] = ""
    """Of the run folder."""
    out: Path = Path("runs")
    """Where run folders are made."""
    seed: int = 0
    """Of weights, crops, holes, noise and exploration."""
    updates: Annotated[int | None, default_is("400, or as many as --minutes allows", "INT")] = None
    """Learner steps; beside --resume, how many the run is to have in all."""
    minutes: float = 0.0
    """Stop after this much training time, validation left out (0: only the updates count)."""
    batch_size: int = 8
    """Pictures per update."""
    eval_interval: int = 40
    """Updates between validations; each one saves last/."""
    monitor: Annotated[str | None, default_is("val/return of policies, val/psnr of others", "SCORE")] = None
    """The validation score whose maximum chooses best/."""
    patience: int | None = 0
    """Stop when that score has not improved for so many validations (0: never)."""
    device: str = "auto"
    """auto (CUDA, MPS, CPU), cpu, cuda or mps."""
    devices: int = 1
    """How many devices, with a process and an equal share of the batch each (docs/reference/training.md)."""
    precision: str = "32"
    """32, bf16 or fp16 (mixed; fp16 needs CUDA)."""
    resume: Path | None = None
    """Go on with this run; all other settings come from its config.json (but --device, --devices, --logger,
    --no-progress, and --updates, --minutes and --patience, which make it longer)."""
    auto_resume: bool = False
    """Go on with the run of this --name where there is one, and begin it otherwise: for commands that are started
    again by torchrun or a job queue (docs/howto/several_machines.md)."""
    init: Path | None = None
    """Begin with the weights of this run, or of the shipped model of that name."""
    warm_start: Path | None = None
    """Begin a policy with the backbone of this supervised run."""
    logger: Annotated[tuple[str, ...], one_of(LOGGERS)] = ("tensorboard",)
    """Where numbers, samples and settings go beside metrics.csv: one or several (docs/howto/loggers.md)."""
    log_all_terms: bool = False
    """The loggers get reward terms of weight 0 too, as metrics.csv does."""
    progress: bool = True
    """Show a progress bar."""
    plugin: PluginNames = ()
    """Your own modules, files or importable names, that register learners, backbones, action sets or reward terms;
    with --help-all they are listed here (docs/howto/own_parts.md)."""


def with_defaults(hidden: Sequence[str] = (), shown: Mapping[str, str] = types.MappingProxyType({}),
                  **values: Any) -> Callable[[type[T]], type[T]]:
    """A class decorator, below that of `dataclass`: other defaults for settings of the class that it derives from,
    without saying anew what they are.

    Args:
        hidden: settings that the command line does not have.
        shown: setting -> what help shows as its default.
        values: setting -> default, where it is another one.
    """
    def decorate(kind: type[T]) -> type[T]:
        base: Any = kind.__mro__[1]
        hide: Any = tyro.conf.Suppress
        for name in dict.fromkeys((*hidden, *shown, *values)):
            hint = hints_of(base)[name]
            plain, notes = plain_type(hint), getattr(hint, "__metadata__", ())
            if name in hidden:
                hint = hide[plain]
            elif name in shown:
                metavar = next((note.metavar for note in notes if hasattr(note, "metavar")), None)
                hint = Annotated[plain, default_is(shown[name], metavar)]
            kind.__annotations__[name] = hint
            setattr(kind, name, values.get(name, getattr(base, name)))
        return kind

    return decorate


@dataclass(frozen=True)
class NoSettings:
    """A part of a configuration in which nothing can be set."""


@dataclass(frozen=True)
class LearnerSettings:
    """Settings of each learner, in a field of its name; learners of plugins add theirs, see
    `rlenhance.experiments.core.plugins.with_plugins`."""


def learner_settings(**settings: Any) -> Any:
    """A class of settings of learners: name of the learner -> its settings where nothing is asked for."""
    fields = [(name, type(value), field(default_factory=partial(dataclasses.replace, value)))
              for name, value in settings.items()]
    return dataclasses.make_dataclass("LearnerSettings", fields, bases=(LearnerSettings,), frozen=True,
                                      namespace={"__doc__": "Settings of each learner."})


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, in four parts; a task derives its own, with the types and defaults of its parts.
    It is the command line of the task, and `arguments` in config.json."""

    train: Flat[Any] = field(default_factory=TrainConfig)
    data: tyro.conf.Suppress[Any] = field(default_factory=NoSettings)
    network: tyro.conf.Suppress[Any] = field(default_factory=NoSettings)
    learners: tyro.conf.Suppress[Any] = field(default_factory=LearnerSettings)


def from_json(kind: Any, value: Any) -> Any:
    """A dataclass again from the JSON of its fields; fields that are unknown are refused.

    Neither cattrs (which turns "3" into 3) nor msgspec (which passes over fields that a dataclass does not have) is as
    strict.

    Raises:
        UsageError: a field that this version does not have, or a value of another kind.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return from_json(arguments[0], value)
    if value is None or kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return from_json(next(inner for inner in arguments if inner is not type(None)), value)
    if dataclasses.is_dataclass(kind):
        hints = hints_of(kind)
        if not isinstance(value, dict):
            raise UsageError(f"config.json holds {value!r:.60} where settings belong; restore it")
        unknown = set(value) - set(hints)
        if unknown:
            raise UsageError(f"config.json names {', '.join(sorted(unknown)):.200}, which this version does not know: "
                             f"resume with the version that began the run")
        for name, inner in value.items():
            check_stored(name, inner if not dataclasses.is_dataclass(plain_type(hints[name])) else None)
        make: Any = kind
        return make(**{name: from_json(hints[name], inner) for name, inner in value.items()})
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"config.json holds {value!r:.60} where a list belongs; restore it")
        return tuple(from_json(arguments[0], item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"config.json holds {value!r:.60} where a {kind.__name__} belongs; restore it")
    return value


def hints_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass and their types."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {part.name: hints[part.name] for part in dataclasses.fields(kind)}


def plain_type(hint: Any) -> Any:
    """A type without what it is annotated with."""
    return plain_type(typing.get_args(hint)[0]) if typing.get_origin(hint) is Annotated else hint


def is_flat(hint: Any) -> bool:
    """Whether the options of a part have no prefix of their own on the command line, see `Flat`."""
    return any(getattr(note, "name", None) == "" for note in getattr(hint, "__metadata__", ()))


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting in a dataclass of dataclasses: path with dots, value."""
    for part in dataclasses.fields(config):
        value = getattr(config, part.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{part.name}.")
        else:
            yield f"{prefix}{part.name}", value


def differing(one: RunConfig, other: RunConfig) -> list[str]:
    """Paths of the settings in which two configurations of a task differ."""
    values = dict(leaves(other))
    return [path for path, value in leaves(one) if value != values[path]]


def option_names(paths: list[str]) -> str:
    """Settings as the command line calls them, without the name of the part."""
    return ", ".join(path.partition(".")[2] for path in paths)


def replaced(config: T, changes: Mapping[str, Any]) -> T:
    """The same with other values: path with dots -> value."""
    made: Any = config
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        made = dataclasses.replace(made, **{name: replaced(getattr(made, name), {rest: value}) if rest else value})
    return made


def anchored(config: T) -> T:
    """The same with whole paths, so that a run can go on from another folder.

    A path that does not exist is the name of a shipped model, and stays; so does a default, and where runs are made.
    """
    made: Any = config
    changes: dict[str, Any] = {}
    for part in dataclasses.fields(made):
        value = getattr(made, part.name)
        if dataclasses.is_dataclass(value):
            changes[part.name] = anchored(value)
        elif part.name != "out" and value != part.default:
            changes[part.name] = _whole(value, hints_of(type(made))[part.name])
    return dataclasses.replace(made, **changes)


def _whole(value: Any, hint: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_whole(item, next(iter(typing.get_args(plain_type(hint))), None)) for item in value)
    if isinstance(value, Path) and value.exists():
        return value.resolve()
    if _LOCATED in getattr(hint, "__metadata__", ()) and Path(value).exists():
        return str(Path(value).resolve())
    return value


def check_budget(config: TrainConfig) -> None:
    """Refuse impossible numbers."""
    if config.batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1; got {config.batch_size}")
    if Path(config.name).name != config.name:
        raise UsageError(f"--name is the name of a folder in --out, without separators; got {config.name!r}")
    updates = 1 if config.updates is None else config.updates
    if config.patience is not None and config.patience < 0:
        raise UsageError(f"--patience must not be negative; got {config.patience}")
    if updates < 1 or config.eval_interval < 1 or not 0 <= config.minutes < math.inf:
        raise UsageError(f"--updates and --eval-interval must be at least 1, --minutes finite and not negative; got "
                         f"{config.updates}, {config.eval_interval}, {config.minutes}")

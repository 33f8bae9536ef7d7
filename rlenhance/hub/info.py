"""The config.json of a checkpoint, read with the standard library alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlenhance.core import PURPOSES, Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import check_finite, naming, read_object
from rlenhance.core.stored_ranges import check_stored
from rlenhance.hub import migrate

#: Format version of config.json; older ones are converted by `rlenhance.hub.migrate`.
FORMAT = 2
MODEL, CONFIG, TRAINING = "model.safetensors", "config.json", "training.safetensors"


@dataclass(frozen=True)
class ModelInfo:
    """The description of a model in its checkpoint.

    Attributes:
        purpose: what the model is for, one of `PURPOSES`.
        scale: sides of the output over those of the input.
        channels: of the images that its network takes, 1 (grey) or 3 (RGB).
        needs_mask: whether it needs a mask.
        preferences: choices of the user: name -> (lowest, default, highest), in the user's units.
        auto_preferences: those that are automatic where the user gives no number.
        receptive_radius: pixels beyond which an input pixel has no influence on an output pixel, not counting
            statistics of the whole image; None if unknown.
        model: spec of the network: `name` in the registry of models, and its arguments.
        about: further facts, as step and scores.
        plugins: the plugins that have registered parts of the network: module -> digest of its file.
    """

    purpose: Purpose
    scale: int
    channels: int
    needs_mask: bool
    preferences: Mapping[str, tuple[float, float, float]]
    auto_preferences: tuple[str, ...]
    receptive_radius: int | None
    model: Mapping[str, Any]
    about: Mapping[str, Any]
    plugins: Mapping[str, str] = field(default_factory=dict)

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The preferences that change no picture visibly, as measured when the model was packaged."""
        return tuple(self.about.get("without_effect", ()))

    @property
    def effective_preferences(self) -> dict[str, tuple[float, float, float]]:
        """The preferences that change pictures, for lists and pages."""
        return {name: span for name, span in self.preferences.items() if name not in self.without_effect}


def find_checkpoint(folder: Path | str) -> Path:
    """The folder of a checkpoint: the folder itself, `best/` or `last/` of a run, or the rest of an interrupted save.

    Raises:
        UsageError: there is none; the text says what was searched.
    """
    folder = Path(folder)
    if folder.is_file():
        if is_pickle(folder):
            raise UsageError(f"{folder}: a pickle (torch.save); pickles can run code and are never loaded: "
                             f"name a checkpoint folder with {MODEL} and {CONFIG}")
        raise UsageError(f"{folder}: a file; name the checkpoint folder that holds {MODEL} and {CONFIG}")
    for candidate in (folder, folder / "best", folder / "last"):
        for place in (candidate, candidate.parent / f"{candidate.name}.old"):
            if (place / MODEL).is_file() and (place / CONFIG).is_file():
                return place
    raise UsageError(f"{folder}: no checkpoint here (looked for {MODEL} and {CONFIG}, also in best/ and last/); "
                     f"train one with python -m rlenhance.experiments.lol_train")


def is_pickle(path: Path) -> bool:
    """Whether a file begins as a bare pickle, or as the zip that torch.save writes."""
    with path.open("rb") as file:
        head = file.read(9)
    return head.startswith((b"\x80", b"PK\x03\x04")) and head[8:] != b"{"  # where the header of safetensors begins


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint, with the names of the current format.

    Returns:
        The fields of `ModelInfo`, and `format`: the version of the file.

    Raises:
        UsageError: not JSON, or of an unknown format version.
    """
    config = read_object(folder / CONFIG, finite=False)  # scores may be infinite
    check_finite({name: value for name, value in config.items() if name != "about"}, folder / CONFIG)
    try:
        version = config["format"]
        if version == 1:
            config = migrate.upgrade_config(config)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{folder / CONFIG}: not a checkpoint's config.json ({error!r:.200})") from error
    if version not in (1, FORMAT):
        raise UsageError(f"{folder}: format version {version!r:.60}, this rlenhance reads 1 to {FORMAT}: "
                         f"install the version of rlenhance that wrote it, or train anew")
    return config


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_ranges(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(span, list) and len(span) == 3 and all(type(number) in (int, float) for number in span)
        for span in value.values())


#: Fields of config.json: whether a value fits, and what it must be.
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "purpose": (lambda value: isinstance(value, str), f"one of {', '.join(PURPOSES)}"),
    "scale": (lambda value: type(value) is int, "a whole number"),
    "channels": (lambda value: type(value) is int, "a whole number"),
    "needs_mask": (lambda value: isinstance(value, bool), "true or false"),
    "preferences": (_is_ranges, "an object of ranges, three numbers each"),
    "auto_preferences": (_is_texts, "a list of texts"),
    "receptive_radius": (lambda value: value is None or type(value) is int, "a whole number or null"),
    "model": (lambda value: isinstance(value, dict), "an object"),
    "about": (lambda value: isinstance(value, dict), "an object"),
    "plugins": (lambda value: isinstance(value, dict) and _is_texts(list(value.values())), "an object of texts"),
}


def read_info(folder: Path | str) -> ModelInfo:
    """The description of a model in its checkpoint; weights are not read.

    Args:
        folder: see `find_checkpoint`.

    Raises:
        UsageError: there is no checkpoint, or its config.json is damaged.
    """
    folder = find_checkpoint(folder)
    config = read_config(folder)
    config = {"about": {}, "plugins": {}, **{name: value for name, value in config.items() if value is not None}}
    for name, (fits, words) in _FIELDS.items():
        if not fits(config.get(name)):
            raise UsageError(f"{folder / CONFIG}: {name} must be {words}; got {config.get(name)!r:.60}; take another "
                             f"copy of it")
        with naming(folder / CONFIG):
            check_stored(name, config.get(name))
    ranges = {name: (float(low), float(default), float(high))
              for name, (low, default, high) in config["preferences"].items()}
    about = config["about"]
    if not _is_texts(about.get("without_effect", [])):
        raise UsageError(f"{folder / CONFIG}: without_effect must be a list of texts; got "
                         f"{about['without_effect']!r:.60}; take another copy of it")
    info = ModelInfo(config["purpose"], config["scale"], config["channels"], config["needs_mask"], ranges,
                     tuple(config["auto_preferences"]), config.get("receptive_radius"), config["model"], about,
                     config["plugins"])
    if info.purpose not in PURPOSES:
        raise UsageError(f"{folder / CONFIG}: purpose {info.purpose!r:.60}, this rlenhance knows {', '.join(PURPOSES)}")
    return info

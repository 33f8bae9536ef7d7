"""What a checkpoint is for: its config.json, read with the standard library alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.core.types import PURPOSES, Purpose
from rlenhance.hub import migrate

#: Raised when an older reader would misread; older ones are read through `rlenhance.hub.migrate`.
FORMAT = 2
MODEL, CONFIG, TRAINING = "model.safetensors", "config.json", "training.safetensors"
#: First bytes of a bare pickle, and of the zip that torch.save writes.
PICKLE_MARKS = (b"\x80", b"PK\x03\x04")


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says of its model.

    Attributes:
        purpose: what the model is for, one of `PURPOSES`.
        scale: sides of the output over those of the input.
        channels: of the images that its network takes, 1 (grey) or 3 (RGB).
        needs_mask: it cannot run without a mask.
        preferences: name -> (lowest, default, highest) of what the user may choose, in the user's units.
        auto_preferences: those of them that the model chooses itself where no number is given.
        receptive_radius: pixels beyond which an input pixel has no influence on an output pixel; None where it is not
            known. Statistics of the whole image are left out.
        model: spec of the network: `name` in the registry of models, and its arguments.
        about: facts that were stored beside it, as step and scores.
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


def find_checkpoint(folder: Path | str) -> Path:
    """The folder that holds the checkpoint: itself, `best/` or `last/` of a run, or what a killed save left behind.

    Raises:
        UsageError: there is none; the text says what was looked for.
    """
    folder = Path(folder)
    if folder.is_file():
        with folder.open("rb") as file:
            head = file.read(4)
        if any(head.startswith(mark) for mark in PICKLE_MARKS):
            raise UsageError(f"{folder}: a pickle (torch.save); pickles can run code and are never loaded: "
                             f"name a checkpoint folder with {MODEL} and {CONFIG}")
        raise UsageError(f"{folder}: a file; name the checkpoint folder that holds {MODEL} and {CONFIG}")
    for candidate in (folder, folder / "best", folder / "last"):
        for place in (candidate, candidate.parent / f"{candidate.name}.old"):
            if (place / MODEL).is_file() and (place / CONFIG).is_file():
                return place
    raise UsageError(f"{folder}: no checkpoint here (looked for {MODEL} and {CONFIG}, also in best/ and last/); "
                     f"train one with python -m experiments.lol_train")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint, checked; in the words of today, whatever format the file has.

    Returns:
        The fields of `ModelInfo`, and `format`: the version that the file was written in.

    Raises:
        UsageError: not JSON, or of an unknown format version.
    """
    try:
        config = json.loads((folder / CONFIG).read_text())
        version = config["format"]
        if version == 1:
            config = migrate.upgrade_config(config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / CONFIG}: not a checkpoint's config.json ({error!r})") from error
    if version not in (1, FORMAT):
        raise UsageError(f"{folder}: format version {version!r}, this rlenhance reads 1 to {FORMAT}: "
                         f"install the version of rlenhance that wrote it, or train anew")
    return config


def read_info(folder: Path | str) -> ModelInfo:
    """What a checkpoint, or the best one of a run, says of its model; no weight is read.

    Args:
        folder: as `find_checkpoint` takes it.

    Raises:
        UsageError: there is no checkpoint, or its config.json is damaged.
    """
    folder = find_checkpoint(folder)
    config = read_config(folder)
    try:
        ranges = {name: (float(low), float(default), float(high))
                  for name, (low, default, high) in config["preferences"].items()}
        radius = config["receptive_radius"]
        info = ModelInfo(config["purpose"], int(config["scale"]), int(config["channels"]), bool(config["needs_mask"]),
                         ranges, tuple(config["auto_preferences"]), None if radius is None else int(radius),
                         dict(config["model"]), dict(config.get("about") or {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / CONFIG}: damaged ({error!r}); take another copy of it") from error
    if info.purpose not in PURPOSES:
        raise UsageError(f"{folder / CONFIG}: purpose {info.purpose!r}, this rlenhance knows {', '.join(PURPOSES)}")
    return info

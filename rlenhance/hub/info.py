"""The files of a checkpoint: config.json, read with the standard library alone, and its weights, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.core import PURPOSES, Purpose
from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import check_finite, check_stored, naming, read_object
from rlenhance.hub import migrate

if TYPE_CHECKING:
    import numpy as np

#: Format version of config.json; older ones are converted by `rlenhance.hub.migrate`.
FORMAT = 2
MODEL, CONFIG, TRAINING = "model.safetensors", "config.json", "training.safetensors"
#: Bytes of the header of a safetensors file that is read.
MAX_HEADER = 8 << 20
_DTYPES = frozenset(("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"))


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


def weight_shapes(folder: Path, name: str = MODEL) -> dict[str, list[int]]:
    """The shapes of the tensors in a file of a checkpoint, by their names there; the tensors are not read.

    Raises:
        UsageError: damaged, or not safetensors.
    """
    from safetensors import safe_open

    path = folder / name
    if not path.is_file():
        raise UsageError(f"{path}: missing; take another copy of it")
    with reading_safetensors(path):
        check_header(path)
        with safe_open(path, framework="np") as file:
            slices = {weight: file.get_slice(weight) for weight in file.keys()}  # noqa: SIM118
            kinds = {weight: part.get_dtype() for weight, part in slices.items()}
            shapes = {weight: part.get_shape() for weight, part in slices.items()}
    for weight, kind in kinds.items():
        if kind not in _DTYPES:
            raise UsageError(f"{path}: the weight {weight:.60} is of type {kind}; known are "
                             f"{', '.join(sorted(_DTYPES))}")
    return shapes


def read_weights(folder: Path, name: str = MODEL) -> dict[str, np.ndarray]:
    """The floating-point weights of a checkpoint as float32 arrays, by their names in the file.

    Raises:
        UsageError: damaged, or not safetensors; a weight is not finite, or of a type that NumPy does not have.
    """
    import numpy as np
    from safetensors import safe_open

    path = folder / name
    with reading_safetensors(path):
        check_header(path)
        with safe_open(path, framework="np") as file:
            arrays = {weight: file.get_tensor(weight) for weight in file.keys()}  # noqa: SIM118
    found = {}
    for weight, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating):
            found[weight] = array.astype(np.float32)
            if not np.isfinite(found[weight]).all():
                raise UsageError(f"{path}: the weight {weight} is not finite; use another checkpoint")
    return found


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header is larger than `MAX_HEADER`, before it is read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER and not is_pickle(path):
        raise UsageError(f"{path}: damaged, or not safetensors (a header of {size:,} bytes; the limit is "
                         f"{MAX_HEADER:,})")


@contextmanager
def reading_safetensors(path: Path) -> Iterator[None]:
    """What goes wrong with a safetensors file, as a UsageError."""
    from safetensors import SafetensorError

    try:
        yield
    except UsageError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        kind = "a pickle under another name, never loaded" if is_pickle(path) else one_line(error)
        raise UsageError(f"{path}: damaged, or not safetensors ({kind})") from error


def check_digests(folder: Path, config: Mapping[str, Any], files: Sequence[str]) -> None:
    """Compare files of a checkpoint with the digests that were written with it, where there are any.

    Args:
        folder: the checkpoint.
        config: its config.json.
        files: names of those that are compared.

    Raises:
        UsageError: a file is not what was saved.
    """
    known = config.get("digests")
    if not isinstance(known, dict):
        return
    bare = {name: value for name, value in config.items() if name != "digests"}
    for name, wanted in known.items():
        if name in files:
            seen = digest(config_text(bare)) if name == CONFIG else file_digest(folder / name)
            if seen != wanted:
                raise UsageError(f"{folder / name}: damaged, it is not what was saved (its digest is {seen}, and "
                                 f"{CONFIG} says {wanted!r:.40}); take another copy of it")


def digest(data: bytes) -> str:
    """The digest of bytes, as `digests` in a config.json has it: BLAKE2b, 16 bytes in hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The same of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def config_text(config: Mapping[str, Any]) -> bytes:
    """A config.json as it is written."""
    return json.dumps(config, indent=2).encode()

"""The shipped models: NAME/model.safetensors, NAME/config.json, NAME/card.md, and SHA256SUMS; and which model is meant.

Checksums are verified at every use. Listing them needs the standard library only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.hub.info import CONFIG, MODEL, ModelInfo, find_checkpoint, read_info

#: Folder of the shipped models.
FOLDER = Path(__file__).parent / "weights"
CARD, SUMS, DEFAULT = "card.md", "SHA256SUMS", "DEFAULT"
#: The card of a model outside the package, as model hubs name it.
README = "README.md"
#: Required sections of a card.
HEADINGS = ("Data", "Recipe", "Command", "Seeds", "Scores", "Limits", "Licence of the training data")
#: Largest size of the files of one model, in bytes.
LARGEST = 2_000_000
#: Pattern of names.
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
#: The command of each purpose, which is also the verb.
COMMANDS: Mapping[Purpose, str] = {"enhance": "enhance", "denoise": "denoise", "completion": "complete",
                                   "upscale": "upscale", "restore": "restore", "bracket": "bracket"}
#: What stands before a photograph on a command line.
CALLS: Mapping[Purpose, str] = {**COMMANDS, "bracket": "bracket --next"}
_RUNS = Path("runs/lol")


@dataclass(frozen=True)
class ShippedModel:
    """A shipped model.

    Attributes:
        name: in the folder of the shipped models.
        folder: its checkpoint.
        about: the first line of its card.
        size: of its files, in bytes.
        info: purpose, scale, preferences and more.
        default: whether it is used if no model is named.
    """

    name: str
    folder: Path
    about: str
    size: int
    info: ModelInfo
    default: bool


def list_models(purpose: Purpose | None = None, *, folder: Path | None = None) -> list[ShippedModel]:
    """The shipped models, in the order of their names.

    Args:
        purpose: of the models; None: any.
        folder: of the models (default: in the package).

    Raises:
        UsageError: a file is missing or cannot be read; DEFAULT names none of them.
    """
    folder = folder or FOLDER
    default, names = default_model(folder), _names(folder)
    if default and default not in names:
        raise UsageError(f"{folder / DEFAULT}: names {default!r}, which is not shipped; there are "
                         f"{', '.join(names) or 'none'}")
    found = [_describe(folder / name, default=name == default) for name in names]
    return [model for model in found if purpose in (None, model.info.purpose)]


def default_model(folder: Path | None = None) -> str | None:
    """The name of the shipped model that is used if none is named, or None."""
    path = (folder or FOLDER) / DEFAULT
    return path.read_text().strip() if path.is_file() else None


def locate(model: Path | str, folder: Path | None = None) -> Path:
    """The folder of a shipped model, its checksums verified, or a path as given.

    A bare name is first searched among the shipped models; `./NAME` is always a path.

    Raises:
        UsageError: there is neither, or a shipped file is damaged.
    """
    folder, path = folder or FOLDER, Path(model)
    names = _names(folder)
    if str(model) in names:
        path = folder / str(model)
    elif not path.exists() and not path.with_name(f"{path.name}.old").exists():  # .old: of an interrupted save
        shipped = f"shipped are {', '.join(names)}" if names else "none is shipped with this version"
        raise UsageError(f"{model}: no such run, and no shipped model of that name ({shipped}); name a run folder, or "
                         f"train one with python -m rlenhance.experiments.lol_train")
    if path.resolve().parent == folder.resolve():
        verify(path)
    return path


def find_model(model: Path | str, purpose: Purpose) -> tuple[Path, ModelInfo]:
    """The checkpoint of a model and its info.

    Args:
        model: name of a shipped model, a run folder, or a checkpoint in it.
        purpose: the one it must have.

    Raises:
        UsageError: there is none; or it has another purpose, whose command is named.
    """
    folder = find_checkpoint(locate(model))
    info = read_info(folder)
    if info.purpose != purpose:
        other, own = COMMANDS[info.purpose], COMMANDS[purpose]
        kind = f"{other} (its scale is 1)" if purpose == "upscale" else other
        more = f", or rlenhance enhance --denoiser {model} behind another" if info.purpose == "denoise" else ""
        raise UsageError(f"{model}: a model to {kind}, not to {own}: rlenhance {other} is the command for it{more}; "
                         f"leave out the model, or name one to {own}")
    return folder, info


def resolve_model(model: Path | str | None) -> Path | str:
    """The named model; else the shipped default; else the newest run of low-light enhancement.

    Raises:
        UsageError: none is named, shipped or trained.
    """
    model = default_model() if model is None else model
    if model is not None:
        return model
    found = sorted(_RUNS.glob("*/best/config.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"no trained model in {_RUNS}: train one with python -m rlenhance.experiments.lol_train (five "
                         f"minutes), or name one, as in RUN/best")
    return found[-1].parent


def verify(place: Path) -> None:
    """Compare the files of a shipped model with SHA256SUMS.

    Raises:
        UsageError: a file is missing, not listed, or damaged.
    """
    sums = read_sums(place.parent)
    exports = {path.name for path in place.glob("*.onnx")} | {
        Path(name).name for name in sums if name.startswith(f"{place.name}/") and name.endswith(".onnx")}
    for name in (MODEL, CONFIG, *sorted(exports)):
        path = place / name
        if not path.is_file():
            raise UsageError(f"{path}: missing; install rlenhance again")
        wanted, seen = sums.get(f"{place.name}/{name}"), sha256(path)
        if wanted is None:
            raise UsageError(f"{path}: not listed in {SUMS}; install rlenhance again")
        if seen != wanted:
            raise UsageError(f"{path}: damaged (its SHA-256 is {seen}, {SUMS} says {wanted}); install rlenhance again")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(place: Path) -> str:
    """The SHA-256 of a checkpoint's weights; for a shipped one from SHA256SUMS, as `locate` has verified them."""
    listed = read_sums(FOLDER).get(f"{place.name}/{MODEL}") if place.resolve().parent == FOLDER.resolve() else None
    return listed or sha256(place / MODEL)


def read_sums(folder: Path) -> dict[str, str]:
    """SHA256SUMS, as the command sha256sum writes it: NAME/FILE -> digits; empty where there is none.

    Raises:
        UsageError: a line of another form.
    """
    path, sums = folder / SUMS, {}
    for line in path.read_text().splitlines() if path.is_file() else []:
        match = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
        if not match:
            raise UsageError(f"{path}: damaged at {line!r}; install rlenhance again")
        sums[match.group(2)] = match.group(1)
    return sums


def read_card(path: Path) -> str:
    """The first line of a card, which says what the model is.

    Raises:
        UsageError: the card, that line or a required section is missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: a shipped model needs a card, and this one cannot be read ({error})") from error
    head, *sections = re.split(r"^## +", text, flags=re.MULTILINE)
    filled = {title.strip() for title, _, body in (section.partition("\n") for section in sections) if body.strip()}
    missing = [title for title in HEADINGS if title not in filled]
    if missing:
        raise UsageError(f"{path}: the card has no text under {', '.join(missing)}: add '## {missing[0]}' and a text")
    about = [line.strip() for line in head.splitlines() if line.strip() and not line.startswith("#")]
    if not about:
        raise UsageError(f"{path}: the card begins with a sentence that says what the model is, before its sections")
    return about[0]


def _describe(place: Path, default: bool) -> ShippedModel:
    try:
        info = read_info(place)
    except UsageError as error:
        raise UsageError(f"{error}; install rlenhance again") from error
    size = sum(path.stat().st_size for path in place.iterdir())
    return ShippedModel(place.name, place, read_card(place / CARD), size, info, default)


def _names(folder: Path) -> list[str]:
    names = sorted(path.parent.name for path in folder.glob(f"*/{MODEL}"))
    return [name for name in names if NAME.fullmatch(name)]  # hidden folders are being written


def describe_folder(folder: Path) -> str:
    """What the card of a folder says the model is: its first sentence; "" where there is none.

    Raises:
        UsageError: the card cannot be read.
    """
    if not (folder / README).is_file():
        return ""
    text = card_text(folder / README)
    body = text.split("\n---\n", 1)[-1] if text.startswith("---\n") else text
    return next((line.strip() for line in body.splitlines() if line.strip() and not line.startswith("#")), "")


def card_text(path: Path) -> str:
    """The text of a card.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the card cannot be read ({error}); it is a text in UTF-8") from error

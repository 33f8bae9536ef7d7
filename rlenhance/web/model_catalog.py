"""The models that the page offers: shipped ones and runs, by the purpose in their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.hub import shipped
from rlenhance.hub.info import find_checkpoint, read_info
from rlenhance.hub.shipped import resolve_model
from rlenhance.pipelines.enhance import Enhancer


@dataclass(frozen=True)
class ModelChoice:
    """One model.

    Attributes:
        label: its name on the page.
        model: name or path, as `Enhancer` takes it.
        asked: the value of `--model`; None for the default.
        ranges: of the preferences that change its pictures, name -> (lowest, default, highest).
        auto: the preferences that it can choose itself.
    """

    label: str
    model: str
    asked: str | None
    ranges: Mapping[str, tuple[float, float, float]]
    auto: tuple[str, ...]


def choices(own: str | None, runs: Path | None) -> dict[str, ModelChoice]:
    """Models that enhance, by their labels, the default first.

    Args:
        own: the user's default; None: see `resolve_model`.
        runs: folder of runs.

    Raises:
        UsageError: the default cannot be used, or there is none.
    """
    default = str(resolve_model(own))
    found = {_label(default): _choice(default, None if own is None else own)}
    for model in shipped.list_models("enhance"):
        found.setdefault(model.name, ModelChoice(model.name, model.name, model.name, model.info.effective_preferences,
                                                 model.info.auto_preferences))
    for folder in trained(runs, "enhance"):
        try:
            choice = _choice(str(folder), str(folder))
        except UsageError:  # the weights are damaged
            continue
        found.setdefault(choice.label, choice)
    return found


def trained(runs: Path | None, purpose: Purpose) -> list[Path]:
    """The best checkpoints of a purpose below a folder of runs, the newest first."""
    found = []
    for folder in run_folders(runs):
        with suppress(UsageError):  # of another version, or not complete yet
            if read_info(find_checkpoint(folder / "best")).purpose == purpose:
                found.append(folder / "best")
    return found


def run_folders(root: Path | None) -> list[Path]:
    """Run folders below a root, at most two levels deep, the newest first."""
    if root is None or not root.is_dir():
        return []
    found = {path.parent for pattern in ("config.json", "*/config.json", "*/*/config.json")
             for path in root.glob(pattern) if _read_json(path).get("kind") == "rlenhance run"}
    return sorted(found, key=lambda folder: ((folder / "config.json").stat().st_mtime, folder), reverse=True)


def _read_json(path: Path) -> dict[str, object]:
    try:
        return read_object(path, finite=False)
    except UsageError:
        return {}


def _label(model: str) -> str:
    path = Path(model)
    return "/".join(path.parts[-3:-1] if path.name == "best" and len(path.parts) > 2 else path.parts[-2:])


def _choice(model: str, asked: str | None) -> ModelChoice:
    try:
        enhancer = Enhancer(model)
    except UsageError as error:
        raise UsageError(f"{error}; name another model") from error
    ranges = {name: span for name, span in enhancer.preference_ranges.items() if name not in enhancer.without_effect}
    return ModelChoice(_label(model), model, asked, ranges, tuple(enhancer.auto_preferences))

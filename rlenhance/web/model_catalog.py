"""The models that the page offers, and what each of them takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped as weights
from rlenhance.pipelines.configure import resolve_model
from rlenhance.pipelines.enhance import Enhancer

#: Kinds of models that enhance, as config.json calls them.
KINDS = ("pixel_policy", "restorer")


@dataclass(frozen=True)
class ModelChoice:
    """One model.

    Attributes:
        label: what it is called on the page.
        model: name or path, as `Enhancer` takes it.
        asked: what `--model` says; None where it is the default and needs not be said.
        ranges: what it takes, name -> (lowest, default, highest).
        auto: the names for which it can choose itself.
    """

    label: str
    model: str
    asked: str | None
    ranges: Mapping[str, tuple[float, float, float]]
    auto: tuple[str, ...]


def choices(own: str | None, runs: Path | None) -> dict[str, ModelChoice]:
    """Models that enhance, by their labels; the default stands first.

    Args:
        own: a default of the user's own.
        runs: folder below which runs are looked for.

    Raises:
        UsageError: the default cannot be used, or there is none.
    """
    default = str(resolve_model(own))
    found = {_label(default): _choice(default, None if own is None else own)}
    for model in weights.list_models():
        if kind_of(model.folder) in KINDS and model.name not in found:
            found[model.name] = ModelChoice(model.name, model.name, model.name, model.info.preferences,
                                       model.info.auto_preferences)
    for folder in run_folders(runs):
        if kind_of(folder / "best") not in KINDS:
            continue
        try:
            choice = _choice(str(folder / "best"), str(folder / "best"))
        except UsageError:  # of another version, or in the making
            continue
        found.setdefault(choice.label, choice)
    return found


def run_folders(root: Path | None) -> list[Path]:
    """Folders of runs below a root (two levels at most), the newest first."""
    if root is None or not root.is_dir():
        return []
    found = {path.parent for pattern in ("config.json", "*/config.json", "*/*/config.json")
             for path in root.glob(pattern) if _said(path).get("kind") == "rlenhance run"}
    return sorted(found, key=lambda folder: ((folder / "config.json").stat().st_mtime, folder), reverse=True)


def kind_of(folder: Path) -> str:
    """What config.json calls the model of a checkpoint; "" where there is none."""
    model = _said(folder / "config.json").get("model")
    return str(model.get("name", "")) if isinstance(model, dict) else ""


def _said(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _label(model: str) -> str:
    path = Path(model)
    return "/".join(path.parts[-3:-1] if path.name == "best" and len(path.parts) > 2 else path.parts[-2:])


def _choice(model: str, asked: str | None) -> ModelChoice:
    try:
        enhancer = Enhancer(model)
    except UsageError as error:
        raise UsageError(f"{error}; --model names another one") from error
    return ModelChoice(_label(model), model, asked, dict(enhancer.preference_ranges), tuple(enhancer.auto_preferences))

"""Recipes: everything that made a result, in a JSON file that makes it again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlenhance import __version__
from rlenhance.core.errors import UsageError
from rlenhance.pipelines import json_config as strict_json
from rlenhance.pipelines.options import AUTO

KIND = "rlenhance recipe"
_NEEDED = ("kind", "version", "model", "sha256", "preference", "strength")
_KEYS = (*_NEEDED, "steps", "together", "denoise", "made_with")


@dataclass(frozen=True)
class Recipe:
    """What was done.

    Attributes:
        model: name of a shipped model, or the path as it was given.
        sha256: of its weights.
        preference: what was asked for, by name, None where the model chose ("auto"); the rest had its default.
        strength: how much of the change was made, in [0, 1].
        steps: after how many steps the policy was stopped, or None.
        together: one decision was made for all photographs; the same ones are needed to make it again.
        denoise: how much of the noise was taken, in [0, 1].
        version: of rlenhance.
        made_with: what else the last bit may depend on ("torch", "device").
    """

    model: str
    sha256: str
    preference: Mapping[str, float | None]
    strength: float = 1.0
    steps: int | None = None
    together: bool = False
    denoise: float = 0.0
    version: str = __version__
    made_with: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of the file."""
        preference = {name: AUTO if value is None else value for name, value in self.preference.items()}
        return json.dumps({"kind": KIND, **self.__dict__, "preference": preference, "made_with": dict(self.made_with)},
                          indent=2, ensure_ascii=False) + "\n"

    def check_weights(self, path: Path, model: str, seen: str) -> None:
        """Refuse other weights than those of the recipe.

        Args:
            path: the recipe's file. model: what is about to be used. seen: its SHA-256.

        Raises:
            UsageError: names both.
        """
        if seen != self.sha256:
            raise UsageError(f"{path}: was made with {self.model}, whose weights have the SHA-256 {self.sha256}; "
                             f"{model} has {seen}: name the right one with --model")

    def differences(self, made_with: Mapping[str, str]) -> str:
        """What differs here from where it was saved, in words; empty where nothing does."""
        then, now = {"rlenhance": self.version, **self.made_with}, {"rlenhance": __version__, **made_with}
        return ", ".join(f"{name} {then[name]} then and {now[name]} now" for name in then
                         if name in now and then[name] != now[name])


def load_recipe(path: Path) -> Recipe:
    """Read one.

    Raises:
        UsageError: a file that cannot be read, is no recipe, lacks a key, has an unknown one, or a value of another
            type; the text names file, key and value.
    """
    found = strict_json.read_object(path, _KEYS)
    missing = [key for key in _NEEDED if key not in found]
    if missing or found["kind"] != KIND:
        raise UsageError(f"{path}: not a recipe ({'lacks ' + ', '.join(missing) if missing else 'another kind'}); "
                         f"--save-recipe writes one, and a look of your own is a --preset")
    steps, made_with = found.get("steps"), found.get("made_with", {})
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool)):
        raise UsageError(f"{path}: steps must be a whole number or null; got {steps!r}")
    together = found.get("together", False)
    if not isinstance(together, bool):
        raise UsageError(f"{path}: together must be true or false; got {together!r}")
    if not isinstance(made_with, dict):
        raise UsageError(f"{path}: made_with must be an object; got {made_with!r}")
    digits = strict_json.text(path, "sha256", found["sha256"])
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise UsageError(f"{path}: sha256 must be 64 hexadecimal digits; got {digits!r}")
    return Recipe(
        strict_json.text(path, "model", found["model"]), digits,
        strict_json.preference(path, found["preference"]),
        strict_json.number(path, "strength", found["strength"], 0, 1),
        steps, together, strict_json.number(path, "denoise", found.get("denoise", 0.0), 0, 1),
        strict_json.text(path, "version", found["version"]),
        {name: strict_json.text(path, f"made_with {name}", value) for name, value in made_with.items()},
    )


def check_place(path: Path, overwrite: bool, taken: Iterable[Path] = ()) -> None:
    """Refuse to write a recipe where something stands; with `overwrite` another recipe may.

    Args:
        taken: places of other results.

    Raises:
        UsageError: names the file.
    """
    if path.resolve() in {other.resolve() for other in taken}:
        raise UsageError(f"{path}: is the place of a photograph or another result; name another file with "
                         f"--save-recipe")
    ground = next(parent for parent in path.absolute().parents if parent.exists())
    if not ground.is_dir():
        raise UsageError(f"{path}: cannot be written, {ground.name} is a file; name another place with --save-recipe")
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(f"{path}: exists; replace it with --overwrite, or name another file with --save-recipe")
    try:
        load_recipe(path)
    except UsageError as error:
        raise UsageError(f"{path}: exists and is no recipe, so it is not replaced; name another file with "
                         f"--save-recipe") from error


def save_recipe(recipe: Recipe, path: Path) -> Path:
    """Write it, whole or not at all.

    Raises:
        UsageError: the place cannot be written.
    """
    from rlenhance.io.files import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, recipe.to_json().encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error
    return path

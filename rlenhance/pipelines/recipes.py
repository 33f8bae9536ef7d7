"""Recipes: the model and all settings of a result, in a JSON file that reproduces it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import naming, read_object, text
from rlenhance.hub import shipped
from rlenhance.hub.migrate import SHIPPED_0_1
from rlenhance.pipelines.options import EnhanceSettings, from_json, to_json

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer

KIND = "rlenhance recipe"
_NEEDED = ("kind", "version", "model", "sha256", "preference", "strength")
_SETTINGS = ("preference", "exposure_shift", "strength", "denoise", "white", "steps", "table")
_KEYS = (*_NEEDED, "exposure_shift", "steps", "together", "denoise", "white", "table", "denoiser",
         "denoiser_sha256", "made_with")


@dataclass(frozen=True)
class Recipe:
    """The model and the settings of a result.

    Attributes:
        model: name of a shipped model, or the path as it was given.
        sha256: of its weights.
        settings: preferences that are left out had their default.
        shared_decision: one decision was made for all photographs; the same ones are needed to reproduce it.
        version: of rlenhance.
        made_with: versions that the last bit may depend on ("numpy", "device").
        denoiser: a named denoiser, as `model`; "": the shipped ones.
        denoiser_sha256: of its weights.
    """

    model: str
    sha256: str
    settings: EnhanceSettings
    shared_decision: bool = False
    version: str = __version__
    made_with: Mapping[str, str] = field(default_factory=dict)
    denoiser: str = ""
    denoiser_sha256: str = ""

    def to_json(self) -> str:
        """The text of the file."""
        settings = to_json(self.settings)
        more: dict[str, Any] = {"exposure_shift": self.settings.exposure_shift} if self.settings.exposure_shift else {}
        if "table" in settings:
            more["table"] = settings["table"]
        if self.denoiser:
            more |= {"denoiser": self.denoiser, "denoiser_sha256": self.denoiser_sha256}
        return json.dumps({
            "kind": KIND, "model": self.model, "sha256": self.sha256, "preference": settings["preference"],
            "strength": settings["strength"], "steps": settings["steps"], "together": self.shared_decision,
            "denoise": settings["denoise"], "white": settings["white"], **more, "version": self.version,
            "made_with": dict(self.made_with),
        }, indent=2, ensure_ascii=False) + "\n"

    def check_weights(self, path: Path, model: str, seen: str, denoiser_seen: str = "") -> None:
        """Raise UsageError where the weights of `model`, with the SHA-256 `seen`, or of the denoiser, are not those of
        the recipe."""
        if self.denoiser and denoiser_seen != self.denoiser_sha256:
            raise UsageError(f"{path}: was made with the denoiser {self.denoiser} of the SHA-256 "
                             f"{self.denoiser_sha256}; there now are weights with {denoiser_seen}: put the former back")
        former = f"{SHIPPED_0_1.get(self.sha256)}/{shipped.MODEL}"  # stored under other names since
        if seen not in (self.sha256, shipped.read_sums(shipped.FOLDER).get(former)):
            raise UsageError(f"{path}: was made with {self.model}, whose weights have the SHA-256 {self.sha256}; "
                             f"{model} has {seen}: name the right one as the model")

    def differences(self, made_with: Mapping[str, str]) -> str:
        """The versions that differ from those of the recipe, in words; empty where none does."""
        then, now = {"rlenhance": self.version, **self.made_with}, {"rlenhance": __version__, **made_with}
        return ", ".join(f"{name} {then[name]} then and {now[name]} now" for name in then
                         if name in now and then[name] != now[name])


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        UsageError: a file that cannot be read, is no recipe, lacks a key, has an unknown one, or a value of another
            type; the message names file, key and value.
    """
    found = read_object(path, _KEYS)
    missing = [key for key in _NEEDED if key not in found]
    if missing or found["kind"] != KIND:
        raise UsageError(f"{path}: not a recipe ({'lacks ' + ', '.join(missing) if missing else 'another kind'}); "
                         f"save_recipe writes one, and a look of your own is a preset")
    together, made_with = found.get("together", False), found.get("made_with", {})
    with naming(path):
        if not isinstance(together, bool):
            raise UsageError(f"together must be true or false; got {together!r:.60}")
        if not isinstance(made_with, dict):
            raise UsageError(f"made_with must be an object; got {made_with!r:.60}")
        denoiser = text("denoiser", found.get("denoiser", ""))
        digits = {key: text(key, found.get(key, "")) for key in ("sha256", "denoiser_sha256")}
        for key, word in digits.items():
            if (key == "sha256" or denoiser) and not re.fullmatch("[0-9a-f]{64}", word):
                raise UsageError(f"{key} must be 64 hexadecimal digits; got {word!r:.60}")
        older = {"denoise": 0.0, "white": 0.0}  # of versions without them
        settings = from_json(EnhanceSettings, older | {key: found[key] for key in _SETTINGS if key in found})
        return Recipe(text("model", found["model"]), digits["sha256"], settings, together,
                      text("version", found["version"]),
                      {name: text(f"made_with {name}", value) for name, value in made_with.items()}, denoiser,
                      digits["denoiser_sha256"] if denoiser else "")


def save_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe atomically.

    Raises:
        UsageError: the place cannot be written.
    """
    from rlenhance.io.files import write_bytes

    return write_bytes(recipe.to_json().encode("utf-8", "backslashreplace"), path)


def replay_recipe(path: Path, model: Path | str | None = None, *, device: str = "cpu",
                  on_note: Callable[[str], None] = print) -> tuple[Enhancer, Recipe]:
    """The Enhancer of a recipe.

    Args:
        path: its file.
        model: another place of the same weights; None: the recipe's.
        device: see `Enhancer`.
        on_note: called where the recipe was made with other versions.

    Raises:
        UsageError: the recipe cannot be read; the model is missing, or has other weights.
    """
    from rlenhance.pipelines.enhance import Enhancer

    recipe = load_recipe(path)
    model = recipe.model if model is None else model
    try:
        enhancer = Enhancer(model, denoiser=recipe.denoiser or None, device=device)
    except UsageError as error:
        raise UsageError(f"{path}: {error}; name another place of the same weights as the model") from error
    recipe.check_weights(path, str(model), enhancer.sha256, enhancer.denoiser.sha256)
    try:
        enhancer = enhancer.with_settings(recipe.settings)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    differing = recipe.differences(_made_with(enhancer))
    if differing:
        on_note(f"{path}: {differing}; the result may differ")
    return enhancer, recipe


def make_recipe(enhancer: Enhancer, model: Path | str, shared_decision: bool = False) -> Recipe:
    """The recipe of an Enhancer; `model` is the name that it was built with."""
    denoiser = enhancer.denoiser
    return Recipe(str(model), enhancer.sha256, enhancer.settings, shared_decision, made_with=_made_with(enhancer),
                  denoiser=str(denoiser.named or ""), denoiser_sha256=denoiser.sha256)


def _made_with(enhancer: Enhancer) -> dict[str, str]:
    import numpy as np

    return {"numpy": np.__version__, "device": enhancer.device.partition(":")[0]}

"""What the page does with photographs: previews, results to keep, variants, and why; nothing here knows of the web."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.image import to_tensor
from rlenhance.io import BatchPlan, Job, OutputNaming, Photo, encode, read, run_batch
from rlenhance.io.batch import Process
from rlenhance.io.contact_sheet import Cell, downscale, thumbnail
from rlenhance.metrics.style import clamp_to_ranges, measure
from rlenhance.ops.image_statistics import auto_exposure
from rlenhance.pipelines.configure import check_device, make_recipe
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import format_preferences
from rlenhance.web.file_store import FileStore, StoredFile
from rlenhance.web.model_catalog import ModelChoice, choices

#: Longer side in pixels of the picture that a preview is made on.
SIDE = 840
#: What the four variants change beside the look that is set: (label, brightness, contrast and colour).
_VARIANTS = (("Darker, quiet", -0.07, -0.3), ("Darker, lively", -0.07, 0.4),
             ("Brighter, quiet", 0.07, -0.3), ("Brighter, lively", 0.07, 0.4))
#: The same for a model that takes no brightness: how much of its change is made.
_SHARES = (("A little", 0.25), ("Half", 0.5), ("Most of it", 0.75), ("All of it", 1.0))


@dataclass(frozen=True)
class EnhanceSettings:
    """How a photograph is to be enhanced: what the options of `rlenhance enhance` say.

    Attributes:
        model: name or path; None: the default.
        preference: values by name, None where the model shall choose; what is not named has the model's default.
        strength, denoise: how much, in [0, 1].
        strip: leave out all metadata.
        format: another kind of file ("png"); None: the source's.
    """

    model: str | None = None
    preference: Mapping[str, float | None] = field(default_factory=dict)
    strength: float = 1.0
    denoise: float = 0.0
    strip: bool = False
    format: str | None = None

    def command(self, name: str) -> str:
        """The same, typed.

        Example:
            >>> EnhanceSettings(preference={"contrast": 0.2}, denoise=0.5).command("my night.jpg")
            "rlenhance enhance 'my night.jpg' --contrast 0.2 --denoise 0.5"
        """
        words = ["rlenhance enhance", shlex.quote(name)]
        words += [f"--model {shlex.quote(self.model)}"] if self.model else []
        words += [format_preferences(self.preference)] if self.preference else []
        words += [f"--strength {self.strength:g}"] if self.strength != 1 else []
        words += [f"--denoise {self.denoise:g}"] if self.denoise else []
        words += [f"--format {self.format}"] if self.format else []
        return " ".join(words + ["--strip"] * self.strip)


@dataclass(frozen=True)
class Preview:
    """A reduced photograph before and after, (h, w, 3) uint8, and the size of the whole one (width, height)."""

    before: np.ndarray
    after: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class Result:
    """A file that was made, and what there is to say of it."""

    file: StoredFile
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReducedPhoto:
    """A reduced photograph (its file's size is kept beside it)."""

    photo: Photo
    size: tuple[int, int]


class EnhanceService:
    """Photographs on a shelf, and what can be done with them.

    Args:
        shelf: where they lie, and where results go.
        model: the default (name, run folder); None: the shipped one, else the newest run.
        runs: folder below which runs are offered as models; None: none are.
        megapixels: larger photographs are refused by their header.
        device: see `Enhancer`.

    Raises:
        UsageError: no model, or no such device.
    """

    def __init__(self, store: FileStore, *, model: str | None = None, runs: Path | None = None,
                 megapixels: float = 100.0, device: str = "cpu"):
        self.store, self.megapixels, self.device, self.runs = store, megapixels, check_device(device), runs
        self._reduced: OrderedDict[str, ReducedPhoto] = OrderedDict()
        self._lock = threading.Lock()
        self.choices: dict[str, ModelChoice] = choices(model, runs)

    @property
    def default(self) -> ModelChoice:
        """What stands first."""
        return next(iter(self.choices.values()))

    def choice(self, label: object) -> ModelChoice:
        """The model of a label.

        Raises:
            UsageError: there is none.
        """
        found = self.choices.get(label) if isinstance(label, str) else None
        if found is None:
            raise UsageError(f"no model {label!r} on this page; there are {', '.join(self.choices)}")
        return found

    def enhancer(self, settings: EnhanceSettings) -> Enhancer:
        """What makes a look; the same that the command makes.

        Raises:
            UsageError: the model cannot.
        """
        return Enhancer(settings.model or self.default.model, device=self.device, preference=settings.preference,
                        strength=settings.strength, denoise=settings.denoise)

    def reduced_photo(self, token: str) -> ReducedPhoto:
        """A photograph reduced for previews; the last few are remembered.

        Raises:
            UsageError: it cannot be read; the text calls it by its own name.
        """
        stored = self.store.get(token)
        with self._lock:
            if token in self._reduced:
                self._reduced.move_to_end(token)
                return self._reduced[token]
        photo = self.full_photo(stored)
        alpha = None if photo.alpha is None else downscale(photo.alpha, SIDE)
        found = ReducedPhoto(replace(photo, pixels=downscale(photo.pixels, SIDE), alpha=alpha, wide_gamut=None),
                        (photo.pixels.shape[1], photo.pixels.shape[0]))
        with self._lock:
            self._reduced[token] = found
            while len(self._reduced) > 8:
                self._reduced.popitem(last=False)
        return found

    def full_photo(self, stored: StoredFile) -> Photo:
        """A photograph as its file has it.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            return read(stored.path, megapixels=self.megapixels)
        except UsageError as error:
            raise UsageError(with_own_name(str(error), stored)) from error

    def preview(self, token: str, settings: EnhanceSettings) -> Preview:
        """The look on the reduced photograph."""
        small = self.reduced_photo(token)
        after = self.enhancer(settings).process(small.photo).photo
        return Preview(thumbnail(small.photo.pixels, SIDE), thumbnail(after.pixels, SIDE), small.size)

    def save(self, token: str, settings: EnhanceSettings) -> Result:
        """The look on the whole photograph: the file that the command writes, byte for byte.

        Raises:
            UsageError: it cannot be made.
        """
        naming = OutputNaming(Enhancer.suffix, extension=extension_of(settings))
        return self.run_job(token, self.enhancer(settings).process, naming, strip=settings.strip)

    def run_job(self, token: str, process: Process, naming: OutputNaming, *, strip: bool = False,
                  copy: bool = True) -> Result:
        """One photograph through `run_batch`, from the shelf to the shelf, as every command does it.

        Raises:
            UsageError: what the command would say, under the photograph's own name.
        """
        source = self.store.get(token)
        name = naming.name(Path(source.name), "1", beside=True)
        target = self.store.create(name, Path(name).suffix.lower())
        coder: Callable[[Photo, str], bytes] = partial(encode, strip=True) if strip else encode
        (outcome,) = run_batch(BatchPlan((Job(source.path, target.path),)), process, max_in_flight=1, encode=coder,
                               copy=copy and not strip, megapixels=self.megapixels)
        if outcome.error:
            self.store.remove(target.token)
            raise UsageError(with_own_name(outcome.error, source))
        return Result(target, tuple(with_own_name(note, source) for note in outcome.warnings))

    def recipe(self, settings: EnhanceSettings) -> str:
        """The look as a recipe, which `rlenhance enhance --recipe` takes."""
        return make_recipe(self.enhancer(settings), settings.model or self.default.model).to_json()

    def variants(self, token: str, settings: EnhanceSettings) -> list[tuple[str, EnhanceSettings, np.ndarray]]:
        """Four looks around the one that is set: label, look, and the reduced photograph (h, w, 3) uint8."""
        small = self.reduced_photo(token)
        choice = next(choice for choice in self.choices.values() if choice.asked == settings.model)
        if "exposure_level" in choice.ranges:
            others = [(label, self._moved(settings, choice, small.photo, brighter, livelier))
                      for label, brighter, livelier in _VARIANTS]
        else:
            others = [(label, replace(settings, strength=share)) for label, share in _SHARES]
        return [(label, other, thumbnail(self.enhancer(other).process(small.photo).photo.pixels))
                for label, other in others]

    def _moved(self, settings: EnhanceSettings, choice: ModelChoice, photo: Photo, brighter: float,
               livelier: float) -> EnhanceSettings:
        """The look with other brightness, contrast and colour, as far as the model takes them."""
        ranges, wanted = choice.ranges, dict(settings.preference)
        if wanted.get("exposure_level") is None:
            wanted["exposure_level"] = auto_exposure(to_tensor(photo.visible_pixels)).item() \
                if "exposure_level" in choice.auto else ranges["exposure_level"][1]
        for name, step in (("exposure_level", brighter), ("contrast", livelier), ("color", livelier)):
            if name in ranges:
                low, default, high = ranges[name]
                value = wanted.get(name)
                wanted[name] = round(min(max((default if value is None else value) + step, low), high), 2)
        return replace(settings, preference=wanted)

    def match(self, token: str, label: object) -> tuple[dict[str, float], list[str]]:
        """What a picture that looks as wanted asks a model for, and what had to be moved into its ranges.

        Raises:
            UsageError: the picture cannot be read, or the model takes nothing that is measured.
        """
        choice = self.choice(label)
        measured = measure(to_tensor(self.reduced_photo(token).photo.visible_pixels))
        values, moved = clamp_to_ranges(measured, choice.ranges)
        if not values:
            raise UsageError(f"{choice.label} takes no brightness, which is what a picture tells")
        return {name: round(value, 2) for name, value in values.items()}, moved

    def explain(self, token: str, settings: EnhanceSettings) -> Sequence[Cell]:
        """The cells that `rlenhance enhance --explain` writes, on the reduced photograph."""
        from rlenhance.pipelines.explain import explain

        return explain(self.enhancer(settings), self.reduced_photo(token).photo.visible_pixels)


def extension_of(settings: EnhanceSettings) -> str | None:
    """The ending that a look asks for.

    Raises:
        UsageError: nothing that can be written.
    """
    from rlenhance.io.containers import WRITABLE

    if settings.format is None:
        return None
    if f".{settings.format}" not in WRITABLE:
        raise UsageError(f"--format is one of {' '.join(ending.lstrip('.') for ending in WRITABLE)}; "
                         f"got {settings.format!r}")
    return f".{settings.format}"


def with_own_name(text: str, stored: StoredFile) -> str:
    """A message about a file on the shelf under the name that its owner knows."""
    return text.replace(str(stored.path), stored.name)


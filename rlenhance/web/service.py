"""Enhancement for the web page: previews, results, variants and explanations, without any web code."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.machine import check_device
from rlenhance.io import BatchPlan, Job, OutputNaming, Photo, encode, read, run_batch
from rlenhance.io.batch import Process, decision_words
from rlenhance.io.contact_sheet import downscale, thumbnail
from rlenhance.io.isolate import AVAILABLE
from rlenhance.ops.style import clamp_to_ranges, measure
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.looks import Look
from rlenhance.pipelines.options import EnhanceSettings, format_flags
from rlenhance.pipelines.recipes import make_recipe
from rlenhance.web.file_store import FileStore, StoredFile
from rlenhance.web.model_catalog import ModelChoice, choices

#: Seconds of processor time for decoding a photograph, in a child process; several times those of any honest one;
#: None where there are none.
DECODE_SECONDS = 15.0 if AVAILABLE else None
#: The photograph to try the page with: a cup of coffee by Rachel Michetti (CC0), in a twelfth of its light and with the
#: noise of a sensor.
SAMPLE = Path(__file__).with_name("sample.jpg")
#: Longer side of a preview in pixels.
SIDE = 1080
#: Width and height in pixels of the part that is shown in full size.
PART = (1600, 1200)
#: Changes of the four variants: (label, brightness, contrast and colour).
_VARIANTS = (("Darker, quiet", -0.08, -0.4), ("Darker, lively", -0.08, 0.6),
             ("Brighter, quiet", 0.08, -0.4), ("Brighter, lively", 0.08, 0.6))
#: Variants of a model without brightness: (label, strength).
_SHARES = (("A little", 0.25), ("Half", 0.5), ("Most of it", 0.75), ("All of it", 1.0))


@dataclass(frozen=True)
class EnhanceRequest:
    """The options of `rlenhance enhance` for one photograph.

    Attributes:
        settings: of the `Enhancer`.
        model: name or path; None: the default.
        strip: leave out all metadata.
        format: another format ("png"); None: the source's.
        look: chooses the settings for each photograph; `settings` that were named are in it, see `Look.changed`.
    """

    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    model: str | None = None
    strip: bool = False
    format: str | None = None
    look: Look | None = None

    def command(self, name: str) -> str:
        """The same as a command.

        Example:
            >>> EnhanceRequest(EnhanceSettings(denoise=0.5), format="png").command("my night.jpg")
            "rlenhance enhance 'my night.jpg' --denoise 0.5 --format png"
            >>> EnhanceRequest(strip=True).command("-rf.jpg")  # is no option
            'rlenhance enhance --strip -- -rf.jpg'
        """
        words = [*(("--model", self.model) if self.model else ()), *(("--look", "my-look.json") if self.look else ()),
                 *format_flags(self.settings),
                 *(("--format", self.format) if self.format else ()), *["--strip"] * self.strip]
        words = [*words, "--", name] if name.startswith("-") else [name, *words]
        return shlex.join(["rlenhance", "enhance", *words])


@dataclass(frozen=True)
class Preview:
    """A photograph before and after.

    Attributes:
        before, after: reduced, or a part in full size: (h, w, 3) uint8.
        size: of the whole photograph (width, height).
        said: of the result, in words.
        part: left and upper edge of the part in the whole; None: it is reduced.
        exposure: the brightness that the model chose itself, in [0, 1]; None where it was named.
    """

    before: np.ndarray
    after: np.ndarray
    size: tuple[int, int]
    said: str = ""
    part: tuple[int, int] | None = None
    exposure: float | None = None


@dataclass(frozen=True)
class Result:
    """A file of a result, notes on it, and what was done to the photograph, in words."""

    file: StoredFile
    notes: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class ReducedPhoto:
    """A reduced photograph, and the size (width, height) of the whole one."""

    photo: Photo
    size: tuple[int, int]


class EnhanceService:
    """Enhances photographs of a file store.

    Args:
        store: of photographs and results.
        model: the default (name, run folder); None: the shipped one, otherwise the newest run.
        runs: folder whose runs are offered as models; None: none.
        megapixels: larger photographs are refused by their header.
        device: see `Enhancer`.
        aside: a context for the time in which a job waits for a child process, see `JobQueue.aside`.

    Raises:
        UsageError: no model, or no such device.
    """

    def __init__(self, store: FileStore, *, model: str | None = None, runs: Path | None = None,
                 megapixels: float = 100.0, device: str = "cpu",
                 aside: Callable[[], AbstractContextManager[None]] = nullcontext):
        self.store, self.megapixels, self.device, self.runs = store, megapixels, check_device(device), runs
        self._reduced: OrderedDict[str, ReducedPhoto] = OrderedDict()
        self._refused: OrderedDict[str, str] = OrderedDict()  # token -> why; they are decoded once
        self.aside = aside
        self._sample: str | None = None  # token of the sample, while it is there
        self._lock = threading.Lock()
        self._whole: tuple[tuple[str, str], np.ndarray, np.ndarray] | None = None  # the last one in full size
        self.choices: dict[str, ModelChoice] = choices(model, runs)

    @property
    def default(self) -> ModelChoice:
        """The default model, which is the first."""
        return next(iter(self.choices.values()))

    def choice(self, label: object) -> ModelChoice:
        """The model of a label."""
        found = self.choices.get(label) if isinstance(label, str) else None
        if found is None:
            raise UsageError(f"no model {label!r} on this page; there are {', '.join(self.choices)}")
        return found

    def enhancer(self, request: EnhanceRequest) -> Enhancer:
        """The pipeline of a request, as the command builds it."""
        if request.look is not None:
            return Enhancer(request.model or self.default.model, look=request.look, device=self.device)
        return Enhancer(request.model or self.default.model, request.settings, device=self.device)

    def reduced_photo(self, token: str) -> ReducedPhoto:
        """A photograph reduced for previews; the last eight are cached."""
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
        """A photograph at full size."""
        try:
            return self.read(stored, self.aside())
        except UsageError as error:
            raise UsageError(with_own_name(str(error), stored)) from error

    def read(self, stored: StoredFile, aside: AbstractContextManager[None]) -> Photo:
        """Decode a file in a child process with limits, within `aside`; what was refused is refused again unread."""
        with self._lock:
            refused = self._refused.get(stored.token)
        if refused is not None:
            raise UsageError(refused)
        try:
            with aside:
                return read(stored.path, megapixels=self.megapixels, seconds=DECODE_SECONDS)
        except UsageError as error:
            with self._lock:
                self._refused[stored.token] = str(error)
                while len(self._refused) > 256:
                    self._refused.popitem(last=False)
            raise

    def preview(self, token: str, request: EnhanceRequest) -> Preview:
        """The request on the reduced photograph."""
        small = self.reduced_photo(token)
        enhancer = self.enhancer(request)
        after, decision = enhancer.process(small.photo)
        return Preview(thumbnail(small.photo.pixels, SIDE), thumbnail(after.pixels, SIDE), small.size,
                       "; ".join(decision_words(decision)), exposure=chosen_exposure(enhancer, small.photo))

    def part(self, token: str, request: EnhanceRequest, across: float, down: float) -> Preview:
        """A part of the whole result in full size, around a place between 0 (left, top) and 1; the whole one is
        computed once."""
        key = (token, repr(request))
        with self._lock:
            whole = self._whole if self._whole is not None and self._whole[0] == key else None
        if whole is None:
            photo = self.full_photo(self.store.get(token))
            whole = key, photo.visible_pixels, self.enhancer(request).process(photo).photo.visible_pixels
            with self._lock:
                self._whole = whole
        _, before, after = whole
        rows, columns = part_of(before.shape, PART, across, down)
        shown = [thumbnail(pixels[rows, columns], max(PART)) for pixels in (before, after)]
        return Preview(shown[0], shown[1], (before.shape[1], before.shape[0]), part=(columns.start, rows.start))

    def save(self, token: str, request: EnhanceRequest) -> Result:
        """The request on the whole photograph: the file that the command writes, byte for byte."""
        naming = OutputNaming(Enhancer.suffix, extension=extension_of(request))
        return self.run_job(token, self.enhancer(request).process, naming, strip=request.strip)

    def run_job(self, token: str, process: Process, naming: OutputNaming, *, strip: bool = False,
                  copy: bool = True) -> Result:
        """One photograph of the store through `run_batch`, as every command does it."""
        source = self.store.get(token)
        name = naming.name(Path(source.name), "1", beside=True)
        target = self.store.create(name, Path(name).suffix.lower())
        aside = self.aside()

        def encoded(photo: Photo, extension: str) -> bytes:
            data = encode(photo, extension, strip=strip)
            self.store.claim(target.token, len(data))
            return data

        try:
            self.store.claim(target.token, self.store.size_of(source) if copy else 0)
            (outcome,) = run_batch(BatchPlan((Job(source.path, target.path),)), process, max_in_flight=1,
                                   read=lambda _: self.read(source, aside), encode=encoded, copy=copy and not strip)
            if outcome.error:
                raise UsageError(with_own_name(outcome.error, source))
        except BaseException:
            self.store.remove(target.token)
            raise
        return Result(target, tuple(with_own_name(note, source) for note in (*outcome.warnings, *outcome.words)),
                      outcome.decision.get("words", ""))

    def recipe(self, request: EnhanceRequest) -> str:
        """The request as a recipe, for `rlenhance enhance --recipe`."""
        if request.look is not None:
            return request.look.to_json()
        return make_recipe(self.enhancer(request), request.model or self.default.model).to_json()

    def variants(self, token: str, request: EnhanceRequest) -> list[tuple[str, EnhanceRequest, np.ndarray]]:
        """Four variants of a request: label, request, and the reduced result (h, w, 3) uint8."""
        small = self.reduced_photo(token)
        choice = next(choice for choice in self.choices.values() if choice.asked == request.model)
        if "exposure_level" in choice.ranges:
            others = [(label, self._moved(request, choice, small.photo, brighter, livelier))
                      for label, brighter, livelier in _VARIANTS]
        else:
            others = [(label, _with(request, strength=share)) for label, share in _SHARES]
        return [(label, other, thumbnail(self.enhancer(other).process(small.photo).photo.pixels))
                for label, other in others]

    def _moved(self, request: EnhanceRequest, choice: ModelChoice, photo: Photo, brighter: float,
               livelier: float) -> EnhanceRequest:
        """The request with other brightness, contrast and colour, as far as the model takes them."""
        ranges, wanted = choice.ranges, dict(request.settings.preference)
        if wanted.get("exposure_level") is None:
            wanted["exposure_level"] = request.settings.exposure_shift + (
                self.enhancer(request).automatic_exposure(photo.visible_pixels) if "exposure_level" in choice.auto
                else ranges["exposure_level"][1])
        for name, step in (("exposure_level", brighter), ("contrast", livelier), ("color", livelier)):
            if name in ranges:
                low, default, high = ranges[name]
                value = wanted.get(name)
                wanted[name] = round(min(max((default if value is None else value) + step, low), high), 2)
        return _with(request, preference=wanted, exposure_shift=0.0)

    def match(self, token: str, label: object) -> tuple[dict[str, float], list[str]]:
        """The preferences that reproduce the look of an image, and notes on values outside the model's ranges."""
        choice = self.choice(label)
        measured = measure(self.reduced_photo(token).photo.visible_pixels)
        values, moved = clamp_to_ranges(measured, choice.ranges)
        if not values:
            raise UsageError(f"{choice.label} takes no brightness, and a picture determines nothing else")
        return {name: round(value, 2) for name, value in values.items()}, moved

    def put_sample(self) -> StoredFile:
        """The sample, as if it had been sent; one file serves all who ask for it."""
        if self._sample is not None:
            with suppress(UsageError):  # it was removed after its time
                return self.store.get(self._sample)
        stored, data = self.store.create("sample.jpg"), SAMPLE.read_bytes()
        self.store.claim(stored.token, len(data))
        stored.path.write_bytes(data)
        self._sample = stored.token
        return stored


def chosen_exposure(enhancer: Enhancer, photo: Photo) -> float | None:
    """The brightness in [0, 1] that the model chooses for a photograph, with the shift; None where one is named."""
    name, settings = "exposure_level", enhancer.settings
    if name not in enhancer.auto_preferences or settings.preference.get(name) is not None:
        return None
    low, _, high = enhancer.preference_ranges[name]
    return min(max(enhancer.automatic_exposure(photo.visible_pixels) + settings.exposure_shift, low), high)


def part_of(shape: Sequence[int], size: tuple[int, int], across: float, down: float) -> tuple[slice, slice]:
    """Rows and columns of a part of a picture of that shape.

    Args:
        shape: (H, W, ...).
        size: of the part (width, height), which is smaller where the picture is.
        across, down: of its middle, between 0 (left, top) and 1; it stays within the picture.
    """
    found = []
    for place, whole, side in ((down, shape[0], size[1]), (across, shape[1], size[0])):
        side = min(side, whole)
        start = min(max(round(min(max(place, 0.0), 1.0) * whole - side / 2), 0), whole - side)
        found.append(slice(start, start + side))
    return found[0], found[1]


def _with(request: EnhanceRequest, **changes: Any) -> EnhanceRequest:
    return replace(request, settings=replace(request.settings, **changes))


def extension_of(request: EnhanceRequest) -> str | None:
    """The file extension of a request; None: the source's."""
    from rlenhance.io.containers import WRITABLE

    if request.format is None:
        return None
    if f".{request.format}" not in WRITABLE:
        raise UsageError(f"format is one of {' '.join(ending.lstrip('.') for ending in WRITABLE)}; "
                         f"got {request.format!r}")
    return f".{request.format}"


def with_own_name(text: str, stored: StoredFile) -> str:
    """A message with the client's name of a file in the place of its path."""
    return text.replace(str(stored.path), stored.name)


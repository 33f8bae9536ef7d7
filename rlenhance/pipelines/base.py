"""The base of the pipelines over photographs; a subclass defines the change of one photograph's pixels.

    class Negative(ImagePipeline[ImageSettings]):
        name, suffix, purpose, Settings = "negative", "_negative", "enhance", ImageSettings

        def _load(self):
            pass

        def _apply(self, pixels, weights, photo):
            return np.iinfo(pixels.dtype).max - pixels, {}

No module of a pipeline imports torch: networks take and give NumPy arrays, see `rlenhance.hub.open`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import cv2
import numpy as np

from rlenhance.core import Purpose
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import check_planes, to_planes
from rlenhance.core.torch_parts import torch_part
from rlenhance.hub import shipped
from rlenhance.hub.shipped import find_model
from rlenhance.io.batch import Outcome, run_batch
from rlenhance.io.output_plan import OutputNaming, make_plan
from rlenhance.io.photo import Photo
from rlenhance.ops.region import blend_region, check_region, region_weights
from rlenhance.pipelines.options import S, from_json

if TYPE_CHECKING:
    from rlenhance.io.batch import ClipProcess

T = TypeVar("T")


class PipelineResult(NamedTuple):
    """The result of one photograph.

    Attributes:
        photo: the result; the same object where nothing changes, so that its file can be copied.
        decision: decisions and measurements by name, JSON-able.
    """

    photo: Photo
    decision: Mapping[str, Any]


class ImagePipeline(ABC, Generic[S]):
    """A trained model, or a rule, for photographs of any size.

    Args:
        model: name of a shipped model, a run folder, or a checkpoint in it; None: the default of the pipeline.
        settings: None: the defaults.
        device: "cpu", "cuda", "cuda:1", "mps" (or a `torch.device`), or "auto", the best available one; an automatic
            device that fails (no memory, a missing operation) is replaced by the CPU with a warning. The CPU is the
            default, so that results are the same on every machine.
        region: (H, W), where pictures may change, see `rlenhance.ops.region.region_weights`; pictures have its size.
        on_progress: called with the share of a picture that is done, in (0, 1], where it is processed in parts.
        changes: settings by name, which replace those in `settings`: `strength=0.5`.

    A pipeline may be used by several threads. It can be pickled: the copy loads its networks again.

    Attributes:
        name: the command that does the same.
        suffix: of the name of a result beside its source.
        purpose: of the models that it takes.
        Settings: the class of its settings.
        mark: whether the XMP of a changed photograph names what made it, see `rlenhance.io.xmp`; by default where a
            pipeline invents pixels.
        settings: the current settings; see `with_settings`.
        network: the network in use, of NumPy arrays (see `rlenhance.hub.open`); None where none is, or several are.
        folder: the checkpoint in use, or None.

    Raises:
        UsageError: no usable checkpoint, a damaged one, or one for another purpose; a setting outside its range; a
            device that is not there.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    purpose: ClassVar[Purpose]
    Settings: ClassVar[type[Any]]
    mark: bool = False
    #: Attributes that a pickle is without: what `_load` makes, and callbacks.
    _unpickled: ClassVar[tuple[str, ...]] = ("network", "_model", "on_progress")

    def __init__(self, model: Path | str | None = None, settings: S | None = None, *,
                 device: Any = "cpu", region: np.ndarray | None = None,
                 on_progress: Callable[[float], None] | None = None, **changes: Any):
        from rlenhance.core.machine import AUTO, resolve_device

        self.settings: S = replace(self.Settings() if settings is None else settings, **changes)
        self.device, self._falls_back = resolve_device(device), str(device) == AUTO
        self.region = None if region is None else region_weights(region)
        self.on_progress = on_progress
        self.named = model
        self.folder: Path | None = None
        self.network: Any = None
        self._model: Any = None
        self._load()
        self._check_settings()

    @classmethod
    def from_settings(cls, settings: S | Mapping[str, Any], model: Path | str | None = None, **options: Any) -> Self:
        """A pipeline from its settings or their JSON, for worker processes.

        Args:
            settings: see `rlenhance.pipelines.options.to_json`.
            model, options: see the class.

        Raises:
            UsageError: see the class; or an unknown setting.
        """
        return cls(model, from_json(cls.Settings, settings) if isinstance(settings, Mapping) else settings, **options)

    def with_settings(self, settings: S | None = None, **changes: Any) -> Self:
        """The same pipeline with other settings; both share the networks.

        Raises:
            UsageError: a setting outside its range, or one that the model does not take.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)  # copy.copy would load the networks anew, as a pickle does
        other.settings = replace(self.settings if settings is None else settings, **changes)
        other._check_settings()
        return other

    def __call__(self, image: Any, *, mask: Any = None) -> Any:
        """One picture of any size.

        Args:
            image: an array (H, W, 3), uint8, uint16 or float in [0, 1], RGB; a PIL image (RGB, RGBA, L, LA, I;16); or
                a tensor (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1]. See
                `rlenhance.io.array_types.apply_to`.
            mask: (H, W), where the picture may change, in the place of `region`; what is 0 stays as it is.

        Returns:
            The same kind and dtype; the picture that was given stays as it was.

        Raises:
            UsageError: another kind, shape or kind of number; a mask of another size.
        """
        from rlenhance.io.array_types import apply_to

        return apply_to(image, lambda photo: self._changed(photo, mask).photo)

    def process(self, photo: Photo, *, mask: Any = None) -> PipelineResult:
        """The same for a decoded file; transparency, metadata and grey are kept.

        It is a `rlenhance.io.batch.Process`: `run_batch(plan, pipeline.process)`.
        """
        return self._changed(photo, mask)

    def process_files(self, sources: Iterable[Path], out: Path | None = None, *, extension: str | None = None,
                      overwrite: bool = False, find_mask: Callable[[Photo], Any] | None = None,
                      clip: ClipProcess | None = None,
                      on_outcome: Callable[[Outcome], None] | None = None) -> list[Outcome]:
        """Process photographs and folders of them; a file that fails is reported and the rest goes on.

        Args:
            sources: photographs, and folders of them.
            out: a file (for one photograph), or a folder; None writes beside the source.
            extension: another file format (".png").
            overwrite: replace results that exist, but never a source.
            find_mask: gives the mask of a photograph; None: none.
            clip: see `rlenhance.pipelines.video.clip_process`; None: clips are refused.
            on_outcome: called after each file.

        Raises:
            UsageError: before any work: a source that does not exist, results that exist or would share a name.
        """
        plan = make_plan(sources, out, naming=OutputNaming(self.suffix, extension=extension), overwrite=overwrite,
                         clips=clip is not None)
        outcomes = []
        for outcome in run_batch(plan, lambda photo: self.process(photo, mask=find_mask and find_mask(photo)),
                                 copy=True, process_clip=clip):
            outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
        return outcomes

    def stream(self, images: Iterable[Any], ahead: int = 2) -> Iterator[Any]:
        """One picture after the other, while the next ones are fetched.

        Args:
            images: of the kinds that a call takes; they are fetched as results are taken, `ahead` of them in advance.
            ahead: pictures that are processed at once.

        Yields:
            The results, in the order of the pictures.

        Raises:
            UsageError: for a picture that cannot be processed, at its place; `ahead` below 1.
        """
        if ahead < 1:
            raise UsageError(f"ahead must be at least 1; got {ahead}")
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(ahead) as pool:
            try:
                for image in images:
                    waiting.append(pool.submit(self, image))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    @cached_property
    def sha256(self) -> str:
        """Of the weights in use, in hexadecimal digits; "" where there are none. They are read once."""
        return "" if self.folder is None else shipped.weights_digest(self.folder)

    @property
    def model(self) -> Any:
        """The torch model of `network`, loaded when it is asked for; None where there is no network."""
        if self._model is None and self.folder is not None:
            self._model = torch_part("load_model")(self.folder, self.device, steps=self.network.steps)
        return self._model

    # What a pipeline defines

    @abstractmethod
    def _load(self) -> None:
        """Set `network` and `folder`, see `_open_network`; called again when a pickle is opened."""

    @abstractmethod
    def _apply(self, pixels: np.ndarray, weights: np.ndarray | None,
               photo: Photo) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Change the pixels of one photograph.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float in [0, 1], without hidden colours.
            weights: where they may change; the base restores the rest.
            photo: their file.

        Returns:
            The pixels of the result, of the same dtype and, but for upscaling, shape (the array itself where nothing
            changes, so that the file can be copied); and the decision.
        """

    def _check_settings(self) -> None:
        """Refuse settings that the model does not take, with a UsageError."""

    @property
    def _idle(self) -> bool:
        """Whether these settings change no pixel."""
        return self.settings.strength == 0

    # What the base does

    def _open_network(self, model: Path | str) -> tuple[Path, Any]:
        """The folder of a checkpoint for this purpose, and its network on the device.

        Raises:
            UsageError: see `find_model` and `open_network`.
        """
        from rlenhance.hub.open import open_network

        folder, _ = find_model(model, self.purpose)
        return folder, open_network(folder, self.device)

    def _weights(self, photo: Photo, mask: Any) -> np.ndarray | None:
        """Where a picture may change: (H, W) in [0, 1]; None: everywhere."""
        weights = self.region if mask is None else region_weights(mask)
        if weights is not None:
            check_region(weights, photo.pixels)
        return weights

    def _changed(self, photo: Photo, mask: Any) -> PipelineResult:
        """The result of a photograph, whatever it was read from."""
        check_pixels(photo.pixels)
        weights = self._weights(photo, mask)
        decision: dict[str, Any] = {}
        same = False

        def change(pixels: np.ndarray) -> np.ndarray:
            nonlocal same
            result, found = self._with_fallback(lambda: self._apply(pixels, weights, photo))
            decision.update(found)
            same = result is pixels
            return result if weights is None or same else _composite(pixels, result, weights)

        changed = photo if self._idle else photo.map_pixels(change)
        if same or changed is photo:
            return PipelineResult(photo, decision)
        return PipelineResult(self._marked(changed) if self.mark else changed, decision)

    def _marked(self, photo: Photo) -> Photo:
        """A result that names what made it."""
        from rlenhance.io.xmp import ALTERED, marked  # here: a photograph that asks for no mark need not wait for it

        return marked(photo, ALTERED)

    def _with_fallback(self, work: Callable[[], Any]) -> Any:
        """Run `work`; an automatic device that fails is replaced by the CPU for good."""
        if not self._falls_back or self.device == "cpu":
            return work()
        try:
            return work()
        except UsageError:
            raise
        except (RuntimeError, NotImplementedError) as error:  # no memory, or an operation that it does not have
            warnings.warn(f"{self.device} failed ({str(error).splitlines()[0]}); going on on the CPU", stacklevel=5)
            self._move("cpu")
            return work()

    def _move(self, device: str) -> None:
        self.device, self._model = device, None
        self._load()
        self._check_settings()

    def _with_progress(self, parts: Iterable[T]) -> Iterator[T]:
        """The parts of a picture; `on_progress` is called after each."""
        parts = list(parts)
        for number, part in enumerate(parts, start=1):
            yield part
            if self.on_progress:
                self.on_progress(number / len(parts))

    def _mix(self, before: Any, after: Any) -> Any:
        """The change at the strength of the settings."""
        strength = self.settings.strength
        return after if strength == 1 else before + strength * (after - before)

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in self._unpickled else value for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()
        self._check_settings()


def check_pixels(pixels: Any) -> None:
    """Refuse anything but a picture (H, W, 3), uint8, uint16 or float in [0, 1], with a UsageError."""
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"a picture is an array (H, W, 3), a PIL image or a tensor; got {type(pixels).__name__}")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size and (
            pixels.dtype in (np.uint8, np.uint16) or
            (np.issubdtype(pixels.dtype, np.floating) and pixels.min() >= 0 and pixels.max() <= 1)):
        return
    check_planes(to_planes(pixels))  # refuses with its reason; values a hair outside [0, 1] are cut


def _composite(before: np.ndarray, after: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The result inside, the exact picture outside (enlarged bicubically where the result is larger)."""
    if after.shape != before.shape:
        height, width = after.shape[:2]
        weights = cv2.resize(weights.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        floating, kind = np.issubdtype(before.dtype, np.floating), before.dtype
        before = cv2.resize(before.astype(np.float32) if floating else before, (width, height),
                            interpolation=cv2.INTER_CUBIC)  # which knows floats of 32 and 64 bits alone
        before = before.clip(0, 1).astype(kind) if floating else before
    if weights.dtype == bool:
        return np.where(weights[..., None], after, before)
    return blend_region(before, after, weights)

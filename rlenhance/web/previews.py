"""Denoising, repair, enlargement and model comparison for the web page, without any web code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io import OutputNaming, Photo
from rlenhance.io.contact_sheet import downscale, thumbnail
from rlenhance.io.limits import check_size
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.options import DenoiseSettings, ImageSettings, RestoreSettings, UpscaleSettings
from rlenhance.pipelines.restore import NOTHING, PhotoRestorer
from rlenhance.pipelines.score import with_reference
from rlenhance.pipelines.upscale import Upscaler
from rlenhance.web.service import EnhanceRequest, EnhanceService, Preview, Result, part_of

#: Width and height in pixels of the detail that is shown at full resolution.
DETAIL = (720, 480)
#: Longer side in pixels at which models are compared.
SIDE = 1280
UNCHANGED = "the photograph as it is"
_PIPELINES: Mapping[type[ImageSettings], Callable[..., ImagePipeline[Any]]] = {
    DenoiseSettings: Denoiser, RestoreSettings: PhotoRestorer, UpscaleSettings: Upscaler}


@dataclass(frozen=True)
class Detail:
    """A part of a photograph before and after, at full resolution, and in words what was seen or done."""

    shown: Preview
    words: str


def pipeline_of(service: EnhanceService, settings: ImageSettings) -> ImagePipeline[Any]:
    """The pipeline of the settings, with its shipped model."""
    limit = {"megapixels": service.megapixels} if isinstance(settings, UpscaleSettings) else {}
    return _PIPELINES[type(settings)](settings=settings, device=service.device, **limit)


def process(service: EnhanceService, token: str, settings: ImageSettings) -> Result:
    """The whole photograph: the file that the command of the settings writes, byte for byte."""
    pipeline = pipeline_of(service, settings)
    return service.run_job(token, pipeline.process, OutputNaming(pipeline.suffix),
                           copy=not isinstance(pipeline, Upscaler))


def preview(service: EnhanceService, token: str, settings: ImageSettings, *, across: float = 0.5,
            down: float = 0.5) -> Detail:
    """The result of a command on a part of a photograph.

    Noise is measured in the whole; a chain of tools is chosen for the part; an enlarged part is beside the bicubic
    enlargement.

    Args:
        service, token: the photograph.
        settings: of a `Denoiser`, a `PhotoRestorer` or an `Upscaler`.
        across, down: the place of the part, 0 (left, top) to 1.

    Raises:
        UsageError: the photograph cannot be read, or would become too large.
    """
    photo, pipeline = service.full_photo(service.store.get(token)), pipeline_of(service, settings)
    pixels, scale = photo.visible_pixels, getattr(pipeline, "scale", 1)
    height, width = pixels.shape[:2]
    rows, columns = part_of(pixels.shape, (DETAIL[0] // scale, DETAIL[1] // scale), across, down)
    before = np.ascontiguousarray(pixels[rows, columns])
    part = Photo(before, grey=photo.grey)
    if isinstance(pipeline, Denoiser):
        seen = pipeline.see(pixels, photo)
        after, words = part.map_pixels(lambda shown: pipeline.clean_seen(shown, seen)).pixels, seen.words
    else:
        if isinstance(pipeline, Upscaler):
            check_size("the enlarged picture", width * scale, height * scale, service.megapixels)
        changed, decision = pipeline.process(part)
        after, words = changed.pixels, decision.get("words", NOTHING)
    if isinstance(pipeline, Upscaler):
        before = cv2.resize(before, after.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        words = f"{width} × {height} becomes {scale * width} × {scale * height}"
    shown = [thumbnail(picture, max(DETAIL)) for picture in (before, after)]
    return Detail(Preview(shown[0], shown[1], (scale * width, scale * height),
                          part=(scale * columns.start, scale * rows.start)), words)


@dataclass(frozen=True)
class ComparedModel:
    """One result of a comparison: its label, (h, w, 3) uint8, and its scores by name."""

    label: str
    pixels: np.ndarray
    scores: dict[str, float]


def compare(service: EnhanceService, token: str, labels: Sequence[object], reference: str | None = None,
            side: int = SIDE) -> list[ComparedModel]:
    """The results of several models on one photograph, reduced to `side` pixels, each with its defaults.

    Args:
        service, token: the photograph.
        labels: labels of models, or `UNCHANGED`.
        reference: token of the reference.

    Raises:
        UsageError: a file that cannot be read, an unknown model, or a reference of another size.
    """
    photo = service.full_photo(service.store.get(token))
    wanted = None
    if reference:
        stored = service.store.get(reference)
        target = service.full_photo(stored).visible_pixels
        (height, width), (rows, columns) = photo.pixels.shape[:2], target.shape[:2]
        if (height, width) != (rows, columns):
            raise UsageError(f"{stored.name} has {columns}x{rows} pixels and the photograph {width}x{height}; a "
                             f"reference is the same scene, pixel for pixel")
        wanted = thumbnail(target, side)
    small = Photo(downscale(photo.visible_pixels, side), grey=photo.grey)
    found = []
    for label in labels:
        after = small
        if label != UNCHANGED:
            after = service.enhancer(EnhanceRequest(model=service.choice(label).asked)).process(small).photo
        shown = thumbnail(after.pixels, side)
        scores = {"brightness": float(shown.mean() / 255)} | (with_reference(shown, wanted) if wanted is not None
                                                              else {})
        found.append(ComparedModel(str(label), shown, scores))
    return found

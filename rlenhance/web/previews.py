"""Denoising, repair and model comparison for the web page, without any web code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io import OutputNaming, Photo
from rlenhance.io.contact_sheet import downscale, thumbnail
from rlenhance.io.limits import check_size
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.options import DenoiseSettings, RestoreSettings, UpscaleSettings
from rlenhance.pipelines.restore import NOTHING, PhotoRestorer
from rlenhance.pipelines.score import with_reference
from rlenhance.pipelines.upscale import Upscaler
from rlenhance.web.service import EnhanceRequest, EnhanceService, Preview, Result, part_of

#: Width and height in pixels of the detail that is shown at full resolution.
DETAIL = (720, 480)
#: Longer side in pixels at which models are compared.
SIDE = 1280
UNCHANGED = "the photograph as it is"


@dataclass(frozen=True)
class Detail:
    """A part of a photograph before and after, at full resolution, and in words what was seen or done."""

    shown: Preview
    words: str


def preview_denoised(service: EnhanceService, token: str, settings: DenoiseSettings, *, across: float = 0.5,
                     down: float = 0.5) -> Detail:
    """The result of `rlenhance denoise` on a part of a photograph.

    Args:
        service, token: the photograph.
        settings: of the `Denoiser`.
        across, down: the place of the part, 0 (left, top) to 1.

    Raises:
        UsageError: the photograph cannot be read.
    """
    denoiser = Denoiser(settings=settings, device=service.device)
    photo = service.full_photo(service.store.get(token))
    pixels = photo.visible_pixels
    seen, (part, place) = denoiser.see(pixels, photo), _detail(pixels, across, down)
    clean = Photo(part, grey=photo.grey).map_pixels(lambda shown: denoiser.clean_seen(shown, seen))
    return Detail(_preview(part, clean.pixels, pixels, place), seen.words)


def _detail(pixels: np.ndarray, across: float, down: float, shrunk: int = 1) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of a picture around a place between 0 (left, top) and 1, and its left and upper edge; `shrunk` times
    smaller than `DETAIL`."""
    rows, columns = part_of(pixels.shape, (DETAIL[0] // shrunk, DETAIL[1] // shrunk), across, down)
    return np.ascontiguousarray(pixels[rows, columns]), (columns.start, rows.start)


def _preview(before: np.ndarray, after: np.ndarray, whole: np.ndarray, place: tuple[int, int],
             scale: int = 1) -> Preview:
    height, width = whole.shape[:2]
    return Preview(thumbnail(before, max(DETAIL)), thumbnail(after, max(DETAIL)), (scale * width, scale * height),
                   part=(scale * place[0], scale * place[1]))


def denoise(service: EnhanceService, token: str, settings: DenoiseSettings) -> Result:
    """Denoise the whole photograph: the file that `rlenhance denoise` writes, byte for byte."""
    denoiser = Denoiser(settings=settings, device=service.device)
    return service.run_job(token, denoiser.process, OutputNaming(Denoiser.suffix))


def preview_restored(service: EnhanceService, token: str, settings: RestoreSettings, *, across: float = 0.5,
                     down: float = 0.5) -> Detail:
    """The result of `rlenhance restore` on a part of a photograph, whose chain is chosen for that part.

    Args:
        service, token: the photograph.
        settings: of the `PhotoRestorer`.
        across, down: the place of the part, 0 (left, top) to 1.

    Raises:
        UsageError: the photograph cannot be read.
    """
    photo = service.full_photo(service.store.get(token))
    part, place = _detail(photo.visible_pixels, across, down)
    after, decision = PhotoRestorer(settings=settings, device=service.device).process(Photo(part, grey=photo.grey))
    return Detail(_preview(part, after.pixels, photo.pixels, place), decision.get("words", NOTHING))


def restore(service: EnhanceService, token: str, settings: RestoreSettings) -> Result:
    """Repair the whole photograph: the file that `rlenhance restore` writes, byte for byte."""
    restorer = PhotoRestorer(settings=settings, device=service.device)
    return service.run_job(token, restorer.process, OutputNaming(PhotoRestorer.suffix))


def preview_enlarged(service: EnhanceService, token: str, settings: UpscaleSettings, *, across: float = 0.5,
                     down: float = 0.5) -> Detail:
    """The result of `rlenhance upscale` on a part of a photograph, beside the bicubic enlargement.

    Args:
        service, token: the photograph.
        settings: of the `Upscaler`.
        across, down: the place of the part, 0 (left, top) to 1.

    Raises:
        UsageError: the photograph cannot be read, or would become too large.
    """
    photo = service.full_photo(service.store.get(token))
    upscaler = Upscaler(settings=settings, device=service.device, megapixels=service.megapixels)
    part, place = _detail(photo.visible_pixels, across, down, upscaler.scale)
    (height, width), scale = photo.pixels.shape[:2], upscaler.scale
    check_size("the enlarged picture", width * scale, height * scale, service.megapixels)
    after = upscaler.process(Photo(part, grey=photo.grey)).photo.pixels
    before = cv2.resize(part, after.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return Detail(_preview(before, after, photo.pixels, place, scale), f"{width} × {height} becomes {scale * width} × "
                                                                       f"{scale * height}")


def enlarge(service: EnhanceService, token: str, settings: UpscaleSettings) -> Result:
    """Enlarge the whole photograph: the file that `rlenhance upscale` writes, byte for byte."""
    upscaler = Upscaler(settings=settings, device=service.device, megapixels=service.megapixels)
    return service.run_job(token, upscaler.process, OutputNaming(Upscaler.suffix), copy=False)


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

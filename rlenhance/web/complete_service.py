"""Completion for the web page: masks detected, painted and filled, without any web code."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import list_models
from rlenhance.io import OutputNaming, Photo
from rlenhance.io.contact_sheet import thumbnail
from rlenhance.io.files import decode_within, mask_from
from rlenhance.ops.inpaint import INPAINT_METHODS
from rlenhance.ops.masks import THRESHOLD
from rlenhance.pipelines.base import PipelineResult
from rlenhance.pipelines.complete import AUTO, FALLBACK, SHIPPED, Completer, to_mask
from rlenhance.web.model_catalog import trained
from rlenhance.web.service import DECODE_SECONDS, EnhanceService, Result

#: Longer side in pixels of the image that is painted on.
SIDE = 960
#: Labels of the methods without a model.
_LABELS = {"laplace": "smooth transition (laplace)", "telea": "continue the edges (telea)",
          "navier-stokes": "continue the lines (navier-stokes)",
          "patches": "copy pieces of the photograph (patches)"}
_PNG = "data:image/png;base64,"


@dataclass(frozen=True)
class MarkedPhoto:
    """A reduced photograph, (h, w, 3) uint8, and its mask, (h, w) bool, or None."""

    picture: np.ndarray
    hole: np.ndarray | None


def completion_methods(runs: Path | None) -> dict[str, str]:
    """The methods of completion: label -> name, the default first.

    Args:
        runs: folder of runs.
    """
    rules = {_LABELS.get(name, name): name for name in INPAINT_METHODS}
    networks = {f"trained ({model.name})": model.name for model in list_models("completion")}
    for folder in trained(runs, "completion"):
        networks[f"trained ({'/'.join(folder.parts[-3:-1])})"] = str(folder)
    if SHIPPED in networks.values():
        return networks | rules
    return {label: name for label, name in rules.items() if name == FALLBACK} | rules | networks


def mark(service: EnhanceService, token: str, mask: str | None = None, *, find: bool = False) -> MarkedPhoto:
    """A photograph to paint on, with its mask: from a file, or the black rectangles in it, or none.

    Args:
        service, token: the photograph.
        mask: token of a mask file, white where it is to be filled.
        find: find the black rectangles.

    Raises:
        UsageError: a file cannot be read; a mask of another size; no black rectangle is found.
    """
    pixels = service.full_photo(service.store.get(token)).pixels
    hole = _read_mask(service, mask, pixels) if mask is not None else to_mask(AUTO, pixels) if find else None
    small = thumbnail(pixels, SIDE)
    if hole is not None:
        hole = cv2.resize(hole.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
    return MarkedPhoto(small, hole)


def complete(service: EnhanceService, token: str, method: str, *, painted: str = "", mask: str | None = None) -> Result:
    """Complete the whole photograph: the file that `rlenhance complete` writes, byte for byte.

    Args:
        service, token: the photograph.
        method: the model or method, as `Completer` takes it.
        painted: the mask of the page's brush (a PNG as a data URI); "": none.
        mask: token of a mask file, where nothing is painted; None: the black rectangles that are detected.

    Raises:
        UsageError: it cannot be done; nothing is marked and no black rectangle is found.
    """
    completer = Completer(method, device=service.device)

    def process(photo: Photo) -> PipelineResult:
        hole = _painted_mask(service, painted, photo.pixels) if painted else AUTO if mask is None else \
            _read_mask(service, mask, photo.pixels)
        return completer.process(photo, mask=hole)

    return service.run_job(token, process, OutputNaming(Completer.suffix))


def before_after(service: EnhanceService, token: str, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its result, reduced for the page."""
    return tuple(thumbnail(service.full_photo(stored).pixels, SIDE)  # type: ignore[return-value]
                 for stored in (service.store.get(token), result.file))


def _read_mask(service: EnhanceService, mask: str, pixels: np.ndarray) -> np.ndarray:
    stored = service.store.get(mask)
    return mask_from(service.full_photo(stored).pixels, stored.name, pixels.shape[:2])


def _painted_mask(service: EnhanceService, address: str, pixels: np.ndarray) -> np.ndarray:
    """A painted mask at the photograph's size: (H, W) bool."""
    try:
        data = base64.b64decode(address.removeprefix(_PNG), validate=True) if address.startswith(_PNG) else b""
    except (binascii.Error, ValueError) as error:
        raise UsageError("the painted mask did not arrive; paint again") from error
    with service.aside():
        alpha = decode_within(data, "the painted mask", megapixels=4, seconds=DECODE_SECONDS).alpha
    if alpha is None or not (alpha > THRESHOLD).any():
        raise UsageError("nothing is painted: drag over what is to be filled, or find black holes")
    painted = (alpha > THRESHOLD).astype(np.uint8)
    return to_mask(cv2.resize(painted, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0, pixels)

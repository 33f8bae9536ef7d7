"""Holes of photographs found, painted and filled: what a tab of the page does, without the web."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import list_models
from rlenhance.io import OutputNaming, Photo, decode
from rlenhance.io.contact_sheet import thumbnail
from rlenhance.io.masks import read_mask
from rlenhance.ops.inpaint import INPAINT_METHODS
from rlenhance.ops.masks import THRESHOLD
from rlenhance.pipelines.base import PipelineResult
from rlenhance.pipelines.complete import FALLBACK, SHIPPED, Completer, to_mask
from rlenhance.web.model_catalog import KINDS, kind_of, run_folders
from rlenhance.web.service import EnhanceService, Result, with_own_name

#: Longer side in pixels of the picture that is painted on.
SIDE = 960
#: Rules in a person's words.
_RULES = {"laplace": "smooth transition (laplace)", "telea": "continue the edges (telea)",
          "navier-stokes": "continue the lines (navier-stokes)",
          "patches": "copy pieces of the photograph, slow (patches)"}
_PNG = "data:image/png;base64,"


@dataclass(frozen=True)
class MarkedPhoto:
    """A photograph reduced, (h, w, 3) uint8, and what of it is a hole, (h, w) bool, or None."""

    picture: np.ndarray
    hole: np.ndarray | None


def completion_methods(runs: Path | None) -> dict[str, str]:
    """What fills holes: label -> name; the default stands first.

    Args:
        runs: folder below which runs are looked for.
    """
    rules = {_RULES.get(name, name): name for name in INPAINT_METHODS}
    networks = {f"trained ({model.name})": model.name for model in list_models() if model.name == SHIPPED}
    for folder in run_folders(runs):
        if kind_of(folder / "best") in ("", *KINDS):
            continue
        try:
            Completer(folder / "best")
        except UsageError:  # fills no holes
            continue
        networks[f"trained ({folder.parent.name}/{folder.name})"] = str(folder / "best")
    if SHIPPED in networks.values():
        return networks | rules
    return {label: name for label, name in rules.items() if name == FALLBACK} | rules | networks


def detect_mask(service: EnhanceService, token: str, mask: str | None = None) -> MarkedPhoto:
    """A photograph as it is painted on, with its hole: of a mask's file, else the black rectangle that is found.

    Args:
        studio, token: the photograph.
        mask: token of a mask: white where it is to be filled.

    Raises:
        UsageError: a file cannot be read; a mask of another size.
    """
    pixels = service.full_photo(service.store.get(token)).pixels
    hole = _found(pixels) if mask is None else _read(service, mask, pixels)
    small = thumbnail(pixels, SIDE)
    if hole is not None:
        hole = cv2.resize(hole.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
    return MarkedPhoto(small, hole)


def complete(service: EnhanceService, token: str, method: str, *, painted: str = "", mask: str | None = None) -> Result:
    """The whole photograph with its hole filled: the file that `rlenhance complete` writes, byte for byte.

    Args:
        studio, token: the photograph.
        filler: what fills, as `Completer` takes it.
        painted: a mask as the page's brush gives it (a PNG in an address); "": none.
        mask: token of a mask, where nothing is painted; None: the black rectangle that is found.

    Raises:
        UsageError: it cannot be done.
    """
    completer = Completer(method, device=service.device)

    def process(photo: Photo) -> PipelineResult:
        hole = _painted(painted, photo.pixels) if painted else None if mask is None else \
            _read(service, mask, photo.pixels)
        return completer.process(photo, mask=hole)

    return service.run_job(token, process, OutputNaming(Completer.suffix))


def before_after(service: EnhanceService, token: str, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """A photograph and its result, reduced to be shown beside each other."""
    return tuple(thumbnail(service.full_photo(stored).pixels, SIDE)  # type: ignore[return-value]
                 for stored in (service.store.get(token), result.file))


def _found(pixels: np.ndarray) -> np.ndarray | None:
    try:
        return to_mask(None, pixels)
    except UsageError:  # no black rectangle
        return None


def _read(service: EnhanceService, mask: str, pixels: np.ndarray) -> np.ndarray:
    stored = service.store.get(mask)
    try:
        return read_mask(stored.path, pixels.shape[:2])
    except UsageError as error:
        raise UsageError(with_own_name(str(error), stored)) from error


def _painted(address: str, pixels: np.ndarray) -> np.ndarray:
    """A painted mask at the photograph's size: (H, W) bool.

    Raises:
        UsageError: no PNG with transparency, or nothing is painted.
    """
    try:
        data = base64.b64decode(address.removeprefix(_PNG), validate=True) if address.startswith(_PNG) else b""
    except (binascii.Error, ValueError) as error:
        raise UsageError("the painted mask did not arrive; paint again") from error
    alpha = decode(data, "the painted mask", megapixels=4).alpha
    if alpha is None or not (alpha > THRESHOLD).any():
        raise UsageError("nothing is painted: drag over what is to be filled, or find black holes")
    painted = (alpha > THRESHOLD).astype(np.uint8)
    return to_mask(cv2.resize(painted, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0, pixels)

"""Array edits of NumPy arrays, PIL images and torch tensors; the result has the type of the input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.io.photo import Photo

_DEEP = ("I;16", "I;16L", "I;16N")  # PIL's 16-bit greys in native byte order
_WAY_OUT = {"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "1": "L", "P": "RGB (or RGBA)", "PA": "RGBA",
            "La": "LA", "RGBa": "RGBA"}


def apply_to(image: Any, change: Callable[[Photo], Photo]) -> Any:
    """Apply a change of photographs to an image of any type; the result has the type of the input.

    Args:
        image: an array (H, W, 3), uint8, uint16 or float in [0, 1], RGB; a PIL image of mode RGB, RGBA, L, LA or
            I;16; or a tensor (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1], on any device.
        change: of a photograph, including its alpha and grey; it checks arrays itself. A result that is the
            photograph itself is copied.

    Raises:
        UsageError: another type, mode or shape.
    """
    if isinstance(image, Image.Image):
        return _apply_to_image(image, change)
    torch: Any = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(image, torch.Tensor):
        return _apply_to_tensor(torch, image, change)
    return _apply_to_array(image, change)


def _apply_to_array(pixels: np.ndarray, change: Callable[[Photo], Photo]) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        return change(Photo(pixels)).pixels  # which refuses it
    kind = pixels.dtype.newbyteorder("=")  # no subclass, in this machine's order of bytes, and a type that OpenCV has
    plain = np.asarray(pixels, np.float64 if kind.kind == "f" and kind.itemsize > 8 else kind)
    result = change(Photo(plain)).pixels
    return (result.copy() if result is plain else result).astype(pixels.dtype, copy=False)


def _apply_to_image(image: Image.Image, change: Callable[[Photo], Photo]) -> Image.Image:
    if image.mode not in ("RGB", "RGBA", "L", "LA", *_DEEP):
        way = _WAY_OUT.get(image.mode, "RGB")
        raise UsageError(f"a PIL image must have the mode RGB, RGBA, L, LA or I;16; got {image.mode}: convert it to "
                         f"{way} first, as in image.convert({way.split(' ')[0]!r})")
    array = np.atleast_3d(np.asarray(image))
    colors = 3 if image.mode.startswith("RGB") else 1
    pixels, alpha = array[..., :colors], array[..., colors] if array.shape[2] > colors else None
    result = change(Photo(np.ascontiguousarray(pixels.repeat(3 // colors, axis=2)), alpha, grey=colors == 1))
    parts = [result.pixels[..., :colors], *([] if result.alpha is None else [result.alpha[..., None]])]
    whole = np.concatenate(parts, axis=2)
    made = Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)
    made.info = dict(image.info)
    return made


def _apply_to_tensor(torch: Any, tensor: Any, change: Callable[[Photo], Photo]) -> Any:
    whole = tensor.dtype in (torch.uint8, torch.uint16)
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3 or not (whole or tensor.is_floating_point()):
        way = ": channels come first, as in tensor.movedim(-1, -3)" * (tensor.ndim > 2 and tensor.shape[-1] == 3)
        raise UsageError(f"a tensor must be (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1]; got "
                         f"{tuple(tensor.shape)} {tensor.dtype}{way}")
    if 0 in tensor.shape[-2:]:
        raise UsageError(f"the picture is empty: a tensor of the shape {tuple(tensor.shape)}")
    arrays = (tensor.detach() if whole else tensor.detach().float()).cpu().reshape(-1, *tensor.shape[-3:])
    results = [torch.from_numpy(_apply_to_array(np.ascontiguousarray(array.numpy().transpose(1, 2, 0)),
                                                change).transpose(2, 0, 1)) for array in arrays]
    if not results:
        return tensor.detach().clone()
    return torch.stack(results).reshape(*tensor.shape[:-2], *results[0].shape[-2:]).to(tensor.device, tensor.dtype)

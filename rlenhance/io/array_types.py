"""Pictures as programs hold them: NumPy arrays, PIL images, torch tensors; what comes in goes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.io.photo import as_grey, fill_transparent, transparent_area

#: From (H, W, 3) of its kind of number to the same, better.
Edit = Callable[[np.ndarray], np.ndarray]

_DEEP = ("I;16", "I;16L", "I;16N")  # PIL's 16-bit greys of this machine's order of bytes
_WAY_OUT = {"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "1": "L", "P": "RGB (or RGBA)", "PA": "RGBA",
            "La": "LA", "RGBa": "RGBA"}


def apply_to(picture: Any, edit: Edit) -> Any:
    """Do an edit of arrays to a picture of any kind, and give back the kind that came.

    Args:
        picture: an array (H, W, 3), uint8, uint16 or float in [0, 1], RGB; a PIL image of mode RGB, RGBA, L, LA or
            I;16; or a tensor (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1], on any device. Transparency
            stays as it is, to the last byte, and grey stays grey.
        edit: see `Edit`; whatever else is asked of an array is its business.

    Raises:
        UsageError: another kind, mode or shape; names the way out.
    """
    if isinstance(picture, Image.Image):
        return _edit_image(picture, edit)
    if isinstance(picture, Tensor):
        return _edit_tensor(picture, edit)
    return edit(picture)


def _edit_image(image: Image.Image, edit: Edit) -> Image.Image:
    if image.mode not in ("RGB", "RGBA", "L", "LA", *_DEEP):
        way = _WAY_OUT.get(image.mode, "RGB")
        raise UsageError(f"a PIL image must have the mode RGB, RGBA, L, LA or I;16; got {image.mode}: convert it to "
                         f"{way} first, as in image.convert({way.split(' ')[0]!r})")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    colors, rest = (pixels[..., :3], pixels[..., 3:]) if image.mode.startswith("RGB") else (pixels[..., :1],
                                                                                         pixels[..., 1:])
    grey, hidden = colors.shape[2] == 1, transparent_area(rest[..., 0] if rest.shape[2] else None)
    shown = colors if hidden is None else fill_transparent(colors, hidden)  # hidden colours decide nothing, and stay
    result = edit(np.ascontiguousarray(np.repeat(shown, 3, axis=2) if grey else shown))
    if grey:
        result = as_grey(result)[..., :1]
    if hidden is not None:
        result = np.where(hidden[..., None], colors, result)
    result = np.concatenate([result, rest], axis=2) if rest.shape[2] else result
    made = Image.fromarray(np.ascontiguousarray(result[..., 0] if result.shape[2] == 1 else result))
    made.info = dict(image.info)
    return made


def _edit_tensor(tensor: Tensor, edit: Edit) -> Tensor:
    whole = tensor.dtype in (torch.uint8, torch.uint16)
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3 or not (whole or tensor.is_floating_point()):
        raise UsageError(f"a tensor must be (3, H, W) or (N, 3, H, W), uint8, uint16 or float in [0, 1]; got "
                         f"{tuple(tensor.shape)} {tensor.dtype}{_layout(tensor)}")
    arrays = (tensor.detach() if whole else tensor.detach().float()).cpu().reshape(-1, *tensor.shape[-3:])
    results = [torch.from_numpy(edit(np.ascontiguousarray(array.numpy().transpose(1, 2, 0))).transpose(2, 0, 1))
               for array in arrays]
    if not results:
        return tensor.detach().clone()
    return torch.stack(results).reshape(tensor.shape).to(tensor.device, tensor.dtype)


def _layout(tensor: Tensor) -> str:
    return ": channels come first, as in tensor.movedim(-1, -3)" if tensor.ndim > 2 and tensor.shape[-1] == 3 else ""

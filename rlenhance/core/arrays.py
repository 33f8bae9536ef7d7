"""Formulas that NumPy arrays and torch tensors share: what the array API does not have, or torch has in one step.

A shared formula takes pictures (..., C, H, W): arrays of one picture (C, H, W), tensors of several (N, C, H, W). It
calls what both have as methods (`clip`, `mean(axis=)`) and else `namespace_of`, and imports no torch.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

#: A NumPy array or a torch tensor.
Array = TypeVar("Array", bound=Any)
_NAMESPACES: dict[type, Any] = {np.ndarray: np}


def namespace_of(array: Any) -> Any:
    """What has the functions of the array API for an array: NumPy itself, `array_api_compat` for tensors.

    NumPy has them since version 2; the wrapper around it takes 50 milliseconds to import.
    """
    kind = type(array)
    if kind not in _NAMESPACES:
        from array_api_compat import array_namespace  # here: a photograph does not need it

        _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def constants(numbers: tuple[float, ...], shape: tuple[int, ...], like: Array) -> Array:
    """Constant numbers of the dtype and device of `like`, made once and not to be changed.

    Args:
        numbers: in the order of the shape.
        shape: of the result.
        like: gives kind, dtype and device.
    """
    return _constants(namespace_of(like), numbers, shape, like.dtype, like.device)


@lru_cache(maxsize=256)
def _constants(xp: Any, numbers: tuple[float, ...], shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    with xp.inference_mode(False) if hasattr(xp, "inference_mode") else nullcontext():  # it must serve every mode
        return xp.asarray(numbers, dtype=dtype, device=device).reshape(shape)


def lerp(start: Array, end: Array, share: Array) -> Array:
    """start + share (end - start)."""
    return start + share * (end - start) if isinstance(start, np.ndarray) else start.lerp(end, share)


def multiply_add(start: Array, one: Array, other: Array) -> Array:
    """start + one other."""
    return start + one * other if isinstance(start, np.ndarray) else start.addcmul(one, other)


def brightness(image: Array) -> Array:
    """Mean over the channels: (..., 3, H, W) -> (..., 1, H, W)."""
    return image.mean(axis=-3, keepdims=True)


def max_channel(image: Array) -> Array:
    """Maximum over the channels: (..., 3, H, W) -> (..., 1, H, W)."""
    xp = namespace_of(image)
    if getattr(image, "requires_grad", False):
        return xp.max(image, axis=-3, keepdims=True)  # equal channels share the gradient
    red, green, blue = (image[..., channel : channel + 1, :, :] for channel in range(3))
    return xp.maximum(xp.maximum(red, green), blue)  # the same numbers, several times faster


#: In how many ways a picture can be turned and mirrored.
NUM_D4 = 8


def d4_transform(image: Array, way: int) -> Array:
    """Turned by `way` quarters, and from 4 on mirrored as well: (..., H, W), of ways 1, 3, 5 and 7 (..., W, H)."""
    xp = namespace_of(image)
    image = xp.rot90(image, way % 4, (-2, -1))
    return xp.flip(image, axis=-1) if way >= 4 else image


def d4_inverse(image: Array, way: int) -> Array:
    """What `d4_transform` did, undone."""
    xp = namespace_of(image)
    return xp.rot90(xp.flip(image, axis=-1) if way >= 4 else image, -(way % 4), (-2, -1))


@lru_cache(maxsize=1)
def d4_products() -> list[list[int]]:
    """Entry [way][later]: the element of D4 that equals `way` followed by `later`."""
    mark = np.arange(9).reshape(3, 3)
    names = {d4_transform(mark, way).tobytes(): way for way in range(NUM_D4)}
    return [[names[d4_transform(d4_transform(mark, way), later).tobytes()] for later in range(NUM_D4)]
            for way in range(NUM_D4)]

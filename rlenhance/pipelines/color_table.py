"""A curve and a 3D colour table, which a look may hold in the place of a model's action, or after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlenhance.core.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import numpy as np

#: What comes before the table: the model's result; a power of the photograph, x^(2^-gain); or more light,
#: 2^gain l / (1 + (2^gain - 1) l) of its linear light l, which keeps black and white.
CURVES = ("model", "gamma", "exposure")
#: Stops on either side that the gain may have.
MOST_GAIN = 8.0
_SIZES = (2, 33)
_LARGEST = 4.0  # a value in a table
_STRIP = 1 << 17  # pixels at once


@dataclass(frozen=True)
class ColorTable:
    """A curve, then a table of colours that is interpolated linearly along each axis.

    Attributes:
        curve: one of `CURVES`.
        gain: of the curve, in stops; the model's result has none.
        size: colours along each side.
        values: 3 size^3 numbers, sRGB-encoded; red, green, blue of each colour, with red changing fastest, as in a
            .cube file.
    """

    curve: str
    gain: float
    size: int
    values: tuple[float, ...]

    @property
    def replaces_model(self) -> bool:
        """Whether the table replaces the model instead of following it."""
        return self.curve != "model"

    def check_unused(self, names: Sequence[str]) -> None:
        """Raise UsageError for settings of a model whose place it takes: they would change nothing."""
        if names and self.replaces_model:
            raise UsageError(f"the colour table of this look takes the place of the model, so {', '.join(names)} "
                             f"would change nothing: leave {'it' if len(names) == 1 else 'them'} out, or the look")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3), uint8, uint16 or float in [0, 1], of the same type."""
        import numpy as np

        from rlenhance.engine.lookup import look_up

        flat = np.ascontiguousarray(pixels.reshape(-1, 3))
        made = np.empty_like(flat)
        top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
        known = None if top == 1 else bend(self.curve, np.arange(top + 1) / np.float32(top), self.gain)
        table = np.array(self.values, np.float32).reshape(-1, 3)
        for start in range(0, len(flat), _STRIP):
            part = flat[start : start + _STRIP]
            if known is None:
                made[start : start + _STRIP] = look_up(table, bend(self.curve, part, self.gain))
            else:
                look_up(table, part, known, made[start : start + _STRIP])
        return made.reshape(pixels.shape)

    def to_json(self) -> dict[str, Any]:
        """As files hold it; the colours are lines as in a .cube file."""
        lines = [" ".join(f"{value:.4f}" for value in self.values[i : i + 3]) for i in range(0, len(self.values), 3)]
        return {"curve": self.curve, "gain": self.gain, "size": self.size, "colors": lines}


def table_from_json(found: Any) -> ColorTable:
    """The inverse of `ColorTable.to_json`.

    Raises:
        UsageError: another key, or a value of another type or outside its range.
    """
    keys = ("curve", "gain", "size", "colors")
    if not isinstance(found, Mapping):
        raise UsageError(f"table must be an object, {{...}}; got {found!r:.60}")
    for key in found:
        if key not in keys:
            raise UsageError(f"table: {UnknownName('key', key, keys)}")
    if missing := [key for key in keys if key not in found]:
        raise UsageError(f"table lacks {', '.join(missing)}")
    curve, gain, size, colors = (found[key] for key in keys)
    if curve not in CURVES:
        raise UsageError(f"table curve must be {' or '.join(CURVES)}; got {curve!r:.60}")
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not abs(gain) <= MOST_GAIN:
        raise UsageError(f"table gain must lie between {-MOST_GAIN:g} and {MOST_GAIN:g} stops; got {gain!r:.60}")
    if isinstance(size, bool) or not isinstance(size, int) or not _SIZES[0] <= size <= _SIZES[1]:
        raise UsageError(f"table size must be a whole number from {_SIZES[0]} to {_SIZES[1]}; got {size!r:.60}")
    if not isinstance(colors, list) or len(colors) != size**3:
        raise UsageError(f"table colors must be a list of {size**3} colours (size to the third)")
    values: list[float] = []
    for line in colors:
        try:
            color = [float(word) for word in line.split()]
        except (AttributeError, ValueError):
            color = []
        if len(color) != 3 or not all(math.isfinite(value) and abs(value) <= _LARGEST for value in color):
            raise UsageError(f'table colors must be three numbers each, as in "0.1 0.2 0.3"; got {line!r:.60}')
        values += color
    return ColorTable(curve, float(gain), size, tuple(values))


def bend(curve: str, values: np.ndarray, gain: float) -> np.ndarray:
    """Values in [0, 1], sRGB-encoded, after a curve of `CURVES`; float32.

    Example:
        >>> import numpy as np
        >>> bend("gamma", np.array([0.25]), 1.0)
        array([0.5], dtype=float32)
    """
    import numpy as np

    from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear

    values = np.asarray(values, np.float32).clip(0, 1)
    if curve == "model":
        return values
    if curve == "gamma":
        return np.power(values, np.float32(2.0**-gain))
    light, factor = linear_from_srgb(values), np.float32(2.0**gain)
    return srgb_from_linear(factor * light / (1 + (factor - 1) * light))

"""What was decided on a photograph as settings of a raw developer: an XMP sidecar with what its sliders say, roughly.

A developer renders these sliders in its own way, and none holds what differs from place to place: the result resembles
ours in brightness and contrast, no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb
from rlenhance.io.files import write_bytes
from rlenhance.io.own_files import SIDECAR_MARK

_SEEN = 2 / 255, 250 / 255  # brightness between which a pixel says what was done to it
_MOST_STOPS, _MOST_CONTRAST = 5.0, 100  # ranges of the sliders
_FEWEST = 16  # pixels


def develop_settings(before: np.ndarray, after: np.ndarray, kelvin: float | None = None) -> dict[str, str]:
    """Settings of a raw developer that bring a picture near to its result.

    Args:
        before, after: (h, w, 3) uint8, uint16 or float in [0, 1], sRGB, of one size.
        kelvin: the temperature of the light that was named; None or 0: none.

    Returns:
        The names of Adobe's camera raw settings, without their prefix, and their values: Exposure2012 in stops, the
        median over the pixels; Contrast2012, the percentage by which differences of the brightness's logarithm grow;
        Temperature, where the light was named (that of a measured cast has no slider that fits).

    Raises:
        UsageError: too few pixels that are neither black nor burnt.
    """
    levels = [_brightness(picture) for picture in (before, after)]
    seen = np.logical_and.reduce([(level > _SEEN[0]) & (level < _SEEN[1]) for level in levels])
    if seen.sum() < _FEWEST:
        raise UsageError("the picture is black or burnt nearly everywhere: no slider says what was done")
    ours, theirs = (np.log2(linear_from_srgb(level[seen])).astype(np.float64) for level in levels)
    spread = float(ours.std())
    slope = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean()) / spread**2 if spread > 0.1 else 1.0
    stops = float(np.clip(np.median(theirs - ours), -_MOST_STOPS, _MOST_STOPS))
    contrast = int(np.clip(round(100 * (slope - 1)), -_MOST_CONTRAST, _MOST_CONTRAST))
    return {"Exposure2012": f"{stops:+.2f}", "Contrast2012": f"{contrast:+d}",
            **({"WhiteBalance": "Custom", "Temperature": f"{kelvin:.0f}"} if kelvin else {"WhiteBalance": "As Shot"})}


def _brightness(picture: np.ndarray) -> np.ndarray:
    """Mean of the channels in [0, 1]: (h, w) float32."""
    top = np.iinfo(picture.dtype).max if np.issubdtype(picture.dtype, np.integer) else 1
    return np.asarray(picture.mean(axis=2, dtype=np.float32) / np.float32(top))


def to_xmp(settings: Mapping[str, str]) -> str:
    """The text of a sidecar.

    Source: Adobe, XMP Specification Part 2, camera raw schema; process version 11 names the sliders of 2012 and later.
    """
    named = "\n".join(f'   crs:{name}="{value}"' for name, value in
                      {"ProcessVersion": "11.0", **settings, "HasSettings": "True"}.items())
    return (f'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="{SIDECAR_MARK.decode()} {__version__}, approximate">\n'
            ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
            '  <rdf:Description rdf:about=""\n   xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"\n'
            f'{named}/>\n </rdf:RDF>\n</x:xmpmeta>\n')


def save_sidecar(settings: Mapping[str, str], path: Path) -> Path:
    """Write a sidecar atomically.

    Raises:
        UsageError: the place cannot be written.
    """
    return write_bytes(to_xmp(settings).encode(), path)

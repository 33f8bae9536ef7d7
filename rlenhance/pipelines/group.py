"""One photograph that stands for a group of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.core.pixels import resized_planes
from rlenhance.io import Photo, read
from rlenhance.ops.plane_statistics import exposure_of


def median_exposure(sources: Iterable[Path], side: int, open_photo: Callable[[Path], Photo] = read) -> Path:
    """The photograph of median exposure; of an even number the darker of the two in the middle.

    Args:
        sources: photographs; unreadable ones are left out.
        side: in pixels, to which each is reduced before its exposure is measured.
        open_photo: reads a photograph.

    Raises:
        UsageError: none can be read.
    """
    exposures: list[tuple[float, int, Path]] = []
    failures = []
    for number, source in enumerate(sources):
        try:
            small = resized_planes(open_photo(source).visible_pixels, side)[0]
            exposures.append((exposure_of(small).item(), number, source))
        except Exception as error:  # one photograph never stops the others
            failures.append(describe_failure(error, source))
    if not exposures:
        raise UsageError(f"no photograph to decide on: {failures[0] if failures else 'none is named'}")
    return sorted(exposures)[(len(exposures) - 1) // 2][-1]

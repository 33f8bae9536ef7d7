"""Where a picture lies: in a file of its own, or at a place in a file of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class ImageSource:
    """Base class: a picture that is no file of its own. Frozen dataclasses; `str` is what messages call it."""

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8.

        Raises:
            UsageError: the file cannot be read, or is damaged.
        """
        raise TypeError("a held picture defines read")


#: A file, or a place in one.
Source = Path | ImageSource

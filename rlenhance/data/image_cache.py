"""Decoded pictures in memory, as uint8, within a budget."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.data.sources import ImageSource, Source
from rlenhance.io.files import read


@dataclass(frozen=True)
class ImageInfo:
    """What a decoding has shown: size in pixels (height, width) and a hash of the pixels."""

    size: tuple[int, int]
    digest: str


class ImageCache:
    """Decodes pictures and keeps the least recently used out.

    Args:
        budget: bytes that may be kept (default 1 GiB).
        max_side: reduce to this longer side in pixels before keeping; None keeps the full picture.
        most: pictures that may be kept; None: as many as fit.

    Thread-safe. A picture that does not fit is decoded again each time; nothing grows past the budget.
    """

    def __init__(self, budget: int = 1 << 30, max_side: int | None = None, most: int | None = None):
        if budget < 0 or (most is not None and most < 0):
            raise UsageError(f"the cache's budget must not be negative; got {budget} bytes and {most} pictures")
        self.budget, self.max_side, self.most = budget, max_side, most
        self.used = 0
        self._kept: OrderedDict[Source, np.ndarray] = OrderedDict()
        self._facts: dict[Source, ImageInfo] = {}
        self._lock = threading.Lock()

    def load(self, path: Source) -> np.ndarray:
        """(H, W, 3) uint8, not to be written to.

        Raises:
            UsageError: the file cannot be read; see `rlenhance.io.read`, or `ImageSource.read`.
        """
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        pixels = path.read() if isinstance(path, ImageSource) else read(path).pixels
        if pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        digest = hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).hexdigest()
        facts = ImageInfo(pixels.shape[:2], digest)
        height, width = facts.size
        if self.max_side and max(height, width) > self.max_side:
            scale = self.max_side / max(height, width)
            small = (max(1, round(width * scale)), max(1, round(height * scale)))
            pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        pixels.setflags(write=False)
        with self._lock:
            self._facts[path] = facts
            if path not in self._kept and pixels.nbytes <= self.budget:
                self._kept[path] = pixels
                self.used += pixels.nbytes
                while self.used > self.budget or (self.most is not None and len(self._kept) > self.most):
                    _, dropped = self._kept.popitem(last=False)
                    self.used -= dropped.nbytes
        return pixels

    def info(self, path: Source) -> ImageInfo:
        """Size and hash of the file's full picture, decoded now if it never was."""
        if path not in self._facts:
            self.load(path)
        return self._facts[path]

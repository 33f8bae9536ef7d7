"""Where an image is stored, and decoded images in memory, as uint8, within a budget."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.files import read


@cache
def lasting_threads() -> ThreadPoolExecutor:
    """Threads that decode pictures, the same ones until the process ends.

    A thread that ends holds a lock of OpenCV for a moment. A process that is forked in that moment, as by Gymnasium's
    AsyncVectorEnv, would wait for the lock for ever. A forked process begins threads of its own.
    """
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=lasting_threads.cache_clear)


class ImageSource:
    """Base class of an image inside a file of many: frozen dataclasses, whose `str` is the name in messages."""

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8.

        Raises:
            UsageError: the file cannot be read, or is damaged.
        """
        raise TypeError("a subclass of ImageSource defines read")


#: An image file, or an image inside a file of many.
Source = Path | ImageSource


@dataclass(frozen=True)
class ImageInfo:
    """Size in pixels (height, width) and a hash of the pixels, known once an image was decoded."""

    size: tuple[int, int]
    digest: str


class ImageCache:
    """Decodes images and drops the least recently used ones.

    Args:
        budget: bytes that may be held (default 1 GiB).
        max_side: reduce to this longer side in pixels before storing; None stores the full image.
        most: largest number of images held; None: as many as fit.

    Thread-safe. An image that does not fit is decoded again each time; memory stays within the budget. A pickle has the
    settings and no images: they are decoded again where it is read.
    """

    def __init__(self, budget: int = 1 << 30, max_side: int | None = None, most: int | None = None):
        if budget < 0 or (most is not None and most < 0):
            raise UsageError(f"the cache's budget must not be negative; got {budget} bytes and {most} pictures")
        self.budget, self.max_side, self.most = budget, max_side, most
        self.used = 0
        self._images: OrderedDict[Source, np.ndarray] = OrderedDict()
        self._info: dict[Source, ImageInfo] = {}
        self._known: dict[tuple[str, Source], np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[int, int | None, int | None]:
        return self.budget, self.max_side, self.most

    def __setstate__(self, state: tuple[int, int | None, int | None]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def load(self, source: Source) -> np.ndarray:
        """(H, W, 3) uint8, read-only.

        Raises:
            UsageError: the file cannot be read; see `rlenhance.io.read`, or `ImageSource.read`.
        """
        with self._lock:
            if source in self._images:
                self._images.move_to_end(source)
                return self._images[source]
        pixels = source.read() if isinstance(source, ImageSource) else read(source).pixels
        if pixels.dtype == np.uint16:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        height, width = pixels.shape[:2]
        digest = hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).hexdigest()
        if self.max_side and max(height, width) > self.max_side:
            scale = self.max_side / max(height, width)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels.setflags(write=False)
        with self._lock:
            self._info[source] = ImageInfo((height, width), digest)
            if source not in self._images and pixels.nbytes <= self.budget:
                self._images[source] = pixels
                self.used += pixels.nbytes
                while self.used > self.budget or (self.most is not None and len(self._images) > self.most):
                    _, dropped = self._images.popitem(last=False)
                    self.used -= dropped.nbytes
        return pixels

    def info(self, source: Source) -> ImageInfo:
        """Size and hash of the full image, decoded now if it never was."""
        if source not in self._info:
            self.load(source)
        return self._info[source]

    def remember(self, name: str, source: Source, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A small array that is measured on an image once, and kept when the image is dropped.

        Args:
            name: of the measure.
            source: see `load`.
            measure: (H, W, 3) uint8 -> array.
        """
        if (name, source) not in self._known:
            self._known[name, source] = measure(self.load(source))
        return self._known[name, source]

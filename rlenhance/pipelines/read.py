"""Text in photographs: prepared, read, and read again another way where the first reading does not convince.

This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.ocr.cache import Prepared
from rlenhance.ocr.consensus import best_reading
from rlenhance.ocr.engines import Engine, default_engine, engine_of
from rlenhance.ocr.filters import ReadChain, grey_of
from rlenhance.ocr.planner import EveryChain, ReadPlanner, RulePlanner, TrainedPlanner
from rlenhance.ocr.readings import Reading, as_objects, scaled

#: Longer side in pixels to which larger photographs are reduced before they are read.
SIDE = 2400
_PAGE = 400  # pixels: what is higher may be a page, in which an engine looks for blocks of text
_PLAIN = ReadChain()


@dataclass(frozen=True)
class ReadResult:
    """What was read in a photograph.

    Attributes:
        reading: the answer; boxes are in pixels of the photograph.
        chain: how it was read.
        attempts: all readings with their chains, in order.
        prepared: (h, w) uint8, the picture that the engine read for the answer.
    """

    reading: Reading
    chain: ReadChain
    attempts: tuple[tuple[ReadChain, Reading], ...]
    prepared: np.ndarray

    @property
    def text(self) -> str:
        """The text."""
        return self.reading.text

    @property
    def plain(self) -> Reading | None:
        """What the engine reads in the photograph as it is, where that was tried."""
        return next((reading for chain, reading in self.attempts if not chain.filters), None)

    def to_json(self) -> Mapping[str, Any]:
        """Text, confidence, chain, words, and the attempts."""
        plain = self.plain
        return {"text": self.text, "confidence": round(self.reading.confidence, 3), "chain": [*self.chain.filters],
                "layout": self.chain.layout, "reads": len(self.attempts), "words": as_objects(self.reading),
                "plain": None if plain is None else {"text": plain.text, "confidence": round(plain.confidence, 3)},
                "attempts": [{"chain": [*chain.filters], "layout": chain.layout, "text": reading.text,
                              "confidence": round(reading.confidence, 3)} for chain, reading in self.attempts]}


class PhotoReader:
    """Reads the text in photographs; a rule or a trained policy chooses how they are prepared, and when to stop.

    Args:
        engine: "tesseract", "rapidocr", an `Engine` of your own, or None: Tesseract, or else RapidOCR.
        planner: None: the rule (`rlenhance.ocr.planner.RulePlanner`), or with a price the trained policy, which is as
            accurate on rendered scenes with half of the reads.
        most: how often a photograph is read at most.
        price: what a read must gain in character accuracy, for the trained policy.
        best: read through every chain, and take what the readings support best.
        plain: read the photograph as it is too, for comparison.

    Raises:
        UsageError: an engine that is not installed (the message says how to install it); a number outside its range.

    Example:
        >>> from rlenhance.ocr.engines import FunctionEngine
        >>> reader = PhotoReader(FunctionEngine(lambda picture: ("exit", 0.9)))
        >>> reader(np.zeros((48, 200, 3), np.uint8)).text
        'exit'
    """

    def __init__(self, engine: Engine | str | None = None, planner: ReadPlanner | None = None, *, most: int = 6,
                 price: float | None = None, best: bool = False, plain: bool = False):
        if most < 1:
            raise UsageError(f"most must be at least 1 read; got {most}")
        self.engine = default_engine() if engine is None else engine_of(engine) if isinstance(engine, str) else engine
        usual = RulePlanner() if price is None else TrainedPlanner(price=price)
        self.planner = EveryChain() if best else planner or usual
        self.most, self.plain = len(self.planner.chains) if best else most, plain

    def __call__(self, pixels: np.ndarray) -> ReadResult:
        """Read a photograph: (H, W, 3) or (H, W), uint8 or uint16."""
        grey = grey_of(pixels)
        scale = min(1.0, SIDE / max(grey.shape))
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        prepared, readings = Prepared(grey), dict[int, Reading]()
        while len(readings) < self.most:
            place = self.planner.next(grey, readings, 1 - len(readings) / self.most)
            if place is None and not readings:
                place = 0  # who asks for text gets one reading
            if place is None:
                break
            readings[place] = self._read(prepared, self.planner.chains[place])
        made = [(self.planner.chains[place], reading) for place, reading in readings.items()]
        chosen = best_reading([reading for _, reading in made])
        if self.plain and all(chain.filters for chain, _ in made):
            made.append((_PLAIN, self._read(prepared, _PLAIN)))
        made = [(chain, scaled(reading, 1 / scale)) for chain, reading in made]
        return ReadResult(made[chosen][1], made[chosen][0], tuple(made), prepared.after(made[chosen][0].filters))

    def _read(self, prepared: Prepared, chain: ReadChain) -> Reading:
        page = prepared.after(()).shape[0] > _PAGE and chain.layout == "block"
        return prepared.read(self.engine, chain._replace(layout="auto") if page else chain)

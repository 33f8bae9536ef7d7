"""Text in photographs: prepared, read, and read again another way where the first reading does not convince.

This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance_read.ocr.cache import Prepared
from rlenhance_read.ocr.consensus import best_reading
from rlenhance_read.ocr.engines import Engine, default_engine, engine_of
from rlenhance_read.ocr.filters import ReadChain, chain_versions, grey_of
from rlenhance_read.ocr.planner import EveryChain, ReadPlanner, RulePlanner, TrainedPlanner
from rlenhance_read.ocr.readings import Reading, as_objects, scaled
from rlenhance_read.ocr.text_gate import TextGate, gate_of
from rlenhance_read.tools import add_tools, read_chains

#: Longer side in pixels to which larger photographs are reduced before they are read.
SIDE = 2400
_PAGE = 400  # pixels: what is higher may be a page, in which an engine looks for blocks of text
_PLAIN = ReadChain()


@dataclass(frozen=True)
class ReadResult:
    """What was read in a photograph.

    Attributes:
        reading: the answer, without words where the photograph has no text; boxes are in pixels of the photograph.
        chain: how it was read.
        attempts: all readings with their chains, in order.
        prepared: (h, w) uint8, the picture that the engine read for the answer.
        evidence: that there is text at all, in [0, 1], see `rlenhance_read.ocr.text_gate`; None where it was not
            judged.
        doubtful: what was read and is taken for no text; None where the answer stands.
    """

    reading: Reading
    chain: ReadChain
    attempts: tuple[tuple[ReadChain, Reading], ...]
    prepared: np.ndarray
    evidence: float | None = None
    doubtful: Reading | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self.reading.text

    @property
    def found(self) -> bool:
        """Whether there is text."""
        return bool(self.reading.words)

    @property
    def plain(self) -> Reading | None:
        """What the engine reads in the photograph as it is, where that was tried."""
        return next((reading for chain, reading in self.attempts if not chain.filters), None)

    def to_json(self) -> Mapping[str, Any]:
        """Text, whether there is any, confidence, chain, words, and the attempts."""
        plain, evidence, doubtful = self.plain, self.evidence, self.doubtful
        return {"text": self.text, "found": self.found, "evidence": None if evidence is None else round(evidence, 3),
                "confidence": round(self.reading.confidence, 3), "chain": [*self.chain.filters],
                "layout": self.chain.layout, "reads": len(self.attempts), "words": as_objects(self.reading),
                "doubtful": None if doubtful is None else {"text": doubtful.text,
                                                           "confidence": round(doubtful.confidence, 3)},
                "plain": None if plain is None else {"text": plain.text, "confidence": round(plain.confidence, 3)},
                "attempts": [{"chain": [*chain.filters], "layout": chain.layout, "text": reading.text,
                              "confidence": round(reading.confidence, 3)} for chain, reading in self.attempts]}


class PhotoReader:
    """Reads the text in photographs; a rule or a trained policy chooses how they are prepared, and when to stop.

    Args:
        engine: "tesseract", "rapidocr", an `Engine` of your own, or None: RapidOCR where it is installed, or else
            Tesseract.
        planner: None: the rule (`rlenhance_read.ocr.planner.RulePlanner`), or with a price the trained policy, which is
            as accurate on rendered scenes with half of the reads.
        most: how often a photograph is read at most.
        price: what a read must gain in character accuracy, for the trained policy.
        best: read through every chain, and take what the readings support best.
        plain: read the photograph as it is too, for comparison.
        tools: ways to read in the order in which the rule tries them, in place of its own: texts that name filters and
            tools, see `rlenhance_read.tools.read_chain`.
        gate: tells readings of text from those of none, which give an answer without words; None: the one of the
            engine, if it has one (`rlenhance_read.ocr.text_gate`); False: every reading is an answer.

    Raises:
        UsageError: an engine that is not installed (the message says how to install it); a number outside its range;
            a filter or tool that is unknown; tools beside a planner or a price.

    Example:
        >>> from rlenhance_read.ocr.engines import FunctionEngine
        >>> reader = PhotoReader(FunctionEngine(lambda picture: ("exit", 0.9)))
        >>> reader(np.zeros((48, 200, 3), np.uint8)).text
        'exit'
    """

    def __init__(self, engine: Engine | str | None = None, planner: ReadPlanner | None = None, *, most: int = 6,
                 price: float | None = None, best: bool = False, plain: bool = False,
                 tools: Sequence[str | ReadChain] = (), gate: TextGate | bool | None = None):
        if most < 1:
            raise UsageError(f"most must be at least 1 read; got {most}")
        if tools and (planner is not None or price is not None):
            raise UsageError("tools are read in their order; leave out the planner and the price")
        self.engine = default_engine() if engine is None else engine_of(engine) if isinstance(engine, str) else engine
        ways = read_chains(tools)
        usual = RulePlanner(range(len(ways)), chains=ways) if ways else RulePlanner() if price is None else \
            TrainedPlanner(price=price)
        self.planner = EveryChain(*([ways] if ways else [])) if best else planner or usual
        for chain in self.planner.chains:
            add_tools(chain.filters)
        self._colors = any(chain_versions(chain) for chain in self.planner.chains)
        self.gate = gate_of(self.engine) if gate is None or gate is True else gate or None
        self.most, self.plain = len(self.planner.chains) if best else most, plain

    def __call__(self, pixels: np.ndarray) -> ReadResult:
        """Read a photograph: (H, W, 3) or (H, W), uint8 or uint16."""
        scale = min(1.0, SIDE / max(pixels.shape[:2]))
        grey = _reduced(grey_of(pixels), scale)
        prepared = Prepared(_reduced(pixels, scale) if self._colors else grey)
        readings = dict[int, Reading]()
        while len(readings) < self.most:
            place = self.planner.next(grey, readings, 1 - len(readings) / self.most)
            if place is None and not readings:
                place = 0  # who asks for text gets one reading
            if place is None:
                break
            readings[place] = self._read(prepared, self.planner.chains[place])
        made = [(self.planner.chains[place], reading) for place, reading in readings.items()]
        chosen = best_reading([reading for _, reading in made])
        evidence = None if self.gate is None else self.gate([reading for _, reading in made], chosen)
        if self.plain and all(chain.filters for chain, _ in made):
            made.append((_PLAIN, self._read(prepared, _PLAIN)))
        made = [(chain, scaled(reading, 1 / scale)) for chain, reading in made]
        answer, doubtful = made[chosen][1], None
        if evidence is not None and self.gate is not None and evidence < self.gate.threshold and answer.words:
            answer, doubtful = Reading(), answer
        return ReadResult(answer, made[chosen][0], tuple(made), prepared.after(made[chosen][0].filters), evidence,
                          doubtful)

    def _read(self, prepared: Prepared, chain: ReadChain) -> Reading:
        page = prepared.after(()).shape[0] > _PAGE and chain.layout == "block"
        return prepared.read(self.engine, chain._replace(layout="auto") if page else chain)


def _reduced(picture: np.ndarray, scale: float) -> np.ndarray:
    return picture if scale == 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

"""Whether what an engine has read is text at all: in a photograph without any, engines read signs into its texture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlenhance_read.ocr.engines import Engine
from rlenhance_read.ocr.readings import Reading, agreement, plain, statistics

#: Confidence from which on an answer is text; no training photograph without text is read so.
SURE = 0.99
#: Names of the numbers of `gate_numbers`.
GATE_NUMBERS = ("confidence", "lowest", "sure", "characters", "letters and digits", "odd", "mixed", "lonely",
                "agreement", "nothing read")


def gate_numbers(readings: Sequence[Reading], chosen: int) -> np.ndarray:
    """What is seen of the readings of a photograph: (10,) float32.

    Statistics of the answer (`rlenhance_read.ocr.readings.statistics`), the best agreement of another reading with it,
    and the share of readings that have no words.

    Args:
        readings: all of them.
        chosen: the number of the answer.
    """
    answer = readings[chosen]
    confidence, lowest, sure, _, _, _, letters, digits, odd, mixed, lonely = statistics(answer).tolist()
    others = np.delete(agreement([reading.text for reading in readings])[chosen], chosen)
    return np.array([confidence, lowest, sure, math.log1p(len(plain(answer.text))) / 5, letters + digits, odd, mixed,
                     lonely, others.max(initial=0), np.mean([not reading.words for reading in readings])], np.float32)


@dataclass(frozen=True)
class TextGate:
    """A logistic regression of whether there is text; what the engine is sure of is text, however short.

    Attributes:
        weights: of `gate_numbers`.
        bias: beside them.
        threshold: evidence below which an answer is taken for no text.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def __call__(self, readings: Sequence[Reading], chosen: int) -> float:
        """The evidence that there is text, in [0, 1]; 0 where the answer has no words, 1 where it is `SURE`."""
        if not readings[chosen].words:
            return 0.0
        if readings[chosen].confidence >= SURE:
            return 1.0
        score = float(np.dot(gate_numbers(readings, chosen), self.weights)) + self.bias
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


#: The gates by engine, fitted by `rlenhance_read.scripts.fit_text_gate` (docs/results/read.md).
GATES: dict[str, TextGate] = {
    "rapidocr": TextGate((2.663, 3.144, 1.049, 5.322, -2.774, 2.077, -0.139, -2.542, -0.779, -3.837), -3.549, 0.522),
    "tesseract": TextGate((3.609, 0.288, 3.796, 7.145, 1.671, -2.431, -4.217, -3.811, 2.005, -3.058), -8.813, 0.205),
}


def gate_of(engine: Engine) -> TextGate | None:
    """The gate of an engine; None for a user-defined one."""
    return GATES.get(engine.name)

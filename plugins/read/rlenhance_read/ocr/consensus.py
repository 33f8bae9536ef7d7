"""Which of several readings of one picture is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlenhance_read.ocr.readings import Reading, agreement


def consensus(confidences: np.ndarray, agreements: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How well each reading is supported: its own confidence squared, and that of the others as far as they agree.

    The best supported one is the answer. Of two readings it is the one with more confidence; of more, one that others
    repeat wins against a lonely one that is sure of itself.

    Args:
        confidences: (..., C) in [0, 1].
        agreements: (..., C, C), see `rlenhance_read.ocr.readings.agreement`.
        known: (..., C) bool: which readings there are.

    Returns:
        (..., C) in [0, C]; -1 where there is no reading.

    Source: the choice of least Bayes risk (Goel and Byrne 2000), with squared confidences for probabilities.
    """
    weights = np.where(known, confidences, 0) ** 2
    found = (agreements * weights[..., None, :]).sum(axis=-1)
    return np.where(known, found + 1e-6 * weights, -1.0)


def best_reading(readings: Sequence[Reading]) -> int:
    """The number of the answer among readings of one picture.

    Example:
        >>> from rlenhance_read.ocr.readings import Word
        >>> made = [Reading((Word(text, sure, (0, 0, 9, 9)),)) for text, sure in (("exit", 0.6), ("oxit", 0.7),
        ...                                                                       ("exit", 0.6))]
        >>> best_reading(made)
        0
    """
    confidences = np.array([reading.confidence for reading in readings])
    texts = agreement([reading.text for reading in readings])
    return int(consensus(confidences, texts, np.ones(len(readings), bool)).argmax())

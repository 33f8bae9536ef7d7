"""What a policy sees while it reads a picture: in training, and in use without torch."""

from __future__ import annotations

import numpy as np

from rlenhance_read.ocr.consensus import consensus
from rlenhance_read.ocr.picture_statistics import MOST, PICTURE_STATISTICS
from rlenhance_read.ocr.readings import STATISTICS

#: Numbers of each chain: whether it was read, its statistics, its agreement with the answer, whether it is the answer.
CHAIN_NUMBERS = len(STATISTICS) + 3
#: Numbers of the answer: its support in shares of the most that it could have, its confidence, the second best one's
#: support beside its own, and the share of chains that were read.
ANSWER_NUMBERS = 4


def answers(confidences: np.ndarray, agreements: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The number of the best supported reading of each picture: (N, C), (N, C, C), (N, C) -> (N,); -1 without any."""
    support = consensus(confidences, agreements, known)
    return np.where(known.any(axis=-1), support.argmax(axis=-1), -1)


def seen_readings(statistics: np.ndarray, agreements: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What is seen of the readings so far.

    Args:
        statistics: (N, C, S), see `rlenhance_read.ocr.readings.statistics`; the first is the confidence.
        agreements: (N, C, C).
        known: (N, C) bool.

    Returns:
        (N, C * CHAIN_NUMBERS + ANSWER_NUMBERS) float32; zeros where nothing was read.
    """
    confidences, count = statistics[..., 0], len(known)
    support, answer = consensus(confidences, agreements, known), answers(confidences, agreements, known)
    rows, place = np.arange(count), answer.clip(0)
    chosen = (np.arange(known.shape[1]) == answer[:, None]) & known
    each = np.concatenate([known[..., None], statistics, agreements[rows, place][..., None], chosen[..., None]], axis=2)
    each = each * known[..., None]
    most = (np.where(known, confidences, 0) ** 2).sum(axis=1)
    best = support[rows, place].clip(0)
    second = np.where(chosen, -1, support).max(axis=1).clip(0)
    about = np.stack([best / (most + 1e-3), np.where(answer < 0, 0, confidences[rows, place]),
                      second / (best + 1e-3), known.mean(axis=1)], axis=1)
    return np.concatenate([each.reshape(count, -1), about], axis=1).astype(np.float32).clip(-MOST, MOST)


def observation_size(chains: int) -> int:
    """Numbers that a policy sees: the picture's, the readings', the share of steps left, and the price."""
    return len(PICTURE_STATISTICS) + chains * CHAIN_NUMBERS + ANSWER_NUMBERS + 2

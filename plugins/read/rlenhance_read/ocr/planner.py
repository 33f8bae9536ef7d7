"""Who chooses the next read of a picture: a rule, a trained policy, run in NumPy, or every chain in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.preferences import PreferenceRanges
from rlenhance_read.ocr.consensus import best_reading
from rlenhance_read.ocr.filters import CHAINS, ReadChain
from rlenhance_read.ocr.observation import observation_size, seen_readings
from rlenhance_read.ocr.picture_statistics import picture_statistics
from rlenhance_read.ocr.readings import Reading, agreement, statistics

#: The trained policy that comes with the package.
POLICY = Path(__file__).with_name("read_policy.npz")


#: Chains of the rule: each added to those before it makes the best answers on training scenes.
ORDER = (10, 7, 4, 2, 9, 11)


class ReadPlanner(Protocol):
    """Chooses among chains."""

    chains: Sequence[ReadChain]

    def next(self, grey: np.ndarray, readings: dict[int, Reading], left: float) -> int | None:
        """The number of the chain to read next, or None to stop.

        Args:
            grey: (H, W) uint8.
            readings: what was read so far, by the number of the chain.
            left: share of the reads that are left, in [0, 1].
        """


class EveryChain:
    """Reads through every chain."""

    def __init__(self, chains: Sequence[ReadChain] = CHAINS):
        self.chains = chains

    def next(self, grey: np.ndarray, readings: dict[int, Reading], left: float) -> int | None:
        """See `ReadPlanner.next`."""
        return next((place for place in range(len(self.chains)) if place not in readings), None)


class RulePlanner:
    """Reads in a fixed order until the answer is sure, or until another reading agrees with it.

    The order and the thresholds are chosen on training and validation scenes (docs/results/read.md).

    Args:
        order: numbers of chains.
        sure: confidence of the answer from which on nothing more is read.
        agreed: agreement of another reading with the answer from which on nothing more is read.
        chains: see `ReadPlanner`.
    """

    def __init__(self, order: Sequence[int] = ORDER, sure: float = 0.85, agreed: float = 0.9,
                 chains: Sequence[ReadChain] = CHAINS):
        self.order, self.sure, self.agreed, self.chains = order, sure, agreed, chains

    def next(self, grey: np.ndarray, readings: dict[int, Reading], left: float) -> int | None:
        """See `ReadPlanner.next`."""
        following = next((place for place in self.order if place not in readings), None)
        if not readings:
            return following
        made = list(readings.values())
        best = best_reading(made)
        others = np.delete(agreement([reading.text for reading in made])[best], best)
        done = made[best].confidence >= self.sure or others.max(initial=0) >= self.agreed
        return None if done else following


class TrainedPlanner:
    """A policy of `rlenhance_read.train` as plain arrays.

    Args:
        path: the arrays, see `rlenhance_read.scripts.package_reader`.
        price: of a read, in character accuracy; None: the policy's default.

    Raises:
        UsageError: no such file, or a damaged one; a price outside the policy's range.
    """

    def __init__(self, path: Path = POLICY, price: float | None = None):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._arrays = {name: arrays[name] for name in arrays.files}
            self.chains = [ReadChain(tuple(str(words).split()), str(layout))
                           for words, layout in zip(self._arrays["filters"], self._arrays["layouts"], strict=True)]
            weights = [self._arrays[f"{part}{number}"].astype(np.float32) for number in range(3) for part in "wb"]
            self._center, self._spread = (self._arrays[name].astype(np.float32) for name in ("center", "spread"))
            low, usual, high = self._arrays["prices"].tolist()
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path}: no policy that reads ({one_line(error)})") from error
        self._layers = [*zip(weights[::2], weights[1::2], strict=True)]
        if self._layers[0][0].shape[1] != observation_size(len(self.chains)):
            raise UsageError(f"{path}: a policy of another version of the package; train it again")
        prices = PreferenceRanges({"price": (low, usual, high)})
        self._price = float(prices.row(None if price is None else {"price": price})[0])

    def next(self, grey: np.ndarray, readings: dict[int, Reading], left: float) -> int | None:
        """See `ReadPlanner.next`."""
        scores = self.scores(picture_statistics(grey), readings, left)
        scores[list(readings)] = -np.inf
        best = int(scores.argmax())
        return None if best == len(self.chains) else best

    def scores(self, look: np.ndarray, readings: dict[int, Reading], left: float) -> np.ndarray:
        """The score of each chain, and of stopping: (C + 1,)."""
        known = np.zeros((1, len(self.chains)), bool)
        numbers = np.zeros((1, len(self.chains), len(statistics(Reading()))), np.float32)
        texts = np.zeros((1, len(self.chains), len(self.chains)), np.float32)
        places = list(readings)
        for place, reading in readings.items():
            known[0, place], numbers[0, place] = True, statistics(reading)
        if places:
            texts[0][np.ix_(places, places)] = agreement([reading.text for reading in readings.values()])
        seen = np.concatenate([look, seen_readings(numbers, texts, known)[0]])
        values = np.concatenate([(seen - self._center) / self._spread, [left, self._price]]).astype(np.float32)
        for number, (weight, bias) in enumerate(self._layers):
            values = weight @ values + bias
            if number < len(self._layers) - 1:
                values = values.clip(0)
        return values

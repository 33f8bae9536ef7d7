"""What an engine has read in a picture, and how much of a text it got right."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Word:
    """A word, or what an engine returns as one: some return whole lines.

    Attributes:
        text: without white space at its ends.
        confidence: of the engine, in [0, 1].
        box: left, top, width and height in pixels of the picture that was read.
        line: number of its line, from the top.
    """

    text: str
    confidence: float
    box: tuple[int, int, int, int]
    line: int = 0


@dataclass(frozen=True)
class Reading:
    """All words of a picture, in reading order.

    Example:
        >>> Reading((Word("two", 0.9, (0, 0, 9, 9)), Word("lines", 0.7, (0, 20, 15, 9), line=1))).text
        'two\\nlines'
    """

    words: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """The words with a blank between them, and a line of text for each line."""
        return "\n".join(" ".join(word.text for word in words)
                         for _, words in groupby(self.words, lambda word: word.line))

    @property
    def confidence(self) -> float:
        """The mean confidence of the characters, those of a word having that of the word; 0 without words."""
        lengths = [len(word.text) for word in self.words]
        if not sum(lengths):
            return 0.0
        return float(np.average([word.confidence for word in self.words], weights=lengths))

    def to_json(self) -> list[list[Any]]:
        """The words as JSON."""
        return [[word.text, round(word.confidence, 4), [*word.box], word.line] for word in self.words]

    @classmethod
    def from_json(cls, words: Sequence[Sequence[Any]]) -> Reading:
        """The reading of `to_json`.

        Raises:
            ValueError: they are none.
        """
        try:
            found = tuple(Word(text, float(confidence), (int(left), int(top), int(width), int(height)), int(line))
                          for text, confidence, (left, top, width, height), line in words)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"no words of a reading: {words!r:.80}") from error
        if not all(isinstance(word.text, str) and 0 <= word.confidence <= 1 for word in found):
            raise ValueError(f"no words of a reading: {words!r:.80}")
        return cls(found)


def plain(text: str) -> str:
    """A text with single blanks between its words, whatever the lines."""
    return re.sub(r"\s+", " ", text).strip()


def edit_distance(one: str, other: str) -> int:
    """The least number of characters that are inserted, left out or replaced to turn one text into the other.

    Example:
        >>> edit_distance("kitten", "sitting")
        3

    Source: Levenshtein 1966, as bits of whole numbers (Myers 1999, in the form of Hyyro 2003).
    """
    if not one or not other:
        return len(one) + len(other)
    places: dict[str, int] = {}
    for place, letter in enumerate(one):
        places[letter] = places.get(letter, 0) | 1 << place
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = every, 0, len(one)  # where the column of the table rises and falls from row to row
    for letter in other:
        equal = places.get(letter, 0)
        vertical, horizontal = equal | down, (((equal & up) + up) ^ up) | equal
        right, left = (down | ~(horizontal | up)) & every, up & horizontal
        distance += bool(right & last) - bool(left & last)
        right, left = right << 1 | 1, left << 1
        up, down = (left | ~(vertical | right)) & every, right & vertical & every
    return distance


def character_accuracy(read: str, truth: str) -> float:
    """1 less the edit distance in lengths of the true text, at least 0; white space counts as one blank.

    Args:
        read: what was read.
        truth: what is written there.

    Returns:
        In [0, 1]; 1 where nothing is written and nothing was read.

    Example:
        >>> character_accuracy("he11o", "hello")
        0.6
    """
    read, truth = plain(read), plain(truth)
    if not truth:
        return float(not read)
    return max(0.0, 1 - edit_distance(read, truth) / len(truth))


#: Names of the numbers of `statistics`.
STATISTICS = ("confidence", "lowest", "sure", "characters", "words", "lines", "letters", "digits", "odd", "mixed",
              "lonely")


def statistics(reading: Reading) -> np.ndarray:
    """What can be said of a reading without knowing the text: (11,) float32, about 0 to 1.

    The confidence; the lowest of a word; the share of characters in words above 0.8; logarithms of the numbers of
    characters and words, and the number of lines; the shares of letters, digits and odd signs; of words that mix
    letters with digits or capitals with small letters; and of words of one sign.
    """
    if not reading.words:
        return np.zeros(len(STATISTICS), np.float32)
    text = "".join(word.text for word in reading.words)
    count, words = max(1, len(text)), [word.text for word in reading.words]
    sure = sum(len(word.text) for word in reading.words if word.confidence > 0.8) / count
    letters, digits = (sum(map(kind, text)) / count for kind in (str.isalpha, str.isdigit))
    odd = sum(not letter.isalnum() and letter not in ".,:-/" for letter in text) / count
    mixed = sum(_mixed(word) for word in words) / len(words)
    return np.array([reading.confidence, min(word.confidence for word in reading.words), sure, math.log1p(count) / 5,
                     math.log1p(len(words)) / 3, len({word.line for word in reading.words}) / 5, letters, digits, odd,
                     mixed, sum(len(word) == 1 for word in words) / len(words)], np.float32)


def _mixed(word: str) -> bool:
    core = word.strip(".,:;!?()'\"")
    cased = core.isalpha() and not (core.islower() or core.isupper() or core.istitle())
    return cased or (any(map(str.isdigit, core)) and any(map(str.isalpha, core)))


def agreement(texts: Sequence[str]) -> np.ndarray:
    """How much each text agrees with each other one: (N, N) float32 in [0, 1], 1 less the edit distance in lengths of
    the longer of the two; two empty ones agree by 0, as nothing was read."""
    plains = [plain(text) for text in texts]
    found = np.eye(len(texts), dtype=np.float32)
    known: dict[tuple[str, str], float] = {}
    for row, one in enumerate(plains):
        for column in range(row):
            pair = (one, plains[column]) if one < plains[column] else (plains[column], one)
            if pair not in known:
                longest = max(map(len, pair))
                known[pair] = 1 - edit_distance(*pair) / longest if longest else 0.0
            found[row, column] = found[column, row] = known[pair]
    return found


def scaled(reading: Reading, factor: float) -> Reading:
    """A reading with its boxes in pixels of a picture `factor` times as large."""
    if factor == 1:
        return reading
    words = []
    for word in reading.words:
        left, top, width, height = (round(side * factor) for side in word.box)
        words.append(Word(word.text, word.confidence, (left, top, width, height), word.line))
    return Reading(tuple(words))


def as_objects(reading: Reading) -> list[Mapping[str, Any]]:
    """The words with names for everything, for people who read JSON."""
    return [{"text": word.text, "confidence": round(word.confidence, 3), "box": [*word.box], "line": word.line}
            for word in reading.words]

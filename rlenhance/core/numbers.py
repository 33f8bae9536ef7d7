"""Numbers from users and requests: finite, and small enough to compute with."""

from __future__ import annotations

import math

from rlenhance.core.errors import UsageError

#: The largest size of a number of an option or a field: seconds, bytes and pixels made of it stay within 64 bits.
LARGEST = 1e9


def parse_number(word: str, whole: bool = False) -> float:
    """The number that a word stands for.

    Args:
        word: as typed.
        whole: it must be a whole one.

    Raises:
        ValueError: it is no number.
        UsageError: it is not finite, or beyond `LARGEST`.

    Example:
        >>> parse_number("0.45"), parse_number("12", whole=True)
        (0.45, 12)
        >>> parse_number("1e300")
        Traceback (most recent call last):
        rlenhance.core.errors.UsageError: a number must be finite and at most 1e+09 in size; got '1e300'
    """
    if not whole or len(word) > 20:
        value = float(word)
        if not math.isfinite(value) or abs(value) > LARGEST:
            raise UsageError(f"a number must be finite and at most {LARGEST:g} in size; got {word!r:.40}")
    if not whole:
        return value
    number = int(word)
    if abs(number) > LARGEST:
        raise UsageError(f"a number must be at most {LARGEST:g} in size; got {word!r:.40}")
    return number

"""Damage JSON: other types, numbers beyond any range, deep nesting, long lists, missing, unknown and repeated keys."""

import copy
import json
import random
from typing import Any

_VALUES = (None, True, False, -1, 0, 1, 2, 7, 100, 101, 255, 20_000, 10**9, 2**31, 2**63, 10**30, -(2**63), 0.5, -0.0,
           1e-300, 1e308, float("nan"), float("inf"), -float("inf"), "", "auto", "nonsense", "../..", "/dev/zero",
           "\0", "\ud800", "x" * 100_000, [], {}, [[]], [0] * 1000, [1] * 200_000, {"name": "compact"},
           {"name": "nonsense"}, {"name": 1})


def mutated(rng: random.Random, value: Any, words: tuple[str, ...] = ()) -> bytes:
    """The text of a JSON value after one to four changes.

    Args:
        rng: the random stream.
        value: whole.
        words: texts that may stand in it: names of registries and files.
    """
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = _changed(rng, value, words)
    text = json.dumps(value, allow_nan=True)
    way = rng.randrange(12)
    if way == 0:
        at = rng.randrange(len(text) + 1)
        added = rng.choice(("[" * 50_000, '{"a":' * 50_000, "1e999", "9" * 5000, '"', ",", "\x00", "\xff"))
        text = text[:at] + added + text[at:]
    elif way == 1:
        text = text[: rng.randrange(len(text) + 1)]
    elif way == 2:
        text = text.replace("{", '{"name": "twice", ', 1)
    return text.encode("latin-1" if way == 0 else "utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value."""
    found, left = [], [value]
    while left:
        item = left.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            left.append(item[key])
    return found


def _changed(rng: random.Random, value: Any, words: tuple[str, ...]) -> Any:
    places = _places(value)
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(_VALUES))
    holder, key = rng.choice(places)
    way, old = rng.randrange(10), holder[key]
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        name = rng.choice(("nonsense", "width", "horizon", "prior", "plugins", "\0", "name"))
        holder[name] = copy.deepcopy(rng.choice(_VALUES))
    elif way == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(rng.choice(_VALUES)))
    elif way == 3:
        deep: Any = old
        for _ in range(rng.choice((1, 3, 60, 200))):
            deep = [deep] if rng.random() < 0.5 else {"name": deep}
        holder[key] = deep
    elif way == 4 and isinstance(old, int | float):
        holder[key] = old * rng.choice((-1, 0.5, 2, 10, 1000, 1e6, 1e9))
    elif way == 5 and isinstance(old, str) and words:
        holder[key] = rng.choice(words)
    elif way == 6:
        other, place = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[place]))
    else:
        holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return value

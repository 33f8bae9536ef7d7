"""Ledgers and dialogues of an interrupted run, damaged or made up: gone on with, or refused by name."""

import json
from functools import cache

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.looks.taste import TasteSession, resume
from rlenhance.many.ledger import Ledger
from rlenhance.pipelines.enhance import Enhancer
from tests.stress._json import mutated
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property

_MADE_BY = {"command": "enhance", "version": "1"}


@cache
def _enhancer():
    return Enhancer("natural")


@cache
def _photos():
    return {f"{n}.png": np.random.default_rng(n).integers(0, 90, (12, 16, 3), dtype=np.uint8) for n in range(2)}


@cache
def _dialogue():
    session = TasteSession(_enhancer(), _photos(), options=3, seed=1)
    for answer in (0, 2):
        session.question()
        session.answer(answer)
    return json.loads(session.to_json())


def _ledger(count):
    lines = [{"kind": "rlenhance ledger", "format": 1, "made_by": _MADE_BY}]
    lines += [{"status": "written", "target": f"out/{n}.png", "source": f"in/{n}.png", "stamp": "1-2",
               "sha256": "a" * 64, "result_stamp": "3-4", "result_sha256": "b" * 64} for n in range(count)]
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def cases(rng):
    """Bytes are changed, or values of the JSON."""
    while True:
        if rng.random() < 0.6:
            yield Case("run.jsonl", damaged(rng, _ledger(rng.choice((0, 1, 30)))))
        elif rng.random() < 0.5:
            yield Case("look.taste.json", mutated(rng, _dialogue(), ("skip", "neither", "natural")))
        else:
            yield Case("look.taste.json", damaged(rng, json.dumps(_dialogue()).encode()))


def check(case, folder):
    """A ledger is opened twice and takes another line; a dialogue goes on to a look of finite numbers."""
    place = folder / case.name
    place.write_bytes(case.data)
    if case.name.endswith(".jsonl"):
        try:
            with Ledger(place, _MADE_BY) as ledger:
                first = dict(ledger.finished)
                ledger.append({"status": "failed", "source": "x"})
        except UsageError:
            if place.read_bytes() != case.data and not case.data.startswith(place.read_bytes()):
                raise Broken("a refused file was changed") from None
            raise
        with Ledger(place, _MADE_BY) as again:
            if dict(again.finished) != first:
                raise Broken("a second look finds other lines")
        return
    session = resume(case.data, place, _enhancer(), _photos())
    session.question()
    look = session.look()
    if "NaN" in look.to_json() or "Infinity" in look.to_json():
        raise Broken("a look of no numbers")


PROPERTY = Property("stored_states", "A damaged ledger or dialogue is gone on with, or refused by its name; a file "
                    "that is none stays as it was.", cases, check, share=0.4, seconds=20, mib=500, block=25, short=6)

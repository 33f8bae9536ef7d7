"""Hostile arguments and bodies of the page's events: files, addresses, odd types, odd numbers, odd JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

_PLACES = ["/etc/passwd", "/dev/zero", "/proc/self/environ", "../../../../etc/passwd", "~/.ssh/id_rsa", "/", "C:\\x",
           "//host.invalid/share/x.png", "file:///etc/passwd", "http://host.invalid/x.png", "https://host.invalid/",
           "http://169.254.169.254/latest", "ftp://host.invalid/x", "data:text/plain;base64,aGk=", "gopher://x:1/_",
           "\\\\host.invalid\\x", "http://127.0.0.1:1/x", "hf://x/y", "/dev/stdin", "/proc/self/mem", "\0", "/tmp",
           "/gradio_api/file=/etc/passwd", "javascript:alert(1)", "data:image/png;base64,iVBORw0KGgo=", "", ".env"]
_SPELLINGS = [("path", "meta", "_type"), ("PATH", "Meta", "_TYPE"), ("p\u0430th", "meta", "_type"),
              ("path", "meta", "__type__"), (" path", "meta ", "_type")]
_KINDS = ["gradio.FileData", "gradio.fileData", "FileData", "gradio.FileData ", None, 1]
_PLAIN: list[Any] = [None, True, False, 0, -1, 1, 2**31, 2**64, -(2**63), 10**40, 1.5, -0.0, 1e308, 5e-324,
                     "x" * 100_000, "\u0000", "\ud800", "\u202e", "<script>", "0" * 32, ["0" * 32],
                     '["' + "0" * 32 + '"]', '["../../etc/passwd"]', '["' + "a" * 32 + '", "/etc/passwd"]',
                     '[["' + "0" * 32 + '"]]', "NaN", [], {}, [[]], [None], [{}], {"": ""}, {"value": 1}, "natural",
                     "[" * 5000, "relight", "as the original", {"__type__": "update", "value": "/etc/passwd"},
                     {"__type__": "update", "choices": []}]


def arguments(seed: int, count: int) -> Iterator[Any]:
    """Values for one argument of an event."""
    rng = random.Random(seed)
    for number in range(count):
        value = _PLAIN[number // 3 % len(_PLAIN)] if number % 3 == 0 else _file(rng)
        yield _wrapped(rng, value, rng.choice((0, 0, 1, 2, 5)))


def _file(rng: random.Random) -> Any:
    place = rng.choice(_PLACES)
    path, meta, kind = rng.choice(_SPELLINGS) if rng.random() < 0.3 else _SPELLINGS[0]
    found: dict[str, Any] = {path: place, meta: {kind: rng.choice(_KINDS) if rng.random() < 0.3 else _KINDS[0]}}
    for name, value in (("url", rng.choice(_PLACES)), ("is_stream", rng.choice([True, "yes", 1])), ("size", -1),
                        ("orig_name", "../x"), ("mime_type", "image/svg+xml"), ("value", dict(found))):
        if rng.random() < 0.25:
            found[name] = value
    return rng.choice([found, found, found, place, [place], {"url": place}, {"path": place}, json.dumps(found),
                       json.dumps([found]), {"video": found, "image": found}, [found, "caption"]])


def _wrapped(rng: random.Random, value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = rng.choice([[value], {"value": value}, {"x": value}, [None, value], {"path": value},
                            {"files": [value]}])
    return value


def bodies(number: int, length: int, seed: int, count: int) -> Iterator[bytes]:
    """Bodies of an event: a hostile argument in one place of its `length`, or a body that is odd as a whole."""
    rng = random.Random(seed)
    for value in arguments(seed, count):
        values: list[Any] = [None] * length
        if length:
            values = [rng.choice([None, True, 0.5, "", "natural", "as the original"]) for _ in range(length)]
            values[rng.randrange(length)] = value
        body: dict[str, Any] = {"data": values, "fn_index": number, "session_hash": f"hostile{seed % 7}",
                                "event_data": None, "trigger_id": None}
        odd = rng.randrange(8)
        if odd == 0:
            body["event_data"] = value
        elif odd == 1:
            body["data"] = rng.choice([value, [value] * (length + 1), {"0": value}, None])
        elif odd == 2:
            body[rng.choice(["request", "batched", "event_id", "oauth_token", "simple_format", "x"])] = value
        elif odd == 3:
            body[rng.choice(["fn_index", "trigger_id", "session_hash"])] = value
        text = json.dumps(body)
        if rng.random() < 0.1:
            text = rng.choice([text.replace('"data"', '"data": [], "data"', 1), "[" * 100_000, text[: len(text) // 2],
                               "", "null", text + text, text.replace("null", "NaN"), text.replace("null", "1e400"),
                               '{"a":' * 50_000, "\ufeff" + text, text.replace('"', "'"), "1" * 5000])
        yield text.encode("utf-8", "surrogatepass") if rng.random() < 0.97 else text.encode("utf-16")

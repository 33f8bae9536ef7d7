"""Events of the page, checked before Gradio sees them: known events, and plain values of the types of their inputs.

Gradio opens, copies or fetches whatever a value names that looks like one of its files (`{"path": ..., "meta": ...}`).
No input of this page is such a file: photographs come through `/upload` and are named by tokens. So every value is a
number, a switch, a choice, tokens or a painted mask, and anything else is refused here. What passes is written anew, so
that Gradio parses the value that was checked and no other reading of the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rlenhance.core.errors import UsageError
from rlenhance.web.components import LOOK_FILE

#: Form of Gradio's session names.
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKENS = re.compile(r'(\["[0-9a-f]{32}"(, ?"[0-9a-f]{32}")*\]|\[\])?')
_PAINTED = re.compile(r"(data:image/png;base64,[A-Za-z0-9+/]*={0,2})?")
_LARGEST = 1e6  # of a number; the sliders have their own ranges
_LONGEST, _MOST = 300, 500  # characters of a choice, and choices at a time
_UNREAD = 300  # messages to clients that wait in memory; a preview has half a megabyte
_LOOK = 100_000  # characters of the file of a look, which is parsed strictly
_KEYS = {"data", "event_data", "fn_index", "session_hash", "trigger_id"}
Check = Callable[[Any], bool]


@dataclass(frozen=True)
class PageEvent:
    """The inputs of one event.

    Attributes:
        checks: of its values, in order; None: a value that the server keeps, and that no client sends.
        selects: it carries the number of what was selected, or a place in a picture.
    """

    checks: tuple[Check | None, ...]
    selects: bool


class EventCheck:
    """Checks the body of an event.

    Args:
        page: with all of its events.

    Raises:
        TypeError: an event has an input whose values have no check yet.
    """

    def __init__(self, page: gr.Blocks):
        self._page = page
        changed = {block._id for event in page.fns.values() if event.fn is not None for block in event.outputs}
        self._blocks = frozenset(page.blocks)
        self.events: Mapping[int, PageEvent] = {
            number: PageEvent(tuple(_check(block, block._id in changed) for block in event.inputs),
                              any(kind == "select" for _, kind in event.targets))
            for number, event in page.fns.items() if event.fn is not None}

    def __call__(self, body: bytes) -> bytes:
        """The same event, written anew.

        Raises:
            UsageError: it is no event of this page.
        """
        asked = _parse(body)
        number, values, session = asked.get("fn_index"), asked.get("data"), asked.get("session_hash")
        event = self.events.get(number) if type(number) is int else None
        if event is None:
            raise UsageError(f"fn_index is the number of an event of this page; got {_short(number)}")
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise UsageError(f"session_hash is 1 to 64 letters and digits; got {_short(session)}")
        if not isinstance(values, list) or len(values) != len(event.checks):
            raise UsageError(f"data is a list of {len(event.checks)} values; got "
                             f"{len(values) if isinstance(values, list) else _short(values)}")
        for place, (value, check) in enumerate(zip(values, event.checks, strict=True)):
            if check is not None and not check(value):
                raise UsageError(f"value {place} of event {number} has a type or form that its input never sends; "
                                 f"got {_short(value)}")
        trigger, told = asked.get("trigger_id"), asked.get("event_data")
        told = None if told == {} else told
        if trigger is not None and not (type(trigger) is int and trigger in self._blocks):
            raise UsageError(f"trigger_id is null or the number of a component; got {_short(trigger)}")
        if told is not None and not (event.selects and _is_selection(told)):
            raise UsageError(f"event_data is null, or the number or place of what was selected; got {_short(told)}")
        self._drop_unread()
        given = [None if check is None else value for value, check in zip(values, event.checks, strict=True)]
        return json.dumps({"data": given, "event_data": told, "fn_index": number, "session_hash": session,
                           "trigger_id": trigger}, allow_nan=False).encode()

    def _drop_unread(self) -> None:
        """Forget messages of sessions that read none, the most first: Gradio would keep them all."""
        waiting = sorted(self._page._queue.pending_messages_per_session.values(), key=lambda queue: queue.qsize())
        unread = sum(queue.qsize() for queue in waiting)
        while unread > _UNREAD:
            queue = waiting.pop()
            unread -= queue.qsize()
            while not queue.empty():
                queue.get_nowait()


def _parse(body: bytes) -> dict[str, Any]:
    """The JSON object of an event, with known keys, each of them once."""
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError("an event is one JSON object in UTF-8, without repeated keys, NaN or deep nesting") from error
    if not isinstance(found, dict) or not set(found) <= _KEYS:
        raise UsageError(f"an event has the keys {', '.join(sorted(_KEYS))} and no others")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check(block: Any, changes: bool) -> Check | None:
    """The check of the values of a component; `changes`: events change its choices."""
    if isinstance(block, gr.State):
        return None
    if isinstance(block, gr.HTML) and block.elem_id == LOOK_FILE:
        return lambda value: value is None or (isinstance(value, str) and len(value) <= _LOOK)
    if isinstance(block, gr.HTML):  # an upload area
        return lambda value: value is None or (isinstance(value, str) and _TOKENS.fullmatch(value) is not None)
    if isinstance(block, gr.Checkbox):
        return lambda value: isinstance(value, bool)
    if isinstance(block, gr.Slider):
        return _is_number
    if isinstance(block, gr.Textbox):  # the painted mask
        return lambda value: isinstance(value, str) and _PAINTED.fullmatch(value) is not None
    if isinstance(block, gr.Dropdown):
        known = None if changes else frozenset(value for _, value in block.choices)
        if block.multiselect:
            return lambda value: value is None or (isinstance(value, list) and len(value) <= _MOST
                                                   and all(_is_choice(one, known) for one in value))
        return lambda value: value is None or _is_choice(value, known)
    raise TypeError(f"the values of {type(block).__name__} have no check: add one to {__name__}")


def _is_selection(told: Any) -> bool:
    """The number of a thing, or a place of a picture: parts of its width and height; -1 is the whole."""
    if not isinstance(told, dict):
        return False
    if set(told) == {"number"}:
        return type(told["number"]) is int
    return set(told) == {"across", "down"} and all(_is_number(told[way]) and -1 <= told[way] <= 1 for way in told)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= _LARGEST


def _is_choice(value: Any, known: frozenset[Any] | None) -> bool:
    if not isinstance(value, str) or known is not None:
        return isinstance(value, str) and value in (known or ())
    return len(value) <= _LONGEST and value.isprintable() and not value.startswith(("/", "\\", "~")) \
        and "://" not in value and ".." not in value.replace("\\", "/").split("/")


def _short(value: object) -> str:
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return repr(value[:60] if isinstance(value, str) else value)[:80]

"""Each visitor's share of the page: requests at a time, and the connections that a browser holds while a tab is open.

Gradio's browser side holds one connection for each tab (the heartbeat). Who holds many gives up the oldest of them, and
nobody else's is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

#: Requests of one address at a time, without heartbeats.
REQUESTS_OF_ONE = 64
#: Heartbeats of one address, and of all; and the hours after which one is closed.
HEARTBEATS_OF_ONE, HEARTBEATS, HEARTBEAT_HOURS = 32, 128, 12.0


@dataclass(eq=False)
class Heartbeat:
    """One held connection.

    Attributes:
        client: address of the visitor.
        session: of the tab.
        closed: is set when it has to end.
        since: in seconds of the monotonic clock.
    """

    client: str
    session: str
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = field(default_factory=time.monotonic)


class Shares:
    """Counts what each visitor holds."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._heartbeats: list[Heartbeat] = []

    @contextmanager
    def request(self, client: str) -> Iterator[bool]:
        """Whether a request fits into the share of its visitor, for as long as it lasts."""
        self._requests[client] += 1
        try:
            yield self._requests[client] <= REQUESTS_OF_ONE
        finally:
            self._requests[client] -= 1
            if not self._requests[client]:
                del self._requests[client]

    @contextmanager
    def heartbeat(self, client: str, session: str) -> Iterator[Heartbeat]:
        """A held connection; it closes the one of the same tab, or the oldest of who holds most."""
        own = Heartbeat(client, session)
        self._heartbeats.append(own)
        self._make_room(own)
        try:
            yield own
        finally:
            self._heartbeats.remove(own)

    def _make_room(self, own: Heartbeat) -> None:
        held = [each for each in self._heartbeats if each is not own and not each.closed.is_set()]
        counts = Counter(each.client for each in [*held, own])
        for each in held:
            if (each.client, each.session) == (own.client, own.session) or \
                    time.monotonic() - each.since > HEARTBEAT_HOURS * 3600:
                each.closed.set()
                counts[each.client] -= 1
        if counts[own.client] > HEARTBEATS_OF_ONE:
            self._close_oldest(own.client)
        elif counts.total() > HEARTBEATS:
            self._close_oldest(counts.most_common(1)[0][0])

    def _close_oldest(self, client: str) -> None:
        next(each for each in self._heartbeats if each.client == client and not each.closed.is_set()).closed.set()

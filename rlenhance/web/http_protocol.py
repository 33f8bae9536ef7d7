"""HTTP connections with limits of their number and of their time, which uvicorn itself does not have.

A client that sends half a header, or nothing, or never reads its answer, holds a connection for a bounded time; one
address holds a bounded share of them. The time of a request's body is limited in `rlenhance.web.security`.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for the header of a request, counted from the connection or from the first byte after an answer.
HEADER_SECONDS = 10.0
#: Seconds in which a client must read something of an answer that waits for it.
READ_SECONDS = 60.0
#: Connections at a time, of all addresses and of one.
CONNECTIONS, CONNECTIONS_OF_ONE = 256, 96


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with the limits of this module."""

    #: Addresses of proxies: their visitors' shares are counted by `rlenhance.web.shares`.
    proxies: tuple[str, ...] = ()
    _header_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        own = sum(other.client is not None and self.client is not None and other.client[0] == self.client[0]
                  for other in self.connections if isinstance(other, H11Protocol))
        shared = self.client is not None and self.client[0] in self.proxies
        if len(self.connections) > CONNECTIONS or (own > CONNECTIONS_OF_ONE and not shared):
            self._end(b"503 Service Unavailable")
            return
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._end, b"408 Request Timeout")

    def data_received(self, data: bytes) -> None:
        """Read, and limit the time of a header that is not whole yet."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._header_timer = cancel(self._header_timer)
        elif self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._end, b"408 Request Timeout")

    def handle_events(self) -> None:
        """A request that begins behind an answer ends the time of its header too."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._header_timer = cancel(self._header_timer)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; a request that was going on has lost its client."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # an answer has begun
            self.transport.close()
        self._abort_later()

    def pause_writing(self) -> None:
        """The client does not read: give it some time."""
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._read_timer = cancel(self._read_timer)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also one whose client has not read its answer."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        super().connection_lost(exc)
        self._header_timer, self._read_timer = cancel(self._header_timer), cancel(self._read_timer)

    def _end(self, status: bytes) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)


def cancel(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer; None, which takes its place."""
    if timer is not None:
        timer.cancel()
    return None

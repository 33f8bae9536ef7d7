"""The password of the page: HTTP Basic, compared in constant time, and guesses slowed."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

#: Wrong guesses of an address without a wait.
FREE_GUESSES = 5
#: The cookie of a browser that has given the right password.
COOKIE = "rlenhance_known"
#: Seconds after which a guess is forgotten, and the longest wait.
_MEMORY, _LONGEST = 900.0, 60.0
#: Addresses that are remembered; the least recent is forgotten first.
_ADDRESSES = 4096


@dataclass
class _Guesses:
    """Wrong guesses of an address, and when the next one is looked at."""

    wrong: int = 0
    last: float = 0.0
    next: float = 0.0


class Password:
    """Checks name and password of requests.

    After five wrong guesses of an address each further one doubles the wait, up to a minute; meanwhile whatever comes
    from there is refused without being looked at. A network of IPv6 (/64) is one address. Nobody else waits for it:
    other addresses are looked at as before, and so is a browser behind the same address that has been let in before,
    which its cookie identifies. Behind a proxy all visitors have one address, unless its headers count (`--proxy`).

    Args:
        auth: name and password.
        clock: seconds, for tests.
    """

    def __init__(self, auth: tuple[str, str], clock: Callable[[], float] = time.monotonic):
        self._key, self._clock, self._lock = ":".join(auth).encode(), clock, threading.Lock()
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()
        self._pass = secrets.token_urlsafe(24)

    def wait(self, client: str) -> float:
        """Seconds for which a client is refused; 0: it may try."""
        with self._lock:
            now, own = self._clock(), self._guesses.get(_network(client))
            return max(0.0, own.next - now if own else 0.0)

    def check(self, header: bytes, client: str) -> bool:
        """Whether the value of an Authorization header is right; a wrong one counts as a guess of the client."""
        if secrets.compare_digest(_credentials(header), self._key):
            return True
        if header:  # a browser asks without one first
            with self._lock:
                own = self._guesses.setdefault(_network(client), _Guesses())
                self._guesses.move_to_end(_network(client))
                while len(self._guesses) > _ADDRESSES:
                    self._guesses.popitem(last=False)
                self._count(own, FREE_GUESSES)
        return False

    def knows(self, cookies: bytes) -> bool:
        """Whether the value of a Cookie header has what `cookie` gave."""
        found = [word.strip().partition(b"=")[2] for word in cookies.split(b";")
                 if word.strip().startswith(COOKIE.encode() + b"=")]
        return any(secrets.compare_digest(word, self._pass.encode()) for word in found)

    @property
    def cookie(self) -> bytes:
        """The value of a Set-Cookie header for who has given the right password."""
        return f"{COOKIE}={self._pass}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000".encode()

    def _count(self, guesses: _Guesses, free: int) -> None:
        now = self._clock()
        guesses.wrong = 1 if now - guesses.last > _MEMORY else guesses.wrong + 1
        guesses.last = now
        if guesses.wrong >= free:
            guesses.next = now + min(2.0 ** min(guesses.wrong - free, 10), _LONGEST)


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client[:64]
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _credentials(header: bytes) -> bytes:
    kind, _, text = header.partition(b" ")
    if kind.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return b""

"""Security middleware: host, origin, password, allowed routes, size, time and content of every request."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rlenhance.core.errors import UsageError
from rlenhance.web.password import Password
from rlenhance.web.shares import Shares

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The route of the page's events, whose bodies are checked (`rlenhance.web.event_check`).
EVENTS = "/gradio_api/queue/join"
#: The routes of the connections that open tabs hold, up to the name of the session.
HEARTBEAT = "/gradio_api/heartbeat/"
#: The routes of the page and of the API; all other routes of Gradio are closed.
ALLOWED_ROUTES = {
    "GET": re.compile(r"/|/(assets|static)(/[\w@-][\w.@-]*)+|/theme\.css|/favicon\.ico|/api"
                      r"|/take/[0-9a-f]{32}|/gradio_api/(queue/data|heartbeat/[\w-]{1,64})",
                      re.ASCII),
    "POST": re.compile(rf"/upload|/api/[a-z]+|{EVENTS}"),
}
#: Routes of uploads; bodies of other routes are limited to `SETTINGS_BYTES`.
FILE_ROUTES = re.compile(r"/upload|/api/[a-z]+")
#: Routes that read the query of their address; it is dropped elsewhere.
QUERY_ROUTES = re.compile(rf"{FILE_ROUTES.pattern}|/gradio_api/queue/data")
SETTINGS_BYTES = 4_000_000
#: Seconds that a client may be silent within a body, seconds for any body, and bytes per second of a long one.
SILENT_SECONDS, BODY_SECONDS, BODY_RATE = 20.0, 30.0, 8000.0
#: The name of a host, and perhaps a port.
_HOST = re.compile(rb"([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?", re.ASCII)
_SCHEME = re.compile(rb"https?")
#: The browser loads nothing from other hosts.
CONTENT_SECURITY_POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
          "style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; "
          "base-uri 'self'; form-action 'self'; frame-ancestors 'none'")
_HEADERS = ((b"content-security-policy", CONTENT_SECURITY_POLICY.encode()), (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY"))


@dataclass(frozen=True)
class Refusal:
    """The answer to a rejected request."""

    status: int
    error: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class SecurityMiddleware:
    """ASGI middleware that rejects requests which are not allowed.

    Args:
        app: the application.
        host: the address it listens on; on a loopback address only local host names are accepted, which prevents DNS
            rebinding.
        auth: name and password, or None.
        megabytes: limit of an upload, counted while it is received.
        check_event: the body of an event as the page may get it, or a UsageError; None: there are no events.
        proxied: whether requests come through a proxy, whose `X-Forwarded-Host` and `X-Forwarded-Proto` count.
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1", auth: tuple[str, str] | None = None,
                 megabytes: float = 100.0, check_event: Callable[[bytes], bytes] | None = None,
                 proxied: bool = False):
        self.app, self.megabytes, self.check_event, self.proxied = app, megabytes, check_event, proxied
        self._names = {"localhost", "127.0.0.1", "[::1]", host.lower()} if is_loopback(host) else None
        self._password = None if auth is None else Password(auth)
        self._shares = Shares()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        client = (scope.get("client") or ("",))[0]
        headers = {name: value for name, value in scope["headers"]}
        refusal = self.check_request(scope["method"], scope["path"], headers, client)
        if refusal is not None:
            await answer(send, refusal)
            return
        if self._password is not None and not self._password.knows(headers.get(b"cookie", b"")):
            send = _with_header(send, b"set-cookie", self._password.cookie)
        if scope["path"].startswith(HEARTBEAT):
            with self._shares.heartbeat(client, scope["path"].removeprefix(HEARTBEAT)) as held:
                await self._pass_on(scope, _until(held.closed, receive), send)
            return
        with self._shares.request(client) as fits:
            if fits:
                await self._pass_on(scope, receive, send)
            else:
                await answer(send, Refusal(503, "too many requests of this address at a time",
                                           ((b"retry-after", b"5"), (b"connection", b"close"))))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not QUERY_ROUTES.fullmatch(scope["path"]):
            scope = {**scope, "query_string": b""}
        scope = {**scope, "headers": [pair for pair in scope["headers"] if self._counts(*pair)]}
        body = _Body(receive, self._limit(scope["path"]))
        if scope["path"] == EVENTS:
            await self._event(scope, body, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if body.refusal is not None:
                return
            if message["type"] == "http.response.start":
                begun = True
                stored = [pair for pair in message.get("headers", []) if pair[0].lower() != b"server"]
                message = {**message, "headers": [*stored, *_HEADERS]}
            await send(message)

        try:
            await self.app(scope, body.receive, guarded)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None and not begun:
            await answer(send, body.refusal)

    async def _event(self, scope: Scope, body: _Body, send: Send) -> None:
        """Pass the checked body of an event on."""
        data = await body.whole()
        if body.refusal is None and self.check_event is not None:
            try:
                data = self.check_event(data)
            except UsageError as error:
                body.refusal = Refusal(400, str(error))
        if body.refusal is not None:
            await answer(send, body.refusal)
            return
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"content-type",
                                                                        b"content-encoding", b"transfer-encoding")]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        rest: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

        async def checked() -> Message:
            return rest.pop() if rest else await body.receive()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        await self.app({**scope, "headers": headers}, checked, guarded)

    def check_request(self, method: str, path: str, headers: MutableMapping[bytes, bytes],
                      client: str = "") -> Refusal | None:
        """The rejection of a request, or None.

        Args:
            headers: by their names in lower case.
            client: its address.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._names is not None and re.sub(r":\d+$", "", host) not in self._names:
            return Refusal(403, f"this page answers on {', '.join(sorted(self._names))} alone; got the host {host!r}")
        if host and not _HOST.fullmatch(host.encode("latin-1")):
            return Refusal(400, f"no name of a host: {host[:80]!r}")
        known = self._password is not None and self._password.knows(headers.get(b"cookie", b""))
        if self._password is not None and not known and (seconds := self._password.wait(client)):
            return Refusal(429, f"too many wrong passwords: try again in {seconds:.0f} seconds",
                           ((b"retry-after", f"{seconds + 1:.0f}".encode()),))
        if self._password is not None and not self._password.check(headers.get(b"authorization", b""), client):
            return Refusal(401, "name and password, please", ((b"www-authenticate", b'Basic realm="rlenhance"'),))
        method = "GET" if method == "HEAD" else method
        if method not in ALLOWED_ROUTES or ".." in path or not ALLOWED_ROUTES[method].fullmatch(path):
            return Refusal(404, f"nothing here at {method} {path[:80]!r}")
        if method == "GET":
            return None
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            return Refusal(403, f"a page of another site ({origin}) may not send anything here")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit(path):
            return too_large(self._limit(path))
        return None

    def _counts(self, name: bytes, value: bytes) -> bool:
        """Whether the application sees a header: what a proxy adds, and it alone, would change its addresses. That of
        the client the server has read."""
        if name == b"forwarded" or name.startswith(b"x-forwarded-"):
            wanted = {b"x-forwarded-host": _HOST, b"x-forwarded-proto": _SCHEME}.get(name)
            return self.proxied and wanted is not None and wanted.fullmatch(value) is not None
        return True

    def _limit(self, path: str) -> float:
        return self.megabytes * 1e6 if FILE_ROUTES.fullmatch(path) else SETTINGS_BYTES


def _until(closed: asyncio.Event, receive: Receive) -> Receive:
    """A client's messages, and its disconnection once an event is set."""
    async def either() -> Message:
        waiting = [asyncio.ensure_future(receive()), asyncio.ensure_future(closed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if closed.is_set() else waiting[0].result()  # type: ignore[return-value]
        finally:
            for each in waiting:
                each.cancel()

    return either


def _with_header(send: Send, name: bytes, value: bytes) -> Send:
    """`send` with one more header of the answer."""
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (name, value)]}
        await send(message)

    return sent


class _Body:
    """The body of a request: counted while it arrives, and given up where it is too long or too slow.

    Args:
        receive: of ASGI.
        limit: in bytes.
    """

    def __init__(self, receive: Receive, limit: float):
        self._receive, self._limit, self._started = receive, limit, time.monotonic()
        self._bytes, self._arrived = 0, False
        self.refusal: Refusal | None = None

    async def receive(self) -> Message:
        """The next message; a disconnection where the body is given up."""
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self._arrived:  # what follows is a disconnection
            return await self._receive()
        left = self._started + BODY_SECONDS + self._bytes / BODY_RATE - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, min(left, SILENT_SECONDS)))
        except TimeoutError:
            self.refusal = Refusal(408, "the request did not arrive in time", ((b"connection", b"close"),))
            return {"type": "http.disconnect"}
        self._bytes += len(message.get("body", b""))
        self._arrived = not message.get("more_body", False)
        if self._bytes > self._limit:
            self.refusal = too_large(self._limit)
            return {"type": "http.disconnect"}
        return message

    async def whole(self) -> bytes:
        """All of it; of a body that is given up, a part."""
        parts = []
        while not self._arrived and self.refusal is None:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)


def too_large(limit: float) -> Refusal:
    """The refusal of a body above a limit in bytes."""
    return Refusal(413, f"the file is larger than {limit / 1e6:g} MB, the limit of this page (--max-megabytes)",
                   ((b"connection", b"close"),))


async def answer(send: Send, refusal: Refusal) -> None:
    """Send a refusal as JSON."""
    body = json.dumps({"error": refusal.error}).encode()
    await send({"type": "http.response.start", "status": refusal.status,
                "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                            *refusal.headers, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""Security middleware: host, origin, password, allowed routes and size limits of every request."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The routes of the page and of the API; all other routes of Gradio are closed.
ALLOWED_ROUTES = {
    "GET": re.compile(r"/|/(assets|static)/[\w./@-]+|/theme\.css|/favicon\.ico|/manifest\.json|/take/[0-9a-f]{32}"
                      r"|/gradio_api/(startup-events|queue/data|heartbeat/[\w-]+|info)|/api"),
    "POST": re.compile(r"/upload|/api/[a-z]+|/gradio_api/(queue/join|cancel|reset)/?"),
}
#: Routes of uploads; bodies of other routes are limited to `SETTINGS_BYTES`.
FILE_ROUTES = re.compile(r"/upload|/api/[a-z]+")
SETTINGS_BYTES = 4_000_000
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
    """

    def __init__(self, app: App, *, host: str = "127.0.0.1", auth: tuple[str, str] | None = None,
                 megabytes: float = 100.0):
        self.app, self.megabytes = app, megabytes
        self._names = {"localhost", "127.0.0.1", "[::1]", host.lower()} if is_loopback(host) else None
        self._key = None if auth is None else ":".join(auth).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name: value for name, value in scope["headers"]}
        refusal = self.check_request(scope["method"], scope["path"], headers)
        if refusal is not None:
            await answer(send, refusal)
            return
        limit = self._limit(scope["path"])
        seen, over, begun = 0, False, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                over = True
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if over:
                if not begun:
                    begun = True
                    await answer(send, self._too_large(limit))
                return
            if message["type"] == "http.response.start":
                begun = True
                stored = [pair for pair in message.get("headers", []) if pair[0].lower() != b"server"]
                message = {**message, "headers": [*stored, *_HEADERS]}
            await send(message)

        try:
            await self.app(scope, counted, guarded)
        except Exception:
            if not over:
                raise
        if over and not begun:
            await answer(send, self._too_large(limit))

    def check_request(self, method: str, path: str, headers: MutableMapping[bytes, bytes]) -> Refusal | None:
        """The rejection of a request, or None.

        Args:
            headers: by their names in lower case.
        """
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._names is not None and re.sub(r":\d+$", "", host) not in self._names:
            return Refusal(403, f"this page answers on {', '.join(sorted(self._names))} alone; got the host {host!r}")
        if self._key is not None and not secrets.compare_digest(_credentials(headers), self._key):
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
            return self._too_large(self._limit(path))
        return None

    def _limit(self, path: str) -> float:
        return self.megabytes * 1e6 if FILE_ROUTES.fullmatch(path) else SETTINGS_BYTES

    def _too_large(self, limit: float) -> Refusal:
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


def _credentials(headers: MutableMapping[bytes, bytes]) -> bytes:
    kind, _, text = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return b""

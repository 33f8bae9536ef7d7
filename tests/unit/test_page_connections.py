"""Connections of the page have limits of number and time: half headers, half bodies, answers that nobody reads."""

import asyncio
import socket
import threading
import time

import pytest

pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')
uvicorn = pytest.importorskip("uvicorn")

from rlenhance.web import http_protocol, security  # noqa: E402
from rlenhance.web.http_protocol import LimitedProtocol  # noqa: E402
from rlenhance.web.security import SecurityMiddleware  # noqa: E402


async def page(scope, receive, send):
    """Reads a body and answers; `/assets/large` answers with more than a socket holds."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(300 if scope["path"] == "/assets/large" else 1):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def address(monkeypatch):
    """Of a server with short limits: port, and its open connections."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.4)
    monkeypatch.setattr(security, "SILENT_SECONDS", 0.4)
    monkeypatch.setattr(security, "BODY_SECONDS", 0.8)
    monkeypatch.setattr(http_protocol, "CONNECTIONS_OF_ONE", 5)
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(SecurityMiddleware(page), log_level="error", http=LimitedProtocol, ws="none",
                            timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield bound.getsockname()[1], server.server_state.connections
    server.should_exit = True
    thread.join()
    bound.close()


def sent(port, *parts, pause=0.0):
    """What comes back for bytes that are sent in parts, and after how many seconds the connection ends."""
    start, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
    return answer, time.monotonic() - start


HEAD = b"POST /upload HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize("parts, pause, status", [
    ([], 0, b"408"), ([b"GET / HT"], 0, b"408"), ([HEAD[:9], *[bytes([byte]) for byte in HEAD[9:39]]], 0.05, b"408"),
    ([b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", *[b"x"] * 40], 0.05, b"200"),
    ([HEAD + b"content-length: 9\r\n\r\nx"], 0, b"408"),
    ([HEAD + b"content-length: 99\r\n\r\n", *[b"x"] * 40], 0.05, b"408"),
    ([HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 40], 0.05, b"408"),
    ([HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], 0, b"400"),
    ([HEAD + b"content-length: 1\r\n\r\nx", b"\0\0\r\n\r\n"], 0.05, b"200"),
    ([b"x" * 200_000], 0, b"400"), ([b"\0\xff" * 9 + b"\r\n\r\n"], 0, b"400"),
    ([b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"], 0, b"200"),
    ([b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 20_000], 0, b"400"),
])
def test_a_slow_or_malformed_request_ends_soon(address, parts, pause, status, caplog):
    """With a status and without a trace, and its connection is given free."""
    port, connections = address
    answer, seconds = sent(port, *parts, pause=pause)
    assert not answer or answer.startswith(b"HTTP/1.1 " + status), answer[:60]  # a reset may overtake it
    assert seconds < 4
    assert sent(port, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 200")
    assert not connections and not any(record.exc_info for record in caplog.records)


def test_who_reads_no_answer_is_given_up(address):
    """The server waits for nobody's reading without end."""
    port, connections = address
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /assets/large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        end = time.monotonic() + 5
        time.sleep(0.1)
        assert connections
        while connections and time.monotonic() < end:
            time.sleep(0.02)
        assert not connections


def test_one_address_holds_a_share_of_the_connections(address):
    """Further ones are told so, and are welcome when others have gone."""
    port, _ = address
    open_ = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    time.sleep(0.1)
    assert sent(port)[0].startswith(b"HTTP/1.1 503")
    for client in open_:
        client.close()
    time.sleep(0.1)
    assert sent(port, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 200")

"""Who may ask the page for what: hosts, routes, passwords, proxies, and shares of its connections."""

import asyncio
import base64

import pytest

from rlenhance.cli.main import main
from rlenhance.web.password import Password
from rlenhance.web.security import SecurityMiddleware, is_loopback


@pytest.mark.parametrize("host, own", [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False),
                                       ("192.168.1.4", False), ("example.org", False)])
def test_other_machines_need_a_password(host, own, capsys):
    """Listening for others without --auth is refused before anything is loaded."""
    assert is_loopback(host) == own
    if not own:
        assert main(["demo", "--host", host]) == 2
        assert "--auth USER:PASSWORD" in capsys.readouterr().err


def told_by(door, **headers):
    """What a door says to a request, as (status, way)."""
    pairs = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return lambda method, path: getattr(door.check_request(method, path, pairs), "status", None)


def test_the_door_lets_in_what_the_page_needs():
    """Nothing else of Gradio, no other host's name, no other site, no stranger, nothing too large."""
    door = SecurityMiddleware(None, megabytes=1)
    ask = told_by(door, host="127.0.0.1:7860")
    for way in ("/", "/assets/index-x.js", "/gradio_api/queue/data", "/take/" + "a" * 32, "/api"):
        assert ask("GET", way) is None
    for way in ("/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://x", "/monitoring", "/gradio_api/runs",
                "/assets/../../x", "/take/../x", "/gradio_api/deep_link", "/docs", "/openapi.json"):
        assert ask("GET", way) == 404
    for way in ("/gradio_api/upload", "/gradio_api/run/predict", "/gradio_api/call/x", "/gradio_api/vibe-edit",
                "/login", "/gradio_api/component_server"):
        assert ask("POST", way) == 404
    assert ask("POST", "/api/enhance") is None and ask("PUT", "/upload") == 404
    assert told_by(door, host="evil.example")("GET", "/") == 403
    assert told_by(door, host="localhost:1", origin="https://evil.example")("POST", "/upload") == 403
    assert told_by(door, host="localhost:1", origin="http://localhost:1")("POST", "/upload") is None
    assert told_by(door, host="localhost", content_length="1000001")("POST", "/upload") == 413
    closed = SecurityMiddleware(None, host="0.0.0.0", auth=("anna", "pass:word"))
    key = base64.b64encode(b"anna:pass:word").decode()
    assert told_by(closed, host="any")("GET", "/") == 401
    assert told_by(closed, host="any", authorization="Basic ????")("GET", "/") == 401
    assert told_by(closed, host="any", authorization=f"Basic {key[:-4]}")("GET", "/") == 401
    assert told_by(closed, host="any", authorization=f"Basic {key}")("GET", "/") is None


def test_password_guesses_are_slowed():
    """Five are free; then the wait doubles up to a minute, for that address alone, whatever it sends meanwhile."""
    now = [0.0]
    password = Password(("anna", "secret"), clock=lambda: now[0])
    right, wrong = (b"Basic " + base64.b64encode(b"anna:" + word) for word in (b"secret", b"guess"))
    for _ in range(5):
        assert password.wait("192.0.2.1") == 0 and not password.check(wrong, "192.0.2.1")
    waits = []
    for _ in range(8):
        waits.append(password.wait("192.0.2.1"))
        now[0] += waits[-1]
        assert password.wait("192.0.2.1") == 0 and not password.check(wrong, "192.0.2.1")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert password.wait("192.0.2.2") == 0 and password.check(right, "192.0.2.2")
    assert not password.check(b"", "192.0.2.3") and password.wait("192.0.2.3") == 0  # a browser asks without first
    for host in range(6):
        password.check(wrong, f"2001:db8::{host}")
    assert password.wait("2001:db8::99") > 0 and password.wait("2001:db8:0:1::") == 0
    for number in range(5000):
        password.check(wrong, f"10.0.{number // 250}.{number % 250}")
    assert len(password._guesses) <= 4096
    assert password.wait("192.0.2.9") == 0 and password.check(right, "192.0.2.9")  # nobody waits for others


def test_a_guesser_is_told_when_to_come_again():
    """429, before the password is looked at."""
    door = SecurityMiddleware(None, host="0.0.0.0", auth=("anna", "secret"))
    headers = {b"host": b"any", b"authorization": b"Basic " + base64.b64encode(b"anna:x")}
    statuses = [door.check_request("GET", "/", headers, "192.0.2.1").status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    headers[b"authorization"] = b"Basic " + base64.b64encode(b"anna:secret")
    assert door.check_request("GET", "/", headers, "192.0.2.1").status == 429
    assert door.check_request("GET", "/", headers, "192.0.2.2") is None
    cookie = door._password.cookie.partition(b";")[0]
    for known, status in ((cookie, None), (cookie[:-1], 429), (b"", 429), (b"rlenhance_known=", 429)):
        refusal = door.check_request("GET", "/", {**headers, b"cookie": b"theme=dark; " + known}, "192.0.2.1")
        assert (refusal and refusal.status) == status  # a browser that was let in before does not wait for a neighbour
    assert door.check_request("GET", "/", {b"host": b"any", b"cookie": cookie}, "192.0.2.2").status == 401


def test_forwarded_addresses_count_behind_a_proxy_alone():
    """Without --proxy the header is anybody's word: guesses under a thousand names are those of one address."""
    pytest.importorskip("uvicorn")
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    async def statuses(trusted):
        door = SecurityMiddleware(None, host="0.0.0.0", auth=("anna", "secret"))
        app = door if trusted is None else ProxyHeadersMiddleware(door, trusted)
        seen = []

        async def send(message):
            seen.extend([message["status"]] if message["type"] == "http.response.start" else [])

        for number in range(12):
            headers = [(b"host", b"any"), (b"authorization", b"Basic " + base64.b64encode(b"anna:x")),
                       (b"x-forwarded-for", f"192.0.2.{number}, 198.51.100.7".encode())]
            await app({"type": "http", "method": "GET", "path": "/", "headers": headers, "client": ("127.0.0.1", 1),
                       "query_string": b""}, None, send)
        return seen

    for trusted in (None, ["127.0.0.1"]):  # of a chain, the hop that the proxy itself has seen counts
        assert asyncio.run(statuses(trusted)) == [401] * 5 + [429] * 7


def test_the_page_sees_only_what_a_proxy_says_of_its_address():
    """A name of a host that is none would end its answer; without --proxy nobody says another name."""
    async def seen(value, proxied):
        found = []

        async def app(scope, receive, send):
            found.extend(name for name, _ in scope["headers"] if name.startswith((b"x-forwarded", b"forwarded")))

        headers = [(b"host", b"localhost:7860"), (b"x-forwarded-host", value), (b"x-forwarded-proto", b"https"),
                   (b"forwarded", b"host=evil")]
        await SecurityMiddleware(app, proxied=proxied)({
            "type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}, None, None)
        return found

    assert asyncio.run(seen(b"photos.example:443", True)) == [b"x-forwarded-host", b"x-forwarded-proto"]
    assert asyncio.run(seen(b"photos.example: close", True)) == [b"x-forwarded-proto"]
    assert asyncio.run(seen(b"photos.example", False)) == []
    public = SecurityMiddleware(None, host="0.0.0.0")
    assert public.check_request("GET", "/", {b"host": b"[2001:db8::1]:80"}) is None
    assert public.check_request("GET", "/", {b"host": b"a: close"}).status == 400


def test_who_holds_many_connections_gives_up_their_own():
    """Heartbeats: a tab holds one, an address so many, and the page is left to the others."""
    from contextlib import ExitStack

    from rlenhance.web.shares import HEARTBEATS, HEARTBEATS_OF_ONE, REQUESTS_OF_ONE, Shares

    async def held():
        shares = Shares()
        with ExitStack() as stack:
            guest = stack.enter_context(shares.heartbeat("192.0.2.2", "tab"))
            again = stack.enter_context(shares.heartbeat("192.0.2.2", "tab"))
            assert guest.closed.is_set() and not again.closed.is_set()
            many = [stack.enter_context(shares.heartbeat("192.0.2.1", str(number))) for number in range(97)]
            assert sum(not each.closed.is_set() for each in many) == HEARTBEATS_OF_ONE
            assert [each.closed.is_set() for each in many[-HEARTBEATS_OF_ONE:]] == [False] * HEARTBEATS_OF_ONE
            crowd = [stack.enter_context(shares.heartbeat(f"198.51.100.{number}", "a")) for number in range(120)]
            assert not again.closed.is_set() and not any(each.closed.is_set() for each in crowd)
            assert sum(not each.closed.is_set() for each in [*many, *crowd, again]) <= HEARTBEATS
            fits = [stack.enter_context(shares.request("192.0.2.1")) for _ in range(REQUESTS_OF_ONE + 1)]
            assert fits == [True] * REQUESTS_OF_ONE + [False]
            assert stack.enter_context(shares.request("192.0.2.2"))
        assert not shares._heartbeats and not shares._requests

    asyncio.run(held())


def test_a_held_connection_ends_when_its_share_does():
    """The application sees that its client has gone."""
    from rlenhance.web.security import HEARTBEAT

    seen = []

    async def app(scope, receive, send):
        seen.append((await receive())["type"])
        while seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    async def visit():
        door, sent = SecurityMiddleware(app), []
        scope = {"type": "http", "method": "GET", "path": f"{HEARTBEAT}tab", "headers": [(b"host", b"localhost")],
                 "client": ("127.0.0.1", 1), "query_string": b""}

        def talk():
            messages = [{"type": "http.request", "body": b"", "more_body": False}]

            async def receive():
                return messages.pop() if messages else await asyncio.sleep(3600)

            return receive

        async def send(message):
            sent.append(message)

        first = asyncio.create_task(door(scope, talk(), send))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(door(scope, talk(), send))
        await asyncio.wait_for(first, 5)
        second.cancel()

    asyncio.run(visit())
    assert seen.count("http.request") == 2 and "http.disconnect" in seen

"""The page with a password, guessers under forged addresses and visitors who hold connections: its owner gets in."""

import base64
import contextlib
import http.client
import os
import random
import signal
import socket
import time

from tests.stress.page_kill import port_of, prepare, start
from tests.stress.registry import Broken, Case, Property

_RIGHT = "Basic " + base64.b64encode(b"anna:secret").decode()
_PATIENCE = 20.0  # seconds in which the owner gets an answer


def cases(rng):
    """With and without a proxy; guesses, held heartbeats, and connections that say nothing, of one visitor."""
    while True:
        yield Case("page", options={"proxy": rng.random() < 0.5, "guesses": rng.choice((0, 12, 60)),
                                    "heartbeats": rng.choice((0, 40, 97)), "silent": rng.choice((0, 40)),
                                    "seed": rng.randrange(2**32)})


def _request(port, way, own, forwarded=None, password=None):
    """A request of the loopback address `own`; the connection, and its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE, source_address=(own, 0))
    headers = {"host": "127.0.0.1"} | ({"x-forwarded-for": forwarded} if forwarded else {}) | (
        {"authorization": password} if password else {})
    connection.request("GET", way, headers=headers)
    return connection


def check(case, folder):
    """Guesses are slowed whatever they say of themselves; meanwhile the owner, another visitor, is served."""
    prepare()
    (folder / "notes").mkdir()
    asked, rng = case.options, random.Random(case.options["seed"])
    pid, out = start(folder, "--auth", "anna:secret", *["--proxy"] * asked["proxy"])
    attacker, owner = ("127.0.0.1", "127.0.0.1") if asked["proxy"] else ("127.0.0.2", "127.0.0.3")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, out)
        stack.callback(os.waitpid, pid, 0)
        stack.callback(os.kill, pid, signal.SIGTERM)
        port = port_of(out)
        looked_at = 0
        for number in range(asked["guesses"]):
            forged = f"203.0.113.{rng.randrange(256)}" + (", 198.51.100.7" if asked["proxy"] else "")
            wrong = "Basic " + base64.b64encode(f"anna:{number}".encode()).decode()
            connection = _request(port, "/", attacker, forged, wrong)
            looked_at += connection.getresponse().status == 401
            connection.close()
        if looked_at > 8:
            raise Broken(f"{looked_at} of {asked['guesses']} guesses of one visitor were looked at")
        came = ("198.51.100.8",) if asked["proxy"] else (None,)
        for number in range(asked["heartbeats"]):
            held = _request(port, f"/gradio_api/heartbeat/{number:08x}", attacker, came[0], _RIGHT)
            stack.callback(held.close)
        for _ in range(asked["silent"]):
            idle = socket.create_connection(("127.0.0.1", port), source_address=(attacker, 0))
            stack.callback(idle.close)
        begun = time.monotonic()
        connection = _request(port, "/api", owner, "192.0.2.9" if asked["proxy"] else None, _RIGHT)
        status = connection.getresponse().status
        connection.close()
        if status != 200 or time.monotonic() - begun > _PATIENCE:
            raise Broken(f"the owner got {status} after {time.monotonic() - begun:.1f} s: {asked}")


PROPERTY = Property("page_visitors", "Forged addresses help no guesser, and whoever guesses or holds connections, the "
                    "right password of another visitor is answered soon.", cases, check, share=0.5, seconds=60,
                    wall=150, mib=2500, block=6, short=0, names=False)

"""The web page: hostile events, requests and uploads; what it opens is written down by an audit hook inside it."""

import json
import os
import random
import re
import socket
import threading
import time
import urllib.parse

import cv2
import numpy as np

from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property
from tests.support.audited_page import CONTROLS, AuditedPage
from tests.support.hostile_events import bodies

_WAYS = ("events", "values", "requests", "uploads")
_SECONDS = 20.0  # the longest that an answer may take; the machine may be busy
#: Gradio's own words for a value that is none of a list's choices or outside of a slider's range.
_REFUSED = re.compile(r"Traceback \(most recent call last\):\n(?:  .*\n|\n)*gradio\.exceptions\.Error: .*\n")
_PAGE: dict[int, AuditedPage] = {}  # of this process


def cases(rng):
    """300 hostile bodies on each event in turn; between them the other ways."""
    number = 0
    while True:
        way = _WAYS[number % 2 * rng.randrange(1, len(_WAYS))]
        yield Case(f"{way}-{number}", options={"way": way, "seed": rng.randrange(1 << 30), "number": number // 2})
        number += 1


def check(case, folder):
    """One way of attack; then the page serves as before, and has neither opened nor kept anything foreign."""
    page = _page(folder)
    rng, start = random.Random(case.options["seed"]), page.log.stat().st_size
    counts = {"events": _events, "values": _values, "requests": _requests, "uploads": _uploads}[case.options["way"]](
        page, rng, case.options["number"])
    token = _upload(page, "/upload?name=night.png", _png(), {})[1]
    _preview(page, token)
    foreign = page.foreign(start)
    if foreign:
        raise Broken(f"the page did {foreign[:5]}")
    told = (page.folder.parent / "stderr").read_bytes()[page.told:].decode(errors="replace")
    page.told += len(told.encode())
    told = _REFUSED.sub("", told)
    if "Traceback" in told or page.process.poll() is not None:
        at = max(0, told.find("Traceback"))
        raise Broken(f"the page ended with {page.process.poll()} or told: {told[at : at + 5000]}")
    (store,) = page.folder.glob("rlenhance-page-*/files")
    end = time.monotonic() + _SECONDS
    while lost := {path.name for path in store.iterdir() if path.stem not in page.tokens}:
        if time.monotonic() > end:  # jobs whose client has gone are over by then
            raise Broken(f"files that nobody can reach: {sorted(lost)[:5]}")
        time.sleep(0.05)
    return counts


def _page(folder):
    """The page of this process, which is ended with it."""
    if os.getpid() not in _PAGE:
        page = _PAGE[os.getpid()] = AuditedPage(folder.parent / "page", places=8)
        page.tokens, page.known, page.told = set(), page.events(), 0
        _preview(page, _upload(page, "/upload?name=night.png", _png(), {})[1])
        sample = next(number for number, event in page.known.items() if event["api_name"] == "sample")
        page.tokens.update(re.findall(r"[0-9a-f]{32}", page.run(sample, [], "sample")))  # one file serves all
    return _PAGE[os.getpid()]


def _preview(page, token):
    number = next(number for number, event in page.known.items() if event["api_name"] == "preview")
    values = [json.dumps([token]), *CONTROLS]
    start = time.monotonic()
    if "before-after" not in (said := page.run(number, values, f"s{time.monotonic_ns()}")):
        raise Broken(f"no preview of an honest photograph: {said[:500]}")
    if time.monotonic() - start > _SECONDS:
        raise Broken("the preview of an honest photograph took too long")


def _png(side=60):
    return cv2.imencode(".png", np.random.default_rng(0).integers(0, 60, (side, 80, 3), dtype=np.uint8))[1].tobytes()


def _count(counts, status):
    if status not in (200, 400, 403, 404, 405, 408, 413, 429, 503):
        raise Broken(f"the page answered {status}")
    word = "whole" if status == 200 else "refused"
    counts[word] = counts.get(word, 0) + 1


def _events(page, rng, turn):
    """300 hostile bodies on one event."""
    numbers, counts, connection = list(page.known), {}, page.connect(_SECONDS)
    number = numbers[turn % len(numbers)]
    for body in bodies(number, len(page.known[number]["inputs"]), rng.randrange(1 << 30), 300):
        connection.request("POST", "/gradio_api/queue/join", body)
        answer = connection.getresponse()
        said = answer.read()
        _count(counts, answer.status)
        if answer.status == 400 and not json.loads(said)["error"]:
            raise Broken(f"a refusal without a sentence: {said!r}")
    return counts


def _values(page, rng, _):
    """Values of the right types and of odd sizes on any event, to the end of each."""
    tokens = [_upload(page, "/upload?name=a.png", data, {})[1] for data in (_png(), _png(1), damaged(rng, _png()))]
    tokens = [token for token in tokens if token] + ["0" * 32]
    pool = [0, 1, -1, 0.5, 1e6, -1e6, 1e-300, True, False, None, "", "natural", "supervised", "relight", "telea",
            "as the original", "PNG", [], ["rollout/return"], "lol/first", "data:image/png;base64,", "x",
            "data:image/png;base64,iVBORw0KGgo="]
    pool += [json.dumps(rng.choices(tokens, k=rng.choice((0, 1, 1, 2)))) for _ in range(12)]
    counts = {}
    for _ in range(12):
        number = rng.choice(list(page.known))
        for _ in range(40):  # most have the wrong types
            body = {"data": [rng.choice(pool) for _ in page.known[number]["inputs"]], "fn_index": number,
                    "session_hash": f"v{rng.randrange(1 << 40)}", "event_data": rng.choice([None, {"number": 10**9}])}
            status, _ = page.ask("POST", "/gradio_api/queue/join", json.dumps(body).encode())
            _count(counts, status)
            if status == 200:
                said = page.ask("GET", f"/gradio_api/queue/data?session_hash={body['session_hash']}")[1].decode()
                page.tokens.update(re.findall(r"take/([0-9a-f]{32})", said))
                if "process_completed" not in said or "Traceback" in said:
                    raise Broken(f"event {number} ended with {said[-500:]}")
                break
    return counts


_HEADS = ["GET / HTTP/1.1", "POST /upload?name=a.png HTTP/1.1", "POST /gradio_api/queue/join HTTP/1.1",
          "GET /api HTTP/1.1", "POST /api/enhance?name=-rf.png HTTP/1.1", "POST /api/complete HTTP/1.1",
          "GET /gradio_api/queue/data HTTP/1.1",
          "GET /gradio_api/file=/etc/passwd HTTP/1.1", "PUT /upload HTTP/1.1",
          "GET /assets/../../../etc/passwd HTTP/1.1",
          "GET /take/00000000000000000000000000000000 HTTP/1.1", "CONNECT host.invalid:80 HTTP/1.1",
          "GET http://host.invalid/ HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /gradio_api/heartbeat/x HTTP/1.1"]
_HEADERS = ["host: 127.0.0.1", "content-length: 5", "content-length: -1", "content-length: 99999999999999999999",
            "transfer-encoding: chunked", "transfer-encoding: gzip, chunked", "expect: 100-continue",
            "connection: close",
            "upgrade: websocket\r\nconnection: upgrade", "x-forwarded-host: host.invalid",
            "x-forwarded-for: 1.1.1.1",
            "x-forwarded-proto: file", "content-type: multipart/form-data; boundary=x", "origin: http://host.invalid",
            "content-type: application/json", "range: bytes=0-,0-,-1", "cookie: a=" + "b" * 5000,
            "content-encoding: br", "authorization: Basic !!!", "accept-language: " + "x;" * 500, "referer: http://host.invalid/"]


def _requests(page, rng, _):
    """Requests that are malformed as a whole, in their headers, or in their bodies."""
    counts = {}
    for _ in range(60):
        lines = [rng.choice(_HEADS), *(["host: 127.0.0.1"] if rng.random() < 0.8 else []),
                 *rng.sample(_HEADERS, rng.choice((0, 1, 2, 4)))]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + rng.choice(
            [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"--x\r\n\r\n", _png()])
        with socket.create_connection((page.host, page.port), timeout=_SECONDS) as client:
            try:
                client.sendall(damaged(rng, data) if rng.random() < 0.6 else data)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(1000)
            except ConnectionError:
                answer = b""
        status = re.match(rb"HTTP/1\.1 (\d{3})", answer)
        if status and status[1][:1] == b"5" and status[1] != b"503":
            raise Broken(f"{answer[:100]!r} for {data[:200]!r}")
        counts["refused"] = counts.get("refused", 0) + 1
    return counts


def _uploads(page, rng, _):
    """Pictures, damaged ones and forms from many clients at a time, some of which leave in the middle."""
    counts, failures, threads = {}, [], []
    for _ in range(20):
        data = rng.choice([_png(), damaged(rng, _png()), damaged(rng, _png()), b"", rng.randbytes(3000)])
        name = urllib.parse.quote(rng.choice(["a.png", "-rf.png", "../x\n.png", "a.jpg", "", "\"'.tif", "x" * 300]))
        way = rng.choice(["/upload?name=", "/upload?name=", "/api/enhance?name=", "/api/denoise?name=",
                          "/api/complete?name="])
        options = {"chunked": rng.random() < 0.4, "leaves": rng.random() < 0.3, "form": way.startswith("/api/complete")}

        def send(way=way + name, data=data, options=options):
            try:
                status, _ = _upload(page, way, data, options)
                if status:
                    _count(counts, status)
            except Exception as error:
                failures.append(error)

        threads.append(threading.Thread(target=send))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return counts


def _upload(page, way, data, options):
    """Status (0: left before one came) and the token."""
    headers = {}
    if options.get("form"):
        part = b'--x\r\ncontent-disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n'
        data = part % (b"picture", _png()) + part % (b"mask", data) + b"--x--\r\n"
        headers = {"content-type": "multipart/form-data; boundary=x"}
    body = iter([data[:100], data[100:]]) if options.get("chunked") else data
    if options.get("leaves"):
        with socket.create_connection((page.host, page.port), timeout=_SECONDS) as client:
            head = f"POST {way} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data) + 9}\r\n"
            head += "".join(f"{name}: {headers[name]}\r\n" for name in headers)
            client.sendall(f"{head}\r\n".encode() + data)
        return 0, None
    connection = page.connect(60)
    try:
        connection.request("POST", way, body, headers, encode_chunked=bool(options.get("chunked")))
        answer = connection.getresponse()
        said = answer.read()
    except ConnectionError:
        return 0, None
    finally:
        connection.close()
    token = json.loads(said)["token"] if way.startswith("/upload") and answer.status == 200 else None
    page.tokens.add(token)
    return answer.status, token


PROPERTY = Property("page", "No event, request or upload makes the page open a file, look up a host, keep what nobody "
                    "can reach, or stop serving.", cases, check, share=3.0, seconds=400, wall=400, mib=2500, block=40,
                    short=0, names=False)

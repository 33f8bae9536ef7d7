"""Pages that are killed at any moment: the next one removes what they left, and nothing else."""

import functools
import http.client
import os
import re
import signal
import sys
import tempfile
import time

from tests.stress.page import _png
from tests.stress.registry import Broken, Case, Property


def cases(rng):
    """Each is killed at another moment, in another piece of work."""
    while True:
        yield Case("page", options={
            "after": rng.choice([0.0, 0.02, 0.1, 0.3]) * rng.random(), "started": rng.random() < 0.8,
            "way": rng.choice(["/upload?name=a.png", "/api/enhance?name=a.png", "/api/denoise", "/api"])})


@functools.cache
def prepare():
    """What a page needs, once: pages are forked."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1")
    import torch

    import rlenhance.web.api
    import rlenhance.web.http_protocol
    import rlenhance.web.page  # noqa: F401

    torch.set_num_threads(1)


def check(case, folder):
    """Kill a page; the next one serves, and when it ends the folder for temporary files holds what was there before."""
    prepare()
    (folder / "notes").mkdir()
    (folder / "rlenhance-page-notes").mkdir()
    (folder / "rlenhance-page-notes/a.txt").write_text("mine")
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    pid, out = start(folder)
    if case.options["started"]:
        port = port_of(out)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        way = case.options["way"]
        connection.request("GET" if way == "/api" else "POST", way, None if way == "/api" else _png(400))
        time.sleep(case.options["after"])
        connection.close()
    else:
        time.sleep(5 * case.options["after"])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(out)
    pid, out = start(folder)
    connection = http.client.HTTPConnection("127.0.0.1", port_of(out), timeout=60)
    connection.request("POST", "/api/enhance?name=a.png", _png())
    status = connection.getresponse().status
    connection.close()
    pages = [path for path in folder.glob("rlenhance-page-*") if path.name != "rlenhance-page-notes"]
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    os.close(out)
    after = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    if status != 200 or len(pages) != 1 or after != before:
        raise Broken(f"status {status}; pages {pages}; {set(after) ^ set(before)}")


def start(folder, *words):
    """A page in a forked process: its id, and what it prints."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.dup2(writing, 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        tempfile.tempdir = str(folder)
        from rlenhance.cli.main import main

        main(["demo", "--port", "0", "--runs", str(folder / "notes"), *words])
    finally:
        os._exit(0)


def port_of(out):
    text = b""
    while b"\n" not in text:
        part = os.read(out, 1000)
        if not part:
            raise Broken("the page did not start")
        text += part
    return int(re.search(rb"http://[\d.]+:(\d+)", text)[1])


PROPERTY = Property("page_kill", "A page that is killed at any moment leaves nothing that the next one does not "
                    "remove.", cases, check, share=2.0, seconds=60, wall=120, mib=2000, block=10, short=0, names=False)

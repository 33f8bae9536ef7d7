"""The page's room for files: its limit holds, and nothing is left that nobody can reach; folders of killed pages go."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import rlenhance.web.service as service_module
from rlenhance.core.errors import UsageError
from rlenhance.web.file_store import FileStore
from rlenhance.web.job_queue import JobQueue, QueueFull
from rlenhance.web.page_folder import page_folder, remove_dead
from rlenhance.web.service import EnhanceRequest

pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')


def png(size=(60, 80), hole=False):
    """The bytes of a photograph, with a black rectangle or without."""
    pixels = np.random.default_rng(0).integers(60, 90, (*size, 3), dtype=np.uint8)
    pixels[10:30, 10:30] *= not hole
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A program that talks to a page."""
    from starlette.testclient import TestClient

    from rlenhance.web.server import Settings, create_app

    folder = tmp_path_factory.mktemp("page")
    app, service, queue = create_app(Settings(megabytes=2), folder)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as found:
        found.files, found.service, found.queue = folder / "files", service, queue
        yield found
    queue.close()


@pytest.fixture
def client(served):
    """The same, with room for a megabyte and no file."""
    served.service.store.megabytes = 1.0
    yield served
    for token in list(served.service.store._names):
        served.service.store.remove(token)


def size(folder):
    """Bytes of all files in it."""
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("chunked", [False, True])
def test_many_uploads_at_once_stay_within_the_room(client, chunked):
    """With a length and without: what does not fit is refused and leaves nothing; what fits can be used."""
    body, answers, most = png() + bytes(90_000), [], [0]

    def slowly():
        for start in range(0, len(body), 20_000):
            time.sleep(0.002)
            yield body[start : start + 20_000]
            most[0] = max(most[0], size(client.files))

    def send():
        answers.append(client.post("/upload?name=a.png", content=slowly() if chunked else body))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 400} and max(most[0], size(client.files)) <= 1e6
    assert all("full" in answer.text for answer in answers if answer.status_code == 400)
    assert len(list(client.files.iterdir())) == statuses.count(200) >= 5
    client.service.store.remove(next(answer for answer in answers if answer.status_code == 200).json()["token"])
    assert client.post("/upload?name=a.png", content=body).status_code == 200


def test_results_claim_their_room_too(client):
    """A result that does not fit is refused by name of the limit, and leaves nothing."""
    client.service.store.megabytes = 0.02
    answer = client.post("/api/enhance?name=a.png", content=png())
    assert answer.status_code == 400 and "room for files is full" in answer.text
    assert list(client.files.iterdir()) == []


@pytest.mark.parametrize("files", [
    {"picture": png(hole=True), "mask": b"no picture"}, {"picture": b"no picture", "mask": png()},
    {"picture": png(hole=True), "mask": png((30, 30))}, {"picture": png(hole=True), "mask": png()},
    {"picture": png(hole=True), "mask": b"\x89PNG\r\n\x1a\n"}, {"picture": png(hole=True)}, {"mask": png()}, {},
    {"picture": png(hole=True), "mask": png(), "more": png()},
])
def test_a_form_that_is_refused_leaves_nothing(client, files):
    """Whatever is wrong with it."""
    parts = {name: (f"{name}.png", data) for name, data in files.items()}
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/api/complete", files=parts) if parts else \
        client.post("/api/complete", content=b"--x\r\nno form", headers=kind)
    assert answer.status_code == 400 and json.loads(answer.text)["error"]
    assert list(client.files.iterdir()) == [] and not client.service.store._names


def test_a_client_that_leaves_leaves_nothing(tmp_path):
    """In the middle of an upload, or before its result is sent."""
    import asyncio

    from starlette.requests import Request

    from rlenhance.web.api import Api, json_errors
    from rlenhance.web.service import EnhanceService

    store = FileStore(tmp_path / "files")
    api = Api(EnhanceService(store), JobQueue(), {})
    scope = {"type": "http", "method": "POST", "path": "/api/enhance", "query_string": b"name=a.png", "headers": []}

    async def ask(body, lost):
        messages = [{"type": "http.request", "body": body, "more_body": lost}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            raise OSError("gone")

        answer = await json_errors(api.enhance)(Request(scope, receive))
        await answer(scope, receive, send)

    for lost in (True, False):
        with pytest.raises(OSError, match="gone"):
            asyncio.run(ask(png(), lost))
        assert list(store.folder.iterdir()) == []
    api.queue.close()


def test_results_that_nobody_waits_for_are_discarded():
    """A job that took longer than its caller waits."""
    discarded, gate = [], threading.Event()
    queue = JobQueue(patience=0.05, discard=discarded.append)
    with pytest.raises(QueueFull, match="it took more than"):
        queue.run(lambda: gate.wait(20) and "result")
    gate.set()
    queue.close()
    assert discarded == ["result"]


def test_jobs_that_stand_aside_let_others_go_on():
    """And never two of them compute at a time."""
    queue, gate, computing, most = JobQueue(lanes=3), threading.Event(), [0], [0]

    def compute(seconds=0.0):
        computing[0] += 1
        most[0] = max(most[0], computing[0])
        time.sleep(seconds)
        computing[0] -= 1

    def slow():
        compute()
        with queue.aside():
            gate.wait(20)
        compute(0.01)

    threads = [threading.Thread(target=queue.run, args=(slow,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        queue.run(compute, 0.001)
    gate.set()
    for thread in threads:
        thread.join()
    with queue.aside():  # outside of a job it does nothing
        assert most == [1]
    queue.close()


def test_a_file_that_is_slow_to_decode_delays_no_other_preview(client, monkeypatch):
    """It is decoded in a child process, and what is refused is not decoded again."""
    gate, calls = threading.Event(), []
    honest = service_module.read

    def read(path, **limits):
        calls.append(path)
        assert limits["seconds"] > 0 and limits["megapixels"] == 100
        if path == slow.path:
            gate.wait(20)
            raise UsageError(f"{path}: takes more than 15 seconds")
        return honest(path, **limits)

    monkeypatch.setattr(service_module, "read", read)
    slow, other = (client.service.store.get(client.post(f"/upload?name={name}.png", content=png()).json()["token"])
                   for name in ("slow", "other"))
    refused = []

    def preview():
        with pytest.raises(UsageError) as told:
            client.queue.run(client.service.preview, slow.token, EnhanceRequest())
        refused.append(str(told.value))

    thread = threading.Thread(target=preview)
    thread.start()
    while not calls:
        time.sleep(0.001)
    assert client.queue.run(client.service.preview, other.token, EnhanceRequest()).size == (80, 60)
    assert client.queue.run(client.service.save, other.token, EnhanceRequest()).file.name == "other_enhanced.png"
    assert not refused
    gate.set()
    thread.join()
    preview()
    assert refused == ["slow.png: takes more than 15 seconds"] * 2 and calls.count(slow.path) == 1


def test_folders_of_killed_pages_are_removed_and_no_others(tmp_path, monkeypatch):
    """A page that lives keeps its own; what only looks like one stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with page_folder() as folder:
            (folder / "files").mkdir()
            (folder / "files/a.jpg").write_bytes(b"x")
            os.write(writing, str(folder).encode())
            signal.pause()
    dead = Path(os.read(reading, 1000).decode())
    (tmp_path / "rlenhance-page-notes").mkdir()
    (tmp_path / "rlenhance-page-notes/mine").write_text("x")
    (tmp_path / "rlenhance-page-file").write_text("x")
    (tmp_path / "rlenhance-page-link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/page.lock").write_text("")
    remove_dead()
    assert (dead / "files/a.jpg").exists()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with page_folder() as own:
        remove_dead()
        assert own.exists() and not dead.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "rlenhance-page-file", "rlenhance-page-link",
                                                                "rlenhance-page-notes"]
    with pytest.raises(UsageError, match="TMPDIR"):
        monkeypatch.setattr("tempfile.tempdir", "/nowhere")
        with page_folder():
            pass


def test_files_that_are_removed_at_the_same_moment_are_no_fault(tmp_path):
    """The room is counted, and files are asked for, while others remove theirs."""
    store = FileStore(tmp_path)
    kept = store.create("kept.png")
    kept.path.write_bytes(b"12345")
    stop, failures = threading.Event(), []

    def come_and_go():
        while not stop.is_set():
            other = store.create("a.png")
            other.path.write_bytes(b"x")
            store.remove(other.token)
            try:
                store.get(other.token)
            except UsageError:
                continue

    def guarded():
        try:
            come_and_go()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(600):
            assert 5 <= store.size() <= 8
            store.get(kept.token)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    kept.path.unlink()
    with pytest.raises(UsageError, match="no longer here"):
        store.get(kept.token)

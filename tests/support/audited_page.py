"""A page in a process of its own that writes down what it opens, looks up, connects to and starts.

`python -m tests.support.audited_page LOG [RUNS]` serves a page as `rlenhance demo --port 0` does.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
#: Audit events (https://docs.python.org/3/library/audit_events.html) that are written down.
WATCHED = {"open", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.connect",
           "socket.sendto", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.rename",
           "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "shutil.copyfile", "shutil.move",
           "urllib.Request"}
#: Values of the controls of the first tab, in their order: those that it begins with.
CONTROLS = [True, 0.475, 0, 0, 0.5, 0, 1, 0, False, 0, "as it is", "natural", "as the original", False,
            "by hand", None]


class AuditedPage:
    """The process, its address and what it did.

    Args:
        folder: for its temporary folder and its log.
        words: further settings of `rlenhance.web.server.Settings`.
    """

    def __init__(self, folder: Path, **settings: Any):
        self.folder, self.log = folder / "tmp", folder / "audit.log"
        self.folder.mkdir(parents=True)
        words = [sys.executable, "-m", "tests.support.audited_page", str(self.log), json.dumps(settings)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=folder,
                                        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(self.folder)})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        assert found, line + (folder / "stderr").read_text()
        self.host, self.port = found[1], int(found[2])

    def __enter__(self) -> AuditedPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def connect(self, seconds: float = 30) -> http.client.HTTPConnection:
        """A connection that may be used for many requests."""
        return http.client.HTTPConnection(self.host, self.port, timeout=seconds)

    def ask(self, method: str, way: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """One request: status and body."""
        connection = self.connect()
        try:
            connection.request(method, way, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def events(self) -> dict[int, dict[str, Any]]:
        """The events of the page by their numbers, as it tells a browser."""
        text = self.ask("GET", "/")[1].decode()
        config = json.JSONDecoder().raw_decode(text, text.index("window.gradio_config = ") + 23)[0]
        return {event["id"]: event for event in config["dependencies"]}

    def run(self, number: int, values: list[Any], session: str = "a-session") -> str:
        """One event to its end: the messages of its stream."""
        body = {"data": values, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
        status, text = self.ask("POST", "/gradio_api/queue/join", json.dumps(body).encode())
        assert status == 200, text
        return self.ask("GET", f"/gradio_api/queue/data?session_hash={session}")[1].decode()

    def acts(self, start: int = 0) -> list[list[str]]:
        """What it did since a position of its log: [event, argument]."""
        with self.log.open("rb") as file:
            file.seek(start)
            return [json.loads(line) for line in file.read().splitlines()]

    def foreign(self, start: int = 0) -> list[list[str]]:
        """Acts outside its own folder that are more than the import of installed code and the shipped weights."""
        return [act for act in self.acts(start) if not self._own(*act)]

    def _own(self, event: str, target: str) -> bool:
        if event == "open" and (target.isdigit() or target in (os.devnull, "/proc/cpuinfo", "/etc/os-release")):
            return True  # a descriptor that is open already, what a child writes to, what torch reads of the machine
        if event == "subprocess.Popen":
            return "rlenhance.io.isolate import _serve" in target  # decodes, in a child
        if Path(os.path.normpath(target)).is_relative_to(self.folder):
            return True
        installed = any(Path(target).is_relative_to(path) for path in (sys.prefix, sys.base_prefix, ROOT / "rlenhance"))
        return event == "open" and installed and ".." not in target and (
            target.endswith((".py", ".pyc", ".so")) or "/gradio/templates/" in target or "/rlenhance/" in target)


def main(log: str, settings: str) -> None:
    """Serve, and write down."""
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, words: tuple[Any, ...]) -> None:
        if event in WATCHED:
            target = words[1] if event in ("socket.connect", "socket.sendto", "subprocess.Popen") else words[0]
            os.write(written, json.dumps([event, os.fsdecode(target) if isinstance(target, bytes) else str(target)])
                     .encode() + b"\n")

    sys.addaudithook(hook)
    from rlenhance.web.server import Settings, serve

    words = json.loads(settings)
    runs = words.pop("runs", None)
    serve(Settings(port=0, runs=runs and Path(runs), **words))


if __name__ == "__main__":
    main(*sys.argv[1:])

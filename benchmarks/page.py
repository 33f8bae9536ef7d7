"""The web page: what previews and picks cost, and whether its server grows: `python -m benchmarks.page [REQUESTS]`.

`python -m benchmarks.page picks` measures the picks alone. With Playwright and a Chromium (Debian: chromium) they are
also made in a browser, from the press to the next versions on the screen. Previews are timed in CPU seconds of one
thread, which other work on the machine hardly changes. The server is a process of its own; its resident memory (Linux)
is read while uploads, previews, saved photographs and bad files go through it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from rlenhance.io import write
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import ImageCache

SIZES = {"1 megapixel": (1200, 800), "12 megapixels": (4240, 2832), "24 megapixels": (6000, 4000)}


def dark(width: int, height: int) -> np.ndarray:
    """A sample photograph of that size in bad light: (height, width, 3) uint8."""
    picture = cv2.resize(ImageCache().load(sample_path("coffee")), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint(((picture / 255) ** 2.2 / 10) ** (1 / 2.2) * 255).astype(np.uint8)


def previews(folder: Path) -> None:
    """Print what a preview costs: the first of a photograph, which reads it, and those that follow a slider."""
    from rlenhance.pipelines.options import EnhanceSettings
    from rlenhance.web.file_store import FileStore
    from rlenhance.web.html import before_after
    from rlenhance.web.service import EnhanceRequest, EnhanceService

    service = EnhanceService(FileStore(folder / "files"))
    print("| photograph | first preview | a slider moved | and grain taken out |\n|---|---|---|---|")
    for name, size in SIZES.items():
        times = []
        for round_ in range(4):  # the first one warms up
            stored = service.store.create("night.jpg")
            write(dark(*size), stored.path)
            row = []
            for settings in (EnhanceSettings(), EnhanceSettings(preference={"contrast": 0.1 * round_}),
                             EnhanceSettings(denoise=0.5)):
                def work(token: str = stored.token, settings: EnhanceSettings = settings) -> None:
                    made = service.preview(token, EnhanceRequest(settings))
                    before_after(made.before, made.after)

                row.append(cpu(work))
            times.append(row)
        medians = [sorted(column)[1] for column in zip(*times[1:], strict=True)]
        print(f"| {name} | " + " | ".join(f"{seconds:.2f} s" for seconds in medians) + " |", flush=True)
    service.store.close()


def picks() -> None:
    """Print how long a choice under My look is waited for: the answer, the next versions and their HTML."""
    from rlenhance.looks.taste import TasteSession
    from rlenhance.pipelines.enhance import Enhancer
    from rlenhance.web.tabs.taste_tab import next_question

    for versions in (2, 4):
        session = TasteSession(Enhancer(), {str(side): dark(side, side * 2 // 3) for side in (900, 1000, 1080)},
                               options=versions)
        next_question(session)
        waited, used = [], []
        for number in range(15):
            start, before = time.perf_counter(), time.process_time()
            session.answer(number % versions)
            next_question(session)
            waited.append(time.perf_counter() - start)
            used.append(time.process_time() - before)
        print(f"15 picks of {versions} versions: median {sorted(waited)[7]:.2f} s, longest {max(waited):.2f} s; CPU "
              f"{sorted(used)[7]:.2f} s and {max(used):.2f} s", flush=True)


def browser_picks(page: Page, people: int = 3) -> None:
    """Print how long a browser waits for the next four versions, decoded and on the screen, after a press.

    Args:
        page: the server; its CPU seconds are read (Linux).
        people: each makes eight picks of three photographs, whose versions have 1080 pixels on the longer side.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        print("picks in a browser: not measured, as there is no Playwright or no Chromium here")
        return
    files = [page.folder / f"{side}.jpg" for side in (1080, 1200, 1500)]
    for file in files:
        write(dark(int(file.stem), int(file.stem) * 2 // 3), file)
    waited, used = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for person in range(people):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            tab = context.new_page()
            tab.goto(page.address)
            tab.get_by_role("tab", name="My look", exact=True).first.click()
            tab.wait_for_timeout(1000)
            tab.set_input_files("#drop-taste input[type=file]", [str(file) for file in files])
            tab.wait_for_selector(".versions[data-question='1'] [data-code='3']")
            for question in range(1, 9):
                tab.wait_for_timeout(1000)  # a person looks
                before = page.seconds()
                waited.append(tab.evaluate(_PICK, [question, (question + person) % 4]) / 1000)
                used.append(page.seconds() - before)
            context.close()
        browser.close()
    for file in files:
        file.unlink()
    middle = len(waited) // 2
    print(f"{len(waited)} picks of 4 versions in a browser: median {sorted(waited)[middle]:.2f} s, longest "
          f"{max(waited):.2f} s; CPU of the server {sorted(used)[middle]:.2f} s and {max(used):.2f} s", flush=True)


#: Presses a version, and gives the milliseconds until those of the next question are on the screen.
_PICK = """async ([question, code]) => {
  const start = performance.now();
  document.querySelector(`.versions[data-question='${question}'] [data-code='${code}']`).click();
  const frame = () => new Promise(requestAnimationFrame);
  let images = [];
  while (images.length < 4) {
    await frame();
    images = [...document.querySelectorAll(`.versions[data-question='${question + 1}'] img`)];
  }
  await Promise.all(images.map((image) => image.decode()));
  await frame();
  return performance.now() - start;
}"""


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


class Page:
    """A server, and what a browser and a program send to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        words = [sys.executable, "-m", "rlenhance", "demo", "--port", "0"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "TMPDIR": str(folder)})
        assert self.process.stdout is not None
        self.address = re.findall(r"http://\S+", self.process.stdout.readline())[0]
        text = self.ask("/").decode()
        config = json.JSONDecoder().raw_decode(text, text.index("window.gradio_config = ") + 23)[0]
        self.preview_at = next(event["id"] for event in config["dependencies"] if event["api_name"] == "preview")

    def ask(self, way: str, body: bytes | None = None, **headers: str) -> bytes:
        """One request; a refusal's text is an answer too."""
        try:
            request = urllib.request.Request(self.address + way, body, headers)
            with urllib.request.urlopen(request, timeout=120) as found:
                return bytes(found.read())
        except urllib.error.HTTPError as error:
            return bytes(error.read())

    def preview(self, token: str, session: str, contrast: float) -> str:
        """What a slider's event does."""
        values = [json.dumps([token]), True, 0.475, contrast, 0, 0.5, 0, 1, 0, False, 0, "as it is", "natural",
                  "as the original", False]
        body = {"data": values, "fn_index": self.preview_at, "session_hash": session, "event_data": None}
        self.ask("/gradio_api/queue/join", json.dumps(body).encode(), **{"Content-Type": "application/json"})
        return self.ask(f"/gradio_api/queue/data?session_hash={session}").decode()

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def seconds(self) -> float:
        """CPU seconds so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def files(self) -> int:
        """How many lie in its folder, on the shelf and elsewhere."""
        return sum(path.is_file() for path in self.folder.rglob("*"))

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(60)


def requests(page: Page, count: int) -> None:
    """Send them, and print the memory on the way."""
    picture = page.folder / "night.jpg"
    write(dark(1200, 800), picture)
    data = picture.read_bytes()
    picture.unlink()
    token, every = "", max(1, count // 10)
    print("\n| requests | resident MB | files |\n|---|---|---|")
    for number in range(count + 1):
        if number % every == 0:
            print(f"| {number} | {page.memory():.0f} | {page.files()} |", flush=True)
        if number % 4 == 0:
            answer = page.ask("/api/enhance?name=night.jpg&contrast=0.2", data)
            assert answer[:2] == b"\xff\xd8", answer[:200]
        elif number % 4 == 1 or not token:
            token = json.loads(page.ask("/upload?name=night.jpg", data))["token"]
            assert "before-after" in page.preview(token, f"s{number}", 0.0)
        elif number % 4 == 2:
            assert "before-after" in page.preview(token, f"s{number}", (number % 50) / 50)
        else:
            assert b"damaged" in page.ask("/api/enhance?name=torn.jpg", b"\xff\xd8\xff" + bytes(1000))
        if number % 10 == 0:
            page.ask("/")


def main(count: int | None) -> None:
    """All of it, or without a count the picks; their versions are rendered by as many threads as there are cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        if count is not None:
            previews(Path(folder) / "previews")
        picks()
        page = Page(Path(folder))
        try:
            browser_picks(page)
            if count is not None:
                requests(page, count)
        finally:
            page.close()
        print(f"\n{page.files()} files are left once it has stopped")


if __name__ == "__main__":
    main(None if sys.argv[1:] == ["picks"] else int(sys.argv[1]) if len(sys.argv) > 1 else 500)

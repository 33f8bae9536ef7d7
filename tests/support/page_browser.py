"""A browser with the page in front of it: photographs, a server, and what hands do.

It needs Playwright and a Chromium of the system (Debian: apt-get install chromium).
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from rlenhance.io import read, write
from rlenhance.io.samples import sample_path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/images/page"
SHOTS = Path(os.environ.get("RLENHANCE_SCREENSHOTS", ROOT / "build/screenshots"))
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 60_000  # milliseconds: a starved machine is no failure
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt-get install chromium")


def sources():
    """A sum over all that decides how the page looks."""
    files = sorted(path for path in (ROOT / "rlenhance/web").rglob("*") if path.suffix in (".css", ".js")
                   or path.name.endswith("_tab.py") or path.name in ("page.py", "components.py", "html.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sample photographs in bad light, and a run."""
    place = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name, exposure, side in (("coffee", 1 / 10, 1200), ("astronaut", 1 / 6, 600)):
        picture = read(sample_path(name)).pixels
        height, width = picture.shape[:2]
        picture = cv2.resize(picture, (side, side * height // width), interpolation=cv2.INTER_CUBIC)
        light = (picture / 255) ** 2.2 * exposure
        light = light + rng.normal(0, 1, picture.shape) * np.sqrt(light * 2e-4 + 4e-7)
        write(np.rint(np.clip(light, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8), place / f"{name}.jpg")
    coffee = cv2.resize(read(sample_path("coffee")).pixels, (1200, 800), interpolation=cv2.INTER_CUBIC)
    write(np.clip(np.rint(coffee + rng.normal(0, 22, coffee.shape)), 0, 255).astype(np.uint8), place / "grainy.png")
    holed = read(sample_path("chelsea")).pixels.copy()
    holed[60:130, 250:330] = 0
    write(holed, place / "holed.png")
    (place / "torn.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 500)
    run = place / "runs/lol/first"
    (run / "samples").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"kind": "rlenhance run", "arguments": {"learner": "a3c"}}))
    rows = [f"{step},{-3 + 2 * step / (step + 60)},{22 - 8 * np.exp(-step / 80)},{18 + np.sin(step / 9)},"
            f"{0.4 - step / 900}" for step in range(0, 300, 10)]
    (run / "metrics.csv").write_text("\n".join([
        "step,rollout/return,val/psnr,collapse/constant_psnr,policy/entropy/global", *rows]))
    for step in (0, 100, 200):
        write(np.clip(read(sample_path("chelsea")).pixels[:200] * (0.2 + step / 250), 0, 255).astype(np.uint8),
              run / f"samples/episodes-{step:06d}.png")
    return place


@pytest.fixture(scope="module")
def server(folder):
    """The page, served as a person would; it is not waited for."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')
    words = [sys.executable, "-m", "rlenhance", "demo", "--port", "0", "--runs", str(folder / "runs")]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=folder,
                          env={**os.environ, "PYTHONPATH": path}) as server:
        yield server
        server.terminate()
        assert server.wait(60) in (0, 143)


@pytest.fixture(scope="module")
def browser(server):
    """A Chromium that finds no other machine; it starts while the server does."""
    tools = pytest.importorskip("playwright.sync_api", reason='no Playwright here: pip install ".[dev]"')
    with tools.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=[
            "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu",
            "--disable-background-networking"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(server, browser):
    """Where the page is."""
    return re.search(r"http://\S+", server.stdout.readline())[0]


def opened(browser, address, **options):
    """The page, and every host that it asks for."""
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.asked, page.errors = set(), []
    page.on("request", lambda request: page.asked.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#drop-enhance photo-drop")
    return page


@pytest.fixture(scope="module")
def page(browser, address):
    """One for all tests, in the dark; each works in its own tab."""
    found = opened(browser, address, viewport={"width": 1440, "height": 900}, color_scheme="dark")
    yield found
    assert found.errors == []
    found.context.close()


def shot(page, name, whole=False):
    """A screenshot of what is in view, or of the whole page, without messages of what went before."""
    page.evaluate("document.querySelectorAll('[data-testid=toast-close]').forEach(button => button.click())")
    page.wait_for_function("() => !document.querySelector('[data-testid=toast-close]')")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.jpg", type="jpeg", quality=72, full_page=whole)


def choose(page, name, *files):
    """Files into a place for them, after the same pause as in `shown`."""
    page.wait_for_timeout(500)
    page.set_input_files(f"#drop-{name} input[type=file]", [str(file) for file in files])


def shown(page, view="#view"):
    """The right picture of a divided one, after a short pause: Gradio may lose an event that is sent while the stream
    of its last answers closes."""
    page.wait_for_timeout(500)
    return page.locator(f"{view} before-after").get_attribute("after")


def changed(page, before, view="#view"):
    """Wait until it is another one."""
    page.wait_for_function("([view, before]) => { const found = document.querySelector(view + ' before-after');"
                           "return found && found.getAttribute('after') !== before; }", arg=[view, before])
    return shown(page, view)


def press(page, button):
    """A button that asks the server for something, after the same pause as in `shown`."""
    page.wait_for_timeout(500)
    page.click(button)


def level(page, name):
    """A slider's number."""
    return float(page.input_value(f"#{name} input[type=number]"))


def developer(page):
    """Switch the developer's tabs on."""
    page.check("#developer input")
    page.locator("button", has_text="Training runs").last.wait_for(state="attached")


def look_by_drag(page, view, x, y):
    """Drag the picture of a viewer by parts of its width and height."""
    page.evaluate("scrollTo(0, 0)")
    box = page.locator(f"{view} before-after .frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (0.25 + x), box["y"] + box["height"] * (0.25 + y), steps=3)
    page.mouse.up()


def tab(page, name):
    """Open a tab, from the menu where there is no room for it."""
    found = page.get_by_role("tab", name=name, exact=True)
    if not found.first.is_visible():
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text=name).first.click()
        return
    found.first.click()

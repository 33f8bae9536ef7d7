"""The documentation as a site: it builds without a warning, opens from the disk, and loads nothing from outside."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import rlenhance
from rlenhance import envs
from rlenhance.agents import LEARNERS

ROOT = Path(__file__).parents[1]
MKDOCS = [sys.executable, "-m", "mkdocs"] if importlib.util.find_spec("mkdocs") else \
    [path for path in (shutil.which("mkdocs"),) if path]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """What a page loads, what it links to, and the anchors that it has."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("href") and given.get("rel") not in ("prev", "next", "canonical"):
            self.loaded.append(given["href"])
        elif given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built anew."""
    if not MKDOCS:
        pytest.skip('the site needs mkdocs: pip install ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([*MKDOCS, "build", "--strict", "-d", str(folder)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Path -> what stands on it."""
    return {path: Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_page_can_be_reached_from_the_first(site, pages):
    """By links of the navigation, from index.html."""
    seen, waiting = set(), [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path in seen or path not in pages:
            continue
        seen.add(path)
        waiting += [(path.parent / unquote(urldefrag(link).url)).resolve() for link in pages[path].links
                    if not urlsplit(link).scheme]
    assert {path.name for path in pages} == {path.name for path in seen} and len(pages) == len(seen)


def test_nothing_is_loaded_from_outside(site, pages):
    """No script, style, font or picture of another host, in pages and in style sheets."""
    outside = {link for page in pages.values() for link in page.loaded if urlsplit(link).scheme not in ("", "data")}
    styles = [style.read_text() for style in site.rglob("*.css")]
    outside |= {found for style in styles for found in re.findall(r"url\(['\"]?(?!data:)(?:https?:)?//[^)]*\)", style)}
    assert not outside and not any(re.search(r"@import\s+(url\()?['\"]?https?:", style) for style in styles)


def test_every_link_leads_to_a_file_and_an_anchor_that_exist(site, pages):
    """Within the site."""
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme:
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            if not file.exists() or (anchor and file in pages and unquote(anchor) not in pages[file].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_every_public_name_has_its_place():
    """All of `rlenhance.__all__`, every environment id, and every learner."""
    text = "\n".join(page.read_text() for page in (ROOT / "docs/reference/api").glob("*.md"))
    assert [name for name in rlenhance.__all__ if not re.search(rf"^(:::|###) rlenhance\.{name}$", text, re.M)] == []
    text = (ROOT / "docs/reference/environment.md").read_text()
    assert [name for name in envs.ENV_IDS if f"### {name}\n" not in text] == []
    text = (ROOT / "docs/reference/learners.md").read_text()
    assert [name for name in LEARNERS if f": `{name}`\n" not in text] == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt-get install chromium")
def test_the_site_opens_from_the_disk_and_is_searched_without_a_network(site):
    """Nothing is asked of a network, nothing fails, and the search finds a function's page."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(f"file://{site}/index.html")
        page.keyboard.press("s")
        page.keyboard.type("harmonic_fill")
        page.wait_for_selector("a.md-search-result__link[href*='operations']", timeout=60_000)
        browser.close()
    assert failed == [] and [url for url in asked if url.startswith("http")] == []

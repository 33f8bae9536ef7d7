"""The page in a real browser: every path that a person takes, with nothing reachable but this machine.

It needs Playwright and a Chromium of the system (Debian: apt-get install chromium). Screenshots go to
build/screenshots; `make screenshots` puts them into docs/images/page.
"""

# ruff: noqa: F811 (fixtures are imported, and named by tests)
import base64
import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.io import read, write
from rlenhance.io.samples import sample_path
from rlenhance.pipelines.looks import load_look
from tests.support.page_browser import (  # noqa: F401
    PAGES,
    ROOT,
    SHOTS,
    address,
    browser,
    changed,
    choose,
    developer,
    folder,
    in_a_browser,
    level,
    look_by_drag,
    opened,
    page,
    press,
    server,
    shot,
    shown,
    sources,
    tab,
)

#: Labels that are wider than their places.
CUT = """() => [...document.querySelectorAll('.controls :is(label, span, .info-text, button)')].filter((part) =>
    part.offsetParent && part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflow !== 'visible'
    ).map((part) => part.textContent)"""


def test_the_screenshots_in_the_pages_are_of_this_page():
    """Whoever changes the page makes them anew; where that is done now, they are."""
    if SHOTS.resolve() == PAGES:
        return
    assert (PAGES / "made-of.txt").read_text().strip() == sources(), "the page has changed: make screenshots"
    assert all(path.stat().st_size < 200_000 for path in PAGES.iterdir())


@in_a_browser
def test_one_photograph_from_drop_to_save(page, folder, tmp_path, monkeypatch):
    """It is shown before and after; a slider that is dragged or pressed changes it; what is saved is the command's.
    There is nothing to save before; the brightness that was chosen is shown."""
    assert not page.is_visible("#save") and not page.is_visible("#four")
    choose(page, "enhance", folder / "coffee.jpg")
    page.wait_for_selector("#view before-after")
    first = shown(page)
    assert 0.3 < level(page, "exposure-level") < 0.47
    bar = page.locator("#contrast input[type=range]")
    box = bar.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    second = changed(page, first)
    assert 0.2 < level(page, "contrast") < 0.6
    page.locator("#exposure-level input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    changed(page, second)
    page.wait_for_function("() => !document.querySelector('#auto input').checked")
    shot(page, "enhance")
    developer(page)
    page.get_by_text("As a command").click()
    page.wait_for_function("() => document.querySelector('#command textarea')?.value.includes('--exposure')")
    words = shlex.split(page.input_value("#command textarea"))
    assert words[:3] == ["rlenhance", "enhance", "coffee.jpg"] and json.loads(page.input_value("#recipe textarea"))
    with page.expect_download() as waiting:
        press(page, "#save")
    assert waiting.value.suggested_filename == "coffee_enhanced.jpg"
    shutil.copy(folder / "coffee.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    assert Path(waiting.value.path()).read_bytes() == Path("coffee_enhanced.jpg").read_bytes()


@in_a_browser
def test_presets_variants_reasons_and_a_picture_to_match(page, folder):
    """Each sets the sliders, and the picture follows; the reasons show each step."""
    choose(page, "enhance", folder / "astronaut.jpg")
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('astronaut')")
    before = shown(page)
    press(page, "#preset-vivid")
    before = changed(page, before)
    assert page.locator(".presets button[aria-pressed=true]").all_inner_texts() == ["Vivid"]
    assert (level(page, "color"), level(page, "contrast"), page.is_checked("#auto input")) == (1, 0.3, True)
    press(page, "#four")
    page.wait_for_selector("#variants button[data-number='3']")
    page.wait_for_function(
        "() => document.querySelector('#variants').getBoundingClientRect().bottom <= innerHeight + 1")
    shot(page, "variants")
    press(page, "#variants button[data-number='0']")
    before = changed(page, before)
    assert level(page, "color") == pytest.approx(0.6) and not page.is_checked("#auto input")
    page.get_by_text("Match a picture that you like").click()
    choose(page, "match", sample_path("chelsea"))
    changed(page, before)
    assert level(page, "exposure-level") == pytest.approx(read(sample_path("chelsea")).pixels.mean() / 255, abs=0.006)


@in_a_browser
def test_settings_are_taken_back_and_outlive_a_reload(browser, address, folder):
    """A drag is one step; the first settings come back; what a slider shows is seen and covered by nothing."""
    page = opened(browser, address, viewport={"width": 1440, "height": 900}, color_scheme="light")
    knob = page.locator("#strength input[type=range]")
    picture = cv2.imdecode(np.frombuffer(knob.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)
    middle = picture.shape[0] // 2
    assert np.abs(picture[middle, -8] - picture[1, 1]).max() > 60, "the knob is not seen"
    box = page.locator("#strength input[type=number]").bounding_box()
    assert box["y"] + box["height"] <= knob.bounding_box()["y"] + 2
    assert page.is_disabled("#undo")
    knob.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    press(page, "#preset-vivid")
    page.wait_for_selector("#preset-vivid[aria-pressed=true]")
    page.reload()
    page.wait_for_selector("#preset-vivid[aria-pressed=true]")
    assert (level(page, "color"), level(page, "contrast")) == (1, 0.3)
    press(page, "#reset")
    page.wait_for_function("() => document.querySelector('#color input[type=number]').value === '0'")
    press(page, "#undo")
    page.wait_for_selector("#preset-vivid[aria-pressed=true]")
    assert level(page, "color") == 1 and page.is_disabled("#undo") and page.errors == []
    page.context.close()


@in_a_browser
def test_a_folder_is_dropped_and_a_picture_is_pasted(browser, address, folder):
    """The pictures of the folder and of its folders arrive, and nothing else does."""
    place = folder / "evening"
    (place / "inside").mkdir(parents=True)
    shutil.copy(folder / "coffee.jpg", place / "inside/coffee.jpg")
    shutil.copy(folder / "astronaut.jpg", place / "astronaut.jpg")
    (place / "notes.txt").write_text("no picture")
    page = opened(browser, address, viewport={"width": 1440, "height": 900})
    tab(page, "Several")
    box = page.locator("#drop-several photo-drop").bounding_box()
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {
            "type": kind, "x": box["x"] + 50, "y": box["y"] + 15,
            "data": {"items": [], "files": [str(place)], "dragOperationsMask": 1}})
    page.get_by_text("2 photographs", exact=True).wait_for()
    tab(page, "Enhance")
    page.evaluate("""async (photo) => {
        const data = new DataTransfer(), bytes = await (await fetch(photo)).blob();
        data.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }""", "data:image/jpeg;base64," + base64.b64encode((folder / "coffee.jpg").read_bytes()).decode())
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('pasted.jpg')")
    assert page.errors == []
    page.context.close()

@in_a_browser
def test_the_gain_is_read_in_stops_and_pixels_are_seen_in_full_size(page, folder):
    """One overlay names the stops at the pointer; 1:1 shows the pixels of the file, and a drag others of them."""
    choose(page, "enhance", folder / "coffee.jpg")
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('coffee')")
    viewer = page.locator("#view before-after")
    page.evaluate("scrollTo(0, 0)")
    viewer.get_by_role("button", name="Why").click()
    box = viewer.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    assert re.fullmatch(r"brighter by \+\d\.\d EV here", viewer.locator("output").inner_text())
    shot(page, "why")
    viewer.get_by_role("button", name="Why").click()
    assert not viewer.locator("output").is_visible()
    before = shown(page)
    viewer.get_by_role("button", name="1:1").click()
    changed(page, before)
    image = viewer.locator("img.after")
    assert image.evaluate("image => image.getBoundingClientRect().width / image.naturalWidth") == pytest.approx(1)
    left = image.bounding_box()["x"]
    look_by_drag(page, "#view", 0.03, 0)
    assert image.bounding_box()["x"] > left
    shot(page, "full-size")
    viewer.get_by_role("button", name="Larger").click()
    assert image.evaluate("image => image.getBoundingClientRect().width / image.naturalWidth") == pytest.approx(2)
    viewer.locator("input").focus()
    page.keyboard.press("-")
    viewer.get_by_role("button", name="1:1").click()
    page.wait_for_function("() => !document.querySelector('#view before-after').hasAttribute('part')")


@in_a_browser
def test_a_sample_is_a_press_away(browser, address):
    """Who has no dark photograph at hand sees what the page does."""
    page = opened(browser, address, viewport={"width": 1440, "height": 900})
    page.click("#sample-photo")
    page.wait_for_selector("#view before-after")
    assert page.is_visible("#save") and not page.is_visible("#sample-photo") and page.errors == []
    page.context.close()


@in_a_browser
def test_a_photograph_is_enlarged(page, folder):
    """The detail stands beside the usual enlargement, and the whole has twice the pixels."""
    tab(page, "Enlarge")
    choose(page, "enlarge", folder / "astronaut.jpg")
    page.wait_for_selector("#enlarge-view before-after")
    assert "of 1200 × 1200 pixels" in page.inner_text("#enlarge-status")
    before = shown(page, "#enlarge-view")
    look_by_drag(page, "#enlarge-view", 0, -0.4)
    changed(page, before, "#enlarge-view")
    shot(page, "enlarge")
    with page.expect_download() as waiting:
        press(page, "#enlarge-save")
    assert waiting.value.suggested_filename == "astronaut_upscaled.jpg"


@in_a_browser
def test_what_cannot_be_read_is_named_without_a_trace(page, folder):
    """What is no picture is refused where it was dropped, what is damaged in a message."""
    choose(page, "enhance", ROOT / "README.md")
    page.wait_for_function("() => document.querySelector('#drop-enhance photo-drop').shadowRoot.textContent"
                           ".includes('README.md: not a picture')")
    choose(page, "enhance", folder / "torn.jpg")
    said = page.get_by_text("torn.jpg: damaged").first
    said.wait_for()
    assert "Traceback" not in page.content() and "/files/" not in page.content()
    page.get_by_test_id("toast-close").first.click()


@in_a_browser
def test_several_photographs_come_in_one_file(page, folder):
    """A gallery, a package, and the bad one by its name."""
    tab(page, "Several")
    choose(page, "several", folder / "coffee.jpg", folder / "torn.jpg", folder / "astronaut.jpg")
    page.get_by_text("3 photographs", exact=True).wait_for()
    with page.expect_download() as waiting:
        press(page, "#all")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == ["coffee_enhanced.jpg", "astronaut_enhanced.jpg"]
    assert page.locator("#gallery figure before-after").count() == 2
    assert "torn.jpg: damaged" in page.inner_text("#several-status")
    shot(page, "several")


@in_a_browser
def test_eight_picks_are_a_look_that_a_folder_gets(page, folder, tmp_path, monkeypatch):
    """A version is picked by a press or by its key, and taken back; what the folder gets is what the command makes of
    the file that was saved. A file that is no look is refused by what is wrong with it."""
    tab(page, "My look")
    names = ["coffee.jpg", "astronaut.jpg"]
    choose(page, "taste", *(folder / name for name in names))

    def answer(act, word, question):
        act(word)
        page.wait_for_selector(f".versions[data-question='{question}']")

    page.wait_for_selector(".versions[data-question='1'] [data-code='3']")
    assert not page.is_visible("#save-look") and page.is_disabled("[data-code='93']")
    shot(page, "taste")
    for number in range(1, 9):
        if number % 2:
            answer(page.click, f".versions[data-question='{number}'] [data-code='{number % 4}']", number + 1)
        else:
            answer(page.keyboard.press, str(number % 4 + 1), number + 1)
    for key, question in (("u", 8), ("n", 9), ("s", 10)):
        answer(page.keyboard.press, key, question)
    assert "8 of 8 to 15 picks; sure to" in page.inner_text("#taste-progress")
    with page.expect_download() as waiting:
        press(page, "#save-look")
    page.wait_for_selector("#look-result figure:nth-of-type(2)")
    shot(page, "look")
    shutil.copy(waiting.value.path(), tmp_path / waiting.value.suggested_filename)
    assert load_look(tmp_path / "my-look.json").about["picks"] == 8
    tab(page, "Several")
    choose(page, "several", *(folder / name for name in names))
    page.get_by_text("2 photographs", exact=True).first.wait_for()
    with page.expect_download() as waiting:
        press(page, "#all")
    monkeypatch.chdir(tmp_path)
    assert main(["enhance", *(str(folder / name) for name in names), "-o", "out", "--look", "my-look.json"]) == 0
    with zipfile.ZipFile(waiting.value.path()) as archive:
        for name in names:
            assert archive.read(name.replace(".jpg", "_enhanced.jpg")) == (tmp_path / "out" / name).read_bytes()
    tab(page, "My look")
    (tmp_path / "bad.json").write_text((tmp_path / "my-look.json").read_text().replace('"version": 1', '"version": 9'))
    page.set_input_files("#look-file input", tmp_path / "bad.json")
    page.get_by_text("version 9 of looks is not known").first.wait_for()
    page.get_by_test_id("toast-close").first.click()
    page.set_input_files("#look-file input", tmp_path / "my-look.json")
    page.get_by_text("The look is loaded").wait_for()
    tab(page, "Enhance")
    page.click("#chooses input")
    page.get_by_role("option", name="by hand").click()
    page.wait_for_selector("#contrast", state="visible")


def fill_it(page):
    """Press the button, and wait for another result: its two pictures."""
    result = "document.querySelector('#completed figure:nth-of-type(2) img')?.src"
    before = page.evaluate(result)
    press(page, "#fill")
    page.wait_for_function(f"before => {{ const now = {result}; return now && now !== before; }}", arg=before)
    return [image.get_attribute("src") for image in page.locator("#completed img").all()]


@in_a_browser
def test_a_hole_is_found_painted_and_filled(page, folder):
    """Nothing is filled before something is marked; a black hole is found on request; a brush, of mouse or keys, marks
    more; the result stands beside the input."""
    tab(page, "Complete")
    choose(page, "complete", folder / "holed.png")
    page.get_by_text("Paint over what is to be filled").wait_for()
    press(page, "#fill")
    page.get_by_text("nothing is painted").first.wait_for()
    page.get_by_test_id("toast-close").first.click()
    press(page, "#find")
    page.get_by_text("What was found is marked").wait_for()
    found = fill_it(page)
    with page.expect_download() as waiting:
        page.click("#completed a.take")
    whole, holed = read(waiting.value.path()).pixels, read(folder / "holed.png").pixels
    assert waiting.value.suggested_filename == "holed_completed.png"
    assert whole[60:130, 250:330].min() > 0 and (whole[:50] == holed[:50]).all()
    canvas = page.locator("#painting canvas")
    page.evaluate("scrollTo(0, 0)")
    box = canvas.bounding_box()
    for x, y in ((0.2, 0.3), (0.3, 0.35)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down() if x == 0.2 else page.mouse.up()
    painted = fill_it(page)
    assert painted[1] != found[1]
    shot(page, "complete", whole=True)
    page.get_by_role("button", name="Clear").click()
    canvas.focus()
    page.keyboard.down(" ")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.up(" ")
    assert fill_it(page)[1] not in (found[1], painted[1])


@in_a_browser
def test_grain_is_taken_out(page, folder):
    """A detail, pixel for pixel, follows its sliders; the whole is saved."""
    tab(page, "Denoise")
    choose(page, "denoise", folder / "grainy.png")
    page.wait_for_selector("#denoise-view before-after")
    before = shown(page, "#denoise-view")
    page.locator("#grain input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    changed(page, before, "#denoise-view")
    assert "720 × 480 of 1200 × 800" in page.inner_text("#denoise-status")
    before = shown(page, "#denoise-view")
    page.locator("#denoise-view input[type=range]").focus()
    page.keyboard.press("Shift+ArrowDown")
    changed(page, before, "#denoise-view")
    shot(page, "denoise")
    with page.expect_download() as waiting:
        press(page, "#denoise-save")
    assert waiting.value.suggested_filename == "grainy_denoised.png"


@in_a_browser
def test_an_old_photograph_is_repaired(page, folder):
    """What was done to the detail is told, other work shows another detail, and the whole is saved."""
    old = cv2.resize(read(sample_path("coffee")).pixels, (900, 600), interpolation=cv2.INTER_AREA)
    (folder / "old.jpg").write_bytes(cv2.imencode(".jpg", old[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 12])[1].tobytes())
    tab(page, "Restore")
    choose(page, "restore", folder / "old.jpg")
    page.wait_for_selector("#restore-view before-after")
    assert "this detail: nothing" not in page.inner_text("#restore-status")
    assert page.evaluate(CUT) == []
    shot(page, "restore")
    before = shown(page, "#restore-view")
    page.locator("#repair input[type=range]").focus()
    page.keyboard.press("Home")
    changed(page, before, "#restore-view")
    with page.expect_download() as waiting:
        press(page, "#restore-save")
    assert waiting.value.suggested_filename == "old_restored.jpg"


@in_a_browser
def test_models_are_compared(page, folder):
    """Reinforcement learning against its supervised twin, with scores where the reference lies beside it."""
    developer(page)
    tab(page, "Compare models")
    choose(page, "compare", folder / "astronaut.jpg")
    page.wait_for_selector("#scores table")
    write(cv2.resize(read(sample_path("astronaut")).pixels, (600, 600)), folder / "good.png")
    choose(page, "reference", folder / "good.png")
    page.locator("#scores", has_text="SSIM").wait_for()
    assert page.locator("#scores tbody tr").count() == 3
    shot(page, "compare")


@in_a_browser
def test_a_training_run_is_opened(page):
    """Its curves, its samples over time, and the watch for collapse."""
    developer(page)
    tab(page, "Training runs")
    page.click("#run input")
    page.get_by_role("option", name="lol/first").click()
    page.wait_for_selector("#sample-view img")
    assert page.locator("#charts svg").count() == 4 and "each in its own way" in page.inner_text("#watch")
    last = page.locator("#sample-view img").get_attribute("src")
    page.locator("#sample input[type=range]").focus()
    page.keyboard.press("Home")
    page.wait_for_function("last => document.querySelector('#sample-view img').src !== last", arg=last)
    shot(page, "runs")


@in_a_browser
def test_a_telephone_and_a_keyboard_are_enough(browser, address, folder):
    """Nothing is wider than the screen; Tab, arrows and Enter reach the file, the divider, presets and sliders."""
    page = opened(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    choose(page, "enhance", folder / "coffee.jpg")
    page.wait_for_selector("#view before-after")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(found.is_visible() for found in page.get_by_role("tab").all()[:7])
    assert page.evaluate(CUT) == []
    for part in ("#view before-after", "#save", "#preset-bright", "#auto", "#exposure-level", "#contrast", "#color"):
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844, part
    shot(page, "phone")
    reached, focused = set(), """() => { let at = document.activeElement;
        while (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement;
        return at.getAttribute('aria-label') || at.id || at.closest('[id]')?.id || ''; }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(focused)
        reached.add(at)
        if at.startswith("Divider"):
            before = page.evaluate("document.activeElement.shadowRoot.activeElement.value")
            page.keyboard.press("ArrowLeft")
            assert page.evaluate("document.activeElement.shadowRoot.activeElement.value") != before
        if at == "preset-vivid":
            before = shown(page)
            page.keyboard.press("Enter")
            changed(page, before)
            break
    assert any(word.startswith("Choose a dark photograph") for word in reached)
    assert any(word.startswith("Divider") for word in reached) and {"save", "four"} <= reached
    tab(page, "My look")
    choose(page, "taste", folder / "coffee.jpg", folder / "astronaut.jpg")
    page.wait_for_selector(".versions [data-code='3']")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, "phone-look")
    tab(page, "Complete")
    choose(page, "complete", folder / "holed.png")
    page.get_by_text("Paint over what is to be filled").wait_for()
    developer(page)
    tab(page, "Training runs")
    page.wait_for_selector("#run input")
    assert page.asked == {"127.0.0.1"} and page.errors == []
    page.context.close()


@in_a_browser
def test_no_other_machine_was_asked(page):
    """No font, no script, no count of visitors: whatever was opened above came from here."""
    assert page.asked - {None} == {"127.0.0.1"}
    if SHOTS.resolve() == PAGES:  # every path has been taken, and left its picture
        (PAGES / "made-of.txt").write_text(sources() + "\n")

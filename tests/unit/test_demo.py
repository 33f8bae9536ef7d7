"""The page without a browser: the same bytes as the command, one bounded line, files that go, a door that is shut."""

import asyncio
import base64
import dataclasses
import json
import shlex
import shutil
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from PIL import Image

from rlenhance.cli.demo import read_auth
from rlenhance.cli.main import main
from rlenhance.core.color import srgb_from_linear
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.io import read, write
from rlenhance.pipelines.explain import stops_gained
from rlenhance.pipelines.options import (
    PREFERENCE_FLAGS,
    DenoiseSettings,
    EnhanceSettings,
    RestoreSettings,
    UpscaleSettings,
)
from rlenhance.web.complete_service import complete, completion_methods, detect_mask
from rlenhance.web.file_store import FileStore, clean_name, parse_tokens
from rlenhance.web.html import chart, figures, notes, table
from rlenhance.web.job_queue import JobQueue, QueueFull
from rlenhance.web.password import Password
from rlenhance.web.previews import (
    UNCHANGED,
    compare,
    denoise,
    enlarge,
    preview_denoised,
    preview_enlarged,
    preview_restored,
    restore,
)
from rlenhance.web.run_reader import list_runs, open_run
from rlenhance.web.security import SecurityMiddleware, is_loopback
from rlenhance.web.service import EnhanceRequest, EnhanceService
from tests.support import corpus


def ask(model=None, preference=None, strip=False, format=None, **settings):
    """A request for an enhanced photograph."""
    return EnhanceRequest(EnhanceSettings(preference=preference or {}, **settings), model, strip, format)


LOOKS = {"as it comes": ask(),
         "turned": ask(preference={"exposure_level": 0.6, "contrast": 0.25, "color": -0.5}),
         "with grain out": ask(strength=0.7, denoise=0.4), "another": ask("relight", {"smoothness": 0.8}),
         "untouched": ask(strength=0.0), "another kind": ask(format="png"), "alone": ask(strip=True)}
NIGHT = np.random.default_rng(0).integers(0, 50, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A studio with the shipped models."""
    store = FileStore(tmp_path_factory.mktemp("page") / "files")
    yield EnhanceService(store)
    store.close()
    assert not store.folder.exists()


def put(service, source, name=None):
    """A file on the shelf, as the page's upload leaves it."""
    stored = service.store.create(name or source.name)
    shutil.copy(source, stored.path)
    return stored.token


@pytest.fixture
def night(tmp_path):
    """A JPEG with metadata, and a 16-bit PNG."""
    photo = Image.fromarray(NIGHT)
    photo.save(tmp_path / "my night.jpg", exif=corpus.make_exif(), quality=93, comment=b"a lamp")
    (tmp_path / "deep.png").write_bytes(corpus.png16(NIGHT.astype(np.uint16) * 200))
    return tmp_path


@pytest.mark.parametrize("settings", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("name", ["my night.jpg", "deep.png"])
def test_the_page_saves_what_the_command_writes(service, night, settings, name, monkeypatch):
    """The command that the page shows makes the file that the page saves, to the last byte, under the same name."""
    monkeypatch.chdir(night)
    words = shlex.split(settings.command(name))
    assert words[0] == "rlenhance" and main(words[1:]) == 0
    made = next(path for path in night.iterdir() if "_enhanced" in path.name)
    result = service.save(put(service, night / name), settings)
    assert result.file.name == made.name
    assert result.file.path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize("name", ["-rf.jpg", "--strip.jpg", "-.jpg", "it's \"odd\" $(x) `y`;z&.jpg", "a b\n-c.jpg"])
def test_the_command_is_right_for_every_name(client, tmp_path, name, monkeypatch):
    """A name is a file, never an option or a word of the shell."""
    monkeypatch.chdir(tmp_path)
    answer = client.post("/api/enhance", params={"name": name, "strip": "1"}, content=jpeg())
    command = unquote(answer.headers["x-command"])
    (tmp_path / clean_name(name)).write_bytes(jpeg())
    made = subprocess.run(["sh", "-c", f"set -- {command.removeprefix('rlenhance ')}; printf '%s\\0' \"$@\""],
                          capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    assert main(made) == 0
    (result,) = (path for path in tmp_path.iterdir() if "_enhanced" in path.name)
    assert result.read_bytes() == answer.content and "\n" not in command


def test_the_recipe_is_the_commands(service, night, monkeypatch):
    """What the page gives to copy is what --save-recipe writes, and --recipe makes the page's file of it."""
    monkeypatch.chdir(night)
    settings = ask(preference={"contrast": 0.3}, strength=0.9)
    assert main(["enhance", "deep.png", "--contrast", "0.3", "--strength", "0.9", "--save-recipe", "own.json"]) == 0
    assert service.recipe(settings) == Path("own.json").read_text()
    Path("page.json").write_text(service.recipe(settings))
    assert main(["enhance", "deep.png", "-o", "again.png", "--recipe", "page.json"]) == 0
    saved = service.save(put(service, Path("deep.png")), settings)
    assert Path("again.png").read_bytes() == saved.file.path.read_bytes()


@pytest.mark.parametrize("noise, words", [(None, []), (12.0, ["--noise", "12"])])
def test_grain_is_taken_out_as_by_the_command(service, night, noise, words, monkeypatch):
    """The same bytes; and the detail that is shown has the noise that was said, or some that was measured."""
    monkeypatch.chdir(night)
    assert main(["denoise", "my night.jpg", "--strength", "0.8", *words]) == 0
    token = put(service, Path("my night.jpg"))
    result = denoise(service, token, DenoiseSettings(noise=noise, strength=0.8))
    assert result.file.path.read_bytes() == Path("my night_denoised.jpg").read_bytes()
    found = preview_denoised(service, token, DenoiseSettings(noise=noise, strength=0.8))
    assert found.shown.after.shape == found.shown.before.shape
    assert found.words == (f"noise {noise:g}/255, named" if noise else result.words)


def test_old_photographs_are_repaired_as_by_the_command(service, tmp_path, monkeypatch):
    """The same bytes, and the words of the command; a detail is told of too."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write(np.clip(np.kron(rng.integers(60, 200, (6, 8, 3)), np.ones((16, 16, 1))) + rng.normal(0, 25, (96, 128, 3)),
                  0, 255).astype(np.uint8), "old.png")
    assert main(["restore", "old.png", "--budget", "fast"]) == 0
    token, settings = put(service, Path("old.png")), RestoreSettings(budget="fast")
    result = restore(service, token, settings)
    assert result.file.path.read_bytes() == Path("old_restored.png").read_bytes()
    assert "noise" in result.words and "noise" in preview_restored(service, token, settings).words


@pytest.mark.parametrize("words", [["--auto-mask"], ["--mask", "mask.png", "--model", "telea"]])
def test_holes_are_filled_as_by_the_command(service, tmp_path, words, monkeypatch):
    """The same bytes, whether the hole is found or marked; a painted mask fills what it covers and nothing else."""
    monkeypatch.chdir(tmp_path)
    hole = np.zeros((120, 160), bool)
    hole[30:70, 40:90] = True
    room = np.kron(NIGHT[:12, :16] + 60, np.ones((10, 10, 1), np.uint8))
    write(np.where(hole[..., None], 0, room).astype(np.uint8), Path("room.png"))
    write(np.repeat(hole[..., None] * np.uint8(255), 3, 2), Path("mask.png"))
    assert main(["complete", "room.png", *words]) == 0
    token = put(service, Path("room.png"))
    mask = put(service, Path("mask.png")) if "--mask" in words else None
    result = complete(service, token, words[-1] if mask else next(iter(completion_methods(None).values())), mask=mask)
    assert result.file.path.read_bytes() == Path("room_completed.png").read_bytes()
    painted = np.zeros((60, 80, 4), np.uint8)
    painted[10:40, 15:50] = 232, 60, 40, 255
    _, data = cv2.imencode(".png", painted)
    by_hand = complete(service, token, "laplace", painted=f"data:image/png;base64,{base64.b64encode(data).decode()}")
    changed = (read(by_hand.file.path).pixels != read("room.png").pixels).any(axis=2)
    assert changed[hole].all() and not changed[:20].any() and not changed[:, 100:].any()
    assert detect_mask(service, token).hole[50, 60] and not detect_mask(service, token).hole[5, 5]


@pytest.mark.parametrize("painted, said", [("data:image/png;base64,@@", "did not arrive"), ("/etc/passwd", "empty"),
                                           ("data:image/png;base64,aGk=", "not a picture"), ("blank", "nothing is pa")])
def test_a_painted_mask_is_a_mask(service, tmp_path, painted, said):
    """Whatever else a client sends is refused."""
    write(NIGHT, tmp_path / "night.png")
    if painted == "blank":
        blank = base64.b64encode(cv2.imencode(".png", np.zeros((6, 8, 4), np.uint8))[1]).decode()
        painted = f"data:image/png;base64,{blank}"
    with pytest.raises(UsageError, match=said):
        complete(service, put(service, tmp_path / "night.png"), "laplace", painted=painted)


def test_a_preview_is_the_look_in_small(service, tmp_path):
    """Before is the photograph, after what the Enhancer makes of the small one; the size told is the file's."""
    write(np.kron(NIGHT, np.ones((20, 20, 1), np.uint8)), tmp_path / "large.png")
    token = put(service, tmp_path / "large.png")
    made = service.preview(token, LOOKS["turned"])
    assert made.size == (1600, 1200) and made.before.shape == made.after.shape == (810, 1080, 3)
    whole = read(service.save(token, LOOKS["turned"]).file.path).pixels
    assert abs(whole.mean() - made.after.mean()) < 2 and made.part is made.exposure is None
    assert 0.2 < service.preview(token, ask(denoise=0)).exposure < 0.7


def test_a_part_in_full_size_is_that_of_the_saved_file(service, tmp_path):
    """Around the place that is asked for, and within the photograph; both sides are the pixels of the files."""
    picture, plain = np.kron(NIGHT, np.ones((22, 22, 1), np.uint8)), ask(denoise=0)
    write(picture, tmp_path / "large.png")
    token = put(service, tmp_path / "large.png")
    saved = read(service.save(token, plain).file.path).pixels
    for across, down, corner in ((0.5, 0.5, (80, 60)), (0, 0, (0, 0)), (1, 0.9, (160, 120)), (-5, 7, (0, 120))):
        made = service.part(token, plain, across, down)
        left, top = made.part
        assert made.part == corner and made.size == (1760, 1320)
        assert (made.before == picture[top : top + 1200, left : left + 1600]).all()
        assert (made.after == saved[top : top + 1200, left : left + 1600]).all()


def test_the_gain_is_told_in_stops_of_light():
    """Twice the light is one stop; what was left alone is zero."""
    light = np.full((60, 80, 3), 0.1, np.float32)
    before = np.rint(255 * srgb_from_linear(light)).astype(np.uint8)
    light[:30] *= 2
    gains = stops_gained(before, np.rint(255 * srgb_from_linear(light)).astype(np.uint8))
    assert gains.shape == (36, 48) and gains[19:] == pytest.approx(0, abs=0.01)
    assert gains[:17] == pytest.approx(1, abs=0.03)
    assert np.abs(stops_gained(np.zeros_like(before), np.full_like(before, 255))).max() <= 9.9


def test_a_sample_is_there_and_photographs_are_enlarged_as_by_the_command(service, night, monkeypatch):
    """The sample is a dark photograph; an enlarged one has the command's bytes, and its detail the same pixels."""
    monkeypatch.chdir(night)
    assert 0.02 < read(service.put_sample().path).pixels.mean() / 255 < 0.2
    assert main(["upscale", "deep.png", "--scale", "2"]) == 0
    token, settings = put(service, Path("deep.png")), UpscaleSettings(scale=2)
    result = enlarge(service, token, settings)
    assert result.file.path.read_bytes() == Path("deep_upscaled.png").read_bytes()
    shown = preview_enlarged(service, token, settings).shown
    assert shown.size == (160, 120) and (shown.after == np.rint(read(result.file.path).pixels / 257)).all()


def test_variants_lie_around_the_look(service, tmp_path):
    """Two are darker and two brighter than the look, each as its own words say."""
    write(NIGHT, tmp_path / "night.png")
    token = put(service, tmp_path / "night.png")
    before = service.preview(token, ask(preference={"exposure_level": 0.45})).after.mean()
    means = [pixels.mean() for _, _, pixels in service.variants(token, ask(preference={"exposure_level": 0.45}))]
    assert max(means[:2]) < before < min(means[2:])
    assert len({settings.command("x") for _, settings, _ in service.variants(token, ask("supervised"))}) == 4


def test_a_picture_that_is_liked_sets_the_brightness(service, tmp_path):
    """As --match-style does; a model without brightness refuses."""
    write(np.full((40, 40, 3), 153, np.uint8), tmp_path / "liked.png")
    token = put(service, tmp_path / "liked.png")
    assert service.match(token, "natural") == ({"exposure_level": 0.6}, [])
    with pytest.raises(UsageError, match="takes no brightness"):
        service.match(token, "supervised")


def test_two_models_beside_each_other(service, tmp_path):
    """Scores come with a reference, equal ones are perfect, and one of another size is refused by name."""
    write(NIGHT, tmp_path / "night.png")
    write(NIGHT[:30], tmp_path / "half.png")
    night, half = put(service, tmp_path / "night.png"), put(service, tmp_path / "half.png")
    plain, natural = compare(service, night, (UNCHANGED, "natural"))
    assert set(plain.scores) == {"brightness"} and natural.scores["brightness"] > plain.scores["brightness"]
    assert compare(service, night, (UNCHANGED,), night)[0].scores["psnr"] == 100
    with pytest.raises(UsageError, match=r"half\.png has 80x30 pixels and the photograph 80x60"):
        compare(service, night, (UNCHANGED,), half)


def test_bad_files_are_refused_by_their_own_names(service, tmp_path):
    """No folder of ours stands in a message."""
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    for work in (lambda token: service.preview(token, ask()), lambda token: service.save(token, ask())):
        with pytest.raises(UsageError, match=r"^torn\.jpg: damaged") as told:
            work(put(service, tmp_path / "torn.jpg"))
        assert str(service.store.folder) not in str(told.value)


def test_a_line_is_bounded():
    """Beyond its places it says that it is busy, at once; later it takes work again; failures come to their callers."""
    queue, gate, done = JobQueue(places=2), threading.Event(), []
    threads = [threading.Thread(target=lambda: done.append(queue.run(gate.wait, 20))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while queue.inside < 2:
        time.sleep(0.001)
    with pytest.raises(QueueFull, match="2 pictures are in work or waiting"):
        queue.run(print)
    gate.set()
    for thread in threads:
        thread.join()
    assert done == [True, True] and queue.run_when_free(lambda: 7) == 7
    with pytest.raises(UsageError, match="bad"):
        queue.run(lambda: (_ for _ in ()).throw(UsageError("bad")))
    queue.close()


def test_who_waits_too_long_is_told():
    """And what had not begun is never done."""
    queue, gate, ran = JobQueue(places=3, patience=0.05), threading.Event(), []

    def begin():
        with pytest.raises(QueueFull, match="it took more than"):
            queue.run(gate.wait, 20)

    first = threading.Thread(target=begin)
    first.start()
    while not queue.inside:
        time.sleep(0.001)
    with pytest.raises(QueueFull, match="its turn did not come"):
        queue.run(ran.append, 1)
    gate.set()
    first.join()
    queue.close()
    assert not ran


def test_files_on_a_shelf_go(tmp_path):
    """Old ones are removed, used ones stay, a full shelf takes no more, and no token is a path."""
    now = [1e9]
    store = FileStore(tmp_path / "files", megabytes=0.001, minutes=10, clock=lambda: now[0])
    stored, other = store.create("../../a.jpg"), store.create("b.png")
    for one in (stored, other):
        one.path.write_bytes(b"x" * 400)
        store.get(one.token)
    assert stored.path.parent == store.folder and stored.name == "a.jpg" and stored.path.stem == stored.token
    now[0] += 500
    store.get(stored.token)
    now[0] += 500
    store.remove_expired()
    assert stored.path.exists() and not other.path.exists()
    with pytest.raises(UsageError, match="no longer here"):
        store.get(other.token)
    stored.path.write_bytes(b"x" * 2000)
    store.get(stored.token)
    with pytest.raises(UsageError, match="full"):
        store.create("c.jpg")
    for word in ("../a.jpg", "/etc/passwd", "", None, 3, "0" * 31, "0" * 32, f"../{stored.token}"):
        with pytest.raises(UsageError, match="choose it again"):
            store.get(word)
    store.close()
    assert not store.folder.exists()


@pytest.mark.parametrize("name, clean", [("../../etc/passwd", "passwd"), ("a\0b\n.jpg", "ab.jpg"),
                                         (".bashrc", "bashrc"), ("x" * 5000 + ".jpg", "x" * 116 + ".jpg"),
                                         ("C:\\x\\y.png", "y.png"), ("Ночь 夜.jpg", "Ночь 夜.jpg"), ("", "picture"),
                                         (None, "None")])
def test_names_are_cleaned(name, clean):
    """What is left of a client's name can be shown, and is no path."""
    assert clean_name(name) == clean


@pytest.mark.parametrize("text", ["{", "3", '["a", 1]', '{"a": 1}', ["a"]])
def test_lists_of_tokens_are_lists_of_tokens(text):
    """What a client sends otherwise is refused, or is nothing."""
    if isinstance(text, list):
        assert parse_tokens(text) == []
        return
    with pytest.raises(UsageError, match="choose them again"):
        parse_tokens(text)


def test_words_of_others_are_escaped():
    """Names of files and columns are text, never HTML."""
    bad = '<img src=x onerror="alert(1)">'
    for text in (figures([("data:", (bad, bad))]), notes([bad]), table([bad], [[bad]]), chart(bad, {bad: [(0, 1)]})):
        assert "<img src=x" not in text


def test_a_run_is_read_while_it_is_written(tmp_path):
    """Half a last line is left out, samples are in order, and a collapse is an alarm."""
    run = tmp_path / "lol/first"
    (run / "samples").mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"kind": "rlenhance run", "arguments": {"learner": "a3c"}}))
    (run / "metrics.csv").write_text("step,rollout/return,collapse/constant_psnr,collapse/top_choice_share\n"
                                     "0,1,20,0.4\n5,2,51.5,0.999\n6,")
    for step in (10, 2):
        write(NIGHT, run / f"samples/episodes-{step:06d}.png")
    assert list(list_runs(tmp_path)) == ["lol/first"] and list_runs(None) == {}
    found = open_run(tmp_path, "lol/first")
    assert found.curves["rollout/return"] == [(0, 1), (5, 2)]
    assert [step for step, _ in found.samples["episodes"]] == [2, 10]
    assert [sign.alarm for sign in found.watch()] == [True, True]
    for word in ("../lol/first", "/etc", None, ""):
        with pytest.raises(UsageError, match="no run"):
            open_run(tmp_path, word)


@pytest.mark.parametrize("host, own", [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False),
                                       ("192.168.1.4", False), ("example.org", False)])
def test_other_machines_need_a_password(host, own, capsys):
    """Listening for others without --auth is refused before anything is loaded."""
    assert is_loopback(host) == own
    if not own:
        assert main(["demo", "--host", host]) == 2
        assert "--auth USER:PASSWORD" in capsys.readouterr().err


def test_options_that_say_nothing_are_refused(tmp_path, capsys):
    """With the way out."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install "rlenhance[demo]"')
    for words, said in ((["--auth", "anna"], "USER:PASSWORD"), (["--auth", "@nowhere"], "cannot be read"),
                        (["--port", "99999"], "65535"), (["--queue", "0"], "must be at least 1"),
                        (["--max-megabytes", "0"], "above 0"), (["--model", "nothing-of-that-name"], "no such run")):
        assert main(["demo", "--port", "0", *words]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "secret").write_text("anna:pass:word\n")
    assert read_auth(f"@{tmp_path / 'secret'}") == ("anna", "pass:word")


def test_without_gradio_the_line_that_installs_it_is_told(monkeypatch, capsys):
    """And nothing else happens."""
    monkeypatch.setattr("rlenhance.web.server.find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert install_line("demo") in capsys.readouterr().err


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


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A program that talks to the page's server."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install "rlenhance[demo]"')
    from starlette.testclient import TestClient

    from rlenhance.web.server import Settings, create_app

    folder = tmp_path_factory.mktemp("served")
    app, service, queue = create_app(Settings(megabytes=0.5, megapixels=0.3, places=2), folder)
    with TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as found:
        found.folder, found.queue, found.service = folder / "files", queue, service
        yield found
    queue.close()


def jpeg(size=(60, 80)):
    """The bytes of a dark photograph."""
    from io import BytesIO

    file = BytesIO()
    Image.fromarray(np.resize(NIGHT, (*size, 3))).save(file, "JPEG")
    return file.getvalue()


def test_a_program_gets_the_commands_bytes(client, tmp_path, monkeypatch):
    """/api/enhance and /api/denoise answer with the file that the command writes, and leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.jpg").write_bytes(jpeg())
    main(["enhance", "night.jpg", "--preset", "vivid", "--contrast", "0.2", "--strength", "0.9"])
    main(["denoise", "night.jpg", "--noise", "20"])
    answer = client.post("/api/enhance?name=night.jpg&preset=vivid&contrast=0.2&strength=0.9", content=jpeg())
    assert answer.status_code == 200 and "night_enhanced.jpg" in answer.headers["content-disposition"]
    assert answer.content == (tmp_path / "night_enhanced.jpg").read_bytes()
    answer = client.post("/api/denoise?name=night.jpg&noise=20", content=jpeg())
    assert answer.content == (tmp_path / "night_denoised.jpg").read_bytes()
    main(["restore", "night.jpg", "--steps", "1"])
    answer = client.post("/api/restore?name=night.jpg&steps=1", content=jpeg())
    assert answer.content == (tmp_path / "night_restored.jpg").read_bytes() and answer.headers["x-words"]
    unnamed = client.post("/api/enhance?exposure=auto", content=jpeg())
    assert unnamed.status_code == 200 and "picture_enhanced.jpg" in unnamed.headers["content-disposition"]
    assert list(client.folder.iterdir()) == []


def test_a_program_has_holes_filled(client):
    """A picture with a black hole, or a form with picture and mask; what is missing in the form is told."""
    from io import BytesIO

    room = np.full((60, 80, 3), 120, np.uint8)
    room[20:40, 30:50] = 0
    parts = {}
    for name, pixels in (("picture", room), ("mask", (room == 0) * np.uint8(255))):
        Image.fromarray(pixels).save(file := BytesIO(), "PNG")
        parts[name] = (f"{name}.png", file.getvalue())
    answers = [client.post("/api/complete?name=picture.png", content=parts["picture"][1]),
               client.post("/api/complete", files=parts)]
    for answer in answers:
        assert answer.status_code == 200 and "picture_completed.png" in answer.headers["content-disposition"]
        assert np.asarray(Image.open(BytesIO(answer.content))).min() > 100
    assert client.post("/api/complete", files={"mask": parts["mask"]}).status_code == 400
    assert client.post("/api/complete?model=/etc", content=parts["picture"][1]).status_code == 400
    assert list(client.folder.iterdir()) == []


@pytest.mark.parametrize("words, body, status, said", [
    ("enhance?name=a.jpg", b"not a picture", 400, "a.jpg: not a picture"),
    ("enhance?name=a.jpg", b"", 400, "a.jpg: the file is empty"),
    ("enhance?name=../../etc/passwd.jpg", b"\xff\xd8\xff", 400, "passwd.jpg: damaged"),
    ("enhance?name=a.jpg", jpeg((600, 600)), 400, "0.36 megapixels, the limit is 0.3"),
    ("enhance?name=a.png", b"\x89PNG\r\n\x1a\n" + b"x" * 600_000, 413, "larger than 0.5 MB"),
    ("enhance?model=../../etc", jpeg(), 400, "model is one of"),
    ("enhance?preset=../../etc/x.json", jpeg(), 400, "preset is one of"),
    ("enhance?format=../x", jpeg(), 400, "format is one of"),
    ("enhance?exposure=bright", jpeg(), 400, "exposure: a number"),
    ("enhance?exposure=7", jpeg(), 400, "must lie between"),
    ("enhance?strength=nan", jpeg(), 400, "strength must lie between"),
    ("enhance?strip=maybe", jpeg(), 400, "strip is one of 0, 1"),
    ("enhance?recipe=/etc/passwd", jpeg(), 400, "takes name, model"),
    ("denoise?noise=900", jpeg(), 400, "between 0 and 75"),
    ("restore?budget=much", jpeg(), 400, "budget must be fast or normal or best"),
    ("restore?tool=rm", jpeg(), 400, "takes name, budget, steps, strength"),
    ("nothing", jpeg(), 404, ""),
])
def test_what_cannot_be_done_is_told_in_a_sentence(client, words, body, status, said):
    """No trace, no path of ours, and no file left."""
    answer = client.post(f"/api/{words}", content=body)
    assert answer.status_code == status and said in answer.text
    assert "Traceback" not in answer.text and str(client.folder) not in answer.text
    assert list(client.folder.iterdir()) == []


def test_a_body_is_counted_while_it_comes(client):
    """Without a length that warns, it is cut off all the same."""
    answer = client.post("/api/enhance?name=a.jpg", content=iter([b"\xff\xd8\xff"] + [b"x" * 100_000] * 20))
    assert answer.status_code == 413 and list(client.folder.iterdir()) == []


def test_a_full_line_is_told_with_its_own_status(client):
    """429, and when to come again."""
    gate = threading.Event()
    threads = [threading.Thread(target=client.queue.run, args=(gate.wait, 20)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while client.queue.inside < 2:
        time.sleep(0.001)
    answer = client.post("/api/enhance?name=a.jpg", content=jpeg())
    gate.set()
    for thread in threads:
        thread.join()
    assert answer.status_code == 429 and "busy" in answer.json()["error"] and answer.headers["retry-after"]


def test_the_server_answers_no_one_else(client):
    """Closed ways, foreign names, and a policy that keeps the browser here."""
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/gradio_api/file=/etc/passwd").status_code == 404
    page = client.get("/")
    assert page.status_code == 200 and "connect-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/take/" + "0" * 32).status_code == 400
    about = client.get("/api").json()
    assert set(about["models"]["relight"]["takes"]) == set(PREFERENCE_FLAGS) and about["limits"]["megabytes"] == 0.5


def test_every_knob_has_words_of_its_own(client):
    """The sliders are called by what they do to a photograph, and turn into the options that the command has."""
    import gradio

    from rlenhance.web.components import SLIDERS, Controls

    assert list(SLIDERS) == list(PREFERENCE_FLAGS)
    with gradio.Blocks():
        controls = Controls(client.service)
    natural = client.service.choice("balanced")
    plain = [*controls.values(natural, {}, None), True, 0.3, "take out a cast", "balanced", "as the original", False,
             "by hand", None]
    assert controls.request(*plain) == ask()
    vivid = [*controls.values(natural, {"exposure_level": None, "color": 0.8}, 0.5), False, 0.25,
             "shade (8000 K) becomes sunlight", "balanced", "PNG", True, "by hand", None]
    assert controls.request(*vivid) == ask(None, {"color": 0.8}, True, "png", strength=0.5, denoise=0.25, white=8000)
    darker = [*controls.values(natural, {}, None, -0.1), *plain[-8:]]
    assert controls.request(*darker) == ask(exposure_shift=-0.1)
    assert controls.request(False, *darker[1:]).settings.exposure_shift == 0  # a named brightness is what it says
    fixed = controls.values(dataclasses.replace(natural, auto=()), {}, None, -0.1)
    assert fixed[:2] == [False, pytest.approx(natural.ranges["exposure_level"][1] - 0.1)] and fixed[-1] == 0
    for place, bad in ((3, "x"), (10, "x"), (11, "nothing"), (12, "exe"), (6, None), (7, "x")):
        words = list(plain)
        words[place] = bad
        with pytest.raises(UsageError):
            controls.request(*words)


def test_several_come_in_one_file(client, tmp_path):
    """Names are kept apart, what fails is named, and only the package stays."""
    import gradio

    from rlenhance.web.components import AppContext, Controls
    from rlenhance.web.tabs.several_tab import AS_UNDER_ENHANCE, SeveralTab

    with gradio.Blocks():
        controls = Controls(client.service)
        tab = SeveralTab(AppContext(client.service, client.queue), controls)
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    tokens = [put(client.service, tmp_path / name) for name in ("a.jpg", "bad.jpg", "a.jpg")]
    words = [*controls.values(client.service.default, {}, None), False, 0, "as it is", "balanced", "as the original",
             False, "by hand", None]
    steps = list(tab.enhance(json.dumps(tokens), AS_UNDER_ENHANCE, *words))
    assert len(steps) == 4 and "bad.jpg: damaged" in steps[2][0] and "3 of 3" in steps[2][0]
    (package,) = client.folder.glob("*.zip")
    with zipfile.ZipFile(package) as archive:
        assert archive.namelist() == ["a_enhanced.jpg", "a_enhanced-2.jpg"]
    assert len(list(client.folder.iterdir())) == 4  # three photographs and the package
    with pytest.raises(UsageError, match="choose photographs first"):
        list(tab.enhance("", AS_UNDER_ENHANCE, *words))

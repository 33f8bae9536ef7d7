"""The page without a browser: the same bytes as the command, one bounded line, files that go."""

import base64
import json
import shlex
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rlenhance.cli.demo import read_auth
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.io import read, write
from rlenhance.pipelines.options import DenoiseSettings, RestoreSettings, UpscaleSettings
from rlenhance.web.complete_service import complete, completion_methods, mark
from rlenhance.web.file_store import FileStore, clean_name, parse_tokens
from rlenhance.web.html import chart, figures, notes, table
from rlenhance.web.job_queue import JobQueue, QueueFull
from rlenhance.web.previews import UNCHANGED, compare, preview, process
from rlenhance.web.run_reader import list_runs, open_run
from rlenhance.web.service import EnhanceService
from tests.support import corpus
from tests.support.page import NIGHT, ask, put

LOOKS = {"as it comes": ask(),
         "turned": ask(preference={"exposure_level": 0.6, "contrast": 0.25, "color": -0.5}),
         "with grain out": ask(strength=0.7, denoise=0.4), "another": ask("relight", {"smoothness": 0.8}),
         "untouched": ask(strength=0.0), "another kind": ask(format="png"), "alone": ask(strip=True)}
@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A studio with the shipped models."""
    store = FileStore(tmp_path_factory.mktemp("page") / "files")
    yield EnhanceService(store)
    store.close()
    assert not store.folder.exists()


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
    result = process(service, token, DenoiseSettings(noise=noise, strength=0.8))
    assert result.file.path.read_bytes() == Path("my night_denoised.jpg").read_bytes()
    found = preview(service, token, DenoiseSettings(noise=noise, strength=0.8))
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
    result = process(service, token, settings)
    assert result.file.path.read_bytes() == Path("old_restored.png").read_bytes()
    assert "noise" in result.words and "noise" in preview(service, token, settings).words


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
    found = mark(service, token, find=True).hole
    assert found[50, 60] and not found[5, 5] and mark(service, token).hole is None


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


def test_a_sample_is_there_and_photographs_are_enlarged_as_by_the_command(service, night, monkeypatch):
    """The sample is a dark photograph; an enlarged one has the command's bytes, and its detail the same pixels."""
    monkeypatch.chdir(night)
    assert 0.02 < read(service.put_sample().path).pixels.mean() / 255 < 0.2
    assert main(["upscale", "deep.png", "--scale", "2"]) == 0
    token, settings = put(service, Path("deep.png")), UpscaleSettings(scale=2)
    result = process(service, token, settings)
    assert result.file.path.read_bytes() == Path("deep_upscaled.png").read_bytes()
    shown = preview(service, token, settings).shown
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


def test_options_that_say_nothing_are_refused(tmp_path, capsys):
    """With the way out."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')
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

"""What programs ask of the page: the bytes of the command, refusals in a sentence, and the knobs by name."""

import dataclasses
import json
import subprocess
import threading
import time
import zipfile
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.pipelines.options import PREFERENCE_FLAGS
from rlenhance.web.file_store import clean_name
from tests.support.page import ask, jpeg, put


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


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A program that talks to the page's server."""
    pytest.importorskip("gradio", reason='the page needs the extra demo: pip install ".[demo]"')
    from starlette.testclient import TestClient

    from rlenhance.web.server import Settings, create_app

    folder = tmp_path_factory.mktemp("served")
    app, service, queue = create_app(Settings(megabytes=0.5, megapixels=0.3, places=2), folder)
    with TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as found:
        found.folder, found.queue, found.service = folder / "files", queue, service
        yield found
    queue.close()


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
    answers = [client.post("/api/complete?name=picture.png&mask=auto", content=parts["picture"][1]),
               client.post("/api/complete", files=parts)]
    for answer in answers:
        assert answer.status_code == 200 and "picture_completed.png" in answer.headers["content-disposition"]
        assert np.asarray(Image.open(BytesIO(answer.content))).min() > 100
    assert client.post("/api/complete", files={"mask": parts["mask"]}).status_code == 400
    alone = client.post("/api/complete", content=parts["picture"][1])
    assert alone.status_code == 400 and "mask=auto" in alone.text and "form" in alone.text
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
    plain = [*controls.values(natural, {}, 1.0), True, 0.3, "take out a cast", "balanced", "as the original", False,
             "by hand", None]
    assert controls.request(*plain) == ask()
    vivid = [*controls.values(natural, {"exposure_level": None, "color": 0.8}, 0.5), False, 0.25,
             "shade (8000 K) becomes sunlight", "balanced", "PNG", True, "by hand", None]
    assert controls.request(*vivid) == ask(None, {"color": 0.8}, True, "png", strength=0.5, denoise=0.25, white=8000)
    darker = [*controls.values(natural, {}, 1.0, -0.1), *plain[-8:]]
    assert controls.request(*darker) == ask(exposure_shift=-0.1)
    assert controls.request(False, *darker[1:]).settings.exposure_shift == 0  # a named brightness is what it says
    fixed = controls.values(dataclasses.replace(natural, auto=()), {}, 1.0, -0.1)
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
    words = [*controls.values(client.service.default, {}, 1.0), False, 0, "as it is", "balanced", "as the original",
             False, "by hand", None]
    steps = list(tab.enhance(json.dumps(tokens), AS_UNDER_ENHANCE, *words))
    assert len(steps) == 4 and "bad.jpg: damaged" in steps[2][0] and "3 of 3" in steps[2][0]
    (package,) = client.folder.glob("*.zip")
    with zipfile.ZipFile(package) as archive:
        assert archive.namelist() == ["a_enhanced.jpg", "a_enhanced-2.jpg"]
    assert len(list(client.folder.iterdir())) == 4  # three photographs and the package
    with pytest.raises(UsageError, match="choose photographs first"):
        list(tab.enhance("", AS_UNDER_ENHANCE, *words))

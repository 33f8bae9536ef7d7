"""The `rlenhance` command: what it prints, writes and answers with."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rlenhance import __version__
from rlenhance.cli import main as cli
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import PREFERENCE_FLAGS
from tests.support.networks import CHOICE, make_model, make_policy, make_tone, stir


def _here(path):
    return sorted(p.name for p in path.iterdir() if p.is_file())


def test_a_photograph_is_enhanced_beside_itself(night, capsys):
    """night.png becomes night_enhanced.png, both names are printed, and the status is 0."""
    before = night.read_bytes()
    assert cli.main(["enhance", "night.png"]) == 0
    assert capsys.readouterr().out.startswith("night.png -> night_enhanced.png: brightness ")
    assert _here(night.parent) == ["night.png", "night_enhanced.png"]
    assert read("night_enhanced.png").pixels.shape == (20, 28, 3)
    assert night.read_bytes() == before


def test_a_result_can_be_named(night, tmp_path):
    """-o FILE names the result, -o DIR its folder, and --format its kind."""
    (tmp_path / "there").mkdir()
    assert cli.main(["enhance", "night.png", "-o", "day.bmp"]) == 0
    assert cli.main(["enhance", "night.png", "-o", "there"]) == 0
    assert cli.main(["enhance", "night.png", "-o", "there", "--format", "TIFF"]) == 0
    assert _here(tmp_path) == ["day.bmp", "night.png"]
    assert _here(tmp_path / "there") == ["night.png", "night.tiff"]
    assert all(np.array_equal(read(path).pixels, read("day.bmp").pixels) for path in (tmp_path / "there").iterdir())


@pytest.mark.parametrize("words, told", [
    (["nowhere.png"], "nowhere.png"),
    (["night.png", "-o", "night.png"], "would replace"),
    (["night.png", "-o", "."], "would replace"),
    (["night.png", "-o", "taken.png"], "--overwrite"),
    (["night.png", "-o", "plain"], "ending"),
    (["night.png", "--format", "gif"], "--format is one of"),
    (["night.png", "night.bmp", "--format", "webp"], "would both be written"),
    (["night.png", "--steps", "99"], "steps must lie between"),
    (["night.png", "--exposure", "0.9"], "--exposure must lie between"),
    (["night.png", "--exposure", "auto"], "--exposure auto: this model does not choose it by itself"),
    (["night.png", "--contrast", "0.5"], "this model takes no --contrast; it takes --exposure 0.25 to 0.75"),
    (["night.png", "--color", "0", "--model", "mute"], "this model takes no --color; it takes no preferences"),
    (["night.png", "--highlights", "1", "--model", "direct"], "a network that acts in one pass takes no preferences"),
    (["night.png", "--exposure", "auto", "--model", "direct"], "one pass takes no preferences; got --exposure"),
    (["night.png", "--device", "abacus"], "not available here"),
    (["night.png", "--model", "nowhere"], "nowhere"),
    (["night.png", "--model", ""], "no checkpoint here"),
    (["night.png", "--preset", ""], "unknown preset ''"),
    (["night.png", "--model", "night.png"], "night.png"),
    (["empty"], "holds no picture"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_words_are_answered_in_a_line(night, tmp_path, capsys, words, told):
    """What cannot be done is answered with one line, status 2 and no traceback, and nothing is written."""
    (tmp_path / "empty").mkdir()
    save_checkpoint(tmp_path / "mute/best", make_policy())
    save_checkpoint(tmp_path / "direct/best", make_model("restorer"))
    write(read(night), tmp_path / "night.bmp")
    (tmp_path / "taken.png").write_text("old")
    before = {name: (tmp_path / name).read_bytes() for name in _here(tmp_path)}
    try:
        status = cli.main(["enhance", *words])
    except SystemExit as stop:  # of the parser
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2 and told in printed.err
    assert printed.err.startswith(("error: ", "failed: ")) and printed.err.count("\n") == 1
    assert {name: (tmp_path / name).read_bytes() for name in _here(tmp_path)} == before


KNOBS = {"exposure_level": (0.25, 0.475, 0.75), "contrast": (0.0, 0.5, 1.0), "color": (-1.0, 0.0, 1.0),
         "smoothness": (0.0, 0.5, 1.0), "highlights": (0.0, 0.5, 1.0)}


def test_every_knob_reaches_its_preference(night, tmp_path):
    """Each option sets the preference of its name for a model that takes it, alone and beside the others."""
    model = save_checkpoint(tmp_path / "runs/lol/knobs/best", stir(make_policy(preferences=KNOBS)))
    values = {"exposure_level": 0.6, "contrast": 0.9, "color": -0.5, "smoothness": 0.1, "highlights": 1.0}
    assert set(PREFERENCE_FLAGS) == set(values)

    def made(words, place):
        assert cli.main(["enhance", "night.png", "-o", place, "-m", str(model), *words]) == 0
        return read(place).pixels

    source = read(night).pixels
    for name, value in values.items():
        words = [PREFERENCE_FLAGS[name], str(value)]
        assert np.array_equal(made(words, f"{name}.png"), Enhancer(model, preference={name: value})(source))
    words = [word for name, value in values.items() for word in (PREFERENCE_FLAGS[name], str(value))]
    assert np.array_equal(made(words, "all.png"), Enhancer(model, preference=values)(source))
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in (*values, "all")}) == 6


def test_auto_is_the_default_of_a_model_that_knows_it(night, tmp_path):
    """--exposure auto is what such a model does unasked; a number is something else."""
    save_checkpoint(tmp_path / "knobs/best", stir(make_tone()))
    results = []
    for number, words in enumerate(([], ["--exposure", "auto"], ["--exposure", "0.3"])):
        assert cli.main(["enhance", "night.png", "-o", f"{number}.png", "-m", "knobs", *words]) == 0
        results.append(read(f"{number}.png").pixels.tobytes())
    assert results[0] == results[1] != results[2]


def test_without_options_the_defaults_of_the_model_count(night, monkeypatch):
    """What is not asked for is not passed on."""
    seen = []
    check = Enhancer.check_preference
    monkeypatch.setattr(Enhancer, "check_preference",
                        lambda self, preference: seen.append(preference) or check(self, preference))
    assert cli.main(["enhance", "night.png"]) == 0
    assert seen and not any(seen)


@pytest.mark.parametrize("words", [["--exposure", "bright"], ["--contrast", "auto"], ["--strength", "much"]])
def test_what_is_no_number_is_refused(night, words, capsys):
    """A word where a number belongs is answered like any other bad input, with what would do."""
    with pytest.raises(SystemExit) as end:
        cli.main(["enhance", "night.png", *words])
    told = capsys.readouterr().err
    assert end.value.code == 2 and words[1] in told
    assert words[1] != "bright" or ("0.45" in told and "auto" in told)


def test_overwriting_is_asked_for(night, capsys):
    """A second run is refused, and allowed with --overwrite."""
    assert [cli.main(["enhance", "night.png", *words]) for words in ([], [], ["--overwrite"])] == [0, 2, 0]
    assert "exists" in capsys.readouterr().err


def test_a_turned_photograph_comes_out_upright(night, tmp_path):
    """EXIF orientation is applied by the command as well."""
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(read(night).pixels).save(tmp_path / "turned.jpg", exif=exif)
    assert cli.main(["enhance", "turned.jpg"]) == 0
    with Image.open("turned_enhanced.jpg") as image:
        assert image.size == (20, 28)
        assert image.getexif().get(0x0112, 1) == 1


def test_the_newest_model_is_taken(night, tmp_path):
    """Without --model the newest run is used; it can be named as well."""
    newer = save_checkpoint(tmp_path / "runs/lol/second/best", stir(make_policy(preferences=CHOICE), 0.3))
    os.utime(newer / "config.json", (2e9, 2e9))
    for place, words in (("default.png", []), ("named.png", ["-m", "runs/lol/second"]), ("old.png", ["-m",
                         "runs/lol/first/best"])):
        assert cli.main(["enhance", "night.png", "-o", place, *words]) == 0
    assert np.array_equal(read("default.png").pixels, read("named.png").pixels)
    assert not np.array_equal(read("default.png").pixels, read("old.png").pixels)


def test_without_a_model_the_way_to_one_is_told(tmp_path, monkeypatch, capsys):
    """Where nothing is shipped and nothing was trained yet, the message says how to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "night.png")
    assert cli.main(["enhance", "night.png"]) == 2
    assert "lol_train" in capsys.readouterr().err


def test_interruption_has_its_own_status(night, monkeypatch):
    """Ctrl-C ends with 130, as in a shell."""
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rlenhance.cli.enhance.run", interrupted)
    assert cli.main(["enhance", "night.png"]) == 130


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in cli.COMMANDS), ["models"], ["presets"],
                                   ["--version"]], ids=" ".join)
def test_help_is_instant(words):
    """Help, version and lists are printed without loading torch, numpy or OpenCV."""
    script = (f"import sys\nfrom rlenhance.cli.main import main\ntry:\n    main({words})\nexcept SystemExit as end:\n"
              f"    assert not end.code\nheavy = {{'torch', 'numpy', 'cv2', 'PIL'}} & set(sys.modules)\n"
              f"assert not heavy, heavy\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert words != ["--version"] or __version__ in done.stdout


def test_every_word_is_explained(capsys):
    """Each option of the command stands in its whole help with an explanation."""
    with pytest.raises(SystemExit):
        cli.main(["enhance", "--help-all"])
    text = capsys.readouterr().out
    for option in ("--output", "--model", "--preset", "--match-style", "--shared-decision", *PREFERENCE_FLAGS.values(),
                   "--strength", "--steps", "--format", "--overwrite", "--device", "--save-recipe", "--recipe",
                   "--recursive", "--name", "--skip-existing", "--dry-run", "--workers", "--json", "--quiet"):
        assert option in text
    assert cli.main(["enhance"]) == 2
    assert "rlenhance enhance night.jpg" in capsys.readouterr().err

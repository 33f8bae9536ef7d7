"""What a command line may say, and what is said to a slip of the finger."""

import argparse
import os
import subprocess
import sys

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.cli.main import COMMANDS, parser
from rlenhance.cli.parser import with_command
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write

COMMAND = '''
def add(commands):
    commands.add_parser("own-print", help="print names").add_argument("photos", nargs="+")


def run(arguments):
    print(*arguments.photos)
    return 0
'''


def commands():
    """The parsers by their commands."""
    (sub,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return sub.choices


def test_a_photograph_alone_is_enhanced(night, capsys):
    """Without a command, with options before or after it, and from a folder."""
    assert cli.main(["night.png", "--dry-run"]) == cli.main(["--exposure", "0.5", "night.png", "--dry-run"]) == 0
    assert cli.main([".", "-o", "out", "--dry-run"]) == 0
    assert "night.png -> night_enhanced.png" in capsys.readouterr().out


def test_words_that_name_a_command_stay():
    """Also beside a file of that name; standard input and patterns are photographs."""
    assert with_command(["restore", "x.jpg"], COMMANDS) == ["restore", "x.jpg"]
    for first in ("-", "*.jpg", "a/b", "night.jpg", "-o"):
        assert with_command([first], COMMANDS) == ["enhance", first]
    assert with_command([], COMMANDS) == [] and with_command(["--help"], COMMANDS) == ["--help"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two distributions with a command each; that of the second cannot be imported."""
    for name, text in (("own_print", COMMAND), ("own_broken", "1 / 0\n")):
        about = tmp_path / "site" / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{cli.GROUP}]\n{name.replace('_', '-')} = {name}\n")
        (tmp_path / "site" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("own_print", None)


def test_commands_of_installed_distributions_are_found(installed, night, capsys):
    """They run, stand in the help and are suggested; a broken one is refused, and left out of the help with a warning.
    """
    assert cli.main(["own-print", "night.png"]) == 0
    assert capsys.readouterr().out == "night.png\n"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr()
    assert "own-print" in shown.out and "own-broken is left out: own_broken cannot be imported" in shown.err
    assert cli.main(["own-prnt", "night.png"]) == 2 and "did you mean own-print?" in capsys.readouterr().err
    assert cli.main(["own-broken", "night.png"]) == 2 and "ZeroDivisionError" in capsys.readouterr().err


def test_a_command_of_a_distribution_that_is_missing_says_how_it_is_installed(monkeypatch, capsys):
    """In one line, with status 2; the help names it."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    assert cli.main(["read", "night.png"]) == 2
    told = capsys.readouterr().err
    assert "pip install -e plugins/read" in told and told.count("\n") == 1
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "read (in a clone of rlenhance: pip install -e" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    (["enhnce", "night.png"], "enhnce: neither a command nor a file (did you mean enhance?)"),
    (["qwertyu"], "qwertyu: neither a command nor a file; `rlenhance --help`"),
    (["night.png", "--brightnes", "0.5"], "rlenhance enhance has no option --brightnes (did you mean --brightness?)"),
    (["denoise", "night.png", "--streng=1"], "rlenhance denoise has no option --streng (did you mean --strength?)"),
    (["night.png", "--exposur", "0.5"], "no option --exposur (did you mean --exposure?)"),  # an abbreviation is none
    (["score"], "required: PHOTO|DIR; `rlenhance score --help`"),
])
def test_a_slip_is_answered_in_a_line(night, capsys, words, said):
    """With what may have been meant; the status is 2 and nothing is written."""
    try:
        status = cli.main(words)
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr()
    assert status == 2 and said in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert [path.name for path in night.parent.iterdir() if path.is_file()] == ["night.png"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_short_and_the_whole_help_has_every_option(command, capsys, monkeypatch):
    """A screen of what is used daily, which says where the rest is; a command stands in one group of the commands."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            cli.main([command, option] if command else [option])
        shown.append(capsys.readouterr().out)
    assert shown[0].count("\n") <= 45
    if not command:
        assert all(shown[0].count(f"\n  {name} ") == 1 for name in COMMANDS)
        return
    actions = [action for action in commands()[command]._actions if action.help != argparse.SUPPRESS]
    words = set(shown[1].replace(",", " ").replace("[", " ").replace("]", " ").split())
    assert all(words.issuperset(action.option_strings) for action in actions)
    hidden = [action.option_strings[-1] for action in actions
              if action.option_strings and action.option_strings[-1] not in shown[0] and action.dest != "help"]
    assert not hidden or f"--help-all explains {len(hidden)} more options" in shown[0]


def test_without_a_word_the_help_is_printed(capsys):
    """It is no error."""
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert not stop.value.code and "photographs:" in capsys.readouterr().out


def test_no_command_takes_abbreviations():
    """Of its options."""
    _, unknown = parser().parse_known_args(["enhance", "x.png", "--over", "--skip-exist"])
    assert unknown == ["--over", "--skip-exist"]


def test_an_error_names_the_option_as_it_was_typed(night, capsys):
    """--brightness is --exposure, --output is -o."""
    assert cli.main(["night.png", "--brightness", "7"]) == cli.main(["night.png", "--exposure=7"]) == 2
    brightness, exposure = capsys.readouterr().err.splitlines()
    assert brightness.startswith("error: --brightness must lie") and exposure.startswith("error: --exposure must lie")


def test_a_result_in_a_folder_at_the_root_is_planned(night, capsys):
    """Though none of its folders is there."""
    assert cli.main(["night.png", "-o", "/no-such-folder/below/n.png", "--dry-run"]) in (0, 2)  # 2: no right to make it
    shown = capsys.readouterr()
    assert "/no-such-folder" in shown.out + shown.err


def test_files_of_other_kinds_are_counted(night, capsys):
    """By their extensions, on standard error, unless -q; in folders alone."""
    for name in ("a.txt", "b.TXT", "c.xcf", "README", ".hidden"):
        (night.parent / name).write_text("x")
    assert cli.main([".", "-o", "out", "--dry-run"]) == 0
    assert "other kinds are passed over: 2 .txt, 1 README, 1 .xcf\n" in capsys.readouterr().err
    assert cli.main([".", "-o", "out", "--dry-run", "-q"]) == cli.main(["night.png", "--dry-run"]) == 0
    assert "other kinds" not in capsys.readouterr().err


def test_the_result_line_says_what_was_done(night, capsys):
    """Brightness before and after; a picture with lamps says whether they hold."""
    picture = np.full((64, 64, 3), 20, np.uint8)
    picture[:8, :8] = 220
    write(picture, "lamp.png")
    assert cli.main(["night.png", "lamp.png", "-o", "out"]) == 0
    night_line, lamp_line = capsys.readouterr().out.splitlines()[:2]
    assert "night.png: brightness 0." in night_line and " -> 0." in night_line
    assert lamp_line.endswith(("highlights held", "newly burnt"))


WITHOUT_PHOTOS = ("models", "presets", "doctor", "export", "demo", "learn")


def _numeric_options():
    """(command, option) of every option that takes a number: one that refuses a word and takes some number."""
    commands = next(action for action in parser()._actions if hasattr(action, "choices") and action.choices)
    for name, command in commands.choices.items():
        for action in command._actions:
            read = command._registry_get("type", action.type, action.type)
            if action.type is not None and action.option_strings and not isinstance(action.nargs, int):
                try:
                    read("no number")
                except (ValueError, TypeError, argparse.ArgumentTypeError):
                    yield name, action.option_strings[-1]


@pytest.mark.parametrize("word", ["9" * 400, "-" + "9" * 400, "9" * 5000, "1e300", "-1e300", "1e10", "nan", "inf"])
def test_numbers_beyond_all_use_are_refused(word, night, capsys):
    """By every option of every command that takes a number, in one line and before any work."""
    options = list(_numeric_options())
    assert len(options) > 60
    for command, option in options:
        try:
            status = cli.main([command, f"{option}={word}", *["night.png"] * (command not in WITHOUT_PHOTOS)])
        except SystemExit as stop:
            status = stop.code
        told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
        assert status == 2 and len(told) == 1 and len(told[0]) < 500, (command, option)
    assert [path.name for path in night.parent.iterdir() if path.is_file()] == ["night.png"]


def test_fields_of_requests_refuse_numbers_beyond_all_use():
    """Those of the page's API, which no parser reads."""
    from rlenhance.pipelines.options import ImageSettings, flags_of, parse_value

    abouts = [about for settings in ImageSettings.__subclasses__() for about in flags_of(settings)
              if not isinstance(about.default, str)]
    assert len(abouts) > 15
    for about in [about for about in abouts if about.whole or about.high < 1e300]:  # others have the model's range
        for word in ("9" * 400, "1e300", "-1e300", "nan", "inf"):
            with pytest.raises(UsageError):
                about.check(parse_value(about, word))


_MAIN = "import sys; from rlenhance.cli.main import main; sys.exit(main(sys.argv[1:]))"
FULL = "error: standard output: cannot be written (No space left on device); its lines are lost\n"


def shell(place, redirection, *words):
    """The command with its streams as the shell's words make them."""
    line = " ".join([sys.executable, "-c", f"'{_MAIN}'", *words, redirection])
    return subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("redirection, words, told", [
    (">/dev/full", ["presets"], FULL), (">/dev/full", ["--help"], FULL), ("2>/dev/full", ["presets", "--no"], ""),
    (">&-", ["presets"], FULL.replace("No space left on device", "Bad file descriptor")),
    (">&- 2>&- <&-", ["presets"], ""),
])
def test_a_stream_that_takes_nothing(tmp_path, redirection, words, told):
    """Full or closed: no traceback, one line, status 2."""
    done = shell(tmp_path, redirection, *words)
    assert done.returncode == 2
    assert done.stderr == told or (redirection.startswith("2") and not told)


class _Full:
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    flush = isatty = lambda self: False


def test_a_full_log_stops_no_folder(night, tmp_path, monkeypatch, capsys):
    """Every photograph is written though no line about it can be; the status says that the lines are lost."""
    for name in ("in/a.png", "in/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.link(night, tmp_path / name)
    monkeypatch.setattr(sys, "stdout", _Full())
    assert cli.main(["enhance", "in", "-o", "out"]) == 2
    assert capsys.readouterr().err == FULL
    assert len([read(path) for path in (tmp_path / "out").iterdir()]) == 2


def test_a_closed_standard_input_is_empty(night, monkeypatch, capsys):
    """A photograph from nowhere is named as one."""
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["enhance", "-", "-o", "x.png"]) == 2
    assert capsys.readouterr().err == "failed: standard input: the file is empty (0 bytes)\n" and sys.stdin is None


def test_nul_is_in_no_name(night, capsys):
    """A NUL byte anywhere on the command line is refused with the word that holds it."""
    assert cli.main(["enhance", "night.png", "--region", "a\0b"]) == 2
    assert capsys.readouterr().err == "error: 'a\\x00b': no name and no value holds a NUL byte; leave it out\n"

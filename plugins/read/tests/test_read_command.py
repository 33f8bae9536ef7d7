"""`rlenhance read` and what it is made of: the trained policy in NumPy, answers, notes and files."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from made_up_reading import rendered
from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance_read.ocr.engines import FunctionEngine
from rlenhance_read.ocr.filters import CHAINS, grey_of
from rlenhance_read.ocr.observation import seen_readings
from rlenhance_read.ocr.picture_statistics import picture_statistics
from rlenhance_read.ocr.planner import POLICY, EveryChain, RulePlanner, TrainedPlanner
from rlenhance_read.ocr.readings import Reading, Word, agreement, statistics
from rlenhance_read.ocr.text_gate import GATE_NUMBERS, GATES, SURE, TextGate
from rlenhance_read.reader import SIDE, PhotoReader
from rlenhance_read.scripts import package_reader


def read_level(picture):
    """"good" in bright pictures, and more sure of it."""
    level = float(picture.mean()) / 255
    return ("good news" if level > 0.5 else "bad", round(level, 3))


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    """The command reads with a function."""
    made = FunctionEngine(read_level)
    monkeypatch.setattr("rlenhance_read.reader.default_engine", lambda: made)
    return made


@pytest.fixture
def photo(tmp_path):
    """A dark photograph."""
    path = tmp_path / "dark.png"
    write(np.full((60, 200, 3), 30, np.uint8), path)
    return path


def make_run(folder):
    torch.manual_seed(0)
    policy = MODELS.create("read_policy", tools=[*map(str, CHAINS)], price_range=(0.0, 0.01, 0.06), hidden=16)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    policy.center.uniform_(-1, 1)
    policy.spread.uniform_(0.5, 2)
    save_checkpoint(folder, policy)
    return policy.eval()


def test_the_policy_without_torch_scores_as_the_one_with_it(tmp_path):
    """Before any read and after some, at any price; the weights are rounded to 16 bits."""
    policy = make_run(tmp_path / "run")
    package_reader.main(package_reader.Arguments(tmp_path / "run", tmp_path / "reader.npz"))
    grey = grey_of(rendered()[1].picture)
    readings = {3: Reading((Word("exit", 0.8, (0, 0, 9, 9)),)), 0: Reading((Word("exlt", 0.4, (0, 0, 9, 9)),))}
    for price, known in ((None, {}), (0.0, readings), (0.035, readings)):
        planner = TrainedPlanner(tmp_path / "reader.npz", price)
        mask, numbers = np.zeros((1, 16), bool), np.zeros((1, 16, 11), np.float32)
        texts = np.zeros((1, 16, 16), np.float32)
        for place, reading in known.items():
            mask[0, place], numbers[0, place] = True, statistics(reading)
        if known:
            texts[0][np.ix_([3, 0], [3, 0])] = agreement(["exit", "exlt"])
        look = picture_statistics(grey)
        expected = policy({"look": torch.from_numpy(look)[None],
                           "readings": torch.from_numpy(seen_readings(numbers, texts, mask)),
                           "remaining": torch.full((1, 1), 0.5),
                           "preference": policy.preferences.encode(None if price is None else {"price": price}, 1)})
        assert np.allclose(planner.scores(look, known, 0.5), expected[0].detach().numpy(), atol=0.02)
        assert planner.next(grey, known, 0.5) not in known
    with pytest.raises(UsageError, match="price"):
        TrainedPlanner(tmp_path / "reader.npz", 0.5)


def test_the_rule_reads_until_it_is_sure_or_readings_agree():
    """In its order; and the policy that comes with the package takes any picture."""
    def reading(text, sure):
        return Reading((Word(text, sure, (0, 0, 9, 9)),))

    rule, grey = RulePlanner(), grey_of(rendered()[0].picture)
    one, two = rule.order[:2]
    assert rule.next(grey, {}, 1.0) == one
    assert rule.next(grey, {one: reading("exit", 0.9)}, 0.8) is None
    assert rule.next(grey, {one: reading("exit", 0.5)}, 0.8) == two
    assert rule.next(grey, {one: reading("exit", 0.5), two: reading("exit", 0.4)}, 0.6) is None
    assert rule.next(grey, dict.fromkeys(rule.order, Reading()), 0.0) is None
    assert TrainedPlanner(POLICY).next(grey, {}, 1.0) in (None, *range(len(CHAINS)))


def test_a_file_that_is_no_policy_is_refused(tmp_path):
    """Nothing, or other arrays."""
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    for name in ("none.npz", "other.npz"):
        with pytest.raises(UsageError, match="no policy that reads"):
            TrainedPlanner(tmp_path / name)


def test_every_way_is_read_and_the_best_supported_is_taken(engine):
    """With `best`, each chain once; the inverted dark picture is bright."""
    result = PhotoReader(engine, best=True)(np.full((60, 200, 3), 30, np.uint8))
    assert len(result.attempts) == len(CHAINS) and result.text == "good news"
    assert result.plain.text == "bad" and result.prepared.mean() > 127
    assert result.to_json()["plain"] == {"text": "bad", "confidence": 0.118}


def test_boxes_fit_large_photographs(engine):
    """They are read smaller, and their boxes lie in the photograph as it is."""
    result = PhotoReader(engine, EveryChain(), most=1)(np.full((40, 2 * SIDE), 200, np.uint8))
    assert result.prepared.shape == (20, SIDE) and result.reading.words[0].box == (0, 0, 2 * SIDE, 40)
    with pytest.raises(UsageError, match="most"):
        PhotoReader(engine, most=0)


def test_stdout_holds_the_text_alone(photo, capsys):
    """Of one photograph; notes are on standard error."""
    assert main(["read", str(photo), "--best"]) == 0
    out, err = capsys.readouterr()
    assert out == "good news\n" and "16 reads" in err and "dark.png" in err


def test_several_photographs_have_headings(photo, tmp_path, capsys):
    """A folder, and one file that is none; the others are read."""
    write(np.full((60, 200, 3), 220, np.uint8), tmp_path / "bright.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert main(["read", str(tmp_path), "--reads", "1"]) == 2
    out, err = capsys.readouterr()
    assert out.count("==> ") == 2 and "bright.png <==" in out and "failed" in err and "broken.png" in err


def test_json_holds_everything(photo, capsys):
    """Text, confidence, words with boxes, the filters, and the plain reading."""
    assert main(["read", str(photo), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"photograph", "text", "confidence", "words", "chain", "layout", "reads", "plain", "attempts"} <= set(found)
    assert found["plain"]["text"] == "bad" and all(len(word["box"]) == 4 for word in found["words"])


def test_explain_tells_every_attempt(photo, capsys):
    """With what was taken, on standard error."""
    assert main(["read", str(photo), "--explain", "--reads", "2", "--price", "0.01"]) == 0
    err = capsys.readouterr().err
    assert err.count("confidence") >= 2 and err.count("<- taken") == 1 and "as it is" in err


def test_the_prepared_picture_is_saved(photo, tmp_path, capsys):
    """As a file of one, in a folder of several; a file for several is refused."""
    assert main(["read", str(photo), "--save-picture", str(tmp_path / "page.png")]) == 0
    assert read(tmp_path / "page.png").visible_pixels.shape[2] == 3
    assert main(["read", str(photo), "--save-picture", str(tmp_path / "pages")]) == 0
    assert (tmp_path / "pages" / "dark_read.png").is_file()
    assert main(["read", str(photo), str(tmp_path / "page.png"), "--save-picture", str(tmp_path / "one.png")]) == 2
    assert "a folder" in capsys.readouterr().err


def test_tools_are_read_in_their_order(photo, capsys):
    """Until one convinces; a policy with its price does not go with them, nor does what is no tool."""
    assert main(["read", str(photo), "--tools", "median", "--tools", "brighten > invert, sparse", "--explain"]) == 0
    out, err = capsys.readouterr()
    assert out == "good news\n" and err.index("median") < err.index("brighten > invert, sparse")
    assert main(["read", str(photo), "--tools", "brigten"]) == 2
    assert main(["read", str(photo), "--tools", "otsu", "--price", "0.01"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


GATE = TextGate((10.0, *[0.0] * (len(GATE_NUMBERS) - 1)), -5.0, 0.5)


def test_what_is_no_text_is_not_printed(photo, tmp_path, monkeypatch, capsys):
    """Nothing on standard output, status 1 where no photograph has text, and the same in JSON; unless it is asked for.
    """
    monkeypatch.setitem(GATES, "own", GATE)
    assert main(["read", str(photo), "--reads", "1", "--tools", "as it is"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "no text found" in err and "'bad'" in err
    assert main(["read", str(photo), "--json", "--tools", "as it is"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == "" and found["words"] == [] and not found["found"] and found["evidence"] < 0.5
    assert found["doubtful"]["text"] == "bad" and found["attempts"][0]["text"] == "bad"
    assert main(["read", str(photo), "--doubtful", "--tools", "as it is"]) == 0
    assert capsys.readouterr().out == "bad\n"
    write(np.full((60, 200, 3), 220, np.uint8), tmp_path / "bright.png")
    assert main(["read", str(tmp_path), "--tools", "as it is"]) == 0
    assert "good news" in capsys.readouterr().out


def test_readings_of_text_have_more_evidence():
    """With a gate of an engine that comes with the package; nothing read has none."""
    def reading(text, sure):
        return Reading(tuple(Word(word, sure, (0, 0, 9, 9)) for word in text.split()))

    for gate in GATES.values():
        text = gate([reading("Open daily 9:30", 0.9), reading("Open daily 9:30", 0.8)], 0)
        noise = gate([reading("~ i. | —", 0.3), reading("ve", 0.2), Reading()], 0)
        assert text > gate.threshold > noise and gate([Reading()], 0) == 0
        assert gate([reading("5", SURE)], 0) == 1 > gate([reading("5", 0.6)], 0)


def test_standard_input(photo, monkeypatch, capsys):
    """A photograph from a pipe."""
    monkeypatch.setattr("sys.stdin", type("Pipe", (), {"buffer": io.BytesIO(photo.read_bytes())}))
    assert main(["read", "-", "--best"]) == 0
    assert capsys.readouterr().out == "good news\n"


def test_torch_is_not_imported():
    """By the command's modules."""
    code = "import sys, rlenhance_read.command, rlenhance_read.reader; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

"""`rlenhance doctor`: what is wrong is found and told with the way out; what is well passes."""

import importlib
import json
import shutil
from importlib import metadata

import pytest

from rlenhance.cli import doctor
from rlenhance.cli import main as cli
from rlenhance.core.installation import install_line
from rlenhance.hub import shipped as weights


def _answer(capsys, status=0):
    assert cli.main(["doctor", "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["good"] == (status == 0)
    return {finding["about"]: finding for finding in answer["findings"]}


def test_a_good_installation_passes(capsys):
    """Versions, device, threads, weights and the self-test are told; the status is 0."""
    found = _answer(capsys)
    assert {"rlenhance", "python", *doctor.NEEDED.values(), "threads", "kernel", "networks", "device",
            "self-test"} <= set(found)
    assert {f"weights {model.name}" for model in weights.list_models()} <= set(found)
    assert "brightened" in found["self-test"]["text"]
    assert cli.main(["doctor", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well" and len(lines) == len(found) + 1


def test_a_good_installation_is_summed_up(capsys, monkeypatch):
    """In twelve lines at most, whatever extras and models there are; each is named."""
    extras = {f"extra-{number}": number % 2 for number in range(12)}
    monkeypatch.setattr(metadata, "requires", lambda name: [
        f"{'numpy' if there else 'nosuchlibrary'}; extra == '{extra}'" for extra, there in extras.items()])
    assert cli.main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "all is well" and len(lines) <= 11
    extra_lines = [line for line in lines if " extras: " in line]
    assert len(extra_lines) == 2 and all(any(extra in line for line in extra_lines) for extra in extras)
    assert install_line("NAME") in extra_lines[1]
    assert any(f"{len(weights.list_models())} models" in line for line in lines)


def test_every_extra_is_told(capsys, monkeypatch):
    """Extras come from the package's own list: those that are there with versions, others with the line to type."""
    lines = ["numpy>=2", 'rlenhance[heif,two]; extra == "all"', "nosuchlibrary>=1; extra == 'heif'",
             'numpy; extra == "two"', 'nosuchlibrary; extra == "two"', 'ruff; extra == "dev"', 'tqdm; extra == "fast"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    found = _answer(capsys)
    assert found["extra heif"]["text"] == f"not there: {install_line('heif')}"
    assert found["extra heif"]["good"] is None and found["extra two"]["good"] is None
    assert found["extra two"]["text"].startswith("nosuchlibrary not there (numpy ")
    assert found["extra fast"]["good"] and not {"extra dev", "extra all"} & set(found)
    monkeypatch.setattr(metadata, "requires", lambda name: None)
    assert not any(about.startswith("extra ") for about in _answer(capsys))


def test_a_library_that_is_missing_is_told(capsys, monkeypatch):
    """Its name and the line that installs it; what needs it is left out."""
    plain = importlib.import_module

    def without(name, *rest):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return plain(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    found = _answer(capsys, status=1)
    text = found["opencv-python-headless"]["text"]
    assert "pip install --upgrade opencv-python-headless" in text and "apt-get install libgl1" in text
    assert found["self-test"]["good"] is False


@pytest.mark.parametrize(("version", "good"), [("5.1", None), ("4.10", False)])
def test_two_builds_of_opencv_are_told(capsys, monkeypatch, version, good):
    """They install one folder: of the same version they do no harm, of two it is chance which works."""
    builds = {"opencv-python": "5.1", "opencv-python-headless": version}
    monkeypatch.setattr(doctor, "_version", lambda package: builds.get(package, ""))
    finding = _answer(capsys, status=0 if good is None else 1)["builds of OpenCV"]
    assert finding["good"] is good and "keep one: pip uninstall opencv-python-headless opencv-python" in finding["text"]


def test_damaged_weights_are_told(capsys, monkeypatch, tmp_path):
    """One changed byte in one model: it is named, the others pass, and the self-test does not run on it."""
    shutil.copytree(weights.FOLDER, tmp_path / "weights")
    default = weights.default_model()
    path = tmp_path / "weights" / default / weights.MODEL
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    found = _answer(capsys, status=1)
    assert "damaged" in found[f"weights {default}"]["text"] and found["self-test"]["good"] is False
    assert sum(finding["good"] is False for finding in found.values()) == 2
    assert cli.main(["doctor"]) == 1
    assert f"2 things do not work: weights {default}, self-test" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["dark", "changed"])
def test_the_self_test_can_fail(capsys, monkeypatch, fault):
    """A model that darkens, or one that changes what it should keep, is found."""
    from rlenhance.pipelines.enhance import Enhancer

    monkeypatch.setattr(Enhancer, "__call__", lambda self, picture: picture // 2 if fault == "dark" or
                        self.settings.strength == 0 else picture * 2)
    text = _answer(capsys, status=1)["self-test"]["text"]
    assert ("did not become brighter" in text) == (fault == "dark") and "strength 0 changed" in text


def test_without_weights_there_is_no_fault(capsys, monkeypatch, tmp_path):
    """A version that ships none is told so."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    assert _answer(capsys)["weights"]["good"] is None

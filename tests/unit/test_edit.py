"""`--edit`: another program calls the command as its editor."""

import os
import stat

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.io import read, write
from rlenhance.io.photo import Encoding, Metadata, Photo
from rlenhance.learning.hub.checkpoint import save_checkpoint
from tests.support.networks import CHOICE, make_policy, stir


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """The photograph in its place, in the folder one stands in; a run is the default model."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_policy(preferences=CHOICE)))
    monkeypatch.setattr("rlenhance.hub.shipped.FOLDER", tmp_path / "weights")
    pixels = np.random.default_rng(0).integers(0, 20_000, (24, 32, 3)).astype(np.uint16)
    return write(Photo(pixels, metadata=Metadata(xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", dpi=(300.0, 300.0)),
                       encoding=Encoding("TIFF", 16, "RGB")), tmp_path / "my photo.tif")


def edit(*words):
    return cli.main(["enhance", "--edit", *map(str, words)])


def test_in_place_keeps_the_file_as_it_was_beside_it(photo):
    before, old = photo.read_bytes(), read(photo)
    photo.chmod(0o640)
    assert edit(photo) == 0
    new = read(photo)
    assert (photo.parent / "my photo.tif~").read_bytes() == before and (new.pixels != old.pixels).any()
    assert (new.depth, new.metadata.xmp, new.metadata.dpi) == (16, old.metadata.xmp, old.metadata.dpi)
    assert stat.S_IMODE(photo.stat().st_mode) == 0o640
    second = photo.read_bytes()
    assert edit(photo) == 0 and (photo.parent / "my photo.tif.~2~").read_bytes() == second
    assert (photo.parent / "my photo.tif~").read_bytes() == before


def test_from_file_to_file_replaces_the_result_and_never_the_photograph(photo, tmp_path):
    before, out = photo.read_bytes(), tmp_path / "out.png"
    out.write_bytes(b"a temporary file of the program")
    assert edit(photo, "--output", out) == 0
    assert photo.read_bytes() == before and read(out).depth == 16
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["my photo.tif", "out.png"]


def test_the_kind_may_be_said_twice(photo, tmp_path):
    assert edit(photo, "--output", tmp_path / "o.tif", "--format", "tiff", "--quality", 90) == 0
    assert edit(photo, "--output", tmp_path / "o.png", "--format", "jpg") == 2 and not (tmp_path / "o.png").exists()


def test_the_same_file_twice_is_in_place(photo):
    assert edit(photo, "--output", photo, "--no-backup") == 0
    assert [path.name for path in photo.parent.glob("my*")] == ["my photo.tif"]


def test_a_link_stays_a_link(photo, tmp_path):
    link = tmp_path / "link.tif"
    link.symlink_to(photo.name)
    before = photo.read_bytes()
    assert edit(link) == 0 and link.is_symlink() and photo.read_bytes() != before


def test_nothing_changed_leaves_nothing_behind(photo):
    before = photo.read_bytes()
    assert edit(photo, "--strength", 0, "--denoise", 0) == 0
    assert photo.read_bytes() == before and [path.name for path in photo.parent.glob("my*")] == ["my photo.tif"]


@pytest.mark.parametrize("fault", ["damaged", "unwritable"])
def test_a_failure_loses_nothing(photo, fault, monkeypatch):
    if fault == "damaged":
        photo.write_bytes(photo.read_bytes()[:3000])
    else:
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
    before = photo.read_bytes()
    assert edit(photo) == 2 and photo.read_bytes() == before
    assert [path.name for path in photo.parent.glob(".*part")] + [path.name for path in photo.parent.glob("my*")] == [
        "my photo.tif"]


@pytest.mark.parametrize("words", [["none.jpg"], ["my photo.tif", "other.tif"], ["my photo.tif", "--format", "png"],
                                   ["raw.cr2"], ["-"], ["my photo.tif", "--match-series"], ["read only.png"],
                                   ["clip.mp4"], ["my photo.tif", "--output", "o.png", "--no-backup"]])
def test_what_cannot_be_edited_in_its_place_is_refused(photo, words, capsys):
    (photo.parent / "raw.cr2").write_bytes(b"x"), (photo.parent / "clip.mp4").write_bytes(b"x")
    write(np.zeros((4, 4, 3), np.uint8), photo.parent / "read only.png").chmod(0o444)
    if words == ["read only.png"] and os.geteuid() == 0:
        pytest.skip("the superuser may write everything")
    before = {path: path.read_bytes() for path in photo.parent.iterdir() if path.is_file()}
    assert edit(*words) == 2 and capsys.readouterr().err.startswith("error: ")
    assert {path: path.read_bytes() for path in photo.parent.iterdir() if path.is_file()} == before

"""Addresses of stores: the same results as from a folder, whole or not at all."""

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import sha256
from rlenhance.io import write
from rlenhance.many.places import RemotePath, as_place, fetch, is_remote, put, stamp_of

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(night):
    """Six photographs in fsspec's memory, one of them damaged, beside other files; and the same in a folder."""
    memory = fsspec.filesystem("memory")
    for level in range(6):
        path = write(np.full((8, 10, 3), 9 * level, np.uint8), night.parent / f"album/{level % 2}/{level}, x.png")
        if level == 5:
            path.write_bytes(b"no picture")
        memory.pipe_file(f"/album/{level % 2}/{level}, x.png", path.read_bytes())
    memory.pipe_file("/album/notes.csv", b"")
    yield memory
    memory.rm("/", recursive=True)


@pytest.mark.parametrize("word", ["s3://bucket/a/b.jpg", "memory://a.jpg"])
def test_an_address_is_a_path_with_its_own_text(word):
    """Parts, names and joins are those of a path; the text is what was typed."""
    place = as_place(word)
    assert isinstance(place, RemotePath) and is_remote(place) and str(place) == word
    assert str(place.with_name("c.png")) == f"{word.rsplit('/', 1)[0]}/c.png".replace("memory:/c", "memory://c")
    assert as_place(str(place.parent / "x" / place.name)).name == place.name


def test_paths_stay_paths_and_bad_addresses_are_refused():
    """file:// and local:// are paths; an address has no empty parts, and a local one the whole path."""
    assert not is_remote("a/b.jpg") and not is_remote("C:/x") and not is_remote("file:///a") and not is_remote("local:///a")
    assert str(as_place("file:///a/b c.jpg")) == str(as_place("local:///a/b c.jpg")) == "/a/b c.jpg"
    for word in ("s3://", "s3://a//b.jpg", "s3://a/../b.jpg", "local://a/b.jpg", "file://host/b.jpg"):
        with pytest.raises(UsageError, match="address"):
            as_place(word)


def test_files_come_and_go_whole(tmp_path):
    """What is put has the bytes of the file, in stores with folders too; another content has another stamp."""
    (tmp_path / "one").write_bytes(b"one")
    for place in (RemotePath("local:", *tmp_path.parts[1:], "deep/er/two"), as_place("memory://deep/two")):
        assert stamp_of(place) == ""
        put(tmp_path / "one", place)
        before = stamp_of(place)
        fetch(place, tmp_path / "back")
        assert sha256(tmp_path / "back") == sha256(tmp_path / "one") and before
        (tmp_path / "two").write_bytes(b"two and more")
        put(tmp_path / "two", place)
        assert stamp_of(place) != before
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["two"]
    with pytest.raises(UsageError, match="no such file"):
        fetch(as_place("memory://missing"), tmp_path / "back")


def test_the_command_reads_and_writes_a_store(store, night, capsys):
    """The bytes are those of a folder; a damaged file is told by its address; the same command goes on."""
    assert main(["enhance", "album", "-r", "-o", "plain", "-q"]) == 2
    words = ["enhance", "memory://album", "-r", "-o", "memory://out", "--ledger", "ledger.jsonl"]
    assert main([*words, "--max-failure-rate", "0.5"]) == 0
    assert "memory://album/1/5, x.png: not a picture" in capsys.readouterr().err
    for path in (night.parent / "plain").rglob("*.png"):
        assert store.cat(f"/out/{path.relative_to(night.parent / 'plain')}") == path.read_bytes()
    assert len([name for name in store.find("/out")]) == 5
    assert main(words) == 2
    assert "5 photographs are done already" in capsys.readouterr().err
    store.pipe_file("/album/0/0, x.png", (night.parent / "album/0/4, x.png").read_bytes())
    store.rm("/out/0/2, x.png")
    assert main([*words, "--json"]) == 2
    assert capsys.readouterr().out.count('"written"') == 3  # two photographs and the summary
    assert store.cat("/out/0/0, x.png") == store.cat("/out/0/4, x.png")


def test_plans_over_stores_refuse_what_others_refuse(store, night, capsys):
    """Results that exist or share a name, places without photographs, and options that need files here."""
    assert main(["enhance", "memory://album/0/0, x.png", "-o", "night2.png", "-q"]) == 0
    for words, said in ((["memory://album/0/0, x.png", "-o", "night2.png"], "exists"),
                        (["memory://album", "-o", "out"], "holds no picture"),
                        (["memory://album/0/0, x.png", "memory://album/0/0, x.png", "-o", "night2.png"], "exists"),
                        (["memory://nowhere", "-o", "out"], "holds no picture"),
                        (["memory://album", "-r", "--format", "webp", "--name", "{stem}{ext}", "--match-series"],
                         "--match-series"),
                        (["unknown://album", "-o", "out"], "unknown"), (["night.png", "-o", "s3://"], "address")):
        assert main(["enhance", *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["enhance", f"file://{night}", "-o", f"file://{night.parent}/as-path.png", "-q"]) == 0
    assert (night.parent / "as-path.png").exists() and not (night.parent / "file:").exists()
    assert main(["enhance", "memory://album", "-r", "-o", "out", "--dry-run"]) == 0
    assert "memory://album/0/0, x.png -> out/0/0, x.png" in capsys.readouterr().out


@pytest.mark.parametrize("words", [
    ["local://{p}", "-o", "{p}/"], ["{p}/0.png", "{p}/1.png", "-o", "local://{p}/"], ["{p}/0.png", "-o", "file://{p}/0.png"],
    ["file://{p}/0.png", "-o", "local://{p}/../p/0.png"], ["local://{p}/../link/0.png", "-o", "{p}/0.png"],
    ["local://{p}/0.png", "-o", "{p}/hard.png"], ["memory://shelf/x.png", "{p}/0.png", "-o", "{p}/"],
    ["memory://shelf/0.png", "{p}/0.png", "-o", "local://{p}/../link/", "--name", "{{stem}}_{{number}}{{ext}}",
     "--region", "{p}/0_1.png"]])
@pytest.mark.parametrize("command", ["enhance", "denoise"])
def test_no_address_leads_to_a_source(command, words, store, night, capsys):
    """Whatever the spelling of a local place, beside addresses too: --overwrite replaces no file that is read."""
    folder = night.parent / "p"
    for level, name in ((0, "0"), (1, "1"), (2, "0_1")):
        write(np.full((8, 10, 3), 40 * level, np.uint8), folder / f"{name}.png")
    (night.parent / "link").symlink_to(folder)
    (folder / "hard.png").hardlink_to(folder / "0.png")
    store.pipe_file("/shelf/x.png", (folder / "0.png").read_bytes())
    store.pipe_file("/shelf/0.png", (folder / "0.png").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main([command, *(word.format(p=folder) for word in words), "--overwrite", "-q"]) == 2
    assert "replace" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

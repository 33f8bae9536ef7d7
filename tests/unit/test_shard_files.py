"""Shards of WebDataset and tables of Parquet: the pictures of the files, by scene, seeded, whole; and hostile ones."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import pack_shards
from rlenhance.io import parquet
from rlenhance.io.encoder import encode
from rlenhance.io.isolate import run_in_child
from rlenhance.io.photo import Photo
from rlenhance.learning.data import (
    ImageCache,
    Sampler,
    check_disjoint,
    open_clean,
    open_dataset,
    read_shard,
    shards,
    validate_splits,
)
from rlenhance.learning.data import sampler as samplers
from rlenhance.learning.data.sampler import streamed


def picture(number, size=(20, 24)):
    """(H, W, 3) uint8, another for every number."""
    return np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)


def png(number, size=(20, 24)):
    return encode(Photo(picture(number, size)), ".png")


def make_tar(path, members):
    """A tar file of (name, bytes)."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def pair_members(first, count):
    """Pairs; four to a scene."""
    return [(f"s{number // 4:03d}_{number:04d}.{part}.png", png(2 * number + (part == "high")))
            for number in range(first, first + count) for part in ("low", "high")]


def make_table(path, rows, group=5, form="struct", columns=("low", "high"), **more):
    """A Parquet table of rows of bytes."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = {name: [{"bytes": data, "path": None} if form == "struct" else data for data in values]
             for name, values in zip(columns, zip(*rows, strict=True), strict=True)}
    parquet.write_table(arrow.table({**cells, **more}), path, row_group_size=group)
    return path


@pytest.fixture(params=["tar", "parquet"])
def folder(request, tmp_path):
    """48 pairs of 12 scenes in four shards."""
    for shard in range(4):
        if request.param == "tar":
            make_tar(tmp_path / f"{shard:03d}.tar", pair_members(12 * shard, 12))
        else:
            numbers = range(12 * shard, 12 * shard + 12)
            make_table(tmp_path / f"{shard:03d}.parquet", [(png(2 * n), png(2 * n + 1)) for n in numbers],
                       name=[f"s{n // 4:03d}_{n:04d}" for n in numbers])
    return tmp_path


def test_shards_hold_the_pictures_of_the_files(folder):
    """Bit for bit, in pairs; no scene is in two splits, and none is lost; the same at every opening."""
    splits, cache = open_dataset(folder), ImageCache()
    whole = [example for part in splits.parts.values() for example in part]
    assert len(whole) == 48 and len({example.name for example in whole}) == 48 and splits.has_references
    scenes = [{example.scene for example in part} for part in splits.parts.values()]
    assert sum(map(len, scenes)) == len(set.union(*scenes)) == 12 and all(scenes)
    for example in whole:
        number = int(example.name.split("_")[-1])
        image, target = example.load(cache)
        assert (image == picture(2 * number)).all() and (target == picture(2 * number + 1)).all()
    check_disjoint(validate_splits(splits, cache)[0], cache)
    assert open_dataset(folder) == splits and open_dataset(folder, seed=1).val != splits.val
    assert len(open_clean(folder).train) == len({example.scene for example in splits.train})


def test_batches_repeat_and_go_on_anywhere(folder, monkeypatch):
    """A batch is a function of the step; an epoch has every example once; another seed has another order; and few
    blocks are open at a time."""
    monkeypatch.setattr(samplers, "WINDOW", 10)
    train = open_dataset(folder).train
    sampler = Sampler(train, ImageCache(), 16, seed=3)
    batches = [sampler.batch(step, 4) for step in range(3)]
    again = Sampler(train, ImageCache(0), 16, seed=3)
    assert torch.equal(again.batch(2, 4).image, batches[2].image)  # from the middle, and not cached
    orders = [[each._index(number) for number in range(2 * len(train))]
              for each in (sampler, again, sampler.with_seed(4))]
    assert orders[0] == orders[1] != orders[2]
    for order in (orders[0][: len(train)], orders[0][len(train) :]):
        assert sorted(order) == list(range(len(train)))
    assert orders[0][: len(train)] != orders[0][len(train) :]
    blocks = [train[number].image.block for number in orders[0][: len(train)]]
    spread = [max(place for place, other in enumerate(blocks) if other == block) - blocks.index(block)
              for block in set(blocks)]
    assert max(spread) < 10 + max(blocks.count(block) for block in blocks)


def test_a_stream_mixes_and_loses_nothing():
    """Over blocks of unequal sizes; within a window the order is not that of the files."""
    blocks = [list(range(start, start + size)) for start, size in ((0, 300), (300, 1), (301, 700), (1001, 40))]
    order = streamed(0, 0, blocks)
    assert sorted(order) == list(range(1041)) and (np.diff(order) == 1).mean() < 0.1
    assert (streamed(0, 1, blocks) != order).any() and (streamed(0, 0, blocks) == order).all()


def test_splits_by_the_names_of_shards(tmp_path):
    """test-*.tar is the test split, validation is carved from the others; a word that begins so is none."""
    make_tar(tmp_path / "test-0.tar", pair_members(100, 4))
    make_tar(tmp_path / "testimony.tar", pair_members(0, 24))
    splits = open_dataset(tmp_path)
    assert len(splits.test) == 4 and len(splits.train) + len(splits.val) == 24 and splits.val
    with pytest.raises(UsageError, match="too few"):
        open_dataset(tmp_path / "test-0.tar")


def test_an_archive_beside_pictures_is_passed_over(tmp_path, pairs):
    """As the one that a folder of pairs was unpacked from; named itself, it is read."""
    archive = make_tar(pairs / "backup.tar", pair_members(0, 24))
    assert all(isinstance(example.image, Path) for example in open_dataset(pairs).train)
    assert len(open_dataset(archive).train) > 10


def test_pictures_alone_and_numbers_that_begin_anew(tmp_path):
    """Any name; 000001 of two shards are two scenes; folders in names count; a sample of three pictures is told."""
    for shard in range(2):
        make_tar(tmp_path / f"{shard}.tar", [(f"{n:06d}.png", png(10 * shard + n)) for n in range(6)]
                 + [("a/000000.png", png(90 + shard)), ("000000.json", b"{}"), ("readme.txt", b"")])
    found, lines = read_shard(tmp_path / "0.tar")
    assert len(found) == 7 and not lines and all(example.target is None for example in found)
    splits = open_dataset(tmp_path)
    assert len({example.scene for part in splits.parts.values() for example in part}) == 14
    make_tar(tmp_path / "0.tar", [("x.low.png", png(1)), ("x.high.png", png(2)), ("x.other.png", png(3)),
                                  ("y.png", png(4)), ("z.low.png", png(1)), ("z.low.png", png(2))])
    found, lines = read_shard(tmp_path / "0.tar")
    assert [example.scene for example in found] == ["0/y", "0/z"] and len(lines) == 2 and "low, high, other" in lines[1]


def test_pairs_of_mixed_sizes_are_named(tmp_path):
    """Pictures may differ in size between pairs, and not within one."""
    members = [(f"s{n:03d}_0.{part}.png", png(2 * n + (part == "high"), (16 + n, 20))) for n in range(6)
               for part in ("low", "high")]
    members[3] = (members[3][0], png(3, (30, 20)))
    make_tar(tmp_path / "a.tar", members)
    with pytest.raises(UsageError, match=r"a\.tar, s001_0\.low\.png: 20x17, but its reference"):
        validate_splits(open_dataset(tmp_path), ImageCache())
    good, lines = validate_splits(open_dataset(tmp_path), ImageCache(), on_bad_image="skip")
    assert len(lines) == 1 and sum(map(len, good.parts.values())) == 5


def test_hostile_tar_files(tmp_path, monkeypatch):
    """Cut off anywhere, of another kind, compressed, with a header without end: told, and nothing is unpacked."""
    data = make_tar(tmp_path / "a.tar", pair_members(0, 4)).read_bytes()
    path = tmp_path / "b.tar"
    for content, words in ((data[:3000], "cut off"), (data[: 512 + 3], "cut off"), (data[:512], "cut off"),
                           (b"", "cut off|no picture"), (b"\x89PNG" * 600, "no tar file"), (b"x" * 100, "no tar file"),
                           (gzip.compress(data), "gunzip"), (bytes(10240), "no picture")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words) as told:
            read_shard(path)
        assert str(path) in str(told.value)
    ends = len(data.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(data[:ends])  # whole members, and no end
    with pytest.raises(UsageError, match="has no end"):
        read_shard(path)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(UsageError, match="header of"):
        read_shard(path)
    back = tarfile.TarInfo("back.png").tobuf(tarfile.GNU_FORMAT)  # a member of -512 bytes, behind which it begins again
    size = b"\xff" * 10 + b"\xfe\x00"
    text = back[:124] + size + back[136:148] + b" " * 8 + back[156:]
    header = text[:148] + f"{sum(text):06o}\0 ".encode() + text[156:]
    path.write_bytes(tarfile.TarInfo("first.png").tobuf(tarfile.GNU_FORMAT) + header + bytes(2048))
    with pytest.raises(UsageError, match="a member of -512 bytes"):
        read_shard(path)
    path.write_bytes(data)
    found, _ = read_shard(path)
    path.write_bytes(data[: found[-1].target.place + 5])  # after it was opened
    with pytest.raises(UsageError, match="cut off"):
        found[-1].target.read()
    with pytest.raises(UsageError, match="cannot be read"):
        read_shard(tmp_path / "nowhere.tar")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_hostile_members(tmp_path, monkeypatch):
    """Paths that lead out, links, devices, a huge picture, one that is none: labels, lines, and no file anywhere."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("../../out.png", png(1)), ("/etc/passwd.png", png(2)), ("\x1b[2J\n.png", png(3)),
                           ("huge.png", png(4, (64, 64))), ("text.png", b"no picture")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("dev.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    monkeypatch.setattr(shards.TarImage, "largest", 5000)
    found, lines = read_shard(tmp_path / "a.tar")
    assert len(found) == 4 and len(lines) == 4 and sum("a link or a device" in line for line in lines) == 3
    assert any("the limit is 5,000" in line for line in lines)
    assert all(set(example.name).isdisjoint("/\\.\x1b\n") for example in found)
    assert (found[0].image.read() == picture(1)).all()
    with pytest.raises(UsageError, match=r"text\.png"):
        found[3].image.read()
    assert all("\x1b" not in str(each) for each in [*lines, *(example.image for example in found)])
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]


def test_hostile_tables(tmp_path, monkeypatch):
    """Cut off, of another kind, without pictures, an empty cell, a row group that is too large."""
    path = make_table(tmp_path / "a.parquet", [(png(n),) for n in range(7)], form="bytes", columns=("jpg",))
    found, lines = read_shard(path)
    assert len(found) == 7 and not lines and (found[6].image.read() == picture(6)).all()
    data = path.read_bytes()
    for content in (data[:-9], data[:100], b"", b"PAR1" + bytes(50) + b"PAR1", b"text"):
        (tmp_path / "b.parquet").write_bytes(content)
        with pytest.raises(UsageError, match=r"b\.parquet: damaged"):
            read_shard(tmp_path / "b.parquet")
    none = make_table(tmp_path / "c.parquet", [(3,), (4,)], form="bytes", columns=("number",))
    with pytest.raises(UsageError, match="no column of pictures; it has number"):
        read_shard(none)
    empty = make_table(tmp_path / "d.parquet", [(png(1),), (None,), (b"junk",)], form="bytes", columns=("image",))
    found, _ = read_shard(empty)
    for number, words in ((1, "is empty"), (2, "row 2 in group 0")):
        with pytest.raises(UsageError, match=words):
            found[number].image.read()
    monkeypatch.setattr(shards, "_GROUP", 1000)
    with pytest.raises(UsageError, match="row_group_size"):
        read_shard(path)


def test_tables_that_unpack_to_gigabytes_are_refused(tmp_path, monkeypatch):
    """A value that all rows share is stored once: neither pictures nor names are unpacked beyond the limit."""
    monkeypatch.setattr(shards, "_GROUP", 100_000)
    monkeypatch.setattr(shards, "_LABELS", 100_000)
    large = make_table(tmp_path / "a.parquet", [(bytes(20_000),)] * 500, 500, "bytes", ("image",))
    assert large.stat().st_size < 3000
    found, _ = read_shard(large)
    with pytest.raises(UsageError, match="more than 100,000 bytes of image in row group 0"):
        found[7].image.read()
    named = make_table(tmp_path / "b.parquet", [(b"small",)] * 500, 500, "bytes", ("image",), name=["n" * 20_000] * 500)
    with pytest.raises(UsageError, match="more than 100,000 bytes of name in row group 0"):
        read_shard(named)
    monkeypatch.setattr(parquet.Path, "stat", lambda path: SimpleNamespace(st_size=499, st_mtime_ns=0))
    with pytest.raises(UsageError, match="500 rows in 499 bytes"):
        parquet._table_info(large)


def test_a_table_that_ends_its_reader_is_refused(tmp_path, monkeypatch):
    """pyarrow runs in a child process alone: what crashes there is a refusal that names the table."""
    path = make_table(tmp_path / "a.parquet", [(png(1),)], form="bytes", columns=("image",))
    called = []
    monkeypatch.setattr(parquet, "run_in_child", lambda function, *arguments, **limits: called.append(limits) or
                        run_in_child(os.abort, name=limits["name"], seconds=5, memory=500))
    with pytest.raises(UsageError, match=r"a\.parquet: damaged \(its reader crashed with SIGABRT"):
        read_shard(path)
    assert 0 < called[0]["memory"] < 8000 and called[0]["seconds"] > 1
    code = "import sys; from rlenhance.learning.data import read_shard; from pathlib import Path; " \
        "read_shard(Path(sys.argv[1]))[0][0].image.read(); assert 'pyarrow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0


def test_row_groups_in_memory_stay_within_their_budget(tmp_path):
    """The least recently read one goes; the last one stays, however large."""
    path = make_table(tmp_path / "a.parquet", [(png(n),) for n in range(20)], form="bytes", columns=("image",))
    held = shards._RowGroups(2 * 5 * len(png(0)) + 4000)
    for group in (0, 1, 2, 0, 3):
        held.column(path, group, "image")
        assert len(held._held) <= 2
    assert [key[1] for key in held._held] == [0, 3]


def test_without_pyarrow_the_install_line_is_told(tmp_path, monkeypatch):
    """And tar files are read without it."""
    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pyarrow: pip install .*\[parquet\]"):
        open_dataset(tmp_path)


def test_a_folder_is_packed(tmp_path, pairs, capsys):
    """Into shards of both kinds: its scenes, names and pixels; drawing from them is measured."""
    pytest.importorskip("pyarrow")
    pack_shards.main(pairs, tmp_path / "out", examples=5, row_group=2, measure=2)
    assert capsys.readouterr().out.count("of the files") == 3
    wanted = {pixels.tobytes(): example.scene for part in open_dataset(pairs).parts.values() for example in part
              for pixels in example.load(ImageCache())}
    for form in ("tar", "parquet"):
        splits = open_dataset(tmp_path / "out" / form)
        found = {pixels.tobytes(): example.scene for part in splits.parts.values() for example in part
                 for pixels in example.load(ImageCache())}
        assert found == wanted
    with pytest.raises(UsageError, match="exists"):
        pack_shards.main(pairs, tmp_path / "out")


def test_columns_of_other_lengths_are_refused(tmp_path, monkeypatch):
    """A damaged table may hold fewer names than rows."""
    path = make_table(tmp_path / "a.parquet", [(png(1),), (png(2),)], form="bytes", columns=("image",), name=["a", "b"])
    whole = shards.read_texts
    monkeypatch.setattr(shards, "read_texts", lambda *arguments: {
        name: column[:1] for name, column in whole(*arguments).items()})
    with pytest.raises(UsageError, match=r"a\.parquet: damaged \(row group 0 says 2 rows"):
        read_shard(path)

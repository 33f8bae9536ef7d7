"""Shards: disjoint, complete, the same on every machine, and the names of the whole."""

import numpy as np
import pytest

from rlenhance.cli.main import main
from rlenhance.core.errors import UsageError
from rlenhance.io import OutputNaming, make_plan, write
from rlenhance.io.shard import Shard


@pytest.fixture
def album(tmp_path, monkeypatch):
    """60 empty files in a tree, one of them with a line break and one with a byte that is no text."""
    monkeypatch.chdir(tmp_path)
    for number in range(58):
        path = tmp_path / f"photos/{number % 3}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "photos/line\nbreak, comma.jpg").touch()
    (tmp_path / b"photos/\xff.jpg".decode(errors="surrogateescape")).touch()
    return tmp_path / "photos"


@pytest.mark.parametrize("count", [1, 2, 40])
def test_shards_share_all_photographs(album, count):
    """Each photograph is in one shard, with the result that it has in the whole."""
    naming = OutputNaming(template="{number}-{stem}{ext}")
    whole = make_plan([album], "out", naming=naming, recursive=True)
    parts = [make_plan([album], "out", naming=naming, recursive=True, shard=Shard(index, count))
             for index in range(count)]
    assert sorted(map(str, (job for part in parts for job in part.jobs))) == sorted(map(str, whole.jobs))
    assert all(len(part.jobs) + part.other_shards == 60 for part in parts)


def test_a_shard_is_the_same_wherever_the_folder_lies(album, tmp_path):
    """The path below the named folder decides, so that machines may mount it at different places."""
    (tmp_path / "elsewhere").symlink_to(album)
    first, second = (make_plan([place], "out", recursive=True, shard=Shard(1, 3)) for place in ("photos", "elsewhere"))
    assert [job.target for job in first.jobs] == [job.target for job in second.jobs]


def test_a_new_file_moves_no_other(album):
    """What a shard had it keeps."""
    before = [make_plan([album], "out", recursive=True, shard=Shard(index, 3)).jobs for index in range(3)]
    (album / "0/new.jpg").touch()
    after = [make_plan([album], "out", recursive=True, shard=Shard(index, 3)).jobs for index in range(3)]
    assert sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True)) == 1
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True))


def test_results_of_other_shards_are_no_conflict_and_shared_names_are(album):
    """A shard looks at its own results, and at the names of all."""
    other = make_plan([album], "out", recursive=True, shard=Shard(1, 2)).jobs[0].target
    other.parent.mkdir(parents=True)
    other.touch()
    assert make_plan([album], "out", recursive=True, shard=Shard(0, 2)).jobs
    with pytest.raises(UsageError, match="exists"):
        make_plan([album], "out", recursive=True, shard=Shard(1, 2))
    (album / "0/0.png").touch()
    for index in range(2):
        with pytest.raises(UsageError, match="both be written"):
            make_plan([album], "webp", naming=OutputNaming(extension=".webp"), recursive=True, shard=Shard(index, 2))


@pytest.mark.parametrize("word", ["2/2", "-1/2", "1", "1/0", "a/b", "1/2/3", "", "0.5/2"])
def test_a_wrong_shard_is_refused(album, word, capsys):
    """Before any work, with the spelling that is meant."""
    assert main(["enhance", str(album), "-r", f"--shard={word}"]) == 2
    assert "--shard" in capsys.readouterr().err


def test_the_commands_take_shards(night, capsys):
    """Two shards write what one run does; what belongs together is refused."""
    for number in range(4):
        write(np.full((8, 8, 3), 20 * number, np.uint8), night.parent / f"photos/{number}.png")
    for index in range(2):
        assert main(["denoise", "photos", "-o", "out", "--shard", f"{index}/2", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert all(told.out.count(f"photos/{number}.png ->") == 1 for number in range(4))
    assert "shard 0/2 has" in told.err and "of 4 photographs" in told.err
    assert main(["enhance", "photos", "-o", "out", "--shard", "0/2", "--shared-decision"]) == 2
    assert main(["enhance", "photos", "-o", "out", "--shard", "0/2", "--match-series"]) == 2
    assert main(["enhance", "-", "--shard", "0/2"]) == 2
    assert main(["enhance", "photos", "-o", "out", "-q", "--shard", "0/1"]) == 0
    assert len(list((night.parent / "out").iterdir())) == 4

"""The blind comparison of two ways to enhance."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.blind import Arguments, main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.io import read, write


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Six photographs, and of each two results: one brighter, one darker."""
    for number in range(6):
        picture = np.full((8, 12, 3), 60 + number, np.uint8)
        for folder, change in (("photos", 0), ("bright", 100), ("dark", -40)):
            write(picture + np.int16(change).astype(np.uint8), tmp_path / folder / f"{number}.png")
    return tmp_path


def _made(folders: Path, **changes: object) -> Path:
    main(Arguments(folders / "photos", (str(folders / "bright"), str(folders / "dark")), folders / "out",
                   **changes))  # type: ignore[arg-type]
    return folders / "out"


def test_a_judge_who_prefers_the_brighter_is_counted_for_it_whatever_its_side(folders: Path) -> None:
    out = _made(folders)
    votes = {}
    for number in range(6):
        left, right = (read(out / f"{number:03d}-{side}.png").visible_pixels.mean() for side in ("left", "right"))
        votes[str(number)] = "alike" if number == 0 else "left" if left > right else "right"
    (out / "votes.json").write_text(json.dumps(votes))
    table = main(Arguments(folders / "photos", out=out, count=(out / "votes.json",)))
    assert table is not None
    assert [row[:3] for row in table.rows] == [(str(folders / "bright"), 5, 100.0), (str(folders / "dark"), 0, 0.0)]
    assert table.title == "judges: 1, decided pairs: 5, alike: 1"


def test_the_page_and_the_names_of_its_pictures_do_not_tell_the_ways(folders: Path) -> None:
    out = _made(folders, seed=3)
    page = (out / "index.html").read_text()
    assert "bright" not in page and "dark" not in page
    sides = {pair["left"] for pair in json.loads((out / "key.json").read_text())["pairs"]}
    assert len(sides) == 2  # each way stands on the left now and then


def test_what_does_not_fit_is_named(folders: Path) -> None:
    with pytest.raises(UsageError, match="two different ways"):
        main(Arguments(folders / "photos", ("balanced",)))
    (folders / "dark" / "3.png").unlink()
    with pytest.raises(UsageError, match=r"has no result of 3\.png"):
        _made(folders)
    (folders / "dark" / "3.png").write_bytes((folders / "photos" / "3.png").read_bytes())
    out = _made(folders)
    (out / "votes.json").write_text('{"9": "left"}')
    with pytest.raises(UsageError, match="'9': 'left' is no choice of the 6 pairs"):
        main(Arguments(folders / "photos", out=out, count=(out / "votes.json",)))
    (out / "votes.json").write_text('{"0": "alike"}')
    with pytest.raises(UsageError, match="no pair is decided"):
        main(Arguments(folders / "photos", out=out, count=(out / "votes.json",)))


def test_both_ways_are_named_with_the_same_option_twice(folders: Path) -> None:
    words = [str(folders / "photos"), "--of", str(folders / "bright"), "--of", str(folders / "dark"),
             "--out", str(folders / "out")]
    assert run_cli(main, Arguments, words) == 0
    assert (folders / "out" / "index.html").is_file()

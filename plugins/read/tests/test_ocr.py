"""Readings, engines behind one protocol, filters before them, and which reading is taken."""

import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance_read.ocr import engines
from rlenhance_read.ocr.cache import Prepared, ReadingCache
from rlenhance_read.ocr.consensus import best_reading, consensus
from rlenhance_read.ocr.engines import FunctionEngine, Tesseract, default_engine, engine_of, in_lines, parse_table
from rlenhance_read.ocr.filters import (
    CHAINS,
    FILTERS,
    ReadChain,
    apply_filters,
    chain_versions,
    deskew,
    grey_of,
    skew_of,
    turned,
    turning,
)
from rlenhance_read.ocr.picture_statistics import MOST, PICTURE_STATISTICS, picture_statistics
from rlenhance_read.ocr.readings import (
    STATISTICS,
    Reading,
    Word,
    agreement,
    character_accuracy,
    edit_distance,
    statistics,
)
from rlenhance_read.tools import read_chain, read_chains

BOX = (1, 2, 30, 10)


def written(height=60, width=240):
    """Black bars on white, as text from afar, on uneven paper."""
    picture = np.full((height, width), 230.0)
    for left in range(20, width - 30, 16):
        picture[height // 3 : 2 * height // 3, left : left + 6] = 40
    return (picture * np.linspace(1, 0.4, width)).astype(np.uint8)


def slow_distance(one, other):
    """The edit distance by its definition."""
    row = [*range(len(other) + 1)]
    for number, letter in enumerate(one, 1):
        new = [number]
        for place, seen in enumerate(other, 1):
            new.append(min(row[place] + 1, new[-1] + 1, row[place - 1] + (letter != seen)))
        row = new
    return row[-1]


def test_edit_distance_is_that_of_its_definition():
    """On random texts, in both directions."""
    rng = random.Random(0)
    for _ in range(60):
        one, other = ("".join(rng.choices("abc ", k=rng.randrange(12))) for _ in range(2))
        assert edit_distance(one, other) == slow_distance(one, other) == edit_distance(other, one)


@pytest.mark.parametrize("read, truth, accuracy", [
    ("exit", "exit", 1), ("", "exit", 0), ("ex it", "exit", 0.75), ("two\n lines", "two lines", 1), ("", "", 1),
    ("far too much of it", "it", 0)])
def test_character_accuracy(read, truth, accuracy):
    """Errors count in lengths of the text, white space is one blank, and nothing is below 0."""
    assert character_accuracy(read, truth) == accuracy


def test_a_reading_is_the_same_after_json():
    """Words, confidences, boxes and lines."""
    reading = Reading((Word("Two", 0.91, BOX), Word("lines.", 0.5, BOX, 1)))
    assert Reading.from_json(reading.to_json()) == reading
    assert reading.text == "Two\nlines." and reading.confidence == pytest.approx((3 * 0.91 + 6 * 0.5) / 9)


def test_statistics_see_no_text():
    """Numbers as many as names, zeros for nothing, and garbage looks otherwise than words."""
    words, garbage = (Reading(tuple(Word(text, 0.8, BOX) for text in texts)) for texts in (
        ("Open", "daily"), ("~¥", "l", "xQ2z", "|")))
    assert statistics(words).shape == (len(STATISTICS),) and not statistics(Reading()).any()
    named = dict(zip(STATISTICS, statistics(garbage) - statistics(words), strict=True))
    assert named["odd"] > 0 and named["mixed"] > 0 and named["lonely"] > 0


def test_agreement_is_symmetric():
    """1 for equal texts, less for others, 0 for nothing."""
    found = agreement(["open", "opem", "", ""])
    assert np.array_equal(found, found.T) and found[0, 1] == 0.75 and found[2, 3] == 0


def test_readings_that_agree_win():
    """Against a surer one that stands alone; of two the surer one, and one that is not there never."""
    sure = np.array([0.6, 0.7, 0.6])
    texts = agreement(["exit", "axil", "exit"])
    assert consensus(sure, texts, np.ones(3, bool)).argmax() == 0
    assert consensus(sure, texts, np.array([True, True, False])).argmax() == 1
    assert consensus(sure, texts, np.array([False, False, True])).argmax() == 2
    assert best_reading([Reading(), Reading((Word("exit", 0.4, BOX),))]) == 1


@pytest.mark.parametrize("name", FILTERS)
def test_filters_keep_shapes(name):
    """Grey in, grey out, of the same size or twice that; an even picture has no text after it."""
    picture = written(50, 131)
    after = FILTERS[name](picture)
    times = 2 if name == "enlarge" else 1
    assert after.dtype == np.uint8 and after.shape == (50 * times, 131 * times)
    even = FILTERS[name](np.full((40, 90), 120, np.uint8))
    assert int(even.max()) - int(even.min()) <= 1


def test_uneven_light_is_evened_out():
    """The paper of the bright and the dark side, and the ink, come to the same levels."""
    for name in ("flatten", "tophat"):
        after = FILTERS[name](written()).astype(float)
        paper = after[5:15]
        assert abs(paper[:, :60].mean() - paper[:, -60:].mean()) < 40
        assert after[30, 22] < paper.mean() - 60


def test_text_becomes_dark_on_light():
    """Whatever it was; turned text lies along the rows."""
    chosen = FILTERS["dark-on-light"]
    assert np.array_equal(chosen(written()), written())
    assert np.array_equal(chosen(255 - written()), written())
    lines = np.full((120, 300), 220, np.uint8)
    for top in (30, 55, 80):
        lines[top : top + 8, 40:260:3] = 30
    rows = [deskew(turned(lines, 4.0, None)), turned(lines, 4.0, None)]
    assert np.var(rows[0].mean(axis=1)) > 2 * np.var(rows[1].mean(axis=1))
    assert skew_of(turned(lines, 4.0, None)) == pytest.approx(-4, abs=0.5) and skew_of(lines) == 0


def test_a_point_is_where_its_pixel_is_turned_to():
    """As the matrix says."""
    picture = np.zeros((60, 100), np.uint8)
    picture[20, 30] = 255
    place = turning(60, 100, 7.0) @ (30, 20, 1)
    down, across = np.unravel_index(turned(picture, 7.0, 0.0).argmax(), picture.shape)
    assert abs(place[0] - across) <= 1 and abs(place[1] - down) <= 1


def test_an_unknown_filter_is_named():
    """With those that there are."""
    with pytest.raises(UnknownName, match="flaten"):
        apply_filters(written(), ("flaten",))


def test_chains_name_filters_and_layouts():
    """Each once, the first one without a filter."""
    assert len({str(chain) for chain in CHAINS}) == len(CHAINS) and str(CHAINS[0]) == "as it is"
    assert all(name in FILTERS for chain in CHAINS for name in chain.filters)
    assert all(chain.layout in engines.LAYOUTS for chain in CHAINS)


@pytest.mark.parametrize("shape", [(96, 480), (1, 1), (700, 500), (3, 200)])
def test_picture_statistics_are_finite(shape):
    """Of any size, bright, dark or noise."""
    for picture in (np.zeros(shape), np.full(shape, 255), np.random.default_rng(0).integers(0, 255, shape)):
        numbers = picture_statistics(picture.astype(np.uint8))
        assert numbers.shape == (len(PICTURE_STATISTICS),) and (np.abs(numbers) <= MOST).all()


def test_boxes_are_those_of_the_photograph():
    """Also where the engine saw it enlarged."""
    engine = FunctionEngine(lambda picture: (f"{picture.shape[1]}", 1.0))
    prepared = Prepared(np.zeros((20, 50, 3), np.uint16))
    found = prepared.read(engine, ReadChain(("enlarge",)))
    assert found.text == "100" and found.words[0].box == (0, 0, 50, 20)
    assert grey_of(np.full((2, 2, 3), 65535, np.uint16)).max() == 255


class Doubled:
    """A made-up filter that counts the colours that it sees."""

    def __init__(self, version="1"):
        self.version, self.seen = version, []

    def __call__(self, grey):
        self.seen.append(grey.shape)
        return grey

    def on_color(self, picture):
        self.seen.append(picture.shape)
        return picture // 2


def test_tools_see_colours_before_the_first_grey_filter(monkeypatch):
    """After it, and of a grey picture, they see grey."""
    made = Doubled()
    monkeypatch.setitem(FILTERS, "doubled", made)
    picture = np.full((8, 9, 3), (200, 100, 0), np.uint8)
    prepared = Prepared(picture)
    assert np.array_equal(prepared.after(("doubled", "doubled")), grey_of(picture // 4))
    prepared.after(("invert", "doubled"))
    Prepared(grey_of(picture)).after(("doubled",))
    assert made.seen == [(8, 9, 3), (8, 9, 3), (8, 9), (8, 9)]


def test_chains_of_text_and_of_tools():
    """Written as they are shown; what is neither a filter nor a tool is named, and so is what comes twice."""
    chain = read_chain("median brighten tophat, sparse")
    assert chain == ReadChain(("median", "brighten", "tophat"), "sparse") == read_chain(str(chain))
    assert [read_chain(str(known)) for known in CHAINS] == [*CHAINS]
    assert chain_versions(chain) and not any(chain_versions(known) for known in CHAINS)
    dark = np.random.default_rng(0).integers(0, 30, (40, 60, 3)).astype(np.uint8)
    assert Prepared(dark).after(("brighten",)).mean() > 2 * dark.mean()
    for text, error in (("tophatt", "tophat"), ("tophat, blok", "block")):
        with pytest.raises(UnknownName, match=error):
            read_chain(text)
    with pytest.raises(UsageError, match="twice"):
        read_chains(["as it is", "tophat", "tophat"])


def test_readings_of_another_version_of_a_tool_are_made_again(tmp_path, monkeypatch):
    """Those without tools are kept."""
    engine = FunctionEngine(lambda picture: ("word", 0.5))
    for version, computed in (("1", 2), ("1", 0), ("2", 1)):
        monkeypatch.setitem(FILTERS, "doubled", Doubled(version))
        cache = ReadingCache(engine, tmp_path)
        cache.read("a", written, [ReadChain(), ReadChain(("doubled",))])
        assert cache.computed == computed


def test_readings_are_kept(tmp_path):
    """Of each picture and chain one, whoever asks again; another engine reads for itself."""
    seen = []
    engine = FunctionEngine(lambda picture: (seen.append(1) or "word", 0.5))
    chains = [ReadChain(), ReadChain(("invert",))]
    for _ in range(2):
        cache = ReadingCache(engine, tmp_path)
        assert [reading.text for reading in cache.read("a", lambda: written(), chains)] == ["word", "word"]
    assert len(seen) == 2 and cache.computed == 0
    ReadingCache(FunctionEngine(read_nothing, "other"), tmp_path).read("a", written, chains[:1])
    assert len(seen) == 2


@pytest.mark.parametrize("row", ["", "[[", "7", "null", '[["word", 0.5]]', '[["word", NaN, [0, 0, 9, 9], 0]]', None,
                                 '[[3, 0.5, [0, 0, 9, 9], 0]]', '[["word", 0.5, [0, 0, 9], 0]]', b"\xff\xfe", 1.5,
                                 '[["word", 0.5, [0, 0, 9, 1e999], 0]]', "[" * 100_000])
def test_a_damaged_row_is_read_anew(tmp_path, row):
    """And written: it is read once, and rows beside it are kept."""
    engine = FunctionEngine(lambda picture: ("word", 0.5))
    chains = [ReadChain(), ReadChain(("invert",))]
    whole = ReadingCache(engine, tmp_path).read("a", written, chains)
    with closing(sqlite3.connect(tmp_path / "readings.sqlite")) as database, database:
        database.execute("UPDATE readings SET words = ? WHERE key LIKE '%invert%'", (row,))
    for computed in (1, 0):
        cache = ReadingCache(engine, tmp_path)
        assert cache.read("a", written, chains) == whole and cache.computed == computed


def read_nothing(picture):
    """An engine that finds no text."""
    return "", 0.0


def test_tesseracts_table_is_read():
    """Words alone, by line; confidences in [0, 1]."""
    head = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
    rows = ["1\t1\t0\t0\t0\t0\t0\t0\t9\t9\t-1\t", "5\t1\t1\t1\t1\t1\t3\t4\t20\t9\t96.5\tNot",
            "5\t1\t1\t1\t2\t1\t3\t24\t20\t9\t-1\there", "5\t1\t1\t1\t2\t2\t3\t24\t20\t9\t50\t "]
    assert parse_table(head + "\n".join(rows)) == Reading((Word("Not", 0.965, (3, 4, 20, 9)),
                                                           Word("here", 0, (3, 24, 20, 9), 1)))


def test_boxes_in_rows_are_lines():
    """From the top, and from the left in each."""
    words = [Word("c", 1, (0, 40, 9, 10)), Word("b", 1, (30, 2, 9, 10)), Word("a", 1, (0, 0, 9, 10))]
    assert in_lines(words).text == "a b\nc"


def test_rapidocr_is_the_default_where_it_is_installed(monkeypatch):
    """Else Tesseract; training asks for Tesseract first. Without both, the message says how one is installed."""
    there = {"tesseract": object(), "rapidocr": object()}

    def find(name):
        if name not in there:
            raise UsageError("missing")
        return there[name]

    monkeypatch.setattr(engines, "engine_of", find)
    assert default_engine() is there["rapidocr"] and default_engine("tesseract") is there["tesseract"]
    del there["rapidocr"]
    assert default_engine() is there["tesseract"]
    del there["tesseract"]
    with pytest.raises(UsageError, match=r"\[ocr\].*apt install tesseract-ocr"):
        default_engine()


def test_a_missing_engine_says_how_it_is_installed(monkeypatch):
    """Without its package and its command; without the other's package; unknown names are named."""
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="apt install tesseract-ocr"):
        Tesseract()
    with pytest.raises(UsageError, match=r"\[ocr\]"):
        engines.RapidOCR()
    with pytest.raises(UnknownName, match="tesseract"):
        engine_of("tesserect")


@pytest.mark.parametrize("name", engines.ENGINES)
def test_engines_read_plain_text(name):
    """Large black letters on white, in a block and anywhere."""
    from PIL import Image, ImageDraw, ImageFont

    from rlenhance_read.learning.rendered_text import bundled_fonts

    try:
        engine = engine_of(name)
    except UsageError as error:
        pytest.skip(str(error))
    page = Image.new("L", (420, 90), 255)
    font = next(font for font in bundled_fonts() if font.path.stem == "DejaVuSans")
    ImageDraw.Draw(page).text((20, 20), "Hello 2026", 0, font=ImageFont.truetype(str(font.path), 44))
    for layout in ("block", "sparse"):
        found = engine.read(np.asarray(page), layout)
        assert found.text == "Hello 2026" and found.confidence > 0.8
        left, top, width, height = found.words[0].box
        assert 0 <= left < 60 and 0 <= top < 50 and width > 60 and height > 20
    assert engine.read(np.full((60, 200, 3), 255, np.uint8)).text == ""

"""Rendered scenes: endless, repeatable, and nothing of one split in another."""

import numpy as np
import pytest

from made_up_reading import rendered
from rlenhance.core.errors import UsageError
from rlenhance_read.learning.rendered_text import (
    CAMERAS,
    LAYOUTS,
    SIZE,
    RenderedText,
    bundled_fonts,
    draw_ink,
    draw_text,
    fonts_of,
)
from rlenhance_read.learning.rendered_words import SHARES, words_of


def test_the_same_scene_at_every_call():
    """Pictures of one size, with a text; others have another number, split or seed."""
    one, again = rendered()[3], rendered()[3]
    assert one.picture.shape == (*SIZE, 3) and one.picture.dtype == np.uint8 and one.text.strip()
    assert np.array_equal(one.picture, again.picture) and one.text == again.text and one.name == again.name
    others = [rendered()[4], rendered("val")[3], RenderedText("train", bundled_fonts(), seed=1)[3]]
    assert len({scene.name for scene in [one, *others]}) == 4
    assert all(not np.array_equal(one.picture, scene.picture) for scene in others)


def test_lines_are_where_their_ink_is():
    """All ink lies in the boxes of the lines, and each has some of it."""
    for layout, text in (("line", "Open daily"), ("receipt", "Milk 2.50\nBread 1.20\nTea 3.10"), ("sign", "EXIT")):
        ink, boxes = draw_ink(text, layout, bundled_fonts()[0], np.random.default_rng(1))
        inside = np.zeros(ink.shape, bool)
        for left, top, right, bottom in boxes:
            part = np.s_[max(0, int(top)) : int(np.ceil(bottom)) + 1, int(left) : int(np.ceil(right)) + 1]
            inside[part] = True
            assert ink[part].max() > 0.9
        assert len(boxes) == len(text.split("\n")) and not ink[~inside].any()
    scene = next(scene for scene in map(rendered().__getitem__, range(20)) if "\n" in scene.text)
    assert "\n".join(line.text for line in scene.lines) == scene.text
    middles = [line.corners.mean(axis=0) for line in scene.lines]
    assert all(0 < across < SIZE[1] for across, _ in middles) and middles[0][1] < middles[-1][1]


def test_splits_share_nothing():
    """No word, no family of fonts, no camera."""
    words = [set(words_of(split)) for split in SHARES]
    families = [set(fonts_of(split, bundled_fonts())) for split in SHARES]
    cameras = [{repr(camera) for camera in rendered(split).cameras} for split in SHARES]
    for parts in (words, families, cameras):
        assert all(parts) and len(set().union(*parts)) == sum(map(len, parts))
    assert [len(each) for each in cameras] == [*CAMERAS.values()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    """Paragraphs and receipts have three lines, the others one; numbers and names come from the stream alone."""
    texts = [draw_text(layout, words_of("val"), np.random.default_rng(seed)) for seed in range(6)]
    assert len(set(texts)) > 3
    assert {text.count("\n") for text in texts} == {2 if layout in ("paragraph", "receipt") else 0}


def test_what_cannot_be_drawn_is_refused():
    """Another split; no fonts."""
    with pytest.raises(UsageError, match="train, val, test"):
        RenderedText("dev", bundled_fonts())
    with pytest.raises(UsageError, match="fonts-dejavu"):
        RenderedText("train", ())

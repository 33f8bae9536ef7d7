"""Holes: found in pictures and differences, read from files, made up."""


import cv2
import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.io.files import read_mask
from rlenhance.learning.ops.masked_tensors import downscale_masked
from rlenhance.ops.masks import MASK_GENERATORS, detect_mask, dilate_soft_edge, mask_from_difference
from tests.support.bedrooms import BOXES, bedroom, boxes, occlude, overlap
from tests.support.pictures import room, square


def test_the_difference_gives_the_rectangle_despite_speckle():
    """JPEG's noise is no hole; what hangs on at a side is left out; equal pictures have none."""
    picture, mask = room(), square()
    occluded = np.where(mask[..., None], 0, picture)
    occluded[::7, ::11] ^= 31  # speckle
    occluded[44, 58:90] = 0  # a scratch that begins at the hole
    assert (mask_from_difference(occluded, picture) == mask).all()
    with pytest.raises(UsageError, match="there is no hole"):
        mask_from_difference(picture, picture)
    with pytest.raises(UsageError, match="96x96 and its original 96x90"):
        mask_from_difference(picture, picture[:90])


def test_black_holes_are_found_and_dark_places_are_not():
    """Whatever the file did to its edge; a shadow with grain, and a picture without a hole, have none."""
    picture, mask = room(), square()
    occluded = np.where(mask[..., None], 0, picture)
    coded = cv2.imdecode(cv2.imencode(".jpg", occluded, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_UNCHANGED)
    for image, side in ((occluded, None), (coded, None), (coded, 28), (occluded.astype(np.uint16) * 257, None)):
        found = detect_mask(image, side)
        assert found is not None and (found ^ mask).sum() <= 4 * 28
    dark = picture.copy()
    dark[50:, :60] = np.random.default_rng(0).integers(0, 9, (46, 60, 3))
    assert detect_mask(picture) is None and detect_mask(dark) is None and detect_mask(picture, 28) is None
    assert (dilate_soft_edge(occluded, mask) == mask).all()
    soft = np.where(square(top=18, left=28, side=32)[..., None], picture // 3, picture)
    soft[mask] = 0
    assert (dilate_soft_edge(soft, mask) == square(top=18, left=28, side=32)).all()
    both = np.where(mask[..., None], 0, dark)
    assert (detect_mask(both, 28) == mask).all()


def test_shadows_are_no_holes():
    """Black that ends softly, that goes on past its corners, or that lies along a border is a part of the picture."""
    picture = room()
    place = np.arange(96)
    for shadow in (np.add.outer((place - 50) ** 2, (place - 40) ** 2) < 900,  # a disc
                   place[:, None].repeat(96, 1) < 30,  # a bar along a border
                   np.add.outer(place, place) < 90):  # a corner
        assert detect_mask(np.where(shadow[..., None], 0, picture)) is None
    soft = cv2.GaussianBlur(np.where(square(), 0, 1).astype(np.float32), (0, 0), 5)
    assert detect_mask((picture * soft[..., None]).astype(np.uint8)) is None
    grainy = np.where(square()[..., None], np.random.default_rng(0).integers(0, 4, picture.shape), picture)
    assert detect_mask(grainy.astype(np.uint8)) is None


def test_mask_files_say_what_is_wrong_with_them(tmp_path):
    """White is filled, above 127; another size is told with both; nothing or everything is refused."""
    mask = square()
    write(np.repeat(np.where(mask, 128, 127)[..., None], 3, axis=2).astype(np.uint8), tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png", (96, 96)) == mask).all()
    with pytest.raises(UsageError, match="mask is 96x96 and the picture 80x60"):
        read_mask(tmp_path / "m.png", (60, 80))
    write(np.zeros((8, 8, 3), np.uint8), tmp_path / "none.png")
    with pytest.raises(UsageError, match="nothing is white"):
        read_mask(tmp_path / "none.png")


@pytest.mark.parametrize("name", list(MASK_GENERATORS))
def test_made_holes_leave_something_and_repeat(name):
    """Every maker gives a mask of the picture's size, not empty, not full, the same for the same stream."""
    for size in ((40, 64), (128, 128)):
        one, again = (MASK_GENERATORS[name](*size, np.random.default_rng(3)) for _ in range(2))
        assert one.shape == size and one.dtype == bool and 0 < one.sum() < one.size and (one == again).all()
    shares = [MASK_GENERATORS["square"](224, 224, np.random.default_rng(i)) for i in range(3)]
    assert [int(hole.sum()) for hole in shares] == [67 * 67] * 3


def test_reduced_pictures_have_no_black_in_them():
    """What the hole touches is hole; the mean of the rest is that of known pixels."""
    image, mask = torch.full((1, 3, 30, 30), 0.7), torch.zeros(1, 1, 30, 30)
    mask[..., 7:18, 7:18] = 1
    small, hole = downscale_masked(image * (1 - mask), mask, 10)
    assert torch.allclose(small[(hole < 1).expand_as(small)], torch.tensor(0.7), atol=1e-5)
    assert hole.sum() == 16 and (small[(hole > 0).expand_as(small)] == 0).all()


@pytest.mark.parametrize("quality", [95, 80])
def test_every_black_box_is_in_the_mask(quality):
    """Of the difference, and of the detection: a box that is left out would count as known picture."""
    picture, mask = bedroom(), boxes(*BOXES)
    occluded = occlude(picture, mask, quality)
    for found in (mask_from_difference(occluded, picture), dilate_soft_edge(occluded, detect_mask(occluded))):
        assert (mask & ~found).sum() < 0.05 * mask.sum() and overlap(found, mask) > 0.85
    known = boxes(*((top, left, 40, 40) for top, left, *_ in BOXES))
    assert overlap(detect_mask(occlude(picture, known, quality), 40), known) > 0.9


def test_other_shapes_keep_their_shape():
    """A disc and a bent stroke are no rectangles; compression noise around them is none of them."""
    canvas = np.zeros((112, 112), np.uint8)
    cv2.circle(canvas, (35, 40), 20, 1, -1)
    cv2.polylines(canvas, [np.array([[60, 80], [85, 95], [100, 60]])], False, 1, 9)
    mask, picture = canvas > 0, bedroom(3)
    found = mask_from_difference(occlude(picture, mask, 92), picture)
    assert (mask & ~found).sum() < 0.05 * mask.sum() and overlap(found, mask) > 0.7


def test_a_box_over_something_dark_stays_a_box():
    """Where the original is black too nothing differs; the painted rectangle is the hole all the same."""
    picture, mask = bedroom(), boxes((20, 30, 48, 48))
    picture[20:40, 30:55] = 2
    assert overlap(mask_from_difference(occlude(picture, mask, 95), picture), mask) > 0.9


def test_the_threshold_of_the_difference_is_an_option():
    """A faint box is there below its difference and not above it; outside (0, 3) there is no threshold."""
    picture, mask = np.full((64, 64, 3), 120, np.uint8), boxes((10, 10, 24, 24), side=64)
    faint = np.where(mask[..., None], 110, picture).astype(np.uint8)
    assert (mask_from_difference(faint, picture) == mask).all()
    with pytest.raises(UsageError, match=r"by more than 0\.2"):
        mask_from_difference(faint, picture, 0.2)
    with pytest.raises(UsageError, match=r"between 0 and 3.*got 0"):
        mask_from_difference(faint, picture, 0.0)


def test_squares_do_not_touch():
    """Several holes of one picture are apart, each a square."""
    for seed in range(12):
        mask = MASK_GENERATORS["squares"](64, 80, np.random.default_rng(seed))
        count, _, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        assert 2 <= count <= 4
        assert all(area == width * height for _, _, width, height, area in found[1:])

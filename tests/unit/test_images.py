"""The picture convention at its door, the few operations on pictures, their statistics and their drawing."""

import numpy as np
import pytest
import torch

from rlenhance.core.arrays import brightness
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import mean_matrix, pad_planes, resize_planes
from rlenhance.learning.ops.image import (
    area_means,
    check_image,
    limit_side,
    pad_to_multiple,
    resize,
    resized_tensor,
    to_array,
    to_tensor,
)
from rlenhance.learning.ops.visualize import action_colors, grid, side_by_side
from rlenhance.ops.color_difference import ciede2000
from rlenhance.ops.plane_statistics import STATISTICS, exposure_of, picture_statistics, soft_histogram


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_round_trip(dtype):
    """All levels of 8 and 16 bits come back exactly as they went in."""
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    picture = np.stack([levels, levels[::-1], levels[:, ::-1]], axis=2)
    back = to_array(to_tensor(picture), dtype)
    assert back.dtype == dtype
    assert np.array_equal(back, picture)


def test_float_picture_survives_the_round_trip(generator):
    """A float picture comes back bit by bit."""
    picture = torch.rand(5, 7, 3, generator=generator).numpy()
    assert np.array_equal(to_array(to_tensor(picture), np.float32), picture)


def test_channels_stay_in_order():
    """Red stays red: the first channel of the array is the first of the tensor."""
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[..., 0] = 255
    assert to_tensor(picture).mean(dim=(0, 2, 3)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("picture", [
    np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.int64),
    np.zeros((4, 4, 3), bool), [[0, 0, 0]],
])
def test_to_tensor_refuses_other_arrays(picture):
    """Another rank, channel count or kind of number is refused with what is taken."""
    with pytest.raises(UsageError, match=r"\(H, W, 3\)|uint8, uint16 or float"):
        to_tensor(picture)


def test_to_array_refuses_a_batch(image):
    """Of several pictures one has to be chosen first."""
    with pytest.raises(UsageError, match="index it first"):
        to_array(image)


def _with(value):
    picture = torch.full((1, 3, 8, 8), 0.5)
    picture[0, 1, 3, 4] = value
    return picture


@pytest.mark.parametrize("wrong", [
    _with(float("nan")), _with(float("inf")), _with(1.5), _with(-0.5), torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 4, 8, 8), np.zeros((8, 8, 3), np.uint8), None,
])
def test_check_image_names_the_way_out(wrong):
    """One bad value, another dtype, rank or channel count is refused, and the text says what to call."""
    with pytest.raises(UsageError, match="to_tensor"):
        check_image(wrong)


def test_check_image_refuses_empty_pictures():
    """A picture without pixels is refused."""
    with pytest.raises(UsageError, match="empty"):
        check_image(torch.zeros(1, 3, 0, 8))


def test_check_image_gives_back_what_is_right(image):
    """A picture of the convention passes through untouched."""
    assert check_image(image) is image


@pytest.mark.parametrize("size", [(8, 10), (16, 8), (1, 1), (64, 80)])
def test_resize_keeps_the_mean(image, size):
    """Where the sizes divide, a resized picture has the mean of the old one."""
    assert torch.allclose(resize(image, size).mean(dim=(2, 3)), image.mean(dim=(2, 3)), atol=1e-6)


def test_resize_to_the_same_size_changes_nothing(image):
    """A picture that has the size already is not touched."""
    assert resize(image, (32, 40)) is image


@pytest.mark.parametrize("size", [(33, 47), (64, 9), (7, 61)])
@pytest.mark.parametrize("side", [8, 16, 50])
def test_limit_side_limits_the_longer_side(size, side):
    """The longer side ends at the limit and never grows; the form stays as near as whole pixels allow."""
    height, width = limit_side(torch.rand(1, 3, *size), side).shape[-2:]
    assert max(height, width) == min(side, max(size))
    scale = max(height, width) / max(size)
    assert abs(height - size[0] * scale) <= 1 and abs(width - size[1] * scale) <= 1


@pytest.mark.parametrize("multiple", [1, 3, 8, 64])
def test_padding_repeats_the_border(image, multiple):
    """Both sides become the next multiple, the picture stays where it was, and only its border is repeated."""
    padded = pad_to_multiple(image, multiple)
    height, width = image.shape[-2:]
    assert all(side % multiple == 0 and side - old < multiple
               for side, old in zip(padded.shape[-2:], (height, width), strict=True))
    assert torch.equal(padded[..., :height, :width], image)
    assert torch.equal(padded[..., :height, width:], image[..., -1:].expand_as(padded[..., :height, width:]))
    assert torch.equal(padded[..., height:, :], padded[..., height - 1 : height, :].expand_as(padded[..., height:, :]))


@pytest.mark.parametrize("grey", [0.0, 0.1, 0.4, 0.7])
def test_exposure_of_a_grey_picture_is_proportional_to_it(grey):
    """A uniformly grey picture scores its own value over 0.93."""
    assert exposure_of(torch.full((1, 3, 8, 9), grey)).item() == pytest.approx(grey / 0.93, abs=1e-6)


def test_exposure_grows_with_light(image):
    """A brighter picture never scores lower."""
    levels = torch.cat([exposure_of(image * gain) for gain in (0.5, 1.0, 1.5, 2.5)], dim=1)
    assert (levels.diff(dim=1) > 0).all()


def test_exposure_is_hardly_moved_by_lamps(image):
    """A hundredth of burnt pixels moves the exposure by less than a hundredth."""
    lamps = image.clone()
    lamps[..., :3, :4] = 1
    assert (exposure_of(lamps) - exposure_of(image)).abs().max() < 0.01


@pytest.mark.parametrize("bins", [2, 10, 17])
def test_histogram_is_a_share(generator, bins):
    """The shares of a histogram are not negative and sum to one, black and white pictures included."""
    pictures = torch.cat([torch.rand(2, 3, 9, 11, generator=generator), torch.zeros(1, 3, 9, 11),
                          torch.ones(1, 3, 9, 11)])
    shares = soft_histogram(brightness(pictures).flatten(1), bins)
    assert (shares >= 0).all()
    assert torch.allclose(shares.sum(dim=1), torch.ones(4), atol=1e-5)


def test_histogram_keeps_the_mean(generator):
    """A pixel is shared by its two nearest levels in proportion, so the mean brightness can be read from it."""
    pictures = torch.rand(3, 3, 9, 11, generator=generator)
    levels = torch.linspace(0, 1, 10)
    shares = soft_histogram(brightness(pictures).flatten(1))
    assert torch.allclose(shares @ levels, pictures.mean(dim=(1, 2, 3)), atol=1e-5)


def test_statistics_know_their_columns_and_one_picture_only(image):
    """A picture's statistics have the stated length and do not depend on its neighbours in the batch."""
    level = torch.full((2, 1, 1, 1), 0.4)
    together = picture_statistics(image, level)
    assert together.shape == (2, STATISTICS)
    assert torch.allclose(together[1:], picture_statistics(image[1:], level[1:]), atol=1e-6)


def test_statistics_let_the_gradient_through(image):
    """What a policy is told of the picture has a slope everywhere that matters, and it is finite."""
    image = image.clone().requires_grad_()
    picture_statistics(image, image.new_tensor(0.4)).square().sum().backward()
    assert torch.isfinite(image.grad).all()
    assert (image.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_an_action_that_does_nothing_is_white():
    """White does nothing, more red than blue brightens, more blue than red darkens."""
    colors = action_colors(torch.tensor([[[[0.0]]], [[[0.5]]], [[[-0.5]]]]), (4, 4))
    assert colors.shape == (3, 3, 4, 4)
    assert (colors[0] == 1).all()
    assert (colors[1, 0] > colors[1, 2]).all()
    assert (colors[2, 0] < colors[2, 2]).all()


def test_side_by_side_keeps_every_picture(image):
    """Pictures in a row are found again where they were put."""
    row = side_by_side([image, 1 - image], gap=3)
    assert torch.equal(row[..., :40], image)
    assert (row[..., 40:43] == 1).all()
    assert torch.equal(row[..., 43:], 1 - image)


def test_grid_takes_rows_of_any_length_and_size(image):
    """Rows of different lengths and pictures of different sizes make one picture of the convention."""
    small = image[:1, :, :8, :8]
    sheet = grid([[image[:1], small, small], [small]], side=16)
    assert check_image(sheet).shape == (1, 3, 2 * 18, 3 * 16 + 2 * 2)


@pytest.mark.parametrize("size", [(7, 5), (3, 40), (1, 1), (32, 13)])
def test_area_means_are_the_same_by_either_way(image, size):
    """The product with matrices, which some devices need, is adaptive pooling."""
    down, across = (torch.tensor(mean_matrix(a, b)) for a, b in ((32, size[0]), (40, size[1])))
    assert torch.allclose(down @ image @ across.T, area_means(image, size), atol=1e-6)
    assert np.allclose(resize_planes(image.numpy(), size), area_means(image, size), atol=1e-6)


@pytest.mark.parametrize("multiple", [1, 8, 13])
def test_planes_are_padded_as_tensors_are(image, multiple):
    assert np.array_equal(pad_planes(image.numpy(), multiple), pad_to_multiple(image, multiple))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(400, 600), (401, 77), (16, 16), (9, 13), (16, 64)], ids=str)
def test_reduced_from_integers(dtype, size):
    """A picture of integers is reduced to what its tensor is reduced to, and what is no picture is refused."""
    picture = np.random.default_rng(2).random((*size, 3))
    picture = picture.astype(dtype) if dtype == np.float32 else (picture * np.iinfo(dtype).max).astype(dtype)
    assert torch.allclose(resized_tensor(picture, 16), resize(to_tensor(picture), 16), rtol=0, atol=1e-6)
    for wrong in (picture[:0], picture[..., 0], picture.astype(np.int32), 300 * picture.astype(np.float64)):
        with pytest.raises(UsageError):
            resized_tensor(wrong, 16)


@pytest.mark.parametrize("pixels", [1, 2, 7, 4096])
def test_exposure_takes_the_same_median_without_gradients(pixels, generator):
    """Selected in a shorter way where no gradient is needed, the median is the same number."""
    image = torch.rand(3, 3, 1, pixels, generator=generator).requires_grad_()
    slow = exposure_of(image)
    with torch.inference_mode():
        assert torch.equal(exposure_of(image), slow)


@pytest.mark.parametrize(("first", "second", "difference"), [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425), ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195), ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082)])
def test_the_published_pairs_have_their_differences(first, second, difference):
    """Of Sharma, Wu and Dalal 2005, table 1; both ways."""
    for one, other in ((first, second), (second, first)):
        assert float(ciede2000(np.array(one), np.array(other))) == pytest.approx(difference, abs=5e-5)


def test_it_is_that_of_scikit_image():
    """For colours anywhere, greys too."""
    color = pytest.importorskip("skimage.color")
    random = np.random.default_rng(0)
    first = random.uniform((0, -100, -100), (100, 100, 100), (5000, 3))
    first[:200, 1:] = 0
    second = first + random.normal(0, 20, first.shape)
    assert np.allclose(ciede2000(first, second), color.deltaE_ciede2000(first, second), atol=1e-9)

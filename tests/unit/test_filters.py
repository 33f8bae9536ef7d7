"""The filters: one law in two forms, checked against SciPy; and the actions that choose among them."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.learning.actions import FILTERS, PIXELRL_TOOLS, FilterActions
from rlenhance.learning.ops import filters

DISC = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2


def bilateral_by_hand(patch, sigma_color, sigma_space=5.0):
    """The middle value of a disc, as the docstring has it."""
    distance = np.hypot(*np.mgrid[-2:3, -2:3])[DISC]
    steps = patch - patch[len(patch) // 2]
    weights = np.exp(-(distance**2) / (2 * sigma_space**2) - steps**2 / (2 * sigma_color**2))
    return (weights * patch).sum() / weights.sum()


REFERENCES = {  # name -> SciPy's plane
    "gaussian_0.5": lambda x: ndimage.gaussian_filter(x, 0.5, mode="mirror", radius=2),
    "gaussian_1.5": lambda x: ndimage.gaussian_filter(x, 1.5, mode="mirror", radius=2),
    "box": lambda x: ndimage.uniform_filter(x, 5, mode="mirror"),
    "median": lambda x: ndimage.median_filter(x, 5, mode="mirror"),
    "bilateral_0.1": lambda x: ndimage.generic_filter(x, bilateral_by_hand, footprint=DISC, mode="mirror",
                                                      extra_arguments=(0.1,)),
    "bilateral_1.0": lambda x: ndimage.generic_filter(x, bilateral_by_hand, footprint=DISC, mode="mirror",
                                                      extra_arguments=(1.0,)),
}
every = pytest.mark.parametrize("name", REFERENCES)


def run(name, image, form):
    """A tool's function by OpenCV, or by tensors, as where a gradient is needed."""
    return FILTERS[name](image.clone().requires_grad_(form == "tensor")).detach()


@every
@pytest.mark.parametrize("form", ["opencv", "tensor"])
@pytest.mark.parametrize("size", [(17, 23), (3, 4), (2, 1), (1, 1)])
def test_filters_are_scipys(name, form, size):
    """Both forms give SciPy's planes, borders and pictures smaller than the window included."""
    image = torch.from_numpy(np.random.default_rng(0).uniform(-0.2, 1.2, (2, 1, *size)).astype(np.float32))
    result = run(name, image, form).numpy()
    for plane, expected in zip(result[:, 0], image[:, 0].double().numpy(), strict=True):
        np.testing.assert_allclose(plane, REFERENCES[name](expected), atol=1e-4)


@every
def test_both_forms_agree_in_colour(name, generator):
    """OpenCV and tensors give the same, in colour too; what is told of one picture stays with it."""
    image = torch.rand(3, 3, 19, 14, generator=generator)
    result = run(name, image, "opencv")
    assert torch.allclose(result, run(name, image, "tensor"), atol=2e-5)
    assert torch.allclose(result[1:2], run(name, image[1:2], "opencv"), atol=1e-6)


@pytest.mark.parametrize("name", list(FILTERS))
def test_grey_is_grey_in_one_plane_or_three(name, generator):
    """A grey picture gives the same as one plane and as three equal channels; a constant one stays constant."""
    plane = torch.rand(2, 1, 12, 15, generator=generator)
    three = FILTERS[name](plane.expand(-1, 3, -1, -1).contiguous())
    assert torch.allclose(three, FILTERS[name](plane).expand(-1, 3, -1, -1), atol=2e-5)
    even = FILTERS[name](torch.full((1, 3, 9, 7), 0.4))
    assert torch.allclose(even, even[:, :, :1, :1].expand_as(even), atol=1e-6)


@pytest.mark.parametrize("name", list(FILTERS))
def test_gradients_are_those_of_small_steps(name, generator):
    """The tensor form passes the gradient that finite differences measure."""
    image = torch.rand(1, 1, 6, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FILTERS[name], (image,), eps=1e-7, atol=1e-4)


def test_a_shift_crosses_neither_black_nor_white():
    """It ends at 0 and 1, and moves nothing that noise has carried beyond."""
    image = torch.tensor([[[[-0.2, 0.0, 0.5, 0.999, 1.0, 1.3]]]])
    assert torch.allclose(filters.shift(image, 0.1), torch.tensor([[[[-0.1, 0.1, 0.6, 1.0, 1.0, 1.3]]]]))
    assert torch.allclose(filters.shift(image, -0.1), torch.tensor([[[[-0.2, 0.0, 0.4, 0.899, 0.9, 1.2]]]]))


@pytest.mark.parametrize("call, text", [
    (lambda x: filters.gaussian(x, 0), "sigma must be above 0; got 0"),
    (lambda x: filters.box(x, 4), "size is odd, in pixels; got 4"),
    (lambda x: filters.bilateral(x, -1), "must be above 0; got -1"),
    (lambda x: filters.box(x[0]), r"pictures \(N, C, H, W\)"),
])
def test_bad_input_is_named(call, text):
    """With what would do."""
    with pytest.raises(UsageError, match=text):
        call(torch.rand(1, 1, 5, 5))


# --- as actions ---


def test_every_pixel_takes_what_its_tool_gives(generator):
    """Indices gather the tools' results; probabilities mix them."""
    actions, image = FilterActions(), torch.rand(2, 3, 11, 9, generator=generator)
    results = torch.stack([FILTERS[name](image) for name in PIXELRL_TOOLS], dim=2)
    choice = torch.randint(9, (2, 1, 11, 9), generator=generator)
    expected = results.gather(2, choice[:, :, None].expand(-1, 3, -1, -1, -1))[:, :, 0]
    assert torch.allclose(actions.apply(image, {"local": choice}), expected)
    sure = torch.nn.functional.one_hot(choice[:, 0], 9).permute(0, 3, 1, 2)[:, None].float()
    assert torch.allclose(actions.apply(image, {"local": sure}), expected, atol=1e-6)
    uniform = torch.full((2, 1, 9, 11, 9), 1 / 9)
    assert torch.allclose(actions.apply(image, {"local": uniform}), results.mean(dim=2), atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 1, 33, 31), (7, 3, 2, 5), (3, 1, 1, 1), (2, 1, 301, 130), (1, 3, 190, 211)])
def test_canvases_leave_no_trace(shape, generator):
    """Several pictures on a canvas, or a band of one: every pixel takes what its tool gives by tensors, on one thread
    and on two."""
    image = torch.rand(shape, generator=generator) * 1.4 - 0.2
    choice = torch.randint(9, (shape[0], 1, *shape[2:]), generator=generator)
    tensors = [image if name == "nothing" else FILTERS[name](image) if name in ("darker", "brighter") else
               run(name, image, "tensor") for name in PIXELRL_TOOLS]
    expected = torch.stack(tensors, dim=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append((FilterActions().apply_all(image), FilterActions().apply(image, {"local": choice})))
    finally:
        torch.set_num_threads(before)
    (results, after), (again, after_again) = found
    assert torch.equal(results, again) and torch.equal(after, after_again)
    assert torch.allclose(results, expected, atol=2e-5)
    gathered = results.gather(2, choice[:, :, None].expand(-1, shape[1], -1, -1, -1))[:, :, 0]
    assert torch.equal(after, gathered)


@pytest.mark.parametrize("number", [-1, 9])
def test_a_choice_that_is_no_tool_is_named(number):
    """With the places that are."""
    choice = torch.ones(1, 1, 4, 4, dtype=torch.long)
    choice[0, 0, 1, 2] = number
    with pytest.raises(UsageError, match=rf"0 to 8; got {min(number, 1)} to {max(number, 1)}"):
        FilterActions().apply(torch.rand(1, 1, 4, 4), {"local": choice})


def test_only_what_some_pixel_chose_is_run(generator):
    """A tool that no pixel takes is not called, and the others see only the pictures that need them."""
    seen = []

    @FILTERS.register("counted")
    def counted(image):
        seen.append(len(image))
        return image * 0.5

    try:
        actions, image = FilterActions(("nothing", "counted")), torch.rand(3, 1, 4, 4, generator=generator)
        choice = torch.zeros(3, 1, 4, 4, dtype=torch.long)
        assert torch.equal(actions.apply(image, {"local": choice}), image) and seen == []
        choice[1, 0, 2, 2] = 1
        after = actions.apply(image, {"local": choice})
        assert seen == [1] and after[1, 0, 2, 2] == image[1, 0, 2, 2] / 2 and int((after != image).sum()) == 1
    finally:
        FILTERS.remove("counted")


def test_a_filter_of_ones_own(generator):
    """Registered, it is a tool like the others; the set remembers its name, and says so where it is missing."""
    @FILTERS.register("sharpen")
    def sharpen(image):
        return (2 * image - filters.box(image, 3)).clamp(0, 1)

    try:
        actions = FilterActions(("nothing", "sharpen"))
        image = torch.rand(1, 1, 6, 6, generator=generator)
        assert torch.equal(actions.apply(image, {"local": torch.ones(1, 1, 6, 6, dtype=torch.long)}), sharpen(image))
    finally:
        FILTERS.remove("sharpen")
    with pytest.raises(UnknownName, match="unknown filter 'sharpen'"):
        FilterActions(("nothing", "sharpen"))


@pytest.mark.parametrize("tools, error, text", [
    (("nothing", "medain"), UnknownName, "unknown filter 'medain': did you mean median"),
    (("median", "box"), UsageError, "'nothing' is one of them; got median, box"),
    (("nothing",), UsageError, "at least two"),
    (("nothing", "box", "box"), UsageError, "each once"),
])
def test_sets_that_cannot_be_are_refused(tools, error, text):
    """An unknown name with the nearest one; a set without a way to do nothing."""
    with pytest.raises(error, match=text):
        FilterActions(tools)


def test_a_tool_that_gives_another_shape_is_named():
    """Instead of a failure somewhere behind it."""
    FILTERS.register("halved")(lambda image: image[..., ::2])
    try:
        with pytest.raises(UsageError, match=r"the filter halved must give .*\(1, 1, 4, 4\); got \(1, 1, 4, 2\)"):
            FilterActions(("nothing", "halved")).apply(torch.rand(1, 1, 4, 4), {"local": torch.ones(1, 1, 4, 4).long()})
    finally:
        FILTERS.remove("halved")

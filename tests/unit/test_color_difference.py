"""CIEDE2000 is the published formula."""

import numpy as np
import pytest

from rlenhance.ops.color_difference import ciede2000


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

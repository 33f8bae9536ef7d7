"""Local tone without halos."""

import numpy as np
import pytest

from rlenhance.pipelines.enhance import Enhancer


@pytest.mark.parametrize("dark, light", [(12, 120), (20, 200), (40, 90)])
def test_both_sides_of_an_edge_stay_even(dark, light):
    """Beside a step the default is within 1/255 of what it is far from it; dark sides are brightened more."""
    picture = np.full((200, 300, 3), dark, np.uint8)
    picture[:, 150:] = light
    columns = Enhancer(denoise=0.0, white="keep")(picture).astype(float).mean(axis=(0, 2))
    assert np.abs(columns[:150] - columns[20]).max() <= 1 and np.abs(columns[150:] - columns[280]).max() <= 1
    assert columns[20] / dark > 1.2 * columns[280] / light

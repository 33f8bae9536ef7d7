"""What a picture says of its own darkness: a note where too little was recorded."""

import numpy as np
import pytest

from rlenhance import Enhancer
from rlenhance.io.batch import Outcome
from rlenhance.pipelines.change_words import describe_shadows


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_nearly_black_picture_is_told(dtype):
    """In words with the share and both numbers of stops, at any depth; not where it became bright, nor in daylight."""
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
    picture = np.zeros((40, 60, 3))
    picture[:10] = 0.08
    picture = (picture * top).astype(dtype)
    words = describe_shadows(picture, 0.02, 0.1)
    assert words == ("almost nothing was recorded in 75% of the picture: raised by 2.3 stops, not the 4.6 of an even "
                     "exposure")
    assert describe_shadows(picture, 0.02, 0.45) == "" and describe_shadows(picture + picture.max(), 0.1, 0.2) == ""
    assert describe_shadows(0 * picture, 0.0, 0.0)


def test_the_words_reach_the_user(tmp_path):
    """Neither with a named exposure nor with a shift of the automatic one: there the user has decided."""
    from rlenhance.io import Photo

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:4] = 60
    _, decision = Enhancer(denoise=0, white=0).process(Photo(picture))
    assert "recorded" in decision["shadows"] and Outcome(tmp_path, decision=decision).words == [decision["shadows"]]
    named = Enhancer(denoise=0, white=0, preference={"exposure_level": 0.3}).process(Photo(picture))
    assert "shadows" not in named.decision
    darker = Enhancer(denoise=0, white=0, exposure_shift=-0.1).process(Photo(picture))
    assert "shadows" not in darker.decision

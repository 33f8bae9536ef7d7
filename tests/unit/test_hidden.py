"""What is hidden, or painted over, decides nothing: colours under full transparency, and borders in one colour."""

import numpy as np
import pytest
from PIL import Image

from rlenhance import Enhancer
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.io import Photo, read, write
from rlenhance.ops.noise_estimation import estimate_sigma
from rlenhance.pipelines.denoise import Denoiser


def _half_hidden(rng, garbage):
    pixels = rng.integers(0, 90, (48, 64, 3), dtype=np.uint8)
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :24] = 0
    if garbage:
        pixels[:, :24] = rng.integers(0, 256, (48, 24, 3))
    return Photo(pixels, alpha)


@pytest.mark.parametrize("change", [lambda photo: Enhancer().process(photo).photo,
                                    lambda photo: Denoiser().process(photo).photo], ids=["enhance", "denoise"])
def test_hidden_colours_decide_nothing_and_stay(change):
    """Two pictures that differ under full transparency alone look alike afterwards, and keep what is hidden."""
    plain, other = (_half_hidden(np.random.default_rng(3), garbage) for garbage in (False, True))
    shown = plain.alpha > 0
    one, two = change(plain), change(other)
    assert np.array_equal(one.pixels[shown], two.pixels[shown])
    assert np.array_equal(two.pixels[~shown], other.pixels[~shown])


def test_a_pil_image_with_hidden_colours_is_enhanced_like_its_file(tmp_path):
    """From Python and from the command line the same bytes come, hidden ones too."""
    photo = _half_hidden(np.random.default_rng(4), True)
    path = write(photo, tmp_path / "a.png")
    done = np.asarray(Enhancer()(Image.open(path)))
    assert np.array_equal(done[..., :3], Enhancer().process(read(path)).photo.pixels)


def test_the_denoiser_takes_images_and_tensors_as_the_enhancer_does():
    """A PIL image comes back as one, with the pixels of the array; what is no picture is named."""
    pixels = np.random.default_rng(6).integers(80, 120, (40, 56, 3), dtype=np.uint8)
    remover = Denoiser()
    done = remover(Image.fromarray(pixels))
    assert isinstance(done, Image.Image) and np.array_equal(np.asarray(done), remover(pixels))
    with pytest.raises(UsageError, match="list"):
        remover([[0.5]])


def test_a_border_in_one_colour_hides_no_noise():
    """A caption bar under a noisy picture leaves the estimate where it was."""
    rng = np.random.default_rng(5)
    scene = np.linspace(60, 160, 256)[None, :, None] + np.linspace(-20, 20, 256)[:, None, None]
    noisy = np.clip(np.rint(scene + rng.normal(0, 5, (256, 256, 3))), 0, 255).astype(np.uint8)
    barred = noisy.copy()
    barred[-24:] = 128
    assert estimate_sigma(barred) == pytest.approx(estimate_sigma(noisy), rel=0.1)
    assert 255 * estimate_sigma(noisy) == pytest.approx(5, rel=0.15)


def test_a_recipe_never_takes_the_place_of_a_sheet(night, capsys):
    """Two results of one command under one name are refused before anything is written."""
    assert cli.main(["enhance", str(night), "-o", "b.png", "--cube", "x.cube", "--save-recipe", "x.cube"]) == 2
    assert "x.cube" in capsys.readouterr().err

"""`--denoise auto`: noise that would show is removed, nothing else is touched, and the cost is bounded."""

import json

import cv2
import numpy as np
import pytest

from rlenhance import Denoiser, Enhancer
from rlenhance.io import Photo, read, write
from rlenhance.io.batch import Outcome
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.ops.image import to_tensor
from rlenhance.ops import noise_pyramid
from rlenhance.ops.noise_pyramid import halved, shrink_noise
from rlenhance.pipelines import denoise as pipeline
from rlenhance.pipelines.decision import describe_shadows
from rlenhance.pipelines.looks import load_look
from tests.support.clips import make_clip
from tests.support.recipes import recipe_0_2


def _scene(height=128, width=160):
    """(H, W, 3) float in [0, 1], smooth surfaces with edges between them."""
    down, across = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    plane = 0.3 + 0.3 * down + 0.25 * (across > 0.5)
    return np.stack([plane, 0.9 * plane, 0.8 * plane], axis=2)


def _dark(noise=1.5, share=0.08, seed=0):
    """The scene at a share of its values in 8 bits, with noise in 255ths."""
    values = 255 * share * _scene() + np.random.default_rng(seed).normal(0, noise, _scene().shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_noise_that_shows_is_removed_by_default():
    """Of a dark noisy photograph the default is what denoise 1 makes, and says so."""
    dark = _dark()
    result, decision = Enhancer().process(Photo(dark))
    assert decision["denoise"] == 1
    np.testing.assert_array_equal(result.pixels, Enhancer(denoise=1.0)(dark))
    grainy = Enhancer(denoise=0.0)(dark)
    rough, smooth = (np.abs(np.diff(np.diff(picture.astype(float), axis=0), axis=1))[:, :70].mean()
                     for picture in (grainy, result.pixels))
    assert smooth < 0.5 * rough


@pytest.mark.parametrize("pixels", [np.rint(255 * _scene()).astype(np.uint8), _dark()[:64],
                                    np.rint(65535 * _scene()).astype(np.uint16)], ids=["lit", "small", "lit, 16 bits"])
def test_nothing_is_removed_where_nothing_shows(pixels):
    """Well-lit photographs, and those too small to tell noise from detail."""
    result, decision = Enhancer().process(Photo(pixels))
    assert decision["denoise"] == 0
    np.testing.assert_array_equal(result.pixels, Enhancer(denoise=0.0)(pixels))


def test_the_share_rises_with_the_noise():
    """From none to all of it."""
    shares = [Enhancer().process(Photo(_dark(share=share, noise=1.0)))[1]["denoise"]
              for share in (0.9, 0.7, 0.6, 0.5, 0.32, 0.05)]
    assert shares == sorted(shares)
    assert shares[0] == 0 and shares[-1] == 1 and any(0 < share < 1 for share in shares)


def test_large_photographs_are_denoised_at_a_smaller_size(monkeypatch):
    """The network sees at most the bound, and the result is nearly as near to the scene."""
    seen = []
    monkeypatch.setattr(pipeline, "_WHOLE", 4000)
    before = Denoiser._cleaned
    monkeypatch.setattr(Denoiser, "_cleaned", lambda self, picture, *words: seen.append(picture.shape) or before(
        self, picture, *words))
    dark = _dark()
    result, without = Enhancer()(dark), Enhancer(denoise=0.0)(dark)
    assert seen == [(32, 40, 3)]
    truth = to_tensor(Enhancer(denoise=0.0)(_dark(noise=0)))
    assert psnr(to_tensor(result), truth) > psnr(to_tensor(without), truth) + 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(64, 80), (65, 79), (1, 3), (300, 7)])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_without_noise_the_pyramid_changes_nothing(dtype, shape, levels):
    """But for rounding, at every size and depth."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = (np.random.default_rng(0).random((*shape, 3)) * top).astype(dtype)
    result = shrink_noise(picture, np.zeros((2, 2), np.float32), lambda small: small, levels)
    assert result.dtype == dtype
    np.testing.assert_allclose(result.astype(float), picture.astype(float), atol=1e-5 * top if top == 1 else 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_bands_of_rows_do_not_show(monkeypatch, dtype, levels):
    """The result does not depend on how many rows are computed at once, on threads, and on where it is written."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    picture = (_dark(noise=6, share=0.5).repeat(4, axis=0)[:-1] * (top / 255)).astype(dtype)
    noise = np.linspace(4, 8, 15, dtype=np.float32).reshape(3, 5) / 255

    def blurred(small):
        return cv2.blur(small, (3, 3))

    whole = shrink_noise(picture, noise, blurred, levels, 0.9)
    slow = noise_pyramid._shrunk(picture, noise, blurred, levels, 0.9)
    np.testing.assert_allclose(whole.astype(float), slow.astype(float), atol=1 if top == 255 else 0.002 * top)
    monkeypatch.setattr(noise_pyramid, "_ROWS", 32)
    if noise_pyramid.NATIVE is None:
        np.testing.assert_allclose(shrink_noise(picture, noise, blurred, levels, 0.9).astype(float), whole, atol=1)
        return
    monkeypatch.setattr(noise_pyramid, "thread_count", lambda: 2)
    np.testing.assert_array_equal(shrink_noise(picture, noise, blurred, levels, 0.9), whole)
    np.testing.assert_array_equal(shrink_noise(picture, noise, blurred, levels, 0.9, out=picture), whole)
    np.testing.assert_array_equal(picture, whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("changes", [{}, {"denoise": 0.0}, {"denoise": 1.0}, {"strength": 0.5}, {"white": 4000.0}])
def test_a_spare_photograph_gives_the_same_result(monkeypatch, dtype, changes):
    """Its pixels may be overwritten on the way; others stay as they are."""
    monkeypatch.setattr(pipeline, "_WHOLE", 4000)
    dark = _dark().astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    enhancer, before = Enhancer(**changes), dark.copy()
    kept, words = enhancer.process(Photo(dark))
    np.testing.assert_array_equal(dark, before)
    found, same_words = enhancer.process(Photo(dark, spare=True))
    np.testing.assert_array_equal(found.pixels, kept.pixels)
    assert same_words == words and not found.spare


def test_fine_noise_is_taken_and_edges_stay():
    """Half of the noise and more goes on a surface whose reduced picture is clean; an edge of 60 levels stays."""
    rng = np.random.default_rng(0)
    clean = np.where(np.arange(128)[None, :, None] < 64, 90.0, 150.0).repeat(96, axis=0).repeat(3, axis=2)
    noisy = np.clip(np.rint(clean + rng.normal(0, 6, clean.shape)), 0, 255).astype(np.uint8)
    noise = np.full((1, 1), 6 / 255, np.float32)
    result = shrink_noise(noisy, noise, lambda small: halved(clean.astype(np.uint8)), 1).astype(float)
    assert np.std(result[:, 8:56] - clean[:, 8:56]) < 0.5 * np.std(noisy[:, 8:56] - clean[:, 8:56])
    assert result[:, 66:70].mean() - result[:, 58:62].mean() > 55


def test_a_recipe_without_the_setting_removes_nothing(tmp_path):
    """Recipes of versions in which none was removed by default; those of today say auto."""
    dark = write(_dark(), tmp_path / "dark.png")
    from rlenhance.cli.main import main

    assert main(["enhance", str(dark), "-o", str(tmp_path / "now.png"), "--save-recipe",
                 str(tmp_path / "now.json")]) == 0
    found = recipe_0_2(tmp_path / "now.json")
    assert found.pop("denoise") == "auto"
    (tmp_path / "then.json").write_text(json.dumps(found))
    assert load_look(tmp_path / "now.json", "recipe").settings.denoise is None
    assert load_look(tmp_path / "then.json", "recipe").settings.denoise == 0
    assert main(["enhance", str(dark), "-o", str(tmp_path / "then.png"), "--recipe", str(tmp_path / "then.json")]) == 0
    np.testing.assert_array_equal(read(tmp_path / "then.png").pixels, Enhancer(denoise=0.0)(_dark()))
    np.testing.assert_array_equal(read(tmp_path / "now.png").pixels, Enhancer()(_dark()))


def test_clips_keep_their_noise_unless_asked(tmp_path):
    """Auto would slow a clip down many times."""
    pytest.importorskip("av")
    from rlenhance.pipelines.video import enhance_clip

    clip = make_clip(tmp_path / "night.mp4", times=range(2), scene=_dark())
    for name, enhancer in (("auto", Enhancer()), ("none", Enhancer(denoise=0.0))):
        enhance_clip(enhancer, clip, tmp_path / f"{name}.mp4")
    assert (tmp_path / "auto.mp4").read_bytes() == (tmp_path / "none.mp4").read_bytes()


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

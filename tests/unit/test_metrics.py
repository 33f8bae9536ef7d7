"""Metrics equal independent implementations and keep their promises."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rlenhance.core.errors import UsageError
from rlenhance.learning.metrics import full_reference as metrics


@pytest.fixture
def pair(generator):
    """Three noisy pictures and their references, of a size that is nobody's multiple."""
    target = torch.rand(3, 3, 33, 47, generator=generator)
    noise = torch.tensor([0.02, 0.1, 0.4]).view(3, 1, 1, 1)
    return (target + noise * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def _arrays(pictures):
    return [picture.permute(1, 2, 0).double().numpy() for picture in pictures]


def test_psnr_equals_scikit_image(pair):
    """Our PSNR is scikit-image's."""
    expected = [peak_signal_noise_ratio(t, i, data_range=1) for i, t in zip(*map(_arrays, pair), strict=True)]
    assert np.allclose(metrics.psnr(*pair), expected, atol=1e-4)


def test_ssim_equals_scikit_image(pair):
    """Our SSIM is scikit-image's with Wang's Gaussian window."""
    expected = [
        structural_similarity(t, i, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
                              channel_axis=2)
        for i, t in zip(*map(_arrays, pair), strict=True)
    ]
    assert np.allclose(metrics.ssim(*pair), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 1100), (1100, 12), (11, 11)])
def test_ssim_of_long_and_small_pictures_equals_scikit_image(size, generator):
    """However long or small a picture, the score is the same as scikit-image's."""
    target = torch.rand(1, 3, *size, generator=generator)
    image = (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    expected = structural_similarity(_arrays(target)[0], _arrays(image)[0], gaussian_weights=True, sigma=1.5,
                                     use_sample_covariance=False, data_range=1, channel_axis=2)
    assert metrics.ssim(image, target).item() == pytest.approx(expected, abs=1e-4)


def test_uqi_equals_its_formula(pair):
    """Our UQI is equation 2 under SSIM's window, worked out by SciPy."""
    def score(x, y):
        def blur(values):
            return gaussian_filter(values, (1.5, 1.5, 0), truncate=3.4, mode="mirror")

        a, b = blur(x), blur(y)
        quality = 4 * (blur(x * y) - a * b) * a * b / ((a * a + b * b) * (blur(x * x) - a * a + blur(y * y) - b * b))
        return quality[5:-5, 5:-5].mean()

    expected = [score(i, t) for i, t in zip(*map(_arrays, pair), strict=True)]
    assert np.allclose(metrics.uqi(*pair), expected, atol=1e-5)


def test_uqi_of_flat_places_compares_their_means():
    """Without structure in either picture the level decides; structure in one alone scores 0; black equals black."""
    flat = torch.full((1, 3, 32, 32), 0.4)
    assert metrics.uqi(flat, flat).item() == pytest.approx(1)
    assert metrics.uqi(flat, flat / 2).item() == pytest.approx(0.8)
    assert metrics.uqi(0 * flat, 0 * flat).item() == pytest.approx(1)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert metrics.uqi(flat, ramp).item() == pytest.approx(0, abs=1e-6)
    speck = flat.clone()
    speck[..., 16, 16] += 1 / 255  # the least that eight bits can hold
    assert metrics.uqi(speck, speck).item() == pytest.approx(1) and metrics.uqi(speck, flat).item() < 0.9


def test_equal_pictures_score_best(pair):
    """A picture is as like itself as can be: 100 dB, SSIM 1, everywhere."""
    _, target = pair
    assert (metrics.psnr(target, target) == 100).all()
    assert torch.allclose(metrics.ssim(target, target), torch.ones(3), atol=1e-5)
    assert torch.allclose(metrics.uqi(target, target), torch.ones(3), atol=1e-6)
    assert torch.allclose(metrics.ssim_map(target, target), torch.ones_like(target), atol=1e-3)


def test_more_noise_scores_lower(pair):
    """The pair's pictures are ever noisier, and every score says so."""
    for score in (metrics.psnr, metrics.ssim, metrics.uqi, metrics.gt_mean_psnr):
        assert (score(*pair).diff() < 0).all()


def test_likeness_is_mutual(pair):
    """Picture and reference may change places."""
    image, target = pair
    assert torch.allclose(metrics.psnr(image, target), metrics.psnr(target, image))
    assert torch.allclose(metrics.ssim(image, target), metrics.ssim(target, image), atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (6, 9), (10, 10), (11, 12)])
def test_small_pictures_are_scored_too(size, generator):
    """Pictures smaller than the window have a finite likeness to themselves of one."""
    picture = torch.rand(1, 3, *size, generator=generator)
    assert metrics.ssim(picture, picture).item() == pytest.approx(1, abs=1e-4)


def test_gt_mean_takes_the_level_out(generator):
    """Scaling a picture does not change its GT-mean score, as long as nothing clips."""
    target = 0.1 + 0.3 * torch.rand(2, 3, 16, 16, generator=generator)
    image = 0.1 + 0.3 * torch.rand(2, 3, 16, 16, generator=generator)
    scores = [metrics.gt_mean_psnr(image * gain, target) for gain in (0.2, 0.5, 1, 1.7)]
    assert all(torch.allclose(score, scores[0], atol=1e-3) for score in scores)
    assert torch.allclose(metrics.match_mean(image, target).mean(dim=(1, 2, 3)), target.mean(dim=(1, 2, 3)), atol=1e-5)
    assert not torch.allclose(metrics.psnr(image * 0.2, target), metrics.psnr(image, target))


def test_sharpness_is_one_for_equal_less_for_blurred(generator):
    """A picture is as sharp as itself at any brightness, and less sharp when blurred, the more the less."""
    target = 0.5 * torch.rand(2, 3, 32, 32, generator=generator)
    ratios = [metrics.sharpness_ratio(torch.from_numpy(gaussian_filter(target.numpy(), (0, 0, sigma, sigma))), target)
              for sigma in (0.5, 1, 2)]
    for gain in (0.5, 1.0, 1.5):
        assert torch.allclose(metrics.sharpness_ratio(gain * target, target), torch.ones(2), atol=1e-4)
    assert (ratios[0] < 1).all() and (ratios[1] < ratios[0]).all() and (ratios[2] < ratios[1]).all()


def test_newly_clipped_counts_pixels(generator):
    """It is the share of the pixels that burnt out, not the channels, and what was burnt before is not counted."""
    source = 0.9 * torch.rand(2, 3, 10, 10, generator=generator)
    burnt = source.clone()
    burnt[:, 0, :3, :] = 1
    burnt[:, :, 3, :] = 1
    assert torch.allclose(metrics.newly_clipped(burnt, source), torch.full((2,), 0.4))
    assert (metrics.newly_clipped(burnt, burnt) == 0).all()
    assert (metrics.newly_clipped(source, source) == 0).all()


def test_relative_measures_do_not_know_the_level(generator):
    """Contrast and colour are those of the scene: a picture of half the light has the same."""
    image = torch.rand(2, 3, 40, 56, generator=generator)
    for measure in (metrics.relative_contrast, metrics.relative_color):
        assert torch.allclose(measure(image), measure(image / 2), rtol=1e-4)
        assert (measure(torch.full((1, 3, 9, 9), 0.3)) < 1e-6).all()
        assert (measure(torch.zeros(1, 3, 9, 9)) == 0).all()


@pytest.mark.parametrize("size", [(16, 16), (48, 32), (33, 47), (5, 7)])
def test_contrast_is_between_regions(size, generator):
    """A bright half beside a dark one is contrast, in a picture of any size; a fine texture is none."""
    halves = torch.full((1, 3, *size), 0.2)
    halves[..., size[1] // 2 :] = 0.6
    assert metrics.relative_contrast(halves).item() == pytest.approx(0.5, abs=0.07)
    if min(size) == 32:
        fine = 0.4 + 0.2 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(24, 16).expand(1, 3, 48, 32)
        assert metrics.relative_contrast(fine).item() < 1e-6


def test_colour_is_the_spread_of_the_channels():
    """Mixing with grey takes colour away in proportion; red alone has all there is."""
    red = torch.tensor([0.6, 0.3, 0.3]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    grey = red.mean(dim=1, keepdim=True).expand_as(red)
    assert metrics.relative_color(red).item() == pytest.approx(0.75)
    assert metrics.relative_color(red / 3 + grey * 2 / 3).item() == pytest.approx(0.25)
    assert metrics.relative_color(red * torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).item() == pytest.approx(3)


def test_highlights_are_the_brightest_twentieth():
    """Only the brightest 5 % of the pixels count, and darker ones score higher."""
    image = torch.linspace(0, 1, 400).view(1, 1, 20, 20).expand(1, 3, 20, 20)
    assert metrics.highlight_protection(image).item() == pytest.approx(-(1 + 380 / 399) / 2, abs=1e-5)
    assert torch.equal(metrics.highlight_protection(image), metrics.highlight_protection(image.clamp(min=0.9)))
    assert metrics.highlight_protection(image.clamp(max=0.9)) > metrics.highlight_protection(image)


def test_one_tone_curve_is_even(generator):
    """A rising curve over a grey picture whose cells are flat scores 0, and no change does too."""
    cells = torch.rand(2, 1, 16, 16, generator=generator).expand(2, 3, 16, 16)
    source = torch.nn.functional.interpolate(cells, scale_factor=3)
    for curve in (lambda c: c, lambda c: c + 0.8 * c * (1 - c), lambda c: c**0.4):
        assert torch.allclose(metrics.evenness(curve(source), source), torch.zeros(2), atol=1e-6)


def test_the_stronger_the_local_correction_the_less_even(generator):
    """What is brightened here and not there costs, also where the source is flat."""
    drift = torch.linspace(-1, 1, 48).view(1, 1, 1, 48)
    for source in (0.2 + 0.6 * torch.rand(1, 3, 32, 48, generator=generator), torch.full((1, 3, 32, 48), 0.4)):
        scores = torch.cat([metrics.evenness(source ** (1 + a * drift), source) for a in (0.0, 0.1, 0.2, 0.4)])
        assert scores[0].item() == pytest.approx(0, abs=1e-6) and (scores.diff() < -1e-3).all()


def test_pictures_are_measured_one_by_one(generator):
    """A picture's measures do not depend on those beside it."""
    source, image = torch.rand(2, 3, 3, 20, 24, generator=generator)
    for measure in (metrics.mean_level, metrics.relative_contrast, metrics.relative_color,
                    metrics.highlight_protection):
        assert torch.allclose(measure(image), torch.cat([measure(part) for part in image.split(1)]))
    alone = [metrics.evenness(a, b) for a, b in zip(image.split(1), source.split(1), strict=True)]
    assert torch.allclose(metrics.evenness(image, source), torch.cat(alone))


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim, metrics.ssim_map, metrics.sharpness_ratio,
                                   metrics.newly_clipped, metrics.gt_mean_psnr, metrics.evenness],
                         ids=lambda score: score.__name__)
def test_sizes_that_differ_are_refused(score, pair):
    """A picture is compared with a reference of its own size only; both sizes are named."""
    image, target = pair
    with pytest.raises(UsageError, match=r"40.*47"):
        score(image[..., :40], target)

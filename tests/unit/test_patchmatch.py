"""Holes filled with patches: what stays, what a guide decides, and that nothing is copied across an edge."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rlenhance import Completer
from rlenhance.learning.ops.masked_tensors import harmonic_fill, on_tensors
from rlenhance.ops import patchmatch
from rlenhance.pipelines.options import CompleteSettings


def patchmatch_fill(image: torch.Tensor, mask: torch.Tensor, guide_detail: float = 0.0) -> torch.Tensor:
    return on_tensors(partial(patchmatch.patchmatch_fill, guide_detail=guide_detail))(image, mask)


def grain(height: int, width: int, seed: int = 0, amount: float = 0.1) -> torch.Tensor:
    """Fine texture of two pixels, (1, 3, H, W), with a mean of 0."""
    noise = torch.randn(1, 1, height // 2, width // 2, generator=torch.Generator().manual_seed(seed))
    return amount * F.interpolate(noise, (height, width), mode="nearest").expand(1, 3, -1, -1)


def hole_of(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., rows, columns] = 1
    return mask


def test_known_pixels_stay_and_the_search_repeats() -> None:
    image, mask = (0.5 + grain(64, 80)).clamp(0, 1), hole_of(64, 80, slice(20, 44), slice(30, 60))
    guess = harmonic_fill(image * (1 - mask), mask)
    one, again = patchmatch_fill(guess, mask), patchmatch_fill(guess, mask)
    assert torch.equal(one, again) and torch.equal(one * (1 - mask), image * (1 - mask))


@pytest.mark.parametrize("guided", [False, True])
def test_a_soft_fill_gets_the_texture_around_it(guided: bool) -> None:
    """The deviation in the hole is that of the surroundings, where the membrane has none."""
    image, mask = (0.5 + grain(96, 96)).clamp(0, 1), hole_of(96, 96, slice(34, 62), slice(34, 62))
    guess = harmonic_fill(image * (1 - mask), mask)
    inside = mask.expand_as(image) > 0
    result = patchmatch_fill(guess, mask, guide_detail=4.0 if guided else 0.0)
    assert guess[inside].std() < 0.04 < 0.05 < result[inside].std() < 0.14


def test_the_light_is_that_of_the_guide() -> None:
    """A guide that is darker in its middle makes a textured fill that is nearly as dark there."""
    image, mask = (0.6 + grain(128, 128, amount=0.05)).clamp(0, 1), hole_of(128, 128, slice(30, 98), slice(30, 98))
    shade = 0.3 * torch.hann_window(70, periodic=False)[1:-1]
    guide = torch.where(mask > 0, torch.full_like(image, 0.6), image)
    guide[..., 30:98, 30:98] -= shade[:, None] * shade[None] / 0.3
    result = patchmatch_fill(guide, mask, guide_detail=3.0)
    dip, asked = (0.6 - filled[..., 54:74, 54:74].mean().item() for filled in (result, guide))
    assert 0.65 * asked < dip < 1.1 * asked


def test_nothing_is_copied_across_a_horizon() -> None:
    """Coarse ground below and a smooth sky above, the guide soft between them: each keeps to its side."""
    picture = torch.full((1, 3, 120, 120), 0.8)
    picture[:, 2, :60] = 1.0
    picture[..., 60:, :] = (0.3 + grain(60, 120)).clamp(0, 1)
    mask = hole_of(120, 120, slice(40, 80), slice(40, 80))
    soft = F.interpolate(F.interpolate(picture, (30, 30), mode="area"), (120, 120), mode="bilinear")
    result = patchmatch_fill(torch.where(mask > 0, soft, picture), mask, guide_detail=4.0)
    sky, ground = result[..., 42:56, 42:78], result[..., 64:78, 42:78]
    assert sky.std(dim=(2, 3)).max() < 0.03
    assert (sky.mean(dim=(2, 3)) - torch.tensor([0.8, 0.8, 1.0])).abs().max() < 0.03
    assert 0.06 < ground.std() < 0.14
    jump = result[..., 56:59, 44:76].mean() - result[..., 62:65, 44:76].mean()
    assert jump > 0.4


def test_large_levels_take_the_matches_of_the_level_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """The texture is as strong as where every level is searched, with fewer searches."""
    image, mask = (0.5 + grain(160, 160)).clamp(0, 1), hole_of(160, 160, slice(50, 110), slice(50, 110))
    guess = harmonic_fill(image * (1 - mask), mask)
    searched, deviations = [], []
    search = patchmatch._Field.search
    monkeypatch.setattr(patchmatch._Field, "search", lambda field: (counts.append(len(field.targets)), search(field)))
    for limit in (1 << 17, 500):
        monkeypatch.setattr(patchmatch, "_SEARCHED", limit)
        counts: list[int] = []
        deviations.append(patchmatch_fill(guess, mask)[mask.expand_as(image) > 0].std().item())
        searched.append(sum(counts))
    assert deviations[1] == pytest.approx(deviations[0], rel=0.3) and searched[1] < searched[0]


def test_a_picture_without_a_whole_patch_keeps_its_guess() -> None:
    image, mask = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1, 12, 12)
    mask[..., 0] = 0
    assert torch.equal(patchmatch_fill(image, mask), image)


def test_texture_is_a_setting_of_the_completer() -> None:
    """Without it the network's fill stands; between, the result lies between; other pixels never change."""
    rng = np.random.default_rng(0)
    picture = (120 + 20 * rng.standard_normal((96, 96, 1))).clip(0, 255).astype(np.uint8).repeat(3, 2)
    mask = np.zeros((96, 96), bool)
    mask[30:66, 30:66] = True
    soft, half, full = (Completer(settings=CompleteSettings(texture=texture))(picture, mask=mask).astype(int)
                        for texture in (0, 0.5, 1))
    assert np.abs(half - (soft + full) / 2).max() <= 1
    assert soft[mask].std() < 8 < full[mask].std()
    assert all((result[~mask] == picture[~mask]).all() for result in (soft, half, full))

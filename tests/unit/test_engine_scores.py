"""The scores of `rlenhance score` equal those of the metrics and reward terms in torch."""

import numpy as np
import pytest
import torch

from rlenhance.engine.scores import COSTS, RELATIVE, ssim_map
from rlenhance.learning.metrics import full_reference
from rlenhance.learning.ops.image import limit_side, to_tensor
from rlenhance.learning.rewards import TERMS, Transition
from rlenhance.pipelines.score import SIDE, without_reference


def picture_of(height, width, seed=0, dtype=np.uint8):
    """Dark at the left, bright at the right, with noise, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1.05, width)[None, :, None] * (0.6 + 0.4 * rng.random((1, 1, 3)))
    noisy = (ramp + rng.normal(0, 0.05, (height, width, 3))).clip(0, 1)
    return np.rint(noisy * np.iinfo(dtype).max).astype(dtype)


class Looked(Transition):
    """A transition that records whether its initial picture is read."""

    looked = False

    def __getattribute__(self, name):
        if name == "initial":
            object.__setattr__(self, "looked", True)
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("size, dtype", [((40, 50), np.uint8), ((7, 9), np.uint8), ((90, 700), np.uint16)])
def test_costs_are_those_of_the_reward_terms(size, dtype):
    """All terms that need no reference, in their order; and which of them compare with the original."""
    picture, origin = picture_of(*size, 0, dtype), picture_of(*size, 1, dtype)
    terms = {name: TERMS[name] for name in TERMS if TERMS[name].kind == "state" and not TERMS[name].reference
             and TERMS[name].cost.__module__.startswith("rlenhance.")}
    assert list(COSTS) == list(terms)
    image, initial = (limit_side(to_tensor(part), SIDE) for part in (picture, origin))
    found = without_reference(picture, origin, 0.4)
    for name, term in terms.items():
        transition = Looked(image, image, initial, torch.zeros(1, 1, 1, 1),
                            {"exposure_level": torch.full((1, 1, 1, 1), 0.4)})
        assert found[name] == pytest.approx(term.cost(image, transition).mean().item(), abs=2e-5), name
        assert (name in RELATIVE) == transition.looked, name
    assert found["level"] == pytest.approx(full_reference.mean_level(image).item(), abs=1e-6)


@pytest.mark.parametrize("size", [(30, 41), (4, 20)])
def test_similarity_is_that_of_the_metric(size):
    """At every pixel, also where the window is larger than the picture."""
    one, other = (picture_of(*size, seed) for seed in (0, 1))
    theirs = full_reference.ssim_map(to_tensor(one), to_tensor(other))[0].permute(1, 2, 0).numpy()
    ours = ssim_map(*(part.astype(np.float32) / 255 for part in (one, other)))
    assert np.abs(ours - theirs).max() < 1e-4

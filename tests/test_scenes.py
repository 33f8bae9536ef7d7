"""Scenes lit unevenly: what the local agents are worth."""

import pytest
import torch
from test_models import make_policy, stir

from rlenhance.actions import advance
from rlenhance.errors import UsageError
from rlenhance.models import UnrolledPolicy


@pytest.mark.parametrize("curve", [{}, {"kind": "categorical"}, {"channels": "chroma"}], ids=str)
def test_without_local_agents_every_place_gets_the_same_curve(curve, generator):
    """With local=False equal pixels stay equal, with the local agents they do not; the picture agent acts on."""
    policy = stir(make_policy(curve, state_size=16), 0.3)
    image = torch.rand(1, 3, 1, 2, generator=generator).repeat(1, 1, 32, 16)
    image[..., 16:, 16:] *= 0.3  # the agents see two different halves below
    on, off = UnrolledPolicy(policy).play(image), UnrolledPolicy(policy, local=False).play(image)
    same_above = (off.image[..., :16, 0::2] - off.image[..., :1, :1]).abs().max()
    assert same_above < 1e-5 < (on.image[..., :16, 0::2] - on.image[..., :1, :1]).abs().max()
    assert not torch.allclose(off.image, image, atol=1e-3)
    whole = image
    for action in off.actions:  # the strengths are those of the picture agent alone
        strength = policy.actions.strength(action)
        assert torch.allclose(strength, strength[..., :1, :1].expand_as(strength), atol=1e-5)
        whole = advance(policy.actions, whole, action)
    assert torch.equal(whole, off.image)


def test_local_agents_alone_cannot_be_taken_away():
    """A policy without a picture-level agent is refused; one without local agents has none to lose."""
    with pytest.raises(UsageError, match="no picture-level agent"):
        UnrolledPolicy(make_policy({"picture_agent": False}), local=False)
    policy, image = stir(make_policy({"agent_stride": 0})), torch.full((1, 3, 16, 16), 0.2)
    assert torch.equal(UnrolledPolicy(policy, local=False)(image), UnrolledPolicy(policy)(image))

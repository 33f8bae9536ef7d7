"""The network that predicts the gains of tools."""

import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.law import stir
from rlenhance.experiments.laws.models import make_model


def test_stopping_gains_nothing(generator):
    """Each tool has a prediction, the last column is 0, for pictures of any size from 8 pixels on."""
    network = stir(make_model("tool_gains", tools=("median", "unsharp", "clahe")))
    for size in ((8, 8), (24, 33)):
        scores = network({"image": torch.rand(2, 3, *size, generator=generator)})
        assert scores.shape == (2, 4) and (scores[:, -1] == 0).all() and scores[:, :-1].abs().min() > 0


def test_every_weight_is_used(generator):
    """The losses of the gains and of the quality reach every parameter."""
    network = stir(make_model("tool_gains")).train()
    gains, quality = network.assess(torch.rand(3, 3, 32, 32, generator=generator))
    (gains.square().sum() + quality.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_what_cannot_be_planned_is_refused():
    """No tools, and no picture, are named with the way out."""
    with pytest.raises(UsageError, match="at least one tool"):
        make_model("tool_gains", tools=())
    with pytest.raises(UsageError, match="to_tensor"):
        make_model("tool_gains")({"image": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)})


def test_grey_pictures_have_perceptrons_of_their_own(generator):
    """Those in colour do not depend on them, and grey ones on nothing else; both may stand in one batch."""
    network = stir(make_model("tool_gains", grey=True))
    images = torch.rand(2, 3, 48, 48, generator=generator)
    images[0] = images[0, :1]
    before, own = network.assess(images)[0], network.grey.assess(images)[0]
    assert torch.equal(before[0], own[0]) and not torch.equal(before[1], own[1])
    stir(network.grey, 0.3)
    after = network.assess(images)[0]
    assert torch.equal(after[1], before[1]) and not torch.equal(after[0], before[0])

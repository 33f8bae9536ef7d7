"""What every registered backbone must do: `rlenhance.experiments.laws.backbones`."""

import pytest
import torch

from rlenhance.experiments.laws import cases
from rlenhance.experiments.laws.backbones import CONTEXT
from rlenhance.learning.nn.backbones import BACKBONES, FiLM


@pytest.mark.parametrize("law, name", cases("backbone", BACKBONES), ids=str)
def test_laws(law, name):
    """Every registered backbone obeys every law."""
    law.check(name)


def test_film_begins_as_the_identity(generator):
    """Before it has learned anything, the context changes nothing."""
    features = torch.randn(2, 4, 3, 3, generator=generator)
    assert torch.equal(FiLM(CONTEXT, 4)(features, torch.randn(2, CONTEXT, generator=generator)), features)
    assert FiLM(0, 4)(features, None) is features

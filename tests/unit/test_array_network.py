"""The engine's networks and torch's answer what pipelines ask alike."""

import pytest

from rlenhance.hub import shipped
from rlenhance.hub.open import open_network
from rlenhance.learning.hub.torch_network import TorchNetwork

ANSWERS = ("scale", "channels", "train_size", "takes_noise_map", "takes_gain", "iterates", "plans", "horizon",
           "decision_size", "shares_decision", "num_choices")


@pytest.mark.parametrize("name", [model.name for model in shipped.list_models()])
def test_shipped_models_answer_alike(name):
    """What is common to the engine's network and torch's; levels of noise give the same preference."""
    ours, theirs = open_network(shipped.locate(name)), TorchNetwork.load(shipped.locate(name))
    assert not isinstance(ours, TorchNetwork)
    assert {entry: getattr(ours, entry) for entry in ANSWERS} == {entry: getattr(theirs, entry) for entry in ANSWERS}
    assert ours.noise_preference(20) == theirs.noise_preference(20)
    assert (ours.formula is None) == (theirs.formula is None)
    assert hasattr(ours, "denoise") == ours.takes_noise_map and hasattr(ours, "scores") == ours.plans

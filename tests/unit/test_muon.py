"""Orthogonal steps: directions, sizes, what is left to Adam, and going on from a stored state."""

import copy

import pytest
import torch
from torch import nn

from rlenhance.agents.muon import Muon, is_wide, orthogonal
from rlenhance.agents.optim import OptimizerConfig, OptimizerStep


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 32, 3), nn.ReLU(), nn.Conv2d(32, 48, 3), nn.ReLU(), nn.Conv2d(48, 4, 1))


def _losses(network: nn.Module, number: int) -> dict[str, torch.Tensor]:
    image = torch.rand(2, 4, 9, 9, generator=torch.Generator().manual_seed(number))
    return {"loss": ((network(image) - image.mean()) ** 2).mean()}


@pytest.mark.parametrize("shape", [(32, 288), (128, 32), (64, 400)])
def test_singular_values_move_near_one(shape, generator):
    """Whatever the size of the matrix and the spread of its singular values, and the singular vectors stay."""
    matrix = torch.randn(2, *shape, generator=generator) * 10.0 ** torch.linspace(-0.5, 0, shape[1])
    result = orthogonal(matrix)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.4 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    turned = left.mT @ result[0] @ right.mT
    assert (turned - turned.diagonal().diag()).abs().max() < 1e-3


def test_only_wide_layers_are_matrices():
    """The first and the last layer, and all biases, are stepped as Adam steps them."""
    network = _network()
    assert [name for name, weight in network.named_parameters() if is_wide(weight)] == ["2.weight"]
    twin = copy.deepcopy(network)
    for each, optimizer in ((network, Muon(network.parameters(), 1e-3)),
                            (twin, torch.optim.Adam(twin.parameters(), 1e-3, betas=(0.9, 0.99)))):
        before = each[2].weight.detach().clone()
        _losses(each, 0)["loss"].backward()
        optimizer.step()
        moved = (each[2].weight - before).detach()
        assert moved.pow(2).mean().sqrt() < 1.5e-3  # the size of Adam's step
    for (name, ours), theirs in zip(network.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6) == (name != "2.weight")


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 brings it")
@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
def test_on_matrices_it_equals_that_of_torch(shape, generator):
    """Over ten steps, up to the rounding of its bfloat16."""
    begin = torch.randn(shape, generator=generator)
    ours, theirs = nn.Parameter(begin.clone()), nn.Parameter(begin.clone())
    optimizers = Muon([ours], 1e-2), torch.optim.Muon([theirs], 1e-2, weight_decay=0, adjust_lr_fn="match_rms_adamw")
    for _ in range(10):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (ours - begin).norm()


def test_a_stored_state_goes_on():
    """Three steps are two steps, stored and loaded, and one more."""
    config = OptimizerConfig(1e-2, 0, 0.1, 0.5, orthogonal=True)
    whole = OptimizerStep(_network(), config)
    for number in range(3):
        whole.update(_losses(whole.network, number), number / 3)
    first = OptimizerStep(_network(), config)
    for number in range(2):
        first.update(_losses(first.network, number), number / 3)
    second = OptimizerStep(copy.deepcopy(first.network), config)
    second.load_state_dict(first.state_dict())
    second.update(_losses(second.network, 2), 2 / 3)
    for ours, theirs in zip(second.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    losses = [_losses(whole.network, number)["loss"] for number in range(3)]
    assert max(losses) < min(_losses(_network(), number)["loss"] for number in range(3))

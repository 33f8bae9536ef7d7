"""The gates of latent actions: what they cost."""

import torch

from rlenhance.actions import ACTION_SETS, apply_action
from tests.tasks.test_rse import MOVES, noisy


def test_networks_run_only_where_a_gate_is_open(generator, monkeypatch):
    """With and without gradients, which run everywhere, the change is the same; closed gates cost nothing."""
    actions, batch = ACTION_SETS.create("latent", **MOVES), noisy(1, 48)
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.1)
    chosen = torch.rand(1, actions.action_dim, 4, 4, generator=generator) * 2 - 1
    chosen[:, -2] = torch.where(torch.rand(4, 4, generator=generator) < 0.5, -1.0, chosen[:, -2])
    chosen[:, -1, :2] = -1
    chosen[:, :-2, :, 1] = 0
    everywhere = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
    with torch.no_grad():
        some = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
        chosen[:, -2:] = -1
        monkeypatch.setattr(actions.autoencoder, "residual", None)
        closed = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
    assert torch.allclose(some, everywhere, atol=1e-6) and torch.equal(closed, batch.image)

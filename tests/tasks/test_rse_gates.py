"""The gates of latent actions: what they cost."""

import torch

from rlenhance.learning.actions import ACTION_SETS, apply_action
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


def test_looks_of_a_schedule_count_alike():
    """With gates in the middle, the result is the mean of the first pass and of all looks; own changes follow it."""
    torch.manual_seed(0)
    actions, image = ACTION_SETS.create("latent", **MOVES, own_shares=(0.0, 0.0)), 0.25 + noisy(1, 32).image / 2
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.02)
    middle = {"local": torch.zeros(1, actions.action_dim, 2, 2)}
    with torch.no_grad():
        first = now = actions.initial_image(image)
        looks = [apply_action(actions, now, {"local": torch.tensor([0.0] * (actions.action_dim - 2) + [-1.0, 1.0])
                                             .view(1, -1, 1, 1).expand(1, -1, 2, 2)}, initial_image=image, step=0)]
        now = apply_action(actions, now, middle, initial_image=image, step=0)
        assert torch.allclose(now, (first + looks[0]) / 2, atol=1e-5)
        actions.own_shares = (0.0, 0.5)
        assert torch.equal(apply_action(actions, now, middle, initial_image=image, step=2),
                           apply_action(actions, now, middle, initial_image=image, step=2))
        without = dict(middle, local=middle["local"].clone())
        without["local"][:, -2] = -1
        for step, same in ((2, True), (3, False)):  # the schedule begins again
            taken = [apply_action(actions, now, action, initial_image=image, step=step) for action in (middle, without)]
            assert torch.equal(*taken) == same

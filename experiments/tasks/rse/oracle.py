"""How much there is to gain: actions that are chosen for each patch with the clean picture in sight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlenhance.engine.latent import NUM_GATES
from rlenhance.experiments.tasks.rse.model import moves_of
from rlenhance.learning.actions import apply_action
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import PixelPolicy, build_model

_RATE = 0.1  # of Adam, for numbers that tanh takes to actions
_LARGEST = 0.99


def headroom(policy: PixelPolicy, batches: Sequence[Batch], iterations: int) -> dict[str, float]:
    """Mean PSNR in dB of a policy's own actions, and of free actions (`free_actions`): gates, moves, and both.

    No policy reaches it: it sees the noisy picture alone.
    """
    moves = moves_of(policy)
    gate = torch.arange(moves.action_dim) >= moves.action_dim - NUM_GATES
    parts = {"the policy's own": None, "free gates": gate, "free moves": ~gate, "free": gate | True}
    rows: dict[str, list[float]] = {name: [] for name in parts}
    for batch in batches:
        assert batch.target is not None
        device = next(policy.parameters()).device
        image, target = batch.image.to(device), batch.target.to(device)
        for name, free in parts.items():
            if free is None:
                with torch.no_grad():
                    output = build_model(policy)(image)
            else:
                output = free_actions(policy, image, target, free.to(device), iterations)
            rows[name].append(psnr(output.clamp(0, 1), target).item())
    return {name: sum(values) / len(values) for name, values in rows.items()}


def free_actions(policy: PixelPolicy, image: Tensor, target: Tensor, free: Tensor, iterations: int) -> Tensor:
    """The result of the actions of every patch and step that come nearest to a clean picture, by gradient descent from
    the policy's own.

    Args:
        image, target: (1, 3, H, W).
        free: which heads may differ from the policy's, (heads,) bool.
        iterations: of Adam, through all steps of the episode.
    """
    moves = moves_of(policy)
    with torch.no_grad():
        own = torch.stack([action["local"] for action in build_model(policy).run(image).actions])
        first = moves.initial_image(image)
    numbers = own.clamp(-_LARGEST, _LARGEST).atanh().requires_grad_()
    optimizer = torch.optim.Adam([numbers], lr=_RATE)
    best, result = float("inf"), first
    for _ in range(iterations):
        now = first
        for step, local in enumerate(torch.where(free[:, None, None], numbers.tanh(), own)):
            now = apply_action(moves, now, {"local": local}, initial_image=image, step=step)
        loss = (now - target).square().mean()
        if loss.item() < best:
            best, result = loss.item(), now.detach()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return result

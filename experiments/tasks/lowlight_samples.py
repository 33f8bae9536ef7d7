"""Sample sheets of low-light runs: the episodes of a few pictures, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from experiments.core.run import Run
from experiments.core.task import ArtifactCallback
from rlenhance.core.visualize import action_colors, grid
from rlenhance.data import (
    Batch,
)
from rlenhance.models import GreedyEpisode, Policy


def sample_sheet(network: torch.nn.Module, pictures: Sequence[Batch], side: int = 96) -> tuple[torch.Tensor, Any]:
    """Episodes step by step: a row per picture with the input, each state and its action map, the output, the target.

    Returns:
        The sheet (1, 3, H, W), and every A that was chosen (None for a network that acts in one pass).
    """
    rows, strengths = [], []
    device = next(network.parameters()).device
    with torch.no_grad():
        for batch in pictures:
            row = [batch.image]
            if isinstance(network, Policy):
                episode = GreedyEpisode(network).run(batch.image.to(device))
                for action, state in zip(episode.actions, episode.states[1:], strict=True):
                    strength = network.actions.magnitude(action)
                    strengths.append(strength.flatten())
                    row += [action_colors(strength, (side, side)), state]
                row.append(episode.image)
            else:
                row.append(network(batch.image.to(device)))
            rows.append(row if batch.target is None else [*row, batch.target])
    return grid(rows, side), torch.cat(strengths) if strengths else None


def make_sample_sheet(pictures: Sequence[Batch]) -> ArtifactCallback:
    """What `fit` calls after each validation: the sheet and the histogram of the actions."""

    def sample(network: torch.nn.Module, run: Run, step: int) -> None:
        sheet, strengths = sample_sheet(network, pictures)
        run.log_image("episodes", sheet, step)
        if strengths is not None:
            run.log_histogram("actions/A", strengths, step)

    return sample

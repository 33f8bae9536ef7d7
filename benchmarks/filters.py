"""Steps per second of the environment of filters, beside a loop over pictures with OpenCV as PixelRL has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from benchmarks.speed import run_batched
from benchmarks.table import Table, interleaved
from rlenhance.envs import DenoiseEnv
from rlenhance.learning.actions import PIXELRL_TOOLS
from rlenhance.learning.actions.filters import IDENTITY
from rlenhance.learning.data import Batch

#: What the loop calls for each tool, on one plane of float32.
_CALLS = {
    "gaussian_0.5": lambda x: cv2.GaussianBlur(x, (5, 5), 0.5),
    "bilateral_0.1": lambda x: cv2.bilateralFilter(x, 5, 0.1, 5),
    "median": lambda x: cv2.medianBlur(x, 5),
    "gaussian_1.5": lambda x: cv2.GaussianBlur(x, (5, 5), 1.5),
    "bilateral_1.0": lambda x: cv2.bilateralFilter(x, 5, 1.0, 5),
    "box": lambda x: cv2.boxFilter(x, -1, (5, 5)),
}
_SHIFTS = {"darker": -1 / 255, "brighter": 1 / 255}

_PIXELS = 1 << 18  # that a round steps at least: a single small picture is over too soon


def measure_filters(sizes: Sequence[tuple[int, int]], horizon: int, repeats: int, threads: int) -> Table:
    """Episodes from ready-made random actions, all tools at work; neither side draws pictures meanwhile.

    Args:
        sizes: (pictures, side in pixels) of each row.
        horizon: steps of an episode.
        repeats: rounds, see `interleaved`.
        threads: of OpenCV, in both; torch has those of the process.
    """
    table = Table("filters", f"Filters: episodes of {horizon} steps from ready-made actions, all nine tools",
                  ("pictures", "side", "steps per second", "agent-steps per second", "loop: steps per second",
                   "times the loop"))
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        for count, side in sizes:
            generator = torch.Generator().manual_seed(0)
            clean = torch.rand(count, 1, side, side, generator=generator)
            batch = Batch((clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(-1, 2), clean)
            actions = [torch.randint(len(PIXELRL_TOOLS), clean.shape, generator=generator) for _ in range(horizon)]
            env = DenoiseEnv(count, size=side, horizon=horizon, autoreset_mode=AutoresetMode.DISABLED)
            episodes = max(1, _PIXELS // clean.numel())
            seconds = interleaved({"batch": partial(run_batched, env, batch, actions, episodes),
                                   "loop": partial(_looped, batch, actions, episodes)}, repeats)
            steps = count * horizon * episodes
            table.rows.append((count, side, steps / seconds["batch"], steps * side * side / seconds["batch"],
                               steps / seconds["loop"], seconds["loop"] / seconds["batch"]))
    finally:
        cv2.setNumThreads(before)
    return table


def _looped(batch: Batch, actions: Sequence[torch.Tensor], episodes: int) -> None:
    assert batch.target is not None
    for _ in range(episodes):
        looped(batch.image.numpy(), batch.target.numpy(), [action.numpy() for action in actions])


def looped(images: np.ndarray, targets: np.ndarray, actions: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The episodes once more, picture by picture: the pictures at the end, and the sum of their reward maps.

    Args:
        images, targets: (N, 1, H, W) float32. actions: (N, 1, H, W), one for each step.
    """
    images, total = images.copy(), np.zeros_like(images)
    for action in actions:
        for number, image in enumerate(images):
            plane, choice, after = image[0], action[number, 0], image[0].copy()
            for index, name in enumerate(PIXELRL_TOOLS):
                chosen = choice == index
                if name != IDENTITY and chosen.any():
                    result = _CALLS[name](plane) if name in _CALLS else plane + np.float32(_SHIFTS[name])
                    cv2.copyTo(result, chosen.view(np.uint8), after)
            target = targets[number, 0]
            total[number, 0] += 255 * ((plane - target) ** 2 - (after - target) ** 2)
            images[number, 0] = after
    return images, total

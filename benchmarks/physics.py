"""Steps of `rlenhance/LowLight-v0` beside the same steps in NumPy: wall-clock and processor time, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.cases import WITHOUT_PREFERENCES
from benchmarks.loop_env import LoopEnv
from benchmarks.table import Table
from rlenhance import envs  # noqa: F401 - registers the ids
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Batch
from rlenhance.learning.rewards import RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE

_ID = "rlenhance/LowLight-v0"


@dataclass
class _Candidate:
    """A way to take the steps of an episode.

    Attributes:
        reset: begins the episode.
        step: takes the step of this number.
        pictures: that a step edits.
    """

    reset: Callable[[], Any]
    step: Callable[[int], Any]
    pictures: int = 1


def measure_physics(sides: Sequence[int], pictures: int, episodes: int, repeats: int, horizon: int = 8) -> Table:
    """The scalar environment, with active terms and with all, and the batched one, beside `LoopEnv`.

    Only steps are timed; the same pictures, actions and outputs (observation, reward, terms, reward map) for all. The
    numbers are compared before anything is timed.

    Args:
        sides: of the square pictures, in pixels.
        pictures: of the batched environment.
        episodes: in a round.
        repeats: rounds; all candidates take turns, and medians count.
        horizon: steps of an episode.

    Raises:
        UsageError: the environments do not give the same numbers.
    """
    table = Table("physics", "Steps of LowLight-v0 beside the same steps in NumPy",
                  ("environment", "side, pixels", "us per step of a picture", "CPU us", "times NumPy, wall",
                   "times NumPy, CPU", "million pixel-steps per CPU second"))
    for side in sides:
        candidates = _candidates(side, pictures, horizon)
        _check_equal(candidates["plain NumPy"], candidates["gymnasium.make"], horizon)
        wall: dict[str, list[float]] = {name: [] for name in candidates}
        cpu: dict[str, list[float]] = {name: [] for name in candidates}
        for round_ in range(repeats + 1):
            for name, candidate in candidates.items():
                spent = _time(candidate, episodes, horizon)
                if round_:  # the first one warms up
                    wall[name].append(spent[0] / candidate.pictures)
                    cpu[name].append(spent[1] / candidate.pictures)
        base = "plain NumPy"
        for name in candidates:
            seconds, busy = statistics.median(wall[name]), statistics.median(cpu[name])
            table.rows.append((name, side, 1e6 * seconds, 1e6 * busy,
                               statistics.median(a / b for a, b in zip(wall[name], wall[base], strict=True)),
                               statistics.median(a / b for a, b in zip(cpu[name], cpu[base], strict=True)),
                               side * side / busy / 1e6))
    return table


def _candidates(side: int, pictures: int, horizon: int) -> dict[str, _Candidate]:
    made: list[Any] = [gymnasium.make(_ID, size=side, horizon=horizon, info_terms=terms) for terms in ("active", "all")]
    scalar, every = made
    vector: Any = gymnasium.make_vec(_ID, num_envs=pictures, size=side, horizon=horizon, output="torch",
                                     autoreset_mode="Disabled")
    drawn: Batch = scalar.unwrapped.env._draw(0)
    noise = torch.rand(drawn.image.shape, generator=torch.Generator().manual_seed(0))
    # without noise some cells are equally bright, and which one `contrast` calls darker is rounding
    batch = Batch(0.9 * drawn.image + 0.05 * noise)
    many, image = batch.repeat(pictures), batch.image[0].numpy()
    loop = LoopEnv(scalar.unwrapped.env.actions, RewardWeights(WITHOUT_PREFERENCES), horizon)
    scalar.action_space.seed(0)
    actions: list[Mapping[str, np.ndarray]] = [scalar.action_space.sample() for _ in range(horizon)]
    tensors = [{scope: torch.from_numpy(np.repeat(entry[None], pictures, axis=0)) for scope, entry in action.items()}
               for action in actions]
    return {
        "plain NumPy": _Candidate(lambda: loop.reset(image, DEFAULT_EXPOSURE), lambda step: loop.step(actions[step])),
        "gymnasium.make": _Candidate(lambda: scalar.reset(options={"batch": batch}),
                                     lambda step: scalar.step(actions[step])),
        'gymnasium.make, info_terms="all"': _Candidate(lambda: every.reset(options={"batch": batch}),
                                                       lambda step: every.step(actions[step])),
        f"make_vec of {pictures}, tensors": _Candidate(lambda: vector.reset(options={"batch": many}),
                                                       lambda step: vector.step(tensors[step]), pictures),
    }


def _time(candidate: _Candidate, episodes: int, horizon: int) -> tuple[float, float]:
    """Wall-clock and processor seconds of a step."""
    wall = cpu = 0.0
    for _ in range(episodes):
        candidate.reset()
        begun, busy = time.perf_counter(), time.process_time()
        for step in range(horizon):
            candidate.step(step)
        wall, cpu = wall + time.perf_counter() - begun, cpu + time.process_time() - busy
    return wall / episodes / horizon, cpu / episodes / horizon


def _check_equal(loop: _Candidate, scalar: _Candidate, horizon: int) -> None:
    loop.reset()
    scalar.reset()
    for number in range(horizon):
        done, (observation, reward, terminated, _, info) = loop.step(number), scalar.step(number)
        same = {"reward": (done.reward, reward), "map": (done.reward_map, info["reward_map"][0]),
                "terminated": (done.terminated, terminated)}
        same |= {name: (value, observation[name]) for name, value in done.observation.items()}
        same |= {name: (value, info["term_maps"][name][0]) for name, value in done.terms.items()}
        for name, (mine, theirs) in same.items():
            if np.shape(mine) != np.shape(theirs) or not np.allclose(mine, theirs, atol=1e-4):
                raise UsageError(f"the environments differ in {name} at step {number}: no comparison of their speed")
        if done.terms.keys() != info["term_maps"].keys():
            raise UsageError(f"the environments work out different terms: {sorted(done.terms)} and "
                             f"{sorted(info['term_maps'])}")

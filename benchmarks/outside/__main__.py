"""`python -m benchmarks.outside`: train agents of other libraries on one problem, and print the table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import ClipAction, FlattenObservation

from benchmarks.outside import cleanrl_ppo, parameter_sharing, sb3, torchrl_ppo
from benchmarks.outside.problem import ARGUMENTS, ID, TEST_SEED, best_constant, share_of_best
from rlenhance.core.errors import UnknownName
from rlenhance.envs import GlobalAction
from rlenhance.envs.parallel import parallel_env
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table

#: Every pixel has an agent; those of a cell act alike.
CELLS: dict[str, Any] = {**ARGUMENTS, "curve": {"agent_stride": 1, "global_agent": False}, "cells": (8, 8)}


@dataclass(frozen=True)
class Arguments:
    """Train agents of other libraries on rlenhance/CurveOracle-v0, and print what they earn of the best return."""

    tools: tuple[str, ...] = ()
    """Rows of the table by their beginning, such as `stable-baselines3`; all of them where none is given."""
    steps: int = 11_520
    """Steps of the environment of each training; off-policy agents, which update at every step, get a fifth."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One training each."""
    pictures: int = 50
    """On which each agent is judged."""


#: (steps, seed) -> the agent's judge, which takes the number of pictures. Training ends when it is returned.
Train = Callable[[int, int], Callable[[int], float]]


def _sb3(name: str, fewer: int = 1) -> Train:
    def train(steps: int, seed: int) -> Callable[[int], float]:
        env = sb3.make_env(ID, **ARGUMENTS)
        agent = sb3.train(name, env, total_steps=steps // fewer, seed=seed)
        return lambda pictures: share_of_best(env, sb3.act_of(agent), pictures)

    return train


def _cleanrl(steps: int, seed: int) -> Callable[[int], float]:
    agent, _ = cleanrl_ppo.train(cleanrl_ppo.Config(total_steps=steps, seed=seed))
    env = ClipAction(FlattenObservation(gymnasium.make(ID, **ARGUMENTS)))
    return lambda pictures: share_of_best(env, lambda seen, first: agent.act(seen[None])[0], pictures)


def _torchrl(steps: int, seed: int) -> Callable[[int], float]:
    agent = torchrl_ppo.train(torchrl_ppo.make_env(ID, num_envs=64, **ARGUMENTS), ARGUMENTS["horizon"],
                              total_steps=steps, seed=seed)
    env = FlattenObservation(GlobalAction(gymnasium.make(ID, **ARGUMENTS)))
    return lambda pictures: share_of_best(env, lambda seen, first: torchrl_ppo.act(agent, seen[None])[0], pictures)


def _sharing(steps: int, seed: int) -> Callable[[int], float]:
    agent = parameter_sharing.train(ID, total_steps=steps, seed=seed, **CELLS)
    return lambda pictures: parameter_sharing.share_of_best(parallel_env(ID, **CELLS), agent, TEST_SEED, pictures)


#: Row -> the packages whose versions it names, and how it trains.
ROWS: dict[str, tuple[tuple[str, ...], Train]] = {
    "stable-baselines3 PPO": (("stable-baselines3",), _sb3("PPO")),
    "stable-baselines3 SAC": (("stable-baselines3",), _sb3("SAC", fewer=5)),
    "sb3-contrib TRPO": (("sb3-contrib",), _sb3("TRPO")),
    "sb3-contrib RecurrentPPO": (("sb3-contrib",), _sb3("RecurrentPPO")),
    "sb3-contrib TQC": (("sb3-contrib",), _sb3("TQC", fewer=5)),
    "TorchRL PPO": (("torchrl", "tensordict"), _torchrl),
    "CleanRL-style PPO": (("gymnasium",), _cleanrl),
    "PettingZoo, parameter sharing": (("pettingzoo", "supersuit"), _sharing),
}


def main(arguments: Arguments) -> dict[str, dict[str, list[float]]]:
    """Train and judge each row, and print the table; row -> before, after and seconds, one number per seed.

    Raises:
        UnknownName: no row begins so.
    """
    torch.set_num_threads(1)
    for tool in arguments.tools:
        if not any(row.startswith(tool) for row in ROWS):
            raise UnknownName("tool", tool, ROWS)
    chosen = [row for row in ROWS if not arguments.tools or row.startswith(arguments.tools)]
    print(f"{ID}, {arguments.steps} steps; the best constant earns {best_constant(pictures=arguments.pictures):.2f}\n")
    found: dict[str, dict[str, list[float]]] = {}
    for row in chosen:
        train = ROWS[row][1]
        found[row] = {"before": [], "after": [], "seconds": []}
        for seed in arguments.seeds:
            found[row]["before"].append(train(0, seed)(arguments.pictures))
            began = time.perf_counter()
            judge = train(arguments.steps, seed)
            found[row]["seconds"].append(time.perf_counter() - began)
            found[row]["after"].append(judge(arguments.pictures))
        print(row, {name: np.round(numbers, 2).tolist() for name, numbers in found[row].items()}, flush=True)
    cells = [[row, ", ".join(f"{package} {version(package)}" for package in ROWS[row][0]),
              *(", ".join(f"{value:.2f}" for value in found[row][name]) for name in ("before", "after")),
              " to ".join(dict.fromkeys(f"{end(found[row]['seconds']):.0f}" for end in (min, max)))] for row in chosen]
    print("", *markdown_table(["tool", "version", "before", "after", "seconds"], cells), sep="\n")
    return found


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

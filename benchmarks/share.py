"""How much of an update is spent outside the network, and what the coarse grid gains."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.stopwatch import NETWORK, watched
from benchmarks.table import Table
from rlenhance.agents import A3C

#: Every section of an update.
SECTIONS = (*NETWORK, "statistics of the picture", "sampling", "log-probabilities", "environment and reward",
            "returns and advantages", "losses and their gradients", "optimizer", "the rest")


class ReadyMade(nn.Module):
    """Gives what a module gave at first, for each batch size: the module's place without its time."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self._module = [module]  # in a list: its parameters are none of ours
        self._made: dict[int, Any] = {}
        self.idle = nn.Parameter(torch.zeros(()))  # clipping wants something to look at

    def forward(self, first: Tensor, *others: Any) -> Any:
        made = self._made.get(len(first))
        if made is None:
            made = self._module[0](first, *others)
            made = (made[0].detach(), None) if isinstance(made, tuple) else made.detach().requires_grad_()
            self._made[len(first)] = made
        if isinstance(made, tuple):
            return made
        made.grad = None
        return made if torch.is_grad_enabled() else made.detach()


def without_network(learner: A3C) -> A3C:
    """The learner with a network that costs nothing: after one update, updates take the time of what is outside
    (less clipping and Adam, which find no gradients). Not for recurrent backbones."""
    policy: Any = learner.policy
    policy.backbone = ReadyMade(policy.backbone)
    for modules in (policy.heads, policy.values):
        for level, module in modules.items():
            modules[level] = ReadyMade(module)
    return learner


def measure_share(cases: Sequence[Case], repeats: int) -> Table:
    """An update of each case, the same crops for all, interleaved; shares are medians over the repeats.

    The column "replaced" is the check: the time of the same update without its network, as a share of the whole.
    """
    learners = [(case, case.learner(), without_network(case.learner())) for case in cases]
    rounds: list[list[dict[str, float]]] = [[] for _ in cases]
    for number in range(repeats):
        for (case, learner, hollow), seen in zip(learners, rounds, strict=True):
            with watched(learner) as watch:
                whole = _seconds(learner, case)
            if not number:
                _seconds(hollow, case)
            replaced = _seconds(hollow, case)
            seen.append({**watch.seconds, "whole": whole, "replaced": replaced})
    table = Table("share", f"An update on {cases[0].pictures} crop(s) of {cases[0].side} x {cases[0].side} pixels, "
                           f"{cases[0].rollouts} rollouts each, {cases[0].horizon} steps",
                  ("recipe", "s per update", "updates per second", "times the first", "agent-steps per second",
                   "outside the network, %", "replaced, %", *(f"{name}, %" for name in SECTIONS)))
    slowest = statistics.median(row["whole"] for row in rounds[0])
    for case, seen in zip(cases, rounds, strict=True):
        whole = statistics.median(row["whole"] for row in seen)
        shares = [statistics.median(100 * row.get(name, 0.0) / row["whole"] for row in seen) for name in SECTIONS]
        outside = statistics.median(100 * (1 - sum(row[name] for name in NETWORK) / row["whole"]) for row in seen)
        replaced = statistics.median(100 * row["replaced"] / row["whole"] for row in seen)
        table.rows.append((case.label, whole, 1 / whole, slowest / whole, case.steps * case.agents / whole, outside,
                           replaced, *shares))
    return table


def _seconds(learner: A3C, case: Case) -> float:
    """Of an update."""
    batch, begun = case.batch(), time.perf_counter()
    learner.step(batch)
    return time.perf_counter() - begun

"""What policies that read have to beat: fixed chains, random ones, thresholds, regression and cloning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.learning.models import MODELS
from rlenhance_read.learning.policy import ReadPolicy
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.observation import answers

#: The choice of the next chain: scenes, rows (N,), which were read (N, C), step -> chains (N,), C for stopping.
Choose = Callable[[ReadScenes, np.ndarray, np.ndarray, int], np.ndarray]
_PART = 4096  # states at once
_HIDDEN = {"hidden": 128, "dropout": 0.2}


@dataclass(frozen=True)
class Outcome:
    """What a way to read came to on some scenes.

    Attributes:
        accuracy: (N,), of the answers.
        reads: (N,).
    """

    accuracy: np.ndarray
    reads: np.ndarray

    def between(self, other: Outcome, share: float) -> Outcome:
        """What is expected where `share` of the scenes, drawn at random, are read the other way."""
        return Outcome((1 - share) * self.accuracy + share * other.accuracy,
                       (1 - share) * self.reads + share * other.reads)


def run(choose: Choose, scenes: ReadScenes, steps: int) -> Outcome:
    """Read all scenes, at most `steps` times each."""
    rows, chains = np.arange(scenes.count), scenes.known.shape[1]
    read, going = np.zeros_like(scenes.known), np.ones(scenes.count, bool)
    for step in range(steps):
        chosen = choose(scenes, rows, read, step)
        going = going & (chosen < chains)
        if not going.any():
            break
        read[rows[going], chosen[going]] = True
    return outcome(scenes, read)


def outcome(scenes: ReadScenes, read: np.ndarray) -> Outcome:
    """Of scenes of which these chains (N, C) were read."""
    rows = np.arange(scenes.count)
    return Outcome(np.concatenate([scenes.answer_accuracy(part, read[part]) for part in _parts(rows)]),
                   read.sum(axis=1).astype(float))


def by_confidence(scenes: ReadScenes, read: np.ndarray) -> Outcome:
    """The same, the answer being the reading with the highest confidence of the engine alone."""
    place = np.where(read, scenes.numbers[:, :, 0], -1).argmax(axis=1)
    return Outcome(scenes.accuracy[np.arange(scenes.count), place], read.sum(axis=1).astype(float))


def fixed_order(scenes: ReadScenes, most: int) -> list[int]:
    """Chains of which the first k have the best answers that k chains have, each added to those before it."""
    order: list[int] = []
    while len(order) < most:
        left = set(range(scenes.known.shape[1])) - {*order}
        gains = {place: fixed(scenes, [*order, place]).accuracy.mean() for place in sorted(left)}
        order.append(max(gains, key=lambda place: gains[place]))
    return order


def first_chains(scenes: ReadScenes, chains: Sequence[int]) -> np.ndarray:
    """The same chains read for all scenes: (N, C) bool."""
    read = np.zeros_like(scenes.known)
    read[:, list(chains)] = True
    return read


def fixed(scenes: ReadScenes, order: Sequence[int]) -> Outcome:
    """All scenes read through the same chains."""
    return outcome(scenes, first_chains(scenes, order))


def random_chains(scenes: ReadScenes, count: int, seed: int = 0) -> np.ndarray:
    """Which chains are read where `count` are drawn for each scene: (N, C) bool."""
    order = np.random.default_rng(seed).random(scenes.known.shape).argsort(axis=1)
    return order < count


def thresholds(order: Sequence[int], sure: float, agreed: float, most: int = 8) -> Choose:
    """The greedy rule: read on in a fixed order until the answer is sure, or until other readings agree with it.

    Args:
        order: of the chains.
        sure: confidence of the answer from which on nothing more is read.
        agreed: the best agreement of another reading with the answer from which on nothing more is read; above 1:
            agreement does not count.
        most: reads of a scene of which no answer is sure.
    """
    def choose(scenes: ReadScenes, rows: np.ndarray, read: np.ndarray, step: int) -> np.ndarray:
        chosen = np.full(len(rows), order[step] if step < min(most, len(order)) else read.shape[1])
        if step == 0:
            return chosen
        known, texts = scenes.numbers[rows, :, 0], scenes.agreement[rows]
        place, count = answers(known, texts, read), np.arange(len(rows))
        others = read & (np.arange(read.shape[1]) != place[:, None])
        best = np.where(others, texts[count, place], 0).max(axis=1)
        done = (known[count, place] >= sure) | (best >= agreed) | (read.sum(axis=1) < step)
        return np.where(done, read.shape[1], chosen)

    return choose


def planned(policy: ReadPolicy, price: float, steps: int) -> Choose:
    """The greedy choices of a policy, of scores or of values, at a price."""
    @torch.no_grad()
    def choose(scenes: ReadScenes, rows: np.ndarray, read: np.ndarray, step: int) -> np.ndarray:
        found = [_scores(policy, scenes, part, read[part], 1 - step / steps, price) for part in _parts(rows)]
        return torch.cat(found).argmax(dim=1).numpy()

    return choose


def _scores(policy: ReadPolicy, scenes: ReadScenes, rows: np.ndarray, read: np.ndarray, left: float,
            price: float) -> Tensor:
    told = policy.preferences.encode({"price": price} if len(policy.preferences) else None, len(rows))
    allowed = np.concatenate([~read, np.ones((len(read), 1), bool)], axis=1).astype(np.float32)
    scores = policy({"look": torch.from_numpy(scenes.look[rows]), "readings": torch.from_numpy(scenes.seen(rows, read)),
                     "remaining": torch.full((len(rows), 1), left), "preference": told,
                     "action_mask": torch.from_numpy(allowed)[..., None, None]})
    if policy.learns_values and not len(policy.preferences):  # of gains, from which the price is taken here
        scores[:, :-1] -= price
    return scores


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, max(1, -(-len(rows) // _PART)))


@dataclass(frozen=True)
class States:
    """States of scenes that were read so far through some chains, and what each next one would gain.

    Attributes:
        seen: (M, look and readings).
        gain: (M, C), of the answer's accuracy; minus infinity for chains that were read.
    """

    seen: Tensor
    gain: Tensor

    @classmethod
    def of(cls, scenes: ReadScenes, rows: np.ndarray, read: np.ndarray) -> States:
        """Of scenes `rows` (M,), read through `read` (M, C)."""
        before = scenes.answer_accuracy(rows, read)
        gains = np.full(read.shape, -np.inf, np.float32)
        for place in range(read.shape[1]):
            after = read.copy()
            after[:, place] = True
            gains[:, place] = scenes.answer_accuracy(rows, after) - before
        gains[read] = -np.inf
        seen = np.concatenate([scenes.look[rows], scenes.seen(rows, read)], axis=1)
        return cls(torch.from_numpy(seen), torch.from_numpy(gains))

    @classmethod
    def join(cls, parts: Sequence[States]) -> States:
        """All of them."""
        return cls(torch.cat([part.seen for part in parts]), torch.cat([part.gain for part in parts]))


def random_states(scenes: ReadScenes, times: int, most: int, seed: int = 0) -> States:
    """States after 0 to `most` - 1 reads through random chains, `times` of each scene."""
    rng, rows = np.random.default_rng(seed), np.tile(np.arange(scenes.count), times)
    order = rng.random((len(rows), scenes.known.shape[1])).argsort(axis=1)
    read = order < rng.integers(0, most, (len(rows), 1))
    return States.join([States.of(scenes, part, read[places]) for part, places in zip(
        _parts(rows), _parts(np.arange(len(rows))), strict=True)])


def met_states(scenes: ReadScenes, choose: Choose, steps: int) -> States:
    """The states that a way to read meets before each of its reads."""
    rows, chains, parts = np.arange(scenes.count), scenes.known.shape[1], []
    read, going = np.zeros_like(scenes.known), np.ones(scenes.count, bool)
    for step in range(steps):
        parts.append(States.of(scenes, rows[going], read[going]))
        chosen = choose(scenes, rows, read, step)
        going = going & (chosen < chains)
        if not going.any():
            break
        read[rows[going], chosen[going]] = True
    return States.join(parts)


def gain_loss(scores: Tensor, gain: Tensor) -> Tensor:
    """Of regression: scores (M, C + 1) relative to stopping, gains (M, C)."""
    there = torch.isfinite(gain)
    return F.smooth_l1_loss((scores[:, :-1] - scores[:, -1:])[there], gain[there], beta=0.1)


def clone_loss(price: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Of cloning the oracle that knows each gain, and stops where none is above the price."""
    def loss(scores: Tensor, gain: Tensor) -> Tensor:
        best, place = gain.max(dim=1)
        return F.cross_entropy(scores, torch.where(best > price, place, gain.shape[1]))

    return loss


@torch.enable_grad()
def fit(names: Sequence[str], states: States, loss: Callable[[Tensor, Tensor], Tensor], *, seed: int, values: bool,
        updates: int = 1500, batch_size: int = 128, **network: Any) -> ReadPolicy:
    """A policy's network that learns what is known of states; it does not see the steps left.

    Args:
        names: of the chains.
        states: what is learned.
        loss: `gain_loss` or `clone_loss`.
        seed: of the weights and the batches.
        values: whether scores are gains.
        updates, batch_size: of Adam with a weight decay of 1e-3; the rate of 1e-3 falls to 0 along a cosine.
        network: arguments of `ReadPolicy`.
    """
    torch.manual_seed(seed)
    policy: ReadPolicy = MODELS.create("read_policy", tools=list(names), learns_values=values, **{**_HIDDEN, **network})
    policy.standardize(states.seen)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    policy.train()
    for _ in range(updates):
        rows = torch.randint(len(states.seen), (batch_size,), generator=generator)
        left = torch.rand(batch_size, 1, generator=generator)
        optimizer.zero_grad()
        loss(policy({"spectrum": states.seen[rows], "remaining": left}), states.gain[rows]).backward()
        optimizer.step()
        schedule.step()
    return policy.eval()

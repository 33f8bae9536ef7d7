"""What policies over tools have to beat: regression of gains, cloned oracles, chains by estimated damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from research.toolchain_search import Chain, best_fixed_chains, best_own_chains, gains_of
from rlenhance.experiments.tasks.toolchain_data import Patches
from rlenhance.learning.models import MODELS, ToolchainPolicy, ToolPlanner
from rlenhance.learning.models.toolchain_policy import BlockSpectrum
from rlenhance.tools import Tool

_MOST_GAIN = 6.0  # dB: larger gains and losses count as this
_PART = 100  # patches on which tools are tried at once
_BINS = (4.0, 7.0)  # degrees between which estimated damage is weak, middle and strong
_FEWEST = 12  # patches of a bin that choose a chain of its own


@dataclass(frozen=True)
class States:
    """Pictures that chains pass through, and what is to be learned about each.

    Attributes:
        spectrum: (M, features, 1, 1), see `BlockSpectrum`.
        label: (M, K) gains in dB or degrees, or (M,) the next choice, K for stopping.
    """

    spectrum: Tensor
    label: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, image: Tensor, label: Tensor) -> States:
        """Of pictures (M, 3, H, W)."""
        spectrum = BlockSpectrum()
        return cls(torch.cat([spectrum(part) for part in image.split(_PART)]), label)

    @classmethod
    def join(cls, parts: Sequence[States]) -> States:
        """All of them."""
        return cls(torch.cat([part.spectrum for part in parts]), torch.cat([part.label for part in parts]))


@torch.no_grad()
def gain_states(tools: Sequence[Tool], patches: Patches, steps: int, seed: int = 0) -> States:
    """Every tool tried on the patches and on what chains of them leave: the gains of each.

    After each trial half of the patches go on with their best tool, and half with a random one.
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(image: Tensor, gains: Tensor) -> Tensor:
        other = torch.randint(len(tools), (len(image),), generator=generator)
        return torch.where(torch.rand(len(image), generator=generator) < 0.5, gains.argmax(dim=1), other)

    return _tried(tools, patches, steps, choose)


@torch.no_grad()
def chain_states(tools: Sequence[Tool], patches: Patches, steps: int, planner: ToolPlanner) -> States:
    """Every tool tried on the patches and on what the greedy chains of a planner leave: the gains of each."""
    return _tried(tools, patches, steps, lambda image, gains: planner({"image": image}).argmax(dim=1))


def _tried(tools: Sequence[Tool], patches: Patches, steps: int, choose: Callable[[Tensor, Tensor], Tensor]) -> States:
    """The gains in each picture of chains; `choose(image, gains)` has the next tool of each; their number stops."""
    parts = []
    for first in range(0, len(patches), _PART):
        image, target = patches.image[first : first + _PART], patches.target[first : first + _PART]
        for _ in range(steps):
            gains, results = gains_of(tools, image, target)
            parts.append(States.of(image, gains))
            chosen = choose(image, gains)
            going = (chosen < len(tools)).nonzero()[:, 0]
            image, target = results[going, chosen[going]], target[going]
            if not len(image):
                break
    return States.join(parts)


def oracle_states(tools: Sequence[Tool], patches: Patches, steps: int, width: int) -> States:
    """What the oracle does next in each picture that its chains pass through; stopping is the last choice."""
    found = best_own_chains(tools, patches.image, patches.target, steps, width)
    images, labels = [], []
    for picture, own in zip(patches.image, found, strict=True):
        chain, image = own[-1][0], picture[None]
        for place in chain:
            images.append(image)
            labels.append(place)
            image = tools[place].batch(image)
        if len(chain) < steps:
            images.append(image)
            labels.append(len(tools))
    return States.of(torch.cat(images), torch.tensor(labels))


def regression(scores: Tensor, label: Tensor) -> Tensor:
    """The loss of gains: scores (M, K + 1) of which the last is not learned, label (M, K)."""
    return F.smooth_l1_loss(scores[:, :-1], label.clamp(-_MOST_GAIN, _MOST_GAIN))


def cloning(scores: Tensor, label: Tensor) -> Tensor:
    """The loss of choices: scores (M, K + 1), label (M,)."""
    return F.cross_entropy(scores, label)


@torch.enable_grad()
def fit_planner(names: Sequence[str], states: States, loss: Callable[[Tensor, Tensor], Tensor], *, updates: int,
                seed: int, batch_size: int = 64, learning_rate: float = 1e-3, **network: Any) -> ToolchainPolicy:
    """A network of the policies' form and features that learns labels of states.

    Args:
        names: of its outputs: tools, or kinds of damage.
        states: what is learned.
        loss: `regression` or `cloning`.
        updates, batch_size, learning_rate: of Adam with a weight decay of 1e-3; the rate falls to 0 along a cosine.
        seed: of the weights and the batches.
        network: arguments of `ToolchainPolicy`.
    """
    torch.manual_seed(seed)
    planner: ToolchainPolicy = MODELS.create("toolchain_policy", tools=list(names), **network)
    planner.standardize_spectra(states.spectrum)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(planner.parameters(), lr=learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    spectra = (states.spectrum - planner.center) / planner.spread
    planner.train()
    for _ in range(updates):
        index = torch.randint(len(spectra), (batch_size,), generator=generator)
        optimizer.zero_grad()
        loss(planner({"spectrum": spectra[index]}), states.label[index]).backward()
        optimizer.step()
        schedule.step()
    return planner.eval()


@torch.no_grad()
def plan_chain(planner: ToolPlanner, tools: Sequence[Tool], image: Tensor, steps: int,
               price: float = 0.0) -> list[tuple[str, Tensor]]:
    """The greedy chain of a planner that sees pictures alone: names of the tools, and the picture after each.

    Args:
        planner: gives the scores of the tools, and that of stopping.
        tools: its tools, in its order.
        image: (1, 3, H, W).
        steps: the most tools in a chain.
        price: what a second per megapixel costs, in the unit of the scores.
    """
    costs = torch.tensor([*(tool.cost for tool in tools), 0.0])
    chain: list[tuple[str, Tensor]] = []
    for _ in range(steps):
        best = int((planner({"image": image})[0] - price * costs).argmax())
        if best == len(tools):
            break
        image = tools[best].batch(image)
        chain.append((tools[best].name, image))
    return chain


@dataclass
class DamageTable:
    """The best fixed chain for each estimated damage: weak, middle or strong blur, noise and JPEG, 27 bins.

    Attributes:
        estimator: predicts the three degrees.
        default: the chain of bins with few training patches.
        chains: of the others.
    """

    estimator: ToolchainPolicy
    default: Chain
    chains: dict[int, Chain] = field(default_factory=dict)

    @torch.no_grad()
    def bins(self, image: Tensor) -> Tensor:
        """The bin of each patch: (N,) int64 below 27."""
        degrees = torch.cat([self.estimator({"image": part})[:, :3] for part in image.split(_PART)])
        levels = torch.bucketize(degrees, torch.tensor(_BINS))
        return levels @ torch.tensor([9, 3, 1])

    def choose(self, image: Tensor) -> Chain:
        """The chain for one patch (1, 3, H, W)."""
        return self.chains.get(int(self.bins(image)), self.default)


def fit_table(tools: Sequence[Tool], patches: Patches, default: Chain, steps: int, *, updates: int, width: int,
              seed: int = 0) -> DamageTable:
    """Learn to estimate the damage, then search the best chain of each bin among its training patches."""
    degrees = patches.degrees[:, :3].float()
    estimator = fit_planner(("blur", "noise", "jpeg"), States.of(patches.image, degrees),
                            lambda scores, label: F.smooth_l1_loss(scores[:, :3], label), updates=updates, seed=seed)
    table = DamageTable(estimator, default)
    bins = table.bins(patches.image)
    for number in bins.unique().tolist():
        rows = bins == number
        if rows.sum() >= _FEWEST:
            found = best_fixed_chains(tools, patches.image[rows], patches.target[rows], steps, width)
            table.chains[number] = found.chains[-1]
    return table

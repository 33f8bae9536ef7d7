"""Chains of tools that are found by trying: the best for many patches, and with the reference the best for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.tools import Tool

#: Places of tools in their kit, in order.
Chain = tuple[int, ...]
_PART = 128  # patches that are searched at once


@dataclass(frozen=True)
class Found:
    """The best chain of each length up to a number of steps; the empty one is among them.

    Attributes:
        chains: by the most tools that a chain may have, 0 first.
        scores: mean PSNR in dB of each.
    """

    chains: tuple[Chain, ...]
    scores: tuple[float, ...]


def best_fixed_chains(tools: Sequence[Tool], image: Tensor, target: Tensor, steps: int, width: int = 4) -> Found:
    """The chains that are best for all patches in the mean, by beam search.

    A longer chain is taken only where it is better. Chains of up to two tools are searched exhaustively if the beam is
    as wide as there are tools.

    Args:
        tools: of the chains.
        image, target: (N, 3, H, W) in [0, 1].
        steps: the most tools in a chain.
        width: chains that are kept at each length.
    """
    beam: list[tuple[float, Chain]] = [(psnr(image, target).mean().item(), ())]
    best = beam[0]
    chains, scores = [best[1]], [best[0]]
    for _ in range(steps):
        tried = []
        for _, chain in beam:
            before = run_chain(tools, image, chain)
            tried += [(psnr(tool.batch(before), target).mean().item(), (*chain, place))
                      for place, tool in enumerate(tools)]
        beam = sorted(tried, reverse=True)[:width]
        best = max(best, beam[0], key=lambda entry: entry[0])
        chains.append(best[1])
        scores.append(best[0])
    return Found(tuple(chains), tuple(scores))


def run_chain(tools: Sequence[Tool], image: Tensor, chain: Chain) -> Tensor:
    """Pictures after a chain: (N, 3, H, W) -> (N, 3, H, W)."""
    for place in chain:
        image = tools[place].batch(image)
    return image


def best_own_chains(tools: Sequence[Tool], image: Tensor, target: Tensor, steps: int,
                    width: int) -> list[list[tuple[Chain, Tensor]]]:
    """The best chain of each patch and length, found with its reference: the oracle.

    Chains of up to n tools are searched exhaustively if the beam holds all chains of n - 1.

    Args:
        tools, image, target, steps: see `best_fixed_chains`.
        width: chains of a patch that are kept at each length.

    Returns:
        For each patch the best chain of at most 0, 1, ..., `steps` tools, with its result (3, H, W).
    """
    found: list[list[tuple[Chain, Tensor]]] = [[((), picture)] for picture in image]
    for first in range(0, len(image), _PART):
        part = slice(first, first + _PART)
        for own, more in zip(found[part], _search(tools, image[part], target[part], steps, width), strict=True):
            own += more
    return found


def _search(tools: Sequence[Tool], image: Tensor, target: Tensor, steps: int,
            width: int) -> list[list[tuple[Chain, Tensor]]]:
    count, kinds = len(image), len(tools)
    rows = torch.arange(count)
    best_image, best_score = image.clone(), psnr(image, target)
    best_chain: list[Chain] = [()] * count
    states, chains = image[:, None], [[()] for _ in range(count)]  # (N, W, 3, H, W), and their chains
    found: list[list[tuple[Chain, Tensor]]] = [[] for _ in range(count)]
    for _ in range(steps):
        beams = states.shape[1]
        flat = states.flatten(0, 1)
        results = torch.stack([tool.batch(flat) for tool in tools], dim=1).unflatten(0, (count, beams)).flatten(1, 2)
        wanted = target[:, None].expand_as(results).flatten(0, 1)
        scores = psnr(results.flatten(0, 1), wanted).view(count, beams * kinds)
        kept = scores.topk(min(width, beams * kinds), dim=1)
        states = results[rows[:, None], kept.indices]
        chains = [[(*own[place // kinds], place % kinds) for place in places]
                  for own, places in zip(chains, kept.indices.tolist(), strict=True)]
        better = kept.values[:, 0] > best_score
        best_score = torch.where(better, kept.values[:, 0], best_score)
        best_image = torch.where(better[:, None, None, None], states[:, 0], best_image)
        best_chain = [own[0] if won else old for own, won, old in zip(chains, better.tolist(), best_chain, strict=True)]
        for number in range(count):
            found[number].append((best_chain[number], best_image[number].clone()))
    return found


def gains_of(tools: Sequence[Tool], image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What each tool gains on each patch: dB (N, K), and the results (N, K, 3, H, W)."""
    results = torch.stack([tool.batch(image) for tool in tools], dim=1)
    wanted = target[:, None].expand_as(results)
    after = psnr(results.flatten(0, 1), wanted.flatten(0, 1)).view(results.shape[:2])
    return after - psnr(image, target)[:, None], results

"""`rlenhance restore` on held-out photographs whose damage is drawn: what is gained, and what good ones lose."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rlenhance.core.tiling import tiles
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.tasks.tool_gains import damaged, grey_of
from rlenhance.learning.data import ImageCache, MixedDamage, SimulatedCamera, as_jpeg, open_clean
from rlenhance.learning.data.examples import evenly_spread
from rlenhance.learning.data.mixed_damage import DAMAGES
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.pipelines.restore import PhotoRestorer, apply_tool
from rlenhance.pipelines.tool_choice import Budget
from rlenhance.tools import Tool, registered_tool

#: Lowest and highest degree of each damage by kind of photograph; "wide" is that of `MixedDamage`, "good JPEG" has a
#: quality of 95, a "simulated camera" is `SimulatedCamera`, and an "old grey photograph" has the same grain in all
#: channels.
KINDS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "clean": {}, "good JPEG": {}, "nearly clean": {"noise": (1, 1), "jpeg": (1, 1)}, "camera noise": {"sensor": (5, 9)},
    "old JPEG": {"jpeg": (4, 10)}, "blur": {"blur": (2, 5)}, "dark": {"dark": (4, 8), "sensor": (2, 6)},
    "blur, noise, JPEG": {"blur": (1, 5), "noise": (1, 5), "jpeg": (2, 8)}, "wide": {},
    "simulated camera": {}, "old grey photograph": {"blur": (1, 3), "noise": (2, 6), "jpeg": (3, 8)},
    "dark and blurred": {"dark": (4, 8), "sensor": (2, 6), "blur": (2, 4)},
}
_TILE = 160  # pixels along a tile that chooses its own chain

#: A way to repair a picture (H, W, 3) uint8: the result, and the names of the tools.
Way = Callable[[np.ndarray], tuple[np.ndarray, Sequence[str]]]


@dataclass(frozen=True)
class Config:
    """Measure `rlenhance restore` on whole held-out pictures: PSNR before and after by kind of damage, its change of
    clean pictures, its cost, and the ways to choose: once for the picture, by a vote, tile by tile."""

    data: tuple[Path, ...]
    """Folders of clean pictures, or of pairs whose references are clean."""
    model: str | None = None
    """A planner; default: the shipped one."""
    pictures: int = 12
    """Of each folder."""
    ways: tuple[str, ...] = ("normal",)
    """Of fast, normal, best, once (one patch in the middle), tiles (each its own chain), fixed (at most two tools, for
    the kind of damage), oracle (greedy, at most four tools)."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Kinds of damage."""
    part: str = "test"
    """Split that the pictures are of: val to choose by, test to report."""
    seed: int = 0
    """Of the damage."""
    out: Path | None = None
    """File for every number, as JSON."""


@dataclass(frozen=True)
class Pair:
    """A damaged picture (H, W, 3) uint8, the clean one (of a camera float32), and its name."""

    image: np.ndarray
    clean: np.ndarray
    name: str


def draw(kind: str, clean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 with the damage of a kind, and its reference (of a camera, half the size)."""
    if kind == "good JPEG":
        return as_jpeg(clean, 95), clean
    if kind == "simulated camera":
        return SimulatedCamera()(clean, rng)
    degrees = MixedDamage("wide").draw(1, rng)
    if kind != "wide":
        degrees = np.zeros_like(degrees)
        for name, (low, high) in KINDS[kind].items():
            degrees[0, DAMAGES.index(name)] = rng.integers(low, high + 1)
    if not degrees.any():
        return clean, clean
    grey = kind == "old grey photograph"
    target = grey_of(to_tensor(clean)) if grey else to_tensor(clean)
    image = damaged(target, degrees, rng, grey)
    return to_array(image, np.uint8), to_array(target, np.uint8) if grey else clean


def pairs_of(config: Config, kind: str, part: str) -> list[Pair]:
    """The damaged pictures of a kind; the same ones for the same seed."""
    rng, cache, found = np.random.default_rng((config.seed, list(KINDS).index(kind))), ImageCache(), []
    for folder in config.data:
        for example in evenly_spread(getattr(open_clean(folder), part), config.pictures):
            clean = cache.load(example.target or example.image)
            found.append(Pair(*draw(kind, clean, rng), example.scene))
    return found


def gain(result: np.ndarray, clean: np.ndarray) -> float:
    """PSNR in dB."""
    return psnr(to_tensor(result), to_tensor(clean)).item()


def by_tiles(restorer: PhotoRestorer, pixels: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
    """Each tile chooses its own chain; tiles overlap by a quarter, and are blended linearly."""
    total, weight, names = np.zeros(pixels.shape), np.zeros((*pixels.shape[:2], 1)), list[str]()
    for tile in tiles(pixels.shape[0], pixels.shape[1], _TILE, _TILE // 4):
        part = np.ascontiguousarray(pixels[tile.outer[1:]])
        result, decision = restorer._apply(part, None, None)  # type: ignore[arg-type]
        ramps = [np.minimum(np.arange(side) + 1, np.arange(side)[::-1] + 1).clip(max=_TILE // 2)
                 for side in part.shape[:2]]
        share = np.outer(*ramps)[..., None].astype(np.float64)
        total[tile.outer[1:]] += share * result
        weight[tile.outer[1:]] += share
        names += decision["chain"]
    return np.rint(total / weight).astype(np.uint8), names


def run_chain(chain: Sequence[Tool], pixels: np.ndarray) -> np.ndarray:
    """A picture after a chain of tools, rounded once."""
    picture = pixels.astype(np.float32) / 255
    for tool in chain:
        picture = apply_tool(tool, picture)
    return np.rint(255 * picture).astype(np.uint8)


def oracle(tools: Sequence[Tool], pixels: np.ndarray, clean: np.ndarray, steps: int) -> tuple[np.ndarray, list[str]]:
    """The greedy chain of a chooser who sees the clean picture."""
    best, names = pixels, list[str]()
    for _ in range(steps):
        results = {tool.name: run_chain([tool], best) for tool in tools}
        name = max(results, key=lambda each: gain(results[each], clean))
        if gain(results[name], clean) <= gain(best, clean):
            break
        best, names = results[name], [*names, name]
    return best, names


def best_pair(tools: Sequence[Tool], pairs: Sequence[Pair]) -> list[Tool]:
    """The fixed chain of at most two tools with the best mean PSNR, the second one chosen behind the best first."""
    chain: list[Tool] = []
    best = float(np.mean([gain(pair.image, pair.clean) for pair in pairs]))
    for _ in range(2):
        scores = {tool.name: float(np.mean([gain(run_chain([*chain, tool], pair.image), pair.clean) for pair in pairs]))
                  for tool in tools}
        name = max(scores, key=scores.__getitem__)
        if scores[name] <= best:
            break
        chain, best = [*chain, next(tool for tool in tools if tool.name == name)], scores[name]
    return chain


def make_way(name: str, config: Config, restorer: PhotoRestorer) -> Way:
    """A way by its name: a budget, once or tiles."""
    if name in ("fast", "normal", "best"):
        own = restorer.with_settings(budget=name)
        return lambda pixels: _result(own, pixels)
    if name == "once":
        once = _Once(config.model)
        return lambda pixels: _result(once, pixels)
    return lambda pixels: by_tiles(restorer, pixels)


def fixed_way(kind: str, config: Config, tools: Sequence[Tool]) -> Way:
    """The best fixed chain for a given kind of damage, chosen on the validation pictures."""
    chain = best_pair(tools, pairs_of(replace(config, pictures=max(1, config.pictures // 3)), kind, "val"))
    return lambda pixels: (run_chain(chain, pixels), [tool.name for tool in chain])


class _Once(PhotoRestorer):
    """Chooses by one patch in the middle."""

    @property
    def budget(self) -> Budget:
        """That of the settings, with one patch."""
        return replace(super().budget, patches=1)


def _result(restorer: PhotoRestorer, pixels: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
    result, decision = restorer._apply(pixels, None, None)  # type: ignore[arg-type]
    return result, decision["chain"]


def main(config: Config) -> dict[str, dict[str, dict[str, float]]]:
    """Print a table by kind and way; returns its numbers."""
    torch.set_num_threads(1)
    restorer = PhotoRestorer(config.model)
    table: dict[str, dict[str, dict[str, float]]] = {}
    ways = {name: make_way(name, config, restorer) for name in config.ways if name not in ("fixed", "oracle")}
    tools = [registered_tool(each) for each in restorer.network.tools]
    for kind in config.kinds:
        pairs = pairs_of(config, kind, config.part)
        before = [gain(pair.image, pair.clean) for pair in pairs]
        print(f"{kind}: {len(pairs)} pictures, PSNR {np.mean(before):.2f} dB")
        table[kind] = {"input": {"psnr": float(np.mean(before))}}
        if "fixed" in config.ways:
            ways["fixed"] = fixed_way(kind, config, tools)
        for name in config.ways:
            start, found, used = time.process_time(), [], Counter[str]()
            for pair in pairs:
                result, chain = oracle(tools, pair.image, pair.clean, 4) if name == "oracle" else ways[name](pair.image)
                used.update(chain)
                found.append(result)
            seconds = (time.process_time() - start) / sum(pair.image.shape[0] * pair.image.shape[1] / 1e6
                                                          for pair in pairs)
            table[kind][name] = row = summary(pairs, before, found) | {"seconds": seconds}
            print(f"  {name:8} {row['gain']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] dB, worst {row['worst']:+.2f}"
                  f", worse {row['worse']:.0%}, change {row['change']:.2f}/255, untouched {row['untouched']:.0%}, "
                  f"{seconds:.1f} s/MP  {dict(used.most_common(6))}", flush=True)
    if config.out:
        config.out.write_text(json.dumps(table, indent=1))
    return table


def summary(pairs: Sequence[Pair], before: Sequence[float], results: Sequence[np.ndarray]) -> dict[str, float]:
    """The numbers of one way: gain in dB with its interval, the worst, the share that lost more than 0.05 dB, the mean
    change in 255ths, and the share that was left as it is. Gains of clean pictures are 0: nothing can be gained."""
    clean = all(pair.image is pair.clean for pair in pairs)
    gains = [0.0 if clean else gain(result, pair.clean) - own for pair, own, result in zip(pairs, before, results,
                                                                                         strict=True)]
    change = [np.abs(result.astype(float) - pair.image).mean() for pair, result in zip(pairs, results, strict=True)]
    found = bootstrap_interval(gains, [pair.name for pair in pairs])
    return {"gain": found.mean, "low": found.low, "high": found.high, "worst": min(gains),
            "worse": float(np.mean([each < -0.05 for each in gains])), "change": float(np.mean(change)),
            "most": float(np.max(change)), "untouched": float(np.mean([each == 0 for each in change]))}


if __name__ == "__main__":
    raise SystemExit(run_cli(main, Config))

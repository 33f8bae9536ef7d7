"""What the white balance does to known casts: `python -m research.white_casts DIR`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import text_table
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import ImageCache, load_split, open_dataset
from rlenhance.learning.data.examples import evenly_spread
from rlenhance.learning.ops.image import to_array
from rlenhance.ops.white_balance import apply_gains, auto_gains, light_of_chroma

#: Casts: name -> the largest of their warmth and tint; each is drawn between a third of it and all of it.
CASTS: Mapping[str, tuple[float, float]] = {
    "green or magenta": (0.0, 0.3), "blue": (-0.8, 0.0), "warm": (0.8, 0.0), "lamp": (2.5, 0.0), "mixed": (0.6, 0.3)}
_BOTH_WAYS = ("green or magenta", "mixed")


def main(data: Annotated[Path, tyro.conf.Positional], split: str = "val", limit: int = 0, seed: int = 0,
         out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None) -> dict[str, Any]:
    """Measure `--white auto` by known casts, on one frame of each scene and its reference.

    Args:
        data: A folder of pairs.
        split: train, val or test.
        limit: Take that many, evenly spread (0: all).
        seed: Of the casts.
        out: Write the tables there too, as JSON.
    """
    splits = open_dataset(data)
    if not splits.parts.get(split) or not splits.has_references:
        raise UsageError(f"{splits.source}: no pairs in the split {split!r}")
    examples = evenly_spread(list(splits.parts[split]), limit)
    pictures = load_split(examples, ImageCache(0))
    tables: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    first = [pictures[number] for number, example in enumerate(examples)
             if example.scene not in {other.scene for other in examples[:number]}]
    for name, dark in (("dark frames", True), ("references", False)):
        shown = [to_array(batch.image if dark else batch.target) for batch in first]
        tables[f"{name} as they are"] = {"auto": change_of(shown)}
        tables[f"{name} with casts"] = cast_table(shown, rng)
    for name, rows in tables.items():
        print(f"\n{name}, {len(first)}\n{text_table(rows)}", flush=True)
    if out:
        write_atomically(out, json.dumps({"split": split, **tables}, indent=1).encode())
    return tables


def cast_table(pictures: list[np.ndarray], rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Known casts: cast -> mean angular error before and after, in degrees, and percent of corrections that are larger
    than the cast."""
    table = {}
    for name, largest in CASTS.items():
        rows = []
        for picture in pictures:
            share = rng.uniform(1 / 3, 1) * (rng.choice([-1, 1]) if name in _BOTH_WAYS else 1)
            light = light_of_chroma(*(share * np.array(largest)))
            gains = auto_gains(under(picture, light))
            rows.append((angle(light), angle(light * gains), float(angle(gains) > angle(light) + 0.1)))
        before, after, beyond = np.mean(rows, axis=0)
        table[name] = {"before": before, "after": after, "too much, %": 100 * beyond}
    return table


def change_of(pictures: list[np.ndarray]) -> dict[str, float]:
    """The change of pictures without a known cast, of their gains in degrees and of their pixels in 255ths."""
    gains = [auto_gains(picture) for picture in pictures]
    degrees = [angle(found) for found in gains]
    levels = [np.abs(apply_gains(picture, found).astype(float) - picture).mean()
              for picture, found in zip(pictures, gains, strict=True)]
    return {"degrees": float(np.mean(degrees)), "90th percentile": float(np.quantile(degrees, 0.9)),
            "largest": max(degrees), "255ths": float(np.mean(levels)), "changed, %": 100 * float(np.mean(
                np.array(degrees) > 0.01))}


def under(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 in another light (3,), whose brighter channels clip."""
    encoded = srgb_from_linear((linear_from_srgb(picture / 255.0) * light).clip(0, 1))
    return np.rint(255 * encoded.clip(0, 1)).astype(np.uint8)


def angle(light: np.ndarray) -> float:
    """Degrees between a light or gains (3,) and grey."""
    return float(np.degrees(np.arccos(min(1.0, light.sum() / np.linalg.norm(light) / 3**0.5))))


if __name__ == "__main__":
    sys.exit(run_cli(main))

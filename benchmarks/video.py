"""Does a clip flicker? Mean brightness of a synthetic clip over time: `python -m benchmarks.video CHART.png`.

A sample photograph, dark and with new noise in every frame; a lamp is carried through it; then a light goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rlenhance import Enhancer
from rlenhance.io.samples import sample_path
from rlenhance.learning.data import ImageCache
from rlenhance.pipelines.temporal_smoothing import AHEAD, TemporalSmoother

_RATE, _FRAMES, _SIZE, _NOISE = 25, 60, (160, 112), 5.0


def frames() -> Iterator[np.ndarray]:
    """The clip: 20 frames of rest, 20 with the lamp, 20 with the light."""
    rng = np.random.default_rng(0)
    good = cv2.resize(ImageCache().load(sample_path("astronaut")), _SIZE, interpolation=cv2.INTER_AREA) / 255
    scene = (good**2.2 / 6) ** (1 / 2.2) * 255
    rows, columns = np.mgrid[: _SIZE[1], : _SIZE[0]]
    for number in range(_FRAMES):
        picture = scene * (2.0 if number >= 40 else 1.0)
        if 20 <= number < 40:
            away = (columns - _SIZE[0] * (number - 20) / 20) ** 2 + (rows - 40) ** 2
            picture = picture + 200 * np.exp(-away / 150)[..., None]
        yield np.clip(np.rint(picture + rng.normal(0, _NOISE, picture.shape)), 0, 255).astype(np.uint8)


def traces() -> dict[str, list[float]]:
    """Mean value of every frame: of the clip, decided frame by frame, and smoothed."""
    enhancer, clip = Enhancer(), list(frames())
    steady: Any = TemporalSmoother(
        lambda frame: (frame[0] / _RATE, cv2.resize(np.asarray(frame[1].mean(axis=2) / 255), (16, 16))),
        lambda frame: enhancer.decide(frame[1]))
    return {"the clip": [frame.mean() for frame in clip], "decided frame by frame": [enhancer(f).mean() for f in clip],
            "smoothed": [enhancer.with_decision(decision)(frame[1]).mean()
                         for frame, decision in steady(enumerate(clip))]}


def main(place: Path) -> None:
    """Draw the chart, and print the jitter divided by the gain, of the frames whose decision sees nothing but rest."""
    from matplotlib.figure import Figure

    found = traces()
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in found.items():
        axes.plot(np.arange(_FRAMES) / _RATE, values, label=name, linewidth=1.2)
        rest = np.array(values[: 20 - AHEAD])
        print(f"{name}: {np.diff(rest).std() / (rest.mean() / np.mean(found['the clip'][: 20 - AHEAD])):.4f}")
    for start, what in ((0, "at rest"), (20, "a lamp passes"), (40, "a light goes on")):
        axes.axvline(start / _RATE, color="0.8", linewidth=0.8)
        axes.annotate(what, (start / _RATE + 0.02, 4), fontsize=8, color="0.3")
    axes.set(xlabel="seconds", ylabel="mean of the 8-bit values", ylim=(0, None))
    axes.legend(fontsize=8, loc="center left")
    figure.savefig(place, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the chart: python -m benchmarks.video CHART.png")
    main(Path(sys.argv[1]))

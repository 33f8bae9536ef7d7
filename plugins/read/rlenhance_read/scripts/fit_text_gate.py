"""Fit how readings of text are told from readings of none:
`python -m rlenhance_read.scripts.fit_text_gate --photos DIR`.

It prints the entry of `rlenhance_read.ocr.text_gate.GATES`, and how often it errs on each split.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.config import one_of
from rlenhance.io import read
from rlenhance.io.discovery import find_photos
from rlenhance_read.learning.rendered_text import SIZE, RenderedText, find_fonts
from rlenhance_read.ocr.engines import ENGINES
from rlenhance_read.ocr.readings import Reading, character_accuracy
from rlenhance_read.ocr.text_gate import GATE_NUMBERS, TextGate, gate_numbers
from rlenhance_read.reader import PhotoReader

_SHARES = {"train": 5, "val": 2, "test": 3}  # of the photographs, in tenths


@dataclass(frozen=True)
class GateConfig:
    """Fit the gate of an engine on scenes with text and on photographs without."""

    photos: tuple[Path, ...]
    """Folders of photographs without text; files whose names agree up to the first "_" are in one split."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """The engine."""
    scenes: int = 200
    """Rendered scenes with text, of each split."""
    count: int = 400
    """Photographs, of all splits together; every second one is cut to a strip as large as a scene."""
    silenced: float = 0.01
    """Share of the validation scenes that were read at least half right of which the threshold may silence so many."""
    cache: Path = Path("runs/text_gate")
    """Folder where readings are kept."""


@dataclass(frozen=True)
class Sample:
    """What was read in a picture.

    Attributes:
        split: train, val or test.
        truth: what is written there; None in a photograph without text.
        readings: all of them.
        chosen: the number of the answer.
    """

    split: str
    truth: str | None
    readings: tuple[Reading, ...]
    chosen: int

    @property
    def accuracy(self) -> float:
        """Of the answer; 0 without text."""
        return 0.0 if self.truth is None else character_accuracy(self.readings[self.chosen].text, self.truth)


def pictures(config: GateConfig) -> Iterator[tuple[str, str, str | None, np.ndarray]]:
    """Names, splits, true texts and pictures (H, W, 3) uint8."""
    for split in _SHARES:
        scenes = RenderedText(split, find_fonts())
        for number in range(config.scenes):
            scene = scenes[number]
            yield scene.name, split, scene.text, scene.picture
    folders = [[photo.path for photo in find_photos([str(folder)])] for folder in config.photos]
    if not all(folders):
        raise UsageError("--photos has a folder without photographs")
    for number in range(config.count):
        files, place = folders[number % len(folders)], number // len(folders)
        path = files[place * 7919 % len(files)]
        tenth = hashlib.blake2b(path.stem.split("_")[0].encode(), digest_size=4).digest()[0] % 10
        split = "train" if tenth < _SHARES["train"] else "val" if tenth < 10 - _SHARES["test"] else "test"
        picture = np.ascontiguousarray(read(path).visible_pixels)
        yield f"{path.parent.name}/{path.name} {number % 2}", split, None, _strip(picture) if number % 2 else picture


def _strip(picture: np.ndarray) -> np.ndarray:
    """The middle of a photograph as large as a scene."""
    height = min(picture.shape[0], picture.shape[1] * SIZE[0] // SIZE[1])
    top = (picture.shape[0] - height) // 2
    return cv2.resize(picture[top : top + height], SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def samples(config: GateConfig) -> list[Sample]:
    """All pictures read as `rlenhance read` reads them; what the folder knows is not read again."""
    reader = PhotoReader(config.engine, gate=False)
    path = config.cache / f"{config.engine}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {row["name"]: row for row in map(json.loads, path.read_text().splitlines())} if path.is_file() else {}
    found = []
    with open(path, "a") as file:
        for name, split, truth, picture in tqdm(pictures(config), total=3 * config.scenes + config.count, leave=False):
            if name not in known:
                result = reader(picture)
                chosen = next(place for place, (chain, _) in enumerate(result.attempts) if chain == result.chain)
                known[name] = {"name": name, "chosen": chosen,
                               "readings": [reading.to_json() for _, reading in result.attempts]}
                file.write(json.dumps(known[name]) + "\n")
                file.flush()
            row = known[name]
            found.append(Sample(split, truth, tuple(map(Reading.from_json, row["readings"])), row["chosen"]))
    return found


def fit(found: Sequence[Sample], silenced: float) -> TextGate:
    """The gate of what was read: weights of the training samples, the threshold of the validation samples.

    Readings without words are told by themselves, and those of text that are wrong for the most part are not learned.
    """
    def part(split: str) -> list[Sample]:
        return [each for each in found if each.split == split and each.readings[each.chosen].words
                and (each.truth is None or each.accuracy >= 0.5)]

    train = part("train")
    seen = np.stack([gate_numbers(each.readings, each.chosen) for each in train])
    spread = seen.std(axis=0) + 1e-3
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
    model.fit(seen / spread, [each.truth is not None for each in train])
    weights = tuple(round(float(weight), 3) for weight in model.coef_[0] / spread)
    gate = TextGate(weights, round(float(model.intercept_[0]), 3), 0.0)
    text = [gate(each.readings, each.chosen) for each in part("val") if each.truth is not None]
    return TextGate(gate.weights, gate.bias, round(float(np.quantile(text, silenced, method="lower")), 3))


def measure(gate: TextGate, found: Sequence[Sample], split: str) -> dict[str, float]:
    """What the gate does on a split: shares of samples, and the mean accuracy without and with it."""
    text = [each for each in found if each.split == split and each.truth is not None]
    none = [each for each in found if each.split == split and each.truth is None]
    good = [each for each in text if each.accuracy >= 0.5]
    silent = {id(each): gate(each.readings, each.chosen) < gate.threshold or not each.readings[each.chosen].words
              for each in [*text, *none]}

    def share(part: Sequence[Sample]) -> float:
        return float(np.mean([silent[id(each)] for each in part])) if part else float("nan")

    return {"scenes": len(text), "silenced": share(text), "read half right": len(good),
            "of these silenced": share(good),
            "accuracy": float(np.mean([each.accuracy for each in text])),
            "accuracy with the gate": float(np.mean([0 if silent[id(each)] else each.accuracy for each in text])),
            "photographs": len(none), "silent": share(none),
            "silent without the gate": float(np.mean([not each.readings[each.chosen].words for each in none]))}


def main(config: GateConfig) -> TextGate:
    """Fit and measure."""
    found = samples(config)
    gate = fit(found, config.silenced)
    print(f"{config.engine!r}: {gate},\n" + ", ".join(
        f"{name} {weight:+g}" for name, weight in zip(GATE_NUMBERS, gate.weights, strict=True)))
    for split in _SHARES:
        print(split, ", ".join(f"{name} {value:.4g}" for name, value in measure(gate, found, split).items()))
    return gate


if __name__ == "__main__":
    sys.exit(run_cli(main, GateConfig))

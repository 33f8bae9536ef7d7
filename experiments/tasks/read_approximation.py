"""A control: a network that prepares pictures, trained through a network that imitates the engine.

No gradient passes an OCR engine. A second network, the approximator, learns what the engine reads in jittered pictures,
and the first one is trained through it, in turn with it.
"""

from __future__ import annotations

import csv
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from experiments.core.config import default_is, one_of
from experiments.tasks.read_approximation_networks import (
    Approximator,
    Preprocessor,
    cut_lines,
    planes_of,
    reading_loss,
)
from rlenhance.core.errors import UsageError, one_line
from rlenhance.data.rendered_text import RenderedText, Scene, find_fonts
from rlenhance.ocr.engines import ENGINES, Engine, engine_of
from rlenhance.ocr.filters import apply_filters, dark_on_light, grey_of, skew_of, turned, turning
from rlenhance.ocr.readings import Reading, character_accuracy

#: What the network may begin as: this chain imitated by regression, or random weights.
IMITATED = ("smooth", "tophat")
#: Ways in which the lines are prepared that the approximator learns from at first.
_FIRST = ((), ("smooth", "tophat"), ("soften", "tophat"), ("smooth", "flatten"), ("smooth-strong", "tophat"))
_BORDER = 8  # white pixels around a line that is read
_AROUND, _LEAST = 4, 12  # pixels beside a word that is cut out, and of the narrowest


@dataclass(frozen=True)
class ApproximateConfig:
    """Train a network that prepares pictures of text, through an approximation of the engine."""

    out: Path = Path("runs/read_approximate/run")
    """The folder of the run."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """The engine."""
    start: str = "chain"
    """The beginning: `chain` (`smooth > tophat` imitated), `random` (as in the paper), or a run's folder."""
    scenes: int = 1200
    """Training scenes."""
    val_scenes: int = 100
    """Validation scenes, read by the engine itself; the best of all validations is kept."""
    batch_size: int = 8
    """Scenes of a step."""
    minutes: float = 40.0
    """Of processor time, for the steps in turn; the best network so far is always there."""
    updates: Annotated[int | None, default_is("as many as --minutes allows", "INT")] = None
    """Steps in turn."""
    jitters: int = 2
    """Jittered copies of each line that the engine reads in a step."""
    jitter: float = 0.05
    """Largest standard deviation of the noise in them, of white."""
    white: float = 1.0
    """Weight of the mean squared distance from a white picture."""
    rate: float = 3e-4
    """Adam's rate for the network."""
    approximator_rate: float = 3e-4
    """Adam's rate for the approximator."""
    readings: int = 3
    """Readings of each training line that the approximator learns from at first."""
    first_minutes: float = 8.0
    """Of processor time, for that learning."""
    imitation_updates: int = 400
    """Steps of the imitation."""
    width: int = 12
    """Channels of the network at its full size."""
    eval_interval: int = 100
    """Steps between validations."""
    seed: int = 0
    """Of weights, batches and noise."""


@dataclass(frozen=True)
class Page:
    """A scene, turned and dark on light as by `deskew > dark-on-light`, and where its lines are then.

    Attributes:
        grey: (H, W) uint8.
        planes: (2, H, W) uint8, what the network sees: the picture stretched, and evened out.
        corners: (L, 4, 2) float32, of the lines; see `rlenhance.data.rendered_text.Line`.
        texts: of the lines.
        text: of the scene.
    """

    grey: np.ndarray
    planes: np.ndarray
    corners: np.ndarray
    texts: tuple[str, ...]
    text: str

    @classmethod
    def of(cls, scene: Scene) -> Page:
        """The page of a scene."""
        grey = grey_of(scene.picture)
        angle = skew_of(grey)
        corners = np.stack([line.corners for line in scene.lines])
        if angle:
            matrix = turning(grey.shape[0], grey.shape[1], angle).astype(np.float32)
            grey, corners = turned(grey, angle, None), corners @ matrix[:, :2].T + matrix[:, 2]
        grey = dark_on_light(grey)
        return cls(grey, planes_of(grey), corners, tuple(line.text for line in scene.lines), scene.text)


def engine_readings(engine: Engine, lines: Tensor) -> list[Reading]:
    """What the engine reads in lines (N, 1, 40, W) in [0, 1]; boxes are those of the lines with a white border."""
    pictures = (255 * lines[:, 0].clip(0, 1)).round().byte().numpy()
    return [engine.read(cv2.copyMakeBorder(picture, *(_BORDER,) * 4, cv2.BORDER_CONSTANT, value=255), "block")
            for picture in pictures]


def words_of(line: Tensor, reading: Reading) -> list[tuple[Tensor, str]]:
    """The words that were read in a line (1, 40, W) of uint8, cut out."""
    found = []
    for word in reading.words:
        left = max(0, word.box[0] - _BORDER - _AROUND)
        width = min(line.shape[-1] - left, word.box[2] + 2 * _AROUND) // 4 * 4
        if width >= _LEAST:
            found.append((line[:, :, left : left + width].clone(), word.text))
    return found


class Approximation:
    """Both networks and their training.

    Args:
        config: the settings.
        engine: reads.
        pages: to learn on.
        val: to validate.
        progress: draw bars.

    Source: Randika et al. 2021, Unknown-box approximation to improve OCR performance (arXiv 2105.07983), algorithm 1.
    We depart in size and budget (minutes of one core for hours of a GPU), in what stands before the network (`deskew`
    and `dark-on-light`, which need no gradient), in lines that are cut upright from whole scenes, and with `start`
    "chain" in where it begins.
    """

    def __init__(self, config: ApproximateConfig, engine: Engine, pages: Sequence[Page], val: Sequence[Page],
                 progress: bool = True):
        torch.manual_seed(config.seed)
        self.config, self.engine, self.pages, self.val, self.progress = config, engine, pages, val, progress
        layout = torch.channels_last  # twice as fast on a CPU
        given = config.start not in ("chain", "random")
        begun: Any = load_preprocessor(Path(config.start)) if given else Preprocessor(config.width)
        reader: Any = Approximator()
        self.network: Preprocessor = begun.to(memory_format=layout)
        self.approximator: Approximator = reader.to(memory_format=layout)
        self.rng, self.reads = np.random.default_rng(config.seed), 0
        self._adam = [torch.optim.Adam(self.network.parameters(), config.rate),
                      torch.optim.Adam(self.approximator.parameters(), config.approximator_rate)]
        self._first = torch.optim.Adam(self.approximator.parameters(), 2e-3)

    def first_lessons(self) -> float:
        """The approximator learns what the engine reads in lines that filters have prepared, word by word and then line
        by line; the last loss."""
        lines, words = list[tuple[Tensor, str]](), list[tuple[Tensor, str]]()
        for page in tqdm(self.pages, "first readings", disable=not self.progress, leave=False):
            for way in self.rng.choice(len(_FIRST), self.config.readings, replace=False):
                made = torch.from_numpy(apply_filters(page.grey, _FIRST[way]))[None, None] / 255
                cut = cut_lines(made, [page.corners])
                for line, reading in zip((255 * cut).byte(), self._read(cut), strict=True):
                    lines.append((line, reading.text))
                    words += words_of(line, reading)
        loss, minutes = 0.0, self.config.first_minutes
        for samples, share in ((words, 0.7), (lines, 0.3)):
            loss = self._learn_samples(samples, 60 * minutes * share)
            print(f"the approximator's loss {loss:.3f} on {len(samples)} samples", flush=True)
        return loss

    def _learn_samples(self, samples: Sequence[tuple[Tensor, str]], seconds: float) -> float:
        """Learn pictures (1, 40, W) of uint8 and their texts for so long; the mean loss of the last batches."""
        until, losses = time.process_time() + seconds, deque[float](maxlen=20)
        self.approximator.train()
        order = np.argsort([picture.shape[-1] for picture, _ in samples], kind="stable")  # so that little is padded
        batches = np.array_split(order, max(1, len(order) // 32))
        while time.process_time() < until:
            rows = batches[self.rng.integers(len(batches))]
            widest = max(samples[row][0].shape[-1] for row in rows)
            batch = torch.stack([F.pad(samples[row][0], (0, widest - samples[row][0].shape[-1]), value=255)
                                 for row in rows])
            loss = reading_loss(self.approximator(batch / 255), [samples[row][1] for row in rows])
            _step(self._first, loss)
            losses.append(loss.item())
        return float(np.mean(losses)) if losses else 0.0

    def imitate(self) -> float:
        """The network learns to do what the filters `IMITATED` do; the last mean distance."""
        adam, loss = torch.optim.Adam(self.network.parameters(), 2e-3), torch.zeros(())
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, self.config.imitation_updates))
        for _ in tqdm(range(self.config.imitation_updates), "imitation", disable=not self.progress, leave=False):
            pages = self._draw()
            target = np.stack([apply_filters(page.grey, IMITATED) for page in pages])
            loss = F.l1_loss(self._made(pages)[:, 0], torch.from_numpy(target) / 255)
            _step(adam, loss)
            rates.step()
        return loss.item()

    def steps(self) -> Iterator[dict[str, float]]:
        """Train both in turn; the losses of each step."""
        while True:
            pages = self._draw()
            corners, truth = [page.corners for page in pages], [text for page in pages for text in page.texts]
            yield {"imitation": self.teach(cut_lines(self._made(pages).detach(), corners)),
                   **self.learn(pages, corners, truth)}

    def teach(self, lines: Tensor) -> float:
        """One step of the approximator, on what the engine reads in jittered lines; its loss."""
        self.approximator.train()
        total = torch.zeros(())
        for _ in range(self.config.jitters):
            strength = self.config.jitter * self.rng.integers(0, 6) / 5
            jittered = (lines + strength * torch.randn_like(lines)).clip(0, 1)
            texts = [reading.text for reading in self._read(jittered)]
            total = total + reading_loss(self.approximator(jittered), texts)
        _step(self._adam[1], total / self.config.jitters)
        return total.item() / self.config.jitters

    def learn(self, pages: Sequence[Page], corners: Sequence[np.ndarray], truth: Sequence[str]) -> dict[str, float]:
        """One step of the network, through the approximator as it is; its losses."""
        self.network.train()
        self.approximator.eval()
        made = self._made(pages)
        reading = reading_loss(self.approximator(cut_lines(made, corners)), truth)
        white = F.mse_loss(made, torch.ones_like(made))
        _step(self._adam[0], reading + self.config.white * white)
        return {"reading": reading.item(), "white": white.item()}

    def accuracy(self, pages: Sequence[Page]) -> np.ndarray:
        """Character accuracy of the engine on pages that the network has prepared, each read once and whole."""
        self.network.eval()
        return np.array([character_accuracy(self.engine.read(self.network.prepare(page.grey), "block").text, page.text)
                         for page in pages])

    def _draw(self) -> list[Page]:
        return [self.pages[row] for row in self.rng.integers(len(self.pages), size=self.config.batch_size)]

    def _made(self, pages: Sequence[Page]) -> Tensor:
        planes = torch.from_numpy(np.stack([page.planes for page in pages])) / 255
        found: Tensor = self.network(planes.contiguous(memory_format=torch.channels_last))
        return found

    def _read(self, lines: Tensor) -> list[Reading]:
        self.reads += len(lines)
        return engine_readings(self.engine, lines)


def _step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], 5.0)
    adam.step()


def load_preprocessor(folder: Path) -> Preprocessor:
    """The network of a run.

    Raises:
        UsageError: there is none.
    """
    try:
        width = json.loads((folder / "config.json").read_text())["width"]
        network = Preprocessor(int(width))
        network.load_state_dict(load_file(folder / "preprocessor.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"{folder}: no run of experiments.read_approximate ({one_line(error)})") from error
    return network.eval()


def approximate(config: ApproximateConfig) -> dict[str, Any]:
    """Train, and write preprocessor.safetensors (the best on validation scenes), config.json and metrics.csv."""
    fonts = find_fonts()
    pages, val = ([Page.of(scenes[number]) for number in tqdm(range(count), "scenes", leave=False)]
                  for scenes, count in ((RenderedText("train", fonts), config.scenes),
                                        (RenderedText("val", fonts), config.val_scenes)))
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(json.dumps({name: str(value) if isinstance(value, Path) else value
                                                        for name, value in asdict(config).items()}, indent=2))
    run, begun = Approximation(config, engine_of(config.engine), pages, val), time.process_time()
    best: dict[str, Any] = {"val": -1.0}
    first = {"first_loss": run.first_lessons(), "imitation_loss": run.imitate() if config.start == "chain" else 0.0}
    print(f"{time.process_time() - begun:.0f} s: the approximator's first loss {first['first_loss']:.3f}, imitation "
          f"{first['imitation_loss']:.4f}, {run.reads} lines read", flush=True)
    until, steps = time.process_time() + 60 * config.minutes, run.steps()
    with open(config.out / "metrics.csv", "w", newline="") as file:
        table, step = csv.writer(file), 0
        table.writerow(["step", "seconds", "reads", "val", "imitation", "reading", "white"])
        recent: list[dict[str, float]] = []
        while True:
            done = step >= config.updates if config.updates is not None else time.process_time() > until
            if step % config.eval_interval == 0 or done:
                score = float(run.accuracy(val).mean())
                means = {name: float(np.mean([each[name] for each in recent])) for name in (recent or [{}])[0]}
                row = [step, round(time.process_time() - begun), run.reads, round(score, 4),
                       *(round(value, 4) for value in means.values())]
                table.writerow(row)
                file.flush()
                print(*row, flush=True)
                recent = []
                if score > best["val"]:
                    best = {"val": score, "step": step}
                    weights = {name: weight.contiguous() for name, weight in run.network.state_dict().items()}
                    save_file(weights, config.out / "preprocessor.safetensors")
            if done:
                break
            recent.append(next(steps))
            step += 1
    result = {**best, **first, "steps": step, "reads": run.reads, "seconds": round(time.process_time() - begun)}
    (config.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"best on {len(val)} validation scenes: {best['val']:.3f} after {best['step']} of {step} steps and "
          f"{run.reads} lines read; result in {config.out}")
    return result

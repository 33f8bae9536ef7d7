"""A control: a network that prepares pictures, trained through a network that imitates the engine.

No gradient passes an OCR engine. A second network, the approximator, learns what the engine reads in jittered pictures,
and the first one is trained through it, in turn with it.
"""

from __future__ import annotations

import csv
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from rlenhance.core.errors import UsageError, one_line
from rlenhance.experiments.core.config import default_is, one_of
from rlenhance.experiments.tasks.read_approximation_lines import (
    CleanLines,
    Page,
    Sample,
    character_error_rate,
    drawn,
    read_samples,
    right_pairs,
    stacked,
)
from rlenhance.experiments.tasks.read_approximation_networks import (
    Approximator,
    Preprocessor,
    cut_lines,
    read_lines,
    reading_loss,
)
from rlenhance.learning.data.rendered_text import RenderedText, find_fonts
from rlenhance.ocr.engines import ENGINES, Engine, engine_of
from rlenhance.ocr.filters import apply_filters
from rlenhance.ocr.readings import character_accuracy

#: What the network may begin as: this chain imitated by regression, or random weights.
IMITATED = ("smooth", "tophat")
#: Ways in which the lines are prepared that the approximator learns from at first.
_FIRST = ((), ("smooth", "tophat"), ("soften", "tophat"), ("smooth", "flatten"), ("smooth-strong", "tophat"))
#: Lessons of the approximator: characters of the longest clean line, share of batches that the engine has read, share
#: of the time. Words come first: on lines alone it goes on writing nothing.
_LESSONS = ((8, 0.0, 0.25), (30, 0.5, 0.75))
_CLEAN = 8000  # clean lines of each length
_MEMORY = 6000  # lines that were read last, of which the approximator learns again


@dataclass(frozen=True)
class ApproximateConfig:
    """Train a network that prepares pictures of text, through an approximation of the engine."""

    out: Path = Path("runs/read_approximate/run")
    """The folder of the run."""
    engine: Annotated[str, one_of(ENGINES)] = "tesseract"
    """The engine."""
    start: str = "chain"
    """The beginning: `chain` (`smooth > tophat` imitated), `random` (as in the paper), or a run's folder, whose
    networks go on without their first lessons."""
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
    jitters: int = 1
    """Jittered copies of each line that the engine reads in a step."""
    jitter: float = 0.05
    """Largest standard deviation of the noise in them, of white."""
    white: float = 1.0
    """Weight of the mean squared distance from a white picture."""
    rate: float = 5e-4
    """Adam's rate for the network; both fall to a twentieth in the last two thirds."""
    approximator_rate: float = 5e-4
    """Adam's rate for the approximator."""
    readings: int = 3
    """Readings of each training line that the approximator learns from at first."""
    first_minutes: float = 10.0
    """Of processor time, for that learning."""
    imitation_updates: int = 300
    """Steps of the imitation."""
    width: int = 12
    """Channels of the network at its full size."""
    eval_interval: int = 200
    """Steps between validations."""
    precision: str = "32"
    """32, or bf16: on a CPU that has it, a step takes half as long."""
    seed: int = 0
    """Of weights, batches and noise."""


class Approximation:
    """Both networks and their training.

    Args:
        config: the settings.
        engine: reads.
        pages: to learn on.
        val: to validate.
        clean: draws clean lines.
        progress: draw bars.

    Raises:
        UsageError: another precision, or no run where `start` names one.

    Source: Randika et al. 2021, Unknown-box approximation to improve OCR performance (arXiv 2105.07983), algorithm 1.
    We depart in size and budget (an hour of one core for hours of a GPU), in what stands before the network (`deskew`
    and `dark-on-light`, which need no gradient), in lines that are cut upright from whole scenes, in what the
    approximator learns first (clean words, which cost no reading), in lines that it learns again from memory, and with
    `start` "chain" in where the network begins.
    """

    def __init__(self, config: ApproximateConfig, engine: Engine, pages: Sequence[Page], val: Sequence[Page],
                 clean: CleanLines, progress: bool = True):
        if config.precision not in ("32", "bf16"):
            raise UsageError(f"--precision is 32 or bf16; got {config.precision}")
        torch.manual_seed(config.seed)
        self.config, self.engine, self.pages, self.val, self.progress = config, engine, pages, val, progress
        layout = torch.channels_last  # twice as fast on a CPU
        self.resumed = config.start not in ("chain", "random")
        begun: Any = load_preprocessor(Path(config.start), "last") if self.resumed else Preprocessor(config.width)
        reader: Any = _load_approximator(Path(config.start)) if self.resumed else Approximator()
        self.network: Preprocessor = begun.to(memory_format=layout)
        self.approximator: Approximator = reader.to(memory_format=layout)
        self.rng, self.reads, self.clean = np.random.default_rng(config.seed), 0, clean
        self.memory = deque[Sample](maxlen=_MEMORY)
        self._adam = [torch.optim.Adam(self.network.parameters(), config.rate),
                      torch.optim.Adam(self.approximator.parameters(), config.approximator_rate)]

    def first_lessons(self) -> float:
        """The approximator learns clean words, then clean lines and what the engine reads in lines that filters have
        prepared; the last loss."""
        read = [sample for page in tqdm(self.pages, "first readings", disable=not self.progress, leave=False)
                for samples in self._prepared(page, self.rng, self.config.readings) for sample in samples]
        self.memory.extend(read)
        adam, loss = torch.optim.Adam(self.approximator.parameters(), 2e-3), 0.0
        for longest, engine_share, time_share in _LESSONS:
            seconds = 60 * self.config.first_minutes * time_share
            if seconds:
                loss = self._lesson(adam, self.clean.draw(_CLEAN, longest), read, engine_share, seconds)
        return loss

    def _prepared(self, page: Page, rng: np.random.Generator, count: int) -> list[list[Sample]]:
        """What the engine reads in the lines of a page after so many of the ways of `_FIRST`."""
        found = []
        for way in rng.choice(len(_FIRST), min(count, len(_FIRST)), replace=False):
            made = torch.from_numpy(apply_filters(page.grey, _FIRST[way]))[None, None] / 255
            found.append(self._read(cut_lines(made, [page.corners])))
        return found

    def _lesson(self, adam: torch.optim.Optimizer, clean: Sequence[Sample], read: Sequence[Sample], share: float,
                seconds: float) -> float:
        """Learn for so long, of what the engine has read with that share; the mean loss of the last batches."""
        begun, losses, step = time.process_time(), deque[float](maxlen=50), 0
        self.approximator.train()
        while (spent := (time.process_time() - begun) / seconds) < 1:
            for group in adam.param_groups:
                group["lr"] = 2e-3 * min(1.0, (step + 1) / 30) * pace(spent)
            lines, texts = stacked(drawn(read if self.rng.random() < share else clean, 32, self.rng))
            lines = (lines + self.config.jitter * self.rng.random() * torch.randn_like(lines)).clip(0, 1)
            loss = self._reading(lines, texts)
            _step(adam, loss)
            losses.append(loss.item())
            step += 1
        found = float(np.mean(losses or [0.0]))
        print(f"{step} steps of the approximator, {share:.0%} on lines that were read: loss {found:.3f}", flush=True)
        return found

    def held_out(self, count: int = 40) -> dict[str, float]:
        """How well the approximator imitates, on lines of validation pages after filters and after the network.

        Returns:
            "cer/filters" and "cer/network", its character errors against what the engine reads; "cer/true", those of
            the true texts of the second; "pairs", see `right_pairs`, of all.
        """
        rng, found = np.random.default_rng(0), list[tuple[Sample, str, object, bool]]()
        self.network.eval()
        for number, page in enumerate(self.val[:count]):
            with torch.no_grad():
                made = cut_lines(self._made([page]), [page.corners])
            for samples, own in [*((each, False) for each in self._prepared(page, rng, 3)), (self._read(made), True)]:
                found += [(sample, truth, (number, line), own)
                          for line, (sample, truth) in enumerate(zip(samples, page.texts, strict=True))]
        self.approximator.eval()
        with torch.no_grad():
            scores = [self.approximator(stacked([sample])[0]) for sample, *_ in found]
        losses = [reading_loss(each, [truth]).item() for each, (_, truth, *_) in zip(scores, found, strict=True)]
        texts = [read_lines(each)[0] for each in scores]

        def errors(network: bool, true: bool = False) -> float:
            rows = [row for row in range(len(found)) if found[row][3] == network]
            return character_error_rate([found[row][1] if true else texts[row] for row in rows],
                                        [found[row][0][1] for row in rows])

        return {"cer/filters": errors(False), "cer/network": errors(True), "cer/true": errors(True, true=True),
                "pairs": right_pairs(losses, [sample[1] for sample, *_ in found], [each[1] for each in found],
                                     [each[2] for each in found])}

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

    def step(self, spent: float) -> dict[str, float]:
        """Train both in turn, where that share of the training is over; the losses."""
        for adam, rate in zip(self._adam, (self.config.rate, self.config.approximator_rate), strict=True):
            for group in adam.param_groups:
                group["lr"] = rate * pace(spent)
        pages = self._draw()
        corners, truth = [page.corners for page in pages], [text for page in pages for text in page.texts]
        losses, made = self.learn(pages, corners, truth)
        return {"imitation": self.teach(cut_lines(made, corners)), **losses}

    def teach(self, lines: Tensor) -> float:
        """One step of the approximator, on what the engine reads in jittered lines and has read before; the loss of the
        first."""
        self.approximator.train()
        total = torch.zeros(())
        for _ in range(self.config.jitters):
            strength = self.config.jitter * self.rng.integers(0, 6) / 5
            jittered = (lines + strength * torch.randn_like(lines)).clip(0, 1)
            samples = self._read(jittered)
            self.memory.extend(samples)
            total = total + self._reading(jittered, [text for _, text in samples]) / self.config.jitters
        again = self._reading(*stacked(drawn(self.memory, len(lines), self.rng)))
        _step(self._adam[1], total + again)
        return total.item()

    def learn(self, pages: Sequence[Page], corners: Sequence[np.ndarray],
              truth: Sequence[str]) -> tuple[dict[str, float], Tensor]:
        """One step of the network, through the approximator as it is; its losses, and what it had made of the pages."""
        self.network.train()
        self.approximator.eval()
        made = self._made(pages)
        reading = self._reading(cut_lines(made, corners), truth)
        white = F.mse_loss(made, torch.ones_like(made))
        _step(self._adam[0], reading + self.config.white * white)
        return {"reading": reading.item(), "white": white.item()}, made.detach()

    def accuracy(self, pages: Sequence[Page]) -> np.ndarray:
        """Character accuracy of the engine on pages that the network has prepared, each read once and whole."""
        self.network.eval()
        return np.array([character_accuracy(self.engine.read(self.network.prepare(page.grey), "block").text, page.text)
                         for page in pages])

    def save(self, folder: Path, best: bool) -> None:
        """Write both networks as they are, and the one that prepares under its name if it is the best so far."""
        for name, network in (("last", self.network), ("approximator", self.approximator),
                              *([("preprocessor", self.network)] if best else [])):
            weights = {key: weight.contiguous() for key, weight in network.state_dict().items()}
            save_file(weights, folder / f"{name}.safetensors")

    def _draw(self) -> list[Page]:
        return [self.pages[row] for row in self.rng.integers(len(self.pages), size=self.config.batch_size)]

    def _mixed(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16")

    def _made(self, pages: Sequence[Page]) -> Tensor:
        planes = torch.from_numpy(np.stack([page.planes for page in pages])) / 255
        with self._mixed():
            found: Tensor = self.network(planes.contiguous(memory_format=torch.channels_last))
        return found.float()

    def _reading(self, lines: Tensor, texts: Sequence[str]) -> Tensor:
        with self._mixed():
            scores = self.approximator(lines)
        return reading_loss(scores, texts)

    def _read(self, lines: Tensor) -> list[Sample]:
        self.reads += len(lines)
        return read_samples(self.engine, lines)


def pace(spent: float) -> float:
    """The learning rate where that share of the training is over, as a share of the first: it falls from a third on."""
    return max(0.05, min(1.0, 1.5 * (1 - spent)))


def _step(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], 5.0)
    adam.step()


def load_preprocessor(folder: Path, name: str = "preprocessor") -> Preprocessor:
    """The network of a run.

    Args:
        folder: of the run.
        name: "preprocessor", the best on validation scenes, or "last".

    Raises:
        UsageError: there is none.
    """
    try:
        width = json.loads((folder / "config.json").read_text())["width"]
        network = Preprocessor(int(width))
        network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"{folder}: no run of experiments.read_approximate ({one_line(error)})") from error
    return network.eval()


def _load_approximator(folder: Path) -> Approximator:
    network = Approximator()
    try:
        network.load_state_dict(load_file(folder / "approximator.safetensors"))
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder}: has no approximator to go on with ({one_line(error)})") from error
    return network


def approximate(config: ApproximateConfig) -> dict[str, Any]:
    """Train; writes preprocessor.safetensors (the best on validation scenes), last.safetensors,
    approximator.safetensors, config.json, metrics.csv and result.json."""
    fonts = find_fonts()
    scenes = RenderedText("train", fonts)
    pages, val = ([Page.of(each[number]) for number in tqdm(range(count), "scenes", leave=False)]
                  for each, count in ((scenes, config.scenes), (RenderedText("val", fonts), config.val_scenes)))
    clean = CleanLines(scenes, np.random.default_rng(config.seed))
    run, begun = Approximation(config, engine_of(config.engine), pages, val, clean), time.process_time()
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.json").write_text(json.dumps({name: str(value) if isinstance(value, Path) else value
                                                        for name, value in asdict(config).items()}, indent=2))
    best: dict[str, Any] = {"val": -1.0}
    first = {} if run.resumed else {
        "first_loss": run.first_lessons(), "imitation_loss": run.imitate() if config.start == "chain" else 0.0}
    print(f"{time.process_time() - begun:.0f} s, {run.reads} lines read: {first}", flush=True)
    started, recent = time.process_time(), list[dict[str, float]]()
    with open(config.out / "metrics.csv", "w", newline="") as file:
        table, step = csv.writer(file), 0
        table.writerow(["step", "seconds", "reads", "val", "cer/filters", "cer/network", "cer/true", "pairs",
                        "imitation", "reading", "white"])
        while True:
            spent = step / max(1, config.updates) if config.updates is not None else \
                (time.process_time() - started) / max(1e-9, 60 * config.minutes)
            done = spent >= 1 or (config.updates is not None and step >= config.updates)
            if step % config.eval_interval == 0 or done:
                score = float(run.accuracy(val).mean())
                means = [float(np.mean([each[name] for each in recent])) for name in (recent or [{}])[0]]
                row = [step, round(time.process_time() - begun), run.reads,
                       *(round(value, 4) for value in (score, *run.held_out().values(), *means))]
                table.writerow(row)
                file.flush()
                print(*row, flush=True)
                recent = []
                run.save(config.out, best=score > best["val"])
                best = max(best, {"val": score, "step": step}, key=lambda each: float(each["val"]))
            if done:
                break
            recent.append(run.step(spent))
            step += 1
    result = {**best, **first, "steps": step, "reads": run.reads, "seconds": round(time.process_time() - begun)}
    (config.out / "result.json").write_text(json.dumps(result, indent=2))
    print(f"best on {len(val)} validation scenes: {best['val']:.3f} after {best['step']} of {step} steps and "
          f"{run.reads} lines read; result in {config.out}")
    return result

"""A network trained through an approximation of the engine: lines, what the approximator imitates, what is learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.tasks import read_approximation
from experiments.tasks.read_approximation import (
    ApproximateConfig,
    Approximation,
    Page,
    approximate,
    load_preprocessor,
    words_of,
)
from experiments.tasks.read_approximation_networks import cut_lines, planes_of, read_lines, reading_loss
from rlenhance.core.errors import UsageError
from rlenhance.data.rendered_text import bundled_fonts
from rlenhance.ocr.engines import FunctionEngine
from rlenhance.ocr.filters import turned
from rlenhance.ocr.readings import Reading, Word
from tests.support.reading import rendered

BOX = np.array([[20, 10], [80, 10], [80, 30], [20, 30]], np.float32)
SMALL = {"width": 4, "jitters": 1, "white": 0.0, "batch_size": 2, "rate": 0.02, "approximator_rate": 0.003}


def read_darkness(picture):
    """Reads a where it is dark inside the white border, or else b."""
    return ("a" if picture[12:-12, 12:-12].mean() < 128 else "b", 0.9)


def page(seed):
    """An even page with a line."""
    grey = np.random.default_rng(seed).integers(90, 110, (40, 100)).astype(np.uint8)
    return Page(grey, planes_of(grey), BOX[None], ("a",), "a")


def test_lines_are_cut_upright():
    """The box of a line fills the cut but for its margin, also of a turned picture; gradients reach the line alone."""
    picture = np.full((60, 120), 255, np.uint8)
    picture[20:40, 30:90] = 0
    box = np.array([[29.5, 19.5], [89.5, 19.5], [89.5, 39.5], [29.5, 39.5]], np.float32)
    angle = np.radians(6)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    slanted = (box - (60, 30)) @ matrix.T.astype(np.float32) + (60, 30)
    for seen, corners in ((picture, box), (turned(picture, 6.0, 255.0), slanted)):
        pixels = (torch.from_numpy(seen)[None, None] / 255).requires_grad_()
        cut = cut_lines(pixels, [corners.astype(np.float32)[None]])
        dark = (cut[0, 0] < 0.5).float()
        assert cut.shape[2] == 40 and dark.mean() == pytest.approx((1 / 1.4) * 60 / (60 + 8), abs=0.05)
        cut.sum().backward()
        assert pixels.grad[0, 0, 30, 60] > 0 and pixels.grad[0, 0, :8].abs().sum() == 0


def test_characters_are_read_from_their_places():
    """Repeats and blanks are left out; the loss of what is read is the least."""
    scores = torch.full((6, 1, 96), -20.0)
    for place, code in enumerate((0, 11, 11, 0, 11, 12)):
        scores[place, 0, code] = 0.0
    assert read_lines(scores) == ["aab"]
    assert reading_loss(scores, ["aab"]) < reading_loss(scores, ["ab"]) < reading_loss(scores, ["xyz"])


class Brightness(torch.nn.Module):
    """An approximator that knows what `read_darkness` does, and one that knows nothing."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, lines):
        scores = torch.full((3, len(lines), 96), -20.0)
        scores[::2, :, 0] = 20.0
        sure = self.slope * (0.5 - lines.mean(dim=(1, 2, 3)))
        middle = torch.stack([sure, -sure], dim=1)
        scores = torch.cat([scores[1, :, :11], middle, scores[1, :, 13:]], dim=1), scores
        return torch.log_softmax(torch.stack([scores[1][0], scores[0], scores[1][2]]), dim=2)


@pytest.mark.parametrize("slope, read", [(10.0, 1.0), (0.0, 0.0)])
def test_the_network_learns_through_the_approximator(slope, read):
    """The engine reads the true text in what the network makes, though no gradient passes the engine; through an
    approximator that knows nothing the network learns nothing."""
    pages = [page(seed) for seed in range(2)]
    run = Approximation(ApproximateConfig(**SMALL), FunctionEngine(read_darkness), pages, pages, progress=False)
    run.approximator = Brightness(slope)
    torch.nn.init.constant_(run.network.head.bias, 1.0)
    assert not run.accuracy(pages).any()
    for _ in range(15):
        run.learn(pages, [each.corners for each in pages], ["a", "a"])
    assert run.accuracy(pages).mean() == read


def test_the_approximator_imitates_the_engine_and_not_the_truth():
    """It learns what the engine reads in jittered lines, whatever is written there."""
    seen = []
    engine = FunctionEngine(lambda picture: (seen.append(picture) or "xy", 0.9))
    run = Approximation(ApproximateConfig(**SMALL), engine, [page(0)], [page(0)], progress=False)
    line = torch.linspace(0, 1, 48).expand(2, 1, 40, 48)
    losses = [run.teach(line) for _ in range(15)]
    assert len(seen) == run.reads == 30 and seen[0].shape == (56, 64) and (seen[0][:8] == 255).all()
    assert losses[-1] < losses[0] / 3


def test_words_are_cut_out_where_they_were_read():
    """With a margin, and not where next to nothing is left."""
    line = torch.arange(100, dtype=torch.uint8).expand(1, 40, 100)
    reading = Reading((Word("one", 0.9, (28, 10, 40, 20)), Word("i", 0.9, (10, 10, 2, 20))))
    (cut, text), = words_of(line, reading)
    assert text == "one" and cut.shape == (1, 40, 48) and cut[0, 0, 0] == 16


def test_the_command_keeps_the_best_network(tmp_path, monkeypatch):
    """It loads again, and prepares as in training; another folder is refused."""
    monkeypatch.setattr(read_approximation, "engine_of", lambda name: FunctionEngine(read_darkness))
    monkeypatch.setattr(read_approximation, "find_fonts", bundled_fonts)
    config = ApproximateConfig(**SMALL, out=tmp_path / "run", scenes=2, val_scenes=1, updates=1, first_minutes=0.0,
                               readings=1, imitation_updates=1)
    result = approximate(config)
    assert result["steps"] == 1 and json.loads((tmp_path / "run" / "config.json").read_text())["width"] == 4
    prepared = load_preprocessor(tmp_path / "run").prepare(Page.of(rendered()[0]).grey)
    assert prepared.shape == (96, 480) and prepared.dtype == np.uint8
    with pytest.raises(UsageError, match="read_approximate"):
        load_preprocessor(Path(tmp_path))

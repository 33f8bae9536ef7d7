"""A network trained through an approximation of the engine: lines, what the approximator imitates, what is learned."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts import approximated_scores
from rlenhance.experiments.tasks import read_approximation
from rlenhance.experiments.tasks.read_approximation import (
    ApproximateConfig,
    Approximation,
    approximate,
    load_preprocessor,
)
from rlenhance.experiments.tasks.read_approximation_lines import (
    CleanLines,
    Page,
    character_error_rate,
    drawn,
    read_samples,
    right_pairs,
    stacked,
)
from rlenhance.experiments.tasks.read_approximation_networks import (
    ALPHABET,
    cut_lines,
    planes_of,
    read_lines,
    reading_loss,
)
from rlenhance.io import read
from rlenhance.learning.data.rendered_text import bundled_fonts
from rlenhance.ocr.engines import FunctionEngine
from rlenhance.ocr.filters import turned
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
    run = Approximation(ApproximateConfig(**SMALL), FunctionEngine(read_darkness), pages, pages, clean_lines(),
                        progress=False)
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
    run = Approximation(ApproximateConfig(**SMALL), engine, [page(0)], [page(0)], clean_lines(), progress=False)
    line = torch.linspace(0, 1, 48).expand(2, 1, 40, 48)
    losses = [run.teach(line) for _ in range(15)]
    assert len(seen) == run.reads == 30 and seen[0].shape == (56, 64) and (seen[0][:8] == 255).all()
    assert losses[-1] < losses[0] / 3


def clean_lines():
    """Clean lines in the fonts that are everywhere."""
    return CleanLines(rendered(), np.random.default_rng(0))


def test_clean_lines_are_no_longer_than_asked_for():
    """They are dark on light, of the height and the alphabet of all lines, and the same again for the same seed."""
    samples = clean_lines().draw(20, 8)
    for line, text in samples:
        assert 1 <= len(text) <= 8 and set(text) <= set(ALPHABET) and text == text.strip()
        assert line.shape[0] == 40 and line.shape[1] % 4 == 0 and line.dtype == np.uint8
        assert line.mean() > 128 and line.min() < 200
    for (line, text), (other, same) in zip(samples, clean_lines().draw(20, 8), strict=True):
        assert text == same and np.array_equal(line, other)


def test_lines_are_read_and_cut_off_where_they_end():
    """What the engine saw keeps its ink; batches pad with white, and are of about one width."""
    lines = torch.ones(2, 1, 40, 200)
    lines[0, :, 10:30, 5:90] = 0
    lines[1, :, 10:30, 5:198] = 0
    samples = read_samples(FunctionEngine(lambda picture: (str(int((picture == 0).sum() // 20)), 0.9)), lines)
    assert [text for _, text in samples] == ["85", "193"] and [line.shape[1] for line, _ in samples] == [92, 200]
    batch, texts = stacked(samples)
    assert torch.equal(batch, lines) and texts == ["85", "193"]
    many = [(np.zeros((40, 48 + 4 * place), np.uint8), "") for place in range(100)]
    widths = [line.shape[1] for line, _ in drawn(many, 8, np.random.default_rng(0))]
    assert len(widths) == 8 and max(widths) - min(widths) < 250


def test_imitation_is_measured():
    """Errors are per character of what was read; a pair is right where the better picture has the lower loss."""
    assert character_error_rate(["abc", ""], ["abd", "x"]) == pytest.approx(2 / 4)
    read, truth, lines = ["word", "w", "word", "wird"], ["word"] * 4, [0, 0, 1, 1]
    assert right_pairs([0.1, 2.0, 3.0, 1.0], read, truth, lines) == 0.5
    assert right_pairs([0.1, 2.0, 1.0, 3.0], read, truth, lines) == 1.0
    assert np.isnan(right_pairs([1.0], ["word"], ["word"], [0]))


def test_a_line_in_which_nothing_is_read_does_not_outweigh_others():
    """It counts as one of five characters."""
    scores = torch.log_softmax(torch.zeros(20, 1, 96), dim=2)
    assert reading_loss(scores, [""]).item() == pytest.approx(20 * np.log(96) / 5, rel=1e-4)


def test_the_command_keeps_the_best_network(tmp_path, monkeypatch):
    """It loads again, and prepares as in training; another folder is refused."""
    monkeypatch.setattr(read_approximation, "engine_of", lambda name: FunctionEngine(read_darkness))
    monkeypatch.setattr(read_approximation, "find_fonts", bundled_fonts)
    config = ApproximateConfig(**SMALL, out=tmp_path / "run", scenes=2, val_scenes=1, updates=1, first_minutes=0.0,
                               readings=1, imitation_updates=1)
    result = approximate(config)
    assert result["steps"] == 1 and json.loads((tmp_path / "run" / "config.json").read_text())["width"] == 4
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and len(rows[0].split(",")) == len(rows[2].split(","))
    more = approximate(replace(config, start=str(tmp_path / "run"), out=tmp_path / "more"))
    assert "first_loss" not in more and more["reads"] < result["reads"]
    prepared = load_preprocessor(tmp_path / "run").prepare(Page.of(rendered()[0]).grey)
    assert prepared.shape == (96, 480) and prepared.dtype == np.uint8
    with pytest.raises(UsageError, match="read_approximate"):
        load_preprocessor(Path(tmp_path))
    monkeypatch.setattr(approximated_scores, "engine_of", lambda name: FunctionEngine(read_darkness))
    monkeypatch.setattr(approximated_scores, "find_fonts", bundled_fonts)
    table = approximated_scores.main(approximated_scores.ApproximatedScoresConfig(
        (tmp_path / "run",), scenes=2, prices=(0.01,), pictures=1, out=tmp_path / "scores"))
    rows = [row.split(" | ") for row in table.splitlines()[2:]]
    assert [row[1] for row in rows[:3]] == ["1.00", "1.00", "2.00"] and rows[1][3].startswith("+0.000 (+0.000")
    assert sum("(run)" in row[0] for row in rows) == 4 and len(rows) == 9
    assert read(tmp_path / "scores" / "scene_0.png").visible_pixels.shape == (3 * 96, 480, 3)
    (tmp_path / "run" / "approximator.safetensors").unlink()
    with pytest.raises(UsageError, match="approximator"):
        approximate(replace(config, start=str(tmp_path / "run"), out=tmp_path / "third"))
    with pytest.raises(UsageError, match="bf16"):
        approximate(replace(config, precision="half", out=tmp_path / "third"))

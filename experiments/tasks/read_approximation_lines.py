"""Lines for `experiments.tasks.read_approximation`: of scenes, as an engine reads them, and clean ones without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rlenhance.experiments.tasks.read_approximation_networks import (
    ALPHABET,
    HEIGHT,
    MARGIN,
    NARROWEST,
    WIDEST,
    planes_of,
)
from rlenhance.learning.data.rendered_text import LAYOUTS, RenderedText, Scene, draw_text
from rlenhance.learning.data.rendered_words import words_of
from rlenhance.ocr.engines import Engine
from rlenhance.ocr.filters import dark_on_light, grey_of, skew_of, turned, turning
from rlenhance.ocr.readings import character_accuracy, edit_distance, plain

#: A line (40, W) of uint8, dark on light, and what is read in it.
Sample = tuple[np.ndarray, str]
_BORDER = 8  # white pixels around a line that is read
_SIZE = 64  # pixels: fonts are drawn so large and reduced to the height of a line
_ODD = 0.3  # share of clean lines with random characters in place of words


@dataclass(frozen=True)
class Page:
    """A scene, turned and dark on light as by `deskew > dark-on-light`, and where its lines are then.

    Attributes:
        grey: (H, W) uint8.
        planes: (2, H, W) uint8, what the network sees: the picture stretched, and evened out.
        corners: (L, 4, 2) float32, of the lines; see `rlenhance.learning.data.rendered_text.Line`.
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


def read_samples(engine: Engine, lines: Tensor) -> list[Sample]:
    """What the engine reads in lines (N, 1, 40, W) in [0, 1], with a white border; white at the right is cut off."""
    samples = []
    for picture in (255 * lines[:, 0].clip(0, 1)).round().byte().numpy():
        reading = engine.read(cv2.copyMakeBorder(picture, *(_BORDER,) * 4, cv2.BORDER_CONSTANT, value=255), "block")
        inked = np.flatnonzero((picture < 255).any(axis=0))
        width = max(NARROWEST, int(inked[-1]) // 4 * 4 + 4 if len(inked) else 0)
        samples.append((picture[:, :width], plain(reading.text)))
    return samples


def stacked(samples: Sequence[Sample]) -> tuple[Tensor, list[str]]:
    """Samples in one batch, white where one is shorter than others: (N, 1, 40, W) in [0, 1], and the texts."""
    widest = max(line.shape[1] for line, _ in samples)
    lines = np.full((len(samples), 1, HEIGHT, widest), 255, np.uint8)
    for place, (line, _) in enumerate(samples):
        lines[place, 0, :, : line.shape[1]] = line
    return torch.from_numpy(lines) / 255, [text for _, text in samples]


def drawn(samples: Sequence[Sample], count: int, rng: np.random.Generator) -> list[Sample]:
    """So many samples of about one width, so that little is padded."""
    rows = sorted(rng.integers(len(samples), size=4 * count).tolist(), key=lambda row: samples[row][0].shape[1])
    first = int(rng.integers(3 * count + 1))
    return [samples[row] for row in rows[first : first + count]]


class CleanLines:
    """Lines of the texts, the words and the fonts of a split, and of random characters, drawn without a camera.

    Each is cut as `cut_lines` cuts, up to `crooked` wrong at its edges, and drawn thinner, thicker, softer, paler or
    noisier by a little.

    Args:
        scenes: of which split and with which fonts.
        rng: draws.
        crooked: shift of the edges, in heights of the text.
    """

    def __init__(self, scenes: RenderedText, rng: np.random.Generator, crooked: float = 0.08):
        self.fonts = [font for family in scenes.families.values() for font in family]
        self.words, self.rng, self.crooked = words_of(scenes.split), rng, crooked

    def text(self, longest: int) -> str:
        """A text of 1 to `longest` characters."""
        rng = self.rng
        if rng.random() < _ODD:
            letters = rng.choice([*ALPHABET[:-1]], size=rng.integers(1, min(8, longest) + 1))
            return "".join(letters)
        lines = draw_text(str(rng.choice([*LAYOUTS])), self.words, rng).split("\n")
        words = lines[rng.integers(len(lines))].split()
        first = int(rng.integers(len(words)))
        last = first + 1
        while last < len(words) and len(" ".join(words[first : last + 1])) <= longest:
            last += 1
        return " ".join(words[first:last])[:longest].strip()

    def draw(self, count: int, longest: int) -> list[Sample]:
        """So many lines of up to `longest` characters."""
        return [self._line(self.text(longest)) for _ in range(count)]

    def _line(self, text: str) -> Sample:
        rng = self.rng
        face = ImageFont.truetype(str(self.fonts[rng.integers(len(self.fonts))].path), _SIZE)
        left, top, right, bottom = face.getbbox(text)
        across, down = max(1.0, right - left), max(4.0, bottom - top)
        canvas = Image.new("L", (round(across) + 2 * _SIZE, round(down) + 2 * _SIZE))
        ImageDraw.Draw(canvas).text((_SIZE - left, _SIZE - top), text, 255, font=face)
        inside = HEIGHT / (1 + 2 * MARGIN)
        scale, margin = inside / down, MARGIN * inside
        width = int(min(WIDEST, across * scale + 2 * margin)) // 4 * 4 + 4
        stretch = min(1.0, (width - 2 * margin) / (across * scale))
        moved = rng.uniform(-self.crooked, self.crooked, 2) * inside
        sized = scale * (1 + rng.uniform(-self.crooked, self.crooked))
        matrix = np.array([[sized * stretch, rng.uniform(-0.06, 0.06), margin + moved[0] - sized * stretch * _SIZE],
                           [rng.uniform(-0.004, 0.004), sized, margin + moved[1] - sized * _SIZE]])
        ink: np.ndarray = np.asarray(canvas, np.float32) / 255
        ink = cv2.GaussianBlur(ink, (0, 0), 0.4 / sized)
        line: np.ndarray = cv2.warpAffine(ink, matrix, (width, HEIGHT), flags=cv2.INTER_LINEAR)
        if rng.random() < 0.5:
            line = cv2.GaussianBlur(line, (0, 0), rng.uniform(0.3, 1.1))
        line = (line * rng.uniform(0.7, 2.0)).clip(0, 1)
        line = line * rng.uniform(0.5, 1.0) + rng.uniform(0.0, 0.06) * rng.standard_normal(line.shape)
        return np.rint(255 * (1 - line.clip(0, 1))).astype(np.uint8), text


def character_error_rate(found: Sequence[str], truth: Sequence[str]) -> float:
    """Edits from the second texts to the first, per character of the second."""
    edits = sum(edit_distance(own, other) for own, other in zip(found, truth, strict=True))
    return edits / max(1, sum(map(len, truth)))


def right_pairs(losses: Sequence[float], read: Sequence[str], truth: Sequence[str], lines: Sequence[object]) -> float:
    """Of pairs of pictures of one line of which the engine reads one better by more than 0.1, the share in which that
    one has the lower loss of the true text: 0.5 by chance; NaN without any."""
    accuracy = [character_accuracy(own, text) for own, text in zip(read, truth, strict=True)]
    places: dict[object, list[int]] = {}
    for place, line in enumerate(lines):
        places.setdefault(line, []).append(place)
    right = [losses[better] < losses[worse] for each in places.values() for better in each for worse in each
             if accuracy[better] > accuracy[worse] + 0.1]
    return float(np.mean(right)) if right else float("nan")

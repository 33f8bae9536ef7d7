"""The networks of `experiments.tasks.read_approximation`: one prepares pictures, the other imitates the engine."""

from __future__ import annotations

import string
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.ocr.filters import flatten, stretch
from rlenhance.ocr.readings import plain

#: Characters that the approximator writes; 0 is the blank of CTC.
ALPHABET = string.digits + string.ascii_letters + string.punctuation + " "
HEIGHT, MARGIN = 40, 0.2  # pixels of a line, and what is added to its height on each side, in its height
NARROWEST, WIDEST = 48, 480  # pixels: widths of lines
_FEWEST = 5  # characters as which a line counts in the loss
_SIDE = 8  # the U-Net takes multiples of so many pixels


def planes_of(grey: np.ndarray) -> np.ndarray:
    """What the network sees of a grey picture: (H, W) -> (2, H, W) uint8."""
    return np.stack([stretch(grey), flatten(grey)])


class Preprocessor(nn.Module):
    """A U-Net of three levels from `planes_of` to a picture for the engine, white at 1.

    Source: Ronneberger et al. 2015, as in arXiv 2105.07983; we depart in the width and the number of levels, and in
    group instead of batch normalisation.

    Args:
        width: channels at the full size; twice and four times as many below.
    """

    def __init__(self, width: int = 12):
        super().__init__()
        self.width = width
        self.first, self.second = _convolution(2, width), _block(width, 2 * width)
        self.third, self.fourth = _block(2 * width, 4 * width), _block(4 * width, 4 * width)
        self.up_third, self.up_second = _block(8 * width, 2 * width), _block(4 * width, width)
        self.up_first, self.head = _convolution(2 * width, width), nn.Conv2d(width, 1, 1)

    def forward(self, planes: Tensor) -> Tensor:
        """(N, 2, H, W) in [0, 1] -> (N, 1, H, W) in [0, 1]."""
        height, width = planes.shape[-2:]
        padded = F.pad(planes, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
        one = F.relu(self.first(padded))
        two = self.second(F.max_pool2d(one, 2))
        three = self.third(F.max_pool2d(two, 2))
        found = _up(self.fourth(F.max_pool2d(three, 2)))
        found = _up(self.up_third(torch.cat([found, three], dim=1)))
        found = _up(self.up_second(torch.cat([found, two], dim=1)))
        found = self.head(F.relu(self.up_first(torch.cat([found, one], dim=1))))
        return torch.sigmoid(found[..., :height, :width])

    @torch.no_grad()
    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """A picture that is dark on light, prepared: (H, W) -> (H, W) uint8."""
        made = self(torch.from_numpy(planes_of(grey))[None] / 255)[0, 0]
        return (255 * made).round().byte().numpy()


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_convolution(before, after), nn.GroupNorm(4, after), nn.ReLU(),
                         _convolution(after, after), nn.GroupNorm(4, after), nn.ReLU())


def _up(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")


class Approximator(nn.Module):
    """A convolutional recurrent network that reads lines: (N, 1, 40, W) in [0, 1] -> logarithms of the probabilities of
    blank and characters (W / 4, N, 1 + characters), for CTC.

    Source: CRNN (Shi et al. 2017), as in arXiv 2105.07983; we depart in its size, in a stride of two
    at its beginning, and in a GRU for the LSTMs.
    """

    def __init__(self, hidden: int = 64):
        super().__init__()

        def layer(before: int, after: int, size: tuple[int, int] = (3, 3), *pool: tuple[int, int],
                  stride: int = 1) -> list[nn.Module]:
            padding = (0, 0) if size[0] > 4 else (1, 1)
            return [nn.Conv2d(before, after, size, stride, padding, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
                    *(nn.MaxPool2d(each) for each in pool)]

        self.look = nn.Sequential(*layer(1, 24, (4, 4), stride=2), *layer(24, 32, (3, 3), (2, 2)),
                                  *layer(32, 64, (3, 3), (2, 1)), *layer(64, 64), *layer(64, 96, (5, 1)))
        self.recur = nn.GRU(96, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1 + len(ALPHABET))

    def forward(self, lines: Tensor) -> Tensor:
        features = self.look((1 - lines).contiguous(memory_format=torch.channels_last))[:, :, 0].permute(2, 0, 1)
        return F.log_softmax(self.head(self.recur(features)[0]).float(), dim=2)


def reading_loss(scores: Tensor, texts: Sequence[str]) -> Tensor:
    """CTC per character: scores of `Approximator`, and what is to be read; the mean over lines.

    A line counts as of five characters at least, so that lines in which nothing is read do not outweigh all others; one
    with more characters than places counts 0.
    """
    codes = [[1 + ALPHABET.index(letter) for letter in plain(text) if letter in ALPHABET] for text in texts]
    lengths = torch.tensor([len(code) for code in codes])
    flat = torch.tensor([code for each in codes for code in each], dtype=torch.long)
    found = F.ctc_loss(scores, flat, torch.full((len(codes),), len(scores)), lengths, reduction="none",
                       zero_infinity=True)
    return (found / lengths.clamp_min(_FEWEST)).mean()


def read_lines(scores: Tensor) -> list[str]:
    """The texts of the best characters at each place."""
    texts = []
    for codes in scores.argmax(dim=2).T.tolist():
        kept = [code for place, code in enumerate(codes) if code and (place == 0 or codes[place - 1] != code)]
        texts.append("".join(ALPHABET[code - 1] for code in kept))
    return texts


def cut_lines(pictures: Tensor, corners: Sequence[np.ndarray]) -> Tensor:
    """The lines of pictures, upright, of one height; white where a line is shorter than others.

    Args:
        pictures: (N, 1, H, W) in [0, 1]; gradients pass.
        corners: of the lines of each, (L, 4, 2).

    Returns:
        (lines, 1, 40, width).
    """
    places = [(row, box) for row, boxes in enumerate(corners) for box in boxes]
    grids = [_grid(box, pictures.shape[-2:]) for _, box in places]
    widest = max(grid.shape[1] for grid in grids)
    made = [F.pad(F.grid_sample(pictures[row : row + 1], torch.from_numpy(grid)[None], align_corners=False,
                                padding_mode="border"), (0, widest - grid.shape[1]), value=1.0)
            for (row, _), grid in zip(places, grids, strict=True)]
    return torch.cat(made)


def _grid(box: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Where the pixels of an upright line lie in the picture: (40, width, 2) in [-1, 1]."""
    across, down = np.linalg.norm(box[1] - box[0]), max(4.0, float(np.linalg.norm(box[3] - box[0])))
    inside = HEIGHT / (1 + 2 * MARGIN)
    margin, width = MARGIN * inside, int(np.clip(across * inside / down + 2 * MARGIN * inside, NARROWEST, WIDEST))
    width += -width % 4
    upright = np.array([[margin, margin], [width - margin, margin], [width - margin, HEIGHT - margin],
                        [margin, HEIGHT - margin]], np.float32)
    back = cv2.getPerspectiveTransform(upright, box.astype(np.float32))
    down_to, across_to = np.mgrid[:HEIGHT, :width].astype(np.float32)
    points = cv2.perspectiveTransform(np.stack([across_to, down_to], axis=2), back)
    return np.asarray((2 * points + 1) / (size[1], size[0]) - 1, np.float32)

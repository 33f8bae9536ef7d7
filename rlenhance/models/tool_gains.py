"""Networks that choose among tools; and one that predicts, by regression, what each tool would gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.core.image import check_image
from rlenhance.models.base import MODELS, ImageNetwork

#: Number of `damage_statistics`.
NUM_STATISTICS = 55
_LEAST_SIDE = 32  # pixels: smaller pictures are continued by their borders
_SCALES = 3  # each half of the one before
_FLOOR = 1e-3  # added before logarithms: a quarter of 1/255
_COLOR_STEP, _GREY = 28, -6.5  # the statistic of the colours' mean step, and below which a picture is grey
_SAME = 0.6 / 255  # differences below it are none


class ToolPlanner(ImageNetwork):
    """Base class of the networks that say which tool a picture needs next: `planner(observation) -> scores`.

    An observation is what `rlenhance/Toolchain-v0` shows: "image" (N, 3, H, W) in [0, 1], and what was done so far.
    Scores are (N, len(tools) + 1); the last entry stands for stopping.

    Attributes:
        tools: names of the tools, see `rlenhance.tools.TOOLS`.
        in_decibels: scores are gains in dB, and stopping has 0; otherwise they are logits or values.
    """

    purpose = "restore"
    tools: tuple[str, ...]
    in_decibels: bool = False


@MODELS.register("tool_gains")
class ToolGains(ToolPlanner):
    """Predicts the gain of each tool on a picture in dB, and the picture's own PSNR without its reference.

    Several small perceptrons see the picture's `damage_statistics`, and their predictions are averaged.

    Args:
        tools: names of the tools.
        width: units of each of the two hidden layers.
        heads: perceptrons.
        grey: pictures without colours have as many perceptrons of their own.

    Raises:
        UsageError: no tools.
    """

    in_decibels = True

    def __init__(self, tools: Sequence[str], width: int = 64, heads: int = 4, grey: bool = False):
        super().__init__()
        if not tools:
            raise UsageError("tools must name at least one tool; got none")
        self.tools = tuple(tools)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(NUM_STATISTICS))
        self.register_buffer("deviation", torch.ones(NUM_STATISTICS))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(NUM_STATISTICS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                          nn.Linear(width, len(self.tools) + 1)) for _ in range(heads))
        self.grey = ToolGains(tools, width, heads) if grey else None

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The gain of each tool in dB, and 0 for stopping: (N, len(tools) + 1).

        Args:
            observation: "image" (N, 3, H, W) in [0, 1]; the rest is not looked at.
        """
        gains, _ = self.assess(observation["image"])
        return torch.cat([gains, gains.new_zeros(len(gains), 1)], dim=1)

    def assess(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The gain of each tool (N, len(tools)) and the picture's own PSNR (N,), both in dB.

        Raises:
            UsageError: not pictures.
        """
        found = self.predict(damage_statistics(check_image(image).float()))
        return found[:, :-1], 10 * found[:, -1]

    def predict(self, statistics: Tensor) -> Tensor:
        """The gains in dB and a tenth of the PSNR: (N, NUM_STATISTICS) -> (N, len(tools) + 1)."""
        scaled = self.scale_statistics(statistics)
        found = torch.stack([head(scaled) for head in self.heads]).mean(dim=0)
        if self.grey is None:
            return found
        return torch.where(statistics[:, _COLOR_STEP, None] < _GREY, self.grey.predict(statistics), found)

    def scale_statistics(self, statistics: Tensor) -> Tensor:
        """What the perceptrons see: deviations from the mean of the training, at most 5."""
        return ((statistics - self.mean) / self.deviation).clamp(-5, 5)


def damage_statistics(image: Tensor) -> Tensor:
    """What noise, blur, JPEG and lack of light leave in a picture: (N, 3, H, W) in [0, 1] -> (N, NUM_STATISTICS).

    Of the brightness and of two differences of colours, at three scales: quantiles over blocks of the root mean square
    of the second differences along both sides (the flattest blocks show the noise), and mean, root mean square and
    large values of the first differences (edges show the blur), all as logarithms. Then how much larger steps are at
    every eighth column and row than elsewhere, on the picture's own grid and on the strongest one; the share of equal
    neighbours; and the distribution of the brightness.
    """
    sides = [max(0, _LEAST_SIDE - side) for side in image.shape[-2:]]
    image = F.pad(image, (0, sides[1], 0, sides[0]), mode="replicate")
    light = image.mean(dim=1, keepdim=True)
    color = torch.cat([image[:, :1] - light, image[:, 2:] - light], dim=1)
    level = light.flatten(1)
    found = [_quantiles(level, (0.02, 0.25, 0.5, 0.75, 0.98)), level.mean(dim=1, keepdim=True),
             level.std(dim=1, keepdim=True)]
    for planes in (light, color):
        found += _detail(planes)
    for planes in (light, color):
        for lines in (planes, planes.transpose(2, 3)):
            found += _blocks(lines)
    return torch.cat(found, dim=1)


def _quantiles(values: Tensor, shares: Sequence[float]) -> Tensor:
    """(N, P) -> (N, len(shares)), by the nearest rank."""
    ordered = values.sort(dim=1).values
    return ordered[:, [round(share * (values.shape[1] - 1)) for share in shares]]


def _detail(planes: Tensor) -> Iterator[Tensor]:
    second = planes.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None] / 6
    for scale in range(_SCALES):
        filtered = F.conv2d(planes.flatten(0, 1)[:, None], second).view(*planes.shape[:2], planes.shape[2] - 2, -1)
        energy = F.avg_pool2d(filtered.square().mean(dim=1, keepdim=True), 8 if scale < 2 else 4)
        yield (_quantiles(energy.sqrt().flatten(1), (0.1, 0.5, 0.9)) + _FLOOR).log()
        steps = torch.cat([(planes[..., 1:] - planes[..., :-1]).abs().mean(dim=1).flatten(1),
                           (planes[..., 1:, :] - planes[..., :-1, :]).abs().mean(dim=1).flatten(1)], dim=1)
        yield (torch.cat([steps.mean(dim=1, keepdim=True), steps.square().mean(dim=1, keepdim=True).sqrt(),
                          _quantiles(steps[:, ::7], (0.98,))], dim=1) + _FLOOR).log()
        planes = F.avg_pool2d(planes, 2)


def _blocks(lines: Tensor) -> Iterator[Tensor]:
    """Steps between columns, beyond those of their neighbours: (N, C, H, W), by column modulo 8."""
    steps = (lines[..., 1:] - lines[..., :-1]).abs()
    excess = (steps[..., 1:-1] - 0.5 * (steps[..., :-2] + steps[..., 2:])).mean(dim=(1, 2))
    phases = excess[:, : excess.shape[1] // 8 * 8].unflatten(1, (-1, 8)).mean(dim=1)  # 6: between columns 7 and 8
    own, most, mean = phases[:, 6], phases.amax(dim=1), phases.mean(dim=1)
    scale = steps.mean(dim=(1, 2, 3)) + _FLOOR
    yield torch.stack([(own - mean) / scale, (most - mean) / scale, (steps < _SAME).float().mean(dim=(1, 2, 3))], dim=1)

"""A denoiser that predicts a convex filter for every pixel, at several scales, for light and for colour apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.engine.pixel_kernels import ALPHAS, FROM_YCC, MOST_LOGIT, NOISE_SCALE, PICTURE_SCALE, TO_YCC, outputs_of
from rlenhance.learning.models.base import MODELS
from rlenhance.learning.models.denoiser import NoiseConditionedModel
from rlenhance.ops.noise_estimation import LARGEST_NOISE

_BLEND_START = -1.0  # bias of the logits that blend in the next coarser level
_HEAD_START = 0.1  # share of the usual weights of a head: the filters begin as means


@MODELS.register("kernel_denoiser")
class KernelDenoiser(NoiseConditionedModel):
    """Every pixel chooses a convex filter of its neighbourhood: positive weights with the sum 1, one set for the
    luma and one for both chroma planes of YCbCr. Level l filters the picture averaged over 2^l x 2^l pixels; from the
    coarsest level up, each pixel blends the coarser result in: o_l + a_l up(o_(l+1) - down(o_l)), a_l in (0, 1).

    Args:
        width: channels of the features.
        layers: residual 3x3 convolutions of the finest features, which have half the size of the picture.
        levels: scales that are filtered, the picture's own included.
        side: of the filters in pixels, odd.
        noise_floor: see `NoiseConditionedModel`.

    Raises:
        UsageError: a number outside its range.

    Source: Bako et al. 2017 and Mildenhall et al. 2018 predict filters per pixel; FFDNet (Zhang, Zuo and Zhang 2018)
    for the noise map and the unshuffled picture.
    """

    channels = 3

    def __init__(self, width: int = 32, layers: int = 3, levels: int = 4, side: int = 5, noise_floor: float = 0.0):
        super().__init__()
        if width < 1 or layers < 1 or not 2 <= levels <= 6 or side not in (3, 5, 7):
            raise UsageError(f"width and layers are at least 1, levels 2 to 6, side 3, 5 or 7; got {width}, {layers}, "
                             f"{levels} and {side}")
        if not 0 <= noise_floor <= LARGEST_NOISE:
            raise UsageError(f"noise_floor must lie between 0 and {LARGEST_NOISE:.3f}; got {noise_floor}")
        self.levels, self.side, self.noise_floor = levels, side, noise_floor
        self.network = KernelPredictor(width, layers, levels, side)
        self.register_buffer("to_ycc", torch.tensor(TO_YCC), persistent=False)
        self.register_buffer("from_ycc", torch.tensor(FROM_YCC), persistent=False)
        self.to_ycc: Tensor
        self.from_ycc: Tensor

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        return int(2 ** max(self.levels - 1, 1))

    @property
    def receptive_radius(self) -> int:  # type: ignore[override]
        features = sum(2 ** max(level, 1) for level in range(1, self.levels)) + 2 * (self.network.layers + 1)
        filters = sum((self.side // 2 + 1) * 2**level for level in range(self.levels))
        return -(-(features + filters) // self.size_multiple) * self.size_multiple

    def predict_noise(self, image: Tensor, noise: Tensor) -> Tensor:
        return image - self.filtered(image, noise)

    def filtered(self, image: Tensor, noise: Tensor) -> Tensor:
        """The result: (N, 3, H, W) and (N, 1, H, W), sides multiples of `size_multiple` -> (N, 3, H, W)."""
        scaled = torch.cat([F.pixel_unshuffle(part, 2) for part in (PICTURE_SCALE * image, NOISE_SCALE * noise)], dim=1)
        logits = self.network.on_cells(scaled.contiguous(memory_format=torch.channels_last))
        with torch.autocast(image.device.type, enabled=False):  # half precision would round the picture itself
            planes = torch.einsum("oc,nchw->nohw", self.to_ycc, image.float())
            filtered = apply_kernels(planes, [found.float() for found in logits], self.side)
            return torch.einsum("oc,nchw->nohw", self.from_ycc, filtered)


class KernelPredictor(nn.Module):
    """The logits of the filters, from the pixel-unshuffled picture and its noise map.

    Args:
        width, layers, levels, side: see `KernelDenoiser`.
    """

    def __init__(self, width: int, layers: int, levels: int, side: int):
        super().__init__()
        self.layers = layers
        self.stem = nn.Conv2d(16, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(layers))
        downsample = [nn.Conv2d(width, width, 2, stride=2) for _ in range(levels - 2)]
        self.coarse = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(levels - 2))
        heads = [nn.Conv2d(width, outputs_of(level, levels, side) * (4 if level == 0 else 1), 1)
                 for level in range(levels)]
        for layer in downsample:  # begins as the mean of 2 x 2
            layer.weight = nn.Parameter(torch.eye(width)[:, :, None, None].repeat(1, 1, 2, 2) / 4)
            layer.bias = nn.Parameter(torch.zeros(width))
        for level, head in enumerate(heads):
            bias = torch.zeros(head.out_channels)
            if level < levels - 1:
                bias[(-4 if level == 0 else -1) * ALPHAS :] = _BLEND_START
            head.weight, head.bias = nn.Parameter(_HEAD_START * head.weight.detach()), nn.Parameter(bias)
        self.downsample, self.heads = nn.ModuleList(downsample), nn.ModuleList(heads)

    def on_cells(self, cells: Tensor) -> tuple[Tensor, ...]:
        """(N, 16, h, w), the scaled picture's 2 x 2 pixels and those of its noise map -> the logits of each level: the
        first (N, 4 K, h, w), with the four pixels of a cell last, the second (N, K, h, w), and each further one at
        half the size of the one before; K is `outputs_of`."""
        features = self.features(cells)
        return tuple(head(found) for head, found in zip(self.heads, (features[0], *features), strict=True))

    def features(self, cells: Tensor) -> tuple[Tensor, ...]:
        """The features of the second and each further level, from which the heads make logits; see `on_cells`."""
        features = self.stem(cells)
        for layer in self.body:
            features = features + layer(features).relu()
        found = [features]
        for down, layer in zip(self.downsample, self.coarse, strict=True):
            features = down(features)
            features = features + layer(features).relu()
            found.append(features)
        return tuple(found)


def apply_kernels(planes: Tensor, logits: Sequence[Tensor], side: int) -> Tensor:
    """Filter YCbCr planes at every level and blend: (N, 3, H, W), and the logits of `KernelPredictor` -> the same."""
    results, blends = [], []
    for level, found in enumerate(logits):
        if level == 0:
            found = F.pixel_shuffle(found, 2)
        else:
            planes = F.avg_pool2d(planes, 2)
        results.append(convolve_each(planes, found[:, : 2 * side**2], side))
        blends.append(found[:, 2 * side**2 :].sigmoid())
    done = results.pop()
    for own, blend in zip(reversed(results), reversed(blends[:-1]), strict=True):
        rest = F.interpolate(done - F.avg_pool2d(own, 2), scale_factor=2, mode="bilinear", align_corners=False)
        done = own + torch.cat([blend[:, :1], blend[:, 1:], blend[:, 1:]], dim=1) * rest
    return done


def convolve_each(planes: Tensor, logits: Tensor, side: int) -> Tensor:
    """Each pixel's own convex filters: (N, 3, H, W), (N, 2 side^2, H, W) for luma and chroma -> (N, 3, H, W). Logits
    beyond `MOST_LOGIT`, of either sign, count as it."""
    count, _, height, width = planes.shape
    bounded = logits.clamp(-MOST_LOGIT, MOST_LOGIT)
    weights = bounded.view(count, 2, side**2, height, width).softmax(dim=2)
    padded = F.pad(planes, (side // 2,) * 4, mode="replicate")
    around = F.unfold(padded, side).view(count, 3, side**2, height, width)
    luma = (weights[:, 0] * around[:, 0]).sum(dim=1, keepdim=True)
    return torch.cat([luma, (weights[:, 1:] * around[:, 1:]).sum(dim=2)], dim=1)

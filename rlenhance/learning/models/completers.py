"""Completion networks: the two PixelRNNs, and a residual on harmonic interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlenhance.core.errors import UsageError
from rlenhance.learning.models.base import MODELS, FeedForwardModel
from rlenhance.learning.models.restorer import pixel_shuffle_to, residual_head
from rlenhance.learning.nn.backbones import BACKBONES, Backbone
from rlenhance.learning.ops.masked_tensors import downscale_masked, harmonic_fill, mask_out

_GATED: Mapping[str, Any] = {"name": "gated_pixelrnn"}


def check_train_size(side: int) -> int:
    """The side, if it is at least 16 pixels."""
    if side < 16:
        raise UsageError(f"train_size must be at least 16 pixels; got {side}")
    return side


class CompletionNet(FeedForwardModel):
    """Base class of completion networks: a backbone on picture and mask, and a head.

    Attributes:
        backbone: takes four channels; policies can start from it.
        train_size: side in pixels of the square pictures that it was trained on.
    """

    purpose = "completion"
    needs_mask = True
    backbone: Backbone
    train_size: int

    def __init__(self, backbone: Mapping[str, Any], train_size: int):
        super().__init__()
        self.train_size = check_train_size(train_size)
        self.backbone = BACKBONES.rebuild({**backbone, "channels": 4, "context": 0})

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        """The prediction for all pixels, (N, 3, H, W); `image` is black inside the mask."""
        raise TypeError("a completion network defines fill")

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        assert mask is not None  # checked by forward
        return self.fill(mask_out(image, mask), mask).float()


@MODELS.register("gated_pixelrnn")
class GatedPixelRNNCompleter(CompletionNet):
    """The gated PixelRNN with its head: a 3x3 convolution to 32 channels, a 1x1 one to RGB, sigmoid.

    Args:
        width, dilations, batch_norm: of the backbone, see `GatedPixelRNN`; with the published dilations of 1 the middle
            of a hole of 38 pixels does not depend on the picture.
        train_size: published: 128.
    """

    def __init__(self, width: int = 48, dilations: Sequence[int] = (2, 4, 8), train_size: int = 128,
                 batch_norm: bool = False):
        super().__init__({"name": "gated_pixelrnn", "width": width, "dilations": tuple(dilations),
                          **({"batch_norm": True} if batch_norm else {})}, train_size)
        self.head = nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.backbone(torch.cat([image, mask], dim=1))[0])


@MODELS.register("convlstm_autoencoder")
class ConvLSTMCompleter(CompletionNet):
    """The ConvLSTM autoencoder with a 3x3 convolution to RGB and a sigmoid.

    Args:
        widths, looks, skips: of the backbone, see `ConvLSTMAutoencoder`; published: 64, 128 and 256, one look, no
            skips.
        sees_mask: whether the mask is an input; otherwise its plane is 0, as published.
        train_size: published: 256.
        whole_output: the output is the network's everywhere, as published; otherwise in the hole alone.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), looks: int = 4, skips: bool = True,
                 sees_mask: bool = True, train_size: int = 256, whole_output: bool = False):
        super().__init__({"name": "convlstm_autoencoder", "widths": tuple(widths), "looks": looks, "skips": skips},
                         train_size)
        self.sees_mask, self.composites = sees_mask, not whole_output
        self.head = nn.Sequential(nn.Conv2d(self.backbone.width, 3, 3, padding=1), nn.Sigmoid())

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        plane = mask if self.sees_mask else torch.zeros_like(mask)
        return self.head(self.backbone(torch.cat([image, plane], dim=1))[0])


@MODELS.register("prior")
class ResidualCompleter(CompletionNet):
    """Harmonic interpolation plus a residual; begins as harmonic interpolation.

    The residual of a larger picture is predicted on a downscaled one, whose shorter side is `train_size`, and
    interpolated bilinearly.

    Args:
        widths, blocks: of the backbone, see `Pyramid`.
        train_size: see above.
        flip_ensemble: whether, in evaluation mode, the residual is the mean over the picture and its mirror image.
    """

    def __init__(self, widths: Sequence[int] = (48, 64, 96), blocks: Sequence[int] = (1, 2, 2), train_size: int = 128,
                 flip_ensemble: bool = True):
        super().__init__({"name": "pyramid", "widths": tuple(widths), "blocks": tuple(blocks)}, train_size)
        self.flip_ensemble = flip_ensemble
        self.head = residual_head(self.backbone, 3)

    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        size = image.shape[-2:]
        scale = min(1.0, self.train_size / min(size))
        small, hole = downscale_masked(image, mask, (round(scale * size[0]), round(scale * size[1])))
        film = harmonic_fill(small, hole)
        residual = self.residual(film, hole)
        if self.flip_ensemble and not self.training:
            residual = (residual + self.residual(film.flip(3), hole.flip(3)).flip(3)) / 2
        if scale == 1:
            return film + residual
        return harmonic_fill(image, mask) + F.interpolate(residual, size, mode="bilinear", align_corners=False)

    def residual(self, film: Tensor, hole: Tensor) -> Tensor:
        """The residual on the harmonic interpolation: (N, 3, h, w)."""
        features, _ = self.backbone(torch.cat([film - 0.5, hole], dim=1))
        return pixel_shuffle_to(self.head(features), self.backbone.stride, film.shape[-2:]).float()


@MODELS.register("picture_to_picture")
class PictureToPicture(FeedForwardModel):
    """One of the PixelRNNs as it would be trained for enhancement: picture in, picture out, nothing is missing.

    Args:
        network: spec of a `CompletionNet`; its mask plane is 0, and no pixel is blacked out.
    """

    def __init__(self, network: Mapping[str, Any] = _GATED):
        super().__init__()
        self.network = MODELS.rebuild(network)
        if not isinstance(self.network, CompletionNet):
            raise UsageError(f"network is the spec of a completion network; got {network['name']}")

    @property
    def backbone(self) -> Backbone:
        """Of the network; policies can start from it."""
        backbone: Backbone = self.network.backbone
        return backbone

    def predict(self, image: Tensor, mask: Tensor | None, preference: Mapping[str, float]) -> Tensor:
        return self.network.fill(image, torch.zeros_like(image[:, :1])).float()

"""Shipped networks as tools for photographs: denoisers at given strengths, and the policy that brightens."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.image import to_array, to_tensor
from rlenhance.core.tiling import tiles
from rlenhance.hub.checkpoint import load_network
from rlenhance.hub.shipped import locate, weights_digest
from rlenhance.models import build_model
from rlenhance.tools.base import TOOLKITS, TOOLS, BatchFunction, Tool, cost_of

#: Strengths of the denoisers, standard deviations in 255ths: of noise that a camera smoothed and JPEG coded, and of
#: noise that is even.
CODED, EVEN = (3, 8, 20), (8, 20, 45)
#: The model that brightens; named, so that another default leaves tools, costs and planners what they were.
BRIGHTENER = "balanced"
#: Names of the toolkit "photo", in its order.
PHOTO = (*(f"denoise-coded-{sigma}" for sigma in CODED), *(f"denoise-even-{sigma}" for sigma in EVEN),
         "unsharp", "deconvolve-1", "deconvolve-2", "deblur-weak", "deblur-strong", "deblock-weak", "deblock-strong",
         "deblock-30")


_GREY = 0.5 / 255  # mean difference of the channels below which a picture is grey
_TILE = 192  # pixels along a tile that is enlarged


@lru_cache(maxsize=4)
def _model(name: str) -> Any:
    """A shipped model, loaded once."""
    return build_model(load_network(locate(name))).eval()


def _denoised(images: Tensor, model: str, sigma: float) -> Tensor:
    result: Tensor = _model(model).denoise_tiled(images, sigma / 255)
    return result


def _denoised_even(images: Tensor, sigma: float) -> Tensor:
    """Pictures in colour by one network, grey ones, as coding and earlier tools leave them, by the other."""
    grey = (images.amax(dim=1) - images.amin(dim=1)).mean(dim=(1, 2)) < _GREY
    result = torch.empty_like(images)
    for rows, model in ((grey, "denoiser-grey"), (~grey, "denoiser")):
        if rows.any():
            part = images[rows]
            result[rows] = _denoised(part.mean(dim=1, keepdim=True) if model == "denoiser-grey" else part, model, sigma)
    return result


def _brightened(images: Tensor) -> Tensor:
    return torch.cat([_model(BRIGHTENER)(image[None]) for image in images])  # each has its own exposure


def _measured(images: Tensor) -> Tensor:
    """The noise of each picture measured, and taken out."""
    return torch.cat([_model("denoiser-photo")(image[None]) for image in images])


def _resampled(images: Tensor) -> Tensor:
    """Enlarged by 4 by the shipped network, which restores detail, and reduced to the size of before."""
    model, result = _model("upscale"), torch.empty_like(images)
    for tile in tiles(images.shape[-2], images.shape[-1], _TILE, model.receptive_radius):
        large = model(images[tile.outer])
        result[tile.inner] = F.avg_pool2d(large, model.scale)[tile.crop]
    return result


def _add(name: str, label: str, batched: BatchFunction, radius: int | None, *models: str, sigma: float = 0.0) -> None:
    def function(picture: Any) -> Any:
        return to_array(batched(to_tensor(picture)), picture.dtype.type)

    def make() -> Tool:
        version = f"{' '.join(weights_digest(locate(model))[:16] for model in models)} {sigma:g}"
        return Tool(name, label, function, cost_of(name), radius, batched=batched, version=version)

    TOOLS.register(name)(make)


for _sigma in CODED:
    _add(f"denoise-coded-{_sigma}", "traces of noise and JPEG smoothed",
         partial(_denoised, model="denoiser-photo", sigma=_sigma), 72, "denoiser-photo", sigma=_sigma)
for _sigma in EVEN:
    _add(f"denoise-even-{_sigma}", "noise taken out", partial(_denoised_even, sigma=_sigma), 72, "denoiser",
         "denoiser-grey", sigma=_sigma)
_add("denoise-measured", "noise measured and taken out", _measured, None, "denoiser-photo")
_add("resample", "detail restored", _resampled, 40, "upscale")
_add("brighten", "brightened", _brightened, None, BRIGHTENER)


@TOOLKITS.register("photo")
def photo_tools(path: object = None) -> tuple[Tool, ...]:
    """The tools of `rlenhance restore`."""
    return tuple(TOOLS.create(name) for name in PHOTO)

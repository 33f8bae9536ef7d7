"""The planner of `rlenhance restore` by regression: what each tool gains on pictures whose damage is drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlenhance.core.arrays import NUM_D4, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import linear_from_srgb, srgb_from_linear
from rlenhance.learning.data import ImageCache, MixedDamage, SimulatedCamera, open_clean
from rlenhance.learning.data.mixed_damage import DAMAGES, ENDS, damage
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import MODELS, ToolGains
from rlenhance.learning.ops.image import center_crop, to_array, to_tensor
from rlenhance.ops.damage_statistics import damage_statistics
from rlenhance.ops.plane_statistics import exposure_of
from rlenhance.tools import PHOTO, Tool, tool_of
from rlenhance.tools.photo import BRIGHTENER

_MOST_GAIN, _MOST_QUALITY = 6.0, 45.0  # dB: larger gains and losses, and better pictures, count as this
NAMES = ("statistics", "gains", "quality", "chain")
_BATCH, _DARK, _JPEG = 64, DAMAGES.index("dark"), DAMAGES.index("jpeg")
_BRIGHTENED = 0.15  # exposure below which a crop with less light is brightened
_GREY, _CAMERA = 0.3, 0.2  # shares of the crops that are grey, and that a simulated camera has taken
_MOST_MISSED = 1000  # pictures in a row that are too small
_LIGHT_DEGREES = 2  # degrees of pictures that are nearly good


@dataclass(frozen=True)
class Config:
    """Train the planner of `rlenhance restore`: damaged crops of clean pictures, grey and in colour, some taken
    by a simulated camera, every tool tried on each, the gains learned by regression; then the same after one tool, and
    after two."""

    data: tuple[Path, ...] = ()
    """Folders of clean pictures, or of pairs whose references are clean, each counted alike."""
    tools: tuple[str, ...] = PHOTO
    """Names of the tools."""
    name: str = "photo"
    """Of the run, in runs/tool_gains."""
    out: Path = Path("runs/tool_gains")
    """Folder of the runs."""
    collect_minutes: float = 6.0
    """How long tools are tried; what earlier runs of the name have tried is used too."""
    steps: int = 3
    """Tools that follow one another."""
    crop: int = 128
    """Pixels along a crop that the tools see."""
    side: int = 96
    """Pixels along its middle, which is scored, and which the network sees."""
    updates: int = 4000
    """Of the network, with 64 states each."""
    learning_rate: float = 3e-3
    """Of AdamW; it falls to 0 along a cosine."""
    weight_decay: float = 0.1
    """Of AdamW."""
    seed: int = 0
    """Of the crops, the damage and the weights."""


@dataclass
class Samples:
    """What was tried: statistics of the pictures (N, S), the gain of each tool (N, T) in dB, the PSNR (N,), and the
    number of the chain (N,)."""

    statistics: list[Tensor] = field(default_factory=list)
    gains: list[Tensor] = field(default_factory=list)
    quality: list[Tensor] = field(default_factory=list)
    chain: list[Tensor] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """All of them as tensors."""
        return {name: torch.cat(getattr(self, name)) for name in NAMES}


def draw_degrees(rng: np.random.Generator) -> np.ndarray:
    """Degrees of one picture (1, 5): a third as on the level "wide", a third with at most two damages, a third nearly
    good or good."""
    degrees = MixedDamage("wide").draw(1, rng)
    kind = rng.integers(3)
    if kind == 1:
        kept = rng.permutation(np.flatnonzero(degrees[0]))[:2]
        degrees[0, [place for place in range(len(DAMAGES)) if place not in kept]] = 0
    elif kind == 2:
        degrees = np.minimum(degrees, _LIGHT_DEGREES)
        degrees[0, _DARK] = 0
    return degrees


def darken(clean: Tensor, degree: int, rng: np.random.Generator) -> Tensor:
    """A picture with less light, not rounded: (1, 3, H, W) -> the same; degree 0 is all of it."""
    if not degree:
        return clean
    least, most = ENDS["dark"][degree - 1 : degree + 1]
    stops = rng.uniform(least, most)
    light = linear_from_srgb(clean.numpy()) * np.float32(2**-stops)
    return torch.from_numpy(srgb_from_linear(light))


def clean_crops(folders: Sequence[Path], crop: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Crops (1, 3, crop, crop) of the training pictures, turned and mirrored, half of them of reduced pictures."""
    parts = [open_clean(folder).train for folder in folders or (None,)]
    cache, missed = ImageCache(), 0
    while missed < _MOST_MISSED:
        part = parts[rng.integers(len(parts))]
        example = part[int(rng.integers(len(part)))]
        place = example.target or example.image
        assert place is not None  # no list of clean pictures has an example without one
        image = to_tensor(cache.load(place))
        room = min(image.shape[-2:]) / crop
        if room > 1 and rng.random() < 0.5:
            image = F.interpolate(image, scale_factor=1 / rng.uniform(1, min(room, 2)), mode="area")
        top, left = (int(rng.integers(max(1, length - crop + 1))) for length in image.shape[-2:])
        piece = d4_transform(image[..., top : top + crop, left : left + crop], int(rng.integers(NUM_D4)))
        missed += 1
        if min(piece.shape[-2:]) >= crop:
            missed = 0
            yield piece.clamp(0, 1).contiguous()
    raise UsageError(f"{missed} pictures in a row are smaller than {crop}x{crop} pixels: name larger ones (data), or "
                     f"reduce crop")


def grey_of(image: Tensor) -> Tensor:
    """A picture without its colours, rounded as files are: (1, 3, H, W) -> the same."""
    luma = (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)
    return ((255 * luma).round() / 255).expand(-1, 3, -1, -1).contiguous()


def damaged(clean: Tensor, degrees: np.ndarray, rng: np.random.Generator, grey: bool) -> Tensor:
    """`damage`; noise of a grey picture is the same in all channels, as the grain of a film is."""
    if not grey:
        return damage(clean, degrees, rng)
    coding, rest = degrees.copy(), degrees.copy()
    rest[0, _JPEG], coding[0, [place for place in range(len(DAMAGES)) if place != _JPEG]] = 0, 0
    grain = damage(clean, rest, rng)[:, 1:2].expand(-1, 3, -1, -1)
    return damage(grain, coding, rng) if coding.any() else grain.contiguous()


def draw_pair(config: Config, crops: Iterator[Tensor], large: Iterator[Tensor], brighten: Any,
              rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A damaged crop (1, 3, crop, crop) and its reference.

    A dark crop is brightened, as `PhotoRestorer` does; its reference is the clean crop with as little light, through
    the same curves, so that gains are those of repair.

    Args:
        crops, large: of `config.crop` and of twice as many pixels along a side, which a simulated camera halves.
        brighten: the model.
    """
    grey, camera, degrees = rng.random() < _GREY, rng.random() < _CAMERA, draw_degrees(rng)
    if camera:
        image, clean = (to_tensor(part) for part in SimulatedCamera()(to_array(next(large), np.uint8), rng))
        return (grey_of(image), grey_of(clean)) if grey else (image, clean)
    clean = darken(next(crops), int(degrees[0, _DARK]), rng)
    clean = grey_of(clean) if grey else clean
    dark, degrees[0, _DARK] = bool(degrees[0, _DARK]), 0
    image = damaged(clean, degrees, rng, grey)
    if dark and exposure_of(image).item() < _BRIGHTENED:
        actions = brighten.decide(image)
        image, clean = brighten.render(image, actions), brighten.render(clean, actions)
    return image, clean


@torch.inference_mode()
def collect(config: Config, tools: Sequence[Tool], samples: Samples, rng: np.random.Generator, chain: int) -> None:
    """Try every tool on damaged crops, and on what one and two tools leave, until the time is up."""
    end = time.monotonic() + 60 * config.collect_minutes
    brighten: Any = load_model(BRIGHTENER)
    crops, large = (clean_crops(config.data, side, rng) for side in (config.crop, 2 * config.crop))
    while time.monotonic() < end:
        image, clean = draw_pair(config, crops, large, brighten, rng)
        target = center_crop(clean, config.side)
        chain += 1
        for _ in range(config.steps):
            results = torch.cat([tool.batch(image) for tool in tools])
            before = psnr(center_crop(image, config.side), target)
            gains = psnr(center_crop(results, config.side), target.expand(len(tools), -1, -1, -1)) - before
            samples.statistics.append(torch.from_numpy(damage_statistics(center_crop(image, config.side).numpy())))
            samples.gains.append(gains[None])
            samples.quality.append(before)
            samples.chain.append(torch.tensor([chain]))
            useful = np.flatnonzero((gains > -0.3).numpy())
            if not len(useful):
                break
            image = results[[int(gains.argmax()) if rng.random() < 0.5 else int(rng.choice(useful))]]


def fit(config: Config, network: ToolGains, samples: dict[str, Tensor]) -> str:
    """Regress the gains and the quality; returns how well it does on the chains that are left out of it, one in ten.

    The perceptrons for grey pictures learn from those in colour too.
    """
    grey = "" if network.grey is None else f"; for grey pictures: {fit(config, network.grey, samples)}"
    generator = torch.Generator().manual_seed(config.seed)
    held = samples["chain"] % 10 == 0
    seen = samples["statistics"][~held]
    network.mean.copy_(seen.mean(dim=0))
    network.deviation.copy_(seen.std(dim=0) + 1e-3)
    scaled = network.scale_statistics(seen)
    wanted = torch.cat([samples["gains"].clamp(-_MOST_GAIN, _MOST_GAIN),
                        samples["quality"].clamp(max=_MOST_QUALITY)[:, None] / 10], dim=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    for _ in range(config.updates):
        index = torch.randint(len(seen), (len(network.heads), _BATCH), generator=generator)
        told = torch.stack([head(scaled[rows]) for head, rows in zip(network.heads, index, strict=True)])
        loss = F.smooth_l1_loss(told, wanted[~held][index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return f"{len(held)} states: {_score(network, samples['statistics'][held], wanted[held])}{grey}"


@torch.inference_mode()
def _score(network: ToolGains, statistics: Tensor, wanted: Tensor) -> str:
    """Errors, and the gain of the tool that is predicted best, from some prediction on, beside the best tool's."""
    told, gains = network.predict(statistics), wanted[:, :-1]
    error = (told - wanted).abs()
    place = told[:, :-1].argmax(dim=1, keepdim=True)
    chosen = gains.gather(1, place)[:, 0]
    rows = []
    for least in (0.0, 0.1, 0.2, 0.3, 0.5):
        used = told[:, :-1].amax(dim=1) > least
        rows.append(f"{torch.where(used, chosen, 0.0).mean():+.3f} ({used.float().mean():.0%} used, "
                    f"{(used & (chosen < -0.05)).float().mean():.0%} worse) from {least:g} on")
    return (f"error {error[:, :-1].mean():.2f} dB, of the quality {10 * error[:, -1].mean():.2f} dB; chosen "
            f"{'; '.join(rows)}; best {gains.amax(dim=1).clamp(min=0).mean():+.3f}")


def main(config: Config) -> Path:
    """Collect, fit, save; returns the run's folder."""
    folder = config.out / config.name
    folder.mkdir(parents=True, exist_ok=True)
    places = sorted(folder.glob("states-*.npz"))
    tools, samples = [tool_of(name) for name in config.tools], Samples()
    if config.collect_minutes > 0:
        collect(config, tools, samples, np.random.default_rng((config.seed, len(places))), 1_000_000 * len(places))
        place = folder / f"states-{len(places)}.npz"
        arrays: dict[str, Any] = {name: part.numpy() for name, part in samples.tensors().items()}
        np.savez(place, tools=list(config.tools), **arrays)
        places.append(place)
    found = []
    for place in places:
        with np.load(place, allow_pickle=False) as stored:
            if tuple(stored["tools"]) != config.tools:
                raise UsageError(f"{place}: holds other tools ({', '.join(stored['tools'])}); choose another name")
            found.append({name: torch.from_numpy(stored[name]) for name in NAMES})
    together = {name: torch.cat([part[name] for part in found]) for name in NAMES}
    torch.manual_seed(config.seed)
    network: ToolGains = MODELS.create("tool_gains", tools=list(config.tools), grey=True)
    line = fit(config, network, together)
    print(line)
    save_checkpoint(folder / "best", network.eval(), {"fit": line})
    return folder

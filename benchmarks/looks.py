"""`python -m benchmarks looks DIR`: photographs brightened in several ways, and what the eye would object to."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import tyro
from torch import Tensor

from benchmarks.table import Table
from benchmarks.visible_faults import banding, block_energy, color_mottle, visible_noise
from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.experiments.core.bootstrap import bootstrap_interval
from rlenhance.experiments.core.published_weights import IMPORTERS
from rlenhance.experiments.tasks.lowlight_baselines import clahe, stop_at_mean
from rlenhance.io import list_photos, write
from rlenhance.io.contact_sheet import Cell, make_sheet
from rlenhance.learning.data import Example, ImageCache, load_split, open_dataset
from rlenhance.learning.data.examples import evenly_spread
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.metrics.full_reference import gt_mean_psnr, psnr, ssim
from rlenhance.learning.ops.exposure_fusion import fuse, pseudo_fusion
from rlenhance.learning.ops.image import to_array, to_tensor
from rlenhance.pipelines.decision import newly_burnt
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import AUTO, EnhanceSettings, from_json, parse_value, settings_of

#: A way to brighten: (H, W, 3) uint8 -> the same.
Way = Callable[[np.ndarray], np.ndarray]
#: Measures without a reference: (H, W, 3) uint8 -> a number.
Quality = Mapping[str, Callable[[np.ndarray], float]]
_TITLES = {"psnr": "PSNR", "ssim": "SSIM", "gt_mean": "GT-mean", "fused": "GT-mean to fused", "burnt": "newly burnt, %",
           "noise": "noise, 255ths", "banding": "banding, %", "blocks": "blocks, 255ths", "mottle": "mottle, 255ths",
           "mean": "mean", "niqe": "NIQE", "brisque": "BRISQUE", "seconds": "CPU s"}
_SHARES = ("burnt", "banding")  # shown as %
_ROWS = 4  # photographs on a sheet


@dataclass(frozen=True)
class Arguments:
    """Brighten photographs in several ways; write contact sheets of them, and a table of their faults."""

    pictures: Annotated[Path, tyro.conf.Positional]
    """A folder of photographs; or of pairs (low/ and high/), of which a split is taken, with scores."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/looks")
    """Folder for the sheets and looks.json."""
    split: str = "test"
    """train, val or test, of pairs."""
    limit: int = 0
    """Take that many, evenly spread (0: all)."""
    models: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--model"])] = ("balanced", "natural")
    """Shipped models or runs, old and new weights side by side; differences are to the first."""
    denoise: tuple[str, ...] = ("auto", "0")
    """Each model with these: auto, or a share from 0 to 1."""
    peer: tuple[str, ...] = ()
    """Published weights beside them, NETWORK=FILE as `import_weights` knows them: zero_dce=Epoch99.pth."""
    large: float = 12.0
    """Megapixels at which CPU seconds are measured too (peers apart), on one enlarged photograph (0: not)."""
    level: float = 0.45
    """Mean at which stop-at-mean stops."""
    sheets: int = 10
    """How many sheets of four photographs are written, of pictures that are evenly spread (0: none)."""
    crop: int = 200
    """Side of the crops at 1:1 beside the whole pictures, around the place that a model changed most (0: none)."""


def main(arguments: Arguments) -> Table:
    """Measure, write the sheets, print the table."""
    examples, everything = load_examples(arguments.pictures, arguments.split, arguments.limit)
    loaded = load_split(examples, ImageCache(0))
    frames: dict[str, list[np.ndarray]] = {}
    for example, batch in zip(everything, load_split(everything, ImageCache(0)), strict=True):
        if batch.target is not None:
            frames.setdefault(example.scene, []).append(to_array(batch.image))
    ways, quality = make_ways(arguments), quality_measures()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    shown = set(np.linspace(0, len(examples) - 1, min(_ROWS * arguments.sheets, len(examples))).round().astype(int))
    cells: list[Cell] = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(examples):
        batch = loaded[number]
        initial, target = to_array(batch.image), None if batch.target is None else to_array(batch.target)
        fused = None if target is None else fused_frames([*frames[example.scene], target])
        made = {}
        for name, way in ways.items():
            begun = time.process_time()
            made[name] = way(initial)
            spent = time.process_time() - begun
            rated = {measure: rate(made[name]) for measure, rate in quality.items()}
            found[name].append(measure(made[name], initial, target, fused) | rated | {"seconds": spent})
        if number in shown:
            others = {} if target is None else {"reference": target}
            cells += row_of(example.name, {"input": initial, **made, **others}, arguments.crop)
    each = len(cells) // max(1, len(shown))  # cells of a photograph
    columns = each // (2 if arguments.crop else 1)
    for sheet, first in enumerate(range(0, len(cells), _ROWS * each or 1)):
        write(make_sheet(cells[first : first + _ROWS * each], columns, max(200, arguments.crop)),
              arguments.out / f"looks-{sheet + 1}.png")
    means = {name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for name, rows in found.items()}
    large = {name: seconds_at(way, to_array(loaded[len(examples) // 2].image), arguments.large)
             for name, way in ways.items() if name not in _peers(arguments.peer)} if arguments.large else {}
    scenes = [example.scene for example in examples]
    against = {name: differences(rows, found[next(iter(ways))], scenes) for name, rows in found.items()}
    titles = [_TITLES[key] for key in next(iter(means.values()))]
    more = [f"CPU s at {arguments.large:g} MP"] if large else []
    table = Table("looks", f"{len(examples)} photographs", ("way", *titles, *more), [
        (name, *(100 * value if key in _SHARES else value for key, value in row.items()),
         *([large.get(name)] if large else [])) for name, row in means.items()])
    names = list(against)
    compared = Table("differences", f"Differences to {names[0]}, 95 % intervals over scenes", ("way", *titles), [
        (name, *(interval_words(value, 100 if key in _SHARES else 1) for key, value in against[name].items()))
        for name in names[1:]])
    (arguments.out / "looks.json").write_text(json.dumps({
        "pictures": len(examples), "ways": means, "seconds_large": large, "differences": against,
        "tables": [table.stored(), compared.stored()]}, indent=1))
    print(f"{table.markdown()}\n\n{compared.title}:\n\n{compared.markdown()}\n\n{arguments.out}")
    return table


def differences(rows: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]],
                scenes: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Mean, low and high of the differences of two ways, picture by picture."""
    found = {key: bootstrap_interval([row[key] - other[key] for row, other in zip(rows, others, strict=True)], scenes)
             for key in rows[0]}
    return {key: (interval.mean, interval.low, interval.high) for key, interval in found.items()}


def interval_words(found: tuple[float, float, float], scale: float = 1) -> str:
    """The mean and its interval, as "+0.12 (+0.05 to +0.2)"."""
    mean, low, high = (f"{scale * value:+.2g}" for value in found)
    return f"{mean} ({low} to {high})"


def seconds_at(way: Way, picture: np.ndarray, megapixels: float) -> float:
    """CPU seconds for the picture enlarged to that size."""
    scale = (1e6 * megapixels / (picture.shape[0] * picture.shape[1])) ** 0.5
    large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    begun = time.process_time()
    way(large)
    return time.process_time() - begun


def quality_measures() -> Quality:
    """NIQE and BRISQUE, lower is better, where pyiqa is installed and has their models; a note says what is missing."""
    try:
        create = import_module("pyiqa").create_metric
    except ModuleNotFoundError:
        print("note: without NIQE and BRISQUE: pyiqa is not installed (pip install pyiqa)", file=sys.stderr)
        return {}
    found: dict[str, Callable[[np.ndarray], float]] = {}
    for name in ("niqe", "brisque"):
        try:
            metric = create(name, device="cpu")
        except Exception as error:  # it downloads its models when they are first asked for
            print(f"note: without {name}: {describe_failure(error, name)}", file=sys.stderr)
            continue
        found[name] = partial(_rated, metric)
    return found


def _rated(metric: Callable[[Tensor], Tensor], picture: np.ndarray) -> float:
    return metric(to_tensor(picture)).item()


def load_examples(folder: Path, split: str, limit: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """The photographs that are taken, and all of the split.

    Args:
        folder: of photographs; or of pairs, of which the split is taken.
        split: train, val or test.
        limit: take that many, evenly spread (0: all).

    Raises:
        UsageError: no such split.
    """
    if (folder / "low").is_dir():
        splits = open_dataset(folder)
        if not splits.parts.get(split):
            raise UsageError(f"--split is one of {', '.join(name for name, part in splits.parts.items() if part)}; "
                             f"got {split!r}")
        examples = list(splits.parts[split])
    else:
        examples = [Example(path.name, path.name, path) for path in list_photos(folder)]
    return evenly_spread(examples, limit), examples


def make_ways(arguments: Arguments) -> dict[str, Way]:
    """The models, the peers, and three rules."""
    return {**model_ways(arguments.models, arguments.denoise, arguments.peer),
            f"stop at mean {arguments.level:g}": _rule(partial(stop_at_mean, level=arguments.level)),
            "fusion of one frame": _rule(pseudo_fusion), "CLAHE": _rule(clahe)}


def model_ways(models: Sequence[str], denoise: Sequence[str], peers: Sequence[str]) -> dict[str, Way]:
    """Models with each kind of denoising, and published networks without.

    Args:
        models: shipped ones or runs.
        denoise: "auto" or shares from 0 to 1.
        peers: NETWORK=FILE.

    Raises:
        UsageError: a peer that is not NETWORK=FILE, or does not enhance; or what `Enhancer` raises.
    """
    ways: dict[str, Way] = {}
    about = settings_of(EnhanceSettings)["denoise"]
    for model in models:
        enhancer = Enhancer(model)
        for word in denoise:
            settings = from_json(EnhanceSettings, {about.name: parse_value(about, word)})
            ways[model if word == AUTO else f"{model}, denoise {word}"] = enhancer.with_settings(settings)
    for name, file in _peers(peers).items():
        network = IMPORTERS[name](file)
        if network.purpose != "enhance":
            raise UsageError(f"--peer {name}={file}: {name} is made to {network.purpose}, not to enhance")
        with TemporaryDirectory() as folder:
            ways[name] = Enhancer(save_checkpoint(Path(folder) / name, network), denoise=0.0, white="keep")
    return ways


def _peers(words: Sequence[str]) -> dict[str, Path]:
    return {name: Path(file) for name, _, file in (word.partition("=") for word in words)}


def _rule(rule: Callable[[Tensor], Tensor]) -> Way:
    return lambda picture: to_array(rule(to_tensor(picture)))


def fused_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """The frames of a scene fused by exposure: it holds windows and shadows. Source: Mertens et al. 2007."""
    return to_array(fuse([to_tensor(frame) for frame in frames]))


def measure(image: np.ndarray, initial: np.ndarray, target: np.ndarray | None,
            fused: np.ndarray | None) -> dict[str, float]:
    """What is measured of one result; scores where there is a reference."""
    scores: dict[str, float] = {}
    if target is not None and fused is not None:
        made, wanted = to_tensor(image), to_tensor(target)
        scores = {"psnr": psnr(made, wanted).item(), "ssim": ssim(made, wanted).item(),
                  "gt_mean": gt_mean_psnr(made, wanted).item(), "fused": gt_mean_psnr(made, to_tensor(fused)).item()}
    return {**scores, "burnt": newly_burnt(image, initial), "noise": visible_noise(image), "banding": banding(image),
            "blocks": block_energy(image, initial), "mottle": color_mottle(image, initial),
            "mean": float(image.mean()) / 255}


def row_of(name: str, pictures: Mapping[str, np.ndarray], crop: int,
           square: tuple[slice, slice] | None = None) -> list[Cell]:
    """The cells of one photograph: the whole pictures, then crops at 1:1, of the busiest square where none is given."""
    cells = [Cell(picture, (way if way != "input" else name,)) for way, picture in pictures.items()]
    if not crop:
        return cells
    initial, result = list(pictures.values())[:2]
    rows, columns = square or busiest(initial, result, crop)
    return cells + [Cell(picture[rows, columns], (f"{way}, 1:1",)) for way, picture in pictures.items()]


def busiest(initial: np.ndarray, result: np.ndarray, side: int) -> tuple[slice, slice]:
    """Rows and columns of the square in which the result's detail grew most."""
    detail = [np.abs(cv2.Laplacian(picture, cv2.CV_32F)).mean(axis=2) for picture in (initial, result)]
    grown = detail[1] - detail[0]
    height, width = (min(side, length) for length in grown.shape)
    sums = cv2.blur(grown, (width, height), anchor=(0, 0), borderType=cv2.BORDER_REFLECT)
    sums = sums[: grown.shape[0] - height + 1, : grown.shape[1] - width + 1]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)

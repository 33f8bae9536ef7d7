"""What enhancing one photograph costs, beside CLAHE and others: processor time, and the peak of memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.scaling import peak
from benchmarks.table import Table, interleaved
from rlenhance.engine import lookup
from rlenhance.engine import render as sweep
from rlenhance.learning.actions import apply_action
from rlenhance.learning.models import GreedyEpisode, PixelPolicy
from rlenhance.learning.ops.image import resized_tensor, to_array, to_tensor
from rlenhance.pipelines.color_table import ColorTable
from rlenhance.pipelines.denoise import Denoiser

#: Width and height of the pictures.
SIZES = ((600, 400), (2000, 1500), (4000, 3000), (8192, 6144))
#: What is too slow for large pictures -> the megapixels up to which it is measured.
MOST = {"non-local means": 0.5, "denoiser": 0.5, "rse-faces": 0.5, "whole, tiles": 15, "render, tiles": 15,
        "whole, step by step": 15, "colour table, NumPy": 15}
_REMEMBERED = ("CLAHE", "whole", "whole, 16 bit", "whole, tiles", "whole, step by step")


def measure_photo(sizes: Sequence[tuple[int, int]], repeats: int, threads: int) -> Table:
    """Milliseconds of processor time (imports and files excluded), each beside CLAHE's, and megabytes.

    Args:
        sizes: width and height.
        repeats: rounds; small pictures take five times as many.
    """
    cv2.setNumThreads(threads)
    table = Table("photo", "One photograph: processor time and memory",
                  ("picture", "megapixels", "what", "ms", "times CLAHE", "MB above the start"))
    context = multiprocessing.get_context("spawn")
    for width, height in sizes:
        million = width * height / 1e6
        works = {name: work for name, work in make_works(width, height).items() if million <= MOST.get(name, million)}
        rounds = 5 * repeats if million < 1 else repeats
        seconds = interleaved(works, rounds, time.process_time)
        for name, spent in seconds.items():
            memory = None
            if name in _REMEMBERED:
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    memory = pool.submit(_memory, width, height, name, threads).result()
            table.rows.append((f"{width} x {height}", million, name, 1000 * spent, spent / seconds["CLAHE"], memory))
    return table


def make_works(width: int, height: int) -> dict[str, Callable[[], object]]:
    """CLAHE, gamma, three denoisers, the parts and the whole of a policy (`tone`, `compact`, 8 steps on 64 pixels), and
    the colour table of a look.

    Without compiled code in the package "whole" is "whole, tiles".
    """
    picture = dark_photograph(width, height)
    model = _model()
    with torch.inference_mode():
        actions = model.decide(resized_tensor(picture, 64))

    def decide() -> object:
        with torch.inference_mode():
            return model.decide(resized_tensor(picture, 64))

    def render(fast: bool) -> object:
        with _ways(fast), torch.inference_mode():
            return model.render_array(picture, actions)

    def whole(fast: bool, given: np.ndarray = picture) -> object:
        with _ways(fast), torch.inference_mode():
            return model.render_array(given, model.decide(resized_tensor(given, 64)))

    def step_by_step() -> object:
        with torch.inference_mode():
            image = to_tensor(picture)
            for action in model.decide(image):
                image = apply_action(model.policy.actions, image, action)
            return to_array(image)

    def table(fast: bool) -> object:
        with _ways(fast):
            return look(picture)

    colors = np.random.default_rng(2).random(3 * 6**3)
    look = ColorTable("gamma", 1.0, 6, tuple(colors.tolist()))
    deep = picture.astype(np.uint16) * 257
    gamma = np.rint(255 * np.linspace(0, 1, 256) ** 0.5).astype(np.uint8)
    return {
        "CLAHE": lambda: _clahe(picture), "gamma": lambda: cv2.LUT(picture, gamma),
        "non-local means": lambda: cv2.fastNlMeansDenoisingColored(picture),
        **{name: partial(Denoiser(name, device="cpu"), picture) for name in ("denoiser", "rse-faces")},
        "reduce and decide": decide,
        "render": lambda: render(True), "whole": lambda: whole(True), "whole, 16 bit": lambda: whole(True, deep),
        "render, tiles": lambda: render(False), "whole, tiles": lambda: whole(False),
        "whole, step by step": step_by_step,
        "colour table": lambda: table(True), "colour table, NumPy": lambda: table(False),
    }


def dark_photograph(width: int, height: int) -> np.ndarray:
    """Smooth, dark noise of 8 bit, (H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 160, (20, 30, 3), dtype=np.uint8)
    fine = np.random.default_rng(1).integers(0, 20, (height, width, 3), dtype=np.uint8)
    return cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), fine)


def _model() -> GreedyEpisode:
    """With weights at random, so that all agents act."""
    torch.manual_seed(0)
    policy = PixelPolicy({"name": "tone"}, {"name": "compact"}, horizon=8, decision_size=64,
                         preferences={"exposure_level": (0.25, 0.475, 0.75)}, auto=("exposure_level",)).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return GreedyEpisode(policy)


def _clahe(picture: np.ndarray) -> np.ndarray:
    """OpenCV's, on the lightness of LAB."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@contextmanager
def _ways(compiled: bool) -> Iterator[None]:
    """With compiled code, or without."""
    before = sweep.NATIVE, lookup.NATIVE
    if not compiled:
        sweep.NATIVE, lookup.NATIVE = None, {}
    try:
        yield
    finally:
        sweep.NATIVE, lookup.NATIVE = before


def _memory(width: int, height: int, name: str, threads: int) -> float:
    """Megabytes that the peak rises by, the result included, the photograph itself and all that is loaded not."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    make_works(60, 40)[name]()
    work = make_works(width, height)[name]
    mark = Path("/proc/self/clear_refs")
    if mark.exists():  # where the peak can be forgotten that making the photograph left
        mark.write_text("5")
    before = peak()
    work()
    return peak() - before

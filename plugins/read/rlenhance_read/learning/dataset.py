"""Tables of readings of rendered scenes, made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.dataset import Dataset
from rlenhance_read.learning.env import ReadEnv
from rlenhance_read.learning.rendered_text import RenderedText, find_fonts
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.cache import FILTERS_VERSION
from rlenhance_read.ocr.engines import engine_of
from rlenhance_read.ocr.filters import CHAINS, chain_versions
from rlenhance_read.tools import read_chains


def read_scenes(split: str, count: int, folder: Path, engine: str = "tesseract", seed: int = 0,
                progress: bool = True, tools: Sequence[str] = ()) -> ReadScenes:
    """Scenes of a split with every reading, from the folder or made now (about a second a scene).

    Args:
        split: train, val or test.
        count: of the scenes, from the first on.
        folder: where readings and tables are kept.
        engine: its name.
        seed: of the order in which scenes are drawn, not of the scenes.
        progress: draw a bar.
        tools: further ways to read, beside those of the package; see `rlenhance_read.tools.read_chain`.

    Raises:
        UsageError: no such engine here, or no fonts.
    """
    if count < 1:
        raise UsageError(f"the number of scenes must be at least 1; got {count}")
    rendered, ways = RenderedText(split, find_fonts()), read_chains((*CHAINS, *tools))
    made = ReadScenes(rendered, count, engine, ways, folder, seed=seed)
    versions = [chain_versions(chain) for chain in ways[len(CHAINS) :]]
    chains = hashlib.blake2b(repr((2, ways, *versions)).encode(), digest_size=4).hexdigest()
    version = engine_of(engine).version.replace(" ", "-")
    path = folder / "tables" / f"{rendered.digest}-{engine}-{version}-{FILTERS_VERSION}-{chains}-{count}.npz"
    if path.is_file():
        made.load(path)
        return made
    with tqdm(total=count, desc=f"reading {split} scenes", disable=not progress, leave=False) as bar:
        made.read_all(told=lambda row: bar.update() and None)
    made.save(path)
    made.load(path)  # rounded as every later time
    return made


@dataclass(kw_only=True)
class ReadDataset(Dataset):
    """Scenes with their readings.

    Attributes:
        train, val: to learn on, and to choose by.
        env, val_env: where learners act, and where policies are evaluated.
    """

    train: ReadScenes
    val: ReadScenes
    env: ReadEnv
    val_env: ReadEnv

    def describe(self) -> str:
        return self.about

    def digest(self) -> dict[str, str]:
        return {name: f"{scenes.scenes.digest} {scenes.count}" for name, scenes in (("train", self.train),
                                                                                   ("val", self.val))}

"""A made-up engine and scenes for tests of reading, which need no engine and no fonts of the system."""

import numpy as np

from rlenhance_read.learning.rendered_text import RenderedText, Scene, bundled_fonts
from rlenhance_read.learning.scenes import ReadScenes
from rlenhance_read.ocr.engines import FunctionEngine
from rlenhance_read.ocr.filters import ReadChain

#: Plain, inverted, and a third that never helps.
CHAINS = (ReadChain(), ReadChain(("invert",)), ReadChain(("otsu",)))


def read_level(picture: np.ndarray) -> tuple[str, float]:
    """Reads "good" in bright pictures and "bad" in dark ones, and is surer of the first."""
    bright = float(picture.mean()) / 255
    return ("good", 0.9) if bright > 0.5 else ("bad", 0.4)


ENGINE = FunctionEngine(read_level)


class LevelScenes:
    """Even scenes in which "good" is written: those of odd numbers are bright, the others dark."""

    digest = "levels"

    def __getitem__(self, number: int) -> Scene:
        level = 40 + 170 * (number % 2)
        rng = np.random.default_rng(number)
        return Scene(rng.integers(level - 9, level + 9, (24, 120, 3)).astype(np.uint8), "good", {}, f"levels/{number}")


def level_scenes(count: int = 8, **arguments: object) -> ReadScenes:
    """Scenes of which the plain chain reads the bright ones, and the inverted chain the dark ones."""
    return ReadScenes(LevelScenes(), count, ENGINE, CHAINS, **arguments)


def rendered(split: str = "train") -> RenderedText:
    """Scenes in the fonts that are everywhere."""
    return RenderedText(split, bundled_fonts())

"""References that keep highlights: made from the frames of a scene, in a folder that trains."""

import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.scripts.fuse_scenes import Arguments, main
from rlenhance.io import read, write
from rlenhance.learning.data import open_dataset


@pytest.fixture
def stacks(tmp_path):
    """Four scenes of a dark room with a window, two dark frames each; the reference burns the window."""
    light = np.full((48, 64, 3), 0.05)
    light[10:30, 40:60] = np.linspace(0.6, 0.9, 20)[None, :, None]
    for scene in range(4):
        for number, gain in enumerate((0.1, 0.5)):
            name = f"s{scene:03d}_{number}.png"
            for folder, factor in (("low", gain), ("high", 6.0)):
                (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
                write(np.rint((light * factor).clip(0, 1) * 255).astype(np.uint8), tmp_path / "data" / folder / name)
    return tmp_path / "data"


def test_the_window_is_held_and_the_scenes_stay(stacks, tmp_path):
    """The new reference has what the old one burns, the room stays bright; darker frames belong to their scenes."""
    main(Arguments(stacks, tmp_path / "fused", darker=1.0))
    old, new = (read(folder / "high" / "s000_0.png").pixels for folder in (stacks, tmp_path / "fused"))
    window = np.s_[12:28, 42:58]
    assert old[window].min() == 255 and new[window].mean() < 250 and np.ptp(new[window]) > 3
    assert new[40, 5].mean() > 0.5 * old[40, 5].mean()
    assert (read(stacks / "low" / "s000_1.png").pixels == read(tmp_path / "fused" / "low" / "s000_1.png").pixels).all()
    darker = read(tmp_path / "fused" / "low" / "s000_0_darker.jpg").pixels
    assert darker.mean() < 0.8 * read(stacks / "low" / "s000_0.png").pixels.mean()
    scenes = [{example.scene for example in open_dataset(folder).train} for folder in (stacks, tmp_path / "fused")]
    assert scenes[0] == scenes[1]


def test_the_level_reaches_for_the_old_one(stacks, tmp_path):
    """With level 1 the mean is that of the old reference."""
    main(Arguments(stacks, tmp_path / "bright", level=1.0))
    old, new = (read(folder / "high" / "s000_0.png").pixels.mean() for folder in (stacks, tmp_path / "bright"))
    assert new == pytest.approx(old, abs=1.5)


@pytest.mark.parametrize("words, told", [
    ({"share": 1.5}, "share lies"), ({"darker": -1.0}, "darker lies"), ({}, "exists"),
])
def test_what_cannot_be_made_is_refused(stacks, words, told):
    """A number out of range, and a folder that exists."""
    with pytest.raises(UsageError, match=told):
        main(Arguments(stacks, stacks if not words else stacks / "new", **words))

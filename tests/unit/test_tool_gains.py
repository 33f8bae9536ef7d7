"""The network that predicts the gains of tools."""

import numpy as np
import pytest
import torch

from research.pipelines import Arguments, main
from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.law import stir
from rlenhance.experiments.laws.models import make_model
from rlenhance.experiments.tasks import tool_gains
from rlenhance.io import write
from rlenhance.ops.damage_statistics import NUM_STATISTICS, damage_statistics
from rlenhance.pipelines.restore import PhotoRestorer


def test_stopping_gains_nothing(generator):
    """Each tool has a prediction, the last column is 0, for pictures of any size from 8 pixels on."""
    network = stir(make_model("tool_gains", tools=("median", "unsharp", "clahe")))
    for size in ((8, 8), (24, 33)):
        scores = network({"image": torch.rand(2, 3, *size, generator=generator)})
        assert scores.shape == (2, 4) and (scores[:, -1] == 0).all() and scores[:, :-1].abs().min() > 0


def test_every_weight_is_used(generator):
    """The losses of the gains and of the quality reach every parameter."""
    network = stir(make_model("tool_gains")).train()
    gains, quality = network.assess(torch.rand(3, 3, 32, 32, generator=generator))
    (gains.square().sum() + quality.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_what_cannot_be_planned_is_refused():
    """No tools, and no picture, are named with the way out."""
    with pytest.raises(UsageError, match="at least one tool"):
        make_model("tool_gains", tools=())
    with pytest.raises(UsageError, match="to_tensor"):
        make_model("tool_gains")({"image": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)})


def test_grey_pictures_have_perceptrons_of_their_own(generator):
    """Those in colour do not depend on them, and grey ones on nothing else; both may stand in one batch."""
    network = stir(make_model("tool_gains", grey=True))
    images = torch.rand(2, 3, 48, 48, generator=generator)
    images[0] = images[0, :1]
    before, own = network.assess(images)[0], network.grey.assess(images)[0]
    assert torch.equal(before[0], own[0]) and not torch.equal(before[1], own[1])
    stir(network.grey, 0.3)
    after = network.assess(images)[0]
    assert torch.equal(after[1], before[1]) and not torch.equal(after[0], before[0])


@pytest.fixture
def photographs(tmp_path):
    """Twelve small pictures in a folder."""
    rng = np.random.default_rng(0)
    for number in range(12):
        write(rng.integers(0, 255, (64, 80, 3), dtype=np.uint8), tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


def test_a_planner_is_trained_and_measured(photographs, tmp_path, capsys):
    """What earlier runs have tried is used too; other tools under the same name are refused."""
    config = tool_gains.Config(data=(photographs,), tools=("unsharp", "median"), out=tmp_path, name="own",
                               collect_minutes=0.005, crop=32, side=32, updates=3, steps=2)
    folder = tool_gains.main(config)
    tool_gains.main(config)
    assert len(list(folder.glob("states-*.npz"))) == 2
    with pytest.raises(UsageError, match="holds other tools"):
        tool_gains.main(tool_gains.Config(**{**vars(config), "tools": ("median",), "collect_minutes": 0}))
    assert PhotoRestorer(folder).model.tools == config.tools
    rows = ("before: input", f"own: restore --model {folder}")
    found = main(Arguments((photographs,), rows, ("clean", "wide"), limit=1))
    assert len(found["wide"]["own"]) == 1 and "wide: 1 photographs" in capsys.readouterr().out


def test_statistics_tell_damage_apart(generator):
    """More noise raises those of the noise; blocks of eight pixels raise those of the grid; any size has as many."""
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (96, 96), mode="bicubic")
    smooth = smooth.clamp(0, 1)
    noisy = (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    blocks = torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(smooth, 8), scale_factor=8)
    of_smooth, of_noisy, of_blocks = (damage_statistics(image.numpy())[0] for image in (smooth, noisy, blocks))
    assert (of_noisy[7:10] > of_smooth[7:10] + 1).all()
    assert of_blocks[43] > of_smooth[43] + 1
    assert damage_statistics(torch.rand(2, 3, 9, 70, generator=generator).numpy()).shape == (2, NUM_STATISTICS)

"""What all tests share: one thread (tiny convolutions are slower with more), seeded pictures, tiny data folders."""

import os

for _name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before torch is imported
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from rlenhance.hub import shipped as weights  # noqa: E402
from rlenhance.io import write  # noqa: E402
from rlenhance.learning.hub.checkpoint import save_checkpoint  # noqa: E402
from tests.support.data import make_pairs  # noqa: E402
from tests.support.networks import CHOICE, make_policy, make_tone, stir  # noqa: E402
from tests.support.published import made_up_rellie, made_up_zero_dce  # noqa: E402


@pytest.fixture
def generator():
    """A seeded random stream."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def image(generator):
    """Two smooth, dark pictures (2, 3, 32, 40)."""
    coarse = torch.rand(2, 3, 4, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (32, 40), mode="bilinear", align_corners=False)
    return 0.05 + 0.3 * smooth


@pytest.fixture
def pairs(tmp_path):
    """See `make_pairs`."""
    return make_pairs(tmp_path / "pairs")


@pytest.fixture
def rellie_file(tmp_path):
    """A made-up model.npz."""
    np.savez(tmp_path / "model.npz", **made_up_rellie())
    return tmp_path / "model.npz"


@pytest.fixture
def zero_dce_file(tmp_path):
    """A made-up Epoch99.pth."""
    torch.save(made_up_zero_dce(), tmp_path / "Epoch99.pth")
    return tmp_path / "Epoch99.pth"


@pytest.fixture(autouse=True)
def _numbers_as_they_are():
    """Trainings flush subnormal numbers to zero for the whole process; the next test has them again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def night(tmp_path, monkeypatch):
    """The folder one stands in, with a dark photograph and a model in runs/lol; nothing is shipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_policy(preferences=CHOICE)))
    return write(np.random.default_rng(0).integers(0, 60, (20, 28, 3), dtype=np.uint8), tmp_path / "night.png")


@pytest.fixture(scope="module")
def tone_run(tmp_path_factory):
    """A checkpoint of a policy with global and local agents."""
    return save_checkpoint(tmp_path_factory.mktemp("run") / "best", stir(make_tone(), 0.05))


@pytest.fixture
def dark():
    """A smooth, dark picture (60, 90, 3)."""
    y, x = np.mgrid[:60, :90]
    return np.stack([y + x // 3, 2 * y // 3 + 10, x // 2 + 5], axis=2).astype(np.uint8)

"""docs/explanation/originals.md: every command of the page runs on folders of the original projects' layouts."""

import re
import shlex

import numpy as np
import pytest
import torch

from rlenhance.io import write
from tests.support.bedrooms import make_bedrooms
from tests.support.data import make_pairs
from tests.support.published import made_up_ffdnet, made_up_gated, made_up_pixelrl, made_up_rellie
from tests.tasks.test_rellie_commands import make_lol
from tests.tasks.test_rse_switches import make_published
from tests.tasks.test_rse_train import SMALL
from tests.test_docs import blocks, run_command, shortened
from tests.unit.test_competition_folder import make_competition

BLOCKS = [text for page, _, text in blocks("bash") if page == "originals.md"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folders and files of the five projects, tiny."""
    place = tmp_path_factory.mktemp("originals")
    make_competition(place / "competition")
    make_competition(place / "competition4", scale=4)
    make_lol(place / "LOL", "our485")
    make_bedrooms(place)
    (place / "bedrooms").symlink_to("dataset")
    make_published(place)
    make_pairs(place / "data", scenes=12)
    (place / "checkpoints").mkdir()
    np.savez(place / "model.npz", **made_up_rellie())
    np.savez(place / "pretrained_25.npz", **made_up_pixelrl())
    torch.save(made_up_ffdnet(), place / "net_rgb.pth")
    torch.save(made_up_gated(), place / "checkpoints/model_epoch190.pth")
    for name, size in (("night.jpg", (48, 64)), ("small.png", (20, 24))):
        write(np.random.default_rng(0).integers(0, 60, (*size, 3), dtype=np.uint8), place / name)
    return place


def small(line):
    """The same command with the least budget and network."""
    if "rse_train" in line:
        given = {*re.findall(r"--\w+", line), "--block_size", "--overlap"}  # the published form has its own patches
        names = [at for at, word in enumerate(SMALL) if word.startswith("--")]
        parts = [SMALL[first:end] for first, end in zip(names, [*names[1:], len(SMALL)], strict=True)]
        return " ".join([line, "--updates 1 --rl_updates 1", *(
            shlex.join(part) for part in parts if part[0] not in given)])
    return shortened(line)


@pytest.mark.slow
@pytest.mark.parametrize("text", BLOCKS, ids=["mrpnet", "rellie", "convlstm", "rse", "gated", "own"])
def test_every_command_of_the_originals_has_its_counterpart(workplace, text):
    """Each ends with status 0."""
    for line in text.strip().splitlines():
        done = run_command(["bash", "-c", small(line.split("  #")[0])], workplace)
        assert done.returncode == 0, f"{line}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"

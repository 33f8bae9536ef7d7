"""ReLLIE's loop: its data as they lie, training in its form by one word, and the run enhances photographs."""

import numpy as np
import pytest

from rlenhance.cli.main import main as command
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.presets import begin_with
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig
from rlenhance.io import read, write
from rlenhance.learning.data import open_dataset
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.models import MODELS

pytestmark = pytest.mark.usefixtures("no_curves")


def make_lol(place, training):
    """LOL as ReLLIE's text lays it out, tiny: our485 (or ours485) and eval15, low/ and high/ in each."""
    rng = np.random.default_rng(0)
    for folder, count in ((training, 5), ("eval15", 2)):
        for number in range(count):
            good = rng.integers(60, 255, (28, 36, 3), dtype=np.uint8)
            for side, picture in (("low", good // 6), ("high", good)):
                write(picture, place / folder / side / f"{len(folder)}{number}.png")
    return place


@pytest.mark.parametrize("training", ["our485", "ours485"])
def test_both_names_of_the_training_folder_are_understood(tmp_path, training):
    """Training and validation come from it, the test is eval15."""
    splits = open_dataset(make_lol(tmp_path / "LOL", training))
    assert len(splits.train) + len(splits.val) == 5 and len(splits.test) == 2 and splits.has_references


def test_the_preset_is_the_papers_form_in_one_word():
    """Its action set and horizon are those of the released network, and an agent stands on every pixel."""
    config = begin_with(LowLightConfig, "rellie")
    policy = LOWLIGHT.model(config, None)
    released = MODELS.create("rellie")
    assert policy.actions.spec == released.actions.spec
    assert policy.actions.num_choices == 27 and policy.actions.agent_grid("local", 5, 7) == (5, 7)
    assert (policy.actions.coupling, policy.actions.lead_channel, policy.actions.momentum) == (0.1, 2, 0.2)
    assert policy.actions.scopes == released.actions.scopes == ("local",)
    assert (policy.horizon, policy.decision_size) == (released.horizon, released.decision_size) == (6, None)
    assert len(policy.preferences) == 0


def test_its_run_enhances_photographs(tmp_path, monkeypatch):
    """train.py, then test_el.py on eval15, by the commands of the page."""
    monkeypatch.chdir(tmp_path)
    lol = make_lol(tmp_path / "LOL", "ours485")
    words = ["--preset", "rellie", "--data", str(lol), "--name", "rellie", "--updates", "1", "--batch-size", "1",
             "--crop", "16", "--no-progress", "--device", "cpu"]
    assert train_command(LOWLIGHT, words) == 0
    assert load_network(tmp_path / "runs/lol/rellie/best").horizon == 6
    low = lol / "eval15" / "low"
    assert command(["enhance", str(low), "-o", "enhanced", "--model", "runs/lol/rellie"]) == 0
    assert [read(path).pixels.shape for path in sorted((tmp_path / "enhanced").iterdir())] == [(28, 36, 3)] * 2

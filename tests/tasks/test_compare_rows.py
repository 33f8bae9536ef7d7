"""The trained rows of a low-light comparison: every recipe is a row, and the time is told before it begins."""

from dataclasses import replace

import pytest
import torch

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.core.presets import begin_with
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.experiments.tasks.lowlight_rows import ROW_PRESETS, trained_rows
from rlenhance.experiments.tasks.presets import LOWLIGHT_PRESETS
from rlenhance.learning.hub.checkpoint import load_model
from rlenhance.learning.models import MODELS

NETWORKS = {"mrpnet": "MRPNetSR", "gated_pixelrnn": "PictureToPicture", "convlstm_autoencoder": "PictureToPicture"}


@pytest.fixture
def small(monkeypatch):
    """The rows' own recipes, with small pictures and small batches."""
    smaller = {"train.batch_size": 2, "data.crop": 16}
    for name in ROW_PRESETS:
        preset = LOWLIGHT_PRESETS[name]
        shorter = {"network.horizon": 2} if name == "rellie" else {}
        monkeypatch.setitem(LOWLIGHT_PRESETS, name, replace(preset, settings={**preset.settings, **smaller, **shorter}))


@pytest.mark.parametrize("names", [("rellie", "gated_pixelrnn"), pytest.param(
    ("direct", *ROW_PRESETS), marks=pytest.mark.slow)], ids=["two", "all"])
def test_every_ancestor_has_a_row_and_the_time_is_told_first(names, tmp_path, pairs, small, capsys):
    """The supervised networks of the earlier projects and ReLLIE's form, with the budget and pictures of the others."""
    config = LowLightCompareConfig(
        learners=names, rewards=("no reference",), seeds=(0,), updates=1, minutes=0.0, batch_size=2,
        out=tmp_path / "compare", data=LowLightDataConfig(data=pairs, crop=16),
        network=PolicyConfig(state_size=16, horizon=2), max_side=16)
    found = compare(LOWLIGHT_COMPARISON, config)
    printed = capsys.readouterr().out
    rows = {row.name.partition(",")[0]: row for row in list(found.rows.values())[7:]}
    assert tuple(rows) == names
    assert {name: LOWLIGHT_COMPARISON.facts(row)["reference in training"] for name, row in rows.items()} == {
        name: "yes" if name in NETWORKS else "no" for name in names}
    before, _, _ = printed.partition("run folder")
    assert before.count(": 1 run, ") == len(names) and " in all, " in before
    assert all(type(load_model(tmp_path / f"compare/{name}-0/best")).__name__ == NETWORKS[name]
               for name in names if name in NETWORKS)
    assert compare(LOWLIGHT_COMPARISON, config).text == found.text
    assert " in all, " not in capsys.readouterr().out


def test_a_row_is_a_recipe_that_lol_train_has():
    """Its settings are those of the preset; pictures, seconds and fold are those of the comparison."""
    config = LowLightCompareConfig(minutes=1.5, data=LowLightDataConfig(fold=3))
    rows = {row.name: row for row in trained_rows(config)}
    assert set(ROW_PRESETS) < set(rows) and "sac, no reference" in rows
    for name in ROW_PRESETS:
        preset, row = begin_with(LOWLIGHT.Config, name), rows[name]
        assert row.config.network == preset.network and row.config.learners == preset.learners
        assert row.config.train.reward == preset.train.reward and row.config.train.minutes == 1.5
        assert row.config.data == replace(preset.data, fold=3)
    with pytest.raises(UnknownName, match="did you mean rellie"):
        trained_rows(replace(config, learners=("relli",)))


@pytest.mark.parametrize("words, told", [
    (["--supervised-network", "mrpnet"], "it needs --learner supervised"),
    (["--learner", "supervised", "--supervised-network", "mrpnet", "--backbone", "fcn"], "leave out --backbone fcn"),
    (["--learner", "supervised", "--supervised-network", "mrp"], "did you mean mrpnet"),
])
def test_a_supervised_network_without_effect_is_refused(words, told, tmp_path, pairs, capsys):
    """With the way out."""
    assert train_command(LOWLIGHT, [*words, "--data", str(pairs), "--out", str(tmp_path / "runs")]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_completion_network_sees_and_predicts_the_whole_picture(image):
    """Every input pixel matters, also where a hole would be, and every output pixel is predicted."""
    torch.manual_seed(0)
    network = MODELS.create("picture_to_picture", network={"name": "gated_pixelrnn", "width": 8})
    image = image.requires_grad_()
    (gradient,) = torch.autograd.grad(network.train()(image).sum(), image)
    assert (gradient.abs().sum(dim=1) > 0).all()
    with pytest.raises(UsageError, match="completion network"):
        MODELS.create("picture_to_picture", network={"name": "combined"})

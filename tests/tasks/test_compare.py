"""The laws of every comparison: complete tables, nothing scored twice, wrong models refused, honest intervals."""

import dataclasses
import json
from dataclasses import replace

import pytest
import torch

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.compare import CompareConfig, TaskComparison, compare, compare_command
from rlenhance.experiments.core.config import RunConfig, TrainConfig
from rlenhance.experiments.core.presets import begin_with
from rlenhance.experiments.core.scores import Baseline
from rlenhance.experiments.core.task import Task
from rlenhance.experiments.tasks import completion, denoise, lowlight_data
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON, CompletionCompareConfig
from rlenhance.experiments.tasks.denoise_compare import DENOISE_COMPARISON, DenoiseCompareConfig
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_policy import PolicyConfig
from rlenhance.experiments.tasks.lowlight_rows import ROW_PRESETS, trained_rows
from rlenhance.experiments.tasks.presets import LOWLIGHT_PRESETS
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.learning.ops.image import NOISE_MARGIN
from tests.support.data import make_pairs
from tests.support.networks import stir

pytestmark = pytest.mark.usefixtures("no_curves")

BACKBONE = {"name": "gru_unet", "memory": "none", "widths": (8, 8), "blocks": (1, 1)}
RESTORER = {"backbone": {"name": "compact", "width": 8, "stride": 4}, "num_passes": 1}


@dataclasses.dataclass(frozen=True)
class Case:
    """A comparison whose models need no training: as `compare` takes it, a network, the rows of the baselines."""

    task: TaskComparison
    config: CompareConfig
    network: str
    arguments: dict
    baselines: tuple
    headings: tuple

    def save(self, place, seed=0):
        """A checkpoint of the network with weights of its own; its place."""
        torch.manual_seed(seed)
        save_checkpoint(place, stir(MODELS.create(self.network, **self.arguments)))
        return place


@dataclasses.dataclass(frozen=True)
class ToyConfig(RunConfig):
    """What a task that trains nothing is told."""

    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    data: lowlight_data.LowLightDataConfig = dataclasses.field(default_factory=lowlight_data.LowLightDataConfig)
    network: None = None
    learners: None = None


class ToyTask(Task):
    """A task that says no more than it must; it is compared and never trained."""

    name, command, Config = "toy", "rlenhance.experiments.toy_train", ToyConfig
    model = batches = evaluator = None

    def dataset(self, config):
        """A folder of pairs."""
        return lowlight_data.load_pictures(config.data)

    def baselines(self, config, data):
        """The picture as it is."""
        return {"input": Baseline("input", lambda batch: batch.image)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """One per task."""
    pairs = make_pairs(tmp_path_factory.mktemp("pairs"))
    clean, toy = pairs / "high", TaskComparison(ToyTask())
    return {
        "toy": Case(toy, toy.Config(baseline="input", data=lowlight_data.LowLightDataConfig(data=pairs)), "restorer",
                    RESTORER, ("input",),
                    ("PSNR, dB", "SSIM", "CPU s / MP", "parameters")),
        "lowlight": Case(
            LOWLIGHT_COMPARISON, LowLightCompareConfig(
                learners=(), baseline="input", limit=3, data=lowlight_data.LowLightDataConfig(data=pairs)),
            "restorer", RESTORER, ("input", "gamma", "CLAHE (L, limit 2)", "best constant curve", "stop at mean",
                                   "stop at mean", "oracle stop"),
            ("PSNR", "newly clipped", "CPU ms / MP", "reference in training", "training s", "dB, less input's")),
        "denoise": Case(
            DENOISE_COMPARISON, DenoiseCompareConfig(levels=(25.0, 50.0), baseline="input", limit=2,
                                                     data=denoise.DenoiseDataConfig(data=clean)),
            "restorer", {"backbone": BACKBONE, "num_passes": 1, "channels": 1, "statistics": False,
                         "range_margin": NOISE_MARGIN},
            ("input", "best single filter", "best fixed sequence", "non-local means (OpenCV, 8 bits)"),
            ("noise 25", "noise 50", "sharpness", "CPU s / MP", "parameters")),
        "completion": Case(
            COMPLETION_COMPARISON, CompletionCompareConfig(
                sizes=(32, 48), baselines=("laplace", "telea"), limit=2,
                data=completion.CompletionDataConfig(data=clean, size=32, window=16)),
            "completion_restorer", {"backbone": BACKBONE, "train_size": 32, "prior": None},
            ("original", "laplace", "telea"),
            ("32 px", "48 px", "hole PSNR, dB", "error at the centre", "texture gap, less laplace's")),
    }


every_task = pytest.mark.parametrize("name", ["toy", "lowlight", "denoise", "completion"])


@every_task
def test_a_table_is_complete_and_nothing_is_scored_twice(cases, name, tmp_path, monkeypatch):
    """Every row, condition and column; a second call scores nothing, a changed run alone is scored again."""
    case = cases[name]
    run = case.save(tmp_path / "run")
    config = dataclasses.replace(case.config, models=(str(run), f"again={run}"), out=tmp_path / "table")
    found = compare(case.task, config)
    assert list(found.rows)[-2:] == ["run", "again"]
    assert all(row.startswith(name) for row, name in zip(found.rows, (*case.baselines, "run", "again"), strict=True))
    assert all(set(row.entries) == set(case.task.of(config).conditions()) for row in found.rows.values())
    text = (tmp_path / "table/table.md").read_text()
    assert text == found.text and all(f"| {row} |" in text for row in found.rows)
    assert all(f"{heading} |" in text for heading in case.headings)
    assert list(json.loads((tmp_path / "table/table.json").read_text())["rows"]) == list(found.rows)
    asked = []
    score = type(case.task).score
    monkeypatch.setattr(type(case.task), "score", lambda self, *given: asked.append(0) or score(self, *given))
    again = compare(case.task, config)
    assert not asked and again.text == found.text
    case.save(tmp_path / "run", seed=1)
    changed = compare(case.task, config)
    assert len(asked) == found.count * len(case.task.of(config).conditions())  # two rows, one set of weights
    condition = case.task.of(config).conditions()[0]
    assert changed.rows["run"].mean(condition, "ssim") != found.rows["run"].mean(condition, "ssim")
    assert changed.rows[case.baselines[0]] == found.rows[case.baselines[0]]


@every_task
def test_intervals_are_about_the_difference_of_the_means(cases, name, tmp_path):
    """low <= mean <= high, and the mean is that of the row less that of the baseline; so it stands in the table."""
    case = cases[name]
    config = dataclasses.replace(case.config, models=(f"model={case.save(tmp_path / 'run')}",), out=tmp_path / "table")
    found = compare(case.task, config)
    for condition in case.task.of(config).conditions():
        for row in [row for row in found.rows if row != config.baseline]:
            interval = found.difference(row, config.baseline, condition, "psnr")
            means = [found.rows[one].mean(condition, "psnr") for one in (row, config.baseline)]
            assert interval.low <= interval.mean <= interval.high and interval.frames == found.count
            assert interval.mean == pytest.approx(means[0] - means[1])
        assert f"{found.difference('model', config.baseline, condition, 'psnr').mean:+.2f} (" in found.text


@every_task
def test_runs_of_one_row_are_its_seeds(cases, name, tmp_path):
    """NAME=RUN,RUN,RUN is one row: its mean, and over seeds the statistics in table, JSON, CSV and chart. One run has a
    sentence in their place."""
    case = cases[name]
    runs = [str(case.save(tmp_path / f"run{seed}", seed)) for seed in range(3)]
    config = dataclasses.replace(case.config, models=(f"model={','.join(runs)}",), out=tmp_path / "table")
    found = compare(case.task, config)
    row, conditions = found.rows["model"], case.task.of(config).conditions()
    assert all(len(row.entries[condition]) == 3 and row.spread(condition, "psnr") > 0 for condition in conditions)
    assert found.text.count("probability of improvement |") == len(conditions) and "With 3 seeds" in found.text
    statistics = json.loads((config.out / "table.json").read_text())["statistics"]
    ours = [each for each in statistics if each["row"] == "model"]
    assert [each["condition"] for each in ours] == list(conditions) and ours[0]["iqm"]["seeds"] == 3
    assert all(each["rival"] in case.baselines or each["rival"] in found.rows for each in ours)
    assert {"statistics.csv", "profile.csv", "profile.png"} <= {path.name for path in config.out.iterdir()}
    alone = compare(case.task, dataclasses.replace(config, models=runs[:1], out=tmp_path / "alone"))
    assert "One seed of each row" in alone.text and not (tmp_path / "alone/profile.csv").exists()
    with pytest.raises(UsageError, match="the same weights"):
        compare(case.task, dataclasses.replace(config, models=(f"model={runs[0]},{runs[0]}",)))


@every_task
def test_what_cannot_be_compared_is_refused_by_name(cases, name, tmp_path, capsys):
    """A wrong model, a name twice, a baseline that is no row: one line with the word, and nothing is left behind."""
    case = cases[name]
    run, out = case.save(tmp_path / "run"), tmp_path / "table"
    for changes, text in (
            ({"models": ("mine=nowhere",)}, "--models mine=nowhere: nowhere: no such run"),
            ({"models": ("=run",)}, "--models takes RUN or NAME=RUN; got '=run'"),
            ({"models": (f"mine={run}", f"mine={run}")}, r"two of the name mine .*NAME=RUN"),
            ({"baseline": "nobody"}, f"--baseline nobody: no such row; there are {case.baselines[0]}"),
            ({"limit": -1}, "must not be negative")):
        with pytest.raises(UsageError, match=text):
            compare(case.task, dataclasses.replace(case.config, out=out, **changes))
    assert compare_command(case.task, ["--models", "mine=nowhere", "--out", str(out)]) == 2
    assert "mine=nowhere" in capsys.readouterr().err
    (out / "scores.json").write_text("{")
    with pytest.raises(UsageError, match=r"not a JSON file .*scored again"):
        compare(case.task, dataclasses.replace(case.config, out=out))


def test_a_run_whose_name_is_taken_keeps_its_path(cases, tmp_path):
    """A folder called as a baseline, or last/, or with = in its name, gets a row of its own."""
    case = cases["toy"]
    words = [str(case.save(tmp_path / place)) for place in ("input", "run/last", "a=1")]
    found = compare(case.task, dataclasses.replace(case.config, models=tuple(words), out=tmp_path / "table"))
    assert list(found.rows) == ["input", words[0], words[1], "a=1"]


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

"""Laws of every task: what its help says, what a run takes up again, what it refuses; runs of version 0.1."""

import csv
import dataclasses
import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from rlenhance.agents import LEARNERS, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.core.scalars import current_name
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.config import differing, leaves, replaced
from rlenhance.experiments.core.migrate import load_config, old_flags
from rlenhance.experiments.core.train import resumed, train
from rlenhance.experiments.tasks.completion import COMPLETION
from rlenhance.experiments.tasks.denoise import DENOISE
from rlenhance.experiments.tasks.denoiser_command import DENOISER
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from rlenhance.experiments.tasks.restore import RESTORE
from rlenhance.experiments.tasks.rse.task import RSE
from rlenhance.io import write
from rlenhance.learning.actions import ACTION_SETS
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.rewards import TERMS
from rlenhance.ops.masks import MASK_GENERATORS
from tests.support.training import resume

TASKS = {task.name: task for task in (LOWLIGHT, DENOISE, COMPLETION, RESTORE, RSE)} | {"denoiser": DENOISER}
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
FORMAT1 = Path(__file__).parents[1] / "support" / "format1" / "trained"
STEADY = OptimizerConfig(final_lr_ratio=1.0)  # the learning rate does not fall with the share of the run that is over

#: Small runs of supervised learners: task -> settings.
SMALL = {
    "lowlight": {"train.learner": "supervised", "data.crop": 16, "learners.supervised": SupervisedConfig(
        optimizer=STEADY)},
    "denoise": {"train.learner": "supervised", "data.crop": 16, "learners.supervised": SupervisedConfig(
        optimizer=STEADY)},
    "denoiser": {"data.size": 16, "network.widths": (8, 8), "network.down": (1, 1), "network.up": (1,),
                 "learners.final_lr_ratio": 1.0},
    "completion": {"train.learner": "supervised", "train.val_images": 1, "data.size": 32, "data.window": 16,
                   "network.widths": (8, 8), "learners.supervised": SupervisedConfig(optimizer=STEADY)},
    "restore": {"network.model": "gated_pixelrnn", "network.widths": (4,), "data.size": 32, "train.val_images": 1},
}


@pytest.fixture
def pictures(tmp_path):
    """A folder of good pictures."""
    rng = np.random.default_rng(0)
    for number in range(10):
        write(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8), tmp_path / f"good/p{number}.png")
    return tmp_path / "good"


@pytest.fixture
def registered():
    """Names of a user's own, for as long as a test takes."""
    own = {"my_learner": LEARNERS, "my_backbone": BACKBONES, "my_actions": ACTION_SETS, "my_holes": MASK_GENERATORS}
    for name, registry in own.items():
        registry.register(name)(object)
    yield
    for name, registry in own.items():
        registry.remove(name)


def help_of(task, capsys):
    """The help, a word after the other."""
    assert train_command(task, ["--help"]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def without_clock(run):
    """metrics.csv but for the time."""
    with (run / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@tasks
def test_help_has_real_defaults_and_every_registered_name(task, capsys, registered):
    """Of this task's options; names that a user registers are among them."""
    text, config = help_of(task, capsys), task.Config()
    for option in ("--updates", "--device", "--resume", "--data" if task is not RSE else "--train-files-path"):
        assert f" {option} " in text
    if task not in (RESTORE, DENOISER):
        assert f"(default: {task.default_updates}, or as many as --minutes allows)" in text
    if task.registry is LEARNERS:
        assert "my_learner" in text
    if hasattr(config.network, "backbone") and isinstance(config.network.backbone, str):
        assert all(name in text for name in BACKBONES) and "my_backbone" in text
    if hasattr(config.data, "holes"):
        assert "my_holes" in text
    if hasattr(config.train, "reward"):
        assert all(name in text for name in TERMS)
    assert ("my_actions" in text) == (task is LOWLIGHT)
    assert f"--out PATH Where run folders are made. (default: {config.train.out})" in text


@tasks
def test_every_option_that_a_resumed_run_would_ignore_is_refused_by_name(task):
    """Whatever it is; those of the call and those that make a run longer are taken."""
    stored = task.Config()
    taken = {f"train.{name}" for name in ("resume", "auto_resume", "progress", "device", "devices", "plugin", "logger",
                                      *stored.train.extends)}
    for path, value in leaves(stored):
        given, name = changed(stored, path, value), path.partition(".")[2]
        if given is None:
            continue
        if path in taken:
            assert path in differing(resumed(given, stored, stored), stored)
        else:
            with pytest.raises(UsageError, match=rf"leave out {name} \("):
                resumed(given, stored, stored)


def changed(config, path, value):
    """Another value for one setting, one that its class takes."""
    if isinstance(value, tuple):
        others = [value[::-1], tuple(0.5 * item for item in value if isinstance(item, float)), value[:-1], (Path("a"),)]
    elif isinstance(value, bool) or not isinstance(value, int | float):
        others = [not value] if isinstance(value, bool) else [Path("another")]
    else:
        others = [value + 1, 0.5 * value, value + 0.1]
    for other in others:
        if other != value:
            with suppress(UsageError, ValueError):
                return replaced(config, {path: other})
    return None  # a setting that goes with another one


@tasks
def test_old_options_lead_to_options_of_today(task):
    """The table of renamed settings names what there is, and takes nothing that means something else today."""
    flags = {path.partition(".")[2].replace("_", "-") for path, _ in leaves(task.Config())}
    for old, new in old_flags(task.Config):
        plain = new.replace("no-", "", 1) if new.split(".")[-1].startswith("no-") else new
        assert plain in flags and old not in flags, (old, new)


@pytest.mark.parametrize("name", SMALL)
def test_an_extended_run_equals_a_longer_one_and_keeps_to_its_pictures(name, tmp_path, pictures, pairs):
    """Two updates, and two more later, are four; a picture more or less is another data set."""
    task, folder = TASKS[name], pairs if name == "lowlight" else pictures
    config = replaced(task.Config(), {
        "train.out": tmp_path / "runs", "train.batch_size": 2, "train.eval_interval": 2, "train.device": "cpu",
        "train.progress": False, "data.data": folder, **SMALL[name]})
    whole = train(task, replaced(config, {"train.name": "whole", "train.updates": 4})).run
    run = train(task, replaced(config, {"train.name": "run", "train.updates": 2})).run
    assert resume(task, run, updates=4).fitted.updates == 4
    assert (run / "last/model.safetensors").read_bytes() == (whole / "last/model.safetensors").read_bytes()
    assert without_clock(run) == without_clock(whole)
    stored = json.loads((run / "config.json").read_text())
    assert load_config(task.Config, stored).train.updates == 4 and stored["task"] == task.name
    with pytest.raises(UsageError, match="a run of the task"):
        resume(DENOISE if task is LOWLIGHT else LOWLIGHT, run)
    for path in folder.rglob(min(folder.rglob("*.png")).name):
        path.unlink()
    with pytest.raises(UsageError, match="not those the run began with"):
        resume(task, run)


@pytest.mark.parametrize("task, folder", [(LOWLIGHT, "lol"), (DENOISE, "denoise"), (DENOISER, "denoiser"),
                                          (COMPLETION, "complete"), (RESTORE, "restore"), (RSE, "rse")])
def test_settings_of_version_0_1_are_those_of_today(task, folder):
    """Every setting finds its place, under its name of today; one that is unknown is told."""
    stored = json.loads((FORMAT1 / folder / "config.json").read_text())
    config = load_config(task.Config, stored)
    assert config.train.seed == 5 and config.train.updates == stored["arguments"].get(
        "updates", stored["arguments"].get("budget", {}).get("updates"))
    kept = set(map(str, dict(leaves(config)).values()))
    told = {str(value) for value in _values(stored["arguments"])} - {"0", "", "None"}
    assert {value for value in told if value not in kept} <= {str(v) for v in told if v.startswith("[")}
    with pytest.raises(UsageError, match="sharpen"):
        load_config(task.Config, {"arguments": {**stored["arguments"], "sharpen": 1}})


def _values(part):
    for value in part.values() if isinstance(part, dict) else [part]:
        yield from _values(value) if isinstance(value, dict) else [value]


def test_a_run_of_version_0_1_goes_on(tmp_path, monkeypatch, capsys):
    """It was killed behind its checkpoint of update 4; its log has today's names, and goes on with the weights, the
    images and the random stream of 0.1. What its first rollout earns is what 0.1 would have earned (action terms are
    taken after the first gradient steps); those steps are today's."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FORMAT1 / "pairs", tmp_path / "pairs")
    shutil.copytree(FORMAT1 / "lol", tmp_path / "runs/lol")
    shutil.copytree(FORMAT1 / "lol/last", tmp_path / "runs/lol/best")
    assert train_command(LOWLIGHT, ["--resume", "runs/lol", "--device", "cpu", "--no-progress"]) == 0
    with (FORMAT1 / "lol_resumed.csv").open() as file:
        old = [{current_name(name): value for name, value in row.items()} for row in csv.DictReader(file)]
    new = without_clock(tmp_path / "runs/lol")
    assert len(new) == len(old) == 13
    same = ("reward/exposure", "reward/local_exposure", "reward/clipping", "reward/contrast", "action/", "advantage/")
    for step, (one, other) in enumerate(zip(old, new, strict=True)):
        for name, value in one.items():
            if name != "seconds" and value and (step <= 4 or (step == 5 and name.startswith(same))):
                assert float(other[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), name
            assert name == "seconds" or not value or other[name], name
    assert "format" not in json.loads((tmp_path / "runs/lol/config.json").read_text())
    assert train_command(LOWLIGHT, ["--resume", "runs/lol", "--updates", "13", "--device", "cpu", "--no-progress"]) == 0
    stored = json.loads((tmp_path / "runs/lol/config.json").read_text())
    assert stored["format"] == 2 and stored["arguments"]["train"]["updates"] == 13
    assert dataclasses.is_dataclass(load_config(LOWLIGHT.Config, stored))


def test_an_old_option_is_told_once_and_works(tmp_path, capsys):
    """On standard error, with the name of today."""
    assert train_command(LOWLIGHT, ["--evaluate_every", "0", "--a3c.optimiser.final=1", "--no-picture-agent"]) == 2
    told = capsys.readouterr().err
    assert "--eval-interval must be at least 1" in told
    assert told.count("is called") == 3 and "--a3c.optimizer.final-lr-ratio" in told and "--no-global-agent" in told

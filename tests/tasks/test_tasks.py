"""Laws of every task: what its help says, what a run takes up again, what it refuses."""

import csv
import json
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from rlenhance.agents import LEARNERS, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.config import differing, leaves, replaced
from rlenhance.experiments.core.migrate import load_config
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
from tests.support.training import resume, train_lowlight

TASKS = {task.name: task for task in (LOWLIGHT, DENOISE, COMPLETION, RESTORE, RSE)} | {"denoiser": DENOISER}
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
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
    assert train_command(task, ["--help-all"]) == 0
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
                                      "log_all_terms", *stored.train.extends)}
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
    assert resume(task, run, minutes=1e-9).fitted.updates == 4  # a limit of time takes the place of that of updates
    with pytest.raises(UsageError, match="a run of the task"):
        resume(DENOISE if task is LOWLIGHT else LOWLIGHT, run)
    for path in folder.rglob(min(folder.rglob("*.png")).name):
        path.unlink()
    with pytest.raises(UsageError, match="not those the run began with"):
        resume(task, run)


def test_a_setting_that_is_unknown_is_refused_by_name():
    """Of a run of another version: it has to go on with that one."""
    with pytest.raises(UsageError, match="names sharpen, which this version does not know"):
        load_config(LOWLIGHT.Config, {"arguments": {"train": {"sharpen": 1}}})


def test_run_folder_holds_what_is_promised(tmp_path, pairs):
    """config.json with seeds, versions and data hashes; csv, curves, samples, TensorBoard, best and last."""
    run = train_lowlight(pairs, out=tmp_path, name="run", updates=6, eval_interval=2, batch_size=2).run
    config = json.loads((run / "config.json").read_text())
    assert config["arguments"]["train"]["seed"] == 0 and "torch" in config["versions"] and set(config["data"]["digest"])
    assert config["model"]["backbone"]["width"] == 32
    for name in ("metrics.csv", "curves.png", "best/model.safetensors", "last/training.safetensors"):
        assert (run / name).stat().st_size > 0
    assert len(list((run / "samples").glob("episodes-*.png"))) == 4 and any((run / "tensorboard").iterdir())
    last = without_clock(run)[-1]
    for name in ("rollout/return", "policy/entropy/global", "optim/grad_norm", "val/psnr", "val/reward/ssim",
                 "collapse/constant_psnr", "collapse/top_choice_share", "reward/exposure"):
        assert last[name] != "", name


@tasks
def test_help_is_short_and_names_every_option(task, capsys):
    """Two screens of what changes often, with the names of the rest; --help-all explains each."""
    texts = []
    for option in ("--help", "--help-all"):
        assert train_command(task, [option]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].count("\n") <= 80 < texts[1].count("\n") and "--help-all explains" in texts[0]
    options = re.findall(r"^(?:│ |  )(--[a-z][\w.-]*)", texts[1], re.MULTILINE)
    assert len(options) > 50
    short = " ".join(texts[0].split())
    for flag in options:
        group = flag.rpartition(".")[0].removeprefix("--")
        assert re.search(rf"\b{group} \(\d+\)" if group else rf"\s{flag}(?=\s|,|$)", short), flag

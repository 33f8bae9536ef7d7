"""Plugins: parts of one's own, loaded by name, listed, kept with the run, and never imported by a checkpoint."""

import json
import shutil
import sys
from importlib import metadata

import pytest

from rlenhance.agents import LEARNERS
from rlenhance.cli import main as cli
from rlenhance.core import plugins
from rlenhance.core.errors import UsageError
from rlenhance.core.plugins import load_installed, load_plugin, loaded_plugins, unload_plugin
from rlenhance.core.registry import REGISTRIES
from rlenhance.experiments.core.cli import run_cli, train_command
from rlenhance.experiments.core.compare import compare_command
from rlenhance.experiments.core.migrate import FORMAT, load_config
from rlenhance.experiments.core.plugins import run_plugins, settings_record, with_plugins
from rlenhance.experiments.scripts.check_plugin import check as check_plugins
from rlenhance.experiments.tasks.denoise import DENOISE
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig, LowLightTrainConfig
from rlenhance.experiments.tasks.lowlight_compare import LOWLIGHT_COMPARISON, LowLightCompareConfig
from rlenhance.experiments.tasks.lowlight_data import LowLightDataConfig
from rlenhance.experiments.tasks.lowlight_evaluate import EvaluateConfig, evaluate
from rlenhance.experiments.tasks.lowlight_report import LowLightReportConfig
from rlenhance.learning.hub.checkpoint import load_network, read_config
from tests.support.plugins import page_files
from tests.tasks.test_processes import run_command_line, words

pytestmark = pytest.mark.usefixtures("no_curves")

LEARNER = '''
"""A learner."""

from dataclasses import dataclass

from rlenhance.agents.base import LEARNERS
from rlenhance.agents.direct import Direct, DirectConfig


@dataclass(frozen=True)
class OwnConfig(DirectConfig):
    """Settings of `own_learner`."""

    sharpness: float = 0.5
    """A number of its own."""


@LEARNERS.register("own_learner")
class OwnLearner(Direct):
    """Back-propagation under another name."""

    Config = OwnConfig

    def step(self, batch, progress=0.0):
        return {**super().step(batch, progress), "own/sharpness": self.config.sharpness}
'''
BACKBONE = '''
"""A backbone."""

from rlenhance.learning.nn.backbones import BACKBONES, Compact


@BACKBONES.register("own_backbone")
class Own(Compact):
    """Narrow and coarse."""

    def __init__(self, channels=3, context=0, width=8):
        super().__init__(channels, context, width=width)
'''

TERM = '''
from rlenhance.learning.rewards import state_term


@state_term("own_term", default=0.5)
def own_term(image, transition):
    """Mean of the picture."""
    return image.mean(dim=(1, 2, 3), keepdim=True)
'''


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The current folder, with two plugins; afterwards every plugin is forgotten. Those of this installation are not
    seen."""
    found = metadata.entry_points
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point for point in found(group=group)
                                                                 if not point.module.startswith("rlenhance_")])
    monkeypatch.setattr(plugins, "_LOADED", {})
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (folder / "own_learner.py").write_text(LEARNER)
    (folder / "own_backbone.py").write_text(BACKBONE)
    yield folder
    forget()


def forget():
    """What a new process would not know."""
    for module in loaded_plugins():
        unload_plugin(module)
    plugins._REFUSED.clear()


def train(folder, *words, name="run", task=LOWLIGHT):
    """The status of a tiny training run."""
    return train_command(task, [
        "--out", str(folder), "--name", name, "--updates", "2", "--batch-size", "2", "--device", "cpu", "--no-progress",
        "--horizon", "2", *(["--state-size", "16"] if task is LOWLIGHT else ["--crop", "16"]), *words])


def test_help_lists_what_a_plugin_registers(place, capsys):
    """The learner, its settings and the backbone stand in the help of a command that names the files; nobody else's."""
    assert train_command(LOWLIGHT, ["--plugin", "own_learner.py", "own_backbone", "--help-all"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "own_learner; default" in shown and "own_backbone; default" in shown
    assert "--own-learner.sharpness FLOAT A number of its own. (default: 0.5)" in shown
    forget()
    assert train_command(LOWLIGHT, ["--help-all"]) == 0
    shown = capsys.readouterr().out
    assert "own_learner" not in shown and "own-learner" not in shown and "own_backbone" not in shown


def test_a_run_keeps_its_plugins(place, tmp_path, pairs, capsys, monkeypatch):
    """config.json names them, their settings and digests; the run goes on where they are named again, from another
    folder too, and says what has changed or is missing. It imports nothing by itself."""
    words = ["--data", str(pairs), "--plugin", "own_learner.py", "--plugin=own_backbone.py", "--learner", "own_learner",
             "--backbone", "own_backbone", "--own-learner.sharpness", "0.75"]
    assert train(tmp_path / "runs", *words) == 0
    run = tmp_path / "runs" / "run"
    config = json.loads((run / "config.json").read_text())
    assert [plugin["module"] for plugin in config["plugins"]] == ["own_learner", "own_backbone"]
    assert config["plugins"][1]["file"] == str(place / "own_backbone.py") and config["plugins"][1]["digest"]
    assert config["arguments"]["train"]["plugin"] == [str(place / "own_learner.py"), str(place / "own_backbone.py")]
    assert config["arguments"]["learners"]["own_learner"]["sharpness"] == 0.75
    assert set(read_config(run / "best")["plugins"]) == {"own_backbone"}
    assert "0.75" in (run / "metrics.csv").read_text()

    def resume(*more):
        forget()
        capsys.readouterr()
        shutil.rmtree(place / "__pycache__", ignore_errors=True)
        return train_command(LOWLIGHT, ["--resume", str(run), "--no-progress", *more]), capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    named = [str(place / "own_learner.py"), str(place / "own_backbone.py")]
    status, error = resume("--updates", "3")
    assert status == 2 and f"--plugin {' '.join(named)} " in error
    assert not {"own_learner", "own_backbone"} & set(sys.modules)
    assert resume("--updates", "3", "--plugin", *named) == (0, "")
    status, error = resume("--plugin", named[0])
    assert status == 2 and f"--plugin {named[1]} " in error
    (place / "own_backbone.py").unlink()
    (tmp_path / "own_backbone.py").write_text(BACKBONE + "\n# another\n")
    status, error = resume("--plugin", named[0], "own_backbone.py")
    assert status == 0 and "own_backbone.py is not what it was when the run began" in error


def test_a_checkpoint_imports_nothing(place, tmp_path, pairs, capsys):
    """A network with a part of a plugin is refused with the way out, and used where the user names the plugin."""
    assert train(tmp_path / "runs", "--data", str(pairs), "--plugin", "own_backbone.py", "--backbone",
                 "own_backbone") == 0
    best, out = tmp_path / "runs" / "run" / "best", place / "out.png"
    words = ["enhance", str(next((pairs / "low").iterdir())), "-o", str(out), "--model", str(best)]
    forget()
    with pytest.raises(UsageError, match=r"unknown backbone 'own_backbone'.*plugin own_backbone.*--plugin own_backb"):
        load_network(best)
    assert cli.main(words) == 2
    assert "--plugin own_backbone.py" in capsys.readouterr().err
    assert "own_backbone" not in sys.modules and not out.exists()
    assert cli.main([*words, "--plugin", "own_backbone.py"]) == 0
    assert out.is_file()
    assert load_network(best).backbone.width == 8
    forget()
    assert run_cli(evaluate, EvaluateConfig, [str(best), "--data", str(pairs), "--split", "val", "--plugin",
                                              "own_backbone.py"]) == 0
    forget()
    (place / "own_backbone.py").write_text(BACKBONE + "\n# another\n")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    load_plugin("own_backbone.py")
    load_network(best)
    assert "own_backbone.py is not what it was when" in capsys.readouterr().err


def test_an_installed_plugin_is_found(place, tmp_path, pairs, capsys, monkeypatch):
    """A distribution with an entry point needs no option: it is listed, used, and loaded for a checkpoint; a broken one
    is left out with a warning. The current folder does not shadow it."""
    site = tmp_path / "site"
    for name, text in (("own_backbone", BACKBONE), ("own_broken", "1 / 0\n")):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (site / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[rlenhance.plugins]\n{name} = {name}\n")
        (site / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(place)])
    assert train(tmp_path / "runs", "--data", str(pairs), "--backbone", "own_backbone") == 0
    assert capsys.readouterr().err.count("installed plugin own_broken is left out: own_broken cannot be imported") == 1
    config = json.loads((tmp_path / "runs" / "run" / "config.json").read_text())
    assert [plugin["file"] for plugin in config["plugins"]] == [str(site / "own_backbone.py")]
    forget()
    assert load_network(tmp_path / "runs" / "run").backbone.width == 8
    assert run_plugins(LowLightConfig(), {}) == []  # uses nothing of it
    assert load_installed() == []


@pytest.mark.parametrize("source, text, wanted", [
    ("own_missing.py", None, "no such file"),
    ("own_missing", None, "no module 'own_missing'"),
    ("own-part.py", "", "cannot be the name of a module; rename the file, as in own_part.py"),
    ("my part", None, "a Python file, the folder of a package, or the name of a module"),
    ("own_part.py", "1 / 0", "ZeroDivisionError"),
    ("own_part.py", "import own_needed", "needs the module own_needed"),
    ("json.py", "", "the name json is taken by"),
    ("own_part.py", BACKBONE.replace("own_backbone", "compact"), "'compact' is registered already"),
    ("own_part.py", BACKBONE + "\n1 / 0\n", "ZeroDivisionError"),
])
def test_what_cannot_be_a_plugin_is_refused(place, source, text, wanted, capsys):
    """The file, the line and the reason, with status 2; nothing stays registered."""
    if text is not None:
        (place / source).write_text(text)
    before = {registry: list(registry) for registry in REGISTRIES}
    with pytest.raises(UsageError) as caught:
        load_plugin(source)
    assert wanted in str(caught.value)
    assert {registry: list(registry) for registry in REGISTRIES} == before and not loaded_plugins()
    assert train_command(LOWLIGHT, ["--plugin", source, "--help"]) == 2
    assert wanted in capsys.readouterr().err


def test_a_package_is_a_plugin(place):
    """What its modules register belongs to it, and its digest covers all of them."""
    (place / "own_package").mkdir()
    (place / "own_package" / "__init__.py").write_text("from own_package import parts\n")
    (place / "own_package" / "parts.py").write_text(BACKBONE)
    plugin = load_plugin("own_package")
    assert plugin.registered == {"backbone": ["own_backbone"]} and plugin.file.endswith("__init__.py")
    assert load_plugin(place / "own_package") is plugin
    forget()
    shutil.rmtree(place / "own_package" / "__pycache__", ignore_errors=True)
    (place / "own_package" / "parts.py").write_text(BACKBONE + "# another\n")
    assert load_plugin("own_package/").digest != plugin.digest


def test_every_task_takes_a_plugin(place, tmp_path, pairs, capsys):
    """Denoising trains with the learner too, and settings of every command have a place for it."""
    assert train(tmp_path / "runs", "--data", str(pairs / "high"), "--plugin", "own_learner.py", "--learner",
                 "own_learner", task=DENOISE) == 0
    assert "own_learner" in json.loads((tmp_path / "runs" / "run" / "config.json").read_text())["arguments"]["learners"]
    report = with_plugins(LowLightReportConfig)()
    assert report.comparison.configs.own_learner.sharpness == 0.5 and report.comparison.rewards == ("no reference",)
    assert with_plugins(LowLightConfig) is not LowLightConfig
    unload_plugin("own_learner")
    assert with_plugins(LowLightConfig) is LowLightConfig and "own_learner" not in LEARNERS


def test_a_learner_of_a_plugin_is_a_row_of_a_comparison(place, tmp_path, pairs):
    """Trained, scored, and found again when the comparison is repeated."""
    words = ["--plugin", "own_learner.py", "own_backbone.py", "--learners", "own_learner", "--rewards", "no reference",
             "--backbone", "own_backbone", "--own-learner.sharpness", "0.75", "--seeds", "0", "--minutes", "0",
             "--updates", "1", "--batch-size", "2", "--data", str(pairs), "--crop", "16", "--state-size", "16",
             "--horizon", "2", "--out", str(tmp_path / "compare")]
    for _ in range(2):
        assert compare_command(LOWLIGHT_COMPARISON, words) == 0
        forget()
    assert "own_learner, no reference" in (tmp_path / "compare" / "table.md").read_text()
    kept = json.loads((tmp_path / "compare" / "own_learner-no_reference-0" / "config.json").read_text())
    assert kept["arguments"]["learners"]["own_learner"]["sharpness"] == 0.75


def test_settings_of_learners_that_are_not_used_leave_no_trace(place):
    """A run that uses nothing of a plugin goes on without it."""
    load_plugin("own_learner.py")
    config = with_plugins(LowLightConfig)()
    assert config.learners.own_learner.sharpness == 0.5
    stored = {"format": FORMAT, "arguments": json.loads(json.dumps(settings_record(config), default=str))}
    assert load_config(with_plugins(LowLightConfig), stored) == config
    forget()
    assert load_config(LowLightConfig, stored) == LowLightConfig()


@pytest.mark.slow
def test_workers_and_processes_load_the_plugins(place, tmp_path, pairs):
    """Asynchronous workers are new processes, and so are those of --devices: they load the plugins too."""
    (place / "own_term.py").write_text(TERM)
    assert train(tmp_path / "runs", "--data", str(pairs), "--plugin", "own_backbone.py", "own_term.py", "--backbone",
                 "own_backbone", "--workers", "2") == 0
    run_command_line("rlenhance.experiments.lol_train", *words(pairs, tmp_path, "two", 2, "own_learner"), "--devices",
                     "2", "--plugin", str(place / "own_learner.py"), str(place / "own_backbone.py"), "--backbone",
                     "own_backbone")
    assert set(read_config(tmp_path / "two" / "best")["plugins"]) == {"own_backbone"}


def test_terms_of_a_plugin_count_where_it_is_named(place, pairs):
    """By their own weight; where the plugin is loaded and not named, they are not followed."""
    (place / "own_term.py").write_text(TERM)
    weights = [LOWLIGHT.weights(LowLightConfig(LowLightTrainConfig(**settings)))["own_term"]
               for settings in ({"plugin": ("own_term",)}, {}, {"reward": ("own_term=3",)})]
    assert weights == [0.5, 0, 3]
    config = LowLightCompareConfig(plugin=("own_term.py",), learners=("a3c",), rewards=("no reference", "own_term=2"),
                                   data=LowLightDataConfig(data=pairs))
    assert "term/own_term" in [column.key for column in LOWLIGHT_COMPARISON.of(config).columns()]


def check(*plugins, capsys):
    """Status and output of check_plugin."""
    status = run_cli(check_plugins, words=[str(plugin) for plugin in plugins])
    return status, capsys.readouterr()


def test_check_plugin_runs_the_laws(place, capsys):
    """A line per law, and status 0; each fault is named in its line, and gives status 1."""
    (place / "own_term.py").write_text(TERM)
    status, told = check("own_learner.py", "own_backbone", "own_term.py", capsys=capsys)
    assert status == 0, told.out
    lines = told.out.splitlines()
    assert "own_backbone: backbone own_backbone" in lines and "own_term: reward term own_term" in lines
    assert sum(line.startswith("  ok") for line in lines) == len(lines) - 4 == int(lines[-1].split()[0])
    assert lines[-1].endswith("laws hold")


@pytest.mark.parametrize("text, law, fault", [
    (BACKBONE + "        self.idle = self.stem.__class__(1, 1, 1)\n", "A gradient reaches every weight",
     "idle.weight"),
    (TERM.replace("image.mean", "image.round().mean"), "differentiable=False", "its gradient is 0"),
    (TERM.replace("image.mean", "(image - transition.before).mean"), "sum to its cost at the start", "rewards sum to"),
    (LEARNER.replace("{**super().step(batch, progress), ", "{"), "weights that are finite and have moved",
     "no weight has moved"),
    (LEARNER.replace("progress), ", "progress), 'chance': 1 / 0, "), "weights that are finite and have moved",
     "ZeroDivisionError: division by zero"),
])
def test_check_plugin_names_the_broken_law(place, capsys, text, law, fault):
    """With the reason beside it, and status 1."""
    (place / "own_broken.py").write_text(text)
    status, told = check("own_broken.py", capsys=capsys)
    assert status == 1
    assert [line for line in told.out.splitlines() if line.startswith("  BROKEN") and law in line and fault in line]
    assert "laws broken" in told.out


def test_the_files_of_the_page_obey_the_laws_and_train(place, tmp_path, pairs, capsys):
    """Reward, backbone, action set and learner, each in at most 60 lines; together they learn."""
    files = page_files()
    assert list(files) == ["my_reward.py", "my_backbone.py", "my_actions.py", "my_learner.py"]
    for name, text in files.items():
        assert text.count("\n") <= 65
        (place / name).write_text(text)
    status, told = check(*files, capsys=capsys)
    assert status == 0, told.out
    assert train(tmp_path / "runs", "--data", str(pairs), "--plugin", *files, "--backbone", "depthwise", "--actions",
                 "gamma", "--learner", "evolution", "--evolution.pairs", "2") == 0
    assert "rollout/return" in (tmp_path / "runs" / "run" / "metrics.csv").read_text()
    assert set(read_config(tmp_path / "runs" / "run" / "best")["plugins"]) == {"my_backbone", "my_actions"}


def test_check_plugin_refuses_what_registers_nothing(place, capsys):
    """With status 2."""
    (place / "own_nothing.py").write_text("\n")
    status, told = check("own_nothing.py", capsys=capsys)
    assert status == 2 and "registers nothing" in told.err
    assert check(capsys=capsys)[0] == 2

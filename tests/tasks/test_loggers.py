"""Every logger's files, read back, hold what metrics.csv holds, without a network."""

import csv
import json
import math
import sqlite3
import struct
import sys

import pytest

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.core import loggers
from rlenhance.experiments.core.loggers import LOGGERS
from rlenhance.experiments.tasks.lowlight import LOWLIGHT
from tests.support.training import resume, train_lowlight

pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """The variables that name other stores are those of the test alone."""
    for name in ("WANDB_MODE", "WANDB_ERROR_REPORTING", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY",
                 "MLFLOW_EXPERIMENT_NAME", "TRACKIO_DIR", "TRACKIO_PROJECT", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def trained(tmp_path, pairs, name):
    """A run of three updates that was begun, stopped after two and gone on with; and its metrics.csv."""
    settings = {"out": tmp_path / "runs", "name": "run", "eval_interval": 2, "batch_size": 2, "logger": (name,),
                "log_all_terms": True}
    run = train_lowlight(pairs, updates=2, **settings).run
    resume(LOWLIGHT, run, updates=3)
    return run, rows_of(run)


def rows_of(run):
    """(step, name) -> number, of metrics.csv."""
    with (run / "metrics.csv").open() as file:
        return {(int(row["step"]), name): float(text) for row in csv.DictReader(file)
                for name, text in row.items() if name != "step" and text}


def assert_same(found, wanted):
    """Every number of metrics.csv, to its six digits, and no other but those of samples and histograms."""
    assert set(wanted) <= set(found)
    assert {name.rpartition("/")[0] for _, name in set(found) - set(wanted)} <= {"actions/A", "episodes"}
    for key, value in wanted.items():
        assert math.isclose(found[key], value, rel_tol=1e-5, abs_tol=1e-9), key


def test_tensorboard_read_back(tmp_path, pairs):
    """Scalars, samples and histograms of its event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, wanted = trained(tmp_path, pairs, "tensorboard")
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert_same({(event.step, name): event.value for name in events.Tags()["scalars"]
                 for event in events.Scalars(name)}, wanted)
    assert events.Tags()["images"] == ["episodes"] and events.Tags()["histograms"] == ["actions/A"]


def test_trackio_read_back(tmp_path, pairs, monkeypatch):
    """Its SQLite file beside the run folders, the settings and the samples."""
    pytest.importorskip("trackio")
    store = tmp_path / "runs" / "trackio"
    for module in [name for name in sys.modules if name.split(".")[0] == "trackio"]:  # it read TRACKIO_DIR then
        monkeypatch.delitem(sys.modules, module)
    _, wanted = trained(tmp_path, pairs, "trackio")
    with sqlite3.connect(store / "rlenhance.db") as base:
        rows = base.execute("select step, metrics from metrics where run_name = 'run'").fetchall()
        settings = json.loads(base.execute("select config from configs where run_name = 'run'").fetchone()[0])
    found = {(step, name): value for step, text in rows for name, value in json.loads(text).items()
             if isinstance(value, int | float)}
    assert_same(found, wanted)
    assert settings["train.learner"] == "a3c" and len(list(store.glob("media/**/*.png"))) == 3


def test_mlflow_read_back(tmp_path, pairs):
    """Its SQLite file beside the run folders: one run, though it was trained in two parts."""
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    _, wanted = trained(tmp_path, pairs, "mlflow")
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as base:
        found = {(step, name): value for step, name, value in base.execute("select step, key, value from metrics")}
        settings = dict(base.execute("select key, value from params"))
        runs = base.execute("select name, status from runs").fetchall()
    assert_same(found, wanted)
    assert settings["train.learner"] == "a3c" and runs == [("run", "FINISHED")]
    assert len(list((tmp_path / "runs" / "mlartifacts").glob("*/artifacts/images/*.png"))) == 3


def test_wandb_read_back(tmp_path, pairs):
    """Its transaction logs in the run folder: two, of one id, since the run was trained in two parts."""
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    run, wanted = trained(tmp_path, pairs, "wandb")
    found, settings, ids = {}, {}, set()
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for record in (Record.FromString(data) for data in wandb_records(path.read_bytes())):
            if record.HasField("run"):
                ids.add(record.run.run_id)
                settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json)
                      for item in record.history.item}
            found |= {(record.history.step.num, name): value for name, value in values.items()
                      if isinstance(value, int | float) and not name.startswith("_")}
    assert_same(found, wanted)
    assert settings["train.learner"] == "a3c" and len(ids) == 1
    assert len(list(run.glob("wandb/offline-run-*/files/media/images/*.png"))) == 3


def wandb_records(data):
    """The records of a log of W&B: blocks of 32 KiB of parts (CRC, length, kind), as LevelDB writes them, after 7 bytes
    of its own."""
    whole, place = b"", 7
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole, place = whole + data[place + 7 : place + 7 + length], place + 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_a_logger_of_ones_own_and_several_at_once(tmp_path, pairs, monkeypatch):
    """Registered under a name, it gets every row, sample and histogram, the settings, and is closed when training
    fails."""
    told = []

    class Told:
        """Keeps what it is told."""

        def __init__(self, folder, settings, last_step):
            told.append(("settings", settings["train.learner"]))

        def log(self, step, numbers):
            told.append(("log", step))
            if step == 2:
                raise UsageError("full")

        def log_image(self, name, image, step):
            told.append((name, image.dtype.name))

        def log_histogram(self, name, values, step):
            told.append((name, values.size > 0))

        def close(self):
            told.append(("close", 0))

    monkeypatch.setitem(LOGGERS._entries, "told", Told)
    with pytest.raises(UsageError, match="full"):
        train_lowlight(pairs, out=tmp_path, name="run", updates=3, batch_size=2, logger=("tensorboard", "told"))
    assert told[0] == ("settings", "a3c") and told[-1] == ("close", 0)
    assert {("log", 0), ("log", 1), ("episodes", "uint8"), ("actions/A", True)} <= set(told)
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_a_logger_whose_package_is_missing_is_refused_before_training(tmp_path, pairs, monkeypatch):
    """With the line that installs it; an unknown one with the known names; and no run folder is made."""
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--logger wandb needs the package wandb: pip install .*\[wandb\]"):
        train_lowlight(pairs, out=tmp_path, name="run", updates=1, logger=("wandb",))
    with pytest.raises(UnknownName, match="trackio"):
        train_lowlight(pairs, out=tmp_path, name="run", updates=1, logger=("trackoi",))
    assert not (tmp_path / "run").exists()


def test_loggers_get_the_terms_that_are_weighed(tmp_path, pairs, monkeypatch):
    """Those of weight 0 stand in metrics.csv alone."""
    got = []

    class Listener:
        def __init__(self, folder, settings, last_step):
            self.log_image = self.log_histogram = lambda *_: None

        def log(self, step, numbers):
            got.extend(name for name in numbers if "reward/" in name)

        def close(self):
            pass

    LOGGERS.register("listener")(Listener)
    try:
        run = train_lowlight(pairs, out=tmp_path, name="run", updates=1, batch_size=2, logger=("listener",),
                             reward=("seam=0", "texture=0", "clipping=1")).run
    finally:
        LOGGERS.remove("listener")
    stored = {name for _, name in rows_of(run)}
    assert "val/reward/clipping" in got and "val/reward/texture" in stored - set(got)


def test_no_logger_at_all(tmp_path, pairs):
    """`--logger` without a name: metrics.csv alone."""
    run = train_lowlight(pairs, out=tmp_path, name="run", updates=1, batch_size=2, logger=()).run
    assert (run / "metrics.csv").exists() and not (run / "tensorboard").exists()

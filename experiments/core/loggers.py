"""Where the numbers of a run go beside metrics.csv: TensorBoard, Weights & Biases, MLflow, trackio."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.core.registry import Registry

#: Name -> class, made with (run folder, settings by their path with dots, last step that the log already holds).
LOGGERS: Registry[Any] = Registry("logger")


class Logger(Protocol):
    """What a run logs while it trains. Only the first process of several has loggers."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """The numbers of an update."""

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """A sample picture (H, W, 3) uint8."""

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """A histogram of any number of values."""

    def close(self) -> None:
        """Write what is held back; nothing is logged afterwards."""


def check_loggers(names: Iterable[str]) -> None:
    """Refuse loggers that are unknown, or whose package is not installed; imports none of them.

    Raises:
        UsageError: gives the known names, or the line that installs the package.
    """
    for name in names:
        package = getattr(LOGGERS[name], "package", None)
        if package and importlib.util.find_spec(package) is None:
            raise UsageError(f"--logger {name} needs the package {package}: {install_line(name)}")


@LOGGERS.register("tensorboard")
class TensorBoardLogger:
    """RUN/tensorboard: `tensorboard --logdir runs`."""

    package = "tensorboard"

    def __init__(self, folder: Path, settings: Mapping[str, Any], last_step: int | None):
        board = importlib.import_module("torch.utils.tensorboard")  # here: slow to import
        self._writer = board.SummaryWriter(str(folder / "tensorboard"), purge_step=last_step)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        self._writer.add_image(name, image, step, dataformats="HWC")

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        self._writer.add_histogram(name, values, step)

    def close(self) -> None:
        self._writer.close()


@LOGGERS.register("wandb")
class WandbLogger:
    """RUN/wandb, offline: `wandb sync RUN/wandb/offline-run-*` uploads it; WANDB_MODE=online does so while it trains.

    A run that goes on has the same id, and its rows replace none: W&B drops steps that it has already.
    """

    package = "wandb"

    def __init__(self, folder: Path, settings: Mapping[str, Any], last_step: int | None):
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = importlib.import_module("wandb")
        self._run = self._wandb.init(
            dir=str(folder), project=os.environ.get("WANDB_PROJECT", "rlenhance"), id=_identifier(folder),
            name=folder.name, mode=mode, resume="allow", config=dict(settings),
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        self._run.log({name: self._wandb.Histogram(values)}, step=step)

    def close(self) -> None:
        self._run.finish()


@LOGGERS.register("mlflow")
class MLflowLogger:
    """OUT/mlflow.db beside the run folders, or MLFLOW_TRACKING_URI.

    `mlflow server --backend-store-uri sqlite:///OUT/mlflow.db` (of the whole package mlflow) shows it.
    """

    package = "mlflow"
    _held = 500  # numbers that are written together; a server takes at most 1000

    def __init__(self, folder: Path, settings: Mapping[str, Any], last_step: int | None):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at the import
        entities = importlib.import_module("mlflow.entities")
        self._metric, out = entities.Metric, folder.absolute().parent
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        self._client = importlib.import_module("mlflow.tracking").MlflowClient(uri or f"sqlite:///{out / 'mlflow.db'}")
        place = None if uri else (out / "mlartifacts").as_uri()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "rlenhance")
        experiment = self._client.get_experiment_by_name(name)
        self._rows: list[Any] = []
        kept = experiment and self._client.search_runs(
            [experiment.experiment_id], f"tags.folder = '{_identifier(folder)}'", max_results=1)
        if kept:
            self._id = kept[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        number = experiment.experiment_id if experiment else self._client.create_experiment(name, place)
        run = self._client.create_run(number, run_name=folder.name, tags={"folder": _identifier(folder)})
        self._id = run.info.run_id
        parameters = [entities.Param(key, str(value)[:6000]) for key, value in settings.items()]
        for first in range(0, len(parameters), 100):
            self._client.log_batch(self._id, params=parameters[first : first + 100])

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._rows += [self._metric(name, float(value), now, step) for name, value in numbers.items()]
        if len(self._rows) >= self._held or any(name.startswith("val/") for name in numbers):
            self._write()

    def _write(self) -> None:
        for first in range(0, len(self._rows), 1000):
            self._client.log_batch(self._id, metrics=self._rows[first : first + 1000])
        self._rows = []

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        self._client.log_image(self._id, image, key=name, step=step)

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """MLflow has no histograms: five quantiles as numbers."""
        marks = (0, 25, 50, 75, 100)
        self.log(step, {f"{name}/q{mark}": float(found) for mark, found in zip(
            marks, np.percentile(values, marks), strict=True)} if values.size else {})

    def close(self) -> None:
        self._write()
        self._client.set_terminated(self._id)


@LOGGERS.register("trackio")
class TrackioLogger:
    """OUT/trackio beside the run folders, or TRACKIO_DIR: `TRACKIO_DIR=OUT/trackio trackio show`."""

    package = "trackio"

    def __init__(self, folder: Path, settings: Mapping[str, Any], last_step: int | None):
        os.environ.setdefault("TRACKIO_DIR", str(folder.absolute().parent / "trackio"))  # read at the import
        self._trackio = importlib.import_module("trackio")
        with contextlib.redirect_stdout(io.StringIO()):  # advertising
            self._run = self._trackio.init(os.environ.get("TRACKIO_PROJECT", "rlenhance"), name=folder.name,
                                           config=dict(settings), resume="allow", embed=False, auto_log_gpu=False,
                                           auto_log_cpu=False)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        self._run.log({name: self._trackio.Image(image)}, step=step)

    def log_histogram(self, name: str, values: np.ndarray, step: int) -> None:
        self._run.log({name: self._trackio.Histogram(values)}, step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()


def _identifier(folder: Path) -> str:
    """The name of a run in a store of many: the same when it goes on, of letters that W&B and a query take."""
    digest = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()
    return re.sub("[^A-Za-z0-9_-]", "-", folder.name)[:100] + f"-{digest}"

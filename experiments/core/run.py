"""A run on disk: config.json, metrics.csv, curves.png, samples/, what its loggers write, best/ and last/."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.loggers import LOGGERS, Logger
from rlenhance.experiments.core.migrate import FORMAT
from rlenhance.experiments.core.run_lock import LOCK
from rlenhance.hub.info import TRAINING, weight_shapes
from rlenhance.io import write
from rlenhance.io.files import write_atomically
from rlenhance.learning.hub.checkpoint import find_checkpoint, load_training, read_config, save_checkpoint
from rlenhance.learning.hub.spec import WithinWeights
from rlenhance.learning.ops.image import to_array

KIND = "rlenhance run"
_PACKAGES = ("rlenhance", "torch", "numpy", "gymnasium", "lightning-fabric", "opencv-python",
             "opencv-python-headless", "pillow", "scikit-image")


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class Run:
    """Everything that a run leaves behind.

    Args:
        path: the folder, made by `create` or opened by `open`.
    """

    def __init__(self, path: Path):
        self.path = path
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = ["step"]
        self._names: Sequence[str] = ("tensorboard",)
        self._settings: Mapping[str, Any] = {}
        self._listeners: Sequence[Logger] = ()
        self._unlogged: frozenset[str] = frozenset()
        self._loggers: list[Logger] | None = None

    def use_loggers(self, names: Sequence[str], settings: Mapping[str, Any], listeners: Sequence[Logger] = (),
                    unlogged: Iterable[str] = ()) -> None:
        """Choose where the numbers go beside metrics.csv, before the first of them; TensorBoard alone otherwise.

        Args:
            names: of `rlenhance.experiments.core.loggers.LOGGERS`.
            settings: of the run, for the stores that show them beside the numbers.
            listeners: more of them, made by the caller.
            unlogged: reward terms whose numbers (reward/NAME, val/reward/NAME) stand in metrics.csv alone.
        """
        self._names, self._settings, self._listeners = names, settings, listeners
        self._unlogged = frozenset(f"{prefix}reward/{name}" for name in unlogged for prefix in ("", "val/"))

    @classmethod
    def create(cls, path: Path, arguments: Mapping[str, Any], about: Mapping[str, Any]) -> Run:
        """A new run."""
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path}: cannot be made ({error.strerror}); choose another --out") from error
        run = cls(path)
        run.write_config({"kind": KIND, "arguments": dict(arguments), "versions": versions(), **about})
        return run

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Refuse a place where something lies, other than what a training leaves that was killed as it began.

        Raises:
            UsageError: says whether it is a run.
        """
        if path.exists() and (not path.is_dir() or any(
                item.name != LOCK and item.suffix != ".part" for item in path.iterdir())):
            if (path / "config.json").is_file() and _config(path).get("kind") == KIND:
                raise UsageError(f"{path}: this run exists; go on with --resume {path}, or choose another --name")
            raise UsageError(f"{path}: exists and is not a run; choose another --name or --out")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.json."""
        write_atomically(self.path / "config.json", json.dumps(config, indent=2, default=str).encode())

    @classmethod
    def open(cls, path: Path) -> tuple[Run, dict[str, Any]]:
        """A run that exists, and its config.json.

        Raises:
            UsageError: not a run, or its config.json is damaged; names the file and the field.
        """
        file = path / "config.json"
        if not file.is_file():
            raise UsageError(f"{path}: not a run (no config.json of one); name the folder that a training printed")
        try:
            config = read_object(file, finite=False)
        except UsageError as error:
            raise UsageError(f"{error}; restore it, or begin a new run with --init {path / 'best'}") from error
        if config.get("kind") != KIND:
            raise UsageError(f"{path}: not a run (no config.json of one); name the folder that a training printed")
        if not {"arguments", "data"} <= config.keys():
            raise UsageError(f"{file}: incomplete; begin a new run with --init {path}")
        for name, value in {"task": "", "plugins": [], "reward_terms": {}, **config}.items():
            fits, words = _FIELDS.get(name, (lambda value: True, ""))
            if not fits(value):
                raise UsageError(f"{file}: {name} must be {words}; got {value!r:.60}: restore it, or begin a new run "
                                 f"with --init {path / 'best'}")
        return cls(path), config

    def last_state(self) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
        """The last checkpoint, its training state and its `about`; None before the first one."""
        if not ((self.path / "last").exists() or (self.path / "last.old").exists()):
            return None
        with going_on(self.path):
            folder = find_checkpoint(self.path / "last")
            about = read_config(folder).get("about", {})
            if not isinstance(about, dict) or not _STATE.keys() <= about.keys():
                raise UsageError(f"{folder / 'config.json'}: incomplete")
            for name, fits in _STATE.items():
                if not fits(about[name]):
                    raise UsageError(f"{folder / 'config.json'}: {name} cannot be {about[name]!r:.60}")
            return folder, load_training(folder), about

    def truncate_log(self, step: int) -> None:
        """Read metrics.csv, and drop what was logged after the checkpoint at `step`."""
        path = self.path / "metrics.csv"
        if not path.is_file():
            return
        try:
            self._rows = [row for row in read_metrics(path) if row["step"] <= step]
        except (ValueError, csv.Error) as error:
            aside = path.with_suffix(".csv.damaged")
            path.replace(aside)
            print(f"{path}: damaged ({error}); set aside as {aside.name}, the log begins anew")
        self._columns = ["step"]
        for row in self._rows:
            self._columns += [name for name in row if name not in self._columns]
        self._rewrite()

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A row of metrics.csv, and the same to the loggers, without what `use_loggers` leaves out."""
        row = {"step": step, **numbers}
        self._rows.append(row)
        fresh = [name for name in row if name not in self._columns]
        if fresh or len(self._rows) == 1:
            self._columns += fresh
            self._rewrite()
        else:
            with (self.path / "metrics.csv").open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(_written(row))
        for logger in self.loggers:
            logger.log(step, {name: value for name, value in numbers.items() if name not in self._unlogged})

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(map(_written, self._rows))
        write_atomically(self.path / "metrics.csv", text.getvalue().encode())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The logged numbers, a mapping per step."""
        return self._rows

    @property
    def loggers(self) -> list[Logger]:
        """The loggers, made at the first row."""
        if self._loggers is None:
            last = self._rows[-1]["step"] if self._rows else None
            made = [LOGGERS[name](self.path, self._settings, last) for name in self._names]
            self._loggers = [*made, *self._listeners]
        return self._loggers

    def log_image(self, name: str, image: Tensor, step: int) -> None:
        """A sample picture (1, 3, H, W): samples/NAME-STEP.png, and the loggers."""
        array = to_array(image)
        write(array, self.path / "samples" / f"{name}-{step:06d}.png")
        for logger in self.loggers:
            logger.log_image(name, array, step)

    def log_histogram(self, name: str, values: Tensor, step: int) -> None:
        """A histogram for the loggers."""
        for logger in self.loggers:
            logger.log_histogram(name, values.detach().float().cpu().numpy(), step)

    def save(self, which: str, network: Any, about: Mapping[str, Any],
             training: Mapping[str, Any] | None = None) -> None:
        """best/ or last/."""
        save_checkpoint(self.path / which, network, about, training)

    def draw_curves(self, constants: Mapping[str, float] | None = None,
                    panels: Mapping[str, Sequence[str]] | None = None) -> Path:
        """curves.png: the return, validation PSNR with the rules' lines, entropy, strengths.

        Args:
            constants: horizontal lines in the PSNR panel, label -> dB.
            panels: title -> columns of metrics.csv; None: those of a policy.
        """
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        def series(name: str) -> tuple[list[float], list[float]]:
            points = [(row["step"], row[name]) for row in self._rows if name in row]
            return [p[0] for p in points], [p[1] for p in points]

        panels = panels or {
            "return": ["rollout/return", "val/return", "train/psnr"], "validation PSNR in dB": ["val/psnr"],
            "entropy in nat per agent": sorted(n for n in self._columns if n.startswith("policy/entropy/")),
            "A by step": sorted(n for n in self._columns if n.startswith("action/magnitude/step"))}
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.6))
        for axis, (title, names) in zip(axes, panels.items(), strict=True):
            for name in names:
                steps, values = series(name)
                if steps:
                    axis.plot(steps, values, label=name, linewidth=1, alpha=0.9)
            if title.startswith("validation"):
                for index, (label, value) in enumerate((constants or {}).items()):
                    axis.axhline(value, linestyle="--", linewidth=0.8, color=f"C{index + 1}", label=label)
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("update")
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=7)
        figure.tight_layout()
        path = self.path / "curves.png"
        figure.savefig(path, dpi=80)
        plt.close(figure)
        return path

    def close(self) -> None:
        """Have the loggers write what they hold; may be called again."""
        loggers, self._loggers = self._loggers or (), None
        for logger in loggers:
            logger.close()


def state_bound(path: Path) -> AbstractContextManager[Any]:
    """Context in which the learner of a run is made: it must not be much larger than the run's last state."""
    try:
        folder = find_checkpoint(path / "last")
    except UsageError:  # none yet
        return nullcontext()
    with going_on(path):
        return WithinWeights({**weight_shapes(folder, TRAINING), **weight_shapes(folder)}, factor=4, spare=1 << 26)


@contextmanager
def going_on(path: Path) -> Iterator[None]:
    """Tell the way out where the state of a run is damaged."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{error}; this run cannot go on: begin a new one with --init {path / 'best'}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.csv; empty fields are left out.

    Raises:
        ValueError, csv.Error: a field that is not a number; not a table.
    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if str(row.get("step") or "").isdigit()]
    return [{name: int(text) if text.isdigit() else float(text)
             for name, text in row.items() if name and text not in ("", None)} for row in rows]


def _written(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as metrics.csv has it: six significant digits, with the exponent of small numbers."""
    return {name: str(value) if isinstance(value, int) else f"{value:.6g}" for name, value in row.items()}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


#: Facts of a checkpoint with which a run goes on, and whether a value fits.
_STATE: Mapping[str, Callable[[Any], bool]] = {
    "step": _is_count, "best_step": _is_count,
    "seconds": lambda value: _is_number(value) and 0 <= value < math.inf,
    "best": lambda value: isinstance(value, dict) and all(map(_is_number, value.values()))}
#: Fields of config.json: whether a value fits, and what it must be.
_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "format": (lambda value: value == FORMAT, str(FORMAT)),
    "task": (lambda value: isinstance(value, str), "a text in quotes"),
    "arguments": (lambda value: isinstance(value, dict), "an object"),
    "data": (lambda value: isinstance(value, dict), "an object"),
    "plugins": (lambda value: isinstance(value, list) and all(
        _is_record(item) and {"module", "source", "file", "digest"} <= item.keys() for item in value),
        "a list of objects of texts (module, source, file, digest)"),
    "reward_terms": (lambda value: isinstance(value, dict) and all(
        _is_record(item) and "source" in item for item in value.values()), "an object of objects of texts")}


def _config(path: Path) -> dict[str, Any]:
    try:
        return read_object(path / "config.json", finite=False)
    except UsageError:
        return {}

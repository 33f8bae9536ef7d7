"""A task: pictures, networks, learners, evaluation and report. `train` and `compare` do the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from rlenhance.agents import LEARNERS, Learner
from rlenhance.core.errors import UsageError
from rlenhance.core.registry import Registry
from rlenhance.experiments.core.config import RunConfig, check_budget
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.distributed import make_fabric
from rlenhance.experiments.core.fit import ArtifactCallback, Budget, Evaluator, FitResult, fit
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.core.scores import Baseline, Column
from rlenhance.hub.shipped import locate
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import psnr, ssim
from rlenhance.learning.rewards import Reward

C = TypeVar("C", bound=RunConfig)
D = TypeVar("D", bound=Dataset)

#: Updates, where time is the limit.
NO_LIMIT = 10**9


@dataclass
class Session:
    """A run in progress.

    Attributes:
        config: its settings.
        data: the pictures.
        fabric: device and precision.
        run: its folder.
        learner: None where the task makes its learners later, stage by stage.
        evaluator: of the validation split, once `Task.fit` has started.
    """

    config: Any
    data: Any
    fabric: Any
    run: Run
    learner: Any
    evaluator: Any = field(default=None)


class Task(ABC, Generic[C, D]):
    """A kind of problem that agents or networks learn.

    One derived class and one instance of it in experiments/tasks make a task; docs/howto/new_task.md adds one.
    The parts of its configuration are dataclasses: they are its command line, and what config.json holds.

    Attributes:
        name: in config.json and in messages.
        former_names: of tasks whose runs go on as runs of this one, see `rlenhance.experiments.core.migrate`.
        command: the module that trains it, as it is typed.
        env_id: the environment in the registry of Gymnasium that its agents act in; None where nothing acts.
        Config: the class of its configuration.
        registry: the learners that it may be trained with.
        default_updates: how long it trains where neither updates nor minutes are given.
        supports_ddp: its batches divide among processes.
    """

    name: ClassVar[str]
    former_names: ClassVar[tuple[str, ...]] = ()
    command: ClassVar[str]
    env_id: ClassVar[str | None] = None
    Config: type[C]
    registry: ClassVar[Mapping[str, Any] | Registry] = LEARNERS
    default_updates: ClassVar[int] = 400
    supports_ddp: ClassVar[bool] = False

    # what a task must define

    @abstractmethod
    def dataset(self, config: C) -> D:
        """The pictures: opened, scanned, and checked for overlap between the splits.

        Raises:
            UsageError: pictures that cannot be used.
        """

    @abstractmethod
    def model(self, config: C, data: D) -> Any:
        """The network with fresh weights from the global random stream, which has been seeded."""

    @abstractmethod
    def batches(self, config: C, data: D, model: nn.Module) -> Callable[[int], Batch]:
        """Update number -> training batch; a function of the number alone, so that runs resume."""

    @abstractmethod
    def evaluator(self, config: C, data: D) -> Evaluator:
        """The evaluation on the validation split, the same at every call."""

    # defaults that it may override

    def check(self, config: C, stored: Mapping[str, Any]) -> None:
        """Refuse settings that no run can have, before pictures are read.

        Args:
            config: of the run.
            stored: config.json of a run that goes on; empty for a new one.
        """
        check_budget(config.train)
        self.registry[config.train.learner]

    def adopted(self, config: C) -> C:
        """The settings of a new run, with those that follow from the run in `warm_start`.

        Raises:
            UsageError: that run is of no use here, or the settings contradict it.
        """
        return config

    def reward(self, config: C) -> Reward | None:
        """The reward of its policies."""
        return None

    def fabric(self, config: C) -> Any:
        """Device, precision and processes."""
        train = config.train
        return make_fabric(train.device, train.precision, train.devices)

    def learner(self, config: C, data: D, device: torch.device, fresh: bool = True) -> Learner | None:
        """The learner and its network; None where the task makes its learners later.

        Args:
            config, data: of the run.
            device: where it learns.
            fresh: take the weights that `init` and `warm_start` name; a run that goes on has its own.
        """
        train = config.train
        if train.init is not None and train.warm_start is not None:
            raise UsageError("--init and --warm-start both give the network its weights: use one of them")
        torch.manual_seed(train.seed)
        network = self.model(config, data)
        if fresh and train.init is not None:
            self.initialize(network, train.init)
        if fresh and train.warm_start is not None:
            self.warm_start(network, train.warm_start)
        return self.make_learner(config, network, device)

    def make_learner(self, config: C, network: Any, device: torch.device) -> Learner:
        """The learner of the registry, with its settings of the configuration, about a network."""
        kind: Any = self.registry[config.train.learner]
        settings = getattr(config.learners, config.train.learner, None)
        if kind.is_policy:
            return kind(network, self.reward(config), settings, seed=config.train.seed, device=device)
        return kind(network, settings, seed=config.train.seed, device=device)

    def initialize(self, network: Any, path: Path) -> None:
        """Give a network the weights of a run, a checkpoint or a shipped model of the same shape."""
        other: Any = load_network(locate(str(path)))
        try:
            network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            differing = [key for key, value in network.spec.items() if other.spec.get(key) != value]
            raise UsageError(f"--init {path}: holds another network than the one asked for; they differ in "
                             f"{', '.join(differing) or 'kind'}: use the settings of that run") from error

    def warm_start(self, network: Any, path: Path) -> None:
        """Copy the weights that fit from another kind of network."""
        raise UsageError(f"--warm-start: {self.command} has no other kind of network to begin with; use --init")

    def budget(self, config: C, data: D) -> Budget:
        """The updates, the time, and what is monitored."""
        train = config.train
        updates = train.updates or (NO_LIMIT if train.minutes else self.default_updates)
        return Budget(updates, train.minutes, train.eval_interval, self.monitor(config), self.patience(config))

    def patience(self, config: C) -> int:
        """Validations without a rise of the monitored score after which training stops; 0: it does not."""
        return config.train.patience or 0

    def monitor(self, config: C) -> str:
        """The validation score whose maximum chooses best/: that of the settings, or else the task's."""
        return config.train.monitor or "val/psnr"

    def callback(self, config: C, data: D) -> ArtifactCallback | None:
        """Called after each validation, to draw samples and keep checkpoints."""
        return None

    def facts(self, config: C) -> dict[str, Any]:
        """Entries of config.json beside the configuration, the data and the model."""
        return {}

    def default_name(self, config: C) -> str:
        """The beginning of a run folder's name; date and time follow."""
        return config.train.learner

    def headline(self, config: C, data: D) -> str:
        """The lines printed before training."""
        return f"{data.describe()}\n{config.train.learner}"

    def fit(self, session: Session) -> FitResult:
        """Train until the budget is spent."""
        config, data, learner = session.config, session.data, session.learner
        learner.use_fabric(session.fabric)
        session.evaluator = self.evaluator(config, data)
        return fit(learner, self.batches(config, data, learner.network), session.evaluator, session.run,
                   self.budget(config, data), sample=self.callback(config, data), show=config.train.progress)

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        """Print the result; returns the scores by row."""
        session.run.draw_curves()
        print(f"\n{fitted.updates} updates in {fitted.seconds:.0f} s; best at update {fitted.best_step}\n"
              f"result in {session.run.path}")
        return {session.config.train.learner: fitted.best}

    # comparisons, see `rlenhance.experiments.core.compare.TaskComparison`

    def baselines(self, config: C, data: D) -> Mapping[str, Baseline]:
        """Methods that need no training, by a short key; their parameters are chosen on training pictures."""
        return {}

    def score(self, output: Tensor, batch: Batch) -> dict[str, float]:
        """The scores of a result (1, C, H, W) in [0, 1] against the reference."""
        assert batch.target is not None
        return {"psnr": psnr(output, batch.target).item(), "ssim": ssim(output, batch.target).item()}

    def columns(self) -> Sequence[Column]:
        """The scores in the table of a comparison; the first one is printed while it runs."""
        return (Column("psnr", "PSNR, dB", 2, difference="dB"), Column("ssim", "SSIM", 4),
                Column("cpu_s_per_megapixel", "CPU s / MP", 2))

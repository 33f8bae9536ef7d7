"""RSE-RL as a task: its stages are trained one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.bootstrap import MIN_SCENES
from rlenhance.experiments.core.config import check_budget, fitting, is_policy_learner
from rlenhance.experiments.core.fit import FitResult
from rlenhance.experiments.core.markdown import text_table
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.core.task import Session, Task
from rlenhance.experiments.tasks.rse.config import RSEConfig, settled
from rlenhance.experiments.tasks.rse.data import RSEDataset, open_rse
from rlenhance.experiments.tasks.rse.figures import draw_groups, draw_recursions, draw_steps
from rlenhance.experiments.tasks.rse.model import check_networks
from rlenhance.experiments.tasks.rse.stages import Stages


class RSETask(Task[RSEConfig, RSEDataset]):
    """Self-enhancement in latent codes: see docs/howto/rse.md. Each stage has a folder in the run's."""

    name = "rse"
    command = "rlenhance.experiments.rse_train"
    env_id = "SelfEnhance-v0"
    Config = RSEConfig
    default_updates = 300

    def check(self, config: RSEConfig, stored: Mapping[str, Any]) -> None:
        config.train.check()
        check_budget(config.train)
        if min(config.data.crop, config.data.crops_per_image) < 1:
            raise UsageError(f"--crop and --crops-per-image must be at least 1; got {config.data.crop} and "
                             f"{config.data.crops_per_image}")
        if config.train.warm_start and config.train.init:
            raise UsageError("--warm-start and --init both give the autoencoder its weights: use one of them")
        if config.train.monitor not in (None, "val/psnr"):
            raise UsageError(f"--monitor is val/psnr, which both stages have; got {config.train.monitor!r}")
        learners = [*fitting(LEARNERS, is_policy_learner), "none"]
        if config.train.learner not in learners:
            raise UsageError(f"--learner is one of {', '.join(learners)}; got {config.train.learner!r}")
        check_networks(settled(config))

    def dataset(self, config: RSEConfig) -> RSEDataset:
        return open_rse(config.data)

    def learner(self, config: RSEConfig, data: RSEDataset, device: torch.device, fresh: bool = True) -> None:
        """None: every stage makes its own learner."""

    def default_name(self, config: RSEConfig) -> str:
        return f"{config.data.data_set}-{config.train.learner}"

    def headline(self, config: RSEConfig, data: RSEDataset) -> str:
        return data.describe()

    def fit(self, session: Session) -> FitResult:
        """Every stage in its turn, and the table."""
        stages = Stages(session.config, session.data, session.fabric, session.run)
        stages.run_all()
        session.evaluator = stages
        done = stages.notes["done"]
        return FitResult(sum(stage["updates"] for stage in done.values()),
                         sum(stage["seconds"] for stage in done.values()), 0, {})

    def report(self, session: Session, fitted: FitResult) -> dict[str, dict[str, float]]:
        stages, run, data, train = session.evaluator, session.run, session.data, session.config.train
        assert stages.autoencoder is not None
        run.save("best", stages.kept or stages.autoencoder, {"scores": stages.means()})
        examples, batches = data.tested(3, train.test_size)
        draw_steps(run.path / "steps.png", list(batches), [example.name for example in examples], stages)
        draw_recursions(run.path / "recursions.png", stages.rows)
        if stages.kept is not None:
            draw_groups(run.path / "groups.png", stages.kept, data.bank(train.codebook_images))
        _report(stages, run)
        return stages.means()

    def model(self, config: RSEConfig, data: RSEDataset) -> Any:
        raise NotImplementedError("every stage makes its own network")

    def batches(self, config: RSEConfig, data: RSEDataset, model: Any) -> Any:
        raise NotImplementedError("every stage makes its own batches")

    def evaluator(self, config: RSEConfig, data: RSEDataset) -> Any:
        raise NotImplementedError("every stage makes its own")


def _report(stages: Stages, run: Run) -> None:
    """The table, what the agents and the recursions add, and what to do with it."""
    count = len(stages.notes["pictures"])
    print(f"\nmeans of {count} held-out pictures: PSNR in dB, SSIM, UQI, and the jumps across seams, relative to the "
          f"clean pictures' (1: they do not show)")
    width = max(map(len, stages.rows))
    print(text_table({name.rjust(width): row for name, row in stages.means().items()}, " " * width))
    gains = stages.gains()
    if gains:
        print("\ndifferences in dB, and where they lie for other pictures of the kind (95 %):")
    for text, gain in gains.items():
        where = f"{gain.low:+.3f} to {gain.high:+.3f}" if gain.scenes >= MIN_SCENES else "too few pictures to say"
        print(f"  {text:<42} {gain.mean:+.3f} ({where})")
    if "ended" in stages.notes:
        print(f"the recursions ended with number {stages.notes['ended']}, after which the validation PSNR fell")
    figures = "steps.png, recursions.png" + (", groups.png" if stages.kept is not None else "")
    print(f"result in {run.path} (best/, table.json, {figures}); denoise a photograph with it:\n"
          f"  rlenhance denoise PHOTO --model {run.path}")


RSE = RSETask()

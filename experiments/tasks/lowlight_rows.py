"""The trained rows of a low-light comparison: a row is a recipe of `lol_train`; and how long they will take."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rlenhance.agents import LEARNERS
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.json_files import read_object
from rlenhance.experiments.core.dataset import Dataset
from rlenhance.experiments.core.plugins import own_terms
from rlenhance.experiments.core.presets import begin_with
from rlenhance.experiments.core.train import check_same, train
from rlenhance.experiments.tasks.controllability import enhance
from rlenhance.experiments.tasks.lowlight import LOWLIGHT, LowLightConfig, LowLightTrainConfig
from rlenhance.experiments.tasks.lowlight_evaluate import score_picture
from rlenhance.experiments.tasks.presets import LOWLIGHT_PRESETS, preset_reward, with_words
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import Batch
from rlenhance.learning.models import build_model
from rlenhance.learning.rewards import RewardWeights

if TYPE_CHECKING:
    from rlenhance.experiments.tasks.lowlight_compare import LowLightCompareConfig

#: Rewards that a comparison can give a policy: name -> words of --reward, on top of those of its preset.
REWARDS = {
    "no reference": (),
    "SSIM + PSNR": ("exposure=0", "local_exposure=0", "clipping=0", "contrast=0", "ssim=4", "psnr=0.1"),
}
#: Presets that are rows by default.
ROW_PRESETS = ("rellie", "mrpnet", "gated_pixelrnn", "convlstm_autoencoder")
_DEFAULT_UPDATES = LOWLIGHT.default_updates


@dataclass(frozen=True)
class TrainedRow:
    """A row: a run for each seed.

    Attributes:
        name: of the row.
        slug: how its run folders begin.
        learner: on the network of the comparison's preset; "" for a preset of `lol_train`.
        config: of its runs, but for seed and name.
        reference: whether references are used in training.
    """

    name: str
    slug: str
    learner: str
    config: LowLightConfig
    reference: bool

    def run(self, seed: int) -> Path:
        """The folder of a run."""
        return self.config.train.out / f"{self.slug}-{seed}"


def trained_rows(config: LowLightCompareConfig) -> list[TrainedRow]:
    """The rows that a comparison trains.

    Raises:
        UnknownName: a name that is neither a learner nor a preset.
        UsageError: a learner that a reward does not suit.
    """
    own = own_terms(config.reward_term, config.plugin)
    rows = []
    for name in config.learners:
        if name in LOWLIGHT_PRESETS and name not in LEARNERS:
            rows.append(_preset_row(config, name))
        elif name not in LEARNERS:
            raise UnknownName("learner or preset", name, (*LEARNERS, *LOWLIGHT_PRESETS))
        else:
            rows += [_learner_row(config, own, name, reward)
                     for reward in (config.rewards if LEARNERS[name].is_policy else ("",))]
    return rows


def _learner_row(config: LowLightCompareConfig, own: Sequence[str], learner: str, reward: str) -> TrainedRow:
    """A learner with the network of the comparison's preset, and one of its rewards."""
    kind, words = LEARNERS[learner], _words(config, reward, own)
    weights = RewardWeights.parse(words)
    try:
        if kind.is_policy:
            kind.check_reward(weights)
    except UsageError as error:
        raise UsageError(f"{learner}, {reward}: {error}; or leave {learner} out of --learners") from error
    slug = "-".join(part.lower().replace(" ", "_").replace("+", "and") for part in (learner, reward) if part)
    chosen = LowLightTrainConfig(
        learner=learner, preset=config.preset, reward=words if kind.is_policy else preset_reward(config.preset),
        reward_term=config.reward_term if kind.is_policy else (), batch_size=config.batch_size)
    return TrainedRow(f"{learner}, {reward}" if reward else learner, slug, learner, LowLightConfig(
        _budget(config, chosen), config.data, config.network, config.configs),
        bool(kind.requires_target or weights.needs_reference))


def _preset_row(config: LowLightCompareConfig, name: str) -> TrainedRow:
    """A preset as it is, on the comparison's pictures and with its budget."""
    made = begin_with(LowLightConfig, name)
    own = LOWLIGHT_PRESETS[name].settings
    kept = {path.partition(".")[2] for path in own if path.startswith("data.")}
    data = replace(config.data, **{setting: getattr(made.data, setting) for setting in kept})
    size = made.train.batch_size if "train.batch_size" in own else config.batch_size
    kind = LEARNERS[made.train.learner]
    uses = kind.requires_target or RewardWeights.parse(made.train.reward).needs_reference
    return TrainedRow(name, name, "", replace(
        made, train=_budget(config, replace(made.train, batch_size=size)), data=data), bool(uses))


def _budget(config: LowLightCompareConfig, chosen: LowLightTrainConfig) -> LowLightTrainConfig:
    """The settings that all rows share."""
    return replace(chosen, patience=0, exposure_level=config.exposure_level, plugin=config.plugin, out=config.out,
                   updates=config.updates or None, minutes=config.minutes, eval_interval=config.eval_interval)


def _words(config: LowLightCompareConfig, reward: str, own: Sequence[str]) -> tuple[str, ...]:
    """The words of --reward that a reward's name stands for, or that it is itself, on top of those of the preset."""
    base = preset_reward(config.preset)
    if reward in REWARDS:
        return (*with_words(base, REWARDS[reward]), *(f"{name}=0" for name in own))
    if reward and "=" not in reward:
        raise UsageError(f"--rewards are {', '.join(map(repr, REWARDS))}, or words of --reward, quoted, as in "
                         f"'exposure=2 color=0.5'; got {reward!r}")
    return with_words(base, tuple(reward.split()))


def is_finished(run: Path) -> bool:
    """Whether a run has spent its budget."""
    return (run / "done.json").is_file()


def train_row(row: TrainedRow, seed: int) -> dict[str, float]:
    """Train one run, or what is left of it; its updates and seconds. A finished one is taken as it is."""
    run = row.run(seed)
    wanted = replace(row.config, train=replace(row.config.train, name=run.name, seed=seed))
    begun = (run / "config.json").is_file()
    if begun:
        check_same(LOWLIGHT, run, wanted)
    if is_finished(run):
        numbers: dict[str, float] = read_object(run / "done.json", ("updates", "seconds"))
        if len(numbers) < 2 or not all(type(value) in (int, float) for value in numbers.values()):
            raise UsageError(f"{run / 'done.json'}: must hold the numbers updates and seconds; remove {run}, and the "
                             f"row is trained again")
        return numbers
    result = train(LOWLIGHT, LowLightConfig(LowLightTrainConfig(resume=run)) if begun else wanted)
    numbers = {"updates": float(result.fitted.updates), "seconds": result.fitted.seconds}
    write_atomically(run / "done.json", json.dumps(numbers).encode())
    return numbers


def estimate(rows: Sequence[TrainedRow], seeds: Sequence[int], data: Dataset, test: Sequence[Batch]) -> list[str]:
    """How long a comparison will take, by one update, one validation picture and one test picture of each row.

    Args:
        rows: that are trained.
        seeds: of each.
        data: the pictures, for the updates and the validations.
        test: the pictures that are scored.

    Returns:
        A line for each row with runs to train, and the sum; nothing where nothing is to be trained.
    """
    lines, total = list[str](), 0.0
    for row in rows:
        runs = sum(not is_finished(row.run(seed)) for seed in seeds)
        if not runs:
            continue
        training, validating, scoring = (runs * seconds for seconds in _seconds(row, data, test))
        total += training + validating + scoring
        lines.append(f"{row.name}: {runs} run{'s' * (runs > 1)}, {_time(training)} of training, {_time(validating)} of "
                     f"validation, {_time(scoring)} of scoring")
    return [*lines, f"about {_time(total)} in all, by one update and one picture of each; --learners selects rows, and "
            f"what is finished is not done again"] if lines else []


def _seconds(row: TrainedRow, data: Dataset, test: Sequence[Batch]) -> tuple[float, float, float]:
    """Seconds of one run: training, its validations, scoring of the test pictures."""
    config = row.config
    learner: Any = LOWLIGHT.learner(config, data, torch.device("cpu"))
    batches, evaluator = LOWLIGHT.batches(config, data, learner.network), LOWLIGHT.evaluator(config, data)
    first, train = batches(0), config.train
    update = _timed(lambda: learner.step(first, 0.0))
    model = build_model(learner.network.eval())

    def one(batch: Batch) -> float:
        with torch.no_grad():
            return _timed(lambda: score_picture(enhance(model, batch.image), batch))

    updates = train.updates or (math.inf if train.minutes else _DEFAULT_UPDATES)
    if train.minutes:
        updates = min(updates, 60 * train.minutes / update)
    validations = 2 + updates // train.eval_interval
    return updates * update, validations * len(evaluator.pictures) * one(evaluator.pictures[0]), \
        len(test) * one(test[0])


def _timed(act: Any) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""The stages of a self-enhancement run: each in a folder of its own, done once, gone on with after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlenhance.agents import LEARNERS, EarlyStopping, Learner
from rlenhance.agents.autoencoder_learner import AutoencoderLearner
from rlenhance.agents.base import PolicyLearner
from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import read_object
from rlenhance.envs.self_enhance import SELF_ENHANCE_REWARD
from rlenhance.experiments.core.bootstrap import Interval, bootstrap_interval
from rlenhance.experiments.core.fit import Budget, Evaluator, fit
from rlenhance.experiments.core.run import Run
from rlenhance.experiments.tasks.rse.config import RSEConfig, settled
from rlenhance.experiments.tasks.rse.data import RSEDataset, portion_of
from rlenhance.experiments.tasks.rse.model import (
    ConstantAction,
    EpisodeEvaluator,
    PassEvaluator,
    best_constant,
    check_clusters,
    constant,
    make_autoencoder,
    make_policy,
    mean_rows,
    measure,
    moves_of,
    run_passes,
)
from rlenhance.experiments.tasks.rse.oracle import headroom
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically
from rlenhance.learning.data import ShardedSampler
from rlenhance.learning.hub.checkpoint import find_checkpoint, load_network
from rlenhance.learning.models import DenoisingUNet, NoiseConditionedModel, PatchDenoiser, PixelPolicy, build_model
from rlenhance.learning.models.episode import LatentEpisode
from rlenhance.learning.nn.latent import PatchAutoencoder
from rlenhance.learning.rewards import Reward, RewardWeights

_ALONE = "autoencoder alone"
_ORACLE_SIDE, _ORACLE_ITERATIONS = 96, 40


class Stages:
    """Runs the stages, and keeps the table.

    Args:
        config: of the run; with precision bf16 networks compute in bfloat16 in training, the table is in float32.
        pictures: which pictures.
        fabric: device and precision.
        run: its folder gets one more for each stage, and table.json.

    Attributes:
        rows: name -> score -> one number per held-out picture.
        notes: which pictures were scored, and the result of each stage.
        first, autoencoder: the autoencoder before the recursions, and the last one.
        policies: after RL, and after each recursion that was not undone.
    """

    def __init__(self, config: RSEConfig, pictures: RSEDataset, fabric: Any, run: Run):
        self.config, self.pictures, self.fabric, self.run = config, pictures, fabric, run
        self.train, self.network, self.device = config.train, settled(config), fabric.device
        examples = pictures.splits.train
        self._sampler = ShardedSampler(examples, pictures.cache, config.data.crop,
                                       portion=portion_of(config.data, examples), visits=config.data.crops_per_image,
                                       seed=config.train.seed)
        self._validation = pictures.shown("val", config.train.val_images, config.train.val_size)
        self._table = run.path / "table.json"
        known = read_object(self._table, finite=False) if self._table.is_file() else {}
        self.rows: dict[str, dict[str, list[float]]] = known.get("rows", {})
        self.notes: dict[str, Any] = known.get("notes", {})
        self._others = {name: denoiser_of(name, self.device) for name in config.train.compare_with}
        if self.train.learner != "none" and "autoencoder" not in self.notes.get("done", {}):
            check_clusters(self.network, pictures.bank(config.train.codebook_images))
        self.first: PatchDenoiser | None = None
        self.autoencoder: PatchDenoiser | None = None
        self.policies: list[PixelPolicy] = []

    @property
    def kept(self) -> PixelPolicy | None:
        """The policy of the last stage that was not undone."""
        return self.policies[-1] if self.policies else None

    def run_all(self) -> None:
        """Run every stage, one after the other."""
        train = self.train
        first = self.train_autoencoder("autoencoder", None, 1.0, train.seed)
        self.first = self.autoencoder = first
        self.score("noisy", lambda image: image)
        for name, other in self._others.items():
            self.score(name, other)
        self._alone("", first)
        if train.learner == "none":
            return
        falling = EarlyStopping()
        policy, best = self.train_policy("policy", first, None, 1.0, train.seed)
        falling.update(best)
        if "best constant action" not in self.notes:
            self.notes["best constant action"] = best_constant(policy, self._validation[:4])
        fixed = ConstantAction(**{name: value for name, value in self.notes["best constant action"].items()
                                  if name != "psnr"})
        self.score("best constant action", lambda image: constant(policy, image, fixed)[-1])
        own, new = ((1 + gate) / 2 for gate in moves_of(policy).initial_action[-2:])
        # heads begin at zero: the same for every patch
        untrained = ConstantAction(own, new, 0.0, policy.horizon)
        self.score("agents before RL", lambda image: constant(policy, image, untrained)[-1])
        self.score("after RL", build_model(policy))
        self.policies.append(policy)
        for number in range(1, train.recursions + 1):
            seed = train.seed + number
            share, name = train.recursion_share, f"recursion {number}"
            again = self.train_autoencoder(f"recursion-{number}/autoencoder", self.autoencoder, share, seed)
            tuned, best = self.train_policy(f"recursion-{number}/policy", again, self.kept, share, seed)
            fell = falling.update(best)
            self._alone(f"{name}, ", again)
            self.score(f"{name}{' (undone)' if fell else ''}", build_model(tuned))
            if fell:
                self.notes["ended"] = number
                break
            self.autoencoder = again
            self.policies.append(tuned)
        self.score("the last kept, --recurse 1", LatentEpisode(self.policies[-1], iterations=1))

    def train_autoencoder(self, name: str, begin: PatchDenoiser | None, share: float, seed: int) -> PatchDenoiser:
        """Train the autoencoder, from the beginning or further."""
        torch.manual_seed(seed)

        def make() -> Learner:
            network = make_autoencoder(self.network)
            if begin is not None:
                network.load_state_dict(begin.state_dict())
            elif self.train.init:
                begin_with(network, self.train.init)
            elif self.train.warm_start:
                source = load_network(find_checkpoint(locate(self.train.warm_start)))
                if not isinstance(source, DenoisingUNet):
                    raise UsageError(f"--warm-start {self.train.warm_start}: a learned denoiser for colour is wanted, "
                                     f"as denoiser; it holds a {type(source).__name__}")
                shapes = [(of.widths, of.down, of.up) for of in (self.network, source)]
                if shapes[0] != shapes[1] and self.network.unet:
                    asked = " ".join(f"--{name} {' '.join(map(str, numbers))}"
                                     for name, numbers in zip(("widths", "down", "up"), shapes[1], strict=True))
                    raise UsageError(f"--warm-start {self.train.warm_start}: its U-Net has another shape than ours; "
                                     f"ask for its own: {asked}")
                network.network.begin_with(source.network)
            settings: Any = self.config.learners
            return AutoencoderLearner(network, settings.autoencoding, seed=seed, device=self.device)

        evaluator = PassEvaluator(self._validation, self.network.horizon)
        network, _ = self._fit(name, make, self.train.autoencoder_budget(self._sampler.epoch, share), evaluator,
                               self.train.batch_size, seed)
        return network

    def train_policy(self, name: str, autoencoder: PatchDenoiser, before: PixelPolicy | None, share: float,
                    seed: int) -> tuple[PixelPolicy, float]:
        """Fill the bank and train the agents over it; the policy, and its validation PSNR in dB."""
        train, kind = self.train, LEARNERS[self.train.learner]

        def make() -> Learner:
            batches = self.pictures.bank(train.codebook_images)
            torch.manual_seed(seed)
            predicted = kind.std_mode == "predicted"
            policy, _ = make_policy(self.network, autoencoder.cpu(), batches, predicted, seed, before)
            weights = SELF_ENHANCE_REWARD | ({"blocking": train.blocking} if train.blocking else {})
            if train.oracle and "oracle" not in self.notes:
                shown = self.pictures.shown("val", train.oracle, _ORACLE_SIDE)
                self.notes["oracle"] = headroom(policy.to(self.device), shown, _ORACLE_ITERATIONS)
                print(f"with the clean pictures in sight, PSNR of {len(shown)} validation pictures of {_ORACLE_SIDE} "
                      f"pixels in dB: " + ", ".join(f"{name} actions {value:.2f}" for name, value in
                                                    self.notes["oracle"].items()), flush=True)
            moves_of(policy).mixed = train.precision == "bf16"
            settings = getattr(self.config.learners, train.learner, None)
            learner = kind(policy, Reward(RewardWeights.only(**weights)), settings, seed=seed, device=self.device)
            assert isinstance(learner, PolicyLearner)
            learner.env.early_stop_psnr = train.target_psnr or None
            return learner

        network, best = self._fit(name, make, train.policy_budget(share), EpisodeEvaluator(self._validation),
                                  train.rl_batch_size, seed)
        autoencoder.to(self.device)
        return network, best

    def _fit(self, name: str, make: Callable[[], Learner], budget: Budget,
             evaluator: Evaluator, count: int, seed: int) -> tuple[Any, float]:
        """One stage, unless it is done: the network of its best update, and its validation PSNR."""
        folder = self.run.path / name
        done = self.notes.setdefault("done", {})
        if name not in done:
            print(f"\n{name}", flush=True)
            learner = make()
            learner.use_fabric(self.fabric)
            spec: Any = learner.network
            stage = Run.open(folder)[0] if (folder / "config.json").is_file() else \
                Run.create(folder, {"part of": str(self.run.path)}, {"data": {}, "model": spec.spec})
            stage.use_loggers(self.train.logger, {"part of": str(self.run.path)})
            sampler = self._sampler.with_seed(seed)
            fitted = fit(learner, lambda step: sampler.batch(step, count), evaluator, stage, budget,
                         show=self.train.progress)
            stage.close()
            if fitted.interrupted:
                print(f"stopped and saved after {fitted.updates} updates; go on with --resume {self.run.path}")
                raise fitted.interrupted
            done[name] = {"updates": fitted.updates, "seconds": round(fitted.seconds), "best_step": fitted.best_step,
                          **fitted.best}
            self._save()
        network: Any = load_network(find_checkpoint(folder / "best")).to(self.device).eval()
        return network, done[name]["val/psnr"]

    def _alone(self, prefix: str, autoencoder: PatchDenoiser) -> None:
        """The rows of an autoencoder without agents: one pass, and as many as an episode has steps."""
        inner = autoencoder.network
        for count in dict.fromkeys((1, self.network.horizon)):
            name = f"{prefix}{_ALONE}, {count} pass{'es' if count > 1 else ''}"
            self.score(name, lambda image, count=count: run_passes(inner, image, count)[-1])  # type: ignore[misc]

    def score(self, name: str, model: Callable[[Tensor], Tensor]) -> None:
        """A row of the table, unless it is there."""
        if name in self.rows:
            return
        examples, batches = self.pictures.tested(self.train.test_images, self.train.test_size)
        assert self.autoencoder is not None
        self.rows[name] = measure(model, batches, self.autoencoder.network.blocks, self.device)
        self.notes["pictures"] = [example.name for example in examples]
        self.notes["scenes"] = [example.scene for example in examples]
        self._save()

    def means(self) -> dict[str, dict[str, float]]:
        """The table: means over the pictures."""
        return mean_rows(self.rows)

    def gains(self) -> dict[str, Interval]:
        """Differences in PSNR over the held-out pictures, picture by picture, in dB: what the agents add to their
        autoencoder alone (its best row), to themselves before they learned, and to the best constant action; and what
        the last recursion adds."""
        if "after RL" not in self.rows:
            return {}
        alone = [name for name in self.rows if name.startswith(_ALONE)]
        pairs = {"after RL, to the autoencoder alone": ("after RL", alone),
                 "after RL, to the agents before it": ("after RL", ["agents before RL"]),
                 "after RL, to the best constant action": ("after RL", ["best constant action"])}
        recursions = [f"recursion {number}" for number in range(1, self.train.recursions + 1)]  # and none undone
        last = next((name for name in reversed(self.rows) if name in recursions), None)
        if last is not None:
            pairs[f"{last}, to after RL"] = (last, ["after RL"])
        return {text: paired(self.rows, name, others, self.notes["scenes"]) for text, (name, others) in pairs.items()}

    def _save(self) -> None:
        text = json.dumps({"rows": self.rows, "means": self.means(), "notes": self.notes}, indent=1)
        write_atomically(self._table, text.encode())


def begin_with(network: PatchDenoiser, name: Path) -> None:
    """Give an autoencoder the weights of another one, or of a policy's."""
    source: Any = load_network(find_checkpoint(locate(name)))
    inner = source.network if isinstance(source, PatchDenoiser) else getattr(
        getattr(source, "actions", None), "autoencoder", None)
    if not isinstance(inner, PatchAutoencoder):
        raise UsageError(f"--init {name}: a run of rse_train, or a model that it made, is wanted; it holds a "
                         f"{type(source).__name__}")
    try:
        network.network.load_state_dict(inner.state_dict())
    except RuntimeError as error:
        raise UsageError(f"--init {name}: its autoencoder has other settings (patches, latent_dim, widths); use those "
                         f"of that run") from error


def denoiser_of(name: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A learned denoiser, which estimates the noise of each picture itself."""
    network = load_network(find_checkpoint(locate(name)))
    if not isinstance(network, NoiseConditionedModel) or network.channels != 3:
        raise UsageError(f"--compare-with {name}: a learned denoiser for colour is wanted, as denoiser; it holds a "
                         f"{type(network).__name__}")
    network.to(device).eval()
    model: Callable[[Tensor], Tensor] = network
    return model


def paired(rows: Mapping[str, Mapping[str, Sequence[float]]], name: str, others: Sequence[str],
           scenes: Sequence[str]) -> Interval:
    """The difference of a row's PSNR to the best of other rows, picture by picture."""
    best = max(others, key=lambda other: sum(rows[other]["psnr"]))
    differences = [a - b for a, b in zip(rows[name]["psnr"], rows[best]["psnr"], strict=True)]
    return bootstrap_interval(differences, list(scenes))

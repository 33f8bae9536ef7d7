"""Networks, evaluators and scores of self-enhancement."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from rlenhance.core.arrays import NUM_D4
from rlenhance.core.errors import UsageError
from rlenhance.engine.latent import NUM_GATES
from rlenhance.experiments.core.config import default_is, one_of
from rlenhance.experiments.tasks.rse.codebook import Codes, fill_bank
from rlenhance.learning.actions import LatentActions, apply_action
from rlenhance.learning.data import Batch
from rlenhance.learning.metrics.blocking import blocking_ratio
from rlenhance.learning.metrics.full_reference import psnr, ssim, uqi
from rlenhance.learning.models import MODELS, PatchDenoiser, PixelPolicy, build_model
from rlenhance.learning.nn.backbones import BACKBONES
from rlenhance.learning.nn.latent import PatchAutoencoder, measured_noise
from rlenhance.learning.ops.patch_grid import PatchGrid

#: What the table has of each picture, beside its seams.
SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim, "uqi": uqi}


@dataclass(frozen=True)
class RSENetworkConfig:
    """Patches, codes, and the agents over them."""

    block_size: int = 24
    """Side of a patch in pixels."""
    overlap: int = 8
    """Pixels that neighbouring patches share."""
    latent_dim: Annotated[int | None, default_is("as published, 72, of sidd 96", "INT")] = None
    """Entries of a code, a multiple of 8."""
    width: int = 24
    """Channels of the encoder's first layer."""
    widths: tuple[int, ...] = (32, 64, 64)
    """Channels of each level of the U-Net that goes past the code."""
    down: tuple[int, ...] = (1, 2, 1)
    """Its residual blocks of each level on the way down."""
    up: tuple[int, ...] = (1, 2)
    """Its residual blocks of each level on the way up."""
    equivariant: bool = True
    """The code of a turned patch is the turned code."""
    unet: bool = True
    """A U-Net goes past the code (otherwise the decoded code is the result, as in the published code)."""
    codebook_size: int = 1024
    """Clean codes in the bank, as far as the pictures have so many patches."""
    clusters: int = 8
    """Groups of codes."""
    axes: int = 4
    """Learned directions of each group."""
    neighbours: int = 8
    """Clean neighbours whose mean a code may be moved to."""
    code_splits: int = 3
    """Parts of a code that are moved to the neighbours, each for itself, at most one for 8 entries (0: none is)."""
    reach: float = 1.0
    """How far codes are moved at most: of a quarter of the way to the neighbours, of half a deviation along axes."""
    own_share: float | None = 0.6
    """Share of the autoencoder's change of its own output at the last step, for agents in the middle of their gates, of
    which all looks count alike (None: as in version 0.2, the gates are the shares at every step)."""
    backbone: Annotated[str, one_of(BACKBONES)] = "compact"
    """Of the policy."""
    horizon: int = 4
    """Steps of an episode, T."""

    @property
    def autoencoder(self) -> dict[str, Any]:
        """The arguments of the autoencoder."""
        return {"block": self.block_size, "overlap": self.overlap, "latent_dim": self.latent_dim, "width": self.width,
                "widths": self.widths, "down": self.down, "up": self.up, "equivariant": self.equivariant,
                "unet": self.unet}


def make_autoencoder(config: RSENetworkConfig) -> PatchDenoiser:
    """A patch autoencoder with weights from the global random stream."""
    return MODELS.create("patch_denoiser", **config.autoencoder)


def make_policy(config: RSENetworkConfig, autoencoder: PatchDenoiser, batches: Sequence[Batch], predicted: bool,
                seed: int, before: PixelPolicy | None = None) -> tuple[PixelPolicy, Codes]:
    """A policy over the codes of a trained autoencoder, and the codes of the pictures that its bank is filled from.

    Args:
        batches: see `RSEDataset.bank`.
        predicted: the deviation of its agents is predicted (sac), otherwise the learner sets it.
        seed: of the bank.
        before: begin with the agents of this one; its outputs for the axes begin at zero, because the axes are new.
    """
    blocks: PatchGrid = autoencoder.network.blocks
    patches = sum(math.prod(blocks.grid(*batch.image.shape[-2:])) for batch in batches)
    codes = min(config.codebook_size, patches) if before is None else len(moves_of(before).bank.codes)
    policy = _policy(config, codes, predicted)
    if before is not None:
        policy.load_state_dict(before.state_dict())
        with torch.no_grad():
            head: Any = policy.heads["local"]
            parts = moves_of(policy).parts
            head.weight[parts : parts + config.axes] = 0
            head.bias[parts : parts + config.axes] = 0
    moves = moves_of(policy)
    moves.autoencoder.load_state_dict(autoencoder.network.state_dict())
    return policy, fill_bank(moves, batches, seed)


def _policy(config: RSENetworkConfig, codes: int, predicted: bool) -> PixelPolicy:
    splits = min(config.code_splits, (config.latent_dim or 0) // NUM_D4)
    known = {"codes": codes, "groups": config.clusters, "axes": config.axes,
             "neighbours": min(config.neighbours, codes), "parts": splits, "reach": config.reach,
             "own_shares": () if config.own_share is None else (*(0.0,) * (config.horizon - 1), config.own_share)}
    return MODELS.create("pixel_policy", actions={"name": "latent", **config.autoencoder, **known},
                         backbone={"name": config.backbone}, horizon=config.horizon, decision_size=None,
                         std_mode="predicted" if predicted else "scheduled", sees_initial_image=True)


def check_networks(config: RSENetworkConfig) -> None:
    """Refuse settings with which no network can be made, before anything is trained."""
    make_autoencoder(config)
    _policy(config, config.codebook_size, predicted=True)


def check_clusters(config: RSENetworkConfig, batches: Sequence[Batch]) -> None:
    """Refuse more clusters than the pictures of the bank have patches."""
    blocks = PatchGrid(config.block_size, config.overlap)
    patches = sum(math.prod(blocks.grid(*batch.image.shape[-2:])) for batch in batches)
    if patches < config.clusters:
        raise UsageError(f"--clusters {config.clusters}: the {len(batches)} pictures that fill the bank have {patches} "
                         f"patches; use fewer clusters or more --codebook-images")


def moves_of(policy: PixelPolicy) -> LatentActions:
    """The action set of a policy over codes."""
    actions: Any = policy.actions
    return actions


def run_passes(autoencoder: PatchAutoencoder, image: Tensor, count: int) -> list[Tensor]:
    """The picture after each of `count` passes of the autoencoder without agents."""
    noise, states = measured_noise(image), [image]
    for _ in range(count):
        states.append(autoencoder.enhance(states[-1], image, noise).clamp(0, 1))
    return states[1:]


@dataclass(frozen=True)
class ConstantAction:
    """The same choice for every patch and step.

    Attributes:
        own, new: how far the gates of the autoencoder's own change and of the new look are open, in [0, 1].
        toward: how far codes go to their neighbours, in [-1, 1].
        steps: how many.
    """

    own: float
    new: float
    toward: float
    steps: int


def constant(policy: PixelPolicy, image: Tensor, fixed: ConstantAction) -> list[Tensor]:
    """The picture at the beginning and after each of the steps."""
    moves = moves_of(policy)
    action = moves.noop(len(image), image.shape[-2], image.shape[-1])["local"].to(image.device)
    action[:, : moves.parts], action[:, -2], action[:, -1] = fixed.toward, 2 * fixed.own - 1, 2 * fixed.new - 1
    states = [moves.initial_image(image)]
    for step in range(fixed.steps):
        states.append(apply_action(moves, states[-1], {"local": action}, initial_image=image, step=step))
    return states


@torch.no_grad()
def best_constant(policy: PixelPolicy, batches: Sequence[Batch]) -> dict[str, Any]:
    """The constant choice that is best on validation pictures, as `ConstantAction` takes it, and its `psnr` in dB."""
    steps, device, moves = policy.horizon, next(policy.parameters()).device, moves_of(policy)

    def tried(choices: Sequence[ConstantAction]) -> dict[str, Any]:
        rows = []
        for fixed in choices:
            seen = [[psnr(state, batch.target.to(device)).item() for state in
                     constant(policy, batch.image.to(device), fixed)] for batch in batches if batch.target is not None]
            rows += [{**asdict(fixed), "steps": step, "psnr": value}
                     for step, value in enumerate(torch.tensor(seen).mean(dim=0).tolist())]
        return max(rows, key=lambda row: row["psnr"])

    owns = (0.0, 0.3, 0.5, 0.7) if moves.own_shares else (0.0, 0.1, 0.2)
    news = (0.4, 0.5, 0.6) if moves.own_shares else (0.0, 0.2, 0.3, 0.5)
    best = tried([ConstantAction(own, new, 0.0, steps) for own in owns for new in news])
    if not moves.parts:
        return best
    fixed = ConstantAction(**{name: value for name, value in best.items() if name != "psnr"})
    return tried([replace(fixed, toward=toward) for toward in (0.0, 0.1, -0.1)])


@torch.no_grad()
def measure(model: Callable[[Tensor], Tensor], batches: Iterable[Batch], blocks: PatchGrid,
            device: torch.device) -> dict[str, list[float]]:
    """Scores of each picture: PSNR in dB, SSIM, UQI, and `seams`, the output's seam ratio over the clean picture's."""
    rows: dict[str, list[float]] = {name: [] for name in (*SCORES, "seams")}
    for batch in batches:
        assert batch.target is not None
        output, target = model(batch.image.to(device)).clamp(0, 1).cpu(), batch.target
        for name, score in SCORES.items():
            rows[name].append(score(output, target).item())
        ratios = [blocking_ratio(picture, blocks.stride, blocks.overlap) for picture in (output, target)]
        rows["seams"].append((ratios[0] / ratios[1]).item())
    return rows


@dataclass
class PassEvaluator:
    """`val/psnr` of an autoencoder on validation pictures, after one pass and after `count` passes."""

    pictures: Sequence[Batch]
    count: int

    @torch.no_grad()
    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        inner: Any = network
        device = next(network.parameters()).device
        seen = torch.tensor([[psnr(state, batch.target.to(device)).item() for state in
                              run_passes(inner.network, batch.image.to(device), self.count)]
                             for batch in self.pictures if batch.target is not None]).mean(dim=0)
        last = {f"val/psnr/pass{self.count}": seen[-1].item()} if self.count > 1 else {}
        return {"val/psnr": seen[0].item(), **last}


@dataclass
class EpisodeEvaluator:
    """`val/psnr` of a policy on validation pictures, and how far the two gates are open at each step."""

    pictures: Sequence[Batch]

    @torch.no_grad()
    def __call__(self, network: torch.nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        model, scores, gates = build_model(network), list[float](), list[Tensor]()
        for batch in self.pictures:
            assert batch.target is not None
            episode = model.run(batch.image.to(device))
            scores.append(psnr(episode.image, batch.target.to(device)).item())
            gates.append(torch.stack([(1 + action["local"][:, -NUM_GATES:].mean(dim=(0, 2, 3))) / 2
                                      for action in episode.actions]))
        opened = torch.stack(gates).mean(dim=0).tolist()
        return {"val/psnr": sum(scores) / len(scores),
                **{f"action/gate_{name}/step{step + 1}": value for step, pair in enumerate(opened)
                   for name, value in zip(("self", "view"), pair, strict=True)}}


def mean_rows(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """Means over the pictures."""
    return {name: {score: sum(values) / len(values) for score, values in row.items()} for name, row in rows.items()}

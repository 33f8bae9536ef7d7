"""`rlenhance denoise`: noisy photographs in, clean ones out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlenhance.cli.photo_command import add_photos, carry_out, plan_photos, remarks, tell_plan
from rlenhance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rlenhance.io import BatchPlan
    from rlenhance.io.batch import Process

SUFFIX = "_denoised"


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    denoise = commands.add_parser(
        "denoise", help="take the noise out of photographs",
        description="Take the noise out of photographs. night.jpg becomes night_denoised.jpg beside it; a source is "
                    "never overwritten. Exit status: 0, or 2 where something was refused or a photograph failed.",
    )
    add_photos(denoise, verb="denoise")
    denoise.add_argument("-m", "--model", metavar="NAME|RUN/best",
                         help="a shipped denoiser, or a run of your own, of a learned denoiser or of a policy over "
                              "filters (default: denoiser-grey for grey photographs, denoiser-photo for JPEGs in "
                              "colour whose noise is not named, else denoiser)")
    denoise.add_argument("--noise", type=float, metavar="SIGMA",
                         help="how strong the noise is everywhere: its standard deviation in 255ths, 0 to 75 (default: "
                              "as each photograph shows it)")
    denoise.add_argument("--strength", type=float, default=1.0, metavar="S",
                         help="how much of the noise is taken: 0 (none, the same pixels) to 1 (default)")
    denoise.add_argument("--recurse", type=int, default=0, metavar="K",
                         help="of a policy over latent codes (rse-faces): enhance the result K times more; patches "
                              "that no longer change stop (default: 0)")
    denoise.add_argument("--explain", type=Path, metavar="FILE.png",
                         help="of one photograph and a policy over filters: a picture of which filter won where")
    denoise.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    """Denoise what was named.

    Raises:
        UsageError: something cannot be done; nothing was written.
    """
    plan = plan_photos(arguments, SUFFIX)
    if arguments.explain:
        _check_explained(plan, arguments)
    if arguments.dry_run:
        return tell_plan(plan, arguments)
    process, explained = _process(arguments, plan)
    tally = carry_out(plan, process, arguments)
    if explained and not tally.failed:
        print(explained(), file=remarks(plan, arguments))
    return tally.status


def _process(arguments: argparse.Namespace, plan: BatchPlan) -> tuple[Process, Callable[[], str] | None]:
    """What is done to each photograph, and what writes the explanation and tells it.

    Raises:
        UsageError: a model that takes no noise away, or none of that strength.
    """
    from rlenhance.hub import shipped as weights
    from rlenhance.hub.checkpoint import load_model
    from rlenhance.models import BaseFilterPolicy, GreedyEpisode, LatentEpisode, NoiseConditionedModel, Restorer
    from rlenhance.models.base import Completing
    from rlenhance.pipelines.configure import check_device
    from rlenhance.pipelines.denoise import NoiseRemover
    from rlenhance.pipelines.enhance import Enhancer

    device, strength = check_device(arguments.device), arguments.strength
    if arguments.recurse < 0:
        raise UsageError(f"--recurse is how often the result is enhanced again, 0 or more; got {arguments.recurse}")
    model = None if arguments.model is None else load_model(weights.locate(arguments.model))
    if isinstance(model, LatentEpisode):
        return _self_enhance(arguments), None
    if arguments.recurse:
        raise UsageError(f"--recurse goes with a policy over latent codes, and "
                         f"{arguments.model or 'the learned denoiser'} is none: add --model rse-faces")
    if model is None or isinstance(model, NoiseConditionedModel):
        if arguments.explain:
            raise UsageError("--explain tells which filter won where, and the learned denoiser has no filters: name a "
                             "policy over filters with --model, as filters-grey is")
        return NoiseRemover(arguments.model, noise=arguments.noise, strength=strength,
                            device=device).denoise_photo, None
    policy = model.policy if isinstance(model, GreedyEpisode) else None
    told: dict[str, float] = {}
    if isinstance(policy, BaseFilterPolicy):
        if arguments.noise is not None:
            told = policy.tell_noise(arguments.noise)
    elif not isinstance(model, Restorer):
        command = "complete" if isinstance(policy or model, Completing) else \
            "upscale" if getattr(model, "scale", 1) != 1 else "enhance"
        raise UsageError(f"{arguments.model}: takes no noise away; leave out --model, or name a denoiser (rlenhance "
                         f"{command} is the command for this model)")
    enhancer = Enhancer(arguments.model, preference=told, strength=strength, device=device)
    explained = _explain(model, plan, arguments, told) if arguments.explain else None
    return lambda photo: (enhancer.enhance_photo(photo), {}), explained


def _self_enhance(arguments: argparse.Namespace) -> Process:
    """What a policy over latent codes does to each photograph.

    Raises:
        UsageError: an explanation, or noise outside the range.
    """
    from rlenhance.ops.noise_estimation import LARGEST_NOISE
    from rlenhance.pipelines.enhance import Enhancer

    if arguments.explain:
        raise UsageError("--explain tells which filter won where, and a policy over latent codes has no filters")
    if arguments.noise is not None and not 1 <= arguments.noise <= 255 * LARGEST_NOISE:
        raise UsageError(f"--noise must lie between 1 and {255 * LARGEST_NOISE:g}, in 255ths; got {arguments.noise:g}")
    enhancer = Enhancer(arguments.model, strength=arguments.strength, device=arguments.device)
    enhancer.model.recurse = arguments.recurse
    enhancer.model.policy.actions.told = None if arguments.noise is None else arguments.noise / 255
    return lambda photo: (enhancer.enhance_photo(photo), {})


def _check_explained(plan: BatchPlan, arguments: argparse.Namespace) -> None:
    """Refuse what --explain cannot do, before a model is loaded."""
    from rlenhance.io import STDIO
    from rlenhance.io.containers import WRITTEN

    path, sources = arguments.explain, [job.source for job in (*plan.jobs, *plan.skipped)]
    if len(sources) != 1 or sources[0] == STDIO:
        raise UsageError(f"--explain takes one photograph with a name; got {len(sources)}")
    if path.suffix.lower() not in WRITTEN:
        raise UsageError(f"--explain: {path} must end in one of {' '.join(WRITTEN)}")
    if path.exists() and not arguments.overwrite:
        raise UsageError(f"{path}: exists; replace it with --overwrite, or name another file with --explain")
    if path.resolve() in {place.resolve() for job in plan.jobs for place in (job.source, job.target)}:
        raise UsageError(f"{path}: is the place of a photograph; name another file with --explain")


def _explain(model: Any, plan: BatchPlan, arguments: argparse.Namespace, told: dict[str, float]) -> Callable[[], str]:
    from rlenhance.io import read, write
    from rlenhance.pipelines.explain_filters import map_tools

    source = (*plan.jobs, *plan.skipped)[0].source
    found = map_tools(model, read(source).pixels, told)
    return lambda: f"which filter won where -> {write(found.picture(), arguments.explain)}\n{found.describe()}"

"""Compare denoisers on the same noisy pictures: `python -m experiments.denoise_compare --data DIR --models RUN ...`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import torch
import tyro

from experiments.core.bootstrap import Interval, bootstrap_interval
from experiments.core.cli import run_cli
from experiments.core.score_cache import ScoreCache
from experiments.tasks.denoise_baselines import baseline_names, denoising_baselines, has_bm3d
from experiments.tasks.denoise_filters import (
    LEVELS,
    DenoiseDataset,
    PictureConfig,
    load_noisy,
    looking,
    policy_of,
    share_table,
)
from experiments.tasks.lowlight_baselines import Baseline
from rlenhance.actions.filters import choice_frequencies
from rlenhance.core.errors import UsageError
from rlenhance.data import REAL, Batch
from rlenhance.hub.checkpoint import MODEL, find_checkpoint, load_model, read_config
from rlenhance.hub.shipped import locate
from rlenhance.io.files import write_atomically
from rlenhance.metrics.full_reference import psnr, sharpness_ratio, ssim
from rlenhance.models import FilterPolicy, NoiseConditionedModel

_RULE_PICTURES, _RULE_SIDE = 24, 128  # of the training split, to choose what rules choose


@dataclass(frozen=True)
class Arguments:
    """Score rules that need no training, and models, on the test split (validation where there is none)."""

    models: tuple[str, ...] = ()
    """Runs or shipped models; NAME=RUN names its row, and those of one name share a row (one per level of noise)."""
    levels: tuple[float, ...] = LEVELS
    """Deviations of Gaussian noise in 255ths (with --noise real, salt_pepper, ...: that noise alone)."""
    also_eight_bit: bool = False
    """Beside the columns of unrounded noise, those of the same noise clipped and rounded to 8 bits."""
    against: str = ""
    """Name of a row: a second table has what the others' PSNR differs from its, with 95 % intervals over pictures."""
    limit: int = 0
    """Score so many pictures, evenly spread (0: all)."""
    rules: bool = True
    """Score the rules too."""
    views: int = 1
    """Score policies over filters once more, looking at each picture turned and mirrored in so many ways (to 8)."""
    shares: bool = True
    """Tell how often policies take each tool at each step."""
    out: Path = Path("runs/denoise_compare")
    """Where the table goes; what was scored there on the same pictures is not scored again."""
    precision: str = "32"
    """32, or bf16: on a CPU that has it, large networks several times faster, PSNR the same to about 0.01 dB."""
    threads: int = 0
    """Threads of torch (0: its default)."""
    pictures: Annotated[PictureConfig, tyro.conf.arg(name="")] = field(default_factory=PictureConfig)


@dataclass
class Entry:
    """A model or rule at one kind of noise.

    Attributes:
        scores: of each picture: psnr, ssim, sharpness, cpu_ms, megapixels.
        about: what a rule chose.
        shares: of each tool at each step, rows sum to 1; for policies.
    """

    scores: list[dict[str, float]]
    about: str = ""
    shares: list[list[float]] | None = None

    def mean(self, name: str) -> float:
        """Over the pictures."""
        return sum(row[name] for row in self.scores) / len(self.scores)


def main(arguments: Arguments) -> dict[str, dict[str, Entry]]:
    """Score what is missing, write table.md and table.json; gives row -> noise -> entry.

    Raises:
        UsageError: pictures, models or levels that cannot be used.
    """
    if arguments.threads < 0 or arguments.limit < 0:
        raise UsageError(f"--threads and --limit must not be negative; got {arguments.threads}, {arguments.limit}")
    if arguments.precision not in ("32", "bf16"):
        raise UsageError(f"--precision is 32 or bf16; got {arguments.precision}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    named = [_named(word) for word in arguments.models]
    models = [(name, load_model(path), _fingerprint(path)) for name, path in named]  # a wrong one is told at once
    if arguments.views != 1:
        models += [(f"{name}, {arguments.views} views", looking(model, arguments.views),
                    f"{fingerprint} {arguments.views} views")
                   for name, model, fingerprint in models if isinstance(policy_of(model), FilterPolicy)]
    pictures = load_noisy(arguments.pictures)
    split = "test" if pictures.splits.test else "val"
    kept = ScoreCache(arguments.out, f"{pictures.digest()[split]} {arguments.limit} {arguments.pictures.color}")
    rows: dict[str, dict[str, Entry]] = {}
    for noise, (level, eight_bit) in _noises(arguments).items():
        test = Lazily(partial(pictures.at, split, level, eight_bit=eight_bit, limit=arguments.limit or None))
        if arguments.rules:
            rules = Lazily(partial(_find_rules, pictures, level, eight_bit))
            for name in baseline_names(level):
                rows.setdefault(name, {})[noise] = _entry(kept, f"{name} {noise}",
                                                          partial(_score_rule, rules, name, test))
                _tell(name, noise, rows[name][noise])
        for name, model, fingerprint in models:
            if not _trained_for(model, level):
                continue
            if noise in rows.setdefault(name, {}):
                raise UsageError(f"--models: two of the name {name} were trained for noise {noise}; name them apart")
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                rows[name][noise] = _entry(kept, f"{fingerprint} {noise} {arguments.precision}",
                                           partial(_score_model, model, test, level))
            _tell(name, noise, rows[name][noise])
    if arguments.against and arguments.against not in rows:
        raise UsageError(f"--against {arguments.against}: no such row; there are {', '.join(rows)}")
    text = describe(arguments, pictures, split, rows, {name: model for name, model, _ in models})
    write_atomically(arguments.out / "table.md", text.encode())
    policies = {name: policy.actions.tools for name, model, _ in models if (policy := policy_of(model))}
    write_atomically(arguments.out / "shares.csv", share_lines(rows, policies).encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": split,
             "rows": {name: {noise: dataclasses.asdict(e) for noise, e in row.items()} for name, row in rows.items()}}
    write_atomically(arguments.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    print(f"\n{text}\nwritten to {arguments.out} (table.md, table.json, shares.csv)")
    return rows


T = TypeVar("T")


class Lazily(Generic[T]):
    """What is made when it is first asked for."""

    def __init__(self, make: Callable[[], T]):
        self._make = make
        self._made: T | None = None

    def __call__(self) -> T:
        if self._made is None:
            self._made = self._make()
        return self._made


def _tell(name: str, noise: str, entry: Entry) -> None:
    about = f" ({entry.about})" if entry.about else ""
    print(f"{name}{about}, noise {noise}: {entry.mean('psnr'):.3f} dB", flush=True)


def _named(word: str) -> tuple[str, Path]:
    name, sign, path = word.partition("=")
    place = locate(path if sign else word)
    return (name if sign else place.name if place.name not in ("best", "last") else str(place)), place


def _fingerprint(path: Path) -> str:
    place = find_checkpoint(path)
    spec = json.dumps(read_config(place)["model"], sort_keys=True).encode()
    return hashlib.sha256((place / MODEL).read_bytes() + spec).hexdigest()[:16]


def _noises(arguments: Arguments) -> dict[str, tuple[float | None, bool]]:
    """Name of the noise -> its level, or None where it is not of the levels, and whether it is rounded."""
    noise, rounded = arguments.pictures.noise, arguments.pictures.eight_bit
    if noise == REAL or (noise[:1].isalpha() and noise != "blind"):
        if arguments.also_eight_bit:
            raise UsageError(f"--also-eight-bit is for Gaussian noise; got --noise {noise}: run it again with "
                             f"--eight-bit")
        return {noise: (None, rounded)}
    if not arguments.levels:
        raise UsageError("--levels needs at least one")
    kinds = (False, True) if arguments.also_eight_bit else (rounded,)
    return {f"{level:g}{', 8 bits' if kind else ''}": (level, kind) for kind in kinds for level in arguments.levels}


def _trained_for(model: Any, level: float | None) -> bool:
    policy = policy_of(model)
    if level is None or policy is None:
        return True
    try:
        policy.check_noise(level)
    except UsageError:
        return False
    return True


def _entry(kept: ScoreCache, key: str, make: Callable[[], Entry]) -> Entry:
    return Entry(**kept.get_or_compute(key, lambda: dataclasses.asdict(make())))


def _find_rules(pictures: DenoiseDataset, level: float | None, eight_bit: bool) -> Mapping[str, Baseline]:
    return denoising_baselines(pictures.at("train", level, eight_bit=eight_bit, limit=_RULE_PICTURES, side=_RULE_SIDE),
                           level)


def _score_rule(rules: Lazily[Mapping[str, Baseline]], name: str, test: Lazily[list[Batch]]) -> Entry:
    rule = rules()[name]
    return dataclasses.replace(score(rule, test()), about=rule.name)


def _score_model(model: Any, test: Lazily[list[Batch]], level: float | None) -> Entry:
    return score(model, test(), level)


def score(model: Any, pictures: Sequence[Batch], level: float | None = None) -> Entry:
    """Scores of each picture against its clean one, outputs clipped to [0, 1]; of a policy, its shares too.

    Args:
        level: of the noise in 255ths; learned denoisers and policies that take it are told. None: each picture shows
            it.
    """
    rows, shares = [], []
    policy = policy_of(model)
    told: dict[str, float] = {}
    if level is not None:
        told = {"noise": level} if isinstance(model,
                                              NoiseConditionedModel) else policy.tell_noise(level) if policy else {}
    with torch.no_grad():
        for batch in pictures:
            assert batch.target is not None
            begun = time.process_time()
            if policy is not None:
                episode = model.play(batch.image, preference=told)
                output = episode.image
            else:
                output = model(batch.image, preference=told) if told else model(batch.image)
            spent, output = time.process_time() - begun, output.clamp(0, 1)
            if policy is not None:
                shares.append(torch.stack([choice_frequencies(action["local"], policy.actions.num_choices)
                                           for action in episode.actions]))
            colors = output.expand(-1, 3, -1, -1), batch.target.expand(-1, 3, -1, -1)
            rows.append({"psnr": psnr(output, batch.target).item(), "ssim": ssim(output, batch.target).item(),
                         "sharpness": sharpness_ratio(*colors).item(), "cpu_ms": 1e3 * spent,
                         "megapixels": output.shape[-1] * output.shape[-2] / 1e6})
    return Entry(rows, shares=torch.stack(shares).mean(dim=0).tolist() if shares else None)


def describe(arguments: Arguments, pictures: DenoiseDataset, split: str, rows: Mapping[str, Mapping[str, Entry]],
             models: Mapping[str, Any]) -> str:
    """The table in Markdown, what the rules chose, and the shares of the tools."""
    noises = list(dict.fromkeys(noise for row in rows.values() for noise in row))
    count = len(next(iter(next(iter(rows.values())).values())).scores) if rows else 0
    precision = "" if arguments.precision == "32" else f" Networks in {arguments.precision}."
    rounded = "clipped and rounded to 8 bits" if arguments.pictures.eight_bit and not arguments.also_eight_bit else \
        "not rounded"
    rounded += ", but where a column says 8 bits: clipped and rounded" * arguments.also_eight_bit
    lines = [f"{pictures.splits.describe()}.", f"Scored on {count} {split} pictures, "
             f"{'in colour' if arguments.pictures.color else 'grey'}; noise {rounded}; outputs clipped, not rounded. "
             f"PSNR in dB / SSIM.{precision}", ""]
    lines += ["| | " + " | ".join([*(f"noise {noise}" for noise in noises), "sharpness", "CPU s / MP", "parameters"])
              + " |", "|---" * (len(noises) + 4) + "|"]
    for name, row in rows.items():
        if not row:
            continue
        cells = [f"{row[noise].mean('psnr'):.2f} / {row[noise].mean('ssim'):.3f}" if noise in row else ""
                 for noise in noises]
        middle = row.get("25") or next(iter(row.values()))
        model = models.get(name)
        parameters = f"{sum(p.numel() for p in model.parameters()):,}" if isinstance(model, torch.nn.Module) else ""
        speed = f"{middle.mean('cpu_ms') / middle.mean('megapixels') / 1e3:.2f}"
        lines.append(f"| {name} | " + " | ".join([*cells, f"{middle.mean('sharpness'):.2f}", speed, parameters]) + " |")
    lines += ["", *(f"- {name}, noise {noise}: {entry.about}" for name, row in rows.items()
                    for noise, entry in row.items() if entry.about and name != "input")]
    if arguments.rules and not has_bm3d():
        lines.append("- BM3D is not installed (pip install bm3d): it has no row")
    if arguments.against:
        lines += ["", *difference_table(rows, arguments.against)]
    if arguments.shares:
        for name, row in rows.items():
            for noise, entry in row.items():
                if entry.shares:
                    lines += ["", *share_table(name, noise, entry.shares, models[name].policy.actions.tools)]
    return "\n".join(lines) + "\n"


def difference_table(rows: Mapping[str, Mapping[str, Entry]], against: str) -> list[str]:
    """PSNR of every row minus that of one, picture by picture, with the 95 % interval for other pictures."""
    noises = list(rows[against])
    lines = [f"PSNR in dB minus that of {against}, picture by picture, [95 % bootstrap interval over pictures]:", "",
             "| | " + " | ".join(f"noise {noise}" for noise in noises) + " |", "|---" * (len(noises) + 1) + "|"]
    for name, row in rows.items():
        cells = []
        for noise in noises if name != against else ():
            found = difference(row[noise], rows[against][noise]) if noise in row else None
            cells.append(f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]" if found else "")
        lines += [f"| {name} | " + " | ".join(cells) + " |"] if any(cells) else []
    return lines


def difference(one: Entry, other: Entry) -> Interval:
    """PSNR of one minus that of another on the same pictures."""
    values = [a["psnr"] - b["psnr"] for a, b in zip(one.scores, other.scores, strict=True)]
    return bootstrap_interval(values, [str(number) for number in range(len(values))])


def share_lines(rows: Mapping[str, Mapping[str, Entry]], tools: Mapping[str, Sequence[str]]) -> str:
    """How often policies take each tool at each step, as a table of commas: a line per row, noise, step and tool."""
    lines = ["row,noise,step,tool,share"]
    for name, row in rows.items():
        for noise, entry in row.items():
            lines += [f'{name},"{noise}",{step},{tool},{share:.6f}' for step, shares in enumerate(entry.shares or (), 1)
                      for tool, share in zip(tools[name], shares, strict=True)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run_cli(main, Arguments))

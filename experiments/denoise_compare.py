"""Compare denoisers on the same noisy pictures: `python -m experiments.denoise_compare --data DIR --models RUN ...`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import torch
import tyro

from experiments.baselines import Rule
from experiments.commands import run_command
from experiments.denoise import LEVELS, NoisyPictures, PictureConfig, load_noisy
from experiments.denoise_rules import denoising_rules, has_bm3d, rule_names
from experiments.intervals import Interval, scene_interval
from rlenhance.actions.filters import tool_shares
from rlenhance.checkpoint import MODEL, find_checkpoint, load_model
from rlenhance.data import REAL, Batch
from rlenhance.errors import UsageError
from rlenhance.metrics import psnr, sharpness_ratio, ssim
from rlenhance.models import FilteringPolicy, NoiseAware, UnrolledPolicy
from rlenhance.photo.files import write_atomically
from rlenhance.weights import locate

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
    pictures = load_noisy(arguments.pictures)
    split = "test" if pictures.splits.test else "val"
    memory = Memory(arguments.out, f"{pictures.digest()[split]} {arguments.limit} {arguments.pictures.color}")
    rows: dict[str, dict[str, Entry]] = {}
    for noise, (level, eight_bit) in _noises(arguments).items():
        test = Lazily(lambda level=level, eight_bit=eight_bit: pictures.at(  # type: ignore[misc]
            split, level, eight_bit=eight_bit, limit=arguments.limit or None))
        if arguments.rules:
            rules = Lazily(lambda level=level, eight_bit=eight_bit: denoising_rules(  # type: ignore[misc]
                pictures.at("train", level, eight_bit=eight_bit, limit=_RULE_PICTURES, side=_RULE_SIDE), level))
            for name in rule_names(level):
                rows.setdefault(name, {})[noise] = memory.entry(
                    f"{name} {noise}", lambda n=name, r=rules, t=test: _score_rule(r()[n], t()))  # type: ignore[misc]
                _tell(name, noise, rows[name][noise])
        for name, model, fingerprint in models:
            if not _trained_for(model, level):
                continue
            if noise in rows.setdefault(name, {}):
                raise UsageError(f"--models: two of the name {name} were trained for noise {noise}; name them apart")
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                rows[name][noise] = memory.entry(
                    f"{fingerprint} {noise} {arguments.precision}",
                    lambda m=model, t=test, s=level: score(m, t(), s))  # type: ignore[misc]
            _tell(name, noise, rows[name][noise])
    if arguments.against and arguments.against not in rows:
        raise UsageError(f"--against {arguments.against}: no such row; there are {', '.join(rows)}")
    text = describe(arguments, pictures, split, rows, {name: model for name, model, _ in models})
    write_atomically(arguments.out / "table.md", text.encode())
    policies = {name: policy.actions.tools for name, model, _ in models if (policy := _policy_of(model))}
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


class Memory:
    """What was scored in a folder before, on the same pictures with the same noise.

    Args:
        folder: where scores.json is kept.
        pictures: tells them from others.
    """

    def __init__(self, folder: Path, pictures: str):
        self._path, self._prefix = folder / "scores.json", f"{pictures} "
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._kept: dict[str, Any] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        except ValueError as error:
            raise UsageError(f"{self._path}: damaged ({error}); remove it, and everything is scored again") from error

    def entry(self, key: str, make: Callable[[], Entry]) -> Entry:
        """One entry, made and kept if it is not there."""
        key = self._prefix + key
        if key not in self._kept:
            self._kept[key] = dataclasses.asdict(make())
            write_atomically(self._path, json.dumps(self._kept).encode())
        return Entry(**self._kept[key])


def _tell(name: str, noise: str, entry: Entry) -> None:
    about = f" ({entry.about})" if entry.about else ""
    print(f"{name}{about}, noise {noise}: {entry.mean('psnr'):.3f} dB", flush=True)


def _named(word: str) -> tuple[str, Path]:
    name, sign, path = word.partition("=")
    place = locate(path if sign else word)
    return (name if sign else place.name if place.name not in ("best", "last") else str(place)), place


def _fingerprint(path: Path) -> str:
    return hashlib.sha256((find_checkpoint(path) / MODEL).read_bytes()).hexdigest()[:16]


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


def _policy_of(model: Any) -> FilteringPolicy | None:
    policy = model.policy if isinstance(model, UnrolledPolicy) else None
    return policy if isinstance(policy, FilteringPolicy) else None


def _trained_for(model: Any, level: float | None) -> bool:
    policy = _policy_of(model)
    if level is None or policy is None:
        return True
    try:
        policy.check_noise(level)
    except UsageError:
        return False
    return True


def _score_rule(rule: Rule, test: Sequence[Batch]) -> Entry:
    return dataclasses.replace(score(rule, test), about=rule.name)


def score(model: Any, pictures: Sequence[Batch], level: float | None = None) -> Entry:
    """Scores of each picture against its clean one, outputs clipped to [0, 1]; of a policy, its shares too.

    Args:
        level: of the noise in 255ths; a learned denoiser is told it. None: each picture shows it.
    """
    told = {"preference": {"noise": level}} if isinstance(model, NoiseAware) and level is not None else {}
    rows, shares = [], []
    policy = _policy_of(model)
    with torch.no_grad():
        for batch in pictures:
            assert batch.target is not None
            begun = time.process_time()
            if policy is not None:
                episode = model.play(batch.image)
                output = episode.image
            else:
                output = model(batch.image, **told)
            spent, output = time.process_time() - begun, output.clamp(0, 1)
            if policy is not None:
                shares.append(torch.stack([tool_shares(action["local"], policy.actions.choices)
                                           for action in episode.actions]))
            colors = output.expand(-1, 3, -1, -1), batch.target.expand(-1, 3, -1, -1)
            rows.append({"psnr": psnr(output, batch.target).item(), "ssim": ssim(output, batch.target).item(),
                         "sharpness": sharpness_ratio(*colors).item(), "cpu_ms": 1e3 * spent,
                         "megapixels": output.shape[-1] * output.shape[-2] / 1e6})
    return Entry(rows, shares=torch.stack(shares).mean(dim=0).tolist() if shares else None)


def describe(arguments: Arguments, pictures: NoisyPictures, split: str, rows: Mapping[str, Mapping[str, Entry]],
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
    return scene_interval(values, [str(number) for number in range(len(values))])


def share_lines(rows: Mapping[str, Mapping[str, Entry]], tools: Mapping[str, Sequence[str]]) -> str:
    """How often policies take each tool at each step, as a table of commas: a line per row, noise, step and tool."""
    lines = ["row,noise,step,tool,share"]
    for name, row in rows.items():
        for noise, entry in row.items():
            lines += [f'{name},"{noise}",{step},{tool},{share:.6f}' for step, shares in enumerate(entry.shares or (), 1)
                      for tool, share in zip(tools[name], shares, strict=True)]
    return "\n".join(lines) + "\n"


def share_table(name: str, noise: str, shares: Sequence[Sequence[float]], tools: Sequence[str]) -> list[str]:
    """How often a policy takes each tool at each step, in percent."""
    return [f"Tools that {name} takes at noise {noise}, percent of the pixels:", "",
            "| step | " + " | ".join(tools) + " |", "|---" * (len(tools) + 1) + "|",
            *(f"| {step + 1} | " + " | ".join(f"{100 * share:.1f}" for share in row) + " |"
              for step, row in enumerate(shares))]


if __name__ == "__main__":
    sys.exit(run_command(main, Arguments))

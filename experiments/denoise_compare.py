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
from typing import Annotated, Any

import torch
import tyro

from experiments.commands import run_command
from experiments.denoise import LEVELS, NoisyPictures, PictureConfig, load_noisy
from experiments.denoise_rules import denoising_rules, has_bm3d
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
    memory = Memory(arguments.out, pictures.digest()[split], arguments)
    rows: dict[str, dict[str, Entry]] = {}
    for noise, level in _noises(arguments, pictures).items():
        test = Lazily(lambda level=level: pictures.at(split, level, eight_bit=arguments.pictures.eight_bit,  # type: ignore[misc]
                                                      limit=arguments.limit or None))
        if arguments.rules:
            for name, entry in memory.rules(noise, lambda level=level, test=test: _score_rules(  # type: ignore[misc]
                    pictures, arguments, level, test())).items():
                rows.setdefault(name, {})[noise] = entry
        for name, model, fingerprint in models:
            if not _trained_for(model, level):
                continue
            if noise in rows.setdefault(name, {}):
                raise UsageError(f"--models: two of the name {name} were trained for noise {noise}; name them apart")
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                rows[name][noise] = memory.entry(
                    f"{fingerprint} {noise} {arguments.precision}",
                    lambda m=model, t=test, s=level: score(m, t(), s))  # type: ignore[misc]
            print(f"{name}, noise {noise}: {rows[name][noise].mean('psnr'):.3f} dB", flush=True)
    text = describe(arguments, pictures, split, rows, {name: model for name, model, _ in models})
    write_atomically(arguments.out / "table.md", text.encode())
    facts = {"made": time.strftime("%Y-%m-%d"), "arguments": dataclasses.asdict(arguments), "split": split,
             "rows": {name: {noise: dataclasses.asdict(e) for noise, e in row.items()} for name, row in rows.items()}}
    write_atomically(arguments.out / "table.json", json.dumps(facts, indent=1, default=str).encode())
    print(f"\n{text}\nwritten to {arguments.out} (table.md, table.json)")
    return rows


class Lazily:
    """Pictures that are made when they are first asked for."""

    def __init__(self, make: Callable[[], list[Batch]]):
        self._make = make
        self._made: list[Batch] | None = None

    def __call__(self) -> list[Batch]:
        if self._made is None:
            self._made = self._make()
        return self._made


class Memory:
    """What was scored in a folder before, on the same pictures with the same noise.

    Args:
        folder: where scores.json is kept.
        digest: of the pictures.
    """

    def __init__(self, folder: Path, digest: str, arguments: Arguments):
        self._path = folder / "scores.json"
        self._prefix = f"{digest} {arguments.limit} {arguments.pictures.eight_bit} {arguments.pictures.color} "
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._kept: dict[str, Any] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        except ValueError as error:
            raise UsageError(f"{self._path}: damaged ({error}); remove it, and everything is scored again") from error

    def entry(self, key: str, make: Callable[[], Entry]) -> Entry:
        """One entry, made if it is not there."""
        return self.rules(key, lambda: {"": make()})[""]

    def rules(self, key: str, make: Callable[[], Mapping[str, Entry]]) -> dict[str, Entry]:
        """Several entries that are made together."""
        key = self._prefix + key
        if key not in self._kept:
            self._kept[key] = {name: dataclasses.asdict(entry) for name, entry in make().items()}
            write_atomically(self._path, json.dumps(self._kept).encode())
        return {name: Entry(**entry) for name, entry in self._kept[key].items()}


def _named(word: str) -> tuple[str, Path]:
    name, sign, path = word.partition("=")
    place = locate(path if sign else word)
    return (name if sign else place.name if place.name not in ("best", "last") else str(place)), place


def _fingerprint(path: Path) -> str:
    return hashlib.sha256((find_checkpoint(path) / MODEL).read_bytes()).hexdigest()[:16]


def _noises(arguments: Arguments, pictures: NoisyPictures) -> dict[str, float | None]:
    """Name of the noise -> its level, or None where it is not of the levels."""
    if arguments.pictures.noise == REAL or (arguments.pictures.noise[:1].isalpha() and \
            arguments.pictures.noise != "blind"):
        return {arguments.pictures.noise: None}
    if not arguments.levels:
        raise UsageError("--levels needs at least one")
    return {f"{level:g}": level for level in arguments.levels}


def _trained_for(model: Any, level: float | None) -> bool:
    if level is None or not isinstance(model, UnrolledPolicy) or not isinstance(model.policy, FilteringPolicy):
        return True
    try:
        model.policy.check_noise(level)
    except UsageError:
        return False
    return True


def _score_rules(pictures: NoisyPictures, arguments: Arguments, level: float | None,
                 test: Sequence[Batch]) -> dict[str, Entry]:
    chosen_on = pictures.at("train", level, eight_bit=arguments.pictures.eight_bit, limit=_RULE_PICTURES,
                            side=_RULE_SIDE)
    entries = {}
    for name, rule in denoising_rules(chosen_on, level).items():
        entries[name] = dataclasses.replace(score(rule, test), about=rule.name)
        print(f"{name} ({rule.name}), noise {level}: {entries[name].mean('psnr'):.3f} dB", flush=True)
    return entries


def score(model: Any, pictures: Sequence[Batch], level: float | None = None) -> Entry:
    """Scores of each picture against its clean one, outputs clipped to [0, 1]; of a policy, its shares too.

    Args:
        level: of the noise in 255ths; a learned denoiser is told it. None: each picture shows it.
    """
    told = {"preference": {"noise": level}} if isinstance(model, NoiseAware) and level is not None else {}
    rows, shares = [], []
    policy = model.policy if isinstance(model, UnrolledPolicy) and isinstance(model.policy, FilteringPolicy) else None
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
    rounded = "clipped and rounded to 8 bits" if arguments.pictures.eight_bit else "not rounded"
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
    if arguments.shares:
        for name, row in rows.items():
            for noise, entry in row.items():
                if entry.shares:
                    lines += ["", *share_table(name, noise, entry.shares, models[name].policy.actions.tools)]
    return "\n".join(lines) + "\n"


def share_table(name: str, noise: str, shares: Sequence[Sequence[float]], tools: Sequence[str]) -> list[str]:
    """How often a policy takes each tool at each step, in percent."""
    return [f"Tools that {name} takes at noise {noise}, percent of the pixels:", "",
            "| step | " + " | ".join(tools) + " |", "|---" * (len(tools) + 1) + "|",
            *(f"| {step + 1} | " + " | ".join(f"{100 * share:.1f}" for share in row) + " |"
              for step, row in enumerate(shares))]


if __name__ == "__main__":
    sys.exit(run_command(main, Arguments))

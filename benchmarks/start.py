"""`python -m benchmarks start`: what a photographer waits for, beside other programs, in one run.

Every command is a process of its own, files and imports included. This version is installed from its wheel, without
extras, in a fresh environment; an older checkout runs in the environment of this script.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.table import Table
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import ImageCache
from rlenhance.learning.data.datasets import sample_path

ROOT = Path(__file__).parents[1]
#: Name -> width and height.
SIZES = {"600 x 400": (600, 400), "12 megapixels": (4000, 3000), "24 megapixels": (6000, 4000),
         "50 megapixels": (8192, 6144)}
FOLDER = (1732, 1155)
_QUALITY = 92
_CLAHE = """
import sys, cv2
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    lab = cv2.cvtColor(cv2.imread(source), cv2.COLOR_BGR2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0].copy())
    cv2.imwrite(target, cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
"""


@dataclass(frozen=True)
class Arguments:
    """Measure start, photographs, a folder and memory, beside other programs."""

    old: Path | None = None
    """An older checkout, for the rows "before"; it runs in the environment of this script."""
    environment: Path | None = None
    """A virtual environment with this version (default: a fresh one with its wheel, deleted at the end)."""
    rembg: Path | None = None
    """The command rembg, whose start stands beside the others."""
    parts: tuple[str, ...] = ("start", "photographs", "folder")
    """What to measure."""
    photographs: int = 100
    """In the folder, of two megapixels each."""
    repeats: int = 5
    """Rounds after one that is not counted; all that is compared takes turns, and medians count."""
    out: Path = Path("runs/benchmarks")
    """Folder for start.json."""


@dataclass
class Program:
    """A program that is measured.

    Attributes:
        name: in the tables.
        words: the command line before its arguments.
        one: arguments for one photograph; {source} and {target} stand for files.
        many: for a folder; {source} and {target} stand for folders. Empty: it is called once for each photograph.
        environment: variables that it gets.
    """

    name: str
    words: Sequence[str]
    one: Sequence[str] = ()
    many: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """Of a process: seconds of processor time, seconds on the clock, peak of resident memory in MB."""

    cpu: float
    wall: float
    memory: float


def main(arguments: Arguments) -> list[Table]:
    """Measure and print; start.json keeps the tables.

    Raises:
        UsageError: a number below 1; an unknown part; an older checkout that is none.
    """
    known = ("start", "photographs", "folder")
    if min(arguments.repeats, arguments.photographs) < 1 or set(arguments.parts) - set(known):
        raise UsageError(f"--repeats and --photographs must be at least 1, --parts of {', '.join(known)}; got "
                         f"{arguments.repeats}, {arguments.photographs} and {', '.join(arguments.parts)}")
    if arguments.old is not None and not (arguments.old / "rlenhance/cli/main.py").is_file():
        raise UsageError(f"{arguments.old}: no checkout of rlenhance")
    tables = []
    with tempfile.TemporaryDirectory(prefix="rlenhance-start-") as name:
        scratch = Path(name)
        environment = arguments.environment
        if environment is None:
            environment = scratch / "environment"
            install(environment, make_wheel(scratch))
        programs = programs_of(arguments, environment.absolute(), scratch)
        for part in arguments.parts:
            if part == "start":
                tables.append(measure_start(programs, arguments, scratch))
            elif part == "photographs":
                tables.append(measure_photographs(programs, arguments.repeats, scratch))
            else:
                tables.append(measure_folder(programs, arguments, scratch))
            table = tables[-1]
            table.about = {"cores": os.cpu_count(), "repeats": arguments.repeats, "load": os.getloadavg()[0]}
            print(f"\n{table.name}: {table.title}\n\n{table.markdown()}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "start.json").write_text(json.dumps({
        "measured": [dataclasses.asdict(table) for table in tables], "tables": [table.stored() for table in tables]},
        indent=1))
    return tables


def programs_of(arguments: Arguments, environment: Path, scratch: Path) -> list[Program]:
    """This version, the older one, and those of the others that are installed."""
    one, many = ("{source}", "-o", "{target}", "-q"), ("enhance", "{source}", "-o", "{target}/", "-q")
    command = [str(environment / "bin/rlenhance")]
    found = [Program("rlenhance", command, one, many),
             Program("rlenhance --denoise 0", command, (*one, "--denoise", "0"), (*many, "--denoise", "0"))]
    if arguments.old is not None:
        found.append(Program("rlenhance before", [sys.executable, "-m", "rlenhance.cli.main"], one, many, {
            "PYTHONPATH": str(arguments.old.absolute()), "PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}))
    clahe = scratch / "clahe.py"
    clahe.write_text(_CLAHE)
    found.append(Program("OpenCV, CLAHE", [str(environment / "bin/python"), str(clahe)], ("{source}", "{target}"),
                         ("{pairs}",)))
    for tool in ("/usr/bin/convert", "magick"):  # a stand-in may be called convert elsewhere
        if path := shutil.which(tool):
            quality = ("-quality", str(_QUALITY))
            found.append(Program("ImageMagick, auto-gamma", [path], ("{source}", "-auto-gamma", *quality, "{target}")))
            break
    if path := shutil.which("vips"):
        found.append(Program("libvips, gamma", [path, "gamma"], ("{source}", f"{{target}}[Q={_QUALITY}]",
                                                                 "--exponent", "0.5")))
    return found


def cost_of(words: Sequence[str], environment: dict[str, str], cwd: Path, status: int = 0) -> Cost:
    """Run a process to its end.

    Raises:
        UsageError: it ends with another status.
    """
    kept = {name: value for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE") and not name.endswith("_NUM_THREADS")}
    asked = subprocess.run([sys.executable, "-S", "-c", _MEASURED, *words], env={**kept, **environment}, cwd=cwd,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    ended, cpu, wall, memory = json.loads(asked.stdout)
    if ended != status:
        raise UsageError(f"{' '.join(words[:8])}: ended with status {ended}, not {status}")
    return Cost(cpu, wall, memory / (1e6 if sys.platform == "darwin" else 1e3))


#: A small process between: the peak of a process counts the memory of the one that it was forked from.
_MEASURED = """
import json, os, sys, time
begun, null = time.perf_counter(), os.open(os.devnull, os.O_RDWR)
place = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ,
                        file_actions=[(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)])
_, ended, usage = os.wait4(place, 0)
print(json.dumps([os.waitstatus_to_exitcode(ended), usage.ru_utime + usage.ru_stime, time.perf_counter() - begun,
                  usage.ru_maxrss]))
"""


def rounds(works: Mapping[str, tuple[Sequence[str], dict[str, str], int]], repeats: int, cwd: Path) -> dict[str, Cost]:
    """Medians of each: (words, environment, status); all take turns, and the first round is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, (words, environment, status) in works.items():
            cost = cost_of(words, environment, cwd, status)
            if number:
                costs[name].append(cost)
    return {name: Cost(*(statistics.median(getattr(cost, about.name) for cost in found)
                         for about in dataclasses.fields(Cost))) for name, found in costs.items()}


def measure_start(programs: Sequence[Program], arguments: Arguments, scratch: Path) -> Table:
    """Help, refusals and lists, before any pixel is read."""
    table = Table("start", "Before the first pixel", ("program", "command", "processor s", "s", "MB"))
    write_photograph(scratch / "small.jpg", 60, 40)
    asked = {"--help": 0, "enhance --help": 0, "nosuch": 2, "enhance missing.jpg": 2, "small.jpg --exposure 7": 2,
             "small.jpg --model nosuch": 2, "small.jpg -o small.jpg": 2, "models": 0}
    for words, status in asked.items():
        works = {program.name: ([*program.words, *words.split()], program.environment, status)
                 for program in programs if program.name in ("rlenhance", "rlenhance before")}
        if words == "--help" and arguments.rembg is not None:
            works["rembg"] = ([str(arguments.rembg.absolute()), "--help"], {}, 0)
        for name, cost in rounds(works, arguments.repeats, scratch).items():
            table.rows.append((name, words, cost.cpu, cost.wall, cost.memory))
    return table


def measure_photographs(programs: Sequence[Program], repeats: int, scratch: Path) -> Table:
    """One photograph from file to file, by size."""
    table = Table("photographs", "One photograph, JPEG to JPEG, from the start of the process to its end",
                  ("photograph", "program", "processor s", "s", "peak MB"))
    for size, (width, height) in SIZES.items():
        source = scratch / "night.jpg"
        write_photograph(source, width, height)
        works = {}
        for number, program in enumerate(programs):
            files = {"source": str(source), "target": str(scratch / f"{number}.jpg")}
            again = ("--overwrite",) if program.name.startswith("rlenhance") else ()
            words = [*program.words, *(word.format(**files) for word in program.one), *again]
            works[program.name] = words, program.environment, 0
        for name, cost in rounds(works, repeats, scratch).items():
            table.rows.append((size, name, cost.cpu, cost.wall, cost.memory))
    return table


def measure_folder(programs: Sequence[Program], arguments: Arguments, scratch: Path) -> Table:
    """A folder; a program that takes one photograph at a time runs once for each, as many at a time as there are
    cores."""
    table = Table("folder", f"{arguments.photographs} photographs of two megapixels",
                  ("program", "photographs per s", "processor s", "s", "peak MB"))
    folder = scratch / "folder"
    folder.mkdir()
    for number in range(arguments.photographs):
        if number < 5:
            write_photograph(folder / f"{number:03}.jpg", *FOLDER, seed=number)
        else:
            shutil.copy(folder / f"{number % 5:03}.jpg", folder / f"{number:03}.jpg")
    sources, target = sorted(folder.iterdir()), scratch / "results"
    for program in programs:
        costs = []
        for _ in range(max(2, arguments.repeats // 2)):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            pairs = [word for source in sources for word in (str(source), str(target / source.name))]
            if program.many:
                words = [part for word in program.many for part in (
                    pairs if word == "{pairs}" else [word.format(source=folder, target=target)])]
                costs.append(cost_of([*program.words, *words], program.environment, scratch))
            else:
                lines = [json.dumps([*program.words, *(word.format(source=source, target=target / source.name)
                                                       for word in program.one)]) for source in sources]
                costs.append(cost_of([sys.executable, "-c", _PARALLEL, *lines], {}, scratch))
            if len(list(target.iterdir())) != len(sources):
                raise UsageError(f"{program.name}: {len(list(target.iterdir()))} of {len(sources)} results")
        best = min(costs, key=lambda cost: cost.wall)
        table.rows.append((program.name, len(sources) / best.wall, best.cpu, best.wall, best.memory))
    return table


_PARALLEL = """
import json, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(os.cpu_count()) as pool:
    for done in pool.map(lambda line: subprocess.run(json.loads(line)).returncode, sys.argv[1:]):
        assert done == 0
"""


def make_wheel(scratch: Path, place: str = ".") -> Path:
    """A wheel of what is committed in a folder of the checkout."""
    source = scratch / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True)
    subprocess.run(["tar", "x", "-C", str(source)], check=True, input=archive.stdout)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(scratch), str(source / place)],
                   check=True)
    return next(scratch.glob("*.whl"))


def install(place: Path, wheel: Path) -> None:
    """A fresh environment with the wheel."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([str(place / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-c",
                    str(ROOT / "constraints.txt"), str(wheel)], check=True, env=kept)


def write_photograph(path: Path, width: int, height: int, seed: int = 0) -> None:
    """A sample photograph of that size in bad light, with the noise of a sensor."""
    names = ("coffee", "astronaut", "chelsea")
    picture = cv2.resize(ImageCache().load(sample_path(names[seed % 3])), (width, height),
                         interpolation=cv2.INTER_CUBIC)
    light = (picture / np.float32(255)) ** np.float32(2.2) * np.float32(0.08)
    noise = np.random.default_rng(seed).standard_normal((height, width, 1), dtype=np.float32) * np.float32(0.012)
    dark = np.clip(light + noise * np.sqrt(np.maximum(light, 0.005)), 0, 1) ** np.float32(1 / 2.2)
    cv2.imwrite(str(path), cv2.cvtColor(np.rint(255 * dark).astype(np.uint8), cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])

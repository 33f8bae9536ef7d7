"""Each extra alone: installed in a fresh environment, used there by a command, and weighed.

`python -m tests.support.extras` (`make extras`) tries all of them, `python -m tests.support.extras demo heif` those
that are named. The wheels are built once, constraints.txt holds, and pip's cache serves. It fails where a command
does. The table goes to runs/extras.json, which keeps the rows of extras that are not tried again; from there
`python -m research.results --take extras=runs/extras.json` shows it in docs/reference/extras.md. The extras dev and
docs are not among them: the tests and the site are made with these.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rlenhance.core.errors import UnknownName
from rlenhance.experiments.core.stored_tables import table_made_here

ROOT = Path(__file__).parents[2]
OUT = ROOT / "runs/extras.json"
SECONDS = 240  # that a command may take on a busy machine
_TRAIN = "python -m rlenhance.experiments.lol_train --updates 2 --eval-interval 2 --no-progress --name first"


@dataclass(frozen=True)
class Use:
    """An extra in use.

    Attributes:
        commands: in a shell, from a folder with the files of `make_files`, with the environment's programs first.
        result: a file that they write, and that is not empty; "": none.
        distribution: that has the extra, a key of `WHEELS`.
    """

    commands: str
    result: str = ""
    distribution: str = "rlenhance"


#: Extra -> how it is used; "" is the package without one.
USES = {
    "": Use("rlenhance night.jpg", "night_enhanced.jpg"),
    "heif": Use("rlenhance night.heic", "night_enhanced.heic"),
    "raw": Use("rlenhance night.dng", "night_enhanced.tif"),
    "video": Use("rlenhance enhance clip.mp4", "clip_enhanced.mp4"),
    "demo": Use("python page.py", "page.jpg"),
    "cluster": Use("rlenhance enhance photos -o enhanced --on ray --workers 1", "enhanced/rlenhance-ledger.jsonl"),
    "ocr": Use("rlenhance read page.png > text.txt", "text.txt", "rlenhance-read"),
    "train": Use(_TRAIN, "runs/lol/first/metrics.csv"),
    "all": Use(f"rlenhance night.heic && {_TRAIN}", "night_enhanced.heic"),
    "onnx": Use("rlenhance export --onnx natural.onnx", "natural.onnx"),
    "pettingzoo": Use("python cells.py"),
    "outside": Use("python outside.py"),
    "sweep": Use("python -m rlenhance.experiments.sweep lol_train --search a3c.optimizer.learning-rate=1e-4:1e-2:log "
                 "--trials 1 -- --updates 2 --eval-interval 2", "runs/sweeps/sweep/trials.csv"),
    "parquet": Use(f"{_TRAIN} --data shards", "runs/lol/first/metrics.csv"),
    "wandb": Use(f"{_TRAIN} --logger wandb", "runs/lol/first/wandb"),
    "mlflow": Use(f"{_TRAIN} --logger mlflow", "runs/lol/mlflow.db"),
    "trackio": Use(f"{_TRAIN} --logger trackio", "runs/lol/trackio"),
}
#: Those that need no training framework, whose environments are made in seconds.
LIGHT = ("", "heif", "raw", "video", "demo", "cluster", "ocr")
#: Distribution -> the folder of its sources.
WHEELS = {"rlenhance": ".", "rlenhance-read": "plugins/read"}
_PIP = re.compile(r"(pip|setuptools|_distutils_hack|pkg_resources|distutils-precedence\.pth)(-.*)?$")

#: The page answers, enhances the photograph that a program sends, and its sample is there.
_PAGE = """
import re, subprocess, sys, urllib.request
page = subprocess.Popen([sys.executable, "-m", "rlenhance", "demo", "--port", "0"], stdout=subprocess.PIPE, text=True)
try:
    address = re.search(r"http://\\S+", page.stdout.readline())[0].rstrip("/")
    assert urllib.request.urlopen(address).status == 200
    with open("night.jpg", "rb") as photo, open("page.jpg", "wb") as result:
        result.write(urllib.request.urlopen(address + "/api/enhance?name=night.jpg", photo.read()).read())
    from rlenhance.web.service import SAMPLE
    assert SAMPLE.stat().st_size > 10_000
finally:
    page.terminate()
    page.wait()
"""
_CELLS = """
import pettingzoo
import rlenhance.envs.parallel
env = pettingzoo.make("parallel", "rlenhance/LowLight-v0", size=32, cells=(4, 4), horizon=2)
env.reset(seed=0)
while env.agents:
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
"""
_OUTSIDE = """
import gymnasium
from sb3_contrib import TRPO
from torchrl.envs import GymWrapper, check_env_specs
from rlenhance.envs import GlobalAction, Uint8Observation
env = Uint8Observation(GlobalAction(gymnasium.make("rlenhance/LowLight-v0", size=16, horizon=2)))
TRPO("MlpPolicy", env, n_steps=8, batch_size=8).learn(8)
check_env_specs(GymWrapper(gymnasium.make("rlenhance/LowLight-v0", size=16)))
"""


def make_files(folder: Path) -> None:
    """What the commands take: a photograph in JPEG, HEIC and DNG, a folder, a clip, a page of text, shards, scripts."""
    import cv2
    import numpy as np
    from pillow_heif import from_bytes

    from benchmarks.start import write_photograph
    from rlenhance.io import read
    from tests.support.clips import make_clip
    from tests.support.corpus import dng

    folder.mkdir()
    (folder / "photos").mkdir()
    for name in ("night.jpg", "photos/night.jpg"):
        write_photograph(folder / name, 300, 200)
    pixels = np.ascontiguousarray(read(folder / "night.jpg").pixels)
    from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes()).save(folder / "night.heic")
    (folder / "night.dng").write_bytes(dng())
    make_clip(folder / "clip.mp4")
    page = np.full((160, 640, 3), 90, np.uint8)
    cv2.putText(page, "LOW LIGHT", (40, 105), cv2.FONT_HERSHEY_SIMPLEX, 3, (20, 20, 20), 8, cv2.LINE_AA)
    cv2.imwrite(str(folder / "page.png"), page)
    _pack_shards(folder / "shards")
    for name, text in (("page.py", _PAGE), ("cells.py", _CELLS), ("outside.py", _OUTSIDE)):
        (folder / name).write_text(text.lstrip())


def _pack_shards(folder: Path) -> None:
    import cv2
    import numpy as np
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    for split, levels in (("train", (20, 100)), ("val", (30, 110))):
        dark, good = ([cv2.imencode(".png", np.full((40, 60, 3), level + place, np.uint8))[1].tobytes()
                       for place in range(2)] for level in levels)
        parquet.write_table(pyarrow.table({"low": dark, "high": good}), folder / f"{split}-00000.parquet")


def make_wheels(folder: Path) -> dict[str, Path]:
    """Distribution -> its wheel, of what is committed."""
    from benchmarks.start import make_wheel

    return {name: make_wheel(folder / name, place) for name, place in WHEELS.items()}


def try_extra(extra: str, use: Use, wheels: dict[str, Path], files: Path, folder: Path) -> tuple[float, int]:
    """Install and use an extra in a folder that is not there yet, on a copy of the files.

    Returns:
        10^6 bytes that pip has installed, without bytecode, and the number of packages.

    Raises:
        RuntimeError: its command fails, or does not write its result; the message has its last lines.
    """
    place, work = folder / "environment", folder / "work"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    wheel = wheels[use.distribution]
    wanted = [f"{use.distribution}[{extra}] @ file://{wheel}" if extra else str(wheel),
              *(str(other) for name, other in wheels.items() if name == "rlenhance" != use.distribution)]
    install = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "-q", "--no-compile",
               "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"), *wanted]
    _checked(extra, "cannot be installed", install, ROOT, None)
    packages = next((place / "lib").glob("python3*/site-packages"))
    kept = [entry for entry in packages.iterdir() if not _PIP.match(entry.name)]
    size = sum(path.lstat().st_size for entry in kept for path in (entry.rglob("*") if entry.is_dir() else [entry]))
    shutil.copytree(files, work)
    environment = {name: word for name, word in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{place / 'bin'}{os.pathsep}{environment['PATH']}"
    _checked(extra, "does not work", ["bash", "-e", "-o", "pipefail", "-c", use.commands], work, environment)
    result = work / use.result
    if not result.exists() or (result.is_file() and not result.stat().st_size):
        raise RuntimeError(f"extra {extra or 'none'}: {use.commands} wrote no {use.result}; there are "
                           f"{', '.join(sorted(path.name for path in work.iterdir()))}")
    return size / 1e6, sum(entry.name.endswith(".dist-info") for entry in kept)


def _checked(extra: str, what: str, words: list[str], folder: Path, environment: dict[str, str] | None) -> None:
    try:
        done = subprocess.run(words, cwd=folder, env=environment, timeout=SECONDS, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"extra {extra or 'none'} {what}: {shlex.join(words)} takes over {SECONDS} s") from error
    if done.returncode:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"extra {extra or 'none'} {what}: {shlex.join(words)} ended with status {done.returncode}\n"
                           f"{lines}")


def main(names: list[str]) -> int:
    """Try the extras that are named, "none" and "light" among them; all without a name. -> 1 where one fails"""
    wanted = [extra for name in names for extra in (LIGHT if name == "light" else [name if name != "none" else ""])]
    for extra in wanted:
        if extra not in USES:
            raise UnknownName("extra", extra, [name or "none" for name in USES])
    rows, failures = {row[0]: row for row in _rows_before()}, []
    with tempfile.TemporaryDirectory(prefix="rlenhance-extras-") as name:
        scratch = Path(name)
        wheels = make_wheels(scratch / "wheels")
        make_files(scratch / "files")
        for number, extra in enumerate(wanted or USES):
            use, begun = USES[extra], time.monotonic()
            try:
                size, packages = try_extra(extra, use, wheels, scratch / "files", scratch / str(number))
            except RuntimeError as error:
                failures.append(str(error))
                print(error, flush=True)
            else:
                label = _label(extra)
                rows[label] = [label, f"{size:,.0f}", str(packages), f"`{use.commands}`"]
                print(f"{label}: {size:,.0f} MB, {packages} packages, {time.monotonic() - begun:.0f} s: {use.commands}",
                      flush=True)
            shutil.rmtree(scratch / str(number), ignore_errors=True)
    OUT.parent.mkdir(exist_ok=True)
    table = table_made_here(["extra", "MB", "packages", "command"], [rows[label] for label in map(_label, USES)
                                                                     if label in rows])
    OUT.write_text(json.dumps({"tables": [table | {"command": ["python -m tests.support.extras"]}]}, indent=1))
    return 1 if failures else 0


def _label(extra: str) -> str:
    owner = USES[extra].distribution
    return (extra or "none") if owner == "rlenhance" else f"{extra} (of {owner})"


def _rows_before() -> list[list[str]]:
    return json.loads(OUT.read_text())["tables"][0]["rows"] if OUT.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

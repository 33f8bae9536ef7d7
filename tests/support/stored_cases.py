"""A hundred cases whose results a change of the code's structure must not move: commands, models, formats, options and
trainings.

    python -m tests.support.stored_cases record cases.json       # before
    python -m tests.support.stored_cases compare cases.json      # after: exit status 1 where a result moved

Each case is a command line in a fresh folder. Its result is the exit status and a digest of what it wrote: the pixels
of pictures, the metrics of trainings without their times, the text of everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
_PICTURES = {".png", ".jpg", ".tiff", ".webp", ".bmp"}
_FORMATS = ("jpg", "png", "webp", "tiff", "bmp", "jpg --quality 60")
_PHOTO_MODELS = ("balanced", "natural", "natural-direct", "reference", "reference-direct", "relight", "supervised")
_PRESETS = ("soft", "bright", "night-mood", "vivid", "print", "subtle", "documentary")
_ENHANCE = (
    "--exposure 0.25", "--exposure 0.6", "--exposure 0.45 --contrast 0.5", "--contrast -0.6", "--color 0.7",
    "--color -0.5", "--highlights 0.8", "--strength 0.5", "--strength 0.8 --exposure 0.3", "--exposure-shift 0.7",
    "--denoise 0", "--denoise 1", "--denoise auto", "--white auto", "--white keep", "--white 2800", "--steps 1",
    "--denoiser denoiser", "--region mask.png", "--match-style bright.jpg", "--model relight --smoothness 0.7",
    "--recipe recipe.json", "--strip", "--cube look.cube", "--explain sheet.png",
    "--save-recipe kept.json", "--json",
)
_TRAININGS = (
    *(f"lol_train --learner {learner} --crop 32" for learner in ("a3c", "sac", "direct", "supervised")),
    *(f"denoise_train --learner {learner} --crop 24" for learner in ("a3c", "direct", "supervised")),
    *(f"complete_train --learner {learner} --size 32" for learner in ("a3c", "direct", "sac", "supervised")),
    *(f"restore_train {model} --size 32" for model in ("gated_pixelrnn", "convlstm_autoencoder", "prior", "combined",
                                                       "kernel_denoiser")),
    "restore_train enlarger --size 32 --scale 2",
    "denoiser_train --size 32",
)


def cases() -> Iterator[tuple[str, str]]:
    """Name and command line of each."""
    enhance = "rlenhance enhance dark.png -o out.png"
    yield from ((f"enhance {option}", f"{enhance} {option}") for option in _ENHANCE)
    yield from ((f"model {name}", f"{enhance} --model {name}") for name in _PHOTO_MODELS)
    yield from ((f"preset {name}", f"{enhance} --preset {name}") for name in _PRESETS)
    yield from ((f"to {ending}", f"rlenhance enhance dark.png -o out.{ending}") for ending in _FORMATS)
    yield from ((f"from {name}", f"rlenhance enhance {name} -o out.png")
                for name in ("deep.png", "grey.png", "clear.png", "bright.jpg", "dark.webp", "deep.tiff"))
    for name, options in (
        ("denoise", ""), ("denoise named", "--noise 20"), ("denoise half", "--strength 0.5"),
        ("denoise by policy", "--model filters-grey"), ("denoise photo", "--model denoiser-photo --noise 10"),
        ("denoise region", "--region mask.png"), ("denoise iterations", "--model rse-faces --iterations 2"),
    ):
        yield name, f"rlenhance denoise noisy.png -o out.png {options}"
    yield "denoise grey", "rlenhance denoise grey.png -o out.png --noise 15"
    yield "denoise faces", "rlenhance denoise noisy.png -o out.png --model rse-faces"
    for texture in ("0", "0.5", "1"):
        yield f"complete {texture}", f"rlenhance complete dark.png -o out.png --mask mask.png --texture {texture}"
    yield "complete holes", "rlenhance complete holes.png -o out.png --auto-mask"
    for scale in (2, 4):
        yield f"upscale {scale}", f"rlenhance upscale small.png -o out.png --scale {scale}"
    yield "upscale model", "rlenhance upscale small.png -o out.png --model upscale"
    for options in ("", "--steps 1", "--budget fast", "--strength 0.5", "--region mask.png"):
        yield f"restore {options}", f"rlenhance restore noisy.png -o out.png {options}"
    yield "folder", "rlenhance enhance dark.png noisy.png bright.jpg -o out/"
    yield "series", "rlenhance enhance dark.png noisy.png bright.jpg -o out/ --match-series"
    yield "shared", "rlenhance enhance dark.png noisy.png -o out/ --shared-decision"
    yield "smooth", "rlenhance enhance dark.png noisy.png bright.jpg -o out/ --match-series --smooth-time 3"
    yield "shard", "rlenhance enhance dark.png noisy.png bright.jpg -o out/ --shard 1/2"
    yield "edit", "rlenhance enhance --edit dark.png"
    yield "variants", "rlenhance variants dark.png -o sheet.png"
    yield "compare", "rlenhance compare dark.png bright.jpg -o sheet.png"
    yield "score", "rlenhance score dark.png --json"
    yield "score reference", "rlenhance score dark.png --reference bright.png --json"
    yield "learn", "rlenhance learn before after -o look.json"
    yield "taste", "rlenhance taste dark.png bright.jpg -o look.json --simulate --picks 3 --seed 1"
    yield "models", "rlenhance models"
    yield "presets", "rlenhance presets"
    for name in ("balanced", "relight", "denoiser"):
        yield f"export {name}", f"rlenhance export --model {name} --hub exported"
    for command in _TRAININGS:
        yield f"train {command}", (f"python -m experiments.{command} --updates 20 --eval-interval 10 --batch-size 2 "
                                   f"--name run --out runs --no-progress --device cpu")
    for learner in ("vine", "dqn"):
        yield f"train toolchain {learner}", (f"python -m experiments.toolchain_train --learner {learner} --updates 20 "
                                             f"--name run --out runs --no-progress --device cpu")


def lay_out(folder: Path) -> None:
    """The pictures that the cases read."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    plain = np.dstack([0.5 + 0.4 * np.sin(rows / 9 + k) * np.cos(columns / (13 + 3 * k)) for k in range(3)])
    plain[40:80, 60:100] = (0.9, 0.7, 0.2)
    plain = plain.clip(0, 1)
    dark = 0.15 * plain + 0.01 * rng.standard_normal(plain.shape)

    def save(name: str, picture: np.ndarray, depth: int = 8) -> None:
        top = 2**depth - 1
        cv2.imwrite(str(folder / name), np.rint(picture.clip(0, 1) * top).astype(f"uint{depth}"))

    save("dark.png", dark)
    save("dark.webp", dark)
    save("bright.jpg", 0.1 + 0.8 * plain)
    save("bright.png", 0.1 + 0.8 * plain)
    save("deep.png", dark, 16)
    save("deep.tiff", dark, 16)
    save("grey.png", dark.mean(axis=2))
    save("clear.png", np.dstack([dark, columns / 160]))
    save("noisy.png", plain + 0.08 * rng.standard_normal(plain.shape))
    save("small.png", plain[::2, ::2])
    mask = np.zeros((120, 160))
    mask[30:60, 50:90] = 1
    save("mask.png", mask)
    holes = plain.copy()
    holes[30:60, 50:90] = 0
    save("holes.png", holes)
    for name in ("before", "after"):
        (folder / name).mkdir()
    for number in range(3):
        shown = np.roll(dark, 17 * number, axis=1)
        save(f"before/{number}.png", shown)
        save(f"after/{number}.png", np.sqrt(shown.clip(0, 1)))
    _run("rlenhance enhance dark.png -o unused.png --exposure 0.5 --save-recipe recipe.json", folder)
    (folder / "unused.png").unlink()


def result(command: str, folder: Path) -> str:
    """Exit status and digest of what the command wrote into the folder."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = _run(command, folder)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if before.get(path) != path.read_bytes() and "tensorboard" not in path.parts:
            digest.update(str(path.relative_to(folder)).encode() + _content(path))
    words = done.stdout if any(f"rlenhance {name}" in command for name in ("score", "models", "presets")) else ""
    return f"{done.returncode} {hashlib.sha256(digest.digest() + words.encode()).hexdigest()[:16]}"


def _content(path: Path) -> bytes:
    if path.suffix in _PICTURES:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return b"" if pixels is None else pixels.tobytes()
    if path.name == "metrics.csv":
        lines = [line.split(",") for line in path.read_text().splitlines()]
        kept = [number for number, name in enumerate(lines[0]) if not re.search("second|time|memory|per_s", name)]
        return "\n".join(",".join(line[number] for number in kept) for line in lines).encode()
    if path.suffix in {".csv", ".tsv", ".md", ".npz", ".safetensors", ".json", ".pt", ".onnx"}:
        return b""  # times and versions stand in them; the pictures and metrics say enough
    return path.read_bytes()


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *rest = command.split()
    call = [sys.executable, "-m", "rlenhance", *rest] if program == "rlenhance" else [sys.executable, *rest]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(call, cwd=folder, env=settings, capture_output=True, text=True, timeout=600)


def main(action: str, file: str, *only: str) -> int:
    """Record the results, or compare them; `only`: words, of cases that have one of them in their name."""
    place, moved = Path(file), []
    stored = json.loads(place.read_text()) if place.is_file() else {}
    chosen = [case for case in cases() if not only or any(word in case[0] for word in only)]
    with tempfile.TemporaryDirectory() as work:
        pictures = Path(work, "pictures")
        pictures.mkdir()
        lay_out(pictures)
        for name, command in chosen:
            folder = shutil.copytree(pictures, Path(work, "case"))
            found = result(command, folder)
            shutil.rmtree(folder)
            if action == "record":
                stored[name] = found
            elif stored.get(name) != found:
                moved.append(name)
                print(f"{name}: {stored.get(name)} before, {found} now: {command}", flush=True)
    if action == "record":
        place.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"{len(chosen)} cases, {len(moved)} moved")
    return bool(moved)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

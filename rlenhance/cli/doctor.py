"""`rlenhance doctor`: what is installed, what is missing with the line that installs it, and whether it works."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rlenhance.core import __version__
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line

#: Libraries without which nothing works: what is imported, and what it is installed as.
NEEDED = {"numpy": "numpy", "cv2": "opencv-python-headless", "PIL": "pillow",
          "imagecodecs": "imagecodecs", "tifffile": "tifffile", "safetensors": "safetensors", "tqdm": "tqdm"}
#: Builds of OpenCV, which all install the same folder.
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        about: what was looked at.
        text: what was found, with the way out where something is wrong.
        good: False: it does not work; None: it is optional and not there.
    """

    about: str
    text: str
    good: bool | None = True


def add(commands: Any) -> None:
    """Describe the command to the parser."""
    doctor = commands.add_parser(
        "doctor", help="check the installation",
        description="Check the installation: versions, device, threads, the extras that are there and the lines that "
                    "install the others, the checksums of the shipped weights, and a self-test on a made picture. "
                    "Needs no network. What is well is summed up; --all prints every finding. "
                    "Exit status: 0, or 1 where something does not work.",
    )
    doctor.add_argument("--all", action="store_true", help="every library, extra and model on a line of its own")
    doctor.add_argument("--json", action="store_true", help="one JSON object, of every finding")


def run(arguments: argparse.Namespace) -> int:
    """Print what is found."""
    import json  # here: help must not wait for it

    findings = []
    for part, found in groupby(examine(), _part):
        of_part = list(found)
        findings += of_part
        for finding in () if arguments.json else of_part if arguments.all else summed_up(part, of_part):
            sign = {True: "ok", False: "WRONG", None: "-"}[finding.good]
            print(f"{sign:>5}  {finding.about}: {finding.text}", flush=True)
    wrong = [finding.about for finding in findings if finding.good is False]
    if arguments.json:
        print(json.dumps({"good": not wrong, "findings": [finding.__dict__ for finding in findings]}, indent=1))
    else:
        print(f"{len(wrong)} things do not work: {', '.join(wrong)}" if wrong else "all is well")
    return 1 if wrong else 0


def _part(finding: Finding) -> str:
    """What a finding is summed up with."""
    first = finding.about.split()[0]
    return "libraries" if finding.about in NEEDED.values() else first if first in ("extra", "weights") else \
        finding.about


def summed_up(part: str, findings: list[Finding]) -> Iterator[Finding]:
    """The findings of one part with what is well in a line, and so with what is optional and not there."""
    yield from (finding for finding in findings if finding.good is False)
    for good in (True, None):
        same = [finding for finding in findings if finding.good is good]
        if len(same) < 2:
            yield from same
        elif part == "libraries":
            yield Finding(part, ", ".join(f"{each.about} {each.text}" for each in same), good)
        elif part == "extra":
            names = ", ".join(each.about.removeprefix("extra ") for each in same)
            yield Finding("extras", names if good else f"{names} not there: {install_line('NAME')}", good)
        else:
            default = next((each.about for each in same if each.text.endswith("(default)")), "").removeprefix(part)
            yield Finding(part, f"{len(same)} models, SHA-256 as listed" + (f" (default:{default})" if default else ""),
                          good)


def examine() -> Iterator[Finding]:
    """Look at everything, one after the other."""
    import platform

    yield Finding("rlenhance", f"{__version__}, {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}")
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}, {sys.executable}",
                  sys.version_info >= (3, 11))
    missing = False
    for module, package in NEEDED.items():
        finding = _library(module, package)
        missing |= finding.good is False
        yield finding
    yield from _opencv()
    yield from _extras()
    if missing:
        yield Finding("self-test", "left out until the libraries above are there", False)
        return
    yield from _device()
    yield from _weights()
    yield _self_test()


def _library(module: str, package: str) -> Finding:
    import importlib

    try:
        version = importlib.import_module(module).__version__
    except (ImportError, OSError) as error:  # OSError: a shared library that it links is missing
        hint = "; on Debian: apt-get install libgl1 libglib2.0-0 libxcb1" if "libGL" in str(error) else ""
        return Finding(package, f"cannot be loaded ({error}): pip install --upgrade {package}{hint}", False)
    return Finding(package, str(version))


def _opencv() -> Iterator[Finding]:
    """Several builds of OpenCV in one environment."""
    builds = {package: version for package in _OPENCV if (version := _version(package))}
    if len(builds) > 1:
        several = set(builds.values()) != {next(iter(builds.values()))}
        named = ", ".join(" ".join(build) for build in builds.items())
        yield Finding("builds of OpenCV", f"{named} lie in one folder, and the one that was installed last works; keep "
                      f"one: pip uninstall {' '.join(builds)}, then pip install {_OPENCV[0]}",
                      False if several else None)


def _version(package: str) -> str:
    """The version of an installed package; "" where it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _extras() -> Iterator[Finding]:
    """Each extra of the package, but for the one of its developers and those that join others."""
    import re
    from importlib import metadata

    try:
        lines = metadata.requires("rlenhance") or []
    except metadata.PackageNotFoundError:
        yield Finding("extras", f"unknown, since the package is not installed: {install_line('all')}", None)
        return
    extras: dict[str, list[str]] = {}
    for line in lines:
        wanted = re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w.-]+)['\"]", line)
        if wanted and wanted[1] != "rlenhance" and wanted[2] != "dev":
            extras.setdefault(wanted[2], []).append(wanted[1])
    for extra, packages in extras.items():
        versions = {package: _version(package) for package in packages}
        if all(versions.values()):
            yield Finding(f"extra {extra}", ", ".join(" ".join(each) for each in versions.items()))
            continue
        some = [" ".join(each) for each in versions.items() if each[1]]
        lost = [package for package, version in versions.items() if not version]
        what = f"{', '.join(lost)} not there ({', '.join(some)} is)" if some else "not there"
        yield Finding(f"extra {extra}", f"{what}: {install_line(extra)}", None)


def _device() -> Iterator[Finding]:
    from importlib.util import find_spec

    yield Finding("threads", f"{os.cpu_count()} cores"
                  + (f", OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}" if "OMP_NUM_THREADS" in os.environ else ""))
    from rlenhance.engine.convolutions import NATIVE as CONVOLUTIONS
    from rlenhance.engine.render import NATIVE

    yield Finding("kernel", "compiled") if NATIVE is not None else Finding(
        "kernel", "not compiled: photographs take some twenty times as long; install a wheel for this system, or the "
        "package anew where there is a C compiler", None)
    yield Finding("networks", "compiled") if CONVOLUTIONS is not None else Finding(
        "networks", "not compiled: NumPy computes their convolutions, which takes longer", None)
    if find_spec("torch") is None:
        yield Finding("device", "cpu (other devices need torch, of the extra train; enhancing does not)")
        return
    from rlenhance.core.torch_parts import torch_part

    yield Finding("device", torch_part("describe_device")())


def _weights() -> Iterator[Finding]:
    from rlenhance.hub import shipped as weights

    try:
        models = weights.list_models()
    except UsageError as error:
        yield Finding("weights", str(error), False)
        return
    if not models:
        yield Finding("weights", "none is shipped with this version; train one with python -m "
                      "rlenhance.experiments.lol_train", None)
    for model in models:
        try:
            weights.verify(model.folder)
            yield Finding(f"weights {model.name}", f"{model.size / 1e6:.2f} MB, SHA-256 as listed"
                          + (" (default)" if model.default else ""))
        except UsageError as error:
            yield Finding(f"weights {model.name}", str(error), False)


def _self_test() -> Finding:
    """A made picture through file, model and file."""
    import time

    import numpy as np

    from rlenhance.hub import shipped as weights
    from rlenhance.io.files import Photo, decode, encode
    from rlenhance.pipelines.enhance import Enhancer

    start = time.perf_counter()
    if weights.default_model() is None:
        return Finding("self-test", "left out, since no model is shipped", None)
    down, across = np.mgrid[0 : 1 : 120j, 0 : 1 : 160j]
    picture = np.rint(np.stack([down, across, 0.5 * down + 0.3], axis=2) * 60).astype(np.uint8)
    try:
        read = decode(encode(Photo(picture), ".png"), Path("self-test.png"))
        result = Enhancer()(read.pixels)
        kept = Enhancer(strength=0)(read.pixels)
    except (UsageError, RuntimeError) as error:
        return Finding("self-test", f"failed: {error}", False)
    faults = [what for what, wrong in (
        ("a PNG did not come back as it was written", not np.array_equal(read.pixels, picture)),
        ("strength 0 changed the picture", not np.array_equal(kept, picture)),
        ("the result has another size or depth", (result.shape, result.dtype) != (picture.shape, picture.dtype)),
        ("a dark picture did not become brighter", not result.mean() > 1.2 * picture.mean()),
    ) if wrong]
    means = f"mean {picture.mean() / 255:.2f} became {result.mean() / 255:.2f}"
    return Finding("self-test", "; ".join(faults) or f"a dark picture was brightened ({means}) in "
                                                     f"{time.perf_counter() - start:.1f} s", not faults)

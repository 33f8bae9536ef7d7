"""`rlenhance bracket --next`: which exposure a camera takes after the shots so far."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.cli.photo_command import decode_seconds_of, limit_of
from rlenhance.core.errors import UsageError, printable

if TYPE_CHECKING:
    from rlenhance.io.exif import Exposure

_OFFERED = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # steps in EV


def add_next_shot(bracket: argparse.ArgumentParser) -> None:
    """Add the options of the next shot."""
    following = bracket.add_argument_group("the next shot")
    following.add_argument("--next", dest="shots", nargs="+", type=Path, metavar="SHOT",
                           help="the shots so far: print the next step in EV, or stop")
    following.add_argument("--available", nargs="+", type=float, metavar="EV", default=list(_OFFERED),
                           help="steps of the camera from the first shot (default: -3 to 3)")
    following.add_argument("--exposures", nargs="+", type=float, metavar="EV",
                           help="the steps of the shots, where EXIF does not state them")
    following.add_argument("-m", "--model", default="bracket", metavar="MODEL",
                           help="the planner, or a run of bracket_train")
    following.add_argument("--price", type=float, default=0.0, metavar="DB",
                           help="stop where a shot is expected to add less (default: 0)")


def run_next_shot(arguments: argparse.Namespace) -> int:
    """Print the step to the next shot."""
    if arguments.photos:
        raise UsageError(f"{arguments.photos[0]}: --next has the shots so far, and {arguments.photos[0]} stands before "
                         f"it; name all shots behind --next")
    from rlenhance.io.reduced import read_reduced
    from rlenhance.ops.bracket import SIDE
    from rlenhance.pipelines.bracket import BracketPlanner

    shots, sizes = [], []
    exposures: list[Exposure | None] = []
    for path in arguments.shots:
        pixels, exposure, size = read_reduced(path, SIDE, megapixels=limit_of(arguments),
                                              seconds=decode_seconds_of(arguments))
        shots.append(pixels)
        exposures.append(exposure)
        sizes.append((path, size))
    other = next((place for place in sizes if sorted(place[1]) != sorted(sizes[0][1])), None)
    if other is not None:
        raise UsageError(f"{other[0]}: has {other[1][0]}x{other[1][1]} pixels, and {sizes[0][0]} {sizes[0][1][0]}x"
                         f"{sizes[0][1][1]}; the shots of a bracket have one size")
    steps = _steps(arguments, exposures)
    planner = BracketPlanner(arguments.frames, arguments.price, arguments.model)
    found = planner.advise(shots, steps, arguments.available)
    seconds = exposures[0].seconds * 2.0**found.exposure if exposures[0] and found.exposure is not None else None
    if arguments.json:
        print(json.dumps({"step": found.exposure, "stop": found.exposure is None, "seconds": seconds,
                          "expected": _rounded(found.expected), "stopping": _rounded(found.stopping),
                          "exposures": [round(step, 3) for step in steps]}))
        return 0
    step = "stop" if found.exposure is None else f"{found.exposure:+g}"
    if arguments.quiet:
        print(step)
    elif found.exposure is None:
        why = f"{len(shots)} of {arguments.frames} frames are taken" if found.expected is None else \
            f"{found.expected:.1f} dB expected, and no more by another shot"
        print(f"stop ({why})")
    else:
        time = f", {_shutter(seconds)} at its aperture and ISO" if seconds is not None else ""
        print(printable(f"{step} EV from {arguments.shots[0]}{time} ({found.expected:.1f} dB expected, "
                        f"{found.stopping:.1f} with the shots so far)"))
    return 0


def _steps(arguments: argparse.Namespace, exposures: list[Exposure | None]) -> list[float]:
    """The exposures of the shots in stops, from the first."""
    if arguments.exposures is not None:
        if len(arguments.exposures) != len(exposures):
            raise UsageError(f"--exposures has one number for each shot; got {len(arguments.exposures)} for "
                             f"{len(exposures)} shots")
        return [step - arguments.exposures[0] for step in arguments.exposures]
    if len(exposures) == 1:
        return [0.0]
    stated = [exposure.stops for exposure in exposures if exposure is not None]
    if len(stated) < len(exposures):
        silent = arguments.shots[exposures.index(None)]
        raise UsageError(f"{silent}: its EXIF states no exposure; name the steps of the shots in EV, as in --exposures "
                         f"0 {' '.join(['2'] * (len(exposures) - 1))}")
    return [stops - stated[0] for stops in stated]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _shutter(seconds: float) -> str:
    """A time as cameras show it.

    Example:
        >>> _shutter(0.004), _shutter(2.5)
        ('1/250 s', '2.5 s')
    """
    return f"1/{round(1 / seconds)} s" if seconds < 0.4 else f"{seconds:.2g} s"

"""`--match-series` and `--smooth-time`: photographs that belong together."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rlenhance.cli.photo_command import decode_seconds_of, limit_of
from rlenhance.core.errors import UsageError, printable
from rlenhance.pipelines.options import AUTO

if TYPE_CHECKING:
    from rlenhance.io import BatchPlan
    from rlenhance.io.batch import Process
    from rlenhance.pipelines.enhance import Enhancer

_FLAG = "--match-series"


def refuse_series(parser: argparse.ArgumentParser, why: str) -> None:
    """Name the reason why another command has no series."""
    class Refused(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
            parser.error(f"{_FLAG}: {why}")

    parser.add_argument(_FLAG, nargs="?", action=Refused, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def settle_reference(words: Sequence[str]) -> list[str]:
    """The words of a command line, where only a file behind --match-series is its reference.

    Raises:
        UsageError: it may be the first of the photographs, as a shell makes of `--match-series *.jpg`.

    Example:
        >>> settle_reference(["enhance", "--match-series", "a folder"])
        ['enhance', '--match-series=', 'a folder']
    """
    words = list(words)
    if _FLAG not in words:
        return words
    place = words.index(_FLAG)
    first, second = (*words[place + 1 : place + 3], "", "")[:2]
    if not os.path.isfile(first):
        words[place] = f"{_FLAG}="
    elif os.path.isfile(second) and os.path.dirname(first) == os.path.dirname(second) and words.count(first) == 1:
        raise UsageError(f"{_FLAG} {first} {second}: {first} would be the reference and not be written; put {_FLAG} "
                         f"behind the photographs, or write {_FLAG}={first}")
    return words


def check_series_options(arguments: argparse.Namespace, plan: BatchPlan) -> None:
    """Refuse what does not go with a series, before a model is loaded."""
    together = {_FLAG: arguments.match_series is not None, "--shared-decision": arguments.shared_decision}
    if arguments.shard is not None and any(together.values()):
        raise UsageError(f"--shard and {next(flag for flag, given in together.items() if given)}: a shard sees a part "
                         f"of the photographs, and these belong together; leave one out")
    if arguments.match_series is None:
        if arguments.smooth_time is not None:
            raise UsageError(f"--smooth-time is about a series; add {_FLAG}")
        return
    from rlenhance.io import STDIO

    if any(STDIO in (job.source, job.target) for job in plan.jobs):
        raise UsageError(f"{_FLAG}: photographs are read twice, so they are files, and go to files")
    if arguments.match_series and arguments.smooth_time is not None:
        raise UsageError("--smooth-time keeps the course of the series, and a reference sets another; leave one out")
    for flag, name, why in (("--save-recipe", "save_recipe", "a recipe repeats the result of one photograph"),
                            ("--recipe", "recipe", "a recipe settles all that makes the result"),
                            ("--cube", "cube", "a table holds the look of one photograph, without its series"),
                            ("--sidecar", "sidecar", "a sidecar is about one photograph, without its series"),
                            ("--explain", "explain", "a sheet is about one photograph, without its series")):
        if getattr(arguments, name, None) is not None:
            raise UsageError(f"{_FLAG} and {flag}: {why}; leave one out")


def match_plan(arguments: argparse.Namespace, plan: BatchPlan, enhancer: Enhancer) -> Process:
    """Measure the photographs of a plan, those with results too; the process that matches them."""
    from tqdm import tqdm

    from rlenhance.io import read

    smooth: int | None = {None: 0, AUTO: None}.get(arguments.smooth_time, arguments.smooth_time)
    sources = [job.source for job in sorted((*plan.jobs, *plan.skipped), key=lambda job: str(job.source))]
    bar = tqdm(total=len(sources), unit=" measured", file=sys.stderr, dynamic_ncols=True, leave=False,
               disable=arguments.quiet or not sys.stderr.isatty())
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they are reported when the photograph is processed
        series = enhancer.match_series(
            sources, arguments.match_series or None, smooth=smooth, on_photo=lambda _: bar.update(),
            open_photo=partial(read, megapixels=limit_of(arguments), seconds=decode_seconds_of(arguments)))
    print(printable(series.words))
    return series.process

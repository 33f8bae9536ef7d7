"""A series of photographs brought to one brightness and one white: `Enhancer.match_series`.

    series = Enhancer().match_series(paths)
    for outcome in run_batch(make_plan(paths, "even"), series.process): ...

Results are compared, not the photographs. What two of them both show is made equally bright in each channel; what
differs in its contents is moved only as far as shadows, middle and highlights agree, and within a bound: a white dress
stays brighter than a black suit. See `rlenhance.pipelines.series_levels` for the rule.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.core.pixels import resized_planes
from rlenhance.io import Photo, read
from rlenhance.io.exif import capture_time
from rlenhance.ops.common_content import View, common_pixels
from rlenhance.ops.plane_statistics import exposure_of
from rlenhance.ops.white_balance import estimate_lights
from rlenhance.pipelines.base import PipelineResult
from rlenhance.pipelines.series_levels import Correction, Member, histogram, smoothed, to_one_level

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer

#: Sides in pixels of the copies that are enhanced to measure a series: so many, and less than twice as many.
PREVIEW = 768
_BEFORE, _LIKELY, _KEPT = 3, 2, 48  # views that a photograph is compared with; groups whose first view is kept
_RESEMBLES = 0.5  # correlation of signatures
_LIGHT_SIDE = 96  # pixels of the copy on which the colour of the light is estimated
_AUTO = 12  # photographs from which "auto" smooths a series over time


@dataclass(frozen=True)
class Series:
    """An Enhancer, and what each photograph of a series needs beside it.

    Attributes:
        enhancer: the look.
        corrections: by the photograph's name (its path).
        failures: why a photograph could not be read, by its name; such ones have no part in it.
        words: what was found, in a line.
    """

    enhancer: Enhancer
    corrections: Mapping[str, Correction]
    failures: Mapping[str, str]
    words: str

    def process(self, photo: Photo) -> PipelineResult:
        """Enhance a photograph of the series; it is a `rlenhance.io.batch.Process`.

        Raises:
            UsageError: it was not among the sources, or could not be read then.
        """
        correction = self.corrections.get(photo.name)
        if correction is None:
            raise UsageError(self.failures.get(photo.name, f"{photo.name}: was not there when the series was measured; "
                                                           f"match the series again"))
        gains = correction.gains if (correction.gains != 1).any() else None
        decision = replace(self.enhancer.decide(photo.visible_pixels), gains=gains)
        photo, said = self.enhancer.process(photo, decision=decision)
        return PipelineResult(photo, {**said, "words": f"{said['words']}, {correction.words}",
                                      "series": correction.as_json()})


def median_exposure(sources: Iterable[Path], side: int, open_photo: Callable[[Path], Photo] = read) -> Path:
    """The photograph of median exposure, which stands for a group; of an even number the darker of the two in the
    middle.

    Args:
        sources: photographs; unreadable ones are left out.
        side: in pixels, to which each is reduced before its exposure is measured.
        open_photo: reads a photograph.

    Raises:
        UsageError: none can be read.
    """
    exposures: list[tuple[float, int, Path]] = []
    failures = []
    for number, source in enumerate(sources):
        try:
            small = resized_planes(open_photo(source).visible_pixels, side)[0]
            exposures.append((exposure_of(small).item(), number, source))
        except Exception as error:  # one photograph never stops the others
            failures.append(describe_failure(error, source))
    if not exposures:
        raise UsageError(f"no photograph to decide on: {failures[0] if failures else 'none is named'}")
    return sorted(exposures)[(len(exposures) - 1) // 2][-1]


def match_series(enhancer: Enhancer, sources: Iterable[Path], reference: Path | None = None, *,
                 smooth: int | None = 0, open_photo: Callable[[Path], Photo] = read,
                 on_photo: Callable[[Path], None] | None = None) -> Series:
    """Make the results of a series equally bright, with the same white balance.

    Each photograph is read, and a small copy of it is enhanced; a few numbers of it are kept.

    Args:
        enhancer: the look.
        sources: photographs; unreadable ones are left out, see `Series.failures`.
        reference: the photograph whose result is the target; it need not be one of them. None: what is usual in the
            series.
        smooth: above 0, of a time-lapse: the series keeps its course, which is smoothed over so many photographs before
            and after each; None: as is usual for its length, where all show one view.
        open_photo: reads a photograph.
        on_photo: called after each.

    Returns:
        The series, with `process` for `rlenhance.io.run_batch`, and the correction of each photograph.

    Raises:
        UsageError: none can be read, or the reference cannot; a reference and `smooth`.
    """
    if smooth is not None and smooth < 0:
        raise UsageError(f"smooth must be 0 or more photographs; got {smooth}")
    if reference is not None and smooth != 0:
        raise UsageError("a series that is smoothed over time keeps its own course; leave out the reference, or smooth")
    seen, failures = _Seen(), dict[str, str]()
    target = None if reference is None else seen.add(str(reference), *_measure(enhancer, open_photo(reference)))
    for source in sources:
        try:
            if reference is None or source != reference:
                seen.add(str(source), *_measure(enhancer, open_photo(source)))
        except Exception as error:  # one photograph never stops the others
            failures[str(source)] = describe_failure(error, source)
        if on_photo:
            on_photo(source)
    if not seen.members:
        raise UsageError(f"no photograph to match: {next(iter(failures.values()), 'none is named')}")
    members = list(seen.members.values())
    white = enhancer.settings.white != 0
    if smooth is None:
        smooth = _usual_smoothing(members)
    found = smoothed(_in_order(members), smooth, white) if smooth else to_one_level(members, target, white)
    return Series(enhancer, found, failures, _describe(members, found, smooth))


def _usual_smoothing(members: Sequence[Member]) -> int:
    """A tenth of a time-lapse on each side; 0 for a short series, and for one that shows several things."""
    groups = {member.group for member in members}
    return min(max(len(members) // 10, 4), 30) if len(members) >= _AUTO and len(groups) == 1 else 0


def _in_order(members: Sequence[Member]) -> list[Member]:
    """By capture time where all have one and they differ; else by name, in which 10 follows 9."""
    times = [member.time for member in members]
    if None not in times and len(set(times)) > 1:
        return sorted(members, key=lambda member: (member.time or 0.0, _by_number(member.name)))
    return sorted(members, key=lambda member: _by_number(member.name))


def _by_number(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _measure(enhancer: Enhancer, photo: Photo) -> tuple[View, float | None, bool]:
    """The result made small, when it was taken, and whether it is grey."""
    return View.of(enhancer.preview(photo.visible_pixels, PREVIEW)), capture_time(photo.metadata.exif), photo.grey


class _Seen:
    """The members of a series so far; of most of them numbers are kept, and no picture."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._first: OrderedDict[str, View] = OrderedDict()  # of each group, those that were met last
        self._before: OrderedDict[str, View] = OrderedDict()

    def add(self, name: str, view: View, time: float | None, grey: bool) -> Member:
        """Take in a photograph: with the group of what shows the same, or as a group of its own."""
        likely = sorted(((float(view.signature @ other.signature), key) for key, other in self._first.items()),
                        reverse=True)[:_LIKELY]
        nearest = {key: self._first[key] for match, key in likely if match > _RESEMBLES} | dict(self._before)
        parent, group, pair = "", name, None
        for key, other in nearest.items():
            shared = common_pixels(other, view)
            if shared is not None:
                parent, group = key, self.members[key].group
                pair = histogram(shared[0]), histogram(shared[1])
                break
        lights = estimate_lights(resized_planes(view.pixels, _LIGHT_SIDE)[0].transpose(1, 2, 0))
        member = Member(name, histogram(view.pixels), lights, time, grey, len(self.members), group, parent, pair)
        self.members[name] = member
        self._before[name] = view
        if len(self._before) > _BEFORE:
            self._before.popitem(last=False)
        if pair is None:
            self._first[name] = view
        elif parent in self._first:
            self._first.move_to_end(parent)
        if len(self._first) > _KEPT:
            self._first.popitem(last=False)
        return member


def _describe(members: Sequence[Member], found: Mapping[str, Correction], smooth: int) -> str:
    stops = [found[member.name].stops for member in members]
    groups = len({member.group for member in members})
    over = f", smoothed over {smooth} on each side" if smooth else ""
    return (f"series of {len(members)}, {groups} {'view' if groups == 1 else 'views'}{over}: "
            f"{min(stops):+.2f} to {max(stops):+.2f} stops")

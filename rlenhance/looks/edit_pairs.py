"""Photographs and their edits: pairs by name, the part that an edit shows, and the look that they have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlenhance.core.errors import UsageError, describe_failure
from rlenhance.io import read
from rlenhance.io.containers import CONTAINERS, container_by_extension
from rlenhance.io.discovery import list_photos
from rlenhance.io.pairs import pair_files
from rlenhance.looks.learn_look import (
    FittedPair,
    KnobSearch,
    Regression,
    decibels,
    knobs_of,
    leave_one_out,
    make_functions,
    named_knobs,
    refine,
    regress,
)
from rlenhance.looks.learn_table import KINDS, TableFit, TableSample, candidates, make_sample, own_gain_errors
from rlenhance.ops.registration import FOUND, find_place
from rlenhance.pipelines.color_table import CURVES
from rlenhance.pipelines.look_functions import with_knobs
from rlenhance.pipelines.looks import Look
from rlenhance.pipelines.options import EnhanceSettings

if TYPE_CHECKING:
    from rlenhance.pipelines.enhance import Enhancer

#: Decibels below which the nearest result of a model does not resemble an edit.
LIKE = 20.0
#: Pairs from which on a look may hold a colour table. One that follows the model must predict edits that were left out
#: so many decibels better than knobs do.
FEW_FOR_TABLE, _TABLE_GAIN = 3, 0.25


@dataclass(frozen=True)
class LearnedLook:
    """A look, and how well it explains the edits it was learned from.

    Attributes:
        look: it.
        pairs: those that it was learned from.
        unfit: names of pairs that no knobs of the model bring near, and their decibels.
        default, own, constant, predicted: decibels of every pair with the settings of `enhance`, with the look, with
            the best constant that the other pairs give, and with the look that the other pairs give; the last two are
            empty for one pair.
        regression: what the functions were made of.
        table: the colour table that the look holds; None: it has none.
    """

    look: Look
    pairs: Sequence[FittedPair]
    unfit: dict[str, float]
    default: Sequence[float]
    own: Sequence[float]
    constant: Sequence[float]
    predicted: Sequence[float]
    regression: Regression
    table: TableFit | None = None


def find_edits(before: Path, after: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pair photographs with their edits by name: night.dng with night.jpg, night_edited.tif or "Night (2).jpg".

    Args:
        before, after: folders; they may be one, where an edit has a longer name, or its photograph is a camera RAW.

    Returns:
        The pairs, and a line for each file without a partner.

    Raises:
        UsageError: a folder without pictures.
    """
    photos, edits = list_photos(before), list_photos(after)
    if before.samefile(after):
        edits = [edit for edit in edits if any(_is_edit(edit, photo, together=True) for photo in photos)]
        photos = [photo for photo in photos if photo not in edits]
    pairs, _ = pair_files(photos, edits)
    found = dict(pairs)
    rest = [edit for edit in edits if edit not in set(found.values())]
    for edit in rest:
        likely = [photo for photo in photos if photo not in found and _is_edit(edit, photo)]
        if likely:
            found[max(likely, key=lambda photo: len(photo.stem))] = edit
    used = {*found, *found.values()}
    lines = [f"{path}: no picture of that name in {other}" for paths, other in ((photos, after), (edits, before))
             for path in paths if path not in used]
    return [(photo, found[photo]) for photo in photos if photo in found], lines


def _is_edit(edit: Path, photo: Path, together: bool = False) -> bool:
    """Whether the name of an edit is that of a photograph, or goes on after it with a sign that is no letter."""
    name, longer = photo.stem.casefold(), edit.stem.casefold()
    if name == longer:
        raw = [container_by_extension(path.name) is CONTAINERS["RAW"] for path in (photo, edit)]
        return not together or raw == [True, False]
    return longer.startswith(name) and not longer[len(name)].isalnum()


def read_edit(photo: Path, edit: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The whole photograph, the part of it that the edit shows, the edit, and a line where that is not the whole.

    Raises:
        UsageError: one of them cannot be read, or the edit shows no part of the photograph.
    """
    whole, after = (read(path).visible_pixels for path in (photo, edit))
    place = find_place(whole, after)
    if place.score < FOUND:
        raise UsageError(f"{edit}: shows no part of {photo.name} (correlation {place.score:.2f}): turned, mirrored, or "
                         f"another picture; leave it out, or undo that in a copy")
    part = place.cut(whole)
    shares = f"{place.right - place.left:.0%} x {place.bottom - place.top:.0%}"
    return whole, part, after, "" if place.whole else f"{edit}: shows {shares} of {photo.name}"


def learn_from(enhancer: Enhancer, model: Path | str, pairs: Sequence[tuple[Path, Path]],
               on_pair: Callable[[FittedPair], None] = lambda _: None,
               on_note: Callable[[str], None] = lambda _: None) -> LearnedLook:
    """The look that edits have in common.

    Args:
        enhancer: its model is used.
        model: the name of that.
        pairs: photographs and their edits.
        on_pair: called after each pair, which takes about a second.
        on_note: called with a line for each pair that is left out, or that was cropped.

    Raises:
        UsageError: no pair is left.
    """
    searches: list[KnobSearch] = []
    fitted: list[FittedPair] = []
    unfit: dict[str, float] = {}
    for photo, edit in pairs:
        try:
            whole, part, after, note = read_edit(photo, edit)
            search = KnobSearch(enhancer, part, after, photo.name, whole)
            found = search.run()
        except Exception as error:  # one pair never stops the others
            on_note(describe_failure(error, photo, edit))
            continue
        if note:
            on_note(note)
        on_pair(found)
        if decibels(found.error) < LIKE:
            unfit[photo.name] = decibels(found.error)
            continue
        searches.append(search)
        fitted.append(found)
    if not fitted:
        words = f"the nearest that {model} comes to {', '.join(unfit)} is below {LIKE:g} dB" if unfit else "no pair"
        raise UsageError(f"no look is learned: {words}; edits of tone and colour can be learned, not collages, frames "
                         f"or black and white")
    return make_look(enhancer, model, searches, fitted, unfit)


def make_look(enhancer: Enhancer, model: Path | str, searches: Sequence[KnobSearch], fitted: Sequence[FittedPair],
              unfit: dict[str, float]) -> LearnedLook:
    """The look of pairs whose knobs were found.

    Args:
        enhancer, model: see `learn_from`.
        searches, fitted: each pair, and what its search gave.
        unfit: see `LearnedLook`.
    """
    names = knobs_of(enhancer)
    near, constant, best = refine(searches, fitted, *regress(fitted))
    default = [decibels(pair.default_error) for pair in fitted]
    own = [decibels(search.error_of(best.values(pair))) for search, pair in zip(searches, fitted, strict=True)]
    held, predicted = ([decibels(search.error_of(values)) for search, values in
                        zip(searches, leave_one_out(near, found), strict=True)] if len(fitted) > 1 else []
                       for found in (constant, best))
    fixed = {name: value for name, value in named_knobs(names, best.bias).items()
             if names.index(name) not in best.active}
    look = Look(str(model), enhancer.sha256, with_knobs(EnhanceSettings(), fixed), make_functions(names, best))
    table = None
    if len(fitted) >= FEW_FOR_TABLE:
        curve = curve_of(searches, fitted)
        kinds = [(curve, False), (curve, True)] if curve != "model" else [(curve, False)]
        tables = tables_of(searches, [best.values(pair) for pair in fitted], leave_one_out(near, best), kinds)
        found, errors = max(tables, key=lambda one: _score(one[1]))
        if curve != "model" or _score(errors) > float(np.mean(predicted)) + _TABLE_GAIN:
            table, look = found, with_table(look, found)
            samples = samples_of(searches, [best.values(pair) for pair in fitted] if curve == "model" else None)
            own, predicted = [decibels(found.error(sample)) for sample in samples], [*map(decibels, errors.tolist())]
    scores = {"default": default, "look": own, "constant, left out": held, "look, left out": predicted}
    about: dict[str, Any] = {
        "how": "rlenhance learn", "pairs": [pair.name for pair in fitted], "do not fit": list(unfit),
        "decibels": {name: round(float(np.mean(values)), 2) for name, values in scores.items() if values}}
    return LearnedLook(replace(look, about=about), fitted, unfit, default, own, held, predicted, best, table)


def curve_of(searches: Sequence[KnobSearch], fitted: Sequence[FittedPair]) -> str:
    """Whose curves the edits have: "gamma" or "exposure" where that, a gain of each edit's own and a table that the
    other edits give come nearer to it than the model with knobs of its own; else "model". So it does not count how the
    edits follow the picture, which few pairs determine badly.

    Args:
        searches, fitted: two or more pairs, and what their searches gave.
    """
    samples = samples_of(searches)
    scores = {curve: _score(own_gain_errors(samples, curve)) for curve in CURVES if curve != "model"}
    scores["model"] = _score(np.array([pair.error for pair in fitted]))
    return max(scores, key=lambda curve: scores[curve])


def tables_of(searches: Sequence[KnobSearch], values: Sequence[np.ndarray], held: Sequence[np.ndarray],
              kinds: Sequence[tuple[str, bool]] = KINDS) -> list[tuple[TableFit, np.ndarray]]:
    """The colour tables of several kinds for pairs, see `rlenhance.looks.learn_table.candidates`.

    Args:
        searches: of the pairs.
        values: the knobs of each, (K,), in steps from their defaults.
        held: as the other pairs predict them.
        kinds: some of `rlenhance.looks.learn_table.KINDS`.
    """
    return candidates(samples_of(searches), samples_of(searches, values), samples_of(searches, held), kinds)


def samples_of(searches: Sequence[KnobSearch], values: Sequence[np.ndarray] | None = None) -> list[TableSample]:
    """Pairs as tables see them: photographs, or with `values` the model's results at these knobs."""
    before = [search.before if values is None else search.rendered(values[number])
              for number, search in enumerate(searches)]
    return [make_sample(pixels, search.after, search.standardised)
            for pixels, search in zip(before, searches, strict=True)]


def with_table(look: Look, found: TableFit) -> Look:
    """A look with a colour table, which takes the place of its knobs unless it follows the model."""
    if found.curve == "model":
        return replace(look, settings=replace(look.settings, table=found.table))
    function = found.function
    return replace(look, settings=EnhanceSettings(white=0.0, table=found.table),
                   functions={} if function is None else {"table_gain": function})


def _score(errors: np.ndarray) -> float:
    return float(np.mean([decibels(error) for error in errors.tolist()]))

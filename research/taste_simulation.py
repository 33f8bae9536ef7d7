"""Simulated people choose among versions of photographs: how near `rlenhance taste` comes to what they like.

`python -m research.taste_simulation` asks 200 people of formulas. With `--data DIR --users pictures` each
compares renderings of photographs with a hidden target.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import tyro

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import run_cli
from rlenhance.experiments.core.markdown import markdown_table
from rlenhance.experiments.core.stored_tables import tables_made_here
from rlenhance.io import read
from rlenhance.io.contact_sheet import thumbnail
from rlenhance.io.discovery import find_photos
from rlenhance.io.files import write_atomically
from rlenhance.looks.taste import CONTEXT, VISIBLE, knob_settings, knob_space
from rlenhance.looks.taste_model import KnobSpace, Pick, TasteModel
from rlenhance.ops.color_difference import thumbnail_difference
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import standardised, statistics
from rlenhance.pipelines.options import EnhanceSettings

#: Scale of the logit by its name, as a share of what the person can gain over the default: of two versions that differ
#: by a tenth of it, the better one is chosen in 88, 73 and 62 of 100 cases.
TEMPERATURES: Mapping[str, float] = {"sure": 0.05, "usual": 0.1, "unsure": 0.2}
AFTER = (4, 8, 12)
#: Shares: of the photographs of the questions, of others, and what the model says of the former.
PARTS = ("shown", "unseen", "said")
_UNSEEN = 12  # photographs of people of formulas that were not in the questions; of the others, as many as in them
_BANK = 60  # settings
_SIDE = 64  # pixels of the photographs


class Person(Protocol):
    """Someone whose utility is hidden.

    Attributes:
        contexts: (P, C) of the photographs; those of the questions come first.
    """

    contexts: np.ndarray

    def utility(self, values: np.ndarray, photo: int) -> np.ndarray:
        """Of versions (N, D) of a photograph: (N,)."""

    def attainable(self, photo: int) -> float:
        """The highest utility that a version can have."""


class KnobPerson:
    """A utility over the knobs: minus the squared distance from an ideal point.

    The ideal point lies uniformly within 1.5 usual departures of the default, and moves with the statistics of the
    picture, by up to half a departure per standard deviation of one of them. Knobs count as they are visible (squared),
    times a log-normal number of deviation 0.7. For someone `hard` all knobs count alike but for that number and are
    mixed (the axes of the distance are turned); differences far from the ideal hardly matter, and the ideal moves twice
    as far, along a bent line.
    """

    def __init__(self, space: KnobSpace, contexts: np.ndarray, rng: np.random.Generator, hard: bool = False):
        size = len(space.names)
        self.space, self.contexts, self.hard = space, contexts, hard
        self._ideal = rng.uniform(-1.5, 1.5, size)
        self._moves = np.zeros((size, contexts.shape[1]))
        self._moves[np.arange(size), rng.integers(0, contexts.shape[1], size)] = rng.uniform(
            -0.5, 0.5, size) * (1 + hard)
        seen = np.array([VISIBLE[name] for name in space.names])
        counts = np.exp(rng.normal(0, 0.7, size)) * (np.ones(size) if hard else (seen / seen.mean())**2)
        turn = np.linalg.qr(rng.standard_normal((size, size)) + 2 * np.eye(size))[0] if hard else np.eye(size)
        self._metric = turn @ np.diag(counts) @ turn.T
        self._probe = rng.uniform(0, 1, (4000, size)) if hard else None

    def _ideal_for(self, photo: int) -> np.ndarray:
        moved = self._moves @ self.contexts[photo]
        return self._ideal + (np.tanh(moved) if self.hard else moved)

    def utility(self, values: np.ndarray, photo: int) -> np.ndarray:
        """See `Person`."""
        gaps = self.space.to_points(values) - self._ideal_for(photo)
        squared = np.einsum("nd,de,ne->n", gaps, self._metric, gaps) / np.trace(self._metric)
        return np.asarray(1 - np.exp(-squared / 2) if self.hard else squared) * -1.0

    def attainable(self, photo: int) -> float:
        """See `Person`."""
        values = self.space.to_values(self._ideal_for(photo))[None]
        if self._probe is not None:
            values = np.concatenate([values, self.space.low + self._probe * (self.space.high - self.space.low)])
            for size in (0.3, 0.1, 0.03):
                top = values[np.argmax(self.utility(values, photo))]
                values = np.clip(top + size * self.space.usual * (2 * self._probe - 1), self.space.low, self.space.high)
        return float(self.utility(values, photo).max())


class PicturePerson:
    """A utility over pictures: minus the mean CIEDE2000 to a hidden target, another one for each photograph.

    The target is the model's default with a gamma, a contrast about the middle, a saturation and gains of red and blue,
    curves that are not the model's; the gamma depends on how dark the photograph was. What is attainable is the best
    of `_BANK` random settings, improved knob by knob, so it may lie a little too low.
    """

    def __init__(self, enhancer: Enhancer, space: KnobSpace, photos: Sequence[np.ndarray], rng: np.random.Generator):
        self.enhancer, self.space, self.photos = enhancer, space, photos
        found = [statistics(pixels) for pixels in photos]
        self.contexts = np.array([[standardised(name, each[name]) for name in CONTEXT] for each in found])
        largest = np.array([0.45, 0.15, 0.3, 0.5, 0.12])
        gamma, move, contrast, colour, warmth = rng.uniform(-largest, largest)
        self._targets = []
        for photo, context in enumerate(self.contexts):
            base = self._rendered(space.default, photo) / 255.0
            made = 0.5 + (base ** np.exp(gamma + move * context[0]) - 0.5) * np.exp(contrast)
            grey = made.mean(axis=2, keepdims=True)
            made = (grey + (made - grey) * np.exp(colour)) * np.exp([warmth, 0, -warmth])
            self._targets.append(np.rint(255 * made.clip(0, 1)).astype(np.uint8))
        self._bank = space.low + rng.uniform(0, 1, (_BANK, len(space.names))) * (space.high - space.low)
        self._attainable: dict[int, float] = {}

    def utility(self, values: np.ndarray, photo: int) -> np.ndarray:
        """See `Person`."""
        return -np.array([thumbnail_difference(self._rendered(each, photo), self._targets[photo]) for each in values])

    def attainable(self, photo: int) -> float:
        """See `Person`; it is found once."""
        if photo not in self._attainable:
            self._attainable[photo] = self._improved(photo)
        return self._attainable[photo]

    def _improved(self, photo: int) -> float:
        values = np.concatenate([self.space.default[None], self._bank])
        scores = self.utility(values, photo)
        best, top = float(scores.max()), values[int(np.argmax(scores))]
        for size in (0.6, 0.3, 0.15):
            for knob in range(len(top)):
                tried = np.tile(top, (2, 1))
                tried[:, knob] += np.array([-size, size]) * self.space.usual[knob]
                tried = np.clip(tried, self.space.low, self.space.high)
                scores = self.utility(tried, photo)
                if scores.max() > best:
                    best, top = float(scores.max()), tried[int(np.argmax(scores))]
        return best

    def _rendered(self, values: np.ndarray, photo: int) -> np.ndarray:
        knobs = dict(zip(self.space.names, map(float, values), strict=True))
        made = knob_settings(EnhanceSettings(denoise=0.0), knobs)
        return np.asarray(self.enhancer.with_settings(made)(self.photos[photo]))


#: What is recommended for a context, after the questions so far.
Recommend = Callable[[np.ndarray], np.ndarray]


def ask(person: Person, space: KnobSpace, strategy: str, options: int, photos: int, temperature: float,
        rng: np.random.Generator) -> dict[int, dict[str, float]]:
    """The shares of the attainable utility after `AFTER` picks: picks -> `PARTS` -> share."""
    centre = person.contexts[:photos].mean(axis=0)
    contexts = person.contexts - centre
    model = TasteModel(space, contexts[:photos])
    current = space.default.copy()
    found = {}
    for number in range(max(AFTER)):
        photo = number % photos
        if strategy == "questions":
            shown = model.options(photo, options, rng)
        elif strategy == "coordinate search":
            shown = np.tile(current, (options, 1))
            knob = number % len(space.names)
            width = (space.high - space.low)[knob] / 2 ** (number // len(space.names))
            low = max(space.low[knob], min(current[knob] - width / 2, space.high[knob] - width))
            shown[:, knob] = low + width * (np.arange(options) + 0.5) / options
        else:
            shown = space.to_values(rng.standard_normal((options, len(space.names))))
            if strategy == "random, winner kept":
                shown[0] = current
        utility = person.utility(shown, photo) / temperature
        chances = np.exp(utility - utility.max())
        choice = int(rng.choice(options, p=chances / chances.sum()))
        current = shown[choice]
        model = model.after(Pick(photo, shown, choice))
        if number + 1 in AFTER:
            last = strategy in ("random, winner kept", "coordinate search")
            recommend = (lambda _, fixed=current: fixed) if last else model.best
            said = model.certainty().share if strategy == "questions" else np.nan
            found[number + 1] = {**_shares(person, space, contexts, photos, recommend), "said": said}
    return found


def _shares(person: Person, space: KnobSpace, contexts: np.ndarray, photos: int,
            recommend: Recommend) -> dict[str, float]:
    gained, attainable = np.transpose([
        (person.utility(np.stack([recommend(context), space.default]), photo) @ np.array([1.0, -1.0]),
         person.attainable(photo) - person.utility(space.default[None], photo)[0])
        for photo, context in enumerate(contexts)])
    parts = {"shown": slice(0, photos), "unseen": slice(photos, None)}
    return {name: float(gained[part].mean() / attainable[part].mean()) for name, part in parts.items()}


def main(users: str = "knobs", data: Path | None = None, count: int = 200, options: int = 4, photos: int = 4,
         first: int = 0, seed: int = 0,
         strategies: tuple[str, ...] = ("questions", "random", "random, winner kept", "coordinate search"),
         out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None) -> dict[str, Any]:
    """Simulate people who choose among versions.

    Args:
        users: knobs, or hard: see `KnobPerson`; pictures: see `PicturePerson`.
        data: Photographs for pictures; each person gets others.
        count: People.
        options: Versions per question.
        photos: Photographs in the questions, in turn.
        first: Number of the first of them, to go on in parts.
        seed: Of the people and their choices.
        strategies: How versions are chosen; random has the model of the questions, the last two recommend the
            last choice.
        out: Write the shares there, as JSON.

    Returns:
        The shares: strategy -> temperature -> picks -> photographs -> list.
    """
    enhancer = Enhancer()
    space = knob_space(enhancer)
    if (users == "pictures") != (data is not None):
        raise UsageError("people who compare pictures, and only they, need --data, a folder of photographs")
    paths = [found.path for found in find_photos([data])] if data else []
    shares: dict[str, dict[str, dict[int, dict[str, list[float]]]]] = {
        strategy: {name: {after: {part: [] for part in PARTS} for after in AFTER} for name in TEMPERATURES}
        for strategy in strategies}
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        person: Person
        if paths:
            chosen = rng.choice(len(paths), 2 * photos, replace=False)
            pictures = [thumbnail(read(paths[i]).visible_pixels, _SIDE) for i in chosen]
            person = PicturePerson(enhancer, space, pictures, rng)
        else:
            contexts = rng.standard_normal((photos + _UNSEEN, len(CONTEXT)))
            person = KnobPerson(space, contexts, rng, users == "hard")
        name = list(TEMPERATURES)[number % len(TEMPERATURES)]
        gain = np.mean([person.attainable(photo) - person.utility(space.default[None], photo)[0]
                        for photo in range(photos)])
        for strategy in strategies:
            for after, found in ask(person, space, strategy, options, photos,
                                    TEMPERATURES[name] * float(gain), rng).items():
                for part, share in found.items():
                    shares[strategy][name][after][part].append(share)
    lines = table(shares)
    print("\n".join(lines), flush=True)
    if out:
        write_atomically(out, json.dumps({**shares, "tables": tables_made_here(
            lines, seed)}).encode())
    return shares


def table(shares: Mapping[str, Mapping[str, Mapping[Any, Mapping[str, Sequence[float]]]]]) -> list[str]:
    """Means in percent with 95 % intervals, and medians."""
    lines = []
    for strategy, rows in shares.items():
        every = {after: {part: [share for row in rows.values() for share in row[after][part]]
                         for part in PARTS} for after in AFTER}
        for name, row in {"all": every, **rows}.items():
            cells = []
            for part, after in product(PARTS, AFTER):
                values = 100 * np.array(row[after][part] or [np.nan])
                half = 1.96 * values.std() / max(len(values) - 1, 1) ** 0.5
                cells.append("" if np.isnan(values).any() else
                             f"{values.mean():.0f} ± {half:.0f} ({np.median(values):.0f})")
            lines.append([strategy, name, *cells])
    return markdown_table(["versions", "choices", *(f"{part}, {after}" for part, after in
                                                    product(PARTS, AFTER))], lines)


if __name__ == "__main__":
    sys.exit(run_cli(main))

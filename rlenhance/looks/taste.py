"""A look from choices: versions of photographs are shown, a person picks one, and a look is learned.

    session = TasteSession(Enhancer(), {"night.jpg": pixels, "street.jpg": others})
    while not session.enough:
        session.answer(ask(session.previews()))
    save_look(session.look(), Path("my-look.json"))
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlenhance.core.errors import UsageError, one_line
from rlenhance.core.json_files import check_finite, parse_json
from rlenhance.io.contact_sheet import downscale, thumbnail
from rlenhance.looks.taste_model import Certainty, KnobSpace, Pick, TasteModel, check_answer
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import KNOBS, LinearFunction, standardised, statistics, with_knobs
from rlenhance.pipelines.looks import Look
from rlenhance.pipelines.options import EnhanceSettings

KIND, VERSION = "rlenhance taste", 1
#: Longer side of the pictures that are shown, in pixels.
SIDE = 480
#: A usual departure of each knob from its default. `denoise` is not asked about: noise does not show in a picture of
#: this size.
USUAL: Mapping[str, float] = {"exposure_shift": 0.1, "contrast": 0.7, "color": 0.7, "highlights": 0.7,
                              "smoothness": 0.7, "strength": 0.3, "warmth": 25.0}
_REACH = 2.0  # usual departures that are asked about at most
_FAINT = 4.0  # mired: less warmth is none, and the white balance stays as it was set, automatic by default
#: Mean CIEDE2000 of that departure, over twelve dark frames of exposure stacks and the model `balanced` (`smoothness`,
#: which has no effect there: `relight`).
VISIBLE: Mapping[str, float] = {"exposure_shift": 8.5, "contrast": 2.0, "color": 1.6, "highlights": 1.6,
                                "smoothness": 1.5, "strength": 6.8, "warmth": 2.9}
#: The statistics that a look may depend on.
CONTEXT = ("stops", "bright", "saturation")
#: Picks after which the first look can be had, and after which it is not worth to go on.
FEWEST, MOST = 4, 15
_MOST_PICKS = 200  # that a state may hold: people stop after a dozen
_ROUNDED = 1e-5  # by which a stored value may lie beyond its range
_ENOUGH = 0.9  # expected share of what can be gained
_SLIGHT = 0.05  # of a usual departure, per standard deviation of a statistic: a knob depends on the picture beyond it


@dataclass(frozen=True)
class Question:
    """Versions of one photograph.

    Attributes:
        number: of the question, from 1.
        photo: name of the photograph.
        options: settings of each version.
        values: of the knobs, for each version.
    """

    number: int
    photo: str
    options: tuple[EnhanceSettings, ...]
    values: tuple[tuple[float, ...], ...]


class TasteSession:
    """A dialogue that ends in a look.

    Args:
        enhancer: a policy that takes preferences; its settings are the constant part of the look.
        photos: name -> (H, W, 3) uint8 or uint16; they are reduced. Three to eight different ones are best.
        options: versions per question, 2 to 9.
        knobs: those that are asked about; None: all that have an effect with this model.
        seed: of the questions.

    Raises:
        UsageError: no photograph; a model without preferences; an unknown knob; a number out of its range.
    """

    def __init__(self, enhancer: Enhancer, photos: Mapping[str, np.ndarray], *, options: int = 4,
                 knobs: Sequence[str] | None = None, seed: int = 0):
        if not photos:
            raise UsageError("a taste is learned on photographs; name at least one")
        if type(options) is not int or not 2 <= options <= 9:
            raise UsageError(f"options must lie between 2 and 9; got {options!r:.60}")
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise UsageError(f"seed must be a whole number from 0 to {2**32 - 1}; got {seed!r:.60}")
        if not enhancer.preference_ranges:
            raise UsageError(f"{enhancer.folder}: takes no preferences, so there is nothing to choose; use a policy")
        self.enhancer, self.count, self.seed = enhancer, options, seed
        self.photos = {name: downscale(pixels, SIDE) for name, pixels in photos.items()}
        found = [statistics(pixels) for pixels in self.photos.values()]
        levels = np.array([[standardised(name, each[name]) for name in CONTEXT] for each in found])
        self._centre = levels.mean(axis=0)
        self.model = TasteModel(knob_space(enhancer, knobs), levels - self._centre)
        self._earlier: list[TasteModel] = []
        self._question: Question | None = None
        self._certainty: Certainty | None = None

    @property
    def picks(self) -> tuple[Pick, ...]:
        """The answers so far, skipped questions among them."""
        return self.model.picks

    @property
    def answered(self) -> int:
        """The number of questions that were not skipped."""
        return sum(pick.answer != "skip" for pick in self.picks)

    def question(self) -> Question:
        """The present question; the same until it is answered."""
        if self._question is None:
            number = self._photo_number
            values = np.round(self.model.options(number, self.count,
                                                 np.random.default_rng([self.seed, len(self.picks)])), 6)
            self._question = Question(len(self.picks) + 1, list(self.photos)[number],
                                      tuple(map(self._settings, values)), tuple(map(tuple, values.tolist())))
        return self._question

    def previews(self, side: int = SIDE) -> list[np.ndarray]:
        """The versions of the present question, (h, w, 3) uint8, in the order of its options."""
        question = self.question()
        small = thumbnail(self.photos[question.photo], side)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(question.options))) as pool:
            return list(pool.map(lambda settings: self._render(small, settings), question.options))

    def answer(self, answer: int | str) -> None:
        """Take an answer to the present question: the number of an option from 0, "neither", "alike" or "skip".

        Raises:
            UsageError: it is none of them.
        """
        values, photo = np.array(self.question().values), self._photo_number
        checked = check_answer(answer, len(values))
        instead = np.round(self.model.best(self.model.contexts[photo]), 6) if checked == "neither" else None
        self._earlier.append(self.model)
        self._moved_to(self.model.after(Pick(photo, values, checked, instead)))

    def undo(self) -> bool:
        """Take the last answer back, so that its question is asked again; False where there is none."""
        if not self._earlier:
            return False
        self._moved_to(self._earlier.pop())
        return True

    def certainty(self) -> Certainty:
        """How sure the look is."""
        if self._certainty is None:
            self._certainty = self.model.certainty()
        return self._certainty

    @property
    def enough(self) -> bool:
        """Whether more questions are hardly worth while."""
        return self.answered >= MOST or (self.answered >= FEWEST and self.certainty().share >= _ENOUGH)

    @property
    def words(self) -> str:
        """How far the dialogue is, in a line."""
        if self.answered < FEWEST:
            left = FEWEST - self.answered
            return f"{self.answered} picks; {left} more for a first look"
        found = self.certainty()
        advice = "you can stop here" if self.enough else "more picks help"
        return f"{self.answered} picks; the look reaches about {found.share:.0%} of what can be gained: {advice}"

    def best(self, photo: str) -> EnhanceSettings:
        """The settings that are recommended for a photograph so far."""
        context = self.model.contexts[list(self.photos).index(photo)]
        return self._settings(self.model.best(context))

    def best_preview(self, photo: str, side: int = SIDE) -> np.ndarray:
        """The photograph in the look so far: (h, w, 3) uint8."""
        return self._render(thumbnail(self.photos[photo], side), self.best(photo))

    def look(self) -> Look:
        """The look so far. A knob that depends on the photographs becomes a function of their statistics."""
        space, size = self.model.space, len(CONTEXT)
        middle = self.model.best(np.zeros(size))
        slopes = np.zeros((len(space.names), size))
        for i in range(size):
            step = np.eye(size)[i] * max(float(np.abs(self.model.contexts[:, i]).max()), 1e-6)
            slopes[:, i] = (self.model.best(step) - self.model.best(-step)) / (2 * step[i])
        slopes[np.abs(slopes) < _SLIGHT * space.usual[:, None]] = 0.0
        constant = {name: float(value) for name, value in zip(space.names, middle, strict=True)}
        functions = {}
        for name, slope in zip(space.names, slopes, strict=True):
            if slope.any():
                bias = constant.pop(name) - float(slope @ self._centre)
                functions[name] = LinearFunction(round(bias, 4), {
                    statistic: round(float(weight), 4) for statistic, weight in zip(CONTEXT, slope, strict=True)
                    if weight})
        certainty = self.certainty()
        about = {"made_by": "taste", "picks": self.answered, "photographs": len(self.photos), "options": self.count,
                 "share": round(certainty.share, 3), "probability": round(certainty.probability, 3)}
        return Look(str(self.enhancer.named or (self.enhancer.folder and self.enhancer.folder.name)),
                    self.enhancer.sha256, knob_settings(self.enhancer.settings, constant), functions, about)

    def to_json(self) -> str:
        """The state, for `resume`."""
        return json.dumps({
            "kind": KIND, "version": VERSION, "sha256": self.enhancer.sha256, "options": self.count, "seed": self.seed,
            "knobs": list(self.model.space.names),
            "photos": [{"name": name, "sha256": _digest(pixels)} for name, pixels in self.photos.items()],
            "picks": [{"photo": pick.photo, "options": np.round(pick.options, 6).tolist(), "answer": pick.answer,
                       **({} if pick.instead is None else {"instead": np.round(pick.instead, 6).tolist()})}
                      for pick in self.picks]}, indent=1) + "\n"

    # What is behind it

    def _moved_to(self, model: TasteModel) -> None:
        self.model, self._question, self._certainty = model, None, None

    @property
    def _photo_number(self) -> int:
        return len(self.picks) % len(self.photos)

    def _settings(self, values: np.ndarray) -> EnhanceSettings:
        return knob_settings(self.enhancer.settings, dict(zip(self.model.space.names, map(float, values), strict=True)))

    def _render(self, small: np.ndarray, settings: EnhanceSettings) -> np.ndarray:
        return np.asarray(self.enhancer.with_settings(settings, denoise=0.0)(small))


def knob_space(enhancer: Enhancer, knobs: Sequence[str] | None = None) -> KnobSpace:
    """The knobs that a model has and that change pictures, or those that are named.

    Raises:
        UsageError: an unknown one, or one that the model does not take.
    """
    ranges = enhancer.preference_ranges
    there = [name for name in USUAL if (name in ranges and name not in enhancer.without_effect)
             or name in ("strength", "warmth") or (name == "exposure_shift" and "exposure_level" in ranges)]
    for name in knobs or ():
        if name not in there:
            raise UsageError(f"{name!r:.60} is no knob of this model that shows in a small picture; "
                             f"there are {', '.join(there)}")
    names = tuple(there if knobs is None else dict.fromkeys(knobs))
    bounds = np.array([[*(ranges[name] if name in ranges else KNOBS[name])] for name in names])
    low, default, high = bounds.T
    usual = np.array([USUAL[name] for name in names])
    low, high = np.maximum(low, default - _REACH * usual), np.minimum(high, default + _REACH * usual)
    counts = np.array([VISIBLE[name] for name in names]) ** 2  # a squared distance between the pictures
    return KnobSpace(names, low, default, high, usual, counts / counts.mean())


def resume(state: str | bytes, source: Path | str, enhancer: Enhancer,
           photos: Mapping[str, np.ndarray]) -> TasteSession:
    """A session from its `to_json`.

    Args:
        state: the text.
        source: what messages begin with.
        enhancer, photos: as at the beginning.

    Raises:
        UsageError: it is no such state, or of another version, model or photographs.
    """
    found = parse_json(state, source)
    check_finite(found, source)
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise UsageError(f"{source}: is no state of rlenhance taste; leave it out to begin anew")
    if found.get("version") != VERSION:
        raise UsageError(f"{source}: version {found.get('version')!r:.60} is not known; this rlenhance reads {VERSION}")
    try:
        if found["sha256"] != enhancer.sha256:
            raise UsageError(f"{source}: was begun with another model, whose weights have the SHA-256 "
                             f"{found['sha256']!r:.80}: name that model")
        known = [(entry["name"], entry["sha256"]) for entry in found["photos"]]
        try:
            session = TasteSession(enhancer, photos, options=found["options"], knobs=found["knobs"],
                                   seed=found["seed"])
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error
        here = [(name, _digest(pixels)) for name, pixels in session.photos.items()]
        if known != here:
            differing = [name for name, _ in {*known} ^ {*here}] or [known[0][0]]
            raise UsageError(f"{source}: was begun with other photographs ({min(differing)!r:.60} differs): name the "
                             f"same ones in the same order, or begin anew")
        if len(found["picks"]) > _MOST_PICKS:
            raise ValueError(f"{len(found['picks'])} picks; at most {_MOST_PICKS} are asked for")
        for entry in found["picks"]:
            values = _knob_values(entry["options"], session.model.space)
            instead = _knob_values(entry["instead"], session.model.space) if "instead" in entry else None
            if type(entry["photo"]) is not int:
                raise ValueError("the photo of a pick is its number")
            number, answer = entry["photo"], check_answer(entry["answer"], len(values))
            fits = values.shape == (session.count, len(session.model.space.names)) and 0 <= number < len(photos) \
                and (values.shape[1:] == instead.shape if instead is not None else answer != "neither")
            if not fits:
                raise ValueError("a pick does not fit")
            pick = Pick(number, values, answer, instead)
            session._earlier.append(session.model)
            session._moved_to(session.model.after(pick))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{source}: is damaged ({one_line(error)[:200]}); begin anew") from error
    return session


def _knob_values(found: object, space: KnobSpace) -> np.ndarray:
    """Values of the knobs in a state, (..., D), if they are such as a question has.

    Raises:
        ValueError: they are none, not finite, or beyond the range of their knob.
    """
    values = np.array(found, dtype=float)
    if values.shape[-1:] != (len(space.names),) or not np.isfinite(values).all() or \
            (values < space.low - _ROUNDED).any() or (values > space.high + _ROUNDED).any():
        raise ValueError("a pick has knobs beyond their ranges")
    return values


def knob_settings(settings: EnhanceSettings, knobs: Mapping[str, float]) -> EnhanceSettings:
    """Settings with knobs; a faint warmth is none."""
    return with_knobs(settings, {name: value for name, value in knobs.items()
                                 if name != "warmth" or abs(value) >= _FAINT})


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()

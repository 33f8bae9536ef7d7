"""Learn a colour table from photographs and their edits, and a gain before it that may follow the picture.

An editor's curves may be others than the model's. The gain of each pair and the table that all share are fitted in
turn: the gain by Gauss-Newton steps, the table by least squares with a penalty on its second differences and on its
distance from the identity. Then the gains are regressed on the statistics of the pictures.

Source of the regularisation: Garcia and Gupta 2009, "Lattice Regression"; the distance from the identity is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from rlenhance.core.pixels import resized_planes
from rlenhance.engine.lookup import corners
from rlenhance.pipelines.color_table import MOST_GAIN, ColorTable, bend
from rlenhance.pipelines.look_functions import STATISTICS, LinearFunction

SIZE = 6  # colours along each side
#: Curve, and whether its gain follows the picture, of every kind of table that is tried.
KINDS = (("model", False), ("gamma", False), ("exposure", False), ("gamma", True), ("exposure", True))
_SMOOTH, _IDENTITY = 0.008, 1e-4  # penalties
#: Deviations of the gain, in stops: of its weight for a statistic, and of what no statistic explains.
_WEIGHTS, _SCATTER = 0.5, 0.25
_ROUNDS = 3  # of gains and table in turn
_STEP = 0.05  # stops by which the slope is measured
_FAR = 1.0  # stops that the gain moves at once
_SIDE = 32  # pixels of the pictures
_FOLDS = 12  # of the cross-validation at most


@dataclass(frozen=True)
class TableSample:
    """A pair, as tables see it.

    Attributes:
        before, after: (P, 3) colours in [0, 1]; of the curve "model", `before` is the model's result.
        inputs: (S,) standardised statistics.
    """

    before: np.ndarray
    after: np.ndarray
    inputs: np.ndarray


@dataclass(frozen=True)
class TableFit:
    """A table, and the gain as a function of the picture.

    Attributes:
        curve: see `rlenhance.pipelines.color_table.CURVES`.
        bias, weights: the gain in stops is bias + weights @ inputs; () and (S,).
        values: (size^3, 3).
    """

    curve: str
    bias: float
    weights: np.ndarray
    values: np.ndarray

    @property
    def table(self) -> ColorTable:
        """With the gain of a picture of mean statistics."""
        return ColorTable(self.curve, round(self.bias, 4), SIZE, tuple(np.round(self.values, 4).ravel().tolist()))

    @property
    def function(self) -> LinearFunction | None:
        """The gain; None where it is constant."""
        if not self.weights.any():
            return None
        return LinearFunction(round(self.bias, 4), {
            name: round(float(weight), 4) for name, weight in zip(STATISTICS, self.weights, strict=True)})

    def error(self, sample: TableSample) -> float:
        """The mean squared error of a pair."""
        gain = float(np.clip(self.bias + self.weights @ sample.inputs, -MOST_GAIN, MOST_GAIN))
        made = _looked_up(self.values, bend(self.curve, sample.before, gain))
        return float(np.square(made - sample.after).mean())


def make_sample(before: np.ndarray, after: np.ndarray, inputs: np.ndarray) -> TableSample:
    """Of two pictures (H, W, 3), uint8, uint16 or float, of the same content, and the statistics."""
    given, wanted = (resized_planes(pixels, _SIDE)[0].reshape(3, -1).T.astype(np.float32) for pixels in (before, after))
    return TableSample(given, wanted, inputs)


def fit_table(samples: Sequence[TableSample], curve: str, follow: bool) -> TableFit:
    """The table with the least error.

    Args:
        samples: at least one.
        curve: see `rlenhance.pipelines.color_table.CURVES`.
        follow: whether the gain follows the picture.
    """
    count = len(samples[0].inputs)
    if curve == "model":
        return TableFit(curve, 0.0, np.zeros(count), _table([sample.before for sample in samples], samples))
    if not follow:
        middle = float(np.median([_matching(curve, sample) for sample in samples]))
        return TableFit(curve, middle, np.zeros(count), _table_of(curve, np.full(len(samples), middle), samples))
    gains = _own_gains(curve, samples)
    inputs = np.array([sample.inputs for sample in samples])
    centred = inputs - inputs.mean(axis=0)
    kernel = _WEIGHTS**2 * centred @ centred.T + _SCATTER**2 * np.eye(len(gains))
    weights = _WEIGHTS**2 * centred.T @ np.linalg.solve(kernel, gains - gains.mean())
    bias = float(gains.mean() - weights @ inputs.mean(axis=0))
    return TableFit(curve, bias, weights, _table_of(curve, bias + inputs @ weights, samples))


def candidates(samples: Sequence[TableSample], rendered: Sequence[TableSample], held: Sequence[TableSample],
               kinds: Sequence[tuple[str, bool]] = KINDS) -> list[tuple[TableFit, np.ndarray]]:
    """Tables of several kinds, each with the errors (N,) on pairs that were left out.

    Args:
        samples: of the photographs, two or more.
        rendered: of the model's results with the knobs of the look.
        held: of its results with the knobs that the other pairs give.
        kinds: some of `KINDS`.
    """
    found = []
    for curve, follow in kinds:
        given, tested = (rendered, held) if curve == "model" else (samples, samples)
        found.append((fit_table(given, curve, follow), left_out_errors(given, tested, curve, follow)))
    return found


def left_out_errors(samples: Sequence[TableSample], tested: Sequence[TableSample], curve: str,
                    follow: bool) -> np.ndarray:
    """The mean squared error of each of the tested pairs, (N,), with the table that the others of the samples give."""
    folds = min(_FOLDS, len(samples))
    errors = np.empty(len(samples))
    for fold in range(folds):
        found = fit_table([sample for i, sample in enumerate(samples) if i % folds != fold], curve, follow)
        for i in range(fold, len(samples), folds):
            errors[i] = found.error(tested[i])
    return errors


def own_gain_errors(samples: Sequence[TableSample], curve: str) -> np.ndarray:
    """The mean squared error of each pair, (N,), with the table that the other pairs give and a gain of its own.

    This is what the curve and the colours explain, whatever the gain may follow.

    Args:
        samples: two or more.
        curve: "gamma" or "exposure".
    """
    folds = min(_FOLDS, len(samples))
    errors = np.empty(len(samples))
    for fold in range(folds):
        rest = [sample for number, sample in enumerate(samples) if number % folds != fold]
        values = _table_of(curve, _own_gains(curve, rest), rest)
        for i in range(fold, len(samples), folds):
            sample = samples[i]
            gain = _matching(curve, sample)
            for _ in range(_ROUNDS):
                gain = _moved(curve, values, gain, sample)
            errors[i] = np.square(_looked_up(values, bend(curve, sample.before, gain)) - sample.after).mean()
    return errors


def _own_gains(curve: str, samples: Sequence[TableSample]) -> np.ndarray:
    """The gain of each sample, (N,), beside a table that all share."""
    gains = np.array([_matching(curve, sample) for sample in samples])
    for _ in range(_ROUNDS):
        values = _table_of(curve, gains, samples)
        gains = np.array([_moved(curve, values, gain, sample) for gain, sample in zip(gains, samples, strict=True)])
    return gains


def _matching(curve: str, sample: TableSample) -> float:
    """The gain that gives a photograph the mean brightness of its edit, by bisection."""
    low, high, wanted = -MOST_GAIN / 2, MOST_GAIN, float(sample.after.mean())
    for _ in range(12):
        middle = (low + high) / 2
        if bend(curve, sample.before, middle).mean() < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _moved(curve: str, values: np.ndarray, gain: float, sample: TableSample) -> float:
    """The gain after a Gauss-Newton step."""
    made = _looked_up(values, bend(curve, sample.before, gain))
    slope = (_looked_up(values, bend(curve, sample.before, gain + _STEP)) - made) / _STEP
    step = float((slope * (sample.after - made)).sum() / max(float(np.square(slope).sum()), 1e-9))
    return float(np.clip(gain + np.clip(step, -_FAR, _FAR), -MOST_GAIN, MOST_GAIN))


def _table_of(curve: str, gains: np.ndarray, samples: Sequence[TableSample]) -> np.ndarray:
    return _table([bend(curve, sample.before, float(np.clip(gain, -MOST_GAIN, MOST_GAIN)))
                   for gain, sample in zip(gains, samples, strict=True)], samples)


def _table(colors: Sequence[np.ndarray], samples: Sequence[TableSample]) -> np.ndarray:
    """The table (size^3, 3) that brings colours (P, 3) nearest to those of the edits; all pairs count alike."""
    entries = SIZE**3
    matrix, right = np.zeros((entries, entries)), np.zeros((entries, 3))
    for given, sample in zip(colors, samples, strict=True):
        design = np.zeros((len(given), entries), np.float32)
        for place, share in zip(*corners(given, SIZE), strict=True):
            design[np.arange(len(given)), place] += share
        matrix += design.T @ design / (len(given) * len(samples))
        right += design.T @ (sample.after - given) / (len(given) * len(samples))
    penalty, identity = _penalty()
    return np.asarray(identity + np.linalg.solve(matrix + penalty, right))


@cache
def _penalty() -> tuple[np.ndarray, np.ndarray]:
    """The quadratic form (size^3, size^3) of what is added to the identity, and the identity (size^3, 3)."""
    same, first = np.eye(SIZE), np.diff(np.eye(SIZE), axis=0)
    second = np.diff(first, axis=0)
    parts = []
    for axis in range(3):
        bent = [same, same, same]
        bent[axis] = second
        mixed = [first, first, first]
        mixed[axis] = same
        parts += [np.kron(np.kron(bent[0], bent[1]), bent[2]),
                  np.sqrt(2) * np.kron(np.kron(mixed[0], mixed[1]), mixed[2])]
    form = _SMOOTH * sum(part.T @ part for part in parts) + _IDENTITY * np.eye(SIZE**3)
    ramp = np.linspace(0, 1, SIZE)
    blue, green, red = np.meshgrid(ramp, ramp, ramp, indexing="ij")
    return form, np.stack([red, green, blue], axis=-1).reshape(-1, 3)


def _looked_up(values: np.ndarray, colors: np.ndarray) -> np.ndarray:
    places, shares = corners(colors, SIZE)
    return np.asarray(np.einsum("kp,kpc->pc", shares, values[places]).clip(0, 1))

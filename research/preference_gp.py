"""What a person likes, learned from choices: a Gaussian process over knobs, and the questions that inform most.

Points are (N, D) knobs, in units in which 0 is the usual value and 1 a usual departure from it; contexts (N, C)
describe the picture at hand, standardised. The utility of a point is that of an ideal point, which may move with the
context:

    f(x, s) = sum_k c_k (x_k (b_k + v_k s) - x_k^2 / 2 (1 + q_k)) + r(x)

with b, v, q and r Gaussian: f is a Gaussian process. Its mean is -sum_k c_k x_k^2 / 2, and its covariance is the sum of
a linear, a quadratic and a squared-exponential kernel. Choices are noisy with standard deviation 1.

Source: Chu and Ghahramani 2005, "Preference Learning with Gaussian Processes" (pairwise probit, Laplace); Lin et al.
2022, "Preference Exploration for Efficient Bayesian Optimization with Multiple Outcomes" (EUBO). The mean and the
linear part are ours: Chu and Ghahramani have a squared exponential alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Standard deviations of the Gaussian parts, see `Prior`.
_MOVES, _BENDS, _REST = 0.2, 0.25, 0.1
_JITTER = 1e-6
_LEAST_BEND = 0.25  # share of the expected curvature: a parabola has a top
_NEWTON, _SMALL = 60, 1e-9  # steps at most; change of the objective at which they end
_FAR = -30.0  # below it the asymptotic series of the normal distribution is exact to 1e-9
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class Prior:
    """The Gaussian process before any choice.

    Attributes:
        weights: (D,) how much each knob counts, c; in units of the noise of the choices.
        moves: standard deviation of v: how far the ideal point moves per unit of the context.
        bends: of q: how unsure the curvature is.
        rest: of r, as a share of the root mean square of `weights`.
        length: of the squared exponential of r.
    """

    weights: np.ndarray
    moves: float = _MOVES
    bends: float = _BENDS
    rest: float = _REST
    length: float = 1.5

    def mean(self, points: np.ndarray) -> np.ndarray:
        """(N, D) -> (N,)."""
        return np.asarray(-0.5 * points**2 @ self.weights)

    def covariance(self, points: np.ndarray, contexts: np.ndarray, others: np.ndarray,
                   other_contexts: np.ndarray) -> np.ndarray:
        """(N, D), (N, C), (M, D), (M, C) -> (N, M)."""
        squares = self.weights**2
        shared = 1 + self.moves**2 * contexts @ other_contexts.T
        linear = (points * squares) @ others.T * shared
        bent = (points**2 * squares) @ (others**2).T * (self.bends / 2) ** 2
        gaps = (points**2).sum(1)[:, None] + (others**2).sum(1) - 2 * points @ others.T
        rest = self.rest**2 * squares.mean() * np.exp(-0.5 * np.maximum(gaps, 0) / self.length**2)
        return np.asarray(linear + bent + rest)


@dataclass(frozen=True)
class Choices:
    """Pairs of points of which one was preferred.

    Attributes:
        points: (N, D).
        contexts: (N, C).
        pairs: (M, 2) rows of `points`: the preferred one, the other.
        shares: (M,) how much each pair counts, in (0, 1].
    """

    points: np.ndarray
    contexts: np.ndarray
    pairs: np.ndarray
    shares: np.ndarray


class Posterior:
    """The Gaussian process after choices, by Laplace's approximation.

    Args:
        prior: see `Prior`.
        choices: may be empty.

    Attributes:
        evidence: log of the marginal likelihood of the choices.
    """

    def __init__(self, prior: Prior, choices: Choices):
        self.prior, self.choices = prior, choices
        wins, losses = choices.pairs.T
        kernel = prior.covariance(choices.points, choices.contexts, choices.points, choices.contexts)
        # the margins (f_win - f_loss) / sqrt(2) are a Gaussian process themselves, with one observation each
        rows = (kernel[wins] - kernel[losses]) / np.sqrt(2)
        margin = (rows[:, wins] - rows[:, losses]) / np.sqrt(2) + _JITTER * np.eye(len(wins))
        mean = prior.mean(choices.points)
        offset = (mean[wins] - mean[losses]) / np.sqrt(2)
        alpha, likely, best = np.zeros(len(wins)), 0.0, -np.inf
        values = offset
        for _ in range(_NEWTON):
            logs = log_probability(values)
            slope = np.exp(-0.5 * values**2 - logs) / np.sqrt(2 * np.pi)
            bend = np.maximum(slope * (slope + values), 1e-12) * choices.shares
            root = np.sqrt(bend)
            factor = np.linalg.cholesky(np.eye(len(wins)) + root[:, None] * margin * root)
            wanted = bend * (values - offset) + slope * choices.shares
            step = wanted - root * _solve(factor, root * (margin @ wanted)) - alpha
            size = 1.0
            while True:  # a step that is too long is halved
                new = alpha + size * step
                likely = float(choices.shares @ log_probability(offset + margin @ new) - 0.5 * new @ margin @ new)
                if likely >= best or size < 1e-4:
                    break
                size /= 2
            alpha, values = new, offset + margin @ new
            if likely - best < _SMALL:
                break
            best = likely
        self._alpha, self._root, self._factor = alpha, root, factor
        self.evidence = likely - float(np.log(np.diag(factor)).sum())

    def predict(self, points: np.ndarray, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (N,) and covariance (N, N) of the utility of points (N, D) in contexts (N, C)."""
        choices, (wins, losses) = self.choices, self.choices.pairs.T
        cross = self.prior.covariance(points, contexts, choices.points, choices.contexts)
        cross = (cross[:, wins] - cross[:, losses]) / np.sqrt(2)
        mean = self.prior.mean(points) + cross @ self._alpha
        left = np.linalg.solve(self._factor, self._root[:, None] * cross.T)
        return mean, self.prior.covariance(points, contexts, points, contexts) - left.T @ left

    def ideal_points(self, context: np.ndarray, low: np.ndarray, high: np.ndarray,
                     generator: np.random.Generator | None = None, count: int = 1) -> np.ndarray:
        """The point of highest utility within bounds: (count, D).

        Each is the top of the parabolas through the utilities at 0 and, knob by knob, at 1 and -1, which is exact but
        for r.

        Args:
            context: (C,).
            low, high: (D,).
            generator: None: the top of the mean utility; else of `count` samples.
            count: of points.
        """
        size = len(self.prior.weights)
        star = np.concatenate([np.zeros((1, size)), np.eye(size), -np.eye(size)])
        mean, covariance = self.predict(star, np.tile(context, (len(star), 1)))
        values = mean[None] if generator is None else draw(mean, covariance, count, generator)
        up, down = values[:, 1 : size + 1], values[:, size + 1 :]
        bend = np.maximum(2 * values[:, :1] - up - down, _LEAST_BEND * self.prior.weights)
        return np.asarray(np.clip((up - down) / (2 * bend), low, high))


def _solve(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, right)))


def fit(choices: Choices, weights: np.ndarray, sharpness: float = 0.7, spread: float = 0.7,
        sweeps: int = 2) -> Posterior:
    """The posterior whose weights are the most probable ones, found knob by knob.

    Args:
        choices: see `Choices`.
        weights: (D,) the middle of what is expected.
        sharpness, spread: standard deviations of the logarithm of all weights together, and of each by itself.
        sweeps: over the knobs.
    """
    logs = np.zeros(1 + len(weights))
    deviation = np.array([sharpness, *[spread] * len(weights)])

    def at(point: np.ndarray) -> tuple[float, Posterior]:
        found = Posterior(Prior(weights * np.exp(point[0] + point[1:])), choices)
        return found.evidence - 0.5 * float(((point / deviation) ** 2).sum()), found

    best, posterior = at(logs)
    if not len(choices.pairs):
        return posterior
    for sweep in range(sweeps):
        for knob, size in enumerate(deviation / 2**sweep):
            for step in (size, -size):
                moved = logs.copy()
                moved[knob] += step
                value, found = at(moved)
                if value > best:
                    best, posterior, logs = value, found, moved
                    break
    return posterior


def probability(values: np.ndarray) -> np.ndarray:
    """The standard normal distribution function."""
    return np.asarray(0.5 * _erfc(-values / math.sqrt(2)), dtype=np.float64)


def log_probability(values: np.ndarray) -> np.ndarray:
    """Its logarithm, also where it is too small for a float: there by the asymptotic series.

    Source: Abramowitz and Stegun, 26.2.12.
    """
    values = np.asarray(values, dtype=np.float64)
    far = np.minimum(values, _FAR)
    rest = np.log1p(-1 / far**2 + 3 / far**4 - 15 / far**6)
    series = -0.5 * far**2 - np.log(-far) - 0.5 * math.log(2 * math.pi) + rest
    above = np.log1p(-np.minimum(probability(-values), 0.5))
    below = np.log(np.maximum(probability(np.minimum(values, 0)), np.finfo(np.float64).tiny))
    return np.asarray(np.where(values > 0, above, np.where(values > _FAR, below, series)))


def expected_best_of_two(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """E max(f_i, f_j) of all pairs of Gaussian variables: (N,), (N, N) -> (N, N)."""
    variance = np.diag(covariance)
    deviation = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 1e-12))
    gap = (mean[:, None] - mean) / deviation
    density = np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi)
    return np.asarray(mean[:, None] * probability(gap) + mean * probability(-gap) + deviation * density)


def choose_options(mean: np.ndarray, covariance: np.ndarray, count: int, samples: np.ndarray) -> list[int]:
    """The candidates whose best has the highest expected utility, chosen one after the other from the best pair.

    Args:
        mean, covariance: of the candidates, (N,) and (N, N).
        count: of options, 2 or more.
        samples: (S, N) of the same Gaussian variables, for the third option and those after it.
    """
    pairs = expected_best_of_two(mean, covariance)
    chosen = [int(place) for place in np.unravel_index(np.argmax(pairs), pairs.shape)]
    best = samples[:, chosen].max(axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(np.maximum(best[:, None], samples).mean(axis=0))))
        best = np.maximum(best, samples[:, chosen[-1]])
    return chosen


def draw(mean: np.ndarray, covariance: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Samples of Gaussian variables: (N,), (N, N) -> (count, N)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(mean + generator.standard_normal((count, len(mean))) * np.sqrt(np.maximum(values, 0)) @ vectors.T)

"""Exposure brackets: which exposure of a scene to take next, and when the shots are enough."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from rlenhance.core.errors import UsageError
from rlenhance.learning.data.brackets import Bracket, load_brackets, sample_brackets
from rlenhance.ops.bracket import MOST_SHOTS, NUM_OBSERVED, PLACES

STOP = PLACES
STARTS = ("random", "metered")
OBJECTIVES = ("fusion", "single")
_METERED = 118 / 255  # mean brightness at which a camera meters
_GAP = 2


class BracketEnv(gymnasium.vector.VectorEnv):
    """Choose the exposures of a scene one after the other, so that few shots give what all of them would, or stop.

    What an exposure shows is not known before it is taken, and shots complement each other: the best next one depends
    on those that follow it.

    ## Action Space

    `Discrete(8)`: the place of an exposure, from 0 (the darkest) to 6, a stop apart; or 7: stop. A place that was
    taken, or that the camera lacks (`action_mask`), counts as stop.

    ## Observation Space

    `Dict`: `observation=Box(0, inf, (189,), float32)`, what the shots so far show
    (`rlenhance.ops.bracket.observe`): for each place whether it is taken, whether it is offered, and the histogram of
    its shot; the light of the scene; what no shot exposes well; the shots that are left; the price.
    `action_mask=MultiBinary(8)`, int8: 1 where a choice is allowed; stop always is. Frames that were not taken are
    not observed.

    ## Rewards

    The rise of the quality in dB, less `price` for each shot, and less `time_price` times its exposure time over that
    of the brightest place. The quality is the PSNR of the fusion of the shots (Mertens et al. 2007) to the fusion of
    all exposures; with the objective "single", that of the best shot alone. It telescopes: the return is the quality
    at the end, minus that of the first shot, minus what the others cost. Stopping earns 0.

    `info` has `quality` (N,) in dB and `shots` (N,), the number of those taken.

    ## Starting State

    A random scene, the same for the same seed, and its first shot: at a random place ("random"), or at the one whose
    mean brightness is nearest to 118 of 255 ("metered"). `reset(options={"brackets": [Bracket, ...]})` names the
    scenes, `options={"starts": [place, ...]}` the places.

    ## Episode End

    Termination after stop, or when `shots` are taken; never truncation.

    ## Arguments

    data: folder with a folder for each scene (None: sample scenes, rendered: a demonstration). brackets: the scenes
    themselves. shots: the most in all (4). price: dB for each shot after the first: a number, or two between which it
    is drawn at each reset. time_price: dB for the time of the longest exposure (0). objective: "fusion" or "single".
    start: "random" or "metered". render_mode: None or "rgb_array".

    ## Vectorized environment

    `gymnasium.make_vec("rlenhance/Bracket-v0", num_envs=8)` is this class: NumPy, with NEXT_STEP autoreset. Fusions are
    computed once for each scene.

    ## Version History

    v0: the first.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2,
                                "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, *, data: Path | str | None = None, brackets: Sequence[Bracket] | None = None,
                 shots: int = MOST_SHOTS, price: float | tuple[float, float] = 0.0, time_price: float = 0.0,
                 objective: str = "fusion", start: str = "random", render_mode: str | None = None,
                 autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP):
        prices = (price, price) if isinstance(price, int | float) else tuple(price)
        for name, value, known in (("objective", objective, OBJECTIVES), ("start", start, STARTS),
                                   ("render_mode", render_mode, (None, "rgb_array"))):
            if value not in known:
                raise UsageError(f"{name} is one of {', '.join(map(str, known))}; got {value!r}")
        if num_envs < 1 or not 2 <= shots <= MOST_SHOTS:
            raise UsageError(f"num_envs is at least 1, and shots are from 2 to {MOST_SHOTS}; got {num_envs} and "
                             f"{shots}")
        if len(prices) != 2 or not 0 <= prices[0] <= prices[1] < np.inf or not 0 <= time_price < np.inf:
            raise UsageError(f"price is a number of dB, or two in order, and time_price a number, none below 0; got "
                             f"{price} and {time_price}")
        mode = AutoresetMode(autoreset_mode)
        if mode == AutoresetMode.SAME_STEP:
            raise UsageError("autoreset_mode is NextStep or Disabled; got SameStep")
        if brackets is not None and not len(brackets):
            raise UsageError("brackets must have at least one scene; got none")
        self.brackets = list(brackets) if brackets is not None else sample_brackets() if data is None else \
            load_brackets(data)
        self.num_envs, self.shots, self.prices, self.time_price = num_envs, shots, prices, time_price
        self.objective, self.start, self.render_mode = objective, start, render_mode
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.single_action_space = spaces.Discrete(STOP + 1)
        self.single_observation_space = spaces.Dict({
            "observation": spaces.Box(0.0, np.inf, (NUM_OBSERVED,), np.float32),
            "action_mask": spaces.MultiBinary(STOP + 1)})
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._scenes: list[Bracket] = []
        self._taken: list[frozenset[int]] = []
        self._price = np.zeros(num_envs)
        self._ended = np.zeros(num_envs, bool)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens after the last step of an episode."""
        return AutoresetMode(self.metadata["autoreset_mode"])

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin with random scenes, or with `options`: "brackets" and "starts", one for each episode.

        Raises:
            UsageError: options of another length, or a place that a scene lacks.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        given, starts = options.get("brackets"), options.get("starts")
        for name, value in (("brackets", given), ("starts", starts)):
            if value is not None and len(value) != self.num_envs:
                raise UsageError(f"options {name!r} has one for each of {self.num_envs} episodes; got {len(value)}")
        self._scenes, self._taken = list[Any]([None] * self.num_envs), [frozenset()] * self.num_envs
        self._ended = np.zeros(self.num_envs, bool)
        for row in range(self.num_envs):
            self._begin(row, None if given is None else given[row], None if starts is None else int(starts[row]))
        return self._observe(), self._info()

    def _begin(self, row: int, scene: Bracket | None = None, place: int | None = None) -> None:
        scene = self.brackets[int(self.np_random.integers(len(self.brackets)))] if scene is None else scene
        drawn = int(self.np_random.choice(scene.offered))
        if place is None:
            place = drawn if self.start == "random" else \
                min(scene.offered, key=lambda one: abs(float(scene.levels[one]) - _METERED))
        if place not in scene.offered:
            raise UsageError(f"options 'starts' names place {place}; {scene.name or 'the scene'} has {scene.offered}")
        self._scenes[row], self._taken[row] = scene, frozenset({place})
        self._price[row], self._ended[row] = self.np_random.uniform(*self.prices), False

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One shot, or stop, for each episode: actions (N,). An episode that has ended begins anew (NEXT_STEP), and its
        action is not looked at.

        Raises:
            UsageError: no reset before, actions of another shape or outside 0 to 7, or an episode that has ended
                without autoreset.
        """
        actions = np.asarray(actions)
        if not self._scenes:
            raise UsageError("step needs an episode: call reset first")
        if actions.shape != (self.num_envs,) or actions.dtype.kind not in "iu" or \
                ((actions < 0) | (actions > STOP)).any():
            raise UsageError(f"actions are ({self.num_envs},) whole numbers from 0 to {STOP}; got {actions!r:.80}")
        again = self.autoreset_mode == AutoresetMode.NEXT_STEP
        if self._ended.any() and not again:
            raise UsageError("an episode has ended: call reset before the next step")
        reward, ended = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        for row, action in enumerate(actions.tolist()):
            if self._ended[row]:
                self._begin(row)
                continue
            scene, taken = self._scenes[row], self._taken[row]
            ended[row] = action in taken or action not in scene.offered
            if not ended[row]:
                self._taken[row] = taken | {action}
                reward[row] = (scene.quality(self._taken[row], self.objective) - scene.quality(taken, self.objective)
                               - self._price[row] - self.time_price * 2.0 ** (action - PLACES + 1))
                ended[row] = len(self._taken[row]) >= min(self.shots, len(scene.offered))
        self._ended = ended
        return self._observe(), reward, ended.copy(), np.zeros(self.num_envs, bool), self._info()

    def _observe(self) -> dict[str, np.ndarray]:
        mask = np.zeros((self.num_envs, STOP + 1), np.int8)
        mask[:, STOP] = 1
        rows = []
        for row, (scene, taken) in enumerate(zip(self._scenes, self._taken, strict=True)):
            left = self.shots - len(taken)
            if left > 0:
                mask[row, [place for place in scene.offered if place not in taken]] = 1
            rows.append(scene.observe(taken, left, self._price[row]))
        return {"observation": np.stack(rows), "action_mask": mask}

    def _info(self) -> dict[str, Any]:
        every = np.ones(self.num_envs, bool)
        return {"quality": self.potential(), "_quality": every, "_shots": every,
                "shots": np.array([len(taken) for taken in self._taken])}

    def potential(self) -> np.ndarray:
        """The quality of the shots so far, in dB: (N,). Rewards are its rises, less what shots cost."""
        return np.array([scene.quality(taken, self.objective) for scene, taken in
                         zip(self._scenes, self._taken, strict=True)])

    def keys(self) -> list[Hashable]:
        """What tells the present states from each other: (N,). The order of the shots does not count."""
        return [(id(scene), taken, float(price)) for scene, taken, price in
                zip(self._scenes, self._taken, self._price, strict=True)]

    def groups(self) -> list[str]:
        """The names of the scenes: (N,)."""
        return [scene.name for scene in self._scenes]

    def branch(self, rows: Sequence[int] | np.ndarray) -> BracketEnv:
        """The present episodes of some rows, to go on with them elsewhere; this environment stays where it is.

        Args:
            rows: (M,); one may be there several times.

        Returns:
            An environment of M episodes that begins nothing new at its end.
        """
        made, numbers = copy.copy(self), [int(row) for row in rows]
        made._scenes, made._taken = [self._scenes[row] for row in numbers], [self._taken[row] for row in numbers]
        made._price, made._ended = self._price[numbers], self._ended[numbers]
        made.metadata = {**self.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        made.num_envs = len(numbers)
        return made

    def render(self) -> tuple[np.ndarray, ...] | None:
        """For each scene its exposures in a row, those not taken black, and the fusion: uint8; None without a mode."""
        if self.render_mode is None:
            return None
        frames = []
        for scene, taken in zip(self._scenes, self._taken, strict=True):
            fused = np.rint(255 * scene.fused(taken)).astype(np.uint8)
            strip = np.zeros((fused.shape[0], (PLACES + 1) * (fused.shape[1] + _GAP) - _GAP, 3), np.uint8)
            for place, picture in [*((place, scene.small[place]) for place in taken), (PLACES, fused)]:
                start = place * (fused.shape[1] + _GAP)
                strip[:, start : start + fused.shape[1]] = picture
            frames.append(strip)
        return tuple(frames)


class BracketSceneEnv(gymnasium.Env):
    """`BracketEnv` of one scene; the same arguments, spaces without the leading N."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}

    def __init__(self, **arguments: Any):
        self.env = BracketEnv(1, autoreset_mode=AutoresetMode.DISABLED, **arguments)
        self.render_mode = self.env.render_mode
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin with a random scene; see `BracketEnv.reset`."""
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=options)
        return _first(observation), _first(info)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One shot, or stop."""
        observation, reward, ended, _, info = self.env.step(np.asarray(action).reshape(1))
        return _first(observation), float(reward[0]), bool(ended[0]), False, _first(info)

    def render(self) -> Any:
        """The exposures that were taken and their fusion, uint8; see `BracketEnv.render`."""
        frames = self.env.render()
        return None if frames is None else frames[0]


def _first(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value[0].copy() for name, value in values.items() if not name.startswith("_")}

"""PettingZoo: every cell of a coarse grid over one image is an agent, and so is the one for the whole image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.envs import ENV_IDS
from rlenhance.envs.pixel_env import PixelEnv
from rlenhance.learning.data import Batch

try:
    import pettingzoo
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"rlenhance.envs.parallel needs PettingZoo: {install_line('pettingzoo')}",
                              name=error.name) from error

#: The agent of the scope "global".
GLOBAL = "global"


class ParallelImageEnv(pettingzoo.ParallelEnv):  # type: ignore[misc]
    """One image whose cells are agents, as a PettingZoo `ParallelEnv` over a `PixelEnv`.

    The `PixelEnv` makes one step for all agents together. Importing this module registers the ids of `envs` with
    PettingZoo: `pettingzoo.make("parallel", "rlenhance/LowLight-v0", cells=(8, 8))` is `parallel_env` of that id.

    ## Agents

    `cell_0_0` to `cell_7_7`, by row and column, for `cells=(8, 8)`; and `global` where the action set has an agent for
    the whole image, the last of `possible_agents`. All act in every step, from the first to the last.

    ## Action Space

    The same for every agent: `Box(-1, 1, (C,))` for C continuous heads; for categorical ones `Discrete(K)` with one
    head and `MultiDiscrete([K] * C)` with several. Where the action set has a finer grid of local agents, all those of
    a cell take the cell's action.

    ## Observation Space

    The same for every agent: `Box` of the shape (planes, h + 2 `margin`, w + 2 `margin`), float32, for cells of h x w
    pixels. The planes, with C channels:

    - the cell with `margin` pixels about it, reflected at the border (C planes; then the mask, where there is one, and
      the initial image, where the action set needs it); for the global agent the whole image, averaged to this size;
    - the whole image, averaged to this size (C planes);
    - constant planes: 1 for the global agent and 0 for a cell; row and column of the cell's centre in [0, 1]; the share
      of the horizon that is left; one for each number of the preference, in [-1, 1].

    `state()` is what one observer of all sees: (C + ..., H, W), the image, mask and initial image at full size, then
    the share of the horizon that is left and the preference as constant planes.

    ## Rewards

    An agent of a cell gets the mean of the reward map over its cell, the global agent the environment's reward. So the
    mean over the cells is the environment's reward, and so is the mean over all agents, wherever the sizes of the
    terms' maps and of the grid divide. A term that has one number for the whole image (a map of 1 x 1) counts in full
    in each cell.

    ## Starting State

    That of the `PixelEnv`; `reset(options={"batch": Batch of one})` begins with the caller's image, of the same size.

    ## Episode End

    All agents terminate together after `horizon` steps; `agents` is empty then. Never truncation.

    ## Information

    For each agent the same: `team_reward`, the environment's reward, 0 at a reset. The attribute `info` has what the
    `PixelEnv` reported last, in tensors (`reward_terms`, `term_maps`; `regret` of `rlenhance/CurveOracle-v0`).

    Args:
        env: a `PixelEnv` of one image with `autoreset_mode=DISABLED`, or what `gymnasium.make` gives; wrappers about
            it are left out.
        cells: rows and columns of the grid; they divide the image's size and the grid of local agents.
        margin: pixels about a cell that its agent sees; None: half of its shorter side.

    Raises:
        UsageError: several images, no local agents, or a grid that does not divide; in a step other agents than
            `agents`, in a reset an image of another size.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4, "is_parallelizable": True,
                                "name": "rlenhance_parallel"}

    def __init__(self, env: PixelEnv | gymnasium.Env[Any, Any], *, cells: tuple[int, int] = (8, 8),
                 margin: int | None = None):
        if isinstance(env, gymnasium.Env):  # of gymnasium.make
            env = getattr(env.unwrapped, "env", env)
        if not isinstance(env, PixelEnv) or env.num_envs != 1 or env.autoreset_mode != AutoresetMode.DISABLED:
            raise UsageError(f"a ParallelImageEnv takes a PixelEnv of one image with autoreset_mode=DISABLED; got "
                             f"{getattr(env, 'num_envs', 'no')} images, {getattr(env, 'autoreset_mode', type(env))}: "
                             f"use envs.parallel.parallel_env")
        if "local" not in env.actions.scopes:
            raise UsageError("there are no local agents here, only a global one: give the action set some "
                             "(agent_stride=8), or use gymnasium.make with envs.GlobalAction")
        self.env, self.cells, self.render_mode = env, cells, env.render_mode
        self._size, agents = env.size, env.actions.agent_grid("local", *env.size)
        if min(cells) < 1 or any(whole % part for whole, part in zip((*env.size, *agents), cells * 2, strict=True)):
            raise UsageError(f"cells must divide the image of {env.size[0]} x {env.size[1]} pixels and its "
                             f"{agents[0]} x {agents[1]} local agents; got {cells}: give cells={agents}, another size "
                             f"or another agent_stride")
        self._repeats = agents[0] // cells[0], agents[1] // cells[1]
        self._cell = env.size[0] // cells[0], env.size[1] // cells[1]
        self.margin = min(self._cell) // 2 if margin is None else margin
        if not 0 <= self.margin < min(env.size):
            raise UsageError(f"margin lies between 0 and {min(env.size) - 1}; got {margin}")
        self._has_global = "global" in env.actions.scopes
        self.possible_agents = [f"cell_{row}_{column}" for row in range(cells[0]) for column in range(cells[1])]
        self.possible_agents += [GLOBAL] * self._has_global
        self.agents: list[str] = []
        self._places = self._places_of_agents()
        self._spaces_of = env.single_observation_space
        low, high = self._bounds()
        sight = self._cell[0] + 2 * self.margin, self._cell[1] + 2 * self.margin
        self.observation_spaces = {agent: _planes_space(low, high, sight) for agent in self.possible_agents}
        self.action_spaces = {agent: self._action_space() for agent in self.possible_agents}
        self.state_space = _planes_space(*self._bounds(state=True), env.size)

    def _places_of_agents(self) -> Tensor:
        """Constant planes of each agent: whether it is the global one, row, column; (agents, 3, 1, 1)."""
        rows, columns = ((torch.arange(count) + 0.5) / count for count in self.cells)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        places = torch.cat([torch.zeros(len(grid), 1), grid], dim=1)
        if self._has_global:
            places = torch.cat([places, torch.tensor([[1.0, 0.5, 0.5]])])
        return places[..., None, None].to(self.env.device)

    def _bounds(self, state: bool = False) -> tuple[list[float], list[float]]:
        """Least and greatest value of each plane of an agent's observation, or of the state."""
        parts = self.env.single_observation_space.spaces
        image: Any = parts["image"]
        colors = [(float(image.low.min()), float(image.high.max()))] * image.shape[0]
        bounds = [*colors, *[(0.0, 1.0)] * ("mask" in parts)]
        bounds += [(0.0, 1.0)] * (image.shape[0] if "initial_image" in parts else 0)
        if not state:
            bounds += [*colors, *[(0.0, 1.0)] * self._places.shape[1]]
        bounds += [(0.0, 1.0)]
        if "preference" in parts:
            bounds += [(-1.0, 1.0)] * int(np.prod(parts["preference"].shape or (1,)))
        return [low for low, _ in bounds], [high for _, high in bounds]

    def _action_space(self) -> spaces.Space[Any]:
        heads, choices = self.env.actions.action_dim, self.env.actions.num_choices
        if choices is None:
            return spaces.Box(-1.0, 1.0, (heads,), np.float32)
        return spaces.Discrete(choices) if heads == 1 else spaces.MultiDiscrete([choices] * heads)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The same object at each call, so that it can be seeded."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The same object at each call, so that it can be seeded."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None
              ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin an episode with all agents.

        Args:
            seed: begins the source's stream anew.
            options: `batch` and `preference`, as for `PixelEnv.reset`; others are ignored with a warning.
        """
        known = {name: value for name, value in dict(options or {}).items() if name in ("batch", "preference")}
        if ignored := set(options or {}) - set(known):
            warnings.warn(f"reset knows the options batch and preference; {', '.join(sorted(ignored))} ignored",
                          stacklevel=2)
        batch = known.get("batch")
        if isinstance(batch, Batch) and (len(batch) != 1 or tuple(batch.image.shape[-2:]) != self._size):
            raise UsageError(f"this environment holds one image of {self._size[0]} x {self._size[1]} pixels; got "
                             f"{tuple(batch.image.shape)}: make another one for it")
        self._observation, self.info = self.env.reset(seed=seed, options=known)
        if self.env.single_observation_space != self._spaces_of:
            raise UsageError(f"agents observe {self._spaces_of}, and this image needs "
                             f"{self.env.single_observation_space}: make another environment for it")
        self.agents = list(self.possible_agents)
        return self._observe(), {agent: {"team_reward": 0.0} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[
            dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One step of all agents: agent -> observation, reward, terminated, truncated, info."""
        if set(actions) != set(self.agents):
            wrong = ", ".join(sorted(set(actions) ^ set(self.agents))[:5])
            raise UsageError(f"a step takes an action of each of the {len(self.agents)} agents in `agents`; missing or "
                             f"unknown: {wrong}" + (": call reset first" if not self.agents else ""))
        self._observation, reward, terminated, _, self.info = self.env.step(self._scopes(actions))
        whole = float(reward[0])
        earned = self.env.reward.map(self.info["term_maps"], self.cells).detach().flatten().tolist()
        earned += [whole] * self._has_global
        acting, ended = self.possible_agents, bool(terminated[0])
        self.agents = [] if ended else list(acting)
        return (self._observe(), dict(zip(acting, earned, strict=True)), dict.fromkeys(acting, ended),
                dict.fromkeys(acting, False), {agent: {"team_reward": whole} for agent in acting})

    def _scopes(self, actions: Mapping[str, Any]) -> dict[str, Tensor]:
        """The agents' actions -> the action for the `PixelEnv`, scope -> (1, C, h, w)."""
        heads, choices = self.env.actions.action_dim, self.env.actions.num_choices
        rows = [np.asarray(actions[agent]) for agent in self.possible_agents]
        for agent, row in zip(self.possible_agents, rows, strict=True):
            if row.size != heads:
                raise UsageError(f"the action of {agent} has {heads} numbers; got shape {row.shape}")
        together = np.stack([row.reshape(heads) for row in rows])
        if choices is not None and not np.issubdtype(together.dtype, np.integer):
            raise UsageError(f"these agents choose among {choices} values by index; got {together.dtype}: "
                             f"pass integers")
        low, high = (-1, 1) if choices is None else (0, choices - 1)
        outside = together[~((together >= low) & (together <= high))]  # NaN is outside too
        if outside.size:
            raise UsageError(f"an action lies in [{low}, {high}]; got {outside[0]}: clip or squash it before the step")
        values = torch.from_numpy(together.astype(np.float32 if choices is None else np.int64)).to(self.env.device)
        count = self.cells[0] * self.cells[1]
        local = values[:count].reshape(1, *self.cells, heads).permute(0, 3, 1, 2)
        scopes = {"local": local.repeat_interleave(self._repeats[0], 2).repeat_interleave(self._repeats[1], 3)}
        if self._has_global:
            scopes["global"] = values[count:].reshape(1, heads, 1, 1)
        return scopes

    def _observe(self) -> dict[str, np.ndarray]:
        """What every agent sees, computed for all at once."""
        seen = self._observation
        maps = torch.cat([seen[name] for name in ("image", "mask", "initial_image") if name in seen], dim=1).detach()
        height, width = (side + 2 * self.margin for side in self._cell)
        padded = F.pad(maps, (self.margin,) * 4, mode="reflect") if self.margin else maps
        own = F.unfold(padded, (height, width), stride=self._cell)  # (1, C h w, cells)
        own = own[0].T.reshape(-1, maps.shape[1], height, width)
        whole = F.interpolate(maps, (height, width), mode="area")
        if self._has_global:
            own = torch.cat([own, whole])
        agents = len(own)
        colors = seen["image"].shape[1]
        constant = [self._places, *(value.detach().expand(agents, -1)[..., None, None] for value in self._constants())]
        planes = torch.cat([own, whole[:, :colors].expand(agents, -1, -1, -1),
                            *(value.expand(-1, -1, height, width) for value in constant)], dim=1).cpu().numpy()
        return dict(zip(self.possible_agents, planes, strict=True))

    def _constants(self) -> list[Tensor]:
        """The numbers that hold for the whole image, (1, n) each: the share of the horizon left, the preference."""
        return [self._observation[name] for name in ("remaining", "preference") if name in self._observation]

    def state(self) -> np.ndarray:
        """The image with all that holds for it, at full size: (planes, H, W) float32."""
        seen = self._observation
        maps = [seen[name] for name in ("image", "mask", "initial_image") if name in seen]
        planes = torch.cat([*maps, *(value[..., None, None].expand(-1, -1, *self._size)
                                     for value in self._constants())], dim=1)
        state: np.ndarray = planes[0].detach().cpu().numpy()
        return state

    def render(self) -> Any:
        """(H, 3 W + 4, 3) uint8: input, current image, action map."""
        frames = self.env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the `PixelEnv`."""
        self.env.close()


def parallel_env(env_id: str = "rlenhance/LowLight-v0", *, cells: tuple[int, int] = (8, 8), margin: int | None = None,
                 **arguments: Any) -> ParallelImageEnv:
    """A `ParallelImageEnv` of a registered environment.

    Args:
        env_id: an id of one image.
        cells, margin: see `ParallelImageEnv`.
        arguments: of the environment.

    Example:
        >>> env = parallel_env("rlenhance/LowLight-v0", size=32, curve={"agent_stride": 4})
        >>> len(env.possible_agents), env.possible_agents[-2:]
        (65, ['cell_7_7', 'global'])
        >>> env.observation_space("cell_3_5").shape, env.action_space("cell_3_5")
        ((10, 8, 8), Box(-1.0, 1.0, (1,), float32))
    """
    return ParallelImageEnv(gymnasium.make(env_id, **arguments), cells=cells, margin=margin)


for _id in ENV_IDS:
    if _id not in pettingzoo.parallel_registry:
        pettingzoo.register("parallel", _id, entry_point=parallel_env, kwargs={"env_id": _id})


def _planes_space(low: list[float], high: list[float], size: tuple[int, int]) -> spaces.Box:
    """The space of planes with these bounds each."""
    lowest, highest = (np.broadcast_to(np.array(bound, np.float32)[:, None, None], (len(bound), *size)).copy()
                       for bound in (low, high))
    return spaces.Box(lowest, highest, dtype=np.float32)

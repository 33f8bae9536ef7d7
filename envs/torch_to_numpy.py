"""The batched environment between NumPy arrays, and the entry points of `gymnasium.make_vec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from torch import Tensor

from rlenhance.core.errors import UsageError
from rlenhance.envs.pixel_env import PixelEnv

if TYPE_CHECKING:
    _VectorWrapper = gymnasium.vector.VectorWrapper[Any, Any, Any, Any, np.ndarray]
else:
    _VectorWrapper = gymnasium.vector.VectorWrapper  # Gymnasium 1.2 has it without parameters

#: What `output` may be, in `gymnasium.make_vec`.
OUTPUTS = ("numpy", "torch")


class TorchToNumpy(_VectorWrapper):
    """A `PixelEnv` that takes and returns NumPy arrays, as Gymnasium's wrappers and other libraries expect them.

    Observations are arrays of their own, which the caller may change. Rewards are float64 (N,), terminations and
    truncations bool (N,). Infos are as those of `gymnasium.vector.SyncVectorEnv`: each entry `key` is an array of N,
    with a mask `_key` of N; with SAME_STEP autoreset `final_obs` is an array of N observations, and `final_info` has
    the last step's entries. `unwrapped` is the `PixelEnv`.

    Args:
        env: the environment in torch.

    Raises:
        UsageError: another environment.

    Example:
        >>> import gymnasium, envs
        >>> env = gymnasium.make_vec("rlenhance/CurveOracle-v0", num_envs=2)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> type(observation["image"]).__name__, reward.shape, info["_regret"].tolist()
        ('ndarray', (2,), [True, True])
    """

    def __init__(self, env: gymnasium.vector.VectorEnv[Any, Any, Any]):
        if not isinstance(env, PixelEnv):
            raise UsageError(f"TorchToNumpy takes a PixelEnv; got {type(env).__name__}: other vector environments "
                             f"return NumPy already")
        super().__init__(env)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When the next episode begins."""
        mode: AutoresetMode = self.metadata["autoreset_mode"]
        return mode

    def reset(self, *, seed: int | None = None,
              options: dict[str, Any] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As `PixelEnv.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return to_array(observation), _infos(info, self.num_envs)

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """As `PixelEnv.step`; an action in NumPy, as `action_space.sample()` gives it, or in torch."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        infos: dict[str, Any] = {}
        if "final_obs" in info:
            final, count = info["final_info"], len(info["_final_info"])
            infos = _infos({"final_info": final}, count)
            last = to_array(info["final_obs"])
            infos["final_obs"] = np.array([{name: part[place] for name, part in last.items()}
                                           for place in range(count)], dtype=object)
            infos["_final_obs"] = np.ones(count, dtype=np.bool_)
            info = {key: entry for key, entry in info.items()
                    if entry is not final.get(key) and key.lstrip("_") not in ("final_obs", "final_info")}
        return (to_array(observation), to_array(reward).astype(np.float64), to_array(terminated), to_array(truncated),
                {**infos, **_infos(info, self.num_envs)})


def to_array(value: Any) -> Any:
    """A tensor as a NumPy array of its own, through nested mappings."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy().copy()  # nothing that the caller keeps may change later
    if isinstance(value, Mapping):
        return {key: to_array(inner) for key, inner in value.items()}
    return value


def _infos(info: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The infos with a mask for each entry, and numbers repeated for each image."""
    made: dict[str, Any] = {}
    for key, entry in info.items():
        made[key] = (_infos(entry, count) if isinstance(entry, Mapping) else
                     to_array(entry) if isinstance(entry, Tensor) else np.full(count, entry))
        made[f"_{key}"] = np.ones(count, dtype=np.bool_)
    return made


def vector_entry_point(batched: type[PixelEnv]) -> Callable[..., gymnasium.vector.VectorEnv[Any, Any, Any]]:
    """What `gymnasium.make_vec` calls for a batched environment, with its arguments and `output`."""
    def make(num_envs: int = 1, *, output: str = "numpy", autoreset_mode: AutoresetMode | str | None = None,
             **arguments: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        if output not in OUTPUTS:
            raise UsageError(f"output is {' or '.join(OUTPUTS)}; got {output!r}")
        if autoreset_mode is None:  # Gymnasium's own default is what its wrappers of observations take
            autoreset_mode = AutoresetMode.NEXT_STEP if output == "numpy" else AutoresetMode.SAME_STEP
        made: Any = batched
        env: PixelEnv = made(num_envs, autoreset_mode=autoreset_mode, **arguments)
        return TorchToNumpy(env) if output == "numpy" else env

    make.__doc__ = batched.__doc__
    return make

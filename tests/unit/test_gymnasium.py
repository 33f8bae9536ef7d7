"""What Gymnasium expects of every registered environment: sampled actions, infos, autoreset, pickles, seeds, specs."""

import copy
import pickle
import re
from functools import cache
from inspect import signature
from pkgutil import resolve_name

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode

from rlenhance import envs
from rlenhance.core.errors import UsageError
from rlenhance.envs import CurveOracleEnv, LowLightEnv, PixelEnv, TorchToNumpy

IDS = sorted(envs.ENV_IDS)
every_id = pytest.mark.parametrize("name", IDS)
SMALL = {"size": 16, "horizon": 2, "render_mode": "rgb_array"}
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env)),
          "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env))}


def make(name, **arguments):
    return gymnasium.make(name, **{**SMALL, **arguments})


def make_vec(name, **arguments):
    return gymnasium.make_vec(name, **{"num_envs": 3, **SMALL, **arguments})


@cache
def shared(name, **arguments):
    """One environment for all tests that reset it first."""
    return make_vec(name, **arguments)


def sample(env, seed=0):
    env.action_space.seed(seed)
    return env.action_space.sample()


@every_id
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_a_sampled_action_is_taken(name, output):
    """`step(action_space.sample())` works, changes no array of the caller, and gives what its tensors give."""
    env = shared(name, output=output)
    env.reset(seed=1)
    action = sample(env)
    kept = copy.deepcopy(action)
    result = env.step(action)
    assert data_equivalence(action, kept, exact=True)
    env.reset(seed=1)
    tensors = ({scope: torch.as_tensor(value) for scope, value in action.items()} if isinstance(action, dict)
               else torch.as_tensor(action))
    again = env.step(tensors)
    assert np.array_equal(result[0]["image"], again[0]["image"]) and np.array_equal(result[1], again[1])


@every_id
def test_sampled_numbers_may_have_any_precision(name):
    """float64 and int32, as other libraries send them, do the same; the observation keeps its type."""
    env = shared(name, output="torch")
    action = sample(env)
    other = {np.dtype("float32"): np.float64, np.dtype("int64"): np.int32}
    wide = ({scope: value.astype(other[value.dtype]) for scope, value in action.items()} if isinstance(action, dict)
            else action.astype(other[action.dtype]))
    results = []
    for taken in (action, wide):
        env.reset(seed=1)
        results.append(env.step(taken))
    assert torch.equal(results[0][0]["image"], results[1][0]["image"])
    assert results[1][0]["image"].dtype == torch.float32


@every_id
def test_the_numpy_environment_is_the_torch_one(name):
    """`output="torch"` is the environment's own class; both give the same numbers, in arrays and in tensors."""
    env, plain = (shared(name, output=output, autoreset_mode="SameStep") for output in ("numpy", "torch"))
    assert isinstance(env, TorchToNumpy) and isinstance(plain, PixelEnv) and type(env.unwrapped) is type(plain)
    assert env.action_space == plain.action_space and env.observation_space == plain.observation_space
    action = sample(env)
    pairs = [(env.reset(seed=2), plain.reset(seed=2))] + [(env.step(action), plain.step(action)) for _ in range(3)]
    for arrays, tensors in pairs:
        assert env.observation_space.contains(arrays[0])
        for part, tensor in tensors[0].items():
            assert isinstance(tensor, torch.Tensor) and np.array_equal(arrays[0][part], tensor.numpy())
    (_, reward, ended, cut, _), tensors = pairs[1]
    assert reward.dtype == np.float64 and ended.dtype == cut.dtype == np.bool_
    assert reward.shape == ended.shape == cut.shape == (3,) and np.array_equal(reward, tensors[1].numpy())


def test_unknown_words_are_refused():
    """Of the output and of the autoreset, with those that there are; Gymnasium's member or its name will do."""
    with pytest.raises(UsageError, match="numpy or torch; got 'jax'"):
        make_vec("rlenhance/CurveOracle-v0", output="jax")
    with pytest.raises(UsageError, match=r"'NextStep', 'SameStep', 'Disabled'.*got 'never'"):
        LowLightEnv(1, size=16, autoreset_mode="never")
    assert CurveOracleEnv(1, autoreset_mode="NextStep").autoreset_mode is AutoresetMode.NEXT_STEP
    assert CurveOracleEnv(1).autoreset_mode is CurveOracleEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    with pytest.raises(UsageError, match="takes a PixelEnv"):
        TorchToNumpy(gymnasium.make_vec("CartPole-v1", num_envs=2))


@every_id
def test_observations_are_the_callers_own(name):
    """A wrapper that writes into an observation, as Gymnasium's do, changes no episode."""
    env, action = shared(name), sample(shared(name))
    results = []
    for write in (False, True):
        observation, _ = env.reset(seed=1)
        if write:
            for part in observation.values():
                part[...] = 0
        results.append(env.step(action)[0]["image"])
    assert np.array_equal(*results)


def shape_of(value):
    """What an info is made of: names, types and shapes."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [shape_of(inner) for inner in value]
    return (type(value), value.dtype, value.shape) if isinstance(value, np.ndarray) else type(value)


@every_id
@pytest.mark.parametrize("mode", AutoresetMode)
def test_everything_returned_is_as_gymnasiums_own_vector_environment_returns_it(name, mode):
    """Observations, rewards, ends and infos with their masks have the names, types and shapes that SyncVectorEnv makes
    of single environments, at resets, steps and ends of episodes, in every autoreset mode."""
    env = shared(name, num_envs=2, autoreset_mode=mode)
    own = synchronous(name, mode)
    assert env.metadata["autoreset_mode"] is env.autoreset_mode is mode
    assert env.single_action_space == own.single_action_space and env.action_space == own.action_space
    assert env.observation_space == own.observation_space
    action = sample(env)
    assert shape_of(env.reset(seed=0)) == shape_of(own.reset(seed=0))
    for count in range(1, 6):
        results = [vector.step(action) for vector in (env, own)]
        assert shape_of(results[0]) == shape_of(results[1]), count
        assert np.array_equal(results[0][2], results[1][2])
        if mode == AutoresetMode.DISABLED and results[0][2].any():
            options = {"reset_mask": np.ones(2, dtype=bool)}
            assert shape_of(env.reset(options=dict(options))) == shape_of(own.reset(options=dict(options)))


@cache
def synchronous(name, mode):
    return gymnasium.make_vec(name, 2, "sync", {"autoreset_mode": mode}, **SMALL)


@every_id
def test_preferences_and_further_infos_are_returned_in_the_same_way(name):
    """Also what arguments add: all reward terms in the infos, and the preferences that a reset asks for in NumPy."""
    own = resolve_name(gymnasium.spec(name).entry_point.replace("ImageEnv", "Env"))
    asked = "preferences" in signature(own).parameters
    arguments = {"info_terms": "all", **({"preferences": {"exposure_level": (0.3, 0.5, 0.7)}} if asked else {})}
    mode = AutoresetMode.SAME_STEP
    env = make_vec(name, num_envs=2, autoreset_mode=mode, **arguments)
    own = gymnasium.make_vec(name, 2, "sync", {"autoreset_mode": mode}, **SMALL, **arguments)
    action = sample(env)
    for count in range(4):
        options = {"preference": np.full((2, 1), 0.5)} if asked else None
        results = [vector.step(action) if count else vector.reset(seed=0, options=given) for vector, given in (
            (env, options), (own, {"preference": np.full((1, 1), 0.5)} if asked else None))]
        assert shape_of(results[0]) == shape_of(results[1]), count
        assert not asked or count > 1 or (results[0][0]["preference"] == 0.5).all()
    if asked:
        with pytest.raises(UsageError, match=r"preference is \(2, 1\).*got \(1,\)"):
            env.reset(options={"preference": np.zeros(1)})


def test_part_of_the_images_cannot_begin_anew():
    """All episodes of a vector environment begin and end together; a mask that says otherwise is refused."""
    env = shared("rlenhance/CurveOracle-v0")
    env.reset(seed=0)
    with pytest.raises(UsageError, match="reset_mask is True for every image"):
        env.reset(options={"reset_mask": np.array([True, False, True])})


@every_id
def test_the_next_step_begins_the_next_episode(name):
    """NEXT_STEP: the last step returns the last observation, the one after it begins anew and earns nothing; the
    pictures are those that SAME_STEP draws."""
    env, same = (shared(name, autoreset_mode=mode) for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP))
    action = sample(env)
    for each in (env, same):
        each.reset(seed=4)
        each.step(action)
    last, final = env.step(action), same.step(action)
    assert last[2].all() and (last[0]["remaining"] == 0).all()
    assert data_equivalence(last[0], {part: np.stack([one[part] for one in final[4]["final_obs"]]) for part in last[0]})
    begun = env.step(action)
    assert (begun[1] == 0).all() and not begun[2].any() and not begun[3].any()
    assert data_equivalence(begun[0], final[0])
    assert data_equivalence(env.step(action)[:4], same.step(action)[:4])


@every_id
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("build", [make, make_vec, lambda name: make_vec(name, output="torch")],
                         ids=["single", "numpy", "torch"])
def test_a_copy_steps_as_the_original(name, way, build):
    """Before the first reset, after it, and in mid-episode: observations, rewards, next pictures are the same."""
    env = build(name)
    action = sample(env)
    begun = COPIES[way](env)
    for each in (env, begun):
        each.reset(seed=3)
    assert equal(begun.step(action)[:4], env.step(action)[:4])
    middle = COPIES[way](env)
    for _ in range(2):
        assert equal(middle.step(action)[:4], env.step(action)[:4])
        if build is make:
            assert equal(middle.reset(), env.reset())


@every_id
def test_a_copy_leaves_gradients_behind(name):
    """An environment in the middle of an episode with gradients can be copied; the original's gradients stay."""
    env = shared(name, output="torch")
    env.reset(seed=0)
    if env.actions.num_choices is not None:  # choices are whole numbers: they have no gradient, and make none
        assert not env.step(env.actions.noop(3, 16, 16))[1].requires_grad
        return
    action = {scope: value.clone().requires_grad_() for scope, value in env.actions.noop(3, 16, 16).items()}
    env.step(action)
    copies = [way(env) for way in COPIES.values()]
    reward = env.step(action)[1]
    reward.sum().backward()
    assert all(value.grad.isfinite().all() for value in action.values())
    assert all(torch.equal(each.step(action)[1], reward) for each in copies)


@every_id
def test_no_step_of_any_environment_reads_a_tensor(name):
    """On torch's meta device, whose tensors have no values, resets and steps run through two episodes: where they asked
    a tensor for a number, or mixed devices, they would fail there, and make a GPU wait. An environment whose actions
    cannot do without says so in its docstring, and fails."""
    env = make_vec(name, output="torch", device="meta", render_mode=None)
    env.reset(seed=0)
    if re.search("each step copies the (masks|choices) to the host", type(env).__doc__):
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
            env.step(env.actions.noop(3, 16, 16))
        return
    for _ in range(4):
        _, reward, *_, info = env.step(env.actions.noop(3, 16, 16))
        assert reward.device.type == info["reward_map"].device.type == "meta"


@pytest.mark.slow
@every_id
def test_workers_hold_single_environments(name):
    """Gymnasium's AsyncVectorEnv: an environment in each process, the same results as in one. The process has computed
    with several threads before, as a training does: the forked ones do not wait for these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1000, 1000).exp()
    env, own = (gymnasium.make_vec(name, 2, mode, **SMALL) for mode in ("async", "sync"))
    try:
        action = sample(env)
        assert data_equivalence(env.reset(seed=1), own.reset(seed=1), exact=True)
        assert data_equivalence(env.step(action)[:4], own.step(action)[:4], exact=True)
    finally:
        env.close(terminate=True)
        torch.set_num_threads(threads)


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple):
        return all(equal(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and any(isinstance(part, torch.Tensor) for part in one.values()):
        return one.keys() == other.keys() and all(equal(one[part], other[part]) for part in one)
    return data_equivalence(one, other, exact=True)


@every_id
def test_rendering_gives_a_frame_for_each_image(name):
    """A tuple of N frames, in uint8; nothing without a render mode."""
    env = shared(name)
    env.reset(seed=0)
    env.step(sample(env))
    frames = env.render()
    assert isinstance(frames, tuple) and len(frames) == 3
    assert {(frame.dtype, frame.shape) for frame in frames} == {(np.dtype(np.uint8), (16, 3 * 16 + 4, 3))}
    plain = make_vec(name, render_mode=None)
    plain.reset(seed=0)
    assert plain.render() is None


def with_value(action, value):
    """The action with one number of its last scope replaced, and that scope."""
    changed = copy.deepcopy(action)
    entry = [*changed.values()][-1] if isinstance(changed, dict) else changed
    entry.reshape(-1)[1] = value
    return changed


@every_id
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_what_is_not_an_action_is_refused(name, output):
    """NaN, or a choice that does not exist, is named with how many there are, before anything is edited."""
    env = shared(name, output=output)
    before, _ = env.reset(seed=0)
    single = make(name)
    single.reset(seed=0)
    choices = env.unwrapped.actions.num_choices
    for wrong, told in ([(np.nan, "1 of .* numbers of the (local|global) action are NaN")] if choices is None else [
            (choices, f"name a choice outside 0 to {choices - 1}; the first: {choices}"), (-1, "the first: -1")]):
        with pytest.raises(UsageError, match=told):
            env.step(with_value(sample(env), wrong))
        if single.action_space.shape not in ((1, 1, 1), ()):
            with pytest.raises(UsageError, match=told):
                single.step(with_value(sample(single), wrong))
    if choices is not None:
        with pytest.raises(UsageError, match="by index; got float64: pass integers"):
            env.step(sample(env).astype(np.float64))
    after = env.step(env.unwrapped.actions.noop(3, 16, 16))[0]
    assert np.allclose(before["image"], after["image"], atol=1e-5) or name == "rlenhance/SelfEnhance-v0"


@every_id
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_an_action_that_is_not_finite_changes_nothing(name, value, kind):
    """It is refused by its scope before the step, and the episode goes on as without it."""
    env = shared(name, output="torch")
    if env.unwrapped.actions.num_choices is not None:
        return  # an index is always finite
    env.reset(seed=0)
    wrong = with_value(sample(env), value)
    if kind == "tensors":
        wrong = {k: torch.as_tensor(v) for k, v in wrong.items()} if isinstance(wrong, dict) else torch.as_tensor(wrong)
    state = env.unwrapped._state
    with pytest.raises(UsageError, match=r"1 of \d+ numbers of the (local|global) action are (NaN|infinite): check"):
        env.step(wrong)
    assert env.unwrapped._state is state
    env.step(sample(env))


@every_id
def test_nan_in_tensors_is_told_at_the_end_of_the_episode(name, monkeypatch):
    """On a device the count waits there: no step reads it, the last one says it, and a reset begins without it."""
    monkeypatch.setattr("rlenhance.envs.action_input._IN_MEMORY", ())
    env = shared(name, output="torch")
    if env.unwrapped.actions.num_choices is not None:
        return  # an index cannot be NaN
    env.reset(seed=0)
    action = {scope: torch.as_tensor(value) for scope, value in sample(env).items()} if isinstance(
        env.action_space, spaces.Dict) else torch.as_tensor(sample(env))
    wrong = copy.deepcopy(action)
    entry = [*wrong.values()][-1] if isinstance(wrong, dict) else wrong
    entry[0] = torch.nan
    env.step(wrong)
    with pytest.raises(UsageError, match=rf"this episode had NaN or infinity \(\w+: {entry[0].numel()}\): check"):
        env.step(action)
    env.reset(seed=0)
    env.step(wrong)
    env.reset(seed=0)
    for _ in range(2):
        env.step(action)


@every_id
def test_a_seed_repeats_pictures_actions_and_rewards(name):
    """reset(seed) and seeded actions repeat an episode and the next one, also in an environment made anew; another seed
    draws other pictures."""
    runs = []
    for env, seed in ((shared(name), 7), (make_vec(name), 7), (shared(name), 8)):
        run = [env.reset(seed=seed)]
        env.action_space.seed(seed)
        run += [env.step(env.action_space.sample())[:4] for _ in range(4)]
        runs.append(run)
    assert data_equivalence(runs[0], runs[1], exact=True)
    assert not np.array_equal(runs[0][0][0]["image"], runs[2][0][0]["image"])


@every_id
def test_an_environment_is_made_again_from_its_spec(name):
    """Single and vector, through the spec and through its JSON, with the arguments it was made with."""
    for build, again in ((make, gymnasium.make), (make_vec, gymnasium.make_vec)):
        env = build(name, horizon=3)
        stored = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
        for spec in (env.spec, stored):
            other = again(spec)
            assert other.spec == env.spec and other.observation_space == env.observation_space
            assert equal(other.reset(seed=5), env.reset(seed=5))
    env = make_vec(name, autoreset_mode="SameStep")
    assert gymnasium.make_vec(env.spec).autoreset_mode is AutoresetMode.SAME_STEP


def test_every_id_stands_in_the_lists():
    """The ids of the registry are those of the package."""
    found = [name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("rlenhance.envs:")]
    assert sorted(found) == sorted([*IDS, "rlenhance/Bracket-v0"])

"""The environments: contract, laws of the reward, no copies to the host."""

import importlib
import math
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from rlenhance.core.errors import UsageError
from rlenhance.envs import ENV_IDS, CompletionEnv, CurveOracleEnv, DenoiseEnv, ImageEnv, LowLightEnv, PixelEnv
from rlenhance.learning.actions import ACTION_SETS, apply_action
from rlenhance.learning.data import Batch
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.rewards import TERMS, Reward, RewardWeights
from rlenhance.ops.plane_statistics import auto_exposure

# the others have tests of their own: test_denoise, test_completion, test_rse
CURVE_IDS = [name for name in ENV_IDS if name.split("/")[1] not in ("Denoise-v0", "Completion-v0", "SelfEnhance-v0",
                                                                       "Toolchain-v0")]
VARIANTS = [
    {},
    {"curve": {"kind": "categorical", "agent_stride": 1, "global_agent": False, "channels": "coupled"}, "size": 16},
    {"curve": {"agent_stride": 0}, "preferences": {"exposure_level": (0.3, 0.475, 0.65)}},
]
AUTOMATIC = {"preferences": {"color": (-1, 0, 1), "exposure_level": (0.2, 0.475, 0.7)}, "auto": ["exposure_level"]}
OTHERS = [(f"rlenhance/{name}-v0", variant) for name, variants in (
    ("Denoise", ({}, {"color": True, "noise": "jpeg"}, {"noise": "blind", "size": 16},
                 {"noise": "salt_pepper:2-10", "eight_bit": True, "horizon": 1})),
    ("Completion", ({"size": 32}, {"actions": "touch_up", "size": 24, "holes": "brush", "horizon": 1})),
    ("SelfEnhance", ({}, {"size": 40, "horizon": 2}))) for variant in variants] + [
        ("rlenhance/Toolchain-v0", {"size": 16, "horizon": 2})]
TONE = [{"actions": {"name": "tone"}}, {"actions": {"name": "tone", "agent_stride": 0}, **AUTOMATIC}]


def pixel_env(**arguments):
    """A small environment without a source."""
    arguments = {"horizon": 3, "info_terms": "all", **arguments}
    return PixelEnv(ACTION_SETS.create("curve", agent_stride=8), Reward(RewardWeights()), **arguments)


def random_action(env, generator):
    shapes = {level: (env.num_envs, env.actions.action_dim, *env.actions.agent_grid(level, *env.size))
              for level in env.actions.scopes}
    return {level: torch.rand(shape, generator=generator) * 2 - 1 for level, shape in shapes.items()}


@pytest.mark.parametrize("name, arguments", [(name, variant) for name in CURVE_IDS for variant in VARIANTS] + [
    ("rlenhance/LowLight-v0", variant) for variant in TONE] + OTHERS, ids=str)
def test_gymnasium_finds_nothing_to_complain_of(name, arguments):
    """Every registered id passes Gymnasium's checker without a warning, in each of its forms."""
    env = gymnasium.make(name, render_mode="rgb_array", **arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=False)
    assert [str(warning.message) for warning in caught] == []


def test_any_action_set_can_be_named(image):
    """`curve` is short for the action set of that name; tone's four handles move the picture."""
    kinds = [LowLightEnv(2, size=16, **arguments) for arguments in (
        {"curve": {"agent_stride": 4}}, {"actions": {"name": "curve", "agent_stride": 4}}, TONE[0])]
    assert kinds[0].actions == kinds[1].actions and kinds[0].action_space == kinds[1].action_space
    env = kinds[2]
    before, _ = env.reset(options={"batch": Batch(image)})
    assert env.single_action_space["global"].shape == (4, 1, 1)
    assert torch.allclose(env.step(env.actions.noop(2, 32, 40))[0]["image"], before["image"], atol=1e-6)
    action = {level: torch.ones(space.shape) for level, space in env.action_space.spaces.items()}
    assert not torch.allclose(env.step(action)[0]["image"], before["image"], atol=0.01)


def test_an_automatic_preference_comes_from_the_picture():
    """Where nobody asks, level and observation are the picture's own; who asks gets the number."""
    env = LowLightEnv(2, size=16, **AUTOMATIC)
    observation, _ = env.reset(seed=1)
    assert torch.allclose(env.user_targets["exposure_level"], auto_exposure(observation["image"]), atol=1e-6)
    assert (observation["preference"][:, 2] == 1).all()
    asked = env.preferences.encode({"exposure_level": 0.6}, 2)
    observation, _ = env.reset(options={"preference": asked})
    assert torch.equal(observation["preference"], asked) and (asked[:, 2] == 0).all()
    assert torch.allclose(env.user_targets["exposure_level"], torch.full((2, 1, 1, 1), 0.6))


@pytest.mark.parametrize("arguments, text", [
    ({"curve": {}, "actions": {"name": "tone"}}, "give curve or actions, not both"),
    ({"actions": {}}, r"must name an action set \((\w+, )+touch_up"),
    ({"actions": {"name": "ton"}}, "did you mean tone"),
    ({"actions": {"name": "tone", "kind": "categorical"}}, "it takes agent_stride"),
    ({"auto": ["exposure_level"]}, "exposure_level cannot be automatic"),
    ({"preferences": {"color": (-1, 0, 1)}, "auto": ["color"]}, "color cannot be automatic"),
])
def test_bad_arguments_are_refused(arguments, text):
    """With what would do."""
    with pytest.raises(UsageError, match=text):
        LowLightEnv(1, size=16, **arguments)


@pytest.mark.parametrize("name", ENV_IDS)
def test_docstring_answers_every_heading(name):
    """The contract stands in the docstring, in Gymnasium's order."""
    module, _, kind = gymnasium.spec(name).vector_entry_point.partition(":")
    text = getattr(importlib.import_module(module), kind).__doc__
    headings = ["Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Arguments",
                "Vectorized environment", "Version History"]
    places = [text.index(f"## {heading}") for heading in headings]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ENV_IDS)
def test_vector_entry_point_holds_many(name):
    """make_vec gives the batched environment, with its autoreset mode declared: in torch the environment itself."""
    env = gymnasium.make_vec(name, num_envs=3, size=16)
    assert isinstance(env.unwrapped, PixelEnv) and env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    plain = gymnasium.make_vec(name, num_envs=3, size=16, output="torch")
    assert isinstance(plain, PixelEnv) and plain.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for observation in (env.reset(seed=1)[0], plain.reset(seed=1)[0]):
        assert observation["image"].shape == (3, plain.num_channels, 16, 16)


def test_the_next_reset_draws_others_and_leaves_the_global_stream():
    """reset(seed), reset() are two pictures; torch's own stream is untouched."""
    env, before = LowLightEnv(2, size=16), torch.get_rng_state()
    assert not torch.equal(env.reset(seed=3)[0]["image"], env.reset()[0]["image"])
    assert torch.equal(before, torch.get_rng_state())


def test_reward_is_the_sum_of_its_breakdown_and_the_mean_of_its_map(image, generator):
    """sum(weighted) == reward == mean(reward_map) within 1e-6, terms of weight 0 are there too."""
    env = pixel_env()
    batch = Batch(image, target=(image * 2).clamp(0, 1))
    env.reset(options={"batch": batch})
    for _ in range(3):
        _, reward, _, _, info = env.step(random_action(env, generator))
        weighted = sum(part["weighted"] for part in info["reward_terms"].values())
        assert torch.allclose(weighted, reward, atol=1e-6)
        assert torch.allclose(info["reward_map"].mean(dim=(1, 2, 3)), reward, atol=1e-6)
        assert info["reward_map"].shape == (2, 1, 32, 40)
    told = {name for name in env.reward.weights if TERMS[name].default_factor}  # of knobs that are not taken, nothing
    assert set(info["reward_terms"]) == told and info["reward_terms"]["ssim"]["weight"] == 0


def test_state_terms_telescope_over_the_episode(image, generator):
    """The caches of the costs change nothing: an episode's sum equals one step from its start to its end."""
    env = pixel_env(horizon=3)
    env.reset(options={"batch": Batch(image)})
    total = {}
    for _ in range(3):
        observation, _, _, _, info = env.step(random_action(env, generator))
        for name, part in info["reward_terms"].items():
            total[name] = total.get(name, 0) + part["raw"]
        last = info.get("final_obs", observation)["image"]
    from rlenhance.learning.rewards import TERMS, Transition
    levels = {"exposure_level": torch.full((1, 1, 1, 1), env.reward.weights.exposure_level)}
    whole = env.reward.terms(Transition(image, last, image, torch.zeros(2, 1, 1, 1), levels))
    for name, value in whole.items():
        if TERMS[name].kind == "state":
            assert torch.allclose(total[name], value.mean(dim=(1, 2, 3)), atol=1e-5), name


def test_environment_and_advance_cannot_drift(image, generator):
    """The environment's transition is `apply_action`."""
    env = pixel_env(autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"batch": Batch(image)})
    action = random_action(env, generator)
    observation, *_ = env.step(action)
    assert torch.equal(observation["image"], apply_action(env.actions, image, action))


def test_episode_ends_by_termination_after_the_horizon(image, generator):
    """Never truncated; SAME_STEP hands over the last observation and begins again in that step."""
    env = pixel_env(horizon=2)
    first, _ = env.reset(options={"batch": Batch(image)})
    _, _, terminated, truncated, _ = env.step(random_action(env, generator))
    assert not terminated.any() and not truncated.any()
    observation, _, terminated, truncated, info = env.step(random_action(env, generator))
    assert terminated.all() and not truncated.any()
    assert info["final_obs"]["remaining"].max() == 0 and observation["remaining"].min() == 1
    assert torch.equal(observation["image"], first["image"])


def test_step_after_the_end_is_refused_without_autoreset(image, generator):
    """DISABLED waits for reset, and says so."""
    env = pixel_env(horizon=1, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(UsageError, match="call reset first"):
        env.step(random_action(env, generator))
    env.reset(options={"batch": Batch(image)})
    action = random_action(env, generator)
    env.step(action)
    with pytest.raises(UsageError, match="episode has ended"):
        env.step(action)


def test_no_step_copies_to_the_host(image, generator, monkeypatch):
    """Nothing in a step, the reset at its end included, asks a tensor for a Python number or an array; only the end of
    an episode asks once, how many numbers of its actions were NaN. (On the CPU, where nothing is copied, each step
    asks.)"""
    monkeypatch.setattr("rlenhance.envs.action_input._IN_MEMORY", ())
    monkeypatch.setattr("rlenhance.ops.plane_statistics._median", lambda level: level.median(dim=-1).values)  # as there
    env = pixel_env(preferences=Preferences({"exposure_level": (0.3, 0.475, 0.65)}))
    batch = Batch(image, target=image)
    env.reset(options={"batch": batch})
    action = random_action(env, generator)
    read = []

    def refuse(*_):
        raise AssertionError("copied to the host")

    def once(counts):
        read.append((env._state.step, counts.shape))
        return [0] * len(counts)

    for name in ("item", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    monkeypatch.setattr(torch.Tensor, "tolist", once)
    for _ in range(4):
        env.step(action)
    assert read == [(3, (2,))]  # after the third step, a number per scope


@pytest.mark.parametrize("curve", [{}, {"kind": "categorical"}, {"channels": "coupled", "agent_stride": 1}])
def test_reset_and_step_run_where_nothing_can_be_read(image, curve):
    """On torch's meta device, which has shapes and no values, any copy to the host or mix of devices would fail; an
    action that comes from elsewhere is taken there."""
    env = PixelEnv(ACTION_SETS.create("curve", **curve), Reward(RewardWeights()), horizon=2, device="meta")
    batch = Batch(image, target=image)
    env.reset(options={"batch": batch})
    for _ in range(2):
        _, reward, _, _, info = env.step(env.actions.noop(2, 32, 40))
        assert reward.device.type == "meta" and info["reward_map"].shape == (2, 1, 32, 40)


def test_reward_maps_are_left_out_where_nobody_reads_them(image):
    """`info_maps=False` leaves the full-size map out; everything else is the same."""
    env, plain = (PixelEnv(ACTION_SETS.create("curve"), Reward(RewardWeights()), horizon=1, info_maps=maps,
                           autoreset_mode=AutoresetMode.DISABLED) for maps in (True, False))
    for one in (env, plain):
        one.reset(options={"batch": Batch(image, target=image)})
    (_, reward, *_, info), (_, same, *_, less) = (one.step(one.actions.noop(2, 32, 40)) for one in (env, plain))
    assert torch.equal(reward, same) and set(info) - set(less) == {"reward_map"}
    assert all(torch.equal(info["term_maps"][name], value) for name, value in less["term_maps"].items())


def test_spaces_follow_the_pictures(image):
    """After a batch of another size the spaces are its own, and after the next draw again the source's."""
    env = LowLightEnv(3, size=16, horizon=1, curve={"agent_stride": 0})
    env.reset(options={"batch": Batch(image)})
    assert env.observation_space["image"].shape == (2, 3, 32, 40)
    observation, *_ = env.step(torch.zeros(2, 1, 1, 1))
    assert env.observation_space["image"].shape == observation["image"].shape == (3, 3, 16, 16)


@pytest.mark.parametrize("options, text", [
    ({"batch": torch.zeros(1, 3, 8, 8)}, "rlenhance.learning.data.Batch"),
    ({"batch": Batch(torch.full((1, 3, 8, 8), 255.0))}, "to_tensor"),
    ({"global": 1}, "the options batch and preference"),
])
def test_bad_options_are_refused(options, text):
    """With what would do."""
    with pytest.raises(UsageError, match=text):
        pixel_env().reset(options=options)


def test_actions_of_another_grid_are_refused(image):
    """The shape that is due stands in the text; values beyond [-1, 1] are held there."""
    env = pixel_env()
    env.reset(options={"batch": Batch(image)})
    with pytest.raises(UsageError, match=r"\(N, 1, 4, 5\)"):
        env.step({"global": torch.zeros(2, 1, 1, 1), "local": torch.zeros(2, 1, 3, 3)})
    observation, *_ = env.step({"global": torch.full((2, 1, 1, 1), 9.0), "local": torch.zeros(2, 1, 4, 5)})
    assert observation["image"].max() <= 1


def test_same_step_asks_for_the_same_again(image):
    """Without a source the next episode begins with the same pictures and the same preference."""
    preferences = Preferences({"exposure_level": (0.3, 0.475, 0.65)})
    env = pixel_env(preferences=preferences, horizon=1)
    chosen = preferences.encode({"exposure_level": 0.65}, 2)
    env.reset(options={"batch": Batch(image), "preference": chosen})
    observation, *_ = env.step({"global": torch.zeros(2, 1, 1, 1), "local": torch.zeros(2, 1, 4, 5)})
    assert torch.equal(observation["preference"], chosen)


def test_gradients_pass_from_the_reward_to_the_action(image, generator):
    """`direct` can differentiate through the episode."""
    env = pixel_env()
    env.reset(options={"batch": Batch(image)})
    action = {level: value.requires_grad_() for level, value in random_action(env, generator).items()}
    _, reward, *_ = env.step(action)
    reward.sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in action.values())


def test_mask_keeps_what_lies_outside(image, generator):
    """Pixels outside the mask stay as they were, bit for bit, and the mask is observed."""
    mask = torch.zeros(2, 1, 32, 40)
    mask[..., 8:24, 8:24] = 1
    env = pixel_env()
    observation, _ = env.reset(options={"batch": Batch(image, mask=mask)})
    assert torch.equal(observation["mask"], mask)
    observation, *_ = env.step(random_action(env, generator))
    assert torch.equal(observation["image"][mask.expand(-1, 3, -1, -1) == 0], image[mask.expand(-1, 3, -1, -1) == 0])


def test_preference_moves_the_asked_level(image):
    """The exposure that is rewarded is the one that the preference names."""
    preferences = Preferences({"exposure_level": (0.3, 0.475, 0.65)})
    env = pixel_env(preferences=preferences)
    rewards = []
    for level in (0.3, 0.65):
        env.reset(options={"batch": Batch(image), "preference": preferences.encode({"exposure_level": level}, 2)})
        action = {"global": torch.ones(2, 1, 1, 1), "local": torch.zeros(2, 1, 4, 5)}
        _, _, _, _, info = env.step(action)
        rewards.append(info["reward_terms"]["exposure"]["raw"])
    assert (rewards[1] > rewards[0]).all()


def test_reference_terms_without_reference_are_refused(image):
    """At the reset, with the names of the terms that would work."""
    env = PixelEnv(ACTION_SETS.create("curve"), Reward(RewardWeights({"ssim": 1})))
    with pytest.raises(UsageError, match=r"ssim .*reference.*exposure"):
        env.reset(options={"batch": Batch(image)})
    with pytest.raises(UsageError, match="nothing to begin with"):
        env.reset()


def test_image_env_is_the_batched_one_holding_one_picture(image, generator):
    """Same rewards, same pictures, as NumPy arrays of their own."""
    batch = Batch(image[:1])
    both = [pixel_env(autoreset_mode=AutoresetMode.DISABLED) for _ in range(2)]
    scalar = ImageEnv(both[0])
    observation, _ = scalar.reset(options={"batch": batch})
    both[1].reset(options={"batch": batch})
    action = random_action(both[1], generator)
    kept = observation["image"].copy()
    after, reward, terminated, truncated, info = scalar.step({k: v[0].numpy() for k, v in action.items()})
    with torch.no_grad():  # as NumPy, which takes no gradient: agents are enlarged by another, equal formula
        expected, expected_reward, *_ = both[1].step(action)
    assert np.array_equal(observation["image"], kept)
    assert np.array_equal(after["image"], expected["image"][0].numpy()) and reward == float(expected_reward[0])
    assert info["reward_map"].shape == (1, 32, 40) and not terminated and not truncated


def test_render_shows_input_picture_and_actions(image, generator):
    """Three panels of the picture's size, the first the input."""
    env = pixel_env(render_mode="rgb_array")
    env.reset(options={"batch": Batch(image)})
    env.step(random_action(env, generator))
    frames = env.render()
    assert np.stack(frames).shape == (2, 32, 3 * 40 + 4, 3) and frames[0].dtype == np.uint8
    assert np.array_equal(frames[0][:, :40], np.rint(image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))


def test_a_picture_at_its_target_stays(generator):
    """With a target, pictures that have reached it no longer change and nothing is paid; the others go on."""
    target = torch.rand(2, 3, 8, 8, generator=generator)
    image = torch.stack([target[0] * 0.99, target[1] * 0.5])
    env = PixelEnv(ACTION_SETS.create("curve", agent_stride=0),
                   Reward(RewardWeights.only(squared_error=1.0)), horizon=2)
    env.early_stop_psnr = 30.0
    env.reset(options={"batch": Batch(image, target)})
    observation, reward, _, _, _ = env.step(torch.full((2, 1, 1, 1), 0.3))
    assert torch.equal(observation["image"][0], image[0]) and reward[0] == 0
    assert not torch.equal(observation["image"][1], image[1]) and reward[1] > 0


@pytest.mark.parametrize(("argument", "value"), [("size", 10**30), ("num_envs", math.nan), ("horizon", 10**9),
                                                 ("num_envs", True), ("size", 1.5), ("horizon", math.inf)])
@pytest.mark.parametrize("env", [LowLightEnv, CurveOracleEnv, CompletionEnv, DenoiseEnv])
def test_numbers_that_no_environment_can_have_are_named(env, argument, value):
    """They are asked before any data is opened."""
    with pytest.raises(UsageError, match=f"{argument} must be a whole number"):
        env(**{argument: value})


@pytest.mark.parametrize("device", ["", "/", "cuda:-1", "xpu"])
def test_a_device_that_is_not_there_is_named(device):
    """As it is for photographs."""
    with pytest.raises(UsageError, match="not available here"):
        LowLightEnv(device=device)


@pytest.mark.parametrize("ranges", [{"color": 0.5}, {"color": "abc"}, {"color": (0, 1)}])
def test_a_preference_without_its_three_numbers_is_named(ranges):
    """It was unpacked before it was looked at."""
    with pytest.raises(UsageError, match="preferences: color needs"):
        LowLightEnv(preferences=ranges)

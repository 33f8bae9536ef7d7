"""Policies, unrolled policies and the supervised baseline: what a model does before and after it has learned."""


import pytest
import torch
import torch.nn.functional as F

from rlenhance.agents.base import make_env
from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.laws import cases
from rlenhance.experiments.laws.backbones import CONTEXT
from rlenhance.learning.data import Batch
from rlenhance.learning.models import MODELS, GreedyEpisode, PixelPolicy, build_model, make_observation
from rlenhance.learning.nn.backbones import BACKBONES, FiLM
from rlenhance.learning.nn.preferences import Preferences
from rlenhance.learning.ops.image import resize
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.ops.plane_statistics import DEFAULT_EXPOSURE
from tests.support.networks import CHOICE, make_model, make_policy, make_tone, stir


def _observation(policy, image, mask=None):
    return make_observation(image, 1.0, policy.preferences.encode(None, image.shape[0]), mask)


@pytest.mark.parametrize("law, name", cases("model", MODELS), ids=str)
def test_laws(law, name):
    """Every registered model obeys every law."""
    law.check(name)


def test_restorer_begins_as_the_identity(generator):
    """Before it has learned anything the restorer changes nothing, at odd sizes too."""
    for size in ((32, 40), (9, 13)):
        image = torch.rand(2, 3, *size, generator=generator)
        assert torch.equal(make_model("restorer")(image), image)


def test_restorer_gradient_reaches_every_parameter(image):
    """No weight of the restorer is idle."""
    network = stir(make_model("restorer")).train()
    (network(image) ** 2).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


_AGENTS = [{"agent_stride": 4}, {"agent_stride": 0}, {"agent_stride": 1, "global_agent": False}]


@pytest.mark.parametrize("deviation", ["scheduled", "predicted"])
@pytest.mark.parametrize("channels", ["luminance", "chroma", "coupled"])
@pytest.mark.parametrize("agents", _AGENTS, ids=["both levels", "picture", "pixels"])
@pytest.mark.parametrize("start", [-0.1, 0.45])
def test_first_policy_is_one_curve_for_all(agents, channels, deviation, start, image):
    """Before it has learned anything, every agent of every picture bends its curve by `start`."""
    policy = make_policy({**agents, "channels": channels}, initial_strength=start, std_mode=deviation)
    distribution, _, _ = policy(_observation(policy, image))
    strength = policy.actions.magnitude(distribution.mode())
    assert torch.allclose(strength, torch.full_like(strength, start), atol=1e-5)


def test_start_outside_the_curve_is_refused():
    """A first curve that the agents could not choose is refused."""
    with pytest.raises(UsageError, match="initial_strength"):
        make_policy(initial_strength=1.0)


_KINDS = [{"kind": kind, "channels": channels, **agents} for kind, channels, agents in (
    ("continuous", "luminance", _AGENTS[0]), ("continuous", "chroma", _AGENTS[2]),
    ("continuous", "coupled", _AGENTS[1]), ("categorical", "luminance", _AGENTS[0]),
    ("categorical", "coupled", _AGENTS[2]),
)]


@pytest.mark.parametrize("curve", _KINDS, ids=lambda curve: "-".join(map(str, curve.values())))
@pytest.mark.parametrize("backbone", ["compact", "fcn"])
def test_gradient_reaches_every_parameter(curve, backbone, image, generator):
    """The losses of action and value reach every weight of a policy, whatever its agents choose."""
    policy = stir(make_policy(curve, preferences=CHOICE, backbone={"name": backbone, "width": 8}))
    distribution, values, _ = policy(_observation(policy, image))
    scores = distribution.log_prob(distribution.sample(generator))
    loss = sum((part * torch.randn(part.shape, generator=generator)).sum()
               for part in (*scores.values(), *values.values()))
    loss.backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("curve", _KINDS, ids=lambda curve: "-".join(map(str, curve.values())))
def test_actions_and_values_have_the_size_of_their_agents(curve, image):
    """Each level has one value and one action per agent, and the action is one that can be applied."""
    policy = stir(make_policy(curve))
    distribution, values, _ = policy(_observation(policy, image))
    for level in policy.actions.scopes:
        grid = policy.actions.agent_grid(level, 32, 40)
        assert values[level].shape == (2, 1, *grid)
        assert distribution.mode()[level].shape == (2, policy.actions.action_dim, *grid)
        assert distribution.entropy()[level].shape == (2, 1, *grid)
    assert policy.actions.apply(image, distribution.mode()).shape == image.shape


@pytest.mark.parametrize("deviation", ["scheduled", "predicted"])
def test_looking_changes_nothing(deviation, image):
    """The statistics that a look leaves are a shortcut: the policy says the same with and without."""
    policy = stir(make_policy(preferences=CHOICE, std_mode=deviation))
    plain = _observation(policy, image)
    seen = policy.precompute(plain)
    (one, values, _), (other, values_seen, _) = policy(plain), policy(seen)
    for level in policy.actions.scopes:
        assert torch.equal(one.mode()[level], other.mode()[level])
        assert torch.equal(values[level], values_seen[level])
    assert "statistics" not in plain


def test_scheduled_deviation_is_the_learners(image):
    """Where the learner sets the deviation, it is what it set, at the level for which it set it."""
    policy = make_policy()
    policy.set_log_std("local", -2.5)
    distribution, _, _ = policy(_observation(policy, image))
    assert (distribution.scopes["local"].log_std == -2.5).all()
    assert (distribution.scopes["global"].log_std == -1).all()
    assert policy.state_dict()["log_std_local"] == -2.5


def test_pictures_of_a_batch_are_enhanced_apart(image):
    """A picture is enhanced the same alone and in company."""
    model = GreedyEpisode(stir(make_policy()))
    assert torch.allclose(model(image)[1:], model(image[1:]), atol=1e-5)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 0), torch.zeros(2, 2)])
def test_preferences_of_another_length_are_refused(wrong, image):
    """A policy is told as many preferences as it was trained for; the text names them."""
    policy = make_policy(preferences=CHOICE)
    with pytest.raises(UsageError, match=r"1 preferences \(exposure_level\)"):
        policy(make_observation(image, 1.0, wrong))


def test_masked_policy_asks_for_its_mask(image):
    """A policy that was trained with masks says so when there is none."""
    policy = stir(make_policy(uses_mask=True))
    mask = torch.ones(2, 1, 32, 40)
    assert torch.isfinite(GreedyEpisode(policy)(image, mask)).all()
    with pytest.raises(UsageError, match="mask"):
        GreedyEpisode(policy)(image)


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"decision_size": 4}, {"std_mode": "random"},
                                   {"preferences": {"exposure_level": (0.5, 0.4, 0.6)}}])
def test_impossible_policies_are_refused(wrong):
    """A setting outside its range is refused by name."""
    with pytest.raises(UsageError, match=next(iter(wrong)).removesuffix("s")):
        make_policy(**wrong)


@pytest.mark.parametrize("curve", _KINDS, ids=lambda curve: "-".join(map(str, curve.values())))
@pytest.mark.parametrize("masked", [False, True])
def test_the_full_result_is_the_small_episode(curve, masked, generator):
    """On a picture that has the state's size already, the result is the last state of the episode, bit by bit."""
    model = GreedyEpisode(stir(make_policy(curve)))
    image = torch.rand(2, 3, 16, 16, generator=generator)
    mask = (torch.rand(2, 1, 16, 16, generator=generator) < 0.5).float() if masked else None
    episode = model.run(image, mask)
    assert torch.equal(episode.image, episode.states[-1])
    assert torch.equal(model(image, mask), episode.image)
    assert len(episode.states) == len(episode.actions) + 1 == model.steps + 1


@pytest.mark.parametrize("curve", _KINDS, ids=lambda curve: "-".join(map(str, curve.values())))
def test_the_full_result_looks_like_the_small_episode(curve, generator):
    """What was decided on the small picture does to a smooth full one what it did to the small one."""
    model = GreedyEpisode(stir(make_policy(curve), 0.03))
    image = 0.05 + 0.5 * F.interpolate(torch.rand(2, 3, 3, 3, generator=generator), (64, 64), mode="bicubic",
                                       align_corners=True).clamp(0, 1)
    episode = model.run(image)
    gap = (resize(episode.image, 16) - episode.states[-1]).abs()
    assert gap.mean() < 0.02
    assert (episode.image - image).abs().mean() > gap.mean()


@pytest.mark.parametrize("curve", _KINDS, ids=lambda curve: "-".join(map(str, curve.values())))
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("state_size", [16, None])
def test_deciding_and_rendering_are_an_episode(curve, masked, state_size, image, generator):
    """What is decided first and rendered later is what the model gives at once, bit by bit."""
    model = GreedyEpisode(stir(make_policy(curve, decision_size=state_size, preferences=CHOICE)))
    mask = (torch.rand(2, 1, 32, 40, generator=generator) < 0.5).float() if masked else None
    choice = {"exposure_level": 0.7}
    actions = model.decide(image, mask, choice)
    assert len(actions) == model.steps
    assert torch.equal(model.render(image, actions, mask), model(image, mask, choice))


def test_a_decision_serves_pictures_of_any_size(image, generator):
    """Decided on a reduced picture, the same actions are rendered on others; no actions change nothing."""
    model = GreedyEpisode(stir(make_policy()))
    actions = model.decide(image)
    for size in ((9, 13), (64, 20)):
        other = torch.rand(2, 3, *size, generator=generator)
        result = model.render(other, actions)
        assert result.shape == other.shape and result.min() >= 0 and result.max() <= 1
        assert not torch.equal(result, other)
        assert torch.equal(model.render(other, []), other)
    with pytest.raises(UsageError, match="to_tensor"):
        model.render(other * 255, actions)


@pytest.mark.parametrize("state_size", [16, None])
def test_fewer_steps_are_a_prefix(state_size, image):
    """Stopped early, an episode is the beginning of the whole one; stopped at once, it is the picture itself."""
    policy = stir(make_policy(decision_size=state_size, horizon=4))
    whole = GreedyEpisode(policy).run(image)
    assert torch.equal(GreedyEpisode(policy, 0)(image), image)
    for steps in range(5):
        part = GreedyEpisode(policy, steps).run(image)
        assert len(part.actions) == steps
        assert all(torch.equal(one, other) for one, other in zip(part.states, whole.states, strict=False))
        if state_size is None:
            assert torch.equal(part.image, whole.states[steps])


@pytest.mark.parametrize("steps", [-1, 5])
def test_steps_beyond_the_episode_are_refused(steps):
    """A policy plays as many steps as it was trained for, or fewer."""
    with pytest.raises(UsageError, match=f"steps must lie between 0 and 4; got {steps}"):
        GreedyEpisode(make_policy(horizon=4), steps)


def test_a_preference_is_heard(image):
    """What the user chooses changes the result, and the default is what is meant when nothing is chosen."""
    model = GreedyEpisode(stir(make_policy(preferences=CHOICE)))
    results = [model(image, preference=choice) for choice in
               (None, {}, {"exposure_level": 0.475}, {"exposure_level": 0.7})]
    assert torch.equal(results[0], results[1])
    assert torch.allclose(results[0], results[2], atol=1e-6)
    assert not torch.allclose(results[0], results[3])


@pytest.mark.parametrize("value", [0.2, 0.8, float("nan"), float("inf")])
def test_preferences_out_of_range_are_refused(value, image):
    """A choice outside the range a policy was trained for is refused with the range."""
    model = GreedyEpisode(make_policy(preferences=CHOICE))
    with pytest.raises(UsageError, match=r"between 0\.25 and 0\.75"):
        model(image, preference={"exposure_level": value})
    with pytest.raises(UnknownName, match="exposure_level"):
        model(image, preference={"exposure": 0.5})


def test_preferences_are_decoded_as_they_were_encoded():
    """Encoding lies in [-1, 1], its ends are the range's, and decoding gives the user's numbers back."""
    preferences = Preferences({"exposure_level": (0.2, 0.5, 0.6), "warmth": (-1.0, 0.0, 3.0)})
    lowest, highest = {"exposure_level": 0.2, "warmth": -1.0}, {"exposure_level": 0.6, "warmth": 3.0}
    for values, ends in ((lowest, -1.0), (highest, 1.0)):
        encoded = preferences.encode(values, 3)
        assert torch.allclose(encoded, torch.full((3, 2), ends))
        decoded = preferences.decode(encoded)
        assert all(torch.allclose(decoded[name], torch.full((3, 1, 1, 1), value)) for name, value in values.items())
    default = preferences.decode(preferences.encode(None, 1))
    assert {name: round(value.item(), 5) for name, value in default.items()} == {"exposure_level": 0.5, "warmth": 0.0}


def test_sampled_preferences_cover_the_range(generator):
    """In training a share of the pictures draws from the whole range, and the others are told the default."""
    preferences = Preferences({"exposure_level": (0.25, 0.475, 0.75)})
    drawn = preferences.sample(4000, generator, share=0.5)
    default = preferences.encode(None, 1).item()
    assert drawn.abs().max() <= 1 and drawn.min() < -0.95 and drawn.max() > 0.95
    assert (drawn == default).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert (preferences.sample(10, generator, share=0.0) == default).all()


def _automatic():
    return Preferences({"contrast": (-1.0, 0.0, 1.0), "exposure_level": (0.2, 0.475, 0.7)}, ("exposure_level",))


def test_an_automatic_preference_takes_its_value_from_the_picture(generator):
    """Where nobody names the level, it follows the picture; where somebody does, it stays what was asked for."""
    preferences = _automatic()
    dark, good = torch.full((1, 3, 16, 16), 0.1), torch.full((1, 3, 16, 16), 0.46)
    pictures = torch.cat([dark, good])
    left = preferences.decode(preferences.resolve_auto(preferences.encode(None, 2), pictures))
    assert left["exposure_level_auto"].flatten().tolist() == [1.0, 1.0]
    assert left["exposure_level"].flatten().tolist() == pytest.approx([DEFAULT_EXPOSURE, 0.46 / 0.93], abs=1e-5)
    assert torch.equal(preferences.encode({"exposure_level": None}, 2), preferences.encode(None, 2))
    asked = preferences.decode(preferences.resolve_auto(preferences.encode({"exposure_level": 0.3}, 2), pictures))
    assert asked["exposure_level_auto"].flatten().tolist() == [0.0, 0.0]
    assert asked["exposure_level"].flatten().tolist() == pytest.approx([0.3, 0.3])
    assert (left["contrast"] == 0).all()


def test_only_what_can_be_automatic_is(image):
    """A preference without a rule cannot be left to the picture, and a policy without one is told a number."""
    with pytest.raises(UsageError, match="contrast"):
        Preferences({"contrast": (-1.0, 0.0, 1.0)}, ("contrast",))
    with pytest.raises(UsageError, match="by itself"):
        Preferences({"exposure_level": (0.2, 0.475, 0.7)}).encode({"exposure_level": None}, 1)


def test_facts_of_a_picture_are_not_drawn(generator):
    """Training makes up wishes, but not how noisy a picture is: that it shows, or somebody says."""
    preferences = Preferences({"noise": (5, 30, 55), "warmth": (-1, 0, 1)}, ("noise",))
    drawn = preferences.decode(preferences.sample(500, generator, share=1.0))
    assert (drawn["noise_auto"] == 1).all() and (drawn["noise"] == 30).all() and drawn["warmth"].std() > 0.1
    clean = torch.full((2, 1, 64, 64), 0.5)
    noisy = clean + torch.tensor([10, 50]).view(2, 1, 1, 1) / 255 * torch.randn(clean.shape, generator=generator)
    encoded = preferences.encode({"warmth": 1}, 2)
    told = preferences.decode(preferences.set_measured(encoded, noisy, clean))
    assert torch.allclose(told["noise"].flatten(), torch.tensor([10.0, 50.0]), rtol=0.05)
    assert (told["noise_auto"] == 0).all() and (told["warmth"] == 1).all()
    assert torch.equal(preferences.set_measured(encoded, noisy, None), encoded)


def test_sampled_preferences_are_automatic_where_no_level_was_drawn(generator):
    """Half of the pictures ask for nothing, the others draw each preference by itself; the level is automatic exactly
    where it stays at its default."""
    preferences = _automatic()
    drawn = preferences.sample(2000, generator, share=0.5)
    assert drawn.shape == (2000, len(preferences)) == (2000, 3)
    default = preferences.encode(None, 1)[0, 1]
    assert torch.equal(drawn[:, 1] == default, drawn[:, 2] == 1)
    both = ((drawn[:, 0] != 0) & (drawn[:, 2] == 0)).float().mean().item()
    assert both == pytest.approx(0.5 * 0.25, abs=0.03)
    nothing = ((drawn[:, 0] == 0) & (drawn[:, 2] == 1)).float().mean().item()
    assert nothing == pytest.approx(0.5 + 0.5 * 0.25, abs=0.04)


def test_a_policy_follows_the_automatic_level(image):
    """Training and use settle the same level: the environment and the greedy episode see the same numbers."""
    policy = make_model("pixel_policy", actions={"name": "tone"}, decision_size=16,
                        preferences={"exposure_level": (0.2, DEFAULT_EXPOSURE, 0.7)}, auto=("exposure_level",))
    env = make_env(policy, Reward(RewardWeights()), "cpu")
    seen, _ = env.reset(options={"batch": Batch(image)})
    settled = policy.preferences.resolve_auto(policy.preferences.encode(None, len(image)), image)
    assert torch.equal(seen["preference"], settled) and (settled[:, 1] == 1).all()
    asked, _ = env.reset(options={"batch": Batch(image),
                                  "preference": policy.preferences.encode({"exposure_level": 0.3}, len(image))})
    assert not torch.allclose(policy.global_features(seen), policy.global_features(asked))


@pytest.mark.parametrize("smoothness", [0.0, 0.4, 1.0])
def test_smoothness_holds_the_local_agents_back(image, smoothness):
    """Asked for in full it leaves the picture to its own agent, and the less is asked for, the farther they part;
    the environment does to the same actions what the greedy episode does."""
    policy = stir(make_tone())
    asked = {"smoothness": smoothness}
    with torch.inference_mode():
        free, held, alone = (GreedyEpisode(policy, local=local).decide(image, preference=choice) for local, choice in
                             ((True, {"smoothness": 0.0}), (True, asked), (False, asked)))
    spread = [action["local"].abs().max() for action in held]
    assert all(part > 0 for part in spread) if smoothness < 1 else not any(spread)
    chosen = policy.act(_first(policy, image, asked))[0]["local"].atanh()
    assert torch.allclose(held[0]["local"].atanh(), (1 - smoothness) * chosen, atol=1e-5)
    assert smoothness or all(torch.equal(a["local"], b["local"]) for a, b in zip(free, held, strict=True))
    if smoothness == 1:
        assert all(torch.equal(a["global"], b["global"]) for a, b in zip(alone, held, strict=True))
    env = make_env(policy, Reward(RewardWeights()), "cpu")
    seen, _ = env.reset(options={"batch": Batch(resize(image, 16)), "preference": policy.preferences.encode(asked, 2)})
    memory = None
    with torch.no_grad():
        for _ in held:
            chosen, memory = policy.act(seen, memory)
            seen, *_ = env.step(chosen)
    expected = GreedyEpisode(policy).run(resize(image, 16), preference=asked).states[-1]
    assert torch.allclose(seen["image"], expected, atol=1e-5)


def _first(policy, image, asked):
    small = resize(image, 16)
    return make_observation(small, 1.0,
                            policy.preferences.resolve_auto(policy.preferences.encode(asked, len(small)), small))


def test_without_preferences_the_default_level_is_aimed_at(image):
    """A policy that offers no choice is told how far the picture is from the default exposure."""
    plain, choosing = make_policy(), make_policy(preferences={"exposure_level": (0.25, DEFAULT_EXPOSURE, 0.75)})
    one, other = (policy.global_features(_observation(policy, image)) for policy in (plain, choosing))
    assert torch.allclose(one, other[:, 1:], atol=1e-5)


def test_as_model_leaves_models_alone():
    """A policy becomes its greedy episode; what is a model already stays what it is."""
    restorer = make_model("restorer")
    assert build_model(restorer) is restorer
    policy = make_policy()
    assert isinstance(policy, PixelPolicy) and build_model(policy).policy is policy


@pytest.mark.parametrize("law, name", cases("backbone", BACKBONES), ids=str)
def test_backbones_obey_their_laws(law, name):
    """Every registered backbone obeys every law."""
    law.check(name)


def test_film_begins_as_the_identity(generator):
    """Before it has learned anything, the context changes nothing."""
    features = torch.randn(2, 4, 3, 3, generator=generator)
    assert torch.equal(FiLM(CONTEXT, 4)(features, torch.randn(2, CONTEXT, generator=generator)), features)
    assert FiLM(0, 4)(features, None) is features

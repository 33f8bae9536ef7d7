"""Completing as a task: the pairs of a folder, the MDP over the hole's pixels, its policies, their training."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from rlenhance.agents import A3C, A3CConfig, Direct
from rlenhance.agents.rollout import scope_rewards
from rlenhance.core.errors import UsageError
from rlenhance.envs import CompletionEnv
from rlenhance.envs.completion import COMPLETION_REWARD
from rlenhance.experiments.core.compare import compare
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.completion import (
    COMPLETION,
    CompletionConfig,
    CompletionDataConfig,
    CompletionNetworkConfig,
    CompletionTrainConfig,
)
from rlenhance.experiments.tasks.completion_compare import COMPLETION_COMPARISON, CompletionCompareConfig
from rlenhance.hub.shipped import locate
from rlenhance.io import write
from rlenhance.learning.actions import ACTION_SETS, apply_action
from rlenhance.learning.data import (
    Batch,
    CompletionSampler,
    ImageCache,
    load_completion,
    open_completion,
    without_near_duplicates,
)
from rlenhance.learning.hub.checkpoint import create_network, load_network, save_checkpoint
from rlenhance.learning.metrics.completion import (
    boundary_discontinuity,
    erode_to_center,
    masked_error,
    texture_difference,
)
from rlenhance.learning.metrics.full_reference import ssim_map
from rlenhance.learning.models import MODELS, build_model
from rlenhance.learning.models.completion_policy import completion_input, copy_from_supervised, head_in_windows
from rlenhance.learning.models.restorer import pixel_shuffle_to
from rlenhance.learning.nn.distributions import PixelCategorical
from rlenhance.learning.ops.mask_windows import MaskWindows
from rlenhance.learning.ops.masked_tensors import composite, harmonic_fill
from rlenhance.learning.rewards import Reward, RewardWeights
from rlenhance.ops.masks import MASK_GENERATORS
from tests.support.pictures import holed, room, square

SMALL = {"name": "gru_unet", "memory": "none", "widths": (8, 8), "blocks": (1, 1)}


@pytest.fixture
def bedrooms(tmp_path):
    """original_images/ and occluded_images/ as JPEGs, ten of them and a near-duplicate."""
    for index in range(11):
        picture, rng = room(min(index, 9), 112, 112), np.random.default_rng(index)
        mask = MASK_GENERATORS["square"](112, 112, rng)
        write(picture, tmp_path / "beds/original_images" / f"bed_{index}.jpg", quality=98)
        write(np.where(mask[..., None], 0, picture).astype(np.uint8),
              tmp_path / "beds/occluded_images" / f"occluded_bed_{index}.jpg", quality=98)
    return tmp_path / "beds"


# --- data ---


def test_pairs_are_split_by_id_and_near_duplicates_left_out(bedrooms):
    """Names pair, the count is told, the mask lies where the hole is, and the sampler repeats."""
    cache = ImageCache()
    splits = open_completion(bedrooms)
    names = [e.name for part in splits.parts.values() for e in part]
    assert len(names) == 11 and len(set(names)) == 11 and splits.test and splits.has_references
    fewer, line = without_near_duplicates(splits, cache)
    assert "1 of 11 pictures left out" in line
    assert len([e for part in fewer.parts.values() for e in part]) == 10
    batch = load_completion(fewer.val[0], cache, 64)
    assert batch.image.shape == (1, 3, 64, 64) and 0.05 < batch.mask.mean() < 0.2
    assert (batch.image * batch.mask).abs().max() == 0
    outside = ((batch.image - batch.target) * (1 - batch.mask)).abs().mean()
    assert outside < 0.02
    sampler = CompletionSampler(fewer.train, cache, 48)
    one, again = sampler.batch(3, 4), sampler.batch(3, 4)
    assert torch.equal(one.image, again.image) and torch.equal(one.mask, again.mask)
    assert torch.equal(sampler.batch(3, 4, slice(2, 4)).target, one.target[2:])
    assert not torch.equal(sampler.with_seed(1).batch(3, 4).mask, one.mask)
    (bedrooms / "occluded_images/occluded_bed_3.jpg").unlink()
    assert "no picture occluded_bed_3" in open_completion(bedrooms).unmatched[0]
    (bedrooms / "occluded_images").rename(bedrooms / "occluded_test")
    with pytest.raises(UsageError, match="no such folder; beside original_images/"):
        open_completion(bedrooms)


# --- the MDP ---


def test_the_reward_telescopes_and_only_the_hole_changes(generator):
    """L1 plus 0.2 times 1 - SSIM of the first picture less that of the last; outside the hole not a bit moves."""
    batch = holed()
    batch = Batch(harmonic_fill(batch.image, batch.mask), batch.target, batch.mask)
    env = CompletionEnv(2, size=24, horizon=4)
    env.reset(options={"batch": batch})
    total = 0
    for _ in range(4):
        action = torch.randint(env.actions.num_choices, (2, 1, 24, 24), generator=generator)
        _, reward, _, _, info = env.step(action)
        last = info["final_obs"]["image"] if "final_obs" in info else env._state.image
        assert torch.equal(last * (1 - batch.mask), batch.image * (1 - batch.mask))
        assert torch.allclose(reward, info["reward_map"].mean(dim=(1, 2, 3)), atol=1e-6)
        total = total + info["reward_map"]

    def cost(image):
        return (image - batch.target).abs().mean(dim=1, keepdim=True) + \
            0.2 * (1 - ssim_map(image, batch.target).mean(dim=1, keepdim=True))

    assert COMPLETION_REWARD == {"l1": 1.0, "ssim": 0.2}
    assert torch.allclose(total, cost(batch.image) - cost(last), atol=1e-5)


def test_every_tool_does_what_it_says():
    """Copies come from so far away, mirrors from behind the nearest border; what is not valid keeps the pixel."""
    actions, batch = ACTION_SETS.create("fill", strides=(4, 1)), holed(1)
    image, mask, start = batch.target, batch.mask, 1 - batch.target
    results, valid = actions.apply_all(image, mask, start)[0], actions.valid_mask(mask)[0]
    tools = actions.tools
    assert len(tools) == actions.num_choices == 25 and tools[0] == "keep"
    index = tools.index("copy_ne_4")
    assert torch.equal(results[:, index, 4:, :-4], image[0, :, :-4, 4:])
    assert torch.equal(results[:, index, :4], image[0, :, :4])
    assert not valid[index, :4].any() and torch.equal(valid[0], torch.ones(24, 24, dtype=torch.bool))
    assert not valid[1:, mask[0, 0] < 1].any()
    assert torch.equal(results[:, tools.index("start")], start[0])
    assert torch.allclose(results[:, tools.index("brighter")], (image[0] + 1 / 64).clamp(0, 1))
    hole = mask[0, 0].numpy() > 0
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    for row, column in np.argwhere(valid[tools.index("mirror")].numpy()):
        r, c = 2 * nearest[:, row, column] - (row, column)
        assert not hole[r, c] and torch.equal(results[:, tools.index("mirror"), row, column], image[0, :, r, c])
    stripes = torch.linspace(0.1, 0.9, 24)[None, None, :, None].expand(1, 3, -1, 24)
    along = actions.apply_all(stripes, mask, stripes)[0, :, tools.index("isophote")]
    assert torch.allclose(along[:, 3:-3, 3:-3], stripes[0, :, 3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize(("holes", "size"), [("square", 24), ("brush", 37), ("squares", 40)])
def test_windows_about_holes_hold_what_the_whole_picture_would(holes, size, generator):
    """Results, validity, heads and distributions: the same in windows as cut out of the whole, whatever the hole."""
    rng, actions = np.random.default_rng(2), ACTION_SETS.create("fill", strides=(8, 3))
    mask = torch.from_numpy(np.stack([MASK_GENERATORS[holes](size, size, rng) for _ in range(3)]))[:, None].float()
    image, start = (torch.rand(3, 3, size, size, generator=generator) for _ in range(2))
    windows = MaskWindows.from_mask(mask)
    assert (windows.crop(mask).sum() == mask.sum()) and torch.equal(windows.paste(windows.crop(image), image), image)
    whole = actions.apply_all(image, mask, start)
    assert torch.allclose(actions.apply_all(image, mask, start, windows), windows.crop(whole), atol=1e-5)
    assert torch.equal(actions.valid_mask(mask, windows), windows.crop(actions.valid_mask(mask)))
    policy = make_policy(strides=(8, 3), backbone={**SMALL, "name": "gru_unet"})
    with torch.no_grad():
        for value in policy.heads.parameters():
            value.normal_(std=0.1, generator=generator)
        features, _ = policy.backbone(completion_input(image, mask, start), torch.ones(3, 1), None)
        numbers = pixel_shuffle_to(policy.heads(features), policy.backbone.stride, image.shape[-2:])
        cut = head_in_windows(policy.heads, features, policy.backbone.stride, windows)
        assert torch.allclose(cut, windows.crop(numbers), atol=1e-5)
        smooth, all_of_it = make_policy(strides=(8, 3),
                                        smooth_weights=True), MaskWindows.from_mask(torch.ones_like(mask))
        for value in smooth.heads.parameters():
            value.normal_(std=0.1, generator=generator)
        cut, whole = (head_in_windows(smooth.heads, features, 2, place, 26) for place in (windows, all_of_it))
        assert torch.allclose(cut, windows.crop(whole), atol=1e-5)
        distribution = policy({"image": image, "mask": mask, "initial_image": start, "remaining": torch.ones(3, 1)})[0]
    placed = distribution.scopes["local"]
    shares = placed.soft_action()
    plain = PixelCategorical(shares.log().clamp(min=-1e4))
    drawn = placed.sample(generator)
    for one, other in ((placed.mode(), plain.mode()), (placed.log_prob(drawn), plain.log_prob(drawn)),
                       (placed.entropy(), plain.entropy()), (placed.kl(placed), plain.kl(plain))):
        assert torch.allclose(one.float(), other.float(), atol=1e-4)


def test_only_chosen_tools_run_and_mixtures_agree(generator):
    """An index is the mixture with all its weight there; gradients pass through probabilities."""
    actions, batch = ACTION_SETS.create("fill", strides=(2,)), holed()
    choice = torch.randint(actions.num_choices, (2, 1, 24, 24), generator=generator)
    one = apply_action(actions, batch.target, {"local": choice}, batch.mask, batch.image)
    shares = torch.nn.functional.one_hot(choice, actions.num_choices).permute(0, 1, 4, 2, 3).float().requires_grad_()
    mixed = apply_action(actions, batch.target, {"local": shares}, batch.mask, batch.image)
    assert torch.allclose(one, mixed, atol=1e-6)
    mixed.sum().backward()
    assert shares.grad.abs().sum() > 0
    neutral = actions.noop(2, 24, 24)
    assert torch.equal(apply_action(actions, batch.target, neutral, batch.mask, batch.image), batch.target)
    assert (actions.magnitude(neutral) == 0).all()


def make_policy(**config):
    torch.manual_seed(0)
    return create_network("completion_policy", **{"backbone": SMALL, "horizon": 2, "train_size": 32, "strides": (2, 1),
                                                 **config})


def test_a_new_policy_keeps_the_prior_and_a_warm_start_seeks_the_twins(tmp_path, generator):
    """Greedily, the first picture stays; then the tool nearest to the twin's result; saved with its prior."""
    batch = holed(size=32)
    prior = MODELS.create("prior", widths=(8, 8), blocks=(1, 1), train_size=32)
    policy = MODELS.create("completion_policy", backbone=SMALL, prior=prior.spec, train_size=32, keep_bias=0.0)
    twin = MODELS.create("completion_restorer", backbone=SMALL, prior=prior.spec, train_size=32)
    model = build_model(policy.eval())
    start = policy.prefill(batch.image, batch.mask)
    with torch.no_grad():
        assert torch.equal(model(batch.image, batch.mask), start)
        for value in twin.residual.parameters():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))
        before = masked_error(start, twin.eval()(batch.image, batch.mask), batch.mask)
        after = masked_error(build_model(copy_from_supervised(policy, twin))(batch.image, batch.mask),
                           twin(batch.image, batch.mask), batch.mask)
    assert (after < before).all()
    save_checkpoint(tmp_path / "run", policy)
    again = build_model(load_network(tmp_path / "run").eval())
    with torch.no_grad():
        assert torch.equal(again(batch.image, batch.mask), model(batch.image, batch.mask))
    with pytest.raises(UsageError, match="needs the same prior"):
        copy_from_supervised(MODELS.create("completion_policy", backbone=SMALL), twin)
    with pytest.raises(UsageError, match=r"completing needs a mask \(2, 1, 32, 32\)"):
        model(batch.image)


def test_a_shipped_prior_is_not_saved_again(tmp_path):
    """A policy on a shipped network names it: its file has its own weights alone, and the loaded one does the same."""
    batch = holed(size=32)
    policy = make_policy(prior="completer", train_size=128).eval()
    save_checkpoint(tmp_path / "run", policy)
    assert (tmp_path / "run/model.safetensors").stat().st_size < 200_000
    again = build_model(load_network(tmp_path / "run").eval())
    with torch.no_grad():
        assert torch.equal(again(batch.image, batch.mask), build_model(policy)(batch.image, batch.mask))
        assert torch.equal(again(batch.image, batch.mask), load_network(locate("completer"))(batch.image, batch.mask))
    twin = create_network("completion_restorer", backbone=SMALL, prior="completer", train_size=128)
    assert copy_from_supervised(policy, twin).prior.spec == twin.prior.spec


def test_policies_begin_with_policies(tmp_path, generator):
    """With all that another one has learned; one of another shape is refused, and so is what is no policy."""
    one, other = make_policy(), make_policy()
    with torch.no_grad():
        for value in one.parameters():
            value.add_(0.01 * torch.randn(value.shape, generator=generator))
    runs = [tmp_path / "one", tmp_path / "prior"]
    save_checkpoint(runs[0], one)
    save_checkpoint(runs[1], MODELS.create("prior", widths=(8, 8), blocks=(1, 1), train_size=32))
    COMPLETION.warm_start(other, runs[0])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    with pytest.raises(UsageError, match=r"--warm-start .*one: a policy of another shape"):
        COMPLETION.warm_start(make_policy(strides=(4,)), runs[0])
    with pytest.raises(UsageError, match=r"(?s)holds a ResidualCompleter; a policy begins with .*--prior"):
        COMPLETION.warm_start(other, runs[1])


def test_keep_has_a_head_start(generator):
    """A new policy leaves the prior's picture as it is, also where its heads are not quite at zero; without the head
    start they decide."""
    batch = holed(size=32)
    for keep, stays in ((3.0, True), (0.0, False)):
        policy = make_policy(keep_bias=keep).eval()
        with torch.no_grad():
            policy.heads.weight.add_(0.01 * torch.randn(policy.heads.weight.shape, generator=generator))
            start = policy.prefill(batch.image, batch.mask)
            assert torch.equal(build_model(policy)(batch.image, batch.mask), start) == stays
    with pytest.raises(UsageError, match="keep_bias must lie between 0 and 20; got -1"):
        make_policy(keep_bias=-1)


def test_a_step_of_detail_adds_texture_and_leaves_the_level():
    """Where the surroundings are rough and the hole is smooth, it becomes rougher; the mean hardly moves."""
    actions, rough = ACTION_SETS.create("fill"), 0.5 + 0.2 * torch.rand(1, 3, 48, 48)
    mask = torch.from_numpy(square(48, 48, 16, 14, 16))[None, None].float()
    smooth = composite(torch.full_like(rough, 0.6), rough, mask)
    choice = {"local": torch.full((1, 1, 48, 48), actions.tools.index("detail"))}
    after = apply_action(actions, smooth, choice, mask, smooth)
    assert texture_difference(after, mask) < texture_difference(smooth, mask) - 0.2
    assert abs(float(((after - smooth) * mask).sum() / mask.sum())) < 0.02


def test_agents_choose_what_is_valid_and_none_acts_outside(generator):
    """Sampled actions too; outside the hole there is nothing to choose and no entropy."""
    policy, batch = make_policy(), holed(size=32)
    observation = {"image": batch.target, "mask": batch.mask, "initial_image": batch.target,
                   "remaining": torch.ones(2, 1)}
    distribution = policy(observation)[0]
    drawn = distribution.sample(generator)["local"]
    valid = policy.actions.valid_mask(batch.mask)
    assert valid.gather(1, drawn).all() and (drawn[batch.mask < 1] == 0).all()
    assert (distribution.entropy()["local"][batch.mask < 1] < 1e-6).all()


@pytest.mark.parametrize("term", ["ssim", "texture", "l1"])
def test_agents_answer_for_what_they_do_to_their_neighbours(term):
    """One agent acts: the whole change of the picture's term is its reward, of which its own place holds a part."""
    batch, batch_mask = holed(1, 40), torch.zeros(1, 1, 40, 40)
    batch_mask[..., 10:30, 10:30] = 1
    start = harmonic_fill(batch.target * (1 - batch_mask), batch_mask)
    env = CompletionEnv(1, size=40, horizon=1, reward={term: 1.0})
    env.reset(options={"batch": Batch(start, batch.target, batch_mask)})
    action = env.actions.noop(1, 40, 40)
    action["local"][..., 19, 20] = env.actions.tools.index("copy_e_8")
    terms = env.step(action)[-1]["term_maps"]
    own, answered = (scope_rewards(env.reward, terms, {"local": (40, 40)}, answerable)["local"][0, 0, 19, 20].item()
                     for answerable in (False, True))
    whole = terms[term].sum().item()
    assert whole != 0 and abs(answered / whole - 1) < 0.15
    assert own == answered if term == "l1" else abs(own / whole) < 0.3


@pytest.mark.parametrize("learner", [A3C, Direct])
def test_learners_find_the_copy_that_is_right(learner):
    """Where a pattern repeats every two pixels and the first guess is flat, they learn to copy."""
    stripes = 0.3 + 0.4 * (torch.arange(24) % 2).float().expand(4, 3, 24, -1)
    mask = torch.zeros(4, 1, 24, 24)
    mask[..., 10:13, 10:13] = 1
    batch = Batch(composite(torch.full_like(stripes, 0.5), stripes, mask), stripes, mask)
    policy = make_policy(horizon=1, strides=(4,))
    reward = Reward(RewardWeights.only(l1=1.0))
    config = {"config": A3CConfig(rollouts_per_image=4, update_epochs=2, entropy_target=(0.005, 0.0))} \
        if learner is A3C else {}
    made = learner(policy, reward, seed=0, **config)
    for _ in range(12):
        made.step(batch)
    with torch.no_grad():
        final, _ = build_model(policy.eval()).run_prefilled(batch.image, batch.mask)
    assert masked_error(final, stripes, mask).mean() < 0.1 < masked_error(batch.image, stripes, mask).mean()


# --- scores ---


def test_scores_of_holes():
    """The centre is the middle; a seam shows; a flat hole in grain has a texture gap, the original none."""
    mask = torch.from_numpy(square()[None, None]).float()
    centre = erode_to_center(mask)
    assert (centre <= mask).all() and centre[0, 0, 34, 44] == 1 and centre[0, 0, 21, 44] == 0
    target = torch.from_numpy(room().transpose(2, 0, 1)[None] / 255).float()
    flat = composite(torch.full_like(target, 0.5), target, mask)
    smooth = harmonic_fill(target, mask)
    assert boundary_discontinuity(flat, mask) > boundary_discontinuity(smooth, mask)
    assert texture_difference(flat, mask) > texture_difference(target, mask)
    assert boundary_discontinuity(torch.full_like(target, 0.5), mask) == 0
    board = 0.02 * ((torch.arange(96)[:, None] + torch.arange(96)) % 2 * 2 - 1)
    grain = 0.02 * torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    by_board, by_grain = (texture_difference(composite(smooth + what, target, mask), mask) for what in (board, grain))
    assert by_grain < by_board - 0.2, "a chequerboard is no texture"
    assert by_grain < texture_difference(smooth, mask) - 0.3
    assert masked_error(target + 0.1, target, mask).item() == pytest.approx(0.1, abs=1e-4)


# --- experiments ---


def test_learners_train_resume_and_are_compared(tmp_path, bedrooms, capsys):
    """supervised, then a3c and direct from it, sac; a run goes on; then the table, made once."""
    data = CompletionDataConfig(data=bedrooms, size=32, window=24)
    network = CompletionNetworkConfig(horizon=2, widths=(8, 8), strides=(2,))
    common = {"out": tmp_path / "runs", "updates": 1, "batch_size": 2, "device": "cpu", "progress": False,
              "eval_interval": 1, "val_images": 1}
    runs = {}
    for learner in ("supervised", "a3c", "direct", "sac"):
        warm = tmp_path / "runs/supervised" if learner in ("a3c", "direct") else None
        result = train(COMPLETION, CompletionConfig(
            CompletionTrainConfig(learner=learner, name=learner, warm_start=warm, **common), data, network))
        assert result.fitted.updates == 1 and "val/psnr_gain" in result.scores[learner]
        runs[learner] = result.run
    assert "1 of 11 pictures left out as near-duplicates" in capsys.readouterr().out
    found = compare(COMPLETION_COMPARISON, CompletionCompareConfig(
        models=(f"a3c={runs['a3c']}", str(runs["supervised"])), sizes=(32,), out=tmp_path / "table", limit=1,
        baselines=("laplace", "telea"), data=CompletionDataConfig(data=bedrooms)))
    assert list(found.rows) == ["original", "laplace", "telea", "a3c", "supervised"]
    assert "1 of 11 pictures left out" in found.text
    with pytest.raises(UsageError, match="a CompletionPolicy, no network that fills holes in one pass"):
        train(COMPLETION, CompletionConfig(CompletionTrainConfig(**common), data,
                                           CompletionNetworkConfig(prior=str(runs["a3c"]))))

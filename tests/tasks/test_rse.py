"""Self-enhancement by latent moves: patches, codes that turn, what is known of them, the environment, the learners."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from rlenhance.agents import SAC, SACConfig
from rlenhance.agents.autoencoder_learner import AutoencoderConfig, AutoencoderLearner, info_nce_loss
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.agents.replay import EpisodeReplayBuffer
from rlenhance.agents.rollout import collect_rollout, evaluate_actions, replay_rollout
from rlenhance.cli.main import main
from rlenhance.core.arrays import NUM_D4, d4_inverse, d4_transform
from rlenhance.core.errors import UsageError
from rlenhance.envs import SelfEnhanceEnv
from rlenhance.envs.self_enhance import load_latent_actions
from rlenhance.envs.transition import start
from rlenhance.experiments.tasks.rse.codebook import code_all, error_axes, fill_bank, group_codes
from rlenhance.learning.actions import ACTION_SETS, apply_action
from rlenhance.learning.data import Batch
from rlenhance.learning.hub.checkpoint import load_network, save_checkpoint
from rlenhance.learning.models import MODELS, DenoisingUNet, LatentEpisode, build_model
from rlenhance.learning.nn.latent import Codebook, PatchAutoencoder, measured_noise, permute_code
from rlenhance.learning.ops.patch_grid import PatchGrid
from rlenhance.learning.rewards import Reward, RewardWeights

SMALL = {"latent_dim": 16, "width": 4, "widths": (8, 8), "down": (1, 1), "up": (1,)}
MOVES = {**SMALL, "codes": 16, "groups": 2, "axes": 2, "neighbours": 4, "parts": 2, "block": 16, "overlap": 4}
GEOMETRIES = pytest.mark.parametrize("blocks", [PatchGrid(16, 4), PatchGrid(24, 8), PatchGrid(8, 0)], ids=str)


def small_autoencoder(block=16, **arguments):
    """One whose every part does something."""
    network = PatchAutoencoder(PatchGrid(block, 4), **{**SMALL, **arguments})
    for layer in (network.nonlinear_decoder[2].weight, network.skip.head.weight):
        torch.nn.init.normal_(layer, std=0.1)
    return network


def noisy(count=2, side=32, seed=0):
    """Soft pictures and what 8-bit noise makes of them."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), (side, side),
                                            mode="bilinear")
    image = (clean + 0.14 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    return Batch((image * 255).round() / 255, clean)


@GEOMETRIES
@pytest.mark.parametrize("size", [(50, 37), (24, 24), (1, 5), (7, 90)])
def test_patches_merge_into_the_picture(blocks, size, generator):
    """Whatever its size, a picture cut and merged is the same."""
    picture = torch.rand(2, 3, *size, generator=generator)
    patches = blocks.extract(picture)
    rows, columns = blocks.grid(*size)
    assert patches.shape == (2 * rows * columns, 3, blocks.patch_size, blocks.patch_size)
    assert torch.allclose(blocks.fold(patches, size), picture, atol=1e-6)


@GEOMETRIES
def test_windows_sum_to_one(blocks):
    """A partition of unity: away from the border the windows of a pixel's patches sum to one."""
    count = 4
    total = torch.zeros(count * blocks.stride + blocks.overlap)
    row = blocks.window()[blocks.patch_size // 2]
    for number in range(count):
        total[number * blocks.stride : number * blocks.stride + blocks.patch_size] += row
    inner = total[blocks.overlap : len(total) - blocks.overlap]
    assert torch.allclose(inner, torch.ones_like(inner), atol=1e-6)


def test_cells_stand_in_the_middle_of_their_patches():
    """Patch k is centred on the cell [k stride, (k + 1) stride)."""
    blocks = PatchGrid(24, 8)
    place = torch.arange(64.0).expand(1, 1, 64, 64)
    patches = blocks.extract(place)
    assert patches[1, 0, 0].tolist() == list(range(12, 36))


@pytest.mark.parametrize("block, overlap", [(2, 0), (24, 7), (24, 14), (24, -2)])
def test_impossible_patches_are_refused(block, overlap):
    """With what would do."""
    with pytest.raises(UsageError, match="as in 24 and 8"):
        PatchGrid(block, overlap)


def test_patches_of_another_picture_are_refused():
    """Merging says how many it expects."""
    with pytest.raises(UsageError, match="4 patches of 16x16"):
        PatchGrid(16, 4).fold(torch.zeros(3, 3, 16, 16), (20, 20))


@pytest.mark.parametrize("block", [16, 24])
@pytest.mark.parametrize("way", range(NUM_D4))
def test_codes_turn_with_their_patch(block, way, generator):
    """encode(g.x) = rho(g) encode(x) for all of D4, mean and variance; and what a code shows turns as well."""
    network, patches = small_autoencoder(block), torch.rand(3, 3, block, block, generator=generator)
    for code, of_turned in zip(network.encode(patches), network.encode(d4_transform(patches, way)), strict=True):
        assert torch.allclose(of_turned, permute_code(code, way), atol=1e-5)
    code = torch.randn(3, network.channels, NUM_D4, generator=generator)
    assert torch.allclose(network.decode(permute_code(code, way)), d4_transform(network.decode(code), way), atol=1e-5)


def test_without_equivariance_codes_do_not_turn(generator):
    """The switch does something, and keeps the shape of codes."""
    network, patches = small_autoencoder(equivariant=False), torch.rand(3, 3, 16, 16, generator=generator)
    code, other = network.encode(patches)[0], network.encode(d4_transform(patches, 1))[0]
    assert code.shape == (3, network.channels, NUM_D4)
    assert not torch.allclose(other, permute_code(code, 1), atol=1e-2)


def test_turning_twice_is_turning_once(generator):
    """The ways form a group, of codes as of patches."""
    code, mark = torch.rand(1, 2, NUM_D4, generator=generator), torch.arange(9.0).reshape(1, 1, 3, 3)
    for one in range(NUM_D4):
        for other in range(NUM_D4):
            both = d4_transform(d4_transform(mark, one), other)
            which = next(way for way in range(NUM_D4) if torch.equal(d4_transform(mark, way), both))
            assert torch.equal(permute_code(permute_code(code, one), other), permute_code(code, which))


def test_whole_pictures_are_worked_on_in_parts(monkeypatch):
    """How many patches are taken at once changes nothing but rounding."""
    network, batch = small_autoencoder().eval(), noisy(1, 60)
    told = torch.full((1, 1, 1, 1), 0.1)
    with torch.no_grad():
        whole = network.enhance(batch.image, batch.image, told)
        monkeypatch.setattr("rlenhance.learning.nn.latent.patch_autoencoder.AT_ONCE", 3)
        assert torch.allclose(network.enhance(batch.image, batch.image, told), whole, atol=1e-5)


def test_a_denoiser_is_a_start():
    """With the weights of a learned denoiser, a pass over a patch is that denoiser on the patch."""
    denoiser = DenoisingUNet(widths=SMALL["widths"], down=SMALL["down"], up=SMALL["up"])
    torch.nn.init.normal_(denoiser.network.head.weight)
    network = PatchAutoencoder(PatchGrid(16, 4), **SMALL)
    network.begin_with(denoiser.network)
    patch = torch.rand(1, 3, 16, 16)
    seen = network.analyze(patch, patch, torch.full((1, 1, 1, 1), 0.1))
    assert torch.allclose(patch + seen.change, denoiser.denoise(patch, 0.1), atol=1e-6)
    with pytest.raises(UsageError, match="the same widths"):
        network.begin_with(DenoisingUNet().network)


@pytest.mark.parametrize("equivariant", [True, False])
def test_learning_reaches_every_weight(equivariant):
    """One step moves every parameter, and the terms of the loss are all there."""
    network = MODELS.create("patch_denoiser", block=16, overlap=4, equivariant=equivariant, **SMALL)
    learner = AutoencoderLearner(network, AutoencoderConfig(ema_decay=0.0))
    torch.nn.init.normal_(learner.trained.skip.head.weight, std=0.1)
    torch.nn.init.normal_(learner.trained.nonlinear_decoder[2].weight, std=0.1)
    log = learner.step(noisy())
    assert {"loss/squared", "loss/code", "loss/kl", "loss/contrastive"} <= log.keys()
    still = [name for name, value in learner.trained.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


def test_the_autoencoder_learns_to_denoise():
    """A few dozen steps on soft pictures take most of the noise away."""
    torch.manual_seed(0)
    network = MODELS.create("patch_denoiser", block=16, overlap=4, **SMALL)
    learner = AutoencoderLearner(network, AutoencoderConfig(ema_decay=0.5,
                                                            optimizer=OptimizerConfig(1e-2, 5, 0.1, 1.0)))
    for step in range(80):
        learner.step(noisy(4, 32, seed=step), step / 80)
    batch = noisy(4, 32, seed=1000)
    with torch.no_grad():
        output = network.denoise(batch.image, measured_noise(batch.image))
    before, after = ((picture - batch.target).square().mean() for picture in (batch.image, output))
    assert after < 0.7 * before


def test_contrast_is_least_for_the_right_pairs(generator):
    """Codes beside their own cost nothing, shuffled ones cost much."""
    code = torch.randn(16, 4, NUM_D4, generator=generator)
    assert info_nce_loss(code, code) < 0.05 < 3 < info_nce_loss(code, code.roll(1, 0))


def test_priors_are_the_nearest_clean_codes(generator):
    """Equal to scikit-learn's neighbours, over all turned codes."""
    from sklearn.neighbors import NearestNeighbors

    bank = Codebook(2, size=12, groups=2, axes=1, neighbours=3)
    code = torch.randn(5, 2, NUM_D4, generator=generator)
    known = bank.augmented()
    assert known.shape == (8 * 12, 2 * NUM_D4)
    found = NearestNeighbors(n_neighbors=3).fit(known.numpy()).kneighbors(code.flatten(1).numpy())[1]
    assert torch.allclose(bank.nearest_mean(code).flatten(1), known[torch.from_numpy(found)].mean(dim=1), atol=1e-5)


def test_priors_turn_with_their_code(generator):
    """The neighbours of a turned code are the turned neighbours."""
    bank, code = Codebook(2, size=12, groups=2, axes=1, neighbours=3), torch.randn(5, 2, NUM_D4, generator=generator)
    for way in range(NUM_D4):
        assert torch.allclose(bank.nearest_mean(permute_code(code, way)), permute_code(bank.nearest_mean(code), way),
                              atol=1e-5)


def test_groups_find_what_was_put_together(generator):
    """Codes of two clouds fall into two groups, whose centres are near the clouds' means."""
    clouds = torch.tensor([-3.0, 3.0]).repeat(64)[:, None, None] + torch.randn(128, 2, NUM_D4, generator=generator)
    centres = group_codes(clouds.split(32), 2)
    assert sorted(centres.mean(dim=(1, 2)).round().tolist()) == [-3.0, 3.0]


def test_a_full_bank_knows_where_outputs_err():
    """Axes have finite lengths; along the first one the codes differ at least as much as along the last, as shown."""
    actions = ACTION_SETS.create("latent", **MOVES)
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.05)
    codes = fill_bank(actions, [noisy(4, 64, seed=seed) for seed in range(3)])
    assert torch.isfinite(actions.bank.axes).all()
    axes = error_axes(actions.autoencoder, codes, actions.bank.centres, 2)
    centre = actions.bank.centres[0]
    shown = [(actions.autoencoder.decode((centre + axis)[None]) - actions.autoencoder.decode(centre[None])).norm()
             for axis in axes[0]]
    assert shown[0] >= 0.9 * shown[1] > 0
    assert error_axes(actions.autoencoder, codes, actions.bank.centres, 0).shape == (2, 0, 2, NUM_D4)
    assert len(code_all(actions.autoencoder, [noisy(2, 32)]).clean) == 2 * 9
    with pytest.raises(UsageError, match="needs as many patches"):
        fill_bank(actions, [noisy(1, 16)])


def test_a_closed_gate_changes_nothing_whatever_else_is_chosen(generator):
    """Patch by patch: where the gate is closed not a bit moves, beside it something does."""
    actions, batch = ACTION_SETS.create("latent", **MOVES), noisy(1, 48)
    action = torch.rand(1, actions.action_dim, 4, 4, generator=generator) * 2 - 1
    action[:, -2:] = -1
    assert torch.equal(apply_action(actions, batch.image, {"local": action}, initial_image=batch.image), batch.image)
    action[:, -2:, 0, 0] = 1
    after = apply_action(actions, batch.image, {"local": action}, initial_image=batch.image)
    reach = actions.blocks.stride + actions.blocks.overlap // 2
    assert not torch.equal(after[..., :8, :8], batch.image[..., :8, :8])
    assert torch.equal(after[..., reach:, :], batch.image[..., reach:, :])


def test_nothing_of_the_reference_can_be_seen():
    """The same noisy picture with another reference gives the same observations."""
    env = SelfEnhanceEnv(2, size=32)
    batch = noisy()
    seen = []
    for target in (batch.target, 1 - batch.target):
        observation, _ = env.reset(options={"batch": Batch(batch.image, target)})
        after, *_ = env.step({"local": torch.zeros(2, env.actions.action_dim, 2, 2)})
        seen.append((observation, after))
    assert set(seen[0][0]) == {"image", "remaining", "initial_image"}
    for one, other in zip(*seen, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_moves_of_another_model_are_refused():
    """It says what to name."""
    with pytest.raises(UsageError, match=r"experiments\.rse_train"):
        load_latent_actions("natural")


def policy(**arguments):
    """A small policy over codes."""
    torch.manual_seed(0)
    made = MODELS.create("pixel_policy", actions={"name": "latent", **MOVES}, backbone={"name": "compact", "width": 8},
                         horizon=2, decision_size=None, sees_initial_image=True, std_mode="predicted", **arguments)
    torch.nn.init.normal_(made.actions.autoencoder.skip.head.weight, std=0.1)
    return made


def test_a_new_policy_begins_with_its_gates_somewhat_open():
    """Its first action: gates somewhat open, codes where they are."""
    chosen = build_model(policy()).decide(noisy().image)[0]["local"]
    assert torch.allclose(chosen[:, -2:].mean(dim=(0, 2, 3)), torch.tensor([-0.9, -0.4]), atol=1e-5)
    assert chosen[:, :-2].abs().max() < 1e-6


def test_networks_travel_with_the_policy(tmp_path):
    """Saved and loaded, the policy does the same: autoencoder and bank are in the checkpoint."""
    network, batch = policy(), noisy(1, 48)
    save_checkpoint(tmp_path / "saved", network)
    with torch.no_grad():
        assert torch.equal(build_model(load_network(tmp_path / "saved"))(batch.image),
                           build_model(network)(batch.image))


def test_kept_states_are_the_episodes_states():
    """What the replay gives back are the episodes as they were, to half precision, without working them out again."""
    network, batch = policy(), noisy(4)
    learner = SAC(network, Reward(RewardWeights.only(squared_error=255.0)))
    rollout = collect_rollout(network, learner.env, batch, torch.zeros(4, 0), learner.generator)
    states = [*(observation["image"] for observation in rollout.observations), rollout.final_image]
    memory = EpisodeReplayBuffer(4, keep_states=True)
    memory.add(batch, torch.zeros(4, 0), rollout.actions, states)
    drawn = memory.sample(4, torch.Generator().manual_seed(0))
    env = learner.env
    begun = [start(env.actions, env.reward, env.horizon, env.preferences, drawn.batch, drawn.preference, image)
             for image in (drawn.states[0], None)]
    again = replay_rollout(network, *begun[0], drawn.actions, drawn.states)
    worked_out = replay_rollout(network, *begun[1], drawn.actions)
    assert torch.allclose(again.final_image, worked_out.final_image, atol=1e-3)
    assert torch.allclose(again.rewards[0], worked_out.rewards[0], atol=0.05)
    with pytest.raises(UsageError, match="keeps states"):
        EpisodeReplayBuffer(4, keep_states=True).add(batch, torch.zeros(4, 0), rollout.actions)


def test_networks_of_the_actions_do_not_learn():
    """SAC moves the policy and leaves the autoencoder and the bank as they are."""
    network = policy()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner = SAC(network, Reward(RewardWeights.only(squared_error=255.0)), SACConfig(max_kl=0.02, batch_size=4))
    for seed in range(2):
        log = learner.step(noisy(4, seed=seed))
    assert log["sac/kl"] >= 0
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("heads") for name in moved)
    assert not any(name.startswith("actions") for name in moved)


def test_recursion_goes_on_from_the_result_and_stops_patch_by_patch():
    """Further episodes begin with the result; where an episode has changed nothing, later ones do not either."""
    network, batch = policy(), noisy(1, 48)
    with torch.no_grad():
        once, again = (LatentEpisode(network, iterations=iterations).run(batch.image) for iterations in (0, 1))
        assert torch.equal(once.image, again.states[2]) and len(again.actions) == 4
        assert not torch.equal(once.image, again.image)
        torch.nn.init.zeros_(network.actions.autoencoder.skip.head.weight)
        torch.nn.init.zeros_(network.actions.autoencoder.skip.head.bias)
        still = LatentEpisode(network, iterations=1).run(batch.image)
    assert torch.equal(still.actions[2]["local"][:, -2:], torch.full((1, 2, 4, 4), -1.0))
    assert torch.equal(still.states[-1], still.states[2])
    with pytest.raises(UsageError, match="iterations"):
        LatentEpisode(network, iterations=-1)


def test_the_command_denoises_with_a_run(tmp_path, capsys):
    """`rlenhance denoise PHOTO --model RUN/best --iterations 1` writes the photograph that the model makes."""
    save_checkpoint(tmp_path / "best", policy())
    photo = tmp_path / "face.png"
    Image.fromarray((noisy(1, 40).image[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")).save(photo)
    given = ["denoise", str(photo), "--model", str(tmp_path / "best")]
    assert main([*given, "--noise", "30"]) == 0
    strong = np.asarray(Image.open(tmp_path / "face_denoised.png"))
    assert strong.shape == (40, 40, 3)
    assert main([*given, "--overwrite", "--noise", "3"]) == 0  # the noise that the user names counts
    assert not np.array_equal(strong, np.asarray(Image.open(tmp_path / "face_denoised.png")))
    assert main([*given, "--overwrite", "--iterations", "1", "--noise", "30"]) == 0
    assert main([*given, "--overwrite", "--iterations", "-1"]) == 2
    assert main(["denoise", str(photo), "--overwrite", "--iterations", "1"]) == 2
    assert "name the model rse-faces" in capsys.readouterr().err


@pytest.mark.parametrize("equivariant", [True, False])
def test_a_new_look_is_that_of_the_turned_patch(equivariant):
    """With the second gate open alone, a step shows what the autoencoder makes of the first picture, turned."""
    torch.manual_seed(0)
    actions, batch = ACTION_SETS.create("latent", **{**MOVES, "block": 24, "overlap": 0, "parts": 0, "axes": 0,
                                                     "equivariant": equivariant}), noisy(1, 24)
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.1)
    action = {"local": torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)}
    for step, way in ((0, 4), (3, 1)):
        after = apply_action(actions, torch.rand(1, 3, 24, 24), action, initial_image=batch.image, step=step)
        seen = d4_transform(batch.image, way)
        wanted = d4_inverse(actions.autoencoder.enhance(seen, seen, measured_noise(batch.image)), way).clamp(0, 1)
        assert torch.allclose(after, wanted, atol=1e-5)


@pytest.mark.parametrize("bound", [0.01, 0.0])
def test_the_trust_region_holds(bound):
    """Whatever the learning rate, no update takes the policy further than the bound; without it, one does."""
    learner = SAC(policy(), Reward(RewardWeights.only(squared_error=255.0)), SACConfig(
        max_kl=bound, batch_size=4, optimizer=OptimizerConfig(0.05, 0)))
    seen = []
    for seed in range(4):
        before, batch = copy.deepcopy(learner.policy), noisy(4, seed=seed)
        log = learner.step(batch)
        rollout = collect_rollout(before, learner.env, batch, torch.zeros(4, 0), torch.Generator().manual_seed(0))
        seen.append(learner._divergence(evaluate_actions(learner.policy, rollout)[0], rollout, before).item())
        assert not bound or log["sac/kl"] <= bound
    assert max(seen) < 2 * bound if bound else max(seen) > 0.1

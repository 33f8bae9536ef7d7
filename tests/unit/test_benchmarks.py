"""The loop that benchmarks measure against does the same work, and the benchmarks run."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import rlenhance.agents.a3c
from benchmarks import models, stopwatch
from benchmarks.__main__ import Arguments, main
from benchmarks.cases import COARSE, PIXELWISE, PIXELWISE_CONTINUOUS, WITHOUT_PREFERENCES, Case
from benchmarks.filters import looped
from benchmarks.loop_env import LoopEnv
from benchmarks.loop_learner import LoopA3C
from benchmarks.photo import make_works
from benchmarks.scaling import measure_processes
from benchmarks.share import SECTIONS, without_network
from benchmarks.stopwatch import NETWORK, watched
from rlenhance.agents import A3C, A3CConfig
from rlenhance.agents.rollout import replay_rollout
from rlenhance.core.errors import UsageError
from rlenhance.envs import DenoiseEnv
from rlenhance.envs.transition import start
from rlenhance.hub import shipped
from rlenhance.learning.data import Batch
from rlenhance.learning.rewards import Reward, RewardWeights

TINY = {"pictures": 2, "rollouts": 2, "horizon": 3, "side": 32}
CASES = [replace(case, **TINY) for case in (COARSE, Case("pixelrnn"), Case("compact", 1),
                                            replace(PIXELWISE, backbone="mrpnet"), PIXELWISE_CONTINUOUS)]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)


def pictures(case, generator):
    """Dark noise. No two of its cells are equally bright: which of two equals `contrast` calls darker is rounding."""
    return Batch(0.4 * torch.rand(case.pictures, 3, case.side, case.side, generator=generator))


def random_actions(case, actions, generator):
    """Actions of all episodes, one mapping per step."""
    for _ in range(case.horizon):
        shapes = {level: (case.episodes, actions.action_dim, *actions.agent_grid(level, case.side, case.side))
                  for level in actions.scopes}
        if actions.num_choices:
            yield {level: torch.randint(actions.num_choices, shape, generator=generator)
                   for level, shape in shapes.items()}
        else:
            yield {level: 2 * torch.rand(shape, generator=generator) - 1 for level, shape in shapes.items()}


@every_case
def test_the_loop_environment_is_the_environment(case, generator):
    """The same actions give the same pictures, terms, reward maps and rewards."""
    learner, images = case.learner(), pictures(case, generator).repeat(case.rollouts)
    taken = list(random_actions(case, learner.policy.actions, generator))
    levels = torch.linspace(-1, 1, case.episodes)[:, None]
    learner.env.info_maps = True
    learner.env.reset(options={"batch": images, "preference": levels})
    asked = learner.policy.preferences.decode(levels)["exposure_level"].flatten()
    loops = [LoopEnv(learner.policy.actions, learner.reward.weights, case.horizon) for _ in range(case.episodes)]
    for loop, image, level in zip(loops, images.image, asked, strict=True):
        loop.reset(image.numpy(), float(level))
    for action in taken:
        observation, reward, _, _, info = learner.env.step(action)
        for number, loop in enumerate(loops):
            done = loop.step({level: entry[number].numpy() for level, entry in action.items()})
            same = {"image": (torch.from_numpy(done.observation["image"]), observation["image"][number]),
                    "remaining": (torch.from_numpy(done.observation["remaining"]), observation["remaining"][number]),
                    "reward": (torch.tensor(done.reward), reward[number]),
                    "map": (torch.from_numpy(done.reward_map), info["reward_map"][number, 0])}
            assert done.terms.keys() == info["term_maps"].keys()
            same |= {name: (torch.from_numpy(term), info["term_maps"][name][number, 0])
                     for name, term in done.terms.items()}
            for name, (mine, theirs) in same.items():
                assert mine.shape == theirs.shape, name
                # slopes of the terms (clipping: 50) magnify rounding
                assert torch.allclose(mine.float(), theirs, atol=2e-6 if name == "image" else 1e-4), name


@every_case
def test_the_loop_learner_is_the_learner(case, generator, monkeypatch):
    """From the same actions, an update in a loop and an update in one batch descend the same gradient."""
    config = A3CConfig(rollouts_per_image=case.rollouts, update_epochs=1)
    networks = [case.learner().policy for _ in range(2)]
    for network in networks:  # heads that begin at zero would hide differences
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=noise)
    reward, batch = Reward(RewardWeights(WITHOUT_PREFERENCES)), pictures(case, generator)
    taken = [{level: entry if entry.dtype == torch.int64 else 0.9 * entry for level, entry in action.items()}
             for action in random_actions(case, networks[0].actions, generator)]

    def given(network, env, begun, preference, _):
        """The same episodes with these actions, as if they had been drawn."""
        return replay_rollout(network, *start(env.actions, env.reward, env.horizon, env.preferences, begun, preference),
                              taken)

    monkeypatch.setattr(rlenhance.agents.a3c, "collect_rollout", given)
    A3C(networks[0], reward, config).step(batch)
    LoopA3C(networks[1], reward, config).step(batch, given=taken)
    for (name, one), other in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        # rounding, which differs between processors, switches a rectifier here and there
        assert (one.grad - other.grad).norm() <= 1e-2 * one.grad.norm() + 1e-6, name


def test_the_loop_refuses_what_it_does_not_know():
    """Other terms, other curves and other sizes are told, not computed wrongly."""
    actions = COARSE.learner().policy.actions
    with pytest.raises(UsageError, match="color"):
        LoopEnv(actions, RewardWeights({"color": 1.0}))
    with pytest.raises(UsageError, match="chroma"):
        LoopEnv(replace(actions, channels="chroma"), RewardWeights(WITHOUT_PREFERENCES))
    with pytest.raises(UsageError, match="multiples of 16"):
        LoopEnv(actions, RewardWeights(WITHOUT_PREFERENCES)).reset(torch.zeros(3, 24, 32).numpy(), 0.5)


@every_case
def test_every_moment_of_an_update_has_its_section(case, monkeypatch):
    """The sections of an update add up to the whole, and the learner is left as it was."""
    learner, ticks = case.learner(), itertools.count()
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    with watched(learner) as watch:
        learner.step(case.batch())
    assert sum(watch.seconds.values()) == next(ticks) - 1 and watch.depth == 0
    assert set(watch.seconds) <= set(SECTIONS) and all(watch.seconds[name] > 0 for name in NETWORK)
    assert "step" not in vars(learner) and "step" not in vars(learner.env)
    watch.seconds.clear()
    learner.step(case.batch())
    assert not watch.seconds


@pytest.mark.parametrize("case", [case for case in CASES if case.backbone != "pixelrnn"], ids=lambda case: case.label)
def test_ready_made_network_is_never_computed(case):
    """After the first update nothing runs through the network that it stands for, forward or backward."""
    whole, hollow = case.learner(), case.learner()
    modules = [hollow.policy.backbone, *hollow.policy.heads.values(), *hollow.policy.values.values()]
    without_network(hollow).step(case.batch())
    for module in modules:
        module.register_forward_pre_hook(lambda *_: pytest.fail("computed"))
    numbers = hollow.step(case.batch())
    assert all(parameter.grad is None for module in modules for parameter in module.parameters())
    assert numbers.keys() == whole.step(case.batch()).keys()


def test_benchmarks_run(tmp_path, capsys):
    """Every part that needs no other process runs at its least size, and leaves tables and charts."""
    parts = ("share", "physics", "environment", "speed", "batch", "size")
    tables = main(Arguments(parts, tmp_path, repeats=1, quick=True))
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmarks.json", "share.png", "speed.png", "scaling.png", *(f"{part}.json" for part in parts)}
    printed = capsys.readouterr().out
    for table in tables.values():
        assert table.markdown() in printed
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
    sections = [sum(row[7:]) for row in tables["share"].rows]
    assert sections == pytest.approx([100] * len(sections), abs=2)


def test_what_a_photograph_costs_is_measured_of_one_result():
    """The ways that are compared give the same picture, and none the one that came in."""
    works = make_works(90, 70)
    wholes = [np.rint(np.asarray(work()) / (257 if "16 bit" in name else 1)).astype(int)
              for name, work in works.items() if name.startswith(("whole", "render"))]
    assert all(np.abs(whole - wholes[-1]).max() <= 1 for whole in wholes)
    assert np.abs(wholes[0] - works["CLAHE"]()).max() > 10


@pytest.mark.slow
def test_benchmarks_of_processes_run(tmp_path):
    """So do those that start processes."""
    tables = main(Arguments(("processes", "memory", "photo"), tmp_path, repeats=1, quick=True))
    assert all(value > 0 for row in tables["processes"].rows for value in row[1:])
    for _, pictures, above, whole, step in tables["memory"].rows:  # so small an update may need no more than the start
        assert pictures > 0 and whole > 100 and above >= 0 and step >= 0
    assert all(row[3] > 0 for row in tables["photo"].rows)


def test_benchmarks_refuse_what_they_do_not_know(tmp_path):
    """An unknown part is answered with those there are; numbers below 1 are told."""
    with pytest.raises(UsageError, match="environment"):
        main(Arguments(("enviroment",), tmp_path))
    with pytest.raises(UsageError, match="at least 1"):
        main(Arguments(out=tmp_path, repeats=0))
    with pytest.raises(UsageError, match="at least 1"):
        replace(COARSE, pictures=0)
    with pytest.raises(UsageError, match="even"):
        measure_processes({}, 3, 1)


def test_part_measured_again_replaces_its_table_alone(tmp_path):
    """What benchmarks.json held of other parts stays there."""
    first = main(Arguments(("environment", "batch"), tmp_path, repeats=1, quick=True))
    second = main(Arguments(("environment",), tmp_path, repeats=1, quick=True))
    assert second.keys() == first.keys()
    assert [list(row) for row in second["batch"].rows] == [list(row) for row in first["batch"].rows]
    assert second["environment"].rows != first["environment"].rows


def test_the_loop_over_filters_is_the_environment(generator):
    """The same pictures and the same reward maps, away from the border, where OpenCV's median repeats its pixels."""
    clean = torch.rand(2, 1, 24, 20, generator=generator)
    batch = Batch((clean + 0.1).clamp(0.05, 0.95), clean)
    actions = [torch.randint(9, clean.shape, generator=generator) for _ in range(2)]
    env, total = DenoiseEnv(2, size=24, horizon=2), 0
    env.reset(options={"batch": batch})
    for action in actions:
        _, _, _, _, info = env.step(action)
        total = total + info["reward_map"]
    images, rewards = looped(batch.image.numpy(), clean.numpy(), [action.numpy() for action in actions])
    inner = np.s_[..., 4:-4, 4:-4]
    np.testing.assert_allclose(info["final_obs"]["image"].numpy()[inner], images[inner], atol=1e-4)
    np.testing.assert_allclose(total.numpy()[inner], rewards[inner], atol=0.05)


def test_what_models_cost_is_measured_for_each_kind():
    """One model of each command, and a run by its place."""
    names = ("denoiser-grey", "upscale-x2", "completer", str(shipped.locate("supervised")))
    table = models.main(models.Arguments(models=names, side=64, repeats=1))
    assert table.column("command") == ["denoise", "upscale", "complete", "enhance"]
    assert min(table.column("CPU s per megapixel")) > 0 and min(table.column("MB")) > 0.1
    with pytest.raises(UsageError, match="tool-gains"):
        models.main(models.Arguments(models=("tool-gains",), side=64, repeats=1))

"""RSE-RL end to end on small pictures: stages, switches as published, resuming, both data sets, the table."""

import json

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.rse.config import RSEConfig, RSETrainConfig
from rlenhance.experiments.tasks.rse.data import RSEDataConfig, open_rse
from rlenhance.experiments.tasks.rse.model import RSENetworkConfig, make_autoencoder, mean_rows, run_passes
from rlenhance.experiments.tasks.rse.stages import Stages, paired
from rlenhance.experiments.tasks.rse.task import RSE
from rlenhance.io import write
from rlenhance.learning.actions import ACTION_SETS, apply_action
from rlenhance.learning.hub.checkpoint import load_model
from tests.support.data import CLEAN, NOISY, make_blocks, make_records, make_sidd
from tests.support.training import resume
from tests.tasks.test_rse import MOVES, noisy

pytestmark = pytest.mark.usefixtures("no_curves")

SMALL = ["--latent_dim", "16", "--width", "4", "--widths", "8", "8", "--down", "1", "1", "--up", "1",
         "--codebook_size", "32", "--clusters", "2", "--axes", "2", "--code_splits", "2", "--block_size", "16",
         "--overlap", "4", "--horizon", "2", "--crop", "32", "--crops_per_image", "1", "--batch_size", "2",
         "--rl_batch_size", "2", "--val_images", "1", "--test_images", "3", "--codebook_images", "4",
         "--eval_interval", "2", "--rl_eval_interval", "2", "--recursions", "1", "--sac.gradient_steps", "1",
         "--sac.batch-size", "2", "--no-progress", "--device", "cpu"]


def scenes(count, side=48, seed=0):
    """Soft pictures, (side, side, 3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.nn.functional.interpolate(torch.rand(count, 3, 5, 5, generator=generator), (side, side),
                                           mode="bicubic").clamp(0, 1)
    return [(picture * 255).round().byte().permute(1, 2, 0).numpy() for picture in soft]


@pytest.fixture
def faces(tmp_path):
    """A folder of good pictures to learn from, and one to be tested on."""
    for number, picture in enumerate(scenes(8)):
        write(picture, tmp_path / ("train" if number < 6 else "test") / f"p{number}.png")
    return tmp_path


def ran(tmp_path, data_set, *words):
    """The table of a run of the command, which must end well."""
    status = train_command(RSE, [data_set, *SMALL, *map(str, words), "--out", str(tmp_path / "runs"), "--name", "run"])
    assert status == 0
    return json.loads((tmp_path / "runs/run/table.json").read_text())


def test_every_stage_runs_on_faces(faces, capsys):
    """The published switches in their spelling; a row for every stage; models, figures, what the agents add."""
    table = ran(faces, "celeba", "--file_batch", 2, "--epoch", 1, "--target_psnr", 30, "--rl_updates", 2,
                "--train_files_path", faces / "train", "--test_files_path", faces / "test", "--recursion_share", 1)
    rows = table["means"]
    for name in ("noisy", "autoencoder alone, 1 pass", "autoencoder alone, 2 passes", "best constant action",
                 "agents before RL", "after RL"):
        assert set(rows[name]) == {"psnr", "ssim", "uqi", "seams"}
    assert any(name.startswith("recursion 1") for name in rows)
    assert 16 < rows["noisy"]["psnr"] < 20 and len(table["rows"]["noisy"]["psnr"]) == 2
    assert table["notes"]["done"]["autoencoder"]["updates"] == 3  # five crops, two at a time
    run = faces / "runs/run"
    for file in ("steps.png", "groups.png", "recursions.png", "policy/best", "recursion-1/autoencoder/best", "best"):
        assert (run / file).exists()
    assert load_model(run)(torch.rand(1, 3, 40, 52)).shape == (1, 3, 40, 52)
    told = capsys.readouterr().out
    assert "after RL, to the best constant action" in told and "rlenhance denoise PHOTO --model" in told


@pytest.mark.parametrize("apart", [False, True])
def test_real_noise_in_the_layout_of_sidd(tmp_path, apart):
    """Scene instances and the blocks as published; or noisy and clean pictures in two folders."""
    make_sidd(tmp_path / "all", scenes=3, instances=1, shots=("010",), size=(40, 44))
    make_blocks(tmp_path / "blocks", pictures=2, blocks=1, side=32)
    train = ["--train_files_path", tmp_path / "all"]
    if apart:
        for role in ("NOISY", "GT"):
            (tmp_path / role).mkdir()
            for path in (tmp_path / "all").rglob(f"*{role}*.png"):
                path.rename(tmp_path / role / path.name)
        train = ["--train_files_path", tmp_path / "NOISY", "--validation_file_path", tmp_path / "GT"]
    table = ran(tmp_path, "sidd", *train, "--test_files_path", tmp_path / f"blocks/{NOISY}.mat",
                "--test_validation_files_path", tmp_path / f"blocks/{CLEAN}.mat", "--updates", 1, "--learner", "none")
    assert set(table["rows"]) == {"noisy", "denoiser", "autoencoder alone, 1 pass", "autoencoder alone, 2 passes"}
    assert table["notes"]["pictures"] == ["block 00-00", "block 01-00"]


def test_an_interrupted_run_goes_on(faces, monkeypatch):
    """Stages that are done are not done again, the one that was stopped goes on, and the table is the same."""
    words = ["celeba", "--train_files_path", faces / "train", "--updates", 2, "--rl_updates", 1]
    whole = ran(faces, *words)
    (faces / "runs/run").rename(faces / "runs/whole")
    fit = Stages._fit

    def stopped(self, name, *rest):
        if name == "policy":
            raise KeyboardInterrupt
        return fit(self, name, *rest)

    monkeypatch.setattr(Stages, "_fit", stopped)
    with pytest.raises(AssertionError):
        ran(faces, *words)
    monkeypatch.setattr(Stages, "_fit", fit)
    done = json.loads((faces / "runs/run/table.json").read_text())["notes"]["done"]
    assert list(done) == ["autoencoder"]
    result = resume(RSE, faces / "runs/run")
    again = json.loads((faces / "runs/run/table.json").read_text())
    assert again["rows"] == whole["rows"] and result.scores == again["means"]


def test_a_recursion_that_falls_is_undone(faces, monkeypatch):
    """The run keeps what was best on the validation pictures, and says so in the table."""
    fit = Stages._fit

    def falling(self, name, *rest):
        network, best = fit(self, name, *rest)
        return network, best - (1.0 if name.startswith("recursion") else 0.0)

    monkeypatch.setattr(Stages, "_fit", falling)
    table = ran(faces, "celeba", "--train_files_path", faces / "train", "--updates", 1, "--rl_updates", 1,
                "--recursions", 3)
    assert table["notes"]["ended"] == 1 and "recursion 1 (undone)" in table["rows"]
    assert not any("recursion 2" in name for name in table["rows"])
    kept, first = (load_model(faces / "runs/run" / part) for part in ("best", "policy/best"))
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(kept(picture), first(picture))


def test_each_part_can_be_turned_off(faces):
    """Equivariance, the contrastive term, neighbours, the trust region, de-blocking, recursion: an option each."""
    table = ran(faces, "celeba", "--train_files_path", faces / "train", "--updates", 1, "--rl_updates", 1,
                "--no-equivariant", "--autoencoding.contrastive-weight", 0,
                "--autoencoding.self-training-prob", 0, "--code_splits", 0,
                "--sac.max-kl", 0, "--blocking", 0, "--recursions", 0)
    assert "after RL" in table["rows"] and not any("recursion" in name for name in table["rows"])
    header = (faces / "runs/run/policy/metrics.csv").read_text().splitlines()[0]
    assert "sac/kl" not in header and "term/blocking" not in header


def test_records_are_learned_from(tmp_path):
    """CelebA-HQ's files: the shards called validation are the test, unless another is named."""
    make_records(tmp_path / "data/train/train-r05-s-0000-of-0001.tfrecords", scenes(6))
    make_records(tmp_path / "data/validation/validation-r05-s-0000-of-0001.tfrecords", scenes(2, seed=1))
    pictures = open_rse(RSEDataConfig("celeba", tmp_path / "data"))
    assert len(pictures.splits.test) == 2 and pictures.held == "test"
    other = make_records(tmp_path / "other.tfrecords", scenes(3, seed=2))
    pictures = open_rse(RSEDataConfig("celeba", tmp_path / "data", test_files_path=other, file_batch=2))
    assert len(pictures.splits.test) == 3 and len(pictures.splits.train) == 5 + 2
    assert pictures.cache.most == 5 + 2  # two files with all their pictures


def test_what_cannot_be_is_told(faces):
    """Before anything is trained: data sets, paths, learners, networks, budgets."""
    for paths, words in ((RSEDataConfig(validation_file_path=faces), "makes the noise itself"),
                         (RSEDataConfig(test_files_path=faces / "test"), "--train_files_path"),
                         (RSEDataConfig(train_files_path=faces / "train", file_batch=-1), "at least 1")):
        with pytest.raises(UsageError, match=words):
            open_rse(paths)
    with pytest.raises(UsageError, match="celeba, sidd"):
        open_rse(RSEDataConfig("faces"))
    with pytest.raises(UsageError, match="needs pairs"):
        open_rse(RSEDataConfig("sidd", faces / "train"))
    with pytest.raises(UsageError, match="same picture"):
        open_rse(RSEDataConfig("celeba", faces / "train", test_files_path=faces / "train"))
    for config, words in ((RSEConfig(RSETrainConfig(learner="sacc")), "a3c, direct, sac, none"),
                          (RSEConfig(network=RSENetworkConfig(latent_dim=20)), "multiple of 8"),
                          (RSEConfig(network=RSENetworkConfig(axes=999)), "axes"),
                          (RSEConfig(RSETrainConfig(recursions=-1)), "budgets")):
        with pytest.raises(UsageError, match=words):
            train(RSE, config)


def test_passes_and_means():
    """A pass sees the last one's output and the noisy picture; rows are means; differences are paired."""
    torch.manual_seed(0)
    network = make_autoencoder(RSENetworkConfig(16, 4, 16, 4, (8, 8), (1, 1), (1,))).network
    picture = torch.rand(1, 3, 30, 30)
    states = run_passes(network, picture, 3)
    assert len(states) == 3 and torch.equal(states[0], run_passes(network, picture, 1)[0])
    rows = {"a": {"psnr": [1.0, 3.0]}, "b": {"psnr": [0.5, 2.0]}, "c": {"psnr": [0.0, 4.0]}}
    assert mean_rows(rows)["a"] == {"psnr": 2.0}
    assert np.isclose(paired(rows, "a", ["b", "c"], ["x", "y"]).mean, 0.0)  # c is the better one of the two


def test_networks_run_only_where_a_gate_is_open(generator, monkeypatch):
    """With and without gradients, which run everywhere, the change is the same; closed gates cost nothing."""
    actions, batch = ACTION_SETS.create("latent", **MOVES), noisy(1, 48)
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.1)
    chosen = torch.rand(1, actions.action_dim, 4, 4, generator=generator) * 2 - 1
    chosen[:, -2] = torch.where(torch.rand(4, 4, generator=generator) < 0.5, -1.0, chosen[:, -2])
    chosen[:, -1, :2] = -1
    chosen[:, :-2, :, 1] = 0
    everywhere = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
    with torch.no_grad():
        some = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
        chosen[:, -2:] = -1
        monkeypatch.setattr(actions.autoencoder, "residual", None)
        closed = apply_action(actions, batch.image, {"local": chosen}, initial_image=batch.image)
    assert torch.allclose(some, everywhere, atol=1e-6) and torch.equal(closed, batch.image)


def test_looks_of_a_schedule_count_alike():
    """With gates in the middle, the result is the mean of the first pass and of all looks; own changes follow it."""
    torch.manual_seed(0)
    actions, image = ACTION_SETS.create("latent", **MOVES, own_shares=(0.0, 0.0)), 0.25 + noisy(1, 32).image / 2
    torch.nn.init.normal_(actions.autoencoder.skip.head.weight, std=0.02)
    middle = {"local": torch.zeros(1, actions.action_dim, 2, 2)}
    with torch.no_grad():
        first = now = actions.initial_image(image)
        looks = [apply_action(actions, now, {"local": torch.tensor([0.0] * (actions.action_dim - 2) + [-1.0, 1.0])
                                             .view(1, -1, 1, 1).expand(1, -1, 2, 2)}, initial_image=image, step=0)]
        now = apply_action(actions, now, middle, initial_image=image, step=0)
        assert torch.allclose(now, (first + looks[0]) / 2, atol=1e-5)
        actions.own_shares = (0.0, 0.5)
        assert torch.equal(apply_action(actions, now, middle, initial_image=image, step=2),
                           apply_action(actions, now, middle, initial_image=image, step=2))
        without = dict(middle, local=middle["local"].clone())
        without["local"][:, -2] = -1
        for step, same in ((2, True), (3, False)):  # the schedule begins again
            taken = [apply_action(actions, now, action, initial_image=image, step=step) for action in (middle, without)]
            assert torch.equal(*taken) == same

"""RSE-RL's published command lines in their folders, every switch of docs/howto/rse.md, and what is refused."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from rlenhance.experiments.core.cli import train_command
from rlenhance.experiments.tasks.rse.config import RSEConfig
from rlenhance.experiments.tasks.rse.data import RSEDataConfig, open_rse
from rlenhance.experiments.tasks.rse.task import RSE
from rlenhance.io import write
from rlenhance.learning.data import ShardedSampler
from rlenhance.learning.data.sampler import by_file
from rlenhance.learning.hub.checkpoint import load_model
from tests.support.data import CLEAN, NOISY, example, framed, make_blocks, make_sidd
from tests.tasks.test_rse_train import SMALL, scenes

pytestmark = pytest.mark.usefixtures("no_curves")

#: As published, after the name of the script.
CELEBA = shlex.split("celeba --file_batch 5 --epoch 50 --latent_dim 72 --target_psnr 30 "
                     "--train_files_path celeba_train/ --test_files_path celeba_test/")
SIDD = shlex.split("sidd --file_batch 5 --epoch 25 --latent_dim 96 --target_psnr 34 --train_files_path sidd_noise/ "
                   "--validation_file_path sidd_ground_truth/ --test_files_path sidd_test_noise/ "
                   "--test_validation_files_path sidd_test_GT/")
PAGE = Path(__file__).parents[2] / "docs/howto/rse.md"
#: What the switches of the page take here, where it says nothing or too much.
VALUES = {"--minutes": "0.02", "--rl_minutes": "0.02", "--train_files_path": "train", "--test_files_path": "test",
          "--updates": "1", "--rl_updates": "1", "--warm_start": None, "--init": None, "--learner": "direct",
          "--recursions": "1", "--block_size": "24", "--overlap": "8", "--rl_eval_interval": "1",
          "--eval_interval": "1", "--batch_size": "2", "--val_images": "1", "--test_images": "1", "--oracle": "1",
          "--epoch": "1", "--latent_dim": "24", "--file_batch": "2", "--target_psnr": "20"}


def make_published(place):
    """The published folders."""
    for number in range(3):  # three files of two pictures each, (height, width, 3)
        pictures = scenes(2, 64, seed=number)
        for folder, parts in (("celeba_train", pictures), ("celeba_test", scenes(1, 64, seed=10 + number))):
            (place / folder).mkdir(exist_ok=True)
            content = b"".join(framed(example(picture, shape=picture.shape, data=picture.tobytes(), label=0))
                               for picture in parts)
            (place / folder / f"{folder}-r08-s-000{number}-of-0003.tfrecords").write_bytes(content)
    make_sidd(place / "all", scenes=3, instances=1, shots=("010",), size=(64, 64))
    make_blocks(place / "blocks", pictures=2, blocks=1, side=64)
    for role, folder, mat in (("NOISY", "sidd_noise", NOISY), ("GT", "sidd_ground_truth", CLEAN)):
        (place / folder).mkdir()
        for path in (place / "all").rglob(f"*{role}*.png"):
            path.rename(place / folder / path.name)
        (place / {"NOISY": "sidd_test_noise", "GT": "sidd_test_GT"}[role]).mkdir()
        (place / f"blocks/{mat}.mat").rename(
            place / {"NOISY": "sidd_test_noise", "GT": "sidd_test_GT"}[role] / f"{mat}.mat")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The published folders, in the working directory."""
    make_published(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(folder, words):
    """The table of a run of the command, which must end well."""
    assert train_command(RSE, [*map(str, words), "--out", str(folder / "runs"), "--name", "run"]) == 0
    return json.loads((folder / "runs/run/table.json").read_text())


def small(*without):
    """`SMALL` without some of its options."""
    names = [place for place, word in enumerate(SMALL) if word.startswith("--")]
    ends = [*names[1:], len(SMALL)]
    return [word for first, end in zip(names, ends, strict=True) if SMALL[first] not in without
            for word in SMALL[first:end]]


@pytest.mark.parametrize("command, updates", [pytest.param(CELEBA, 125, marks=pytest.mark.slow), (SIDD, 25)],
                         ids=["celeba", "sidd"])
def test_published_commands_read_their_folders(published, command, updates):
    """Every published switch and folder, with small networks and a short way: epochs and files are those that they
    name."""
    options = [*small("--latent_dim"), "--crop", "16", "--batch_size", "2", "--eval_interval", "50", "--rl_updates",
               "1", "--recursions", "0", "--compare-with"]
    table = ran(published, [*command, *options])
    assert table["notes"]["done"]["autoencoder"]["updates"] == updates
    assert {"noisy", "best constant action", "after RL"} <= set(table["rows"])
    assert set(table["means"]["after RL"]) == {"psnr", "ssim", "uqi", "seams"}
    load_model(published / "runs/run")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("paper", [(), ("--paper-config",)], ids=["", "paper"])
@pytest.mark.parametrize("command", [CELEBA, SIDD], ids=["celeba", "sidd"])
def test_published_commands_run_as_they_are(published, command, paper):
    """The whole command, with nothing made smaller."""
    table = ran(published, [*command, *paper])
    assert "after RL" in table["rows"]


def test_paper_config_is_the_published_recipe():
    """Epochs of the data set, patches and Adam as published; what is named beside it holds."""
    def config(*words):
        return RSE_parse([*words, "--paper-config"])
    celeba, sidd = config("celeba"), config("sidd", "--epoch", "3", "--overlap", "8", "--unet",
                                            "--autoencoding.optimizer.warmup-steps", "7")
    assert (celeba.train.epoch, celeba.network.block_size, celeba.network.overlap) == (50, 16, 4)
    assert not celeba.network.unet and celeba.learners.autoencoding.optimizer.warmup_steps == 0
    assert celeba.learners.sac.optimizer.learning_rate == 1e-3 and celeba.learners.sac.max_kl == 0.02
    assert (sidd.train.epoch, sidd.network.overlap, sidd.network.unet) == (3, 8, True)
    assert sidd.learners.autoencoding.optimizer.warmup_steps == 7 and config("sidd").train.epoch == 25
    assert RSE_parse(["celeba"]) == RSEConfig()


def RSE_parse(words):
    """The settings of a command line."""
    from rlenhance.experiments.core.cli import parse
    return parse(RSEConfig, words, "rlenhance.experiments.rse_train")


def test_file_batch_counts_files(published):
    """A portion is so many files of records with all their pictures; every picture has its turn."""
    paths = RSEDataConfig("celeba", published / "celeba_train", file_batch=2)
    pictures = open_rse(paths)
    train = pictures.splits.train
    files = by_file(train)
    sizes = sorted(map(len, files))
    assert len(files) == 3 and sum(sizes) == len(train) and pictures.cache.most == sum(sizes[1:])
    sampler = ShardedSampler(train, pictures.cache, 16, portion=2, visits=3)
    for epoch in range(3):
        places = [sampler._index(epoch * sampler.epoch + number) for number in range(sampler.epoch)]
        assert sorted(places) == sorted(list(range(len(train))) * 3)
        last = next(file for file in files if places[-1] in file)
        assert set(places[-3 * len(last) :]) == set(last) and not set(places[: -3 * len(last)]) & set(last)


def switches():
    """The switches of the page and what each takes there: of its commands and of its tables."""
    found = {}
    for text in re.findall(r"`(--[^`]*)`|rse_train ([^\n]*)", PAGE.read_text()):
        for flag, value in re.findall(r"(--[\w.-]+)((?: (?!--)[\w./-]+)*)", " ".join(text)):
            found[flag] = found.get(flag) or value.split()
    theirs = {"--iterations", "--model"}  # of other commands
    return sorted((flag, tuple(value)) for flag, value in found.items() if flag not in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("flag, value", switches(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_documented_switch_runs(tmp_path, monkeypatch, flag, value):
    """Each alone, on tiny pictures."""
    for number, picture in enumerate(scenes(8)):
        write(picture, tmp_path / ("train" if number < 6 else "test") / f"p{number}.png")
    monkeypatch.chdir(tmp_path)
    data_set, taken = "celeba", VALUES.get(flag, value)
    folders = ["--train_files_path", "train"]
    options = [*small(flag, *({"--recursions"} - {flag}))]
    if flag in ("--validation_file_path", "--test_validation_files_path"):
        make_sidd(tmp_path / "all", scenes=3, instances=1, shots=("010",), size=(40, 44))
        make_blocks(tmp_path / "blocks", pictures=2, blocks=1, side=32)
        data_set, folders, taken = "sidd", ["--train_files_path", "all"], ["all"]
        if flag == "--test_validation_files_path":
            folders, taken = [*folders, "--test_files_path", f"blocks/{NOISY}.mat"], [f"blocks/{CLEAN}.mat"]
    elif flag == "--train_files_path":
        folders = []
    elif flag == "--init":
        ran(tmp_path, [data_set, *options, *folders, "--updates", "1", "--learner", "none", "--name", "first"])
        (tmp_path / "runs/run").rename(tmp_path / "runs/first")
        taken = ["runs/first"]
    elif flag in ("--warm_start", "--widths"):
        options = small("--widths", "--down", "--up")
        taken = ["denoiser", "--widths", "32", "64", "128"] if flag == "--warm_start" else ["8", "8", "16"]
    elif flag == "--resume":
        ran(tmp_path, [data_set, *options, *folders, "--updates", "1", "--rl_updates", "1", "--recursions", "0"])
        assert train_command(RSE, ["--resume", "runs/run"]) == 0
        return
    words = [flag, *([taken] if isinstance(taken, str) else taken)]
    steps = {"--updates": "1", "--rl_updates": "1", "--recursions": "0"}
    options += [word for name, number in steps.items() if name != flag for word in (name, number)]
    ran(tmp_path, [data_set, *options, *folders, *words, "--compare-with"])


BAD = ("--axes 999", "--axes -1", "--clusters 0", "--clusters 999", "--codebook-size 0", "--neighbours 0",
       "--code-splits -1", "--overlap 7", "--block_size 2", "--latent_dim 20", "--horizon 0", "--crop 0", "--crop 4",
       "--reach 0", "--own-share 2", "--backbone x", "--learner x", "--compare-with nosuch", "--compare-with natural",
       "--init nosuch", "--warm_start nosuch", "--warm_start natural", "--blocking -1", "--target_psnr -1",
       "--recursion_share -1", "--file_batch 0", "--sac.max-kl -1", "--autoencoding.self-training-prob 2",
       "--monitor val/ssim", "--oracle -1", "--width 0", "--widths 8", "--up 1 1",
       "--epoch -1", "--batch_size 0", "--crops-per-image 0")


@pytest.mark.parametrize("words", BAD)
def test_bad_values_are_refused_before_training(tmp_path, monkeypatch, capsys, words):
    """With the status of a user's error, before the first update."""
    for number, picture in enumerate(scenes(6, 32)):
        write(picture, tmp_path / f"train/p{number}.png")
    monkeypatch.setattr("rlenhance.experiments.tasks.rse.stages.fit", lambda *_, **__: pytest.fail("training began"))
    words = ["celeba", *SMALL, "--train_files_path", str(tmp_path / "train"), "--out", str(tmp_path / "runs"),
             *words.split()]
    assert train_command(RSE, words) == 2
    assert "rror" in capsys.readouterr().err


def test_without_axes_codes_stay(tmp_path):
    """`--axes 0 --code-splits 0` leaves the gates alone, through a recursion too."""
    for number, picture in enumerate(scenes(6, 32)):
        write(picture, tmp_path / f"train/p{number}.png")
    table = ran(tmp_path, ["celeba", *small("--axes"), "--axes", "0", "--code_splits", "0", "--updates", "1",
                           "--rl_updates", "1", "--recursion_share", "1", "--oracle", "1", "--compare-with",
                           "--train_files_path", tmp_path / "train"])
    assert load_model(tmp_path / "runs/run").policy.actions.action_dim == 2
    oracle = table["notes"]["oracle"]
    assert oracle["free gates"] == pytest.approx(oracle["free"]) and oracle["free"] >= oracle["the policy's own"] - 1e-4
    assert np.isfinite(list(oracle.values())).all()

"""The learned denoiser: exact where there is no noise, the same in tiles, small, told what it cannot do; it learns."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from rlenhance.agents import Supervised, SupervisedConfig
from rlenhance.agents.optim import OptimizerConfig
from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.experiments.core.train import train
from rlenhance.experiments.tasks.denoiser import initialize
from rlenhance.experiments.tasks.restore import RESTORE
from rlenhance.experiments.tasks.restore_config import (
    RestoreConfig,
    RestoreDataConfig,
    RestoreNetworkConfig,
    RestoreTrainConfig,
)
from rlenhance.hub import shipped as weights
from rlenhance.io import Photo, read, write
from rlenhance.learning.data import CameraSettings, NoisySampler, SyntheticNoise, check_disjoint, open_clean
from rlenhance.learning.data.image_cache import ImageCache
from rlenhance.learning.hub.checkpoint import load_model, load_network, save_checkpoint
from rlenhance.learning.hub.explain_filters import map_tools
from rlenhance.learning.metrics.full_reference import detail_kept, psnr
from rlenhance.learning.models import MODELS
from rlenhance.learning.models.published.ffdnet import gain_map
from rlenhance.pipelines import denoise
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from tests.support.data import make_pairs
from tests.support.networks import make_model, make_tone, stir
from tests.support.training import resume

SMALL = {"widths": (8, 8), "down": (1, 1), "up": (1,)}
every_network = pytest.mark.parametrize("network", [
    stir(make_model("denoiser", channels=3, **SMALL)), stir(make_model("denoiser", channels=1, **SMALL)),
    stir(make_model("ffdnet", width=8, layers=4), 0.05)], ids=["colour", "grey", "ffdnet"])


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Made-up networks in the place of the shipped ones, and a policy: (run of the grey one, of the policy)."""
    for channels, name in denoise.SHIPPED.items():
        network = stir(make_model("denoiser", channels=channels, **SMALL))
        save_checkpoint(tmp_path / name, network)
    for seed, kind in enumerate(denoise.PROCESSED):
        save_checkpoint(tmp_path / kind, stir(make_model("denoiser", noise_floor=0.01, **SMALL), 0.2 + 0.1 * seed))
    monkeypatch.setattr(denoise, "PROCESSED", {kind: str(tmp_path / kind) for kind in denoise.PROCESSED})
    policy = save_checkpoint(tmp_path / "policy", stir(make_tone()))
    monkeypatch.setattr(denoise, "SHIPPED", {c: str(tmp_path / name) for c, name in denoise.SHIPPED.items()})
    return tmp_path / "denoiser-grey", policy


def _noisy(shape=(60, 84, 3), dtype=np.uint8, sigma=0.08):
    rng = np.random.default_rng(0)
    picture = 0.3 + 0.2 * np.sin(np.arange(shape[1]) / 15)[None, :, None] + sigma * rng.standard_normal(shape)
    return np.rint(picture.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


@every_network
@pytest.mark.parametrize("size", [(61, 83), (1, 1), (3, 50), (64, 64)])
def test_tiles_give_the_whole(network, size, generator):
    """Any size, odd ones too; tiled as in whole within 1e-5, with a map of its own for every pixel."""
    image = torch.rand(1, network.channels, *size, generator=generator)
    noise = 0.29 * torch.rand(1, 1, *size, generator=generator)
    with torch.inference_mode():
        whole, tiled = network.denoise(image, noise), network.denoise_tiled(image, noise, side=16)
    assert whole.shape == image.shape
    assert torch.allclose(whole, tiled, atol=1e-5)
    assert not torch.allclose(whole, image, atol=1e-3)


@pytest.mark.parametrize("name, config", [("denoiser", {}), ("denoiser", SMALL), ("ffdnet", {"width": 8, "layers": 4})])
def test_nothing_reaches_further_than_it_says(name, config):
    """No pixel further than `receptive_radius` has an influence; that is what the tiles overlap by."""
    network = stir(make_model(name, **config), 0.05)
    side = 2 * network.receptive_radius + 3 * network.size_multiple
    image = torch.rand(1, 3, side, side, requires_grad=True)
    middle = side // 2
    network.denoise(image, 0.2)[..., middle, middle].sum().backward()
    rows, columns = image.grad.abs().sum(dim=(0, 1)).nonzero(as_tuple=True)
    furthest = max((rows - middle).abs().max(), (columns - middle).abs().max())
    assert 0.5 * network.receptive_radius <= furthest <= network.receptive_radius


def test_no_noise_no_change(generator):
    """Where the map is zero the picture stays, bit for bit, whatever the weights are."""
    network = stir(make_model("denoiser", **SMALL), 1.0)
    image, noise = torch.rand(2, 3, 24, 24, generator=generator), torch.zeros(2, 1, 24, 24)
    noise[:, :, :, 12:] = 0.1
    result = network.denoise(image, noise)
    assert torch.equal(result[..., :12], image[..., :12])
    assert not torch.equal(result[..., 12:], image[..., 12:])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_small(channels):
    """At most 40 billion multiplications per megapixel, and 2 MB with its card."""
    network, count, side = make_model("denoiser", channels=channels), 0, 256

    def add(layer, inputs, output):
        nonlocal count
        larger = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        count += larger[0, 0].numel() * layer.weight.numel()

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(add)
    with torch.inference_mode():
        network.denoise(torch.rand(1, channels, side, side), 0.1)
    assert 5e9 < count / (side**2 / 1e6) < 40e9
    assert 4 * sum(parameter.numel() for parameter in network.parameters()) < weights.LARGEST - 20_000


@pytest.mark.parametrize("noise, text", [
    (-0.01, "between 0 and 0.294"), (0.3, "75 of 255"), (float("nan"), "got nan"), (torch.ones(1, 1, 3, 3), "map"),
    (torch.ones(1, 3, 16, 16), "map")])
def test_noise_that_it_does_not_know_is_refused(noise, text):
    """Outside the trained range, NaN, a map of another size: named, with the way out."""
    with pytest.raises(UsageError, match=text):
        make_model("denoiser", **SMALL).denoise(torch.rand(1, 3, 16, 16), noise)


def test_other_channels_are_refused(generator):
    """A colour picture for a network that knows grey ones, and the other way round; equal channels are grey."""
    grey, colour = (stir(make_model("denoiser", channels=channels, **SMALL)) for channels in (1, 3))
    image = torch.rand(1, 3, 16, 16, generator=generator)
    with pytest.raises(UsageError, match="a picture with colours for a model of grey pictures"):
        grey(image)
    for network, wrong in ((grey, image), (colour, image[:, :1])):
        with pytest.raises(UsageError, match="there is one for"):
            network.denoise(wrong, 0.1)
    assert grey(image[:, :1].expand(-1, 3, -1, -1)).shape == image.shape


def test_a_denoiser_is_a_model(generator):
    """Without a word the picture shows its noise; `noise` names it in 255ths, and wins."""
    network = stir(make_model("denoiser", **SMALL))
    image = torch.rand(1, 3, 24, 24, generator=generator)
    with torch.inference_mode():
        named = network(image, preference={"noise": 25.0})
        assert torch.equal(named, network.denoise(image, 25 / 255).clamp(0, 1))
        assert not torch.equal(named, network(image))


def test_detail_is_not_bought_by_noise(generator):
    """The picture itself keeps all detail, noise adds none, blur loses some, and grey has none."""
    image = torch.rand(1, 3, 64, 64, generator=generator)
    noise = 0.2 * torch.randn(image.shape, generator=generator)
    blurred = nn.functional.avg_pool2d(image, 3, 1, 1)
    assert detail_kept(image, image) == pytest.approx(1, abs=1e-5)
    assert detail_kept(image + noise, image) == pytest.approx(1, abs=0.05)
    assert detail_kept(blurred, image) < 0.4
    assert detail_kept(torch.full_like(image, 0.5), image) == pytest.approx(0, abs=1e-5)


def test_the_gain_tells_the_released_denoiser(generator):
    """ReLLIE's own map is 0 where least was gained and twice the largest gain, in 255ths, where most was."""
    before = torch.full((1, 3, 2, 2), 0.1)
    after = before * torch.tensor([1.0, 2.0, 3.0, 5.0]).view(1, 1, 2, 2)
    assert torch.allclose(gain_map(before, after)[0, 0].flatten() * 255, torch.tensor([0.0, 2.0, 4.0, 8.0]), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_photographs_go_through_in_tiles(shelf, dtype, monkeypatch):
    """A photograph keeps its shape and kind of number, tiles leave no trace, and strength mixes."""
    picture = _noisy(dtype=dtype)
    whole = Denoiser(noise=40)(picture)
    monkeypatch.setattr(denoise, "_TILE", 16)
    assert np.array_equal(Denoiser(noise=40)(picture), whole)
    assert whole.dtype == dtype and whole.shape == picture.shape and not np.array_equal(whole, picture)
    half = Denoiser(noise=40, strength=0.5)(picture).astype(float)
    assert np.abs(half - (whole.astype(float) + picture) / 2).max() <= 1
    assert np.array_equal(Denoiser(strength=0)(picture), picture)


def test_grey_photographs_stay_grey(shelf, tmp_path):
    """Grey goes through the network for grey and comes back grey; that network refuses colours by name."""
    grey = np.repeat(_noisy()[..., :1], 3, axis=2)
    result = Denoiser()(grey)
    assert np.array_equal(result[..., 0], result[..., 2]) and not np.array_equal(result, grey)
    assert np.array_equal(result, Denoiser(shelf[0])(grey))
    with pytest.raises(UsageError, match="was trained for grey pictures, and this one has colours"):
        Denoiser(shelf[0])(_noisy())


def test_camera_noise_goes_through_the_network_that_knows_it(shelf, tmp_path):
    """Whatever the file. Moderate fine noise and what brightening shows go through others. Strong fine noise does not,
    and a noise that is named does not; grey has its own."""
    smooth = np.kron(np.arange(60, 180, 10, dtype=np.uint8).reshape(3, 4)[:, :, None], np.ones((48, 48, 3), np.uint8))
    settings = CameraSettings(1, shot=3e-3, read=4e-3, smoothing_strength=2, quality=92)
    hidden = settings.photograph(smooth, np.random.default_rng(0))
    fine = (smooth + 45 * np.random.default_rng(0).standard_normal(smooth.shape)).clip(0, 255).astype(np.uint8)
    theirs, camera, brightened = Denoiser(), Denoiser(tmp_path / "camera"), Denoiser(tmp_path / "brightened")
    assert np.array_equal(theirs(hidden), camera(hidden))
    assert not np.array_equal(theirs(hidden), brightened(hidden))
    assert not np.array_equal(theirs(fine), camera(fine))
    moderate = (smooth + 6 * np.random.default_rng(0).standard_normal(smooth.shape)).clip(0, 255).astype(np.uint8)
    assert theirs.process(Photo(moderate)).decision["kind"] == "fine"
    assert np.array_equal(theirs(moderate), Denoiser(tmp_path / "moderate")(moderate))
    assert not np.array_equal(theirs(moderate), camera(moderate))
    assert not np.array_equal(Denoiser(noise=5)(hidden), Denoiser(tmp_path / "camera", noise=5)(hidden))
    assert np.array_equal(theirs.denoise_enhanced(fine, fine, None), brightened.denoise_enhanced(fine, fine, None))
    assert (theirs.noise_of(fine, "brightened") > theirs.noise_of(fine)).all()
    assert theirs.select_network(np.zeros((8, 8, 3), np.uint8), "camera").channels == 1


def test_the_command(shelf, tmp_path, capsys, monkeypatch):
    """X becomes X_denoised beside it, the noise is told, grey stays a file of one channel; strength 0 copies."""
    monkeypatch.chdir(tmp_path)
    write(_noisy(), tmp_path / "night.png")
    write(Photo(np.repeat(_noisy()[..., :1], 3, axis=2), grey=True), tmp_path / "fog.png")
    assert cli.main(["denoise", "night.png", "fog.png", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["target"] for row in rows[:2]] == ["night_denoised.png", "fog_denoised.png"]
    assert rows[0]["decision"]["noise"] == pytest.approx(0.08 * 255, rel=0.15)
    assert read("fog_denoised.png").grey and not np.array_equal(read("night_denoised.png").pixels, _noisy())
    assert cli.main(["denoise", "night.png", "--strength", "0", "-o", "same.png"]) == 0
    assert (tmp_path / "same.png").read_bytes() == (tmp_path / "night.png").read_bytes()


def test_a_policy_over_filters_denoises_and_is_explained(tmp_path, capsys, monkeypatch):
    """`--model` takes a policy over filters; --explain writes the winners, refuses the learned denoiser and more than
    one photograph, and a noise that the policy was not trained for is named."""
    monkeypatch.chdir(tmp_path)
    write(_noisy((20, 28, 3)), tmp_path / "night.png")
    policy = MODELS.create("filter_policy", backbone={"name": "fcn", "width": 4}, horizon=2, noise=(20, 30))
    save_checkpoint(tmp_path / "run", stir(policy))
    words = ["denoise", "night.png", "--model", "run"]
    assert cli.main([*words, "--explain", "map.png"]) == 0
    out = capsys.readouterr().out
    assert "bilateral_0.1" in out and "won" in out
    assert read("map.png").pixels.shape == read("night_denoised.png").pixels.shape == (20, 28, 3)
    found = map_tools(load_model(tmp_path / "run"), _noisy((20, 28, 3)))
    assert np.allclose(found.shares.sum(axis=1), 1) and found.winner.max() < len(found.tools)
    for more, text in ((["--noise", "60"], "outside of what this policy was trained for"),
                       (["--explain", "map.png"], "exists"), (["--explain", "map.txt"], "must end in")):
        assert cli.main([*words, "-o", "x.png", *more]) == 2
        assert text in capsys.readouterr().err
    assert cli.main(["denoise", "night.png", "-o", "x.png", "--explain", "other.png"]) == 2
    assert "only a policy over filters" in capsys.readouterr().err


def test_enhancing_can_take_the_noise_out(shelf):
    """denoise=0 is the plain result to the byte; 1 follows the curve; between them it mixes; at strength 0 the
    photograph itself is denoised."""
    picture = _noisy(sigma=0.02)
    plain, none, full, half = (Enhancer(shelf[1], denoise=share)(picture) for share in (0, 0.0, 1, 0.5))
    assert np.array_equal(plain, none) and np.array_equal(plain, Enhancer(shelf[1])(picture))
    assert full.shape == plain.shape and not np.array_equal(full, plain)
    assert np.abs(half.astype(float) - (full.astype(float) + plain) / 2).max() <= 1
    assert np.array_equal(Enhancer(shelf[1], strength=0, denoise=1)(picture), Denoiser()(picture))
    with pytest.raises(UsageError, match="denoise must lie between 0"):
        Enhancer(shelf[1], denoise=1.5)


def test_clean_folders_are_dealt_by_name(tmp_path):
    """The same pictures are held out whatever else lies there first; pairs keep their splits, by scene."""
    rng = np.random.default_rng(0)
    for number in range(24):
        write(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), tmp_path / f"flat/p{number}.png")
    splits = open_clean(tmp_path / "flat", held_out=6, validated=2)
    assert [len(part) for part in splits.parts.values()] == [16, 2, 6]
    assert splits == open_clean(tmp_path / "flat", held_out=6, validated=2)
    check_disjoint(splits, ImageCache())
    assert len(open_clean(tmp_path / "flat").test) == 4  # too few for 64: a sixth
    pairs = open_clean(make_pairs(tmp_path / "pairs"))
    scenes = [example.scene for part in pairs.parts.values() for example in part]
    assert len(scenes) == len(set(scenes)) == 6
    assert all(example.target.parent.name == "high" for example in pairs.train)


def test_it_learns(generator, tmp_path):
    """On even pictures a few steps take most of the noise out; the saved weights are the mean of the trained."""
    torch.manual_seed(0)
    for number in range(9):
        write(np.full((16, 16, 3), 20 + 25 * number, np.uint8), tmp_path / f"flat/p{number}.png")
    noise = SyntheticNoise(signal_dependent_prob=0.5, quantized_prob=0.2, correlated_prob=0.2)
    sampler = NoisySampler(open_clean(tmp_path / "flat").train, ImageCache(), 16, noise, channels=1)
    network = MODELS.create("denoiser", channels=1, **SMALL)
    config = SupervisedConfig(l1=0, ssim=0, mse_over_noise=100, optimizer=OptimizerConfig(1e-2, 5, 0.1, 1.0),
                              ema_decay=0.9)
    learner = Supervised(network, config, seed=0)
    for step in range(60):
        numbers = learner.step(sampler.batch(step, 8), step / 60)
    assert np.isfinite(list(numbers.values())).all()
    clean = torch.full((4, 1, 32, 32), 0.4)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        assert (psnr(network.denoise(noisy, 0.1), clean) > psnr(noisy, clean) + 3).all()
    again = Supervised(MODELS.create("denoiser", channels=1, **SMALL), config, seed=3)
    again.network.load_state_dict(network.state_dict())
    again.load_state_dict(learner.state_dict())
    assert learner.step(sampler.batch(60, 8), 0.5) == again.step(sampler.batch(60, 8), 0.5)


def test_made_noise_is_what_the_map_says(generator):
    """Even, uneven, coded, correlated: the map is the deviation of what was added."""
    clean = torch.full((256, 1, 24, 24), 0.5)
    for kind, slack in ((SyntheticNoise(signal_dependent_prob=1), 0.06), (SyntheticNoise(correlated_prob=1), 0.12)):
        noisy, noise = kind(clean, generator)
        ratio = ((noisy - clean) / noise.clamp(min=1e-4)).std(dim=(1, 2, 3))
        assert (ratio.mean() - 1).abs() < slack
        assert noise.min() >= 0 and noise.max() <= 75 / 255
    _, noise = SyntheticNoise((20, 30), signal_dependent_prob=0)(clean, generator)
    assert 20 / 255 <= noise.min() < 21 / 255 and 29 / 255 < noise.max() <= 30 / 255 + 1e-6
    with pytest.raises(UsageError, match="signal_dependent_prob must lie in"):
        SyntheticNoise(signal_dependent_prob=2)
    with pytest.raises(UsageError, match=r"\[0, 75\] of 255; got 20 and 80"):
        SyntheticNoise((20, 80))


def test_training_runs_resumes_and_begins_with_another(tmp_path):
    """A run of the experiment from folders: it goes on where it was, and a network for colour begins with one for
    grey."""
    rng = np.random.default_rng(0)
    for number in range(9):
        write(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8), tmp_path / f"flat/p{number}.png")
    result = train(RESTORE, RestoreConfig(
        RestoreTrainConfig(name="grey", out=tmp_path / "runs", updates=2, batch_size=2, eval_interval=1,
                           progress=False, device="cpu"),
        RestoreDataConfig(tmp_path / "flat", size=16), RestoreNetworkConfig("denoiser", channels=1, **SMALL)))
    assert set(result.scores["denoiser"]) == {"psnr", "psnr/sigma15", "psnr/sigma25", "psnr/sigma50"}
    assert resume(RESTORE, result.run).fitted.updates == 2
    assert (result.run / "best/model.onnx").is_file()
    colour = MODELS.create("denoiser", channels=3, **SMALL)
    initialize(colour, result.run)
    grey = load_network(result.run).state_dict()
    name = "network.encoder.1.0.first.weight"
    assert torch.equal(colour.state_dict()[name], grey[name])
    with pytest.raises(UsageError, match="none of its weights"):
        initialize(MODELS.create("denoiser", widths=(12, 12), down=(1, 1), up=(1,)), result.run)

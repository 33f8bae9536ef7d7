"""Policies without torch: the same actions and pixels as the torch modules, and clear words where torch is needed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.core.pixels import resized_planes, to_planes
from rlenhance.engine.episode import CompactEpisode, upsample_agents
from rlenhance.hub.open import open_network
from rlenhance.hub.shipped import list_models, locate
from rlenhance.learning.actions.bilateral import luminance_guide
from rlenhance.learning.hub.checkpoint import load_model, save_checkpoint
from rlenhance.learning.hub.torch_network import TorchNetwork
from rlenhance.learning.ops.image import resize
from rlenhance.ops import plane_statistics
from tests.support.networks import CHOICE, make_policy, stir

SHIPPED = [model.name for model in list_models("enhance") if model.info.preferences]
every_policy = pytest.mark.parametrize("name", SHIPPED)
WISHES = [{}, {"exposure_level": 0.6, "contrast": 0.5}, {"color": -0.7, "smoothness": 1.0, "highlights": 0.8}]


def _pictures():
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 0.5, 97)[:, None, None] * np.linspace(0.2, 1, 140)[None, :, None] * (1.0, 0.8, 0.6)
    noisy = (ramp + rng.normal(0, 0.03, ramp.shape)).clip(0, 1)
    lamp = np.where(np.hypot(*np.mgrid[-50:47, -70:70])[..., None] < 12, 1.0, noisy * 0.2)
    return [(picture * 255).astype(np.uint8) for picture in (ramp, noisy, lamp, np.zeros((9, 13, 3)))]


@every_policy
def test_actions_are_those_of_torch(name):
    """Every shipped policy, on plain, noisy, lit and black pictures, with several wishes: actions within 1e-5."""
    engine, model = open_network(locate(name)), load_model(name)
    assert isinstance(engine, CompactEpisode) and vars(engine.preferences) == vars(
        model.policy.preferences)
    for picture in _pictures():
        planes = resized_planes(picture, engine.decision_size)
        for wish in WISHES:
            with torch.no_grad():  # outside the inference mode, so that torch computes
                wanted = model.decide(torch.from_numpy(planes), preference=wish)
            for one, other in zip(engine.decide(planes, wish), wanted, strict=True):
                assert all(np.allclose(one[scope], other[scope], rtol=0, atol=1e-5) for scope in other)


@every_policy
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_are_those_of_torch(name, dtype):
    """The result of the same actions, at full and at part of the strength, within one level of eight bits."""
    engine, wrapped = open_network(locate(name)), TorchNetwork.load(locate(name))
    picture = _pictures()[1]
    picture = picture if dtype == np.uint8 else (picture.astype(np.uint16) * 257 if dtype == np.uint16
                                                 else (picture / 255).astype(dtype))
    actions = engine.decide(resized_planes(picture, 64))
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    for strength in (1.0, 0.3):
        one, other = (network.render_array(picture, actions, strength) for network in (engine, wrapped))
        assert one.dtype == other.dtype == dtype
        assert np.abs(one.astype(float) - other).max() <= top / 255
    assert np.allclose(engine(to_planes(picture)), wrapped(to_planes(picture)), rtol=0, atol=1e-4)


def test_fewer_steps_and_no_local_agents():
    """Steps and the switch of the local agents mean what they mean in torch."""
    from rlenhance.learning.models import GreedyEpisode

    engine, model = open_network(locate("natural")), load_model("natural")
    planes = resized_planes(_pictures()[1], 64)
    assert len(engine.with_steps(3).decide(planes)) == 3 and engine.with_steps(0).decide(planes) == []
    assert np.array_equal(engine.with_steps(0)(planes), planes)
    with pytest.raises(UsageError, match="steps must lie between 0 and 8; got 9"):
        engine.with_steps(9)
    with torch.no_grad():
        wanted = GreedyEpisode(model.policy, local=False).decide(torch.from_numpy(planes))
    held = CompactEpisode(engine.policy, local=False).decide(planes)
    assert all(np.allclose(one[scope], other[scope], rtol=0, atol=1e-5)
               for one, other in zip(held, wanted, strict=True) for scope in other)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (2, 3), (67, 41)], ids=str)
def test_statistics_and_guides_are_those_of_torch(size, generator):
    """Numbers of planes are those of tensors, within the rounding of float32."""
    image = torch.rand(1, 3, *size, generator=generator) * torch.rand(1, 1, *size, generator=generator)
    planes, small = image[0].numpy(), resize(image, 64)
    for name in ("exposure_of", "auto_exposure", "noise_deviation", "log_luminance"):
        function = getattr(plane_statistics, name)
        assert np.allclose(function(planes), function(image)[0], rtol=0, atol=2e-6), name
        assert torch.allclose(function(image.bfloat16()).float(), function(image), atol=0.03), name  # mixed precision
    for auto in (None, True, False):
        flag = None if auto is None else torch.full((1, 1, 1, 1), float(auto))
        one, other = (plane_statistics.picture_statistics(*about, 16) for about in
                      ((planes, 0.4, auto), (image, torch.full((1, 1, 1, 1), 0.4), flag)))
        assert np.allclose(one, other, rtol=0, atol=3e-6)
    assert np.allclose(plane_statistics.luminance_guide(planes), luminance_guide(image)[0], atol=2e-6)
    for one, other in zip(*map(plane_statistics.guide_coefficients, (small[0].numpy(), small)), strict=True):
        assert np.allclose(one, other[0], rtol=0, atol=2e-6)


def test_agents_are_spread_bilinearly(generator):
    values = torch.rand(1, 4, 3, 5, generator=generator)
    wanted = torch.nn.functional.interpolate(values, (17, 40), mode="bilinear", align_corners=False)
    assert np.allclose(upsample_agents(values[0].numpy(), (17, 40)), wanted[0], atol=1e-6)


def test_other_policies_are_computed_by_torch(tmp_path, generator):
    """A run that the engine does not know has the same interface; where torch is missing, the message says so."""
    policy = stir(make_policy({"kind": "categorical"}, preferences=CHOICE))
    folder = save_checkpoint(tmp_path / "best", policy)
    network = open_network(folder)
    assert isinstance(network, TorchNetwork) and network.num_choices and network.horizon == policy.horizon
    planes = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    assert network(planes, preference={"exposure_level": 0.5}).shape == planes.shape
    assert network.decide(planes)[0]["local"].dtype == np.int64
    script = ("import sys\nsys.modules['torch'] = None\nfrom rlenhance.hub.open import open_network\n"
              f"open_network({str(folder)!r})\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "UsageError" in done.stderr and "torch is not installed" in done.stderr and "[train]" in done.stderr


def test_damaged_weights_are_refused_with_and_without_torch(tmp_path):
    """Weights of another size never give numbers."""
    folder = save_checkpoint(tmp_path / "best", make_policy(preferences=CHOICE))
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"width": 8', '"width": 4') if '"width": 8' in config.read_text()
                      else config.read_text().replace('"stride": 8', '"stride": 4'))
    with pytest.raises(UsageError):
        open_network(folder)
    script = ("import sys\nsys.modules['torch'] = None\nfrom rlenhance.hub.open import open_network\n"
              f"open_network({str(folder)!r})\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "UsageError" in done.stderr and "do not fit together" in done.stderr

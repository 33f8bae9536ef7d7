"""The kit of the shipped small networks: as the checkpoint has them, cheap, local, and each against its damage."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import locate
from rlenhance.io import read
from rlenhance.io.samples import sample_path
from rlenhance.learning.data.mixed_damage import damage
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import TOOL_NAMES
from rlenhance.tools import TOOLS, own_tools, tool_of, toolkit


def _photograph():
    pixels = read(sample_path("coffee")).pixels[:192, :192]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def test_the_kit_is_the_shipped_checkpoint():
    """Names, radius and version are its own; a tool alone and in a batch gives what the network gives."""
    network, image = load_network(locate("tools")), torch.rand(2, 3, 21, 34)
    tools = toolkit("own")
    assert [tool.name for tool in tools] == list(TOOL_NAMES) and set(TOOL_NAMES) <= set(TOOLS)
    for tool in tools:
        with torch.no_grad():
            wanted = network.eval().apply_tool(tool.name, image)
        assert torch.allclose(tool.batch(image), wanted, atol=1e-5)
        alone = tool(np.ascontiguousarray(image[0].permute(1, 2, 0)))
        assert np.allclose(alone, wanted[0].permute(1, 2, 0), atol=1e-5)
        assert tool.radius == network.tool_radius and tool.label and tool.version
    assert tool_of("deblur-strong").label == "a strong blur reversed"


@pytest.mark.parametrize("name, degrees", [
    ("deblur-strong", (8, 0, 0)), ("denoise-weak", (0, 3, 0)), ("denoise-strong", (0, 8, 0)),
    ("deblock-strong", (0, 0, 9))])
def test_a_tool_repairs_its_damage(name, degrees):
    """On a photograph that no tool has seen, each raises the PSNR of its own damage."""
    clean = _photograph()
    damaged = damage(clean, np.array([[*degrees, 0, 0]]), np.random.default_rng(0))
    assert psnr(tool_of(name).batch(damaged), clean) > psnr(damaged, clean) + 0.2


def test_another_checkpoint_is_a_kit_and_other_models_are_refused():
    """A run of small tools is a kit by its path; a denoiser is not."""
    with pytest.raises(UsageError, match="holds no small tools"):
        own_tools("denoiser")


def test_each_tool_repairs_what_it_is_for():
    """Noise becomes less with the denoiser of its strength, and a dark photograph becomes lighter."""
    clean = read(sample_path("coffee")).pixels[100:164, 200:296].astype(np.float32) / 255
    noisy = (clean + 20 / 255 * np.random.default_rng(0).standard_normal(clean.shape)).clip(0, 1).astype(np.float32)
    after = tool_of("denoise-even-20")(noisy)
    assert np.abs(after - clean).mean() < 0.5 * np.abs(noisy - clean).mean()
    assert tool_of("brighten")(clean / 5).mean() > 2 * (clean / 5).mean()


def test_a_batch_is_as_its_pictures(generator):
    """Pictures of a batch give what each gives alone, and each tool of the kit gives pictures."""
    images = torch.rand(2, 3, 24, 32, generator=generator)
    for tool in toolkit("photo"):
        several = tool.batch(images)
        alone = torch.cat([tool.batch(image[None]) for image in images])
        assert several.shape == images.shape and torch.allclose(several, alone, atol=1e-5), tool.name

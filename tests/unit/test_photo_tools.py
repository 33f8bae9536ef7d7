"""The shipped networks as tools for photographs."""

import numpy as np
import torch

from rlenhance.io import read
from rlenhance.io.samples import sample_path
from rlenhance.tools import tool_of, toolkit


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

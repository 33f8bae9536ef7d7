"""Batches: the same seed and step draw the same pictures; the cache keeps to its budget."""

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.learning.data import Batch, Example, ImageCache, Sampler, ShardedSampler, open_dataset
from tests.support.data import assert_same_batch, noise_picture


@pytest.mark.parametrize("budget", [0, 2000, 4000, 1 << 20])
def test_cache_keeps_to_its_budget(tmp_path, budget):
    """Whatever is asked for in whatever order, the budget holds and the pixels are those of the file."""
    paths = [write(noise_picture(n, (20, 10 * (n + 1))), tmp_path / f"{n}.png") for n in range(5)]
    cache, without = ImageCache(budget), ImageCache(0)
    for number in np.random.default_rng(0).integers(0, 5, 40):
        pixels = cache.load(paths[number])
        assert np.array_equal(pixels, without.load(paths[number]))
        assert not pixels.flags.writeable
        assert cache.used == sum(kept.nbytes for kept in cache._images.values()) <= budget
    assert without.used == 0


def test_cache_reduces_and_still_knows_the_file(tmp_path):
    """A limit on the side limits what is kept; size and hash are those of the full picture."""
    path = write(noise_picture(0, (30, 60)), tmp_path / "a.png")
    small, full = ImageCache(max_side=20), ImageCache()
    assert small.load(path).shape == (10, 20, 3)
    assert small.info(path) == full.info(path)
    assert full.info(path).size == (30, 60)


def test_negative_budget_is_refused():
    """A budget below nothing is refused."""
    with pytest.raises(UsageError, match="budget"):
        ImageCache(-1)


def _sampler(folder, crop="whole", size=16, seed=3):
    splits = open_dataset(folder)
    return Sampler([*splits.train, *splits.val], ImageCache(), size, crop=crop, seed=seed)


@pytest.mark.parametrize("crop", ["whole", "native"])
def test_same_seed_and_step_draw_the_same_batch(pairs, crop):
    """A batch is a function of seed and step, whatever was drawn before; another seed draws another."""
    one, other = _sampler(pairs, crop), _sampler(pairs, crop)
    other.batch(0, 3)
    assert_same_batch(one.batch(5, 4), other.batch(5, 4))
    assert_same_batch(one.batch(5, 4), one.with_seed(4).with_seed(3).batch(5, 4))
    assert not torch.equal(one.batch(5, 4).image, one.with_seed(4).batch(5, 4).image)


@pytest.mark.parametrize("crop", ["whole", "native"])
def test_a_sample_does_not_depend_on_the_batch_size(pairs, crop):
    """Sample i of a run is the same however the run is cut into batches."""
    sampler = _sampler(pairs, crop)
    whole = sampler.batch(0, 12)
    for count in (1, 2, 3, 6):
        assert_same_batch(Batch.stack([sampler.batch(step, count) for step in range(12 // count)]), whole)


@pytest.mark.parametrize("crop", ["whole", "native"])
@pytest.mark.parametrize("size", [8, 16, 64])
def test_picture_and_reference_get_the_same_crop_and_flip(tmp_path, crop, size):
    """A pair of equal pictures gives equal crops, also where the crop is larger than the picture."""
    for number in range(3):
        for role in ("low", "high"):
            write(noise_picture(number), tmp_path / role / f"{number}.png")
    batch = _sampler(tmp_path, crop, size).batch(0, 12)
    assert batch.check().image.shape == (12, 3, size, size)
    assert torch.equal(batch.image, batch.target)
    assert batch.image.flatten(1).unique(dim=0).shape[0] > 3


def test_native_crops_are_pixels_of_the_picture(tmp_path):
    """A native crop is a window of the picture, upright or mirrored, not a resampling."""
    picture = noise_picture(0, (12, 14))
    for number in range(3):
        write(picture, tmp_path / f"{number}.png")
    windows = {picture[y : y + 8, x : x + 8][:, ::step].tobytes()
               for y in range(5) for x in range(7) for step in (1, -1)}
    drawn = (_sampler(tmp_path, "native", 8).batch(0, 20).image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert {crop.tobytes() for crop in drawn} <= windows
    assert len({crop.tobytes() for crop in drawn}) > 5


def test_every_example_is_drawn_once_an_epoch(tmp_path):
    """No example is left out, none comes twice before all came once, and no epoch has the order of the last."""
    for number in range(7):
        write(np.full((10, 10, 3), 30 * number, np.uint8), tmp_path / f"{number}.png")
    sampler = _sampler(tmp_path, size=8)
    epochs = [(sampler.batch(step, 7).image.mean(dim=(1, 2, 3)) * 255).round().int().tolist() for step in range(3)]
    assert all(sorted(epoch) == [30 * number for number in range(7)] for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_pictures_alone_have_no_reference(tmp_path):
    """Dark photographs alone give batches without a target."""
    for number in range(5):
        write(noise_picture(number), tmp_path / f"{number}.png")
    assert _sampler(tmp_path, size=8).batch(0, 2).check().target is None


@pytest.mark.parametrize("wrong", [{"crop": "centre"}, {"size": 4}, {"examples": []}])
def test_sampler_refuses_what_it_cannot_draw(pairs, wrong):
    """An unknown crop, a tiny size and an empty split are refused."""
    config = {"examples": open_dataset(pairs).train, "cache": ImageCache(), "size": 16, **wrong}
    with pytest.raises(UsageError):
        Sampler(**config)


def test_batch_refuses_what_does_not_fit(image):
    """A target of another size and a mask of another shape are refused."""
    assert Batch(image, image, image[:, :1]).check()
    with pytest.raises(UsageError, match="target"):
        Batch(image, image[..., :8]).check()
    with pytest.raises(UsageError, match="mask"):
        Batch(image, mask=image).check()
    with pytest.raises(UsageError, match="image"):
        Batch(image * 9).check()


def test_repeated_pictures_lie_beside_each_other(image):
    """a b becomes a a b b, target and mask along with it, and a slice takes them apart again."""
    batch = Batch(image, 1 - image, image[:, :1]).repeat(3)
    assert len(batch) == 6
    for index in range(6):
        part = batch[index : index + 1]
        assert torch.equal(part.image[0], image[index // 3])
        assert torch.equal(part.target[0], 1 - image[index // 3])
        assert torch.equal(part.mask[0], image[index // 3, :1])


def test_stacked_batches_lack_what_one_lacks(image):
    """What is known of some pictures only is not known of the batch."""
    assert Batch.stack([Batch(image, image), Batch(image)]).target is None
    assert torch.equal(Batch.stack([Batch(image, image), Batch(image, image)])[2:].target, image)


def test_portions_bound_what_is_in_memory(tmp_path):
    """Every picture gives its crops in an epoch, no more files are open at a time than the portion, and runs resume."""
    for number in range(7):
        write(noise_picture(number, (12, 12)), tmp_path / f"p{number}.png")
    examples = [Example(p.stem, p.stem, p, p) for p in sorted(tmp_path.iterdir())]
    cache = ImageCache(most=3)
    sampler = ShardedSampler(examples, cache, 8, portion=3, visits=4, seed=1)
    for epoch in range(2):
        places = [sampler._index(epoch * sampler.epoch + number) for number in range(sampler.epoch)]
        assert sorted(places) == sorted(list(range(7)) * 4)
        assert len(set(places[:12])) == len(set(places[12:24])) == 3 and len(set(places[24:])) == 1
    loaded = []
    for step in range(7):
        loaded.append(sampler.batch(step, 4).image)
        assert len(cache._images) <= 3
    again = sampler.with_seed(1)
    assert all(torch.equal(again.batch(step, 4).image, seen) for step, seen in enumerate(loaded))
    assert not torch.equal(sampler.with_seed(2).batch(0, 4).image, loaded[0])
    for wrong in ({"portion": 0, "visits": 1}, {"portion": 1, "visits": 0}):
        with pytest.raises(UsageError, match="portion"):
            ShardedSampler(examples, cache, 8, **wrong)

"""Outputs re-enter training: their share, their depth, who goes first, and when it stops."""

import pytest
import torch

from rlenhance.agents.self_training import EarlyStopping, SelfTrainingBuffer
from rlenhance.core.errors import UsageError
from rlenhance.learning.data import Batch


def _batch(count, mark=0, size=8):
    """Pictures whose clean value is a number of their own, and 0.1 more where they are noisy."""
    clean = (torch.arange(count) + mark).float().view(-1, 1, 1, 1).expand(-1, 3, size, size) / 255
    return Batch(clean + 0.1, clean)


def _round(store, batch, generator, improve=0.03):
    """One update: what is there now moves towards the reference and is kept."""
    current, start, target, generation = store.mix_into(batch, generator)
    store.add(current - improve, start, target, generation)
    return current, start, target, generation


def test_at_first_the_batch_is_the_batch(generator):
    """Without outputs nothing is replaced: current and start are the noisy pictures, generation 0."""
    batch = _batch(10)
    current, start, target, generation = SelfTrainingBuffer(20).mix_into(batch, generator)
    assert torch.equal(current, batch.image) and torch.equal(start, batch.image)
    assert torch.equal(target, batch.target) and (generation == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_the_share_is_kept_on_average(share, size, generator):
    """However small a batch, over many of them outputs take their share; never more than one picture off it."""
    store = SelfTrainingBuffer(64, share)
    store.add(*(_batch(64).image,) * 3, torch.zeros(64, dtype=torch.int64))
    counts = torch.tensor([(store.mix_into(_batch(size), generator)[3] > 0).sum() for _ in range(400)]).float()
    assert abs(counts.mean() / size - share) < 0.06
    assert (counts - share * size).abs().max() < 1


def test_no_output_stands_twice_in_a_batch(generator):
    """And where there are few outputs the batch brings the rest."""
    store = SelfTrainingBuffer(64, prob=1.0)
    store.add(_batch(5).image, _batch(5).image, _batch(5).target, torch.zeros(5, dtype=torch.int64))
    _, _, target, generation = store.mix_into(_batch(12, mark=100), generator)
    assert (generation > 0).sum() == 5
    assert len(target[generation > 0].flatten(1)[:, 0].unique()) == 5


def test_what_belongs_together_stays_together(generator):
    """Start and reference follow their picture through the generations; each generation is nearer to it."""
    store, seen = SelfTrainingBuffer(40), set()
    for step in range(60):
        current, start, target, generation = _round(store, _batch(12, mark=step), generator)
        assert ((start - target - 0.1).abs() < 2 / 255).all()
        left = (current - target)[:, 0, 0, 0]
        assert ((left - (0.1 - 0.03 * generation)).abs() < 4 / 255).all()
        seen |= set(generation.tolist())
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_nothing_is_deeper_than_the_depth(depth, generator):
    """The outputs of the deepest generation are let go."""
    store = SelfTrainingBuffer(30, max_generation=depth)
    deepest = max(int(_round(store, _batch(10, step), generator)[3].max()) for step in range(50))
    assert deepest == depth
    before = store.state_dict()
    store.add(*(_batch(4, 99).image,) * 3, torch.full((4,), depth))
    assert torch.equal(before["kept"]["target"], store.state_dict()["kept"]["target"])


def test_the_oldest_go_first(generator):
    """The store holds the newest, as many as its capacity says, in 8 bits."""
    store = SelfTrainingBuffer(10, prob=1.0)
    for step in range(7):
        batch = _batch(4, 4 * step)
        store.add(batch.image, batch.image, batch.target, torch.zeros(4, dtype=torch.int64))
        assert len(store) == min(10, 4 * (step + 1))
    _, _, target, _ = store.mix_into(_batch(10, 200), generator)
    assert sorted((target[:, 0, 0, 0] * 255).round().int().tolist()) == list(range(18, 28))
    large = _batch(25, 50)
    store.add(large.image, large.image, large.target, torch.zeros(25, dtype=torch.int64))  # more than fits
    _, _, target, _ = store.mix_into(_batch(10, 200), generator)
    assert sorted((target[:, 0, 0, 0] * 255).round().int().tolist()) == list(range(65, 75))
    assert {value.dtype for name, value in store.state_dict()["kept"].items() if name != "generation"} == {torch.uint8}


def test_a_resumed_store_draws_what_it_would_have_drawn(generator):
    """State and stream are all there is."""
    store = SelfTrainingBuffer(16)
    for step in range(9):
        _round(store, _batch(5, step), generator)
    other = SelfTrainingBuffer(16)
    other.load_state_dict(store.state_dict())
    streams = [torch.Generator().manual_seed(3) for _ in range(2)]
    for step in range(9):
        pairs = [_round(s, _batch(5, step), g) for s, g in zip((store, other), streams, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


def test_what_cannot_be_is_refused(generator):
    """Sizes that do not fit, no references, no room; a ruined output is not kept."""
    for wrong in ({"capacity": 0}, {"capacity": 4, "prob": 1.5}, {"capacity": 4, "max_generation": 0},
                  {"capacity": 4, "prob": float("nan")}):
        with pytest.raises(UsageError, match=r"(capacity|prob|max_generation) must lie in"):
            SelfTrainingBuffer(**wrong)
    store = SelfTrainingBuffer(8, prob=1.0)
    with pytest.raises(UsageError, match="have none"):
        store.mix_into(Batch(_batch(3).image), generator)
    batch = _batch(4)
    ruined = batch.image.clone()
    ruined[1, 0, 3, 3] = torch.nan
    store.add(ruined, batch.image, batch.target, torch.zeros(4, dtype=torch.int64))
    assert len(store) == 3
    for use in (lambda b: store.mix_into(b, generator),
                lambda b: store.add(b.image, b.image, b.target, torch.zeros(4, dtype=torch.int64))):
        with pytest.raises(UsageError, match="one size"):
            use(_batch(4, size=9))


def test_it_stops_when_the_score_falls():
    """The first fall ends it, rises do not; within the slack it may go on, but the best stays the best."""
    falling = EarlyStopping()
    assert [falling.update(psnr) for psnr in (28.0, 28.5, 28.5, 28.4)] == [False, False, False, True]
    assert falling.best == 28.5 and falling.best_round == 1
    falling = EarlyStopping(tolerance=0.2)
    assert not any(falling.update(psnr) for psnr in (28.0, 27.9, 27.85))
    again = EarlyStopping(tolerance=0.2)
    again.load_state_dict(falling.state_dict())
    assert again.update(27.7) and falling.update(float("nan")) and again.best_round == 0
    with pytest.raises(UsageError, match="tolerance"):
        EarlyStopping(-1)

"""The Enhancer: pictures keep their kind, files get the right names, and one bad file stops nothing."""

from functools import partial
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from rlenhance.core.errors import UsageError
from rlenhance.experiments.laws.models import gives_pictures
from rlenhance.hub.info import read_info
from rlenhance.io import Photo, read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.learning.models import MODELS
from rlenhance.pipelines.complete import Completer
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from tests.support.networks import CHOICE, make_model, make_policy, stir


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A checkpoint of a policy that takes an exposure level."""
    return save_checkpoint(tmp_path_factory.mktemp("run") / "best", stir(make_policy(preferences=CHOICE)))


@pytest.fixture(scope="module")
def enhancer(model):
    """That policy for photographs."""
    return Enhancer(model)


def _dark(seed=0, size=(20, 28), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max // 4, (*size, 3), dtype=dtype)


@pytest.mark.parametrize("size", [(20, 28), (9, 13), (1, 1), (64, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_a_picture_keeps_its_shape_and_kind(enhancer, size, dtype):
    """Whatever the size and kind of number, the result has the same, and the picture given is left as it was."""
    picture = _dark(size=size) / 255
    picture = picture.astype(dtype) if np.issubdtype(dtype, np.floating) else \
        (picture * np.iinfo(dtype).max).astype(dtype)
    before = picture.copy()
    result = enhancer(picture)
    assert result.shape == picture.shape and result.dtype == dtype
    assert np.array_equal(picture, before)
    assert np.array_equal(result, enhancer(picture))


def test_depth_changes_nothing_but_the_rounding(enhancer):
    """The same picture in 8 and in 16 bits is enhanced alike."""
    picture = _dark()
    deep = enhancer(picture.astype(np.uint16) * 257)
    assert np.abs(deep / 257 - enhancer(picture)).max() <= 0.5 + 0.5 / 257 + 1e-4  # both are rounded


PIPELINES = {"enhance": Enhancer, "denoise": Denoiser, "completion": Completer}
every_model = pytest.mark.parametrize("name", [name for name in MODELS if gives_pictures(name)
                                               and getattr(make_model(name), "scale", 1) == 1])  # the size stays


def _pipeline(folder, name=None, **options):
    """The pipeline that takes the checkpoint in a folder, which is made first where a name is given; as a function of
    the picture alone."""
    if name:
        save_checkpoint(folder / "best", stir(make_model(name)))
    pipeline = PIPELINES[read_info(folder / "best").purpose](folder, **options)
    if isinstance(pipeline, Denoiser):
        pipeline = pipeline.with_settings(noise=25)
    hole = np.zeros((20, 28), bool)
    hole[6:14, 8:20] = True
    return partial(pipeline, mask=hole) if isinstance(pipeline, Completer) else pipeline


@every_model
def test_every_model_can_be_used(name, tmp_path):
    """Every network of the registry changes photographs once it was saved."""
    picture = _dark()
    result = _pipeline(tmp_path, name)(picture)
    assert result.shape == picture.shape
    assert not np.array_equal(result, picture)


@pytest.mark.parametrize("wrong", [
    np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.int32),
    np.full((8, 8, 3), 128.0, np.float32), np.full((8, 8, 3), np.nan, np.float32), np.zeros((0, 8, 3), np.uint8),
], ids=["grey", "RGBA", "int32", "0 to 255", "NaN", "empty"])
def test_what_is_no_picture_is_refused(enhancer, wrong):
    """Another shape, kind of number or range is refused; nothing is guessed."""
    with pytest.raises(UsageError):
        enhancer(wrong)


def test_no_steps_change_nothing(model):
    """Stopped before its first step, a policy gives the picture back."""
    for picture in (_dark(), _dark(dtype=np.uint16)):
        assert np.array_equal(Enhancer(model, steps=0)(picture), picture)


def test_strength_zero_never_asks_the_model(model):
    """The gate is structural: not even a model that gives nonsense can reach the pixels, and bad pictures are told."""
    gated = Enhancer(model, strength=0)
    asked = AssertionError("the model was asked")
    gated.network = Mock(side_effect=asked, horizon=gated.network.horizon, preferences=gated.network.preferences)
    gated.network.decide.side_effect = gated.network.render_array.side_effect = asked
    assert np.array_equal(gated(_dark()), _dark())
    with pytest.raises(UsageError):
        gated(np.full((8, 8, 3), np.nan, np.float32))


@every_model
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_blends_before_rounding(name, dtype, tmp_path):
    """Between 0 and 1 the result lies that far between the picture and the model's, and is rounded once."""
    picture, largest = _dark(dtype=dtype), np.iinfo(dtype).max
    full = _pipeline(tmp_path, name, strength=1)(picture.astype(np.float64) / largest) * largest
    for strength in (0.25, 0.9):
        wanted = picture + strength * (full - picture)
        assert np.abs(_pipeline(tmp_path, strength=strength)(picture) - wanted).max() <= 0.5 + 0.02
    assert np.array_equal(_pipeline(tmp_path, strength=1)(picture), _pipeline(tmp_path)(picture))


@pytest.mark.parametrize("grey", [False, True])
def test_strength_zero_keeps_files(model, tmp_path, grey):
    """Grey, transparency and depth of a file stay with the strength 0 as well."""
    alpha = np.random.default_rng(1).integers(0, 65535, (20, 28), dtype=np.uint16)
    pixels = np.repeat(_dark(dtype=np.uint16)[..., :1], 3, axis=2) if grey else _dark(dtype=np.uint16)
    source = write(Photo(pixels, alpha, grey), tmp_path / "in.png")
    (outcome,) = Enhancer(model, strength=0).process_files([source])
    assert np.array_equal(read(outcome.written).pixels, pixels)
    assert np.array_equal(read(outcome.written).alpha, alpha)


def test_what_the_model_cannot_do_is_refused_at_once(model, tmp_path):
    """Steps and choices are checked when the model is loaded, not at the first photograph."""
    for wrong in ({"steps": 99}, {"steps": -1}, {"preference": {"exposure_level": 0.1}},
                  {"preference": {"exposure": 0.5}}):
        with pytest.raises(UsageError):
            Enhancer(model, **wrong)
    save_checkpoint(tmp_path / "best", make_model("restorer"))
    for wrong in ({"steps": 1}, {"preference": {"exposure_level": 0.4}}):
        with pytest.raises(UsageError, match=r"one pass|no preferences"):
            Enhancer(tmp_path, **wrong)


def test_auto_is_passed_only_to_models_that_know_it(model, tmp_path):
    """None leaves the value to a model that can choose it; another one is refused, with its range."""
    with pytest.raises(UsageError, match=r"exposure_level auto: .* a number from 0\.25 to 0\.75"):
        Enhancer(model, preference={"exposure_level": None})
    enhancer = Enhancer(save_checkpoint(tmp_path / "best", make_policy(preferences=CHOICE, auto=["exposure_level"])))
    heard = []
    enhancer.network.decide = lambda planes, preference=None: heard.append(preference) or []
    enhancer(_dark())
    enhancer.with_settings(preference={"exposure_level": None})(_dark())
    assert heard == [None, {"exposure_level": None}]


def test_choices_can_change(model):
    """Later choices replace the earlier ones; refused ones leave them as they were."""
    enhancer = Enhancer(model, preference={"exposure_level": 0.3})
    assert enhancer.preference_ranges == CHOICE
    dim = enhancer(_dark())
    for wrong in ({"exposure_level": 3}, {"contrast": 0.5}):
        with pytest.raises(UsageError):
            enhancer.with_settings(preference=wrong)
    assert np.array_equal(enhancer(_dark()), dim)
    assert np.array_equal(enhancer.with_settings(preference={})(_dark()), Enhancer(model)(_dark()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_byte_equal(enhancer, tmp_path, dtype):
    """Transparency goes through untouched, in 8 and 16 bits, even where the picture changes."""
    alpha = np.random.default_rng(1).integers(1, np.iinfo(dtype).max, (20, 28), dtype=dtype)
    source = write(Photo(_dark(dtype=dtype), alpha), tmp_path / "in.png")
    (outcome,) = enhancer.process_files([source])
    result = read(outcome.written)
    assert np.array_equal(result.alpha, alpha)
    assert result.pixels.dtype == dtype
    assert np.array_equal(result.pixels, enhancer(_dark(dtype=dtype)))


def test_one_bad_file_stops_nothing(enhancer, tmp_path):
    """A folder goes on past what cannot be read or written, and each outcome says what became of it."""
    write(_dark(), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("no picture")
    write(Photo(_dark(), _dark()[..., 0]), tmp_path / "in" / "c.png")
    write(_dark(dtype=np.uint16), tmp_path / "in" / "d.png")
    write(_dark(size=(1, 20000)), tmp_path / "in" / "e.png")
    write(_dark(), tmp_path / "in" / "f.png")
    told = []
    outcomes = enhancer.process_files([tmp_path / "in"], tmp_path / "out", extension=".webp", on_outcome=told.append)
    assert told == outcomes
    assert [outcome.source.name for outcome in outcomes if outcome.error] == ["b.png", "e.png"]
    assert all((outcome.written is None) == (outcome.error is not None) for outcome in outcomes)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.webp", "c.webp", "d.webp", "f.webp"]


@pytest.mark.parametrize("model", ["balanced", "reference-direct", "supervised"])
@pytest.mark.parametrize("settings", [{}, {"white": 2800.0, "strength": 0.6}, {"denoise": 0.5}], ids=str)
def test_a_picture_is_decided_on_and_rendered(model, settings):
    """Both together are the call, for every kind of model; the picture itself may take the result."""
    enhancer, dark = Enhancer(model, **settings), np.random.default_rng(0).integers(0, 60, (100, 120, 3), np.uint8)
    decision, wanted = enhancer.decide(dark), enhancer(dark)
    assert (decision.actions is not None) == enhancer.shares_decision
    assert np.array_equal(enhancer.render(dark, decision), wanted)
    assert np.array_equal(enhancer.render(dark, decision, out=dark), wanted)
    with pytest.raises(AttributeError):
        decision.noise = 0.0


def test_a_named_exposure_is_met():
    """Dark and bright pictures, by every shipped policy: the mean of the result is what was asked for."""
    rng = np.random.default_rng(3)
    for top in (60, 160):
        picture = (cv2.GaussianBlur(rng.random((90, 120, 3)), (0, 0), 5) ** 2 * 4 * top).clip(3, 255).astype(np.uint8)
        for model in (None, "natural"):
            for level in (0.3, 0.45, 0.55):
                result = Enhancer(model, preference={"exposure_level": level}, denoise=0.0, white="keep")(picture)
                assert result.mean() / 255 == pytest.approx(level, abs=0.02), (model, top, level)


def test_an_exposure_that_is_not_met_is_said_with_the_reason():
    """Black stays black: what was asked for, what came of it, and why; nothing where it was met."""
    black = np.zeros((64, 64, 3), np.uint8)
    black[:8] = 40
    said = Enhancer(preference={"exposure_level": 0.6}).process(Photo(black)).decision
    assert said["missed"].startswith("asked for an exposure of 0.60, reached 0.")
    assert said["missed"].endswith("almost nothing was recorded in 88% of the picture")
    even = np.random.default_rng(0).integers(20, 60, (64, 64, 3), dtype=np.uint8)
    assert "missed" not in Enhancer(preference={"exposure_level": 0.4}).process(Photo(even)).decision
    assert "missed" not in Enhancer().process(Photo(black)).decision

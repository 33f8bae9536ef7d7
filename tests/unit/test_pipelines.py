"""The five pipelines are one kind of thing: laws that hold for each of them."""

import dataclasses
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from rlenhance.cli.main import main, parser
from rlenhance.cli.photo_command import read_settings
from rlenhance.core.errors import UsageError
from rlenhance.hub.shipped import COMMANDS
from rlenhance.io import Photo, read, write
from rlenhance.io.photo import Metadata
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.base import ImagePipeline
from rlenhance.pipelines.complete import Completer
from rlenhance.pipelines.denoise import Denoiser
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.options import (
    CompleteSettings,
    DenoiseSettings,
    EnhanceSettings,
    ImageSettings,
    RestoreSettings,
    UpscaleSettings,
    flags_of,
    format_flags,
    from_json,
    settings_of,
    to_json,
)
from rlenhance.pipelines.restore import PhotoRestorer
from rlenhance.pipelines.upscale import Upscaler
from tests.support.corpus import make_exif
from tests.support.networks import CHOICE, make_model, make_planner, make_policy, stir

SIZE = (24, 32)
PIPELINES = {"enhance": Enhancer, "denoise": Denoiser, "completion": Completer, "upscale": Upscaler,
             "restore": PhotoRestorer}
every_pipeline = pytest.mark.parametrize("purpose", PIPELINES)
#: Settings apart from their defaults.
CHANGED = [
    EnhanceSettings(preference={"exposure_level": None, "contrast": 1 / 3, "color": -0.25}, strength=0.7, denoise=0.5,
                    steps=2),
    DenoiseSettings(noise=12.5, strength=1 / 3, iterations=2), CompleteSettings(strength=0.25),
    UpscaleSettings(scale=2, strength=0.5), RestoreSettings(budget="best", steps=3, strength=0.5), RestoreSettings(),
    EnhanceSettings(), DenoiseSettings(), CompleteSettings(), UpscaleSettings(),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint for each purpose."""
    networks = {"enhance": make_policy(preferences=CHOICE), "denoise": make_model("denoiser"),
                "completion": make_model("prior"), "upscale": make_model("combined", scale=2)}
    root = tmp_path_factory.mktemp("runs")
    return {"restore": save_checkpoint(root / "restore" / "best", make_planner())} | {
        purpose: save_checkpoint(root / purpose / "best", stir(network)) for purpose, network in networks.items()}


@pytest.fixture
def pipeline(folders, purpose):
    """The pipeline of a purpose, with a checkpoint for it."""
    return PIPELINES[purpose](folders[purpose])


def picture(dtype=np.uint8, seed=0):
    """(24, 32, 3)."""
    values = np.random.default_rng(seed).uniform(0.05, 0.6, (*SIZE, 3))
    return np.rint(values * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else \
        values.astype(dtype)


def region():
    """(24, 32) bool: a rectangle within."""
    mask = np.zeros(SIZE, bool)
    mask[6:16, 8:24] = True
    return mask


@every_pipeline
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_kind_that_comes_in_goes_out(pipeline, dtype):
    """An array, a tensor and a photograph give equal values, in their own kind."""
    pixels = picture(dtype)
    before, result = pixels.copy(), pipeline(pixels, mask=region())
    tensor = pipeline(torch.from_numpy(pixels).movedim(-1, 0), mask=region())
    assert isinstance(result, np.ndarray) and result.dtype == dtype and np.array_equal(pixels, before)
    assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor.movedim(0, -1).numpy(), result)
    several = pipeline(torch.from_numpy(np.stack([pixels, pixels])).movedim(-1, 1), mask=region())
    assert torch.equal(several[0], tensor) and torch.equal(several[1], tensor)
    photo = pipeline.process(Photo(pixels), mask=region()).photo
    assert isinstance(photo, Photo) and np.array_equal(photo.pixels, result)
    assert not np.array_equal(result[:24, :32], pixels)


@every_pipeline
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_an_image_goes_as_its_photograph(pipeline, mode):
    """A PIL image keeps its mode and info, and has the pixels and the transparency of the photograph."""
    alpha = np.random.default_rng(3).integers(0, 3, SIZE, dtype=np.uint8) * 100
    image = Image.fromarray(picture()).convert(mode.removesuffix("A"))
    colors = np.asarray(image.convert("RGB"))
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(alpha))
    image.info["dpi"] = (300, 300)
    photo = Photo(colors, alpha if mode.endswith("A") else None, grey=mode.startswith("L"))
    result, wanted = pipeline(image, mask=region()), pipeline.process(photo, mask=region()).photo
    assert (result.mode, result.info["dpi"]) == (mode, (300, 300))
    assert np.array_equal(np.asarray(result.convert("RGB")), wanted.pixels)
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(result)[..., -1], wanted.alpha)


@every_pipeline
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_strength_zero_changes_nothing(folders, purpose, dtype):
    """Where the size stays, every bit is the input's, and a photograph is the same object; a larger result is the
    bicubic enlargement, whatever the network would add."""
    pipeline, pixels = PIPELINES[purpose](folders[purpose], strength=0), picture(dtype)
    result = pipeline(pixels, mask=region())
    if purpose == "upscale":
        plain = np.asarray(Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)) \
            if dtype == np.uint8 else None
        assert result.shape == (48, 64, 3) and (plain is None or np.abs(result.astype(int) - plain).mean() < 8)
        return
    photo = Photo(pixels)
    assert result.tobytes() == pixels.tobytes() and result is not pixels
    assert pipeline.process(photo, mask=region()).photo is photo


@every_pipeline
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_outside_the_region_nothing_changes(folders, purpose, dtype):
    """A mask of a call, or the region of a pipeline: inside the result changes, outside not a bit does."""
    pixels, scale = picture(dtype), 2 if purpose == "upscale" else 1
    inside = region().repeat(scale, 0).repeat(scale, 1)
    pipeline = PIPELINES[purpose](folders[purpose])
    other = pipeline.with_settings()
    if purpose != "completion":
        other = PIPELINES[purpose](folders[purpose], region=region())
        assert np.array_equal(other(pixels), pipeline(pixels, mask=region()))
    result = pipeline(pixels, mask=region())
    if purpose == "upscale":  # outside it is the bicubic enlargement
        clear = ~np.asarray(Image.fromarray(inside).resize((64, 48))).astype(bool)
        clear[10:34, 14:50] = False
        assert np.array_equal(result[clear], pipeline.with_settings(strength=0)(pixels, mask=region())[clear])
    else:
        assert np.array_equal(result[~inside], pixels[~inside])
    assert not np.array_equal(result[inside], pixels.repeat(scale, 0).repeat(scale, 1)[inside])
    with pytest.raises(UsageError, match="32x24"):
        pipeline(pixels, mask=np.ones((8, 9), bool))


@every_pipeline
def test_metadata_stay(folders, purpose, tmp_path):
    """EXIF, resolution and texts of a file stand in its result, whose size the EXIF block names."""
    pixels = np.kron(picture(), np.ones((4, 4, 1), np.uint8))
    photo = Photo(pixels, metadata=Metadata(exif=make_exif(1).tobytes(), dpi=(300.0, 300.0)))
    source = write(photo, tmp_path / "in.png")
    pipeline = PIPELINES[purpose](folders[purpose])
    mask = np.kron(region(), np.ones((4, 4), bool))
    (outcome,) = pipeline.process_files([source], tmp_path / "out.png", find_mask=lambda _: mask)
    assert outcome.error is None
    result, before = read(outcome.written), read(source)
    assert result.metadata.dpi == before.metadata.dpi and result.metadata.exif
    if purpose != "upscale":  # what invents pixels says so in XMP: tests/unit/test_xmp.py
        assert replace(result.metadata, xmp=before.metadata.xmp) == before.metadata
    json.dumps(dict(outcome.decision))


@every_pipeline
def test_files_get_the_suffix_of_their_pipeline(pipeline, tmp_path):
    """Beside its source a result is called after what was done; the callback hears each."""
    source, heard = write(picture(), tmp_path / "in.png"), []
    outcomes = pipeline.process_files([source], find_mask=lambda _: region(), on_outcome=heard.append)
    assert heard == outcomes and outcomes[0].written.name == f"in{pipeline.suffix}.png"
    assert np.array_equal(read(outcomes[0].written).pixels, pipeline(picture(), mask=region()))


@every_pipeline
def test_a_pipeline_can_be_sent_to_a_worker(folders, purpose):
    """Pickled and opened again, or made from its settings' JSON, it gives the same pixels; no weights travel."""
    pipeline = PIPELINES[purpose](folders[purpose], strength=0.75, on_progress=print)
    packed = pickle.dumps(pipeline)
    assert len(packed) < 4000
    wanted = pipeline(picture(), mask=region())
    again = pickle.loads(packed)
    made = PIPELINES[purpose].from_settings(json.loads(json.dumps(to_json(pipeline.settings))), folders[purpose])
    for other in (again, made, pipeline.with_settings()):
        assert other.settings == pipeline.settings and np.array_equal(other(picture(), mask=region()), wanted)


@every_pipeline
def test_settings_are_changed_on_a_copy(pipeline):
    """`with_settings` shares the networks and leaves the first pipeline as it was; a wrong value is refused."""
    before = pipeline.settings
    half = pipeline.with_settings(strength=0.5)
    assert half.settings.strength == 0.5 and pipeline.settings == before and half.network is pipeline.network
    for wrong in (2, -0.1, float("nan"), "much", True, None):
        with pytest.raises(UsageError, match="strength must"):
            pipeline.with_settings(strength=wrong)
    assert pipeline.settings == before
    with pytest.raises(TypeError, match="unheard"):
        pipeline.with_settings(unheard=1)


@every_pipeline
def test_progress_is_told(folders, purpose, monkeypatch):
    """Where a picture is worked on in parts, the share that is done rises to 1."""
    heard = []
    for room in ("denoise", "upscale"):
        monkeypatch.setattr(f"rlenhance.pipelines.{room}._TILE", 16)
    PIPELINES[purpose](folders[purpose], on_progress=heard.append)(picture(), mask=region())
    assert heard == sorted(heard) and (purpose == "enhance" or heard[-1] == 1)
    assert purpose not in ("denoise", "upscale") or len(heard) == 4


@every_pipeline
def test_a_stream_is_the_same_as_calls(folders, purpose):
    """Results come in order."""
    if purpose == "completion":
        pytest.skip("holes are masked call by call")
    pipeline = PIPELINES[purpose](folders[purpose])
    pictures = [picture(seed=seed) for seed in range(3)]
    assert all(np.array_equal(one, pipeline(other)) for one, other in zip(pipeline.stream(pictures), pictures,
                                                                         strict=True))


@every_pipeline
@pytest.mark.parametrize("other", PIPELINES)
def test_a_model_for_something_else_is_refused(folders, purpose, other, tmp_path, capsys, monkeypatch):
    """The class and the command name the model and the command that takes it."""
    if purpose == other:
        return
    told = f"rlenhance {COMMANDS[other]} is the command for it"
    with pytest.raises(UsageError, match=told):
        PIPELINES[purpose](folders[other])
    monkeypatch.chdir(tmp_path)
    write(picture(), "a.png")
    words = [COMMANDS[purpose], "a.png", "--model", str(folders[other]), *["--auto-mask"] * (purpose == "completion")]
    assert main(words) == 2 and told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("settings", CHANGED, ids=lambda one: f"{type(one).__name__} {format_flags(one)}")
def test_settings_survive_flags_and_json(settings):
    """Typed as flags, or written as JSON, they come back as they were, to the last bit."""
    command = next(name for name in COMMANDS.values() if type(settings).__name__.lower().startswith(name))
    words = [command, "a.png", *format_flags(settings), *["--auto-mask"] * (command == "complete")]
    assert read_settings(parser().parse_args(words), type(settings)) == settings
    assert from_json(type(settings), json.loads(json.dumps(to_json(settings)))) == settings


@pytest.mark.parametrize("kind", ImageSettings.__subclasses__())
def test_every_setting_has_a_flag_with_its_help(kind, capsys):
    """Each field is described once, and stands in the help of the command."""
    command = next(name for name in COMMANDS.values() if kind.__name__.lower().startswith(name))
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help-all"])
    text = " ".join(capsys.readouterr().out.split())
    for about in flags_of(kind):
        assert about.help and f"{about.flag} {about.metavar}" in text
        assert " ".join(about.help.split())[:30] in text
    named = {entry.name for entry in dataclasses.fields(kind)}
    assert named - set(settings_of(kind)) <= {"preference", "table"}  # a table comes with a look


@pytest.mark.parametrize("kind, wrong, told", [
    (DenoiseSettings, {"noise": 90}, "noise must lie between 0 and 75 .*got 90: reduce"),
    (DenoiseSettings, {"noise": -1}, "noise must lie between 0 and 75 .*got -1"),
    (DenoiseSettings, {"iterations": -1}, "iterations must be 0 or more; got -1"),
    (DenoiseSettings, {"iterations": 1.5}, "iterations must be a whole number; got 1.5"),
    (UpscaleSettings, {"scale": 3}, "scale must be 2 or 4; got 3"),
    (EnhanceSettings, {"denoise": True}, 'denoise must be a number or "auto"; got true'),
    (EnhanceSettings, {"steps": "2"}, 'steps must be a whole number or null; got "2"'),
])
def test_a_setting_outside_its_range_is_named(kind, wrong, told):
    """The value, the range and the way out are told; nothing is guessed."""
    with pytest.raises(UsageError, match=told):
        kind(**wrong)
    with pytest.raises(UsageError, match=told):
        replace(kind(), **wrong)
    with pytest.raises(UsageError, match="unknown setting"):
        from_json(kind, {"nose": 1})


def test_a_new_pipeline_is_a_few_lines():
    """What a subclass says of the pixels is enough: kinds, transparency, strength 0 and region come from the base."""
    class Negative(ImagePipeline[ImageSettings]):
        name, suffix, purpose, Settings = "negative", "_negative", "enhance", ImageSettings

        def _load(self):
            pass

        def _apply(self, pixels, weights, photo):
            return np.iinfo(pixels.dtype).max - pixels, {"turned": True}

    pixels = picture()
    assert np.array_equal(Negative()(pixels), 255 - pixels)
    assert np.array_equal(np.asarray(Negative()(Image.fromarray(pixels))), 255 - pixels)
    part = Negative()(pixels, mask=region())
    assert np.array_equal(part[~region()], pixels[~region()]) and (part[10, 16] == 255 - pixels[10, 16]).all()
    assert Negative().process(Photo(pixels)).decision == {"turned": True}


@pytest.mark.parametrize("words", [
    ["enhance", "a.png", "--model", "denoiser"], ["denoise", "a.png", "--model", "natural"],
    ["upscale", "a.png", "--model", "natural"], ["enhance", "a.png", "--exposure", "7"],
    ["enhance", "a.png", "--strength", "7"], ["denoise", "a.png", "--noise", "90"],
    ["upscale", "a.png", "--scale", "3"],
], ids=" ".join)
def test_refusals_do_not_wait_for_torch(words, tmp_path):
    """What the settings or config.json tell is refused before torch is imported."""
    write(picture(), tmp_path / "a.png")
    script = (f"import sys\nfrom rlenhance.cli.main import main\nstatus = main({words!r})\n"
              f"assert 'torch' not in sys.modules, 'torch was imported'\nsys.exit(status)")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


def test_denoising_and_enlarging_keep_to_a_region(folders, tmp_path, monkeypatch):
    """`--region` is where the picture may change, as for enhance."""
    monkeypatch.chdir(tmp_path)
    write(picture(), "a.png")
    write((region()[..., None] * np.full(3, 255)).astype(np.uint8), "mask.png")
    assert main(["denoise", "a.png", "--region", "mask.png", "--model", str(folders["denoise"])]) == 0
    result = read("a_denoised.png").pixels
    assert np.array_equal(result[~region()], picture()[~region()]) and not np.array_equal(result, picture())
    assert main(["upscale", "a.png", "--region", "mask.png", "--model", str(folders["upscale"])]) == 0
    wanted = Upscaler(folders["upscale"])(picture(), mask=region())
    assert np.abs(read("a_upscaled.png").pixels.astype(int) - wanted).max() <= 1

"""Every kind of picture a program holds goes in and comes out; threads, streams and devices."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from rlenhance import Completer, Enhancer, Upscaler
from rlenhance.cli.main import main
from rlenhance.core import machine
from rlenhance.core.errors import UsageError
from rlenhance.core.machine import resolve_device
from rlenhance.io import Photo, read, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines.denoise import Denoiser
from tests.support.networks import CHOICE, make_policy, stir


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory):
    """A small policy for photographs."""
    return Enhancer(save_checkpoint(tmp_path_factory.mktemp("run") / "best", stir(make_policy(preferences=CHOICE))))


def _dark(seed=0, size=(20, 28)):
    return np.random.default_rng(seed).integers(0, 70, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_pil_images_keep_their_mode(enhancer, mode):
    """Mode, size and what hangs on an image stay; transparency to the byte; colours are those of the array."""
    picture = _dark()
    deep = mode == "I;16"
    image = Image.fromarray(picture[..., 0].astype(np.uint16) * 257) if deep else Image.fromarray(picture).convert(mode)
    image.info["dpi"] = (300, 300)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.maximum(_dark(1)[..., 0], 1)))
    result = enhancer(image)
    assert (result.mode, result.size, result.info["dpi"]) == (image.mode, image.size, (300, 300))
    assert np.asarray(result).dtype == np.asarray(image).dtype and not np.array_equal(result, image)
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(result)[..., -1], np.maximum(_dark(1)[..., 0], 1))
    if mode.startswith("RGB"):
        assert np.array_equal(np.asarray(result)[..., :3], enhancer(picture))


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "F", "YCbCr"])
def test_other_pil_images_are_told_the_way_out(enhancer, mode):
    """A mode that cannot be kept is refused with the conversion that would do."""
    with pytest.raises(UsageError, match=f"got {mode}.*image.convert"):
        enhancer(Image.new(mode, (8, 8)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(3, 20, 28), (2, 3, 20, 28)], ids=str)
def test_tensors_keep_their_shape_and_kind(enhancer, dtype, shape):
    """One or several, channels first: the numbers are those of the arrays, each picture by itself."""
    pictures = np.stack([_dark(i) for i in range(2)])
    tensor = torch.from_numpy(pictures).movedim(-1, -3)
    tensor = tensor if len(shape) == 4 else tensor[0]
    given = tensor.to(dtype) * 257 if dtype == torch.uint16 else tensor if dtype == torch.uint8 else (
        tensor.to(torch.float32) / 255).to(dtype)
    result = enhancer(given)
    assert result.shape == given.shape and result.dtype == dtype and not result.is_inference()
    first = (result if len(shape) == 3 else result[0]).movedim(0, -1).to(torch.float64).numpy()
    top = {torch.uint8: 1, torch.uint16: 257}.get(dtype, 1 / 255)
    assert np.abs(first / top - enhancer(pictures[0])).max() <= (1 if dtype != torch.uint8 else 0)


@pytest.mark.parametrize("wrong, words", [
    (torch.zeros(20, 28, 3), "channels come first"), (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
    (torch.zeros(8, 8), r"\(3, H, W\)"), ("night.jpg", "array"), (None, "array"),
], ids=["last", "int64", "grey", "name", "none"])
def test_what_is_no_picture_is_told_what_would_be(enhancer, wrong, words):
    """The text names what is taken."""
    with pytest.raises(UsageError, match=words):
        enhancer(wrong)


def test_threads_do_not_disturb_each_other(enhancer):
    """Four threads at once give what one gives after the other."""
    pictures = [_dark(i, (64 + i, 80)) for i in range(4)]
    wanted, found = [enhancer(picture) for picture in pictures], [None] * 4
    start = threading.Barrier(4)

    def work(i):
        start.wait()
        for _ in range(2):
            found[i] = enhancer(pictures[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_stream_keeps_the_order_and_looks_ahead(enhancer):
    """Results come in the order of the pictures; no more of them are fetched than are looked ahead."""
    fetched = []

    def pictures():
        for i in range(7):
            fetched.append(i)
            yield _dark(i, (20 + 9 * (i % 2), 28))

    results = []
    for count, result in enumerate(enhancer.stream(pictures(), ahead=2)):
        results.append(result)
        assert len(fetched) <= count + 3
    assert all(np.array_equal(result, enhancer(_dark(i, (20 + 9 * (i % 2), 28)))) for i, result in enumerate(results))
    assert len(results) == 7 and list(enhancer.stream([])) == []


def test_a_stream_tells_a_bad_picture_at_its_place(enhancer):
    """Those before it come; then the error."""
    stream = enhancer.stream([_dark(0), np.zeros((4, 4)), _dark(1)])
    assert np.array_equal(next(stream), enhancer(_dark(0)))
    with pytest.raises(UsageError, match="H, W, 3"):
        next(stream)
    with pytest.raises(UsageError, match="ahead must be at least 1; got 0"):
        next(enhancer.stream([], ahead=0))


def test_command_and_program_give_the_same_bytes(enhancer, tmp_path):
    """Equal settings, equal pixels: a file through the command, an array, an image and a tensor through a call."""
    picture = _dark(3, (40, 56))
    write(picture, tmp_path / "night.png")
    words = ["--model", str(enhancer.folder), "--exposure", "0.6", "--strength", "0.7", "--steps", "3"]
    assert main(["enhance", str(tmp_path / "night.png"), *words]) == 0
    same = Enhancer(enhancer.folder, preference={"exposure_level": 0.6}, strength=0.7, steps=3)
    wanted = read(tmp_path / "night_enhanced.png").pixels
    assert not np.array_equal(wanted, picture)
    for result in (same(picture), np.asarray(same(Image.fromarray(picture))),
                   same(torch.from_numpy(picture).movedim(-1, 0)).movedim(0, -1).numpy(), *same.stream([picture])):
        assert np.array_equal(result, wanted)


def test_devices_are_found_or_named(monkeypatch):
    """A name that is not there is refused with those that are; auto takes the best."""
    monkeypatch.setattr(machine, "available_devices", lambda: ("cpu",))
    assert resolve_device("auto") == "cpu" == resolve_device("cpu")
    for name in ("cuda", "mps", "abacus"):
        with pytest.raises(UsageError, match=f"device {name}: not available here; there is cpu"):
            resolve_device(name)
    monkeypatch.setattr(machine, "available_devices", lambda: ("mps", "cpu"))
    assert resolve_device("auto") == "mps"


def test_half_precision_is_for_cuda(enhancer):
    """On a CPU it is refused, with the way out."""
    with pytest.raises(UsageError, match="works on CUDA only; got cpu"):
        Enhancer(enhancer.folder, half=True)


def test_an_automatic_device_that_fails_gives_way(enhancer):
    """One warning, then the CPU for good; a device that was named fails as it does."""
    moved = Enhancer(enhancer.folder)
    moved.device, moved._falls_back, calls = "meta", True, []

    def decided(picture):
        calls.append(moved.device)
        if moved.device == "meta":
            raise RuntimeError("out of memory\nlong story")
        return enhancer._decided(picture)

    moved._decided = decided
    with pytest.warns(UserWarning, match="meta failed .out of memory.; going on on the CPU"):
        assert np.array_equal(moved(_dark()), enhancer(_dark()))
    assert np.array_equal(moved(_dark()), enhancer(_dark())) and calls == ["meta", "cpu", "cpu"]
    moved.device, moved._falls_back = "meta", False
    with pytest.raises(RuntimeError, match="out of memory"):
        moved(_dark())


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "longdouble", ">f4"])
def test_arrays_of_any_float_are_taken(kind):
    """Also where OpenCV has no such type, in a pipeline that measures the noise first."""
    picture = (_dark() / 255).astype(kind)
    result = Denoiser()(picture)
    assert result.dtype == picture.dtype and result.shape == picture.shape and np.isfinite(result).all()


def _half_hidden(rng, garbage):
    pixels = rng.integers(0, 90, (48, 64, 3), dtype=np.uint8)
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :24] = 0
    if garbage:
        pixels[:, :24] = rng.integers(0, 256, (48, 24, 3))
    return Photo(pixels, alpha)


@pytest.mark.parametrize("change", [lambda photo: Enhancer().process(photo).photo,
                                    lambda photo: Denoiser().process(photo).photo], ids=["enhance", "denoise"])
def test_hidden_colours_decide_nothing_and_stay(change):
    """Two pictures that differ under full transparency alone look alike afterwards, and keep what is hidden."""
    plain, other = (_half_hidden(np.random.default_rng(3), garbage) for garbage in (False, True))
    shown = plain.alpha > 0
    one, two = change(plain), change(other)
    assert np.array_equal(one.pixels[shown], two.pixels[shown])
    assert np.array_equal(two.pixels[~shown], other.pixels[~shown])


@pytest.mark.parametrize("change", [lambda array: array.astype(">f4"), lambda array: array.astype(">u2"),
                                    np.ma.masked_array, lambda array: array.astype(np.float16)])
def test_every_array_of_a_picture_is_taken(change):
    """Bytes in the other order, subclasses and half floats: the same kind and dtype, enlarged with a mask too."""
    picture = change(np.random.default_rng(0).random((12, 14, 3)).astype(np.float32))
    mask = np.arange(12)[:, None].repeat(14, axis=1) > 5
    result = Upscaler()(picture, mask=mask)
    assert result.shape == (48, 56, 3) and result.dtype == picture.dtype


@pytest.mark.parametrize("picture", [np.zeros((12, 14, 3), np.uint8), torch.zeros(3, 0, 5), torch.zeros(2, 3, 5, 0)])
def test_a_picture_without_anything_in_it_is_refused(picture):
    """One that is black all over has no rest that a hole could be filled from; one of size 0 has no pixels."""
    with pytest.raises(UsageError, match=r"black all over|empty"):
        Completer("laplace")(picture, mask="auto")

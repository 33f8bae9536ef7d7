"""What all tests share: one thread (tiny convolutions are slower with more), seeded pictures, tiny data folders."""

import os

for _name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):  # before torch is imported
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from fractions import Fraction  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from rlenhance.io import write  # noqa: E402


@pytest.fixture
def generator():
    """A seeded random stream."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def image(generator):
    """Two smooth, dark pictures (2, 3, 32, 40)."""
    coarse = torch.rand(2, 3, 4, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (32, 40), mode="bilinear", align_corners=False)
    return 0.05 + 0.3 * smooth


def make_pairs(folder: Path, scenes: int = 6, size: tuple[int, int] = (40, 48)) -> Path:
    """A folder with low/ and high/: `scenes` scenes of two frames each, dark beside bright."""
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        coarse = rng.uniform(0.1, 0.9, (4, 4, 3)).astype(np.float32)
        bright = np.clip(np.kron(coarse, np.ones((size[0] // 4, size[1] // 4, 1), np.float32)), 0, 1)
        for frame in range(2):
            dark = bright * (0.2 + 0.1 * frame)
            name = f"s{scene:03d}_{frame:04d}.png"
            write((bright * 255).astype(np.uint8), folder / "high" / name)
            write((dark * 255).astype(np.uint8), folder / "low" / name)
    return folder


@pytest.fixture
def pairs(tmp_path):
    """See `make_pairs`."""
    return make_pairs(tmp_path / "pairs")


@pytest.fixture
def rellie_file(tmp_path):
    """A made-up model.npz."""
    from test_ancestors import made_up_rellie

    np.savez(tmp_path / "model.npz", **made_up_rellie())
    return tmp_path / "model.npz"


@pytest.fixture
def zero_dce_file(tmp_path):
    """A made-up Epoch99.pth."""
    from test_ancestors import made_up_zero_dce

    torch.save(made_up_zero_dce(), tmp_path / "Epoch99.pth")
    return tmp_path / "Epoch99.pth"


#: One picture of every clip, (48, 64, 3).
SCENE = np.kron(np.random.default_rng(0).integers(5, 70, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def make_clip(path, codec="libx264", layout="yuv420p", times=range(8), base=None,
              rate=Fraction(30000, 1001), scene=SCENE, sound=None, text=None, turned=0, texts=None, chapters=()):
    """A clip of one scene; `times` are ticks of `base` (default: of the rate)."""
    import av

    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"crf": "10"} if codec == "libx264" else {}
    with av.open(str(path), "w") as film:
        film.metadata.update(texts or {})
        stream = film.add_stream(codec, rate=rate, options=options, width=scene.shape[1], height=scene.shape[0],
                                 time_base=base or 1 / rate)
        stream.pix_fmt = layout
        if turned:
            stream.set_display_rotation(turned)
        audio = film.add_stream(sound, rate=48000, layout="mono") if sound else None
        words = film.add_mux_stream(text, time_base=Fraction(1, 1000)) if text else None
        film.set_chapters(list(chapters))
        for tick in times:
            frame = av.VideoFrame.from_ndarray(scene, "rgb24").reformat(format=layout)
            frame.pts, frame.time_base = tick, base or 1 / rate
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
        if audio:
            wave = np.sin(np.arange(20000) / 20, dtype=np.float32)[None] / 4
            heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            heard.rate, heard.pts = 48000, 0
            film.mux([*audio.encode(heard), *audio.encode()])
        if words:
            packet = av.Packet(b"hello")
            packet.stream, packet.pts, packet.dts, packet.duration = words, 100, 100, 200
            packet.time_base = Fraction(1, 1000)
            film.mux(packet)
    return Path(path)


@pytest.fixture(autouse=True)
def _numbers_as_they_are():
    """Trainings flush subnormal numbers to zero for the whole process; the next test has them again."""
    yield
    torch.set_flush_denormal(False)

"""Small clips."""

from fractions import Fraction
from pathlib import Path

import numpy as np

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

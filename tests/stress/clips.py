"""Clips, damaged: every frame that is promised, or one line with the name."""

import tempfile
from functools import cache
from pathlib import Path

from rlenhance.io.video_codec import VideoTranscoder, probe
from tests.stress.damage import damaged
from tests.stress.registry import Broken, Case, Property
from tests.support.clips import make_clip


@cache
def _clips():
    """Names and bytes of whole clips."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, codec in (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "ffv1")):
            path = Path(folder) / name
            make_clip(path, codec, times=range(3))
            found.append((name, path.read_bytes()))
    return found


def cases(rng):
    """Damage anywhere, and to texts, which hold bytes that are no UTF-8."""
    clips = _clips()
    while True:
        name, data = rng.choice(clips)
        at = data.find(b"Lavf")
        if rng.random() < 0.2 and at > 0:
            yield Case(name, data[:at] + b"\xe9\xff" + data[at + 2 :])
        else:
            yield Case(name, damaged(rng, data, tuple(other for _, other in clips)))


def check(case, folder):
    """Look at it, and write every frame anew."""
    path, target = folder / case.name, folder / "result.mkv"
    path.write_bytes(case.data)
    picture, _ = probe(path)
    if picture.width * picture.height > 1e6:
        return
    with VideoTranscoder(path, picture, target, "matroska", path) as transcoder:
        for frame in transcoder.frames():
            transcoder.write(frame, transcoder.pixels(frame))
        transcoder.finish()
    if not transcoder.written:
        raise Broken("a clip of no frames")


PROPERTY = Property("clips", "A damaged clip is written anew, or refused in one line with its name.", cases, check,
                    share=0.5, seconds=20, mib=1500, block=20, short=4)

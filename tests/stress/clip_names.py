"""Clips under any name, and files of other kinds under a clip's: read where they lie, or refused; nobody is called."""

import os
import socket
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from rlenhance.core.errors import UsageError
from rlenhance.io.containers import CLIP_EXTENSIONS
from rlenhance.io.video_codec import VideoTranscoder, probe
from tests.stress.registry import Broken, Case, Property
from tests.support.clips import make_clip

_FOLDERS = ("", "http:/127.0.0.1:{port}/", "https:/127.0.0.1:{port}/", "tcp:/127.0.0.1:{port}/", "file:/", "concat:",
            "rtmp:/127.0.0.1:{port}/", "subfile,,start,0,end,0,,:", "crypto:", "data:", "pipe:", "a|b/", "-i ", "12:")
_LISTS = ("ffconcat version 1.0\nfile {secret}\n", "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
          "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n",
          "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n",
          "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
          "<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
          "[Reference]\nRef1=http://127.0.0.1:{port}/a.asf\n", "<smil><video src='{secret}'/></smil>")


@cache
def _clip():
    with tempfile.TemporaryDirectory() as folder:
        return make_clip(Path(folder) / "a.mp4", times=range(3)).read_bytes()


def _still(side):
    return cv2.imencode(".png", np.zeros((side, side, 3), np.uint8))[1].tobytes()


def cases(rng):
    """A whole clip in a folder whose name looks like an address; a list, or a picture, with a clip's ending."""
    while True:
        ending, what = rng.choice(CLIP_EXTENSIONS), rng.choice(("clip", "list", "still"))
        name = f"{rng.choice(_FOLDERS)}{rng.choice(('a', '12:30', '-', 'x y'))}{ending}"
        text = rng.choice(_LISTS)
        yield Case(name, options={"what": what, "text": text, "side": rng.choice((16, 4000))}, mib=700)


def check(case, folder):
    """A listener sees no connection; the frames are the clip's own."""
    os.chdir(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)
        port = listener.getsockname()[1]
        place = Path(case.name.format(port=port))
        place.parent.mkdir(parents=True, exist_ok=True)
        Path("secret.mp4").write_bytes(_clip())
        text = case.options["text"].format(port=port, secret=folder / "secret.mp4").encode()
        place.write_bytes({"clip": _clip(), "list": text, "still": _still(case.options["side"])}[case.options["what"]])
        try:
            picture, _ = probe(place, megapixels=4)
            with VideoTranscoder(place, picture, place.with_name("out.mkv"), "matroska", place) as film:
                for frame in film.frames():
                    film.write(frame, film.pixels(frame))
                film.finish()
            if case.options["what"] != "clip":
                raise Broken(f"{place}: {case.options} was taken for a clip")
            if not place.with_name("out.mkv").is_file() or film.written != 3:
                raise Broken(f"{place}: the result is elsewhere")
        except UsageError as error:
            if case.options["what"] == "clip":
                raise Broken(f"{place}: an honest clip is refused: {error}") from error
            if str(place) not in str(error):
                raise Broken(f"{place}: refused without its name: {error}") from error
            raise
        finally:
            try:
                listener.accept()
            except TimeoutError:
                pass
            else:
                raise Broken(f"{place}: a connection was made")


PROPERTY = Property("clip_names", "A clip is read where it lies, whatever its name looks like; lists of other files "
                    "and pictures under its ending are refused; nobody is called.", cases, check, share=0.3, seconds=20,
                    block=20, short=4, names=False)

"""Clips: every frame enhanced, everything else as it was. They are made here, so nothing is needed but PyAV."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.cli.reports import FrameBar
from rlenhance.core.errors import UsageError
from rlenhance.core.installation import install_line
from rlenhance.hub import shipped as weights
from rlenhance.io import read, write
from rlenhance.io.video_codec import probe
from rlenhance.io.video_formats import choose_encoding, nearest_format
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.pipelines import video
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.video import Progress, enhance_clip
from tests.support.clips import SCENE, make_clip
from tests.support.networks import make_model, make_policy, make_tone, stir

av = pytest.importorskip("av", reason='clips need PyAV: pip install ".[video]"')

@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder one stands in; a model of all knobs in runs/lol, and none is shipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_tone()))
    return tmp_path


def facts(path):
    """What a player knows of a clip, and its frames as pictures."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = list(film.decode(stream))
        known = {"codec": stream.codec.canonical_name, "layout": frames[0].format.name, "rate": stream.average_rate,
                 "times": [frame.pts * frame.time_base for frame in frames], "turned": frames[0].rotation,
                 "size": (frames[0].width, frames[0].height), "length": film.duration}
        return known, [frame.to_ndarray(format="rgb24") for frame in frames]


def copied(path):
    """Kind, language and packets of everything but the pictures."""
    with av.open(str(path)) as film:
        packets = [(packet.stream.type, packet.pts, bytes(packet)) for packet in film.demux()
                   if packet.stream.type != "video" and packet.size]
        return sorted(packets), [(stream.type, stream.language) for stream in film.streams]


@pytest.mark.parametrize("name, codec, layout, sound", [
    ("clip.mp4", "libx264", "yuv420p", "aac"), ("clip.mov", "prores_ks", "yuv422p10le", "pcm_s16le"),
    ("clip.mkv", "ffv1", "yuv444p16le", "flac"), ("clip.webm", "libvpx-vp9", "yuv420p", "libopus"),
    ("clip.avi", "mpeg4", "yuv420p", None), ("clip.mp4", "libx265", "yuv420p10le", None),
    ("clip.ts", "libx264", "yuv420p", "aac"), ("clip.mov", "mjpeg", "yuvj420p", None),
    ("clip.mkv", "ffv1", "gray", None),
])
def test_all_but_the_light_is_kept(place, name, codec, layout, sound):
    """Codec, depth, colours' resolution, size, rate, every time, length and sound are those of the source."""
    if codec not in av.codec.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    source = make_clip(name, codec, layout, sound=sound)
    assert cli.main(["enhance", name, "-o", "out/"]) == 0
    (before, dark), (after, bright) = facts(source), facts(place / "out" / name)
    if Path(name).suffix == ".ts":  # its clock starts anywhere
        before["times"], after["times"] = ([time - x["times"][0] for time in x["times"]] for x in (before, after))
    assert abs(after.pop("length") - before.pop("length")) < 2000  # microseconds; Matroska counts milliseconds
    assert after == before
    assert copied(source)[0] == copied(place / "out" / name)[0] or Path(name).suffix == ".ts"
    assert len(copied(source)[0]) == len(copied(place / "out" / name)[0])
    assert np.mean(bright) > 1.2 * np.mean(dark)


def test_rotation_words_texts_and_chapters_are_kept(place):
    """A turned picture stays turned by its tag; subtitles, the file's texts and its chapters come along."""
    chapters = [{"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "Dusk"}}]
    make_clip("turned.mp4", turned=90, sound="aac", texts={"title": "Harbour", "comment": "at night"})
    make_clip("told.mkv", text="subrip", texts={"title": "Harbour"}, chapters=chapters)
    assert cli.main(["enhance", "turned.mp4", "told.mkv", "-o", "out"]) == 0
    assert facts("turned.mp4")[0]["turned"] == facts("out/turned.mp4")[0]["turned"] != 0
    assert copied("told.mkv") == copied("out/told.mkv") and len(copied("told.mkv")[0]) == 1
    with av.open("out/turned.mp4") as turned, av.open("out/told.mkv") as told:
        assert (turned.metadata["title"], turned.metadata["comment"]) == ("Harbour", "at night")
        assert [chapter["metadata"]["title"] for chapter in told.chapters()] == ["Dusk"]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_times_that_vary_are_kept(place, name):
    """A telephone's clip has no fixed rate: every frame stays at its time."""
    ticks = [0, 3000, 6090, 12060, 30060, 90000, 90990, 180000]
    source = make_clip(name, times=ticks, base=Fraction(1, 90000), rate=Fraction(25))
    assert cli.main(["enhance", name, "-o", "out/"]) == 0
    assert facts(source)[0]["times"] == facts(place / "out" / name)[0]["times"]


def test_a_frame_is_what_a_photograph_is(place):
    """Knobs and strength do to a clip what they do to a photograph: where nothing moves, byte for byte."""
    make_clip("clip.mkv", "ffv1", "bgr0")
    frame = facts("clip.mkv")[1][0]
    for words, enhancer in (
            ([], Enhancer("runs/lol/first")), (["--strength", "0.4"], Enhancer("runs/lol/first", strength=0.4)),
            (["--exposure", "0.3", "--color", "0.5", "--steps", "3"],
             Enhancer("runs/lol/first", preference={"exposure_level": 0.3, "color": 0.5}, steps=3))):
        assert cli.main(["enhance", "clip.mkv", "-o", "out.mkv", "--overwrite", *words]) == 0
        frames = facts("out.mkv")[1]
        assert len(frames) == 8 and all(np.array_equal(each, enhancer(frame)) for each in frames)


def test_a_recipe_replays_a_clip(place):
    """What was saved makes the same file again."""
    make_clip("clip.mp4")
    assert cli.main(["enhance", "clip.mp4", "-o", "a.mp4", "--exposure", "0.4", "--save-recipe", "r.json"]) == 0
    assert cli.main(["enhance", "clip.mp4", "-o", "b.mp4", "--recipe", "r.json"]) == 0
    assert all(np.array_equal(one, two) for one, two in zip(facts("a.mp4")[1], facts("b.mp4")[1], strict=True))


def test_at_strength_0_the_file_is_copied(place):
    """Nothing to change: byte for byte; in another container the packets of the sound still are."""
    source = make_clip("clip.mp4", sound="aac")
    assert cli.main(["enhance", "clip.mp4", "-o", "same.mp4", "--strength", "0"]) == 0
    assert (place / "same.mp4").read_bytes() == source.read_bytes()
    assert cli.main(["enhance", "clip.mp4", "--format", "mkv", "--strength", "0"]) == 0
    assert [packet[2] for packet in copied("clip_enhanced.mkv")[0]] == [packet[2] for packet in copied(source)[0]]
    assert np.abs(np.subtract(facts(source)[1], facts("clip_enhanced.mkv")[1], dtype=float)).mean() < 4


def test_bad_clips_are_named_and_the_rest_goes_on(place, capsys):
    """Empty, truncated, no clip, no pictures: each is told, the others are written, nothing half-made stays."""
    (place / "in").mkdir()
    whole = make_clip("in/whole.mp4", sound="aac").read_bytes()
    long = make_clip("long.mkv", "ffv1", times=range(100), rate=Fraction(25)).read_bytes()
    write(SCENE, place / "in/photo.png")
    (place / "in/empty.mp4").touch()
    (place / "in/junk.mov").write_text("no clip")
    (place / "in/half.mp4").write_bytes(whole[: len(whole) // 2])
    (place / "in/half.mkv").write_bytes(long[: len(long) // 2])
    with av.open("in/sound.mkv", "w") as film:
        audio = film.add_stream("flac", rate=48000, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        heard.rate = 48000
        film.mux([*audio.encode(heard), *audio.encode()])
    assert cli.main(["enhance", "in", "-o", "out"]) == 2
    told = capsys.readouterr().err
    for name, reason in (("empty.mp4", "0 bytes"), ("junk.mov", "no clip"), ("half.mp4", "truncated"),
                         ("half.mkv", "truncated"), ("sound.mkv", "only audio")):
        assert any(name in line and reason in line for line in told.splitlines()), name
    assert "Traceback" not in told
    assert sorted(path.name for path in (place / "out").iterdir()) == ["photo.png", "whole.mp4"]


def test_an_interruption_leaves_nothing_half_written(place):
    """Ctrl-C in the middle: no result, no rest of one, and the source as it was; an old result stays."""
    source = make_clip("clip.mp4")
    before = source.read_bytes()
    (place / "old.mp4").write_bytes(b"an old result")

    def interrupted(progress):
        if progress.frames == 3:
            raise KeyboardInterrupt

    for target in ("new.mp4", "old.mp4"):
        with pytest.raises(KeyboardInterrupt):
            enhance_clip(Enhancer("runs/lol/first"), source, place / target, on_progress=interrupted)
    assert sorted(path.name for path in place.iterdir() if path.is_file()) == ["clip.mp4", "old.mp4"]
    assert (place / "old.mp4").read_bytes() == b"an old result" and source.read_bytes() == before


def test_without_the_extra_its_line_is_told(place, capsys, monkeypatch):
    """Where PyAV is missing, the clip fails with the line that installs it, and photographs are written."""
    make_clip("clip.mp4")
    write(SCENE, place / "photo.png")
    monkeypatch.setitem(sys.modules, "av", None)
    assert cli.main(["enhance", "clip.mp4", "photo.png", "-o", "out"]) == 2
    assert install_line("video") in capsys.readouterr().err
    assert [path.name for path in (place / "out").iterdir()] == ["photo.png"]


@pytest.mark.parametrize("words, told", [
    (["-o", "clip.wmv"], "clips are written as"), (["-o", "photo.png"], "clips are written as"),
    (["-o", "-"], "a file"),
    (["--shared-decision"], "--shared-decision is for photographs"),
    (["--strip"], "--strip and --quality are for photographs"),
    (["-m", "one-pass"], "no decision to share"),
    (["-m", "pixels"], "pixel by pixel"),
])
def test_what_cannot_be_is_refused(place, capsys, words, told):
    """Places where a clip cannot stand, and models whose decision belongs to one picture."""
    make_clip("clip.mp4")
    save_checkpoint(place / "one-pass/best", stir(make_model("restorer")))
    save_checkpoint(place / "pixels/best", stir(make_policy(decision_size=None)))
    assert cli.main(["enhance", "clip.mp4", *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(place.glob("*.part")) + list(place.glob(".*.part")) + list(place.glob("*_enhanced*"))


def test_kinds_of_files_go_by_what_they_are_of(place, capsys):
    """--format mp4 is for clips, --format png for photographs; clips that are only read become Matroska files."""
    make_clip("clip.mkv")
    (place / "old.mpg").write_bytes(make_clip("m.mpg", "mpeg2video", rate=Fraction(25)).read_bytes())
    (place / "m.mpg").unlink()
    write(SCENE, place / "photo.bmp")
    assert cli.main(["enhance", "clip.mkv", "photo.bmp", "-o", "a", "--format", "mp4"]) == 0
    assert cli.main(["enhance", "clip.mkv", "old.mpg", "photo.bmp", "-o", "b", "--format", "png"]) == 0
    assert sorted(path.name for path in (place / "a").iterdir()) == ["clip.mp4", "photo.bmp"]
    assert sorted(path.name for path in (place / "b").iterdir()) == ["clip.mkv", "old.mkv", "photo.png"]
    assert facts("b/old.mkv")[0]["codec"] == "mpeg2video" and len(facts("b/old.mkv")[1]) == 8


def test_what_is_not_kept_is_told(place, capsys):
    """Fewer bits, no transparency, sound that the container does not take: a note each, and the clip is written."""
    make_clip("clear.mkv", "ffv1", "yuva444p10le", sound="flac")
    assert cli.main(["enhance", "clear.mkv", "-o", "out.webm"]) == 0
    told = capsys.readouterr().err
    assert "ffv1 is written as vp9" in told and "fewer bits" in told and "audio track 1 is left out" in told
    assert nearest_format("yuv422p10le", ["yuv420p", "yuv422p10le"]) == ("yuv422p10le", [])
    assert nearest_format("yuva420p", ["yuv420p"]) == ("yuv420p", ["transparency is not kept"])
    assert nearest_format("yuv420p10le", ["yuv420p"])[1] == ["fewer bits per channel than the source has"]


def test_transparency_is_kept(place):
    """Where the encoder has a place for it, it stays as it was, bit for bit."""
    clear = np.dstack([SCENE, np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)])
    with av.open("clear.mov", "w") as film:
        stream = film.add_stream("qtrle", rate=25, width=64, height=48)
        stream.pix_fmt = "argb"
        film.mux([*stream.encode(av.VideoFrame.from_ndarray(clear, "rgba").reformat(format="argb")), *stream.encode()])
    assert cli.main(["enhance", "clear.mov", "-o", "out.mov"]) == 0
    for name in ("clear.mov", "out.mov"):
        with av.open(name) as film:
            assert np.array_equal(next(film.decode(video=0)).to_ndarray(format="rgba")[..., 3], clear[..., 3])


def test_odd_sizes(place):
    """A side of an odd number of pixels stays so, whatever the encoder demands."""
    make_clip("odd.mkv", "ffv1", scene=SCENE[:47, :63])
    picture = probe(Path("odd.mkv"))[0]
    assert not choose_encoding(picture, "mp4", {"h264"}).format.startswith("yuv420")
    assert cli.main(["enhance", "odd.mkv", "--format", "mov"]) == 0
    assert facts("odd_enhanced.mov")[0]["size"] == (63, 47)


def test_a_program_is_told(place, capsys):
    """--json has what a photograph has, and the frames, their rate, and the scenes."""
    make_clip("clip.mp4")
    assert cli.main(["enhance", "clip.mp4", "--json"]) == 0
    answer, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert answer["decision"]["frames"] == 8 and answer["decision"]["scenes"] == 1 and answer["size"] == [64, 48]
    assert answer["decision"]["decided"] < 8 and answer["decision"]["frames_per_second"] > 0
    assert whole["summary"]["written"] == 1


def test_progress_tells_what_is_left(capsys):
    """Frames per second and the time left, every ten seconds where no one watches; quiet says nothing."""
    for quiet in (False, True):
        with FrameBar(Path("clip.mp4"), quiet) as bar:
            for frames in range(0, 601, 30):
                bar.update(Progress(frames, 900, frames / 30))
    assert capsys.readouterr().err.splitlines() == ["clip.mp4: 300 of 900 frames, 30.0 per second, 20 s left",
                                                    "clip.mp4: 600 of 900 frames, 30.0 per second, 10 s left"]


def test_programs_enhance_clips_too(place):
    """Enhancer.process_files takes what the command takes, and gives the same."""
    make_clip("clip.mp4")
    enhancer = Enhancer("runs/lol/first")
    outcomes = enhancer.process_files([Path("clip.mp4")], place / "a.mp4", clip=video.clip_process(enhancer))
    assert outcomes[0].error is None and outcomes[0].decision["frames"] == 8
    assert cli.main(["enhance", "clip.mp4", "-o", "b.mp4"]) == 0
    assert all(np.array_equal(one, two) for one, two in zip(facts("a.mp4")[1], facts("b.mp4")[1], strict=True))


def test_a_long_clip_needs_no_more_memory(place, monkeypatch):
    """However long it is, no more frames are alive than wait for their decision."""
    source = make_clip("clip.mp4", times=range(60))
    decoded = most = 0

    class Counted(video.VideoTranscoder):
        def frames(self):
            nonlocal decoded, most
            for frame in super().frames():
                decoded += 1
                most = max(most, decoded - self.written)
                yield frame

    monkeypatch.setattr(video, "VideoTranscoder", Counted)
    clip = enhance_clip(Enhancer("runs/lol/first"), source, place / "out.mp4")
    assert clip.frames == decoded == 60 and most <= 10
    for one, other, told in (("none.mp4", "out2.mp4", "no such file"), ("clip.mp4", "clip.mp4", "take the place"),
                             ("clip.mp4", "clip.mp4/deep/x.mp4", "cannot be written")):
        with pytest.raises(UsageError, match=told):
            enhance_clip(Enhancer("runs/lol/first"), place / one, place / other)


def test_clips_are_named_when_they_are_passed_over(night, tone_run, capsys):
    """`denoise FOLDER` and `watch` take photographs alone, and say so of each clip once; -q is silent."""
    for name in ("in/night.png", "in/deep/b.png"):
        write(read(night), night.parent / name)
    for name in ("in/a.mp4", "in/deep/b.MOV"):
        (night.parent / name).write_bytes(b"x")
    assert cli.main(["denoise", "in", "-o", "out", "--strength", "0"]) == 0
    assert capsys.readouterr().err.count("a.mp4 is passed over: a clip") == 1
    assert cli.main(["denoise", "in", "-o", "out2", "-r", "--dry-run", "-q"]) == 0
    assert capsys.readouterr().err == ""
    words = ["watch", "in", "--once", "--stable-for", "0", "--interval", "0.01", "-r", "--model", str(tone_run)]
    assert cli.main(words) == 0
    told = capsys.readouterr().err
    assert told.count("a.mp4 is passed over: a clip") == told.count("b.MOV is passed over: a clip") == 1
    assert cli.main(["denoise", "in/a.mp4"]) == 2
    assert "rlenhance enhance takes clips" in capsys.readouterr().err

"""A series of photographs is brought to one brightness and white, and what differs in its contents is not."""

import json

import numpy as np
import pytest

from rlenhance.cli import main as cli
from rlenhance.cli.series_options import settle_reference
from rlenhance.core.errors import UsageError
from rlenhance.hub import shipped as weights
from rlenhance.io import make_plan, read, run_batch, write
from rlenhance.learning.hub.checkpoint import save_checkpoint
from rlenhance.ops.common_content import View, common_pixels
from rlenhance.ops.white_balance import apply_gains, kelvin_gains
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.series_levels import local_line
from tests.support.networks import CHOICE, make_model, make_policy, stir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "best"
    save_checkpoint(folder, stir(make_policy(preferences=CHOICE)))
    return folder


@pytest.fixture(scope="module")
def level(run):
    """An Enhancer that levels a series and does nothing else."""
    return Enhancer(run, strength=0, denoise=0)


def scene(seed, low=20, high=200, size=(96, 128)):
    """A picture of overlapping boxes."""
    rng = np.random.default_rng(seed)
    picture = np.full((*size, 3), (low + high) / 2)
    for _ in range(60):
        top, left = rng.integers(0, size[0] - 10), rng.integers(0, size[1] - 10)
        picture[top : top + rng.integers(4, 40), left : left + rng.integers(4, 40)] = rng.uniform(low, high, 3)
    return picture.astype(np.uint8)


def exposed(picture, stops, kelvin=None):
    gains = 2.0**stops * (np.ones(3) if kelvin is None else kelvin_gains(kelvin))
    return apply_gains(picture, gains)


def stored(folder, pictures):
    return [write(picture, folder / f"{name}.png") for name, picture in pictures.items()]


def means(series, paths, out):
    for outcome in run_batch(make_plan(paths, out), series.process):
        assert outcome.error is None, outcome.error
    return np.array([read(out / path.name).pixels.mean(axis=(0, 1)) for path in paths])


def test_frames_of_one_scene_become_equally_bright_and_of_one_white(level, tmp_path):
    pictures = {f"{n}": exposed(scene(0), *how) for n, how in enumerate(
        ((-1.5, 5200), (-0.5, 6500), (0.0, 7500), (0.4, 5800), (1.0, 6500)))}
    paths = stored(tmp_path / "in", pictures)
    before = np.array([picture.mean(axis=(0, 1)) for picture in pictures.values()])
    after = means(level.match_series(paths), paths, tmp_path / "out")
    assert after.std(axis=0).max() < 0.04 * before.std(axis=0).min() + 0.3
    assert abs(np.median(before.mean(axis=1)) - after.mean()) < 4


def test_a_reference_is_the_target_and_need_not_be_in_the_series(level, tmp_path):
    paths = stored(tmp_path / "in", {"a": exposed(scene(0), -1), "b": scene(0)})
    reference, = stored(tmp_path / "other", {"r": exposed(scene(0), 0.7)})
    after = means(level.match_series(paths, reference), paths, tmp_path / "out")
    assert np.abs(after - read(reference).pixels.mean(axis=(0, 1))).max() < 1.0


def test_white_beside_black_stays_white_beside_black(level, tmp_path):
    """A dress that fills the picture has the highlights of the rest, and a suit with a shirt too."""
    dress, suit = scene(1, 190, 255), scene(2, 8, 40)
    usual = {f"guests{seed}": scene(seed, 15, 254) for seed in range(3, 7)}
    for picture in (suit, *usual.values()):
        picture[20:50, 50:75] = 250  # something white
    paths = stored(tmp_path / "in", {**usual, "dress": dress, "suit": suit})
    found = level.match_series(paths).corrections
    assert max(abs(found[str(path)].stops) for path in paths[:-2]) < 0.3
    assert max(abs(found[str(path)].stops) for path in paths[-2:]) < 0.15


def test_an_underexposed_photograph_with_other_contents_is_raised_within_a_bound(level, tmp_path):
    usual = {f"guests{seed}": scene(seed, 15, 230) for seed in range(3, 8)}
    paths = stored(tmp_path / "in", {**usual, "dark": exposed(scene(9, 15, 230), -1.5),
                                     "night": exposed(scene(10, 15, 230), -5)})
    found = level.match_series(paths).corrections
    assert 0.5 < found[str(paths[-2])].stops <= 1.001 and found[str(paths[-1])].stops <= 1.001


def test_a_time_lapse_loses_its_flicker_and_keeps_its_sunset(level, tmp_path):
    flicker = 0.25 * np.array([1, -1] * 10)
    stops = np.linspace(0.5, -2, 20)
    paths = stored(tmp_path / "in", {f"frame{n}": exposed(scene(0), both) for n, both in enumerate(stops + flicker)})
    series = level.match_series(sorted(paths), smooth=6)  # frame10 stands before frame2
    left = np.array([both + series.corrections[str(path)].stops
                     for path, both in zip(paths, stops + flicker, strict=True)])
    assert np.abs(left - stops)[2:-2].max() < 0.1
    assert level.match_series(paths, smooth=None).words.count("smoothed over 4")


def test_a_local_line_keeps_a_trend():
    line = np.linspace(3, -2, 30)
    np.testing.assert_allclose(local_line(line, 5), line, atol=1e-6)
    flash = line.copy()
    flash[12] += 2
    np.testing.assert_allclose(local_line(flash, 5), line, atol=0.02)


def test_what_is_common_is_found_although_the_camera_moved():
    whole = scene(0, size=(220, 280))
    one, other = View.of(whole[:180, :240]), View.of(exposed(whole[30:210, 30:270], -2))
    pair = common_pixels(one, other)
    assert pair is not None and 0.4 < len(pair[0]) / one.level.size < 0.8
    assert common_pixels(one, View.of(scene(1, size=(180, 240)))) is None


def test_colours_stay_where_the_light_is_kept(run, tmp_path):
    paths = stored(tmp_path / "in", {"warm": exposed(scene(0), 0, 5000), "cold": exposed(scene(0), 0.5, 8000)})
    for found in Enhancer(run, strength=0, denoise=0, white="keep").match_series(paths).corrections.values():
        assert np.ptp(found.channels) < 1e-9


def test_a_file_that_cannot_be_read_stops_nothing(run, tmp_path, capsys):
    stored(tmp_path / "in", {"a": exposed(scene(0), -1), "b": scene(0)})
    (tmp_path / "in/c.png").write_bytes(b"no picture")
    status = cli.main(["enhance", "--match-series", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(run),
                       "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 2 and [line["status"] for line in lines[:-1]] == ["written", "written", "failed"]
    assert set(lines[0]["decision"]["series"]) == {"stops", "gains"}


def test_any_size_is_measured(level, tmp_path):
    """A pixel, a row, a column, black and white have a place in a series; nothing becomes what it was not."""
    pictures = {"pixel": scene(0)[:1, :1], "row": scene(0)[:1], "column": scene(0)[:, :1], "black": 0 * scene(0),
                "white": np.full_like(scene(0), 255), "whole": scene(0)}
    paths = stored(tmp_path / "in", pictures)
    series = level.match_series(paths)
    assert not series.failures
    for outcome in run_batch(make_plan(paths, tmp_path / "out"), series.process):
        assert outcome.error is None
    assert not read(tmp_path / "out/black.png").pixels.any() and read(tmp_path / "out/white.png").pixels.min() == 255


def test_only_a_file_behind_the_flag_is_the_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path, {"a": scene(0), "b": scene(0)}), stored(tmp_path / "in", {"c": scene(0)})
    assert settle_reference(["in", "--match-series", "a.png"]) == ["in", "--match-series", "a.png"]
    assert settle_reference(["--match-series", "in", "-o", "out"])[0] == "--match-series="
    with pytest.raises(UsageError, match="would be the reference"):
        settle_reference(["--match-series", "a.png", "b.png"])


@pytest.mark.parametrize("words", [["enhance", "in", "--smooth-time", "4"], ["watch", "in", "--match-series"],
                                   ["enhance", "in", "--match-series", "--save-recipe", "r.json"],
                                   ["enhance", "-", "--match-series"]])
def test_what_has_no_series_is_refused_with_its_reason(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "in", {"a": scene(0)})
    try:
        status = cli.main(words)
    except SystemExit as stop:
        status = stop.code
    assert status == 2 and "series" in capsys.readouterr().err


PICTURE_LEVEL = {"agent_stride": 0}  # one curve for the whole picture
PATCH = np.s_[4:12, 4:16]


@pytest.fixture
def burst(tmp_path, monkeypatch):
    """The folder one stands in: five frames of one scene in burst/, each brighter and noisy, with an equal patch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "weights")
    save_checkpoint(tmp_path / "runs/lol/first/best", stir(make_policy(preferences=CHOICE)))
    save_checkpoint(tmp_path / "curve/best", stir(make_policy(PICTURE_LEVEL, preferences=CHOICE), 0.3))
    scene = np.random.default_rng(0).integers(0, 60, (24, 32, 3))
    for number, gain in enumerate((1.0, 2.2, 1.6, 0.4, 1.2)):
        write(_frame(scene, gain, number), tmp_path / f"burst/{number}.png")
    return tmp_path / "burst"


def _frame(scene, gain, seed):
    noisy = scene * gain + np.random.default_rng(seed).normal(0, 4, scene.shape)
    frame = np.clip(noisy, 0, 255).astype(np.uint8)
    frame[PATCH] = scene[PATCH]
    return frame


def _enhanced(out, *words, source="burst"):
    assert cli.main(["enhance", source, "-o", str(out), *words]) == 0
    return {path.name: read(path).pixels for path in sorted(out.iterdir())}


@pytest.mark.parametrize("model", ["runs/lol/first", "curve"])
def test_equal_content_stays_equal(burst, tmp_path, model):
    """What is the same in all frames is the same in all results; decided frame by frame it flickers."""
    together = _enhanced(tmp_path / "together", "--shared-decision", "-m", model)
    alone = _enhanced(tmp_path / "alone", "-m", model)
    assert len(together) == len(alone) == 5
    assert len({pixels[PATCH].tobytes() for pixels in together.values()}) == 1
    assert len({pixels[PATCH].tobytes() for pixels in alone.values()}) > 1


def test_all_frames_get_one_curve(burst, tmp_path):
    """Where the policy has one agent per picture, a value becomes the same value in every frame."""
    becomes = {}
    for name, result in _enhanced(tmp_path / "out", "--shared-decision", "-m", "curve").items():
        for value, new in zip(read(burst / name).pixels.ravel(), result.ravel(), strict=True):
            assert becomes.setdefault(value, new) == new


def test_the_frame_of_median_exposure_decides(burst, tmp_path, capsys):
    """It gets what it gets alone, it is named, and neither order nor outliers change the decision."""
    together = _enhanced(tmp_path / "together", "--shared-decision")
    assert "decided on burst/4.png" in capsys.readouterr().out
    assert np.array_equal(together["4.png"], _enhanced(tmp_path / "alone")["4.png"])
    enhancer = Enhancer("runs/lol/first")
    frames = sorted(burst.iterdir())
    assert enhancer.decide_for_group(reversed(frames))[0].name == "4.png"
    write(np.full((24, 32, 3), 255, np.uint8), burst / "1.png")  # a flash
    assert enhancer.decide_for_group(sorted(burst.iterdir()))[0].name == "4.png"
    assert enhancer.decide_for_group(frames[:2])[0].name == "0.png"  # of two the darker one


def test_other_frames_count_only_through_the_decision(burst, tmp_path):
    """Where the same frame decides, a frame gets the same result whatever stands beside it, of any size."""
    first = _enhanced(tmp_path / "first", "--shared-decision")
    write(np.full((9, 50, 3), 200, np.uint8), burst / "1.png")
    write(np.zeros((30, 7, 3), np.uint8), burst / "3.png")
    second = _enhanced(tmp_path / "second", "--shared-decision")
    for name in ("0.png", "2.png", "4.png"):
        assert np.array_equal(first[name], second[name])
    assert second["1.png"].shape == (9, 50, 3)


def test_settings_count_together_as_well(burst, tmp_path):
    """Strength and knobs act as on a single photograph."""
    plain = _enhanced(tmp_path / "a", "--shared-decision")
    dim = _enhanced(tmp_path / "b", "--shared-decision", "--exposure", "0.3")
    none = _enhanced(tmp_path / "c", "--shared-decision", "--strength", "0")
    for name, pixels in none.items():
        assert np.array_equal(pixels, read(burst / name).pixels)
        assert not np.array_equal(plain[name], dim[name])


def test_bad_frames_are_named_and_do_not_decide(burst, tmp_path, capsys):
    """A frame that cannot be read is told, the others share their decision; where none can be read nothing is done."""
    (burst / "5.png").write_text("no picture")
    assert cli.main(["enhance", "burst", "-o", "out", "--shared-decision"]) == 2
    assert "5.png" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert cli.main(["enhance", "burst/5.png", "--shared-decision"]) == 2
    assert "no photograph to decide on: burst/5.png" in capsys.readouterr().err


def test_a_recipe_replays_a_burst(burst, tmp_path):
    """With the same frames the recipe makes the same files."""
    first = _enhanced(tmp_path / "first", "--shared-decision", "--save-recipe", "done.json")
    assert json.loads((tmp_path / "done.json").read_text())["decision"] == "shared"
    again = _enhanced(tmp_path / "again", "--recipe", "done.json")
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("kind, told", [
    ("restorer", "one pass"), ("zero_dce", "one pass"), ("rellie", "pixel by pixel"), ("pixels", "pixel by pixel"),
])
def test_models_without_a_shared_decision_are_refused(burst, tmp_path, capsys, kind, told):
    """One-pass networks and pixel-wise policies are told apart before any work."""
    network = make_policy(decision_size=None) if kind == "pixels" else make_model(kind)
    save_checkpoint(tmp_path / "other/best", stir(network))
    assert cli.main(["enhance", "burst", "-o", "out", "--shared-decision", "-m", "other"]) == 2
    error = capsys.readouterr().err
    assert told in error and "--shared-decision" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for refused in (lambda e: e.decide_for_group([]), lambda e: e.with_decision(e.decide(np.zeros((8, 8, 3))))):
        with pytest.raises(UsageError, match=told):
            refused(Enhancer("other"))

"""Colour tables of looks: curves and tables by their laws, files, what they settle, and how they are learned."""

import json

import numpy as np
import pytest
from scipy.interpolate import interpn

from rlenhance.cli import main as cli
from rlenhance.core.errors import UsageError
from rlenhance.engine.lookup import NATIVE, corners, look_up, look_up_plainly
from rlenhance.io import read, write
from rlenhance.looks.learn_table import KINDS, TableSample, fit_table, left_out_errors, own_gain_errors
from rlenhance.pipelines.color_table import CURVES, ColorTable, bend, table_from_json
from rlenhance.pipelines.enhance import Enhancer
from rlenhance.pipelines.look_functions import STATISTICS, LinearFunction
from rlenhance.pipelines.looks import Look, load_look, save_look
from rlenhance.pipelines.options import EnhanceSettings, from_json, to_json
from tests.unit.test_learn_look import _scene

_RAMP = np.linspace(0, 1, 5)
_COLORS = np.stack([*np.meshgrid(_RAMP, _RAMP, _RAMP, indexing="ij")][::-1], axis=-1)  # [blue, green, red]


def _table(curve="gamma", gain=1.0, colors=_COLORS):
    return ColorTable(curve, gain, 5, tuple(np.round(colors, 4).ravel().tolist()))


@pytest.mark.parametrize("curve", CURVES)
def test_curves_keep_black_and_white_and_rise(curve):
    """No gain changes nothing; a gain back takes it away."""
    values = np.linspace(0, 1, 101, dtype=np.float32)
    for gain in (-2.0, 0.0, 3.0):
        bent = bend(curve, values, gain)
        assert bent[[0, -1]] == pytest.approx([0, 1], abs=1e-6) and (np.diff(bent) > 0).all()
        assert bend(curve, bent, -gain) == pytest.approx(values, abs=2e-3)
    assert bend(curve, values, 0.0) == pytest.approx(values, abs=1e-5)


def test_the_table_is_interpolated_along_each_axis():
    """As SciPy does it; shares sum to 1."""
    rng = np.random.default_rng(0)
    colors, points = rng.random((5, 5, 5, 3)), rng.random((200, 3)).astype(np.float32)
    wanted = interpn((_RAMP, _RAMP, _RAMP), colors, points[:, ::-1])  # it is indexed by blue, green, red
    made = _table("model", 0.0, colors)(points.reshape(10, 20, 3))
    assert made.reshape(-1, 3) == pytest.approx(wanted, abs=1e-4)
    assert corners(points, 5)[1].sum(axis=0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_all_depths_give_the_same(dtype):
    """Within the rounding of the depth, and in strips as at once."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = np.random.default_rng(1).random((500, 290, 3))
    given = pixels.astype(dtype) if top == 1 else np.rint(pixels * top).astype(dtype)
    made = _table()(given)
    assert made.dtype == dtype and np.abs(made / top - np.sqrt(given / top)).max() < 0.5 / top + 1e-5


@pytest.mark.skipif(not NATIVE, reason="the package was installed without a C compiler")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [2, 6, 33])
def test_compiled_code_gives_what_numpy_gives(dtype, size):
    """Of floats to 1e-6; of codes one apart where a value lies half-way between two, and nowhere else; corners too."""
    rng = np.random.default_rng(size)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    table = rng.uniform(-0.2, 1.2, (size**3, 3)).astype(np.float32)
    colors = rng.random((20_000, 3)).astype(np.float32)
    colors[:8] = [[number & 1, number >> 1 & 1, number >> 2] for number in range(8)]
    known = None if top == 1 else bend("gamma", np.arange(top + 1) / np.float32(top), 1.3)
    colors = colors if top == 1 else np.rint(top * colors).astype(dtype)
    made = look_up(table, colors, known)
    plain = look_up_plainly(table, colors, known, np.empty_like(colors))
    assert made.dtype == dtype and np.abs(made / top - plain / top).max() <= (1e-6 if top == 1 else 1.01 / top)
    if top > 1:
        exact = look_up_plainly(table, known[colors], None, np.empty(colors.shape, np.float32))
        apart = made != plain
        assert apart.mean() < 0.01 and np.abs(top * exact[apart] % 1 - 0.5).max(initial=0) < 2e-6 * top


def test_a_value_that_is_no_number_reads_no_foreign_memory():
    if NATIVE:
        made = look_up(np.full((8, 3), 0.5, np.float32), np.full((4, 3), np.nan, np.float32))
        assert made.shape == (4, 3)


def test_a_table_comes_back_from_its_json():
    """Alone, and in settings; settings without one do not mention it."""
    table = _table(colors=_COLORS**1.1)
    assert table_from_json(json.loads(json.dumps(table.to_json()))) == table
    settings = EnhanceSettings(table=table, white=0.0)
    assert from_json(EnhanceSettings, to_json(settings)) == settings
    assert "table" not in to_json(EnhanceSettings())


@pytest.mark.parametrize(("change", "said"), [
    ({"curve": "s"}, "model or gamma or exposure"), ({"gain": 9}, "-8 and 8"), ({"gain": float("nan")}, "stops"),
    ({"size": 1}, "2 to 33"), ({"size": True}, "2 to 33"), ({"colors": ["0 0 0"]}, "125 colours"),
    ({"colors": ["0 0"] * 125}, "three numbers"), ({"colors": [7] * 125}, "three numbers"),
    ({"colors": ["0 0 inf"] * 125}, "three numbers"), ({"tint": 1}, "tint")])
def test_a_damaged_table_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        table_from_json(_table().to_json() | change)
    with pytest.raises(UsageError, match="lacks size"):
        table_from_json({"curve": "gamma", "gain": 0, "colors": []})


def test_it_takes_the_place_of_the_model():
    """The result is that of the table, mixed at the strength; what would have no effect is refused."""
    pixels = _scene(0, 40)
    made = Enhancer(table=_table(), white=0.0, denoise=0.0)
    assert (made(pixels) == _table()(pixels)).all() and (made.with_settings(strength=0.0)(pixels) == pixels).all()
    half = made.with_settings(strength=0.5)(pixels)
    assert half / 255 == pytest.approx((_table()(pixels) / 255 + pixels / 255) / 2, abs=0.003)
    for given in ({"preference": {"contrast": 0.2}}, {"exposure_shift": 0.1}, {"steps": 1}):
        with pytest.raises(UsageError, match=r"would change nothing: leave .* out"):
            made.with_settings(**given)


def test_it_may_follow_the_model():
    """An identity changes nothing of its result, whatever its strength."""
    pixels = _scene(0, 40)
    for strength in (1.0, 0.6):
        plain = Enhancer(denoise=0.0, strength=strength, white=0.0)
        assert np.abs(plain.with_settings(table=_table("model", 0.0))(pixels).astype(int) - plain(pixels)).max() <= 1


def test_a_look_with_a_table_works_everywhere(tmp_path, monkeypatch):
    """Its gain follows the picture; the file loads back; a recipe and a .cube table hold what it became."""
    monkeypatch.chdir(tmp_path)
    dark, light = _scene(1, 40) // 3, _scene(1, 40)
    look = Look("balanced", Enhancer().sha256, EnhanceSettings(white=0.0, denoise=0.0, table=_table()),
                {"table_gain": LinearFunction(1.0, {"stops": -0.5})})
    assert load_look(save_look(look, tmp_path / "mine.json")) == look
    gains = [look.settings_for(pixels).table.gain for pixels in (dark, light)]
    assert gains[0] > gains[1]
    write(dark, tmp_path / "dark.png")
    words = ["enhance", "dark.png", "-o", "a.png", "--look", "mine.json", "--save-recipe", "r.json", "--cube", "a.cube",
             "--explain", "why.png"]
    assert cli.main(words) == 0
    wanted = look.settings_for(dark).table(dark)
    assert (read(tmp_path / "a.png").pixels == wanted).all()
    assert cli.main(["enhance", "dark.png", "-o", "b.png", "--recipe", "r.json"]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    lines = [line for line in (tmp_path / "a.cube").read_text().splitlines() if line[0].isdigit()]
    cube = np.array([line.split() for line in lines], float).reshape(33, 33, 33, 3)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 33, dtype=np.float32)] * 3, indexing="ij")[::-1], axis=-1)
    assert np.abs(cube - look.settings_for(dark).table(grid)).max() < 1e-5
    assert cli.main(["enhance", "dark.png", "-o", "c.png", "--look", "mine.json", "--contrast", "0.3"]) == 2


def test_a_gain_without_a_table_is_refused():
    with pytest.raises(UsageError, match="there is none"):
        Look("balanced", "0" * 64, functions={"table_gain": LinearFunction(1.0)}).settings_for(_scene(0, 40))


def _samples(count, function, seed=0):
    rng = np.random.default_rng(seed)
    inputs = np.zeros((count, len(STATISTICS)))
    inputs[:, 1] = np.linspace(-1.5, 1.5, count)
    made = []
    for each in inputs:
        before = (0.5 * rng.random((200, 3))).astype(np.float32)
        made.append(TableSample(before, function(before, each).astype(np.float32), each))
    return made


@pytest.mark.parametrize("curve", ["gamma", "exposure"])
def test_a_gain_that_follows_the_picture_is_found(curve):
    """And a constant one where there is nothing to follow."""
    turned = np.array([[0.95, 0.05, 0], [0, 0.9, 0.1], [0.1, 0, 0.85]])
    samples = _samples(6, lambda before, each: bend(curve, before, 1 + 0.4 * each[1]) @ turned)
    errors = {kind: float(np.mean(left_out_errors(samples, samples, *kind))) for kind in KINDS}
    assert min(errors, key=errors.get) == (curve, True) and errors[curve, True] < errors[curve, False] / 3
    found = fit_table(samples, curve, True)
    assert np.argmax(np.abs(found.weights)) == 1 and found.table.size**3 * 3 == len(found.table.values)
    steady = fit_table(_samples(6, lambda before, _: bend(curve, before, 1.0)), curve, False)
    assert steady.function is None and steady.bias == pytest.approx(1.0, abs=0.1)


def test_curves_are_told_whatever_the_gain_follows():
    """Gains that no statistic explains are predicted badly, and still the errors with own gains name the curve."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(0, 2.5, 6)
    samples = _samples(6, lambda before, each: bend("gamma", before, gains[int(np.rint(2.5 + each[1] / 0.6))]))
    own = {curve: float(np.mean(own_gain_errors(samples, curve))) for curve in ("gamma", "exposure")}
    assert own["gamma"] < own["exposure"]
    assert own["gamma"] < min(np.mean(left_out_errors(samples, samples, "gamma", follow)) for follow in (0, 1)) / 5


def test_the_command_learns_curves_that_the_model_has_not(tmp_path, monkeypatch, capsys):
    """Three edits of one gamma with another colour: a table predicts them better, and it is said."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        scene = _scene(number, 64)
        edit = (scene / 255.0) ** 0.45 @ np.array([[1, 0.1, 0], [0, 0.9, 0], [0, 0.1, 0.8]])
        write(scene, tmp_path / f"before/{number}.png")
        write(np.rint(255 * edit.clip(0, 1)).astype(np.uint8), tmp_path / f"after/{number}.png")
    assert cli.main(["learn", "before", "after", "-o", "mine.json"]) == 0
    assert "6 x 6 x 6 colours takes the place of the model's curves" in capsys.readouterr().out
    look = load_look(tmp_path / "mine.json")
    assert look.settings.table is not None and look.about["decibels"]["look, left out"] > 28

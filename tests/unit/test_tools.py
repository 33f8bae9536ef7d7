"""Laws of tools: what each returns, what a cache of their results promises, and what is refused."""

import sqlite3
import threading

import numpy as np
import pytest
import torch

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.experiments.laws import cases
from rlenhance.hub.shipped import locate
from rlenhance.io import read
from rlenhance.io.samples import sample_path
from rlenhance.learning.data.mixed_damage import damage
from rlenhance.learning.hub.checkpoint import load_network
from rlenhance.learning.metrics.full_reference import psnr
from rlenhance.learning.models import TOOL_NAMES
from rlenhance.tools import TOOLKITS, TOOLS, Tool, ToolCache, measure_cost, own_tools, tool_of, toolkit
from rlenhance.tools.base import measured_costs
from rlenhance.tools.named import trial_picture

NAMES = [name for name in TOOLS if not name.startswith("rl-")]  # those whose weights are shipped


def planes(picture):
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize("law, name", cases("tool", NAMES), ids=str)
def test_laws(law, name):
    """The laws that the tools of plugins are held to as well."""
    law.check(name)
    tool = tool_of(name)
    assert tool.deterministic and tool.version and tool.label == tool.label.strip()


def test_a_large_picture_goes_in_tiles(monkeypatch):
    """A batched tool of known radius sees tiles of a large picture, with the same result."""
    monkeypatch.setattr("rlenhance.tools.base._TILE", 64)
    whole = {name: tool_of(name)(trial_picture(150)) for name in ("denoise-weak", "denoise-even-20", "resample")}
    monkeypatch.setattr("rlenhance.tools.base.BATCH_PIXELS", 100)
    for name, result in whole.items():
        assert np.abs(tool_of(name)(trial_picture(150)) - result).max() < 1e-5, name


def test_every_tool_has_a_cost():
    """The figures were measured, RL-Restore's too; what is measured is a number above 0."""
    assert set(TOOLS) <= set(measured_costs()) and all(cost > 0 for cost in measured_costs().values())
    assert tool_of("median").cost == measured_costs()["median"]
    assert 0 < measure_cost(tool_of("median"), side=64, repeats=1) < 10


def test_kits():
    """A kit has its tools in a fixed order, with different names; weights that are not shipped are asked for."""
    for name in TOOLKITS:
        if name != "rl-restore":
            names = [tool.name for tool in toolkit(name)]
            assert len(set(names)) == len(names) > 3 and names == [tool.name for tool in toolkit(name)]
    with pytest.raises(UsageError, match="give path"):
        toolkit("rl-restore")
    with pytest.raises(UnknownName, match="opencv"):
        toolkit("open-cv")


def make(function, **options):
    return Tool("mine", "mine applied", function, cost=0.1, radius=None, **options)


@pytest.mark.parametrize("function, told", [
    (lambda picture: picture[:-1], "must return"), (lambda picture: None, "NoneType"),
    (lambda picture: (255 * picture).astype(np.uint8), "uint8"), (lambda picture: picture * np.nan, "not finite"),
    (lambda picture: picture / 0, "not finite"), (lambda picture: {}["x"], "KeyError"),
    (lambda picture: picture.tolist(), "list"), (lambda picture: picture.astype(object), "object"),
    (lambda picture: 1j * picture, "complex"), (lambda picture: picture[..., None], "must return"),
])
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_a_function_returns_is_checked(function, told):
    """A result that is no picture is refused by the tool's name, and a failure becomes one line."""
    for use in (lambda tool: tool(trial_picture(8)), lambda tool: tool.batch(planes(trial_picture(8)))):
        with pytest.raises(UsageError, match=told) as error:
            use(make(function))
        assert "mine" in str(error.value) and "\n" not in str(error.value)


def test_results_are_clipped():
    """Values outside [0, 1] are clipped, so that a chain goes on."""
    assert make(lambda picture: picture * 9 - 3)(trial_picture(8)).max() == 1
    batched = make(lambda picture: picture, batched=lambda images: images * 9 - 3)
    assert batched.batch(planes(trial_picture(8))).min() == 0


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.float32), np.full((4, 4, 3), 2.0), np.full((4, 4, 3), np.nan),
                                     np.zeros((0, 4, 3), np.float32), "picture"])
def test_no_pictures_are_refused(picture):
    """What is no picture never reaches the function."""
    with pytest.raises(UsageError):
        make(lambda picture: pytest.fail("was called"))(picture)


@pytest.mark.parametrize("changes", [{"name": ""}, {"name": "a\nb"}, {"cost": -1.0}, {"cost": float("nan")}])
def test_bad_tools_are_refused(changes):
    """A name that is none, or a cost that is none."""
    with pytest.raises(UsageError, match=r"name|cost"):
        Tool(**{"name": "x", "label": "x", "function": np.copy, "cost": 1.0, "radius": 0, **changes})


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    """module:function is found in the current folder; it gets a copy, and its cost is measured."""
    (tmp_path / "my_tools_22.py").write_text("def invert(picture):\n    picture *= -1\n    return picture + 1\n\n"
                                             "def random(picture):\n    import numpy\n"
                                             "    return numpy.random.rand(*picture.shape)\n")
    monkeypatch.chdir(tmp_path)
    tool = tool_of("my_tools_22:invert")
    picture = trial_picture(8)
    assert np.allclose(tool(picture), 1 - picture) and tool.cost >= 0 and tool.deterministic and tool.version
    assert np.array_equal(picture, trial_picture(8))
    assert not tool_of("my_tools_22:random").deterministic
    for text, told in (("my_tools_22:no", "has no function no; it has invert, random"), ("no_tools_22:f", "no module")):
        with pytest.raises(UsageError, match=told):
            tool_of(text)
    assert tool_of(tool) is tool


def counting(calls):
    def function(picture):
        calls.append(1)
        return picture * np.float32(0.777)

    return Tool("darker", "made darker", function, cost=0.1, radius=0, version="1")


def test_what_is_kept_equals_what_is_worked_out(tmp_path):
    """A chain's results are the same from memory, from the folder, and worked out; each tool runs once per picture."""
    calls, pictures = [], torch.cat([planes(trial_picture(8)), planes(1 - trial_picture(8))])
    fresh = ToolCache([counting(calls)], memory=0).run("ab", pictures, ["darker"] * 3)
    assert len(calls) == 6
    for _ in range(2):  # the second time from the folder
        cache = ToolCache([counting(calls)], folder=tmp_path / "kept")
        assert torch.equal(cache.run("ab", pictures, ["darker"] * 3), fresh)
        assert torch.equal(cache.run("ab", pictures, ["darker"] * 3), fresh)
    assert len(calls) == 12 and cache.computed == 0 and cache.found == 12
    step = cache.extend("ba", pictures.flip(0), [(), ()], ["darker", "darker"])
    assert torch.equal(step.flip(0), cache.run("ab", pictures, ["darker"])) and len(calls) == 12


def test_memory_is_bounded():
    """The results that were not asked for longest go first."""
    calls, picture = [], planes(trial_picture(8))
    cache = ToolCache([counting(calls)], memory=2 * 3 * 8 * 8 * 2)
    for identity in "abcab":
        cache.run(identity, picture, ["darker"])
        assert cache.used <= cache.memory
    assert len(calls) == 5
    cache.run("b", picture, ["darker"])
    assert len(calls) == 5 and cache.found == 1


def test_other_versions_and_other_pictures_are_worked_out_anew(tmp_path):
    """What a folder holds belongs to the picture's content and the tool's version, not to identities."""
    calls, picture = [], planes(trial_picture(8))
    ToolCache([counting(calls)], folder=tmp_path).run("a", picture, ["darker"])
    newer = Tool("darker", "made darker", lambda picture: picture / 3, cost=0.1, radius=0, version="2")
    result = ToolCache([newer], folder=tmp_path).run("a", picture, ["darker"])
    assert (result - picture / 3).abs().max() < 1e-4
    ToolCache([counting(calls)], folder=tmp_path).run("a", 1 - picture, ["darker"])
    assert len(calls) == 2


def test_results_of_chance_are_not_kept(tmp_path):
    """A tool that is not deterministic runs each time, and so do those after it."""
    rng = np.random.default_rng(0)
    random = make(lambda picture: rng.random(picture.shape), deterministic=False)
    calls = []
    cache = ToolCache([random, counting(calls)], folder=tmp_path)
    one, other = (cache.run("a", planes(trial_picture(8)), ["mine", "darker"]) for _ in range(2))
    assert not torch.equal(one, other) and len(calls) == 2 and cache.used == 0


def test_bad_calls_of_a_cache():
    """Unknown tools, two of one name, sequences of other lengths."""
    cache, picture = ToolCache([counting([])]), planes(trial_picture(8))
    with pytest.raises(UnknownName, match="darker"):
        cache.run("a", picture, ["darkr"])
    with pytest.raises(UsageError, match="one entry per picture"):
        cache.extend("ab", picture, [()], ["darker"])
    with pytest.raises(UsageError, match="different names"):
        ToolCache([counting([]), counting([])])
    with pytest.raises(UsageError, match="memory"):
        ToolCache([], memory=-1)


@pytest.mark.parametrize("damage", ["text", "folder", "table", "codes"])
def test_a_damaged_folder_is_told(tmp_path, damage):
    """A file that is no database is named; entries of another size are worked out anew."""
    calls, picture, path = [], planes(trial_picture(8)), tmp_path / "results.sqlite"
    if damage == "text":
        path.write_text("no database" * 99)
    elif damage == "folder":
        path.mkdir()
    elif damage == "table":
        sqlite3.connect(path).executescript("CREATE TABLE results (other INTEGER);")
    else:
        ToolCache([counting(calls)], folder=tmp_path).run("a", picture, ["darker"])
        database = sqlite3.connect(path)
        database.execute("UPDATE results SET code = 'text'")
        database.commit()
        ToolCache([counting(calls)], folder=tmp_path).run("a", picture, ["darker"])
        assert len(calls) == 2
        return
    with pytest.raises(UsageError, match=r"results\.sqlite: cannot be used"):
        ToolCache([counting(calls)], folder=tmp_path).run("a", picture, ["darker"])


def test_several_may_share_a_folder(tmp_path):
    """Threads with caches of their own on one folder give the same results, without an error."""
    pictures, found = planes(trial_picture(8)), []

    def work():
        cache = ToolCache([counting([])], folder=tmp_path)
        for _ in range(5):
            cache.clear()
            found.append(cache.run("a", pictures, ["darker", "darker"]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and all(torch.equal(each, found[0]) for each in found)


def _photograph():
    pixels = read(sample_path("coffee")).pixels[:192, :192]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def test_the_kit_is_the_shipped_checkpoint():
    """Names, radius and version are its own; a tool alone and in a batch gives what the network gives."""
    network, image = load_network(locate("tools")), torch.rand(2, 3, 21, 34)
    tools = toolkit("own")
    assert [tool.name for tool in tools] == list(TOOL_NAMES) and set(TOOL_NAMES) <= set(TOOLS)
    for tool in tools:
        with torch.no_grad():
            wanted = network.eval().apply_tool(tool.name, image)
        assert torch.allclose(tool.batch(image), wanted, atol=1e-5)
        alone = tool(np.ascontiguousarray(image[0].permute(1, 2, 0)))
        assert np.allclose(alone, wanted[0].permute(1, 2, 0), atol=1e-5)
        assert tool.radius == network.tool_radius and tool.label and tool.version
    assert tool_of("deblur-strong").label == "a strong blur reversed"


@pytest.mark.parametrize("name, degrees", [
    ("deblur-strong", (8, 0, 0)), ("denoise-weak", (0, 3, 0)), ("denoise-strong", (0, 8, 0)),
    ("deblock-strong", (0, 0, 9))])
def test_a_tool_repairs_its_damage(name, degrees):
    """On a photograph that no tool has seen, each raises the PSNR of its own damage."""
    clean = _photograph()
    damaged = damage(clean, np.array([[*degrees, 0, 0]]), np.random.default_rng(0))
    assert psnr(tool_of(name).batch(damaged), clean) > psnr(damaged, clean) + 0.2


def test_another_checkpoint_is_a_kit_and_other_models_are_refused():
    """A run of small tools is a kit by its path; a denoiser is not."""
    with pytest.raises(UsageError, match="holds no small tools"):
        own_tools("denoiser")


def test_each_tool_repairs_what_it_is_for():
    """Noise becomes less with the denoiser of its strength, and a dark photograph becomes lighter."""
    clean = read(sample_path("coffee")).pixels[100:164, 200:296].astype(np.float32) / 255
    noisy = (clean + 20 / 255 * np.random.default_rng(0).standard_normal(clean.shape)).clip(0, 1).astype(np.float32)
    after = tool_of("denoise-even-20")(noisy)
    assert np.abs(after - clean).mean() < 0.5 * np.abs(noisy - clean).mean()
    assert tool_of("brighten")(clean / 5).mean() > 2 * (clean / 5).mean()


def test_a_batch_is_as_its_pictures(generator):
    """Pictures of a batch give what each gives alone, and each tool of the kit gives pictures."""
    images = torch.rand(2, 3, 24, 32, generator=generator)
    for tool in toolkit("photo"):
        several = tool.batch(images)
        alone = torch.cat([tool.batch(image[None]) for image in images])
        assert several.shape == images.shape and torch.allclose(several, alone, atol=1e-5), tool.name

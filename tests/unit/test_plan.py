"""Which photograph goes where: no source is touched, no two results meet, and it is known before work starts."""

import os
import sys

import pytest
from PIL import Image

from rlenhance.core.errors import UsageError
from rlenhance.io import STDIO, Job, OutputNaming, make_plan, run_batch
from rlenhance.io import output_plan as plan_room
from rlenhance.io.output_plan import SUFFIXES, check_streams
from rlenhance.pipelines.options import ImageSettings


@pytest.fixture
def album(tmp_path, monkeypatch):
    """The folder one stands in, with a tree of files in photos/; a plan opens none, so they are empty."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.jpg", "photos/b.PNG", "photos/notes.txt", "photos/.hidden.jpg", "photos/2024/夜 景.jpg",
                 "photos/2024/🌙/c.tif", "photos/.cache/d.jpg", "photos/folder.jpg/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def pairs(*words, **options):
    return [(str(job.source), str(job.target)) for job in make_plan(words, **options).jobs]


def test_a_folder_gives_its_own_pictures(album):
    """Without -r: pictures by their endings in the order of their names, no hidden ones, no folders."""
    assert pairs("photos", out="out") == [("photos/a.jpg", "out/a.jpg"), ("photos/b.PNG", "out/b.PNG")]
    assert pairs("photos") == [("photos/a.jpg", "photos/a_enhanced.jpg"), ("photos/b.PNG", "photos/b_enhanced.PNG")]


def test_a_tree_is_mirrored(album):
    """With -r every folder's pictures go to the folder of that name; nothing that is hidden, nothing twice."""
    assert pairs("photos", "photos/a.jpg", out="out", recursive=True) == [
        ("photos/a.jpg", "out/a.jpg"), ("photos/b.PNG", "out/b.PNG"),
        ("photos/2024/夜 景.jpg", "out/2024/夜 景.jpg"), ("photos/2024/🌙/c.tif", "out/2024/🌙/c.tif"),
        ("photos/folder.jpg/e.jpg", "out/folder.jpg/e.jpg")]
    assert ("photos/2024/🌙/c.tif", "photos/2024/🌙/c_enhanced.tif") in pairs("photos", recursive=True)


def test_results_within_the_tree_are_left_alone(album):
    """A folder of results that lies among the photographs is no source."""
    (album / "photos/out").mkdir()
    (album / "photos/out/a.jpg").touch()
    planned = pairs("photos", out="photos/out", recursive=True, overwrite=True)
    assert ("photos/a.jpg", "photos/out/a.jpg") in planned and len(planned) == 5


def test_links_to_folders_are_not_followed(album):
    """A tree that contains itself ends."""
    (album / "photos/2024/up").symlink_to(album / "photos")
    assert len(pairs("photos", out="out", recursive=True)) == 5


@pytest.mark.parametrize("pattern, names", [
    ("photos/*.jpg", ["photos/a.jpg"]), ("photos/[ab].*", ["photos/a.jpg", "photos/b.PNG"]),
    ("photos/**/*.jpg", ["photos/2024/夜 景.jpg", "photos/a.jpg", "photos/folder.jpg/e.jpg"]), ("ph*/?.jpg",
                                                                                              ["photos/a.jpg"]),
])
def test_patterns_are_understood(album, pattern, names):
    """What the shell left alone is matched here, pictures alone; without -r their results lie side by side."""
    assert [source for source, _ in pairs(pattern, out="out/")] == names
    assert all(os.path.dirname(target) == "out" for _, target in pairs(pattern, out="out/"))


def test_patterns_mirror_too(album):
    """With -r a pattern's results mirror the tree below the folder in front of its first sign."""
    assert ("photos/2024/夜 景.jpg", "out/2024/夜 景.jpg") in pairs("photos/**/*.jpg", out="out", recursive=True)


def test_a_file_goes_before_a_pattern(album):
    """A file that is called like a pattern is that file."""
    (album / "IMG [1].jpg").touch()
    assert pairs("IMG [1].jpg") == [("IMG [1].jpg", "IMG [1]_enhanced.jpg")]


@pytest.mark.parametrize("words, options, told", [
    (["no.jpg"], {}, "no.jpg: no such file"),
    (["photos/*.gif"], {}, "no picture matches"),
    (["photos/.cache/.."], {"out": "photos"}, "would replace"),
    (["photos/folder.jpg/.."], {"out": "photos/a.jpg"}, "need a folder"),
    (["photos/2024"], {"out": "photos/2024"}, "would replace"),
    (["photos/a.jpg", "photos/2024/夜 景.jpg"], {"out": STDIO}, "standard output takes one"),
    (["-", "photos/a.jpg"], {"out": "out"}, "has no name"),
    (["-"], {"out": "photos"}, "has no name"),
    (["photos/a.jpg"], {"out": "x.png", "naming": OutputNaming(extension=".webp")}, "two kinds of file"),
    (["photos/a.jpg"], {"out": "x.png", "naming": OutputNaming(template="{stem}{ext}")}, "both name the result"),
    (["photos/a.jpg"], {"out": "photos/folder.jpg/"}, None),
    ([], {}, "no photograph is named"),
], ids=str)
def test_what_cannot_be_planned_is_refused(album, words, options, told):
    """Sources that are not there, places that contradict themselves: a line that says which."""
    if told is None:
        assert pairs(*words, **options)
        return
    with pytest.raises(UsageError, match=told):
        make_plan(words, **options)


def test_an_empty_folder_tells_of_the_way_down(album):
    """Where the pictures lie in the folders of the one that was named, -r is told."""
    (album / "year/month").mkdir(parents=True)
    (album / "year/month/a.jpg").touch()
    with pytest.raises(UsageError, match="recursive"):
        make_plan(["year"])
    (album / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no picture") as caught:
        make_plan(["empty"])
    assert "-r" not in str(caught.value)


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_no_link_leads_to_a_source(album, link):
    """A result's place that is the source under another name is refused, whatever was allowed."""
    os.makedirs("out")
    (os.symlink if link == "symbolic" else os.link)(album / "photos/a.jpg", album / "out/a.jpg")
    for options in ({"overwrite": True}, {"skip_existing": True}, {}):
        with pytest.raises(UsageError, match="replace the photograph"):
            make_plan(["photos/a.jpg"], "out", **options)
    os.rename("out/a.jpg", "out/b.PNG")
    with pytest.raises(UsageError, match="would replace another file that is read"):
        make_plan(["photos"], "out", overwrite=True)


def test_no_other_input_is_replaced(album):
    """A mask or a reference is no result's place either, under whatever name."""
    (album / "photos/mask.jpg").touch()
    os.makedirs("out")
    os.link("photos/mask.jpg", "out/a.jpg")
    with pytest.raises(UsageError, match=r"out/a\.jpg: the result of photos/a\.jpg would replace another .*mask\.jpg"):
        make_plan(["photos/a.jpg"], "out", overwrite=True, inputs=[album / "photos/mask.jpg"])


def test_photographs_in_the_folder_of_results_are_no_results(album):
    """With -r the folder of results is no source; where it holds photographs of its own, nothing there is replaced."""
    os.makedirs("photos/out")
    (album / "photos/out/a.jpg").touch()
    (album / "photos/out/b_denoised.PNG").touch()
    assert len(make_plan(["photos"], "photos/out", recursive=True, overwrite=True).jobs) == 5
    (album / "photos/out/of its own.jpg").touch()
    with pytest.raises(UsageError, match=r"out/a\.jpg: the result of photos/a\.jpg .*out/of its own\.jpg is no"):
        make_plan(["photos"], "photos/out", recursive=True, overwrite=True)
    with pytest.raises(UsageError, match="would replace"):
        make_plan(["photos", "photos/out"], "photos/out/../out", overwrite=True)
    assert len(make_plan(["photos"], "photos/new", recursive=True, overwrite=True).jobs) == 8


@pytest.mark.parametrize("place, told", [
    ("pipe.jpg", "device or a pipe"), ("nowhere.jpg", "link that leads nowhere"), ("loop.jpg", "leads nowhere"),
    ("a.jpg/x.jpg", "is a file"), ("loop/x.jpg", "leads nowhere"), ("x" * 252 + ".jpg", "256 bytes"),
    ("x" * 256 + "/a.jpg", "256 bytes"), ("a\0.jpg", "NUL")])
def test_a_place_that_takes_no_file_is_refused(album, place, told):
    """A pipe, links that lead nowhere, and names without room: one line, before any photograph is read."""
    (album / "a.jpg").touch()
    os.mkfifo("pipe.jpg")
    os.symlink("nothing", "nowhere.jpg")
    for name in ("loop", "loop.jpg"):
        os.symlink(name, name)
    with pytest.raises(UsageError, match=told):
        make_plan(["photos/a.jpg"], place)
    with pytest.raises(UsageError, match=r"no such file|cannot be read|leads nowhere|a pipe|too long"):
        make_plan([place], "out")


def test_the_longest_name_is_written(album, tmp_path):
    """A name of 255 bytes has room for a temporary file; one that its suffix makes longer fails alone."""
    long = "夜" * 83 + "xx.jpg"
    assert len(os.fsencode(long)) == 255
    picture = Image.new("RGB", (8, 8))
    for name in ("b.jpg", long):
        picture.save(album / "photos" / name)
    plan = make_plan(["photos"], "out")
    assert [outcome.source.name for outcome in run_batch(plan, _changed) if not outcome.error] == ["b.jpg", long]
    outcomes = {outcome.source.name: outcome for outcome in run_batch(make_plan(["photos"]), _changed)}
    assert "264 bytes" in outcomes[long].error and "template" in outcomes[long].error
    assert (album / "photos/b_enhanced.jpg").is_file() and not list(tmp_path.rglob(".rlen*"))


def _changed(photo):
    return photo.with_pixels(photo.pixels + 1), {}


def test_one_result_per_name(album):
    """a.jpg and a.png cannot both become a.webp; {kind} keeps them apart."""
    (album / "photos/a.png").touch()
    webp = OutputNaming(extension=".webp")
    with pytest.raises(UsageError, match=r"a\.jpg and .*a\.png would both be written to .*kind"):
        make_plan(["photos"], "out", naming=webp)
    apart = OutputNaming(template="{stem}-{kind}{ext}", extension=".webp")
    assert [target for _, target in pairs("photos", out="out", naming=apart)] == [
        "out/a-jpg.webp", "out/a-png.webp", "out/b-PNG.webp"]


def test_case_counts_where_the_disk_counts_it(album, monkeypatch):
    """A.JPG and a.JPG meet only where the disk takes them for one."""
    (album / "more").mkdir()
    (album / "more/A.jpg").touch()
    assert len(pairs("photos/a.jpg", "more/A.jpg", out="out")) == 2
    monkeypatch.setattr(plan_room, "is_case_insensitive", lambda folder: True)
    with pytest.raises(UsageError, match="would both be written"):
        make_plan(["photos/a.jpg", "more/A.jpg"], "out")


def test_what_exists_is_kept_replaced_or_left(album):
    """A result that exists stops the run unless it may be replaced or shall be skipped; a folder always does."""
    (album / "photos/a_enhanced.jpg").touch()
    with pytest.raises(UsageError, match=r"overwrite.*skip_existing"):
        make_plan(["photos"])
    assert len(make_plan(["photos"], overwrite=True).jobs) == 2
    plan = make_plan(["photos"], skip_existing=True)
    assert [job.source.name for job in plan.jobs] == ["b.PNG"]
    assert [job.source.name for job in plan.skipped] == ["a.jpg"]
    (album / "photos/b_enhanced.PNG").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        make_plan(["photos"], overwrite=True)


@pytest.mark.parametrize("suffix", [kind.suffix for kind in ImageSettings.__subclasses__()])
def test_results_of_every_command_are_known_to_all(album, suffix):
    """Whatever made them: beside their photographs they are no photographs."""
    assert suffix in SUFFIXES
    (album / "photos/a.jpg").rename(album / f"photos/b{suffix}.jpg")
    for own in SUFFIXES:
        passed = make_plan(["photos"], "out", naming=OutputNaming(suffix=own)).previous_results
        assert f"b{suffix}.jpg" in [path.name for path in passed]


def test_results_of_earlier_runs_are_passed_over(album):
    """By their suffix beside their sources; elsewhere, and after a template, where their source is there too."""
    for name in ("a_enhanced.jpg", "a_bright.jpg", "a_1234.jpg", "lone_enhanced.jpg", "01-a.jpg"):
        (album / "photos" / name).touch()
    plan = make_plan(["photos"], overwrite=True)
    assert [path.name for path in plan.previous_results] == ["a_enhanced.jpg", "lone_enhanced.jpg"]
    assert [path.name for path in make_plan(["photos"], "out").previous_results] == ["a_enhanced.jpg"]
    named = OutputNaming(template="{stem}_{preset}{ext}", preset="vivid", presets=("vivid", "bright"))
    plan = make_plan(["photos"], naming=named)
    assert [path.name for path in plan.previous_results] == ["a_bright.jpg", "a_enhanced.jpg"]
    assert "a_1234_vivid.jpg" in {job.target.name for job in plan.jobs}
    plan = make_plan(["photos"], naming=OutputNaming(template="{number}-{stem}{ext}"))
    assert "01-a.jpg" in {path.name for path in plan.previous_results}
    named = make_plan(["photos/a_enhanced.jpg"])  # one that is named is meant
    assert named.jobs[0].target.name == "a_enhanced_enhanced.jpg"
    with pytest.raises(UsageError, match="nothing but results"):
        make_plan([_only(album, "x_enhanced.jpg")])


def _only(album, name):
    (album / "results").mkdir()
    (album / "results" / name).touch()
    return "results"


@pytest.mark.parametrize("template", ["{stem", "{size}{ext}", "sub/{stem}{ext}", "..\\{stem}", "{preset}_{stem}{ext}",
                                      "same{ext}", "{}", "{stem:>9}"])
def test_a_template_is_checked(template):
    """Unknown fields, folders, one name for all, a preset where there is none: refused with the template."""
    with pytest.raises(UsageError, match="template"):
        OutputNaming(template=template)


def test_standard_streams(album):
    """- reads standard input; its result goes to standard output unless a file is named."""
    assert make_plan(["-"]).jobs == (Job(STDIO, STDIO),)
    assert pairs("-", out="x.jpg") == [("-", "x.jpg")]
    assert pairs("photos/a.jpg", out="-") == [("photos/a.jpg", "-")]
    (album / "-").touch()
    assert pairs(album / "-", out="x.jpg") == [(str(album / "-"), "x.jpg")]


@pytest.mark.parametrize("stream, plan", [("stdin", (STDIO, "x.jpg")), ("stdout", ("x.jpg", STDIO))])
def test_terminals_carry_no_pictures(monkeypatch, stream, plan):
    """A picture is neither typed in nor shown as text."""
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="terminal"):
        check_streams(plan_room.BatchPlan((Job(*plan),)))

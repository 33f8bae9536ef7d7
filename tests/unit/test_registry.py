"""A product remembers its recipe, and a wrong name is answered with the right ones."""

import pytest

from rlenhance.core.errors import UnknownName, UsageError
from rlenhance.core.registry import Registry


@pytest.fixture
def shapes():
    """A registry with a plain product and one that holds another."""
    shapes = Registry("shape")

    @shapes.register("square")
    class Square:
        def __init__(self, side=1, color="red"):
            self.side, self.color = side, color

    @shapes.register("frame")
    class Frame:
        def __init__(self, inner, gap=2):
            self.inner, self.gap = shapes.rebuild(dict(inner)), gap

    return shapes


def test_spec_remembers_defaults(shapes):
    """The recipe of a product holds what was asked for and what was not."""
    assert shapes.create("square", side=3).spec == {"name": "square", "side": 3, "color": "red"}


def test_rebuild_makes_the_same_thing(shapes):
    """A product made again from its recipe is the same, and the recipe is left as it was."""
    made = shapes.create("square", color="blue")
    spec = dict(made.spec)
    again = shapes.rebuild(spec)
    assert vars(again) == vars(made)
    assert spec == made.spec


def test_nested_recipes_are_full(shapes):
    """A part that was given as a short recipe stands in the whole recipe with its own defaults."""
    made = shapes.create("frame", inner={"name": "square"})
    assert made.spec["inner"] == shapes.create("square").spec
    assert shapes.rebuild(made.spec).spec == made.spec


def test_unknown_name_lists_nearest(shapes):
    """A misspelt name is answered with the nearest one and with all that are known."""
    with pytest.raises(UnknownName, match="unknown shape 'sqare': did you mean square") as caught:
        shapes.create("sqare")
    assert all(name in str(caught.value) for name in shapes)
    assert isinstance(caught.value, UsageError)


def test_name_like_nothing_known_gets_no_hint(shapes):
    """Where no name is near, only the known ones are listed."""
    with pytest.raises(UnknownName) as caught:
        shapes["zzzzzz"]
    assert "did you mean" not in str(caught.value)
    assert "square" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"sides": 3}, {"side": 3, "depth": 1}])
def test_wrong_argument_names_those_that_exist(shapes, wrong):
    """An argument that does not exist is answered with those that do."""
    with pytest.raises(UsageError, match="side, color"):
        shapes.create("square", **wrong)


def test_missing_argument_is_named(shapes):
    """A part that has to be given is asked for by name."""
    with pytest.raises(UsageError, match="inner"):
        shapes.create("frame")


def test_taken_name_is_refused(shapes):
    """Two things never share a name."""
    with pytest.raises(UsageError, match="registered already"):
        shapes.register("square")(object)


def test_removed_name_is_unknown(shapes):
    """What is taken out is gone, and its name is free again."""
    shapes.remove("square")
    assert "square" not in shapes
    with pytest.raises(UnknownName):
        shapes["square"]
    shapes.register("square")(dict)

"""What holds of every environment of rlenhance holds of `rlenhance/Read-v0`: the tests of a checkout, run on it."""

import inspect

import pytest

envs = pytest.importorskip("tests.unit.test_envs", reason="the tests of rlenhance are not here")
gymnasium_tests = pytest.importorskip("tests.unit.test_gymnasium")
wrapper_tests = pytest.importorskip("tests.unit.test_gymnasium_wrappers")

LAWS = [envs.test_docstring_answers_every_heading, envs.test_vector_entry_point_holds_many] + [
    law for module in (gymnasium_tests, wrapper_tests) for law in vars(module).values()
    if module.every_id.mark in getattr(law, "pytestmark", ()) and [*inspect.signature(law).parameters] == ["name"]]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_laws_of_environments(law):
    """Each of them."""
    law("rlenhance/Read-v0")


def test_there_are_laws():
    """They are found by their mark."""
    assert len(LAWS) > 10

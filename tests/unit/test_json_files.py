"""JSON that is read: limits of size and depth, keys, numbers and texts; every refusal names the file."""

import json
import os

import pytest

from rlenhance.core.errors import UsageError
from rlenhance.core.json_files import MAX_DEPTH, check_finite, parse_json, read_json, read_object


@pytest.mark.parametrize(("text", "wanted"), [
    ("", "not a JSON file"), ("[1", "not a JSON file"), ("[" * 100_000, "not a JSON file"),
    ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "inside each other"), ("\xff", "not a JSON file"),
    ('{"a": 1, "a": 2}', "'a' is given twice"), ("NaN", "number must be finite; got nan"), ("[-Infinity]", "finite"),
    ('{"a": [0, 1e999]}', "a must be finite; got inf"), ("1" * 5000, "not a JSON file"),
    (f'{{"b": {2**63}}}', "b must be a number of 64 bits"), ('"\\ud800"', "no Unicode"), ('{"\\u0000": 1}', "NUL"),
    ('"' + "x" * 200 + '"', "larger than 100 bytes")])
def test_what_is_no_plain_json_is_refused_by_name(tmp_path, text, wanted):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    limit = {"max_bytes": 100} if "larger" in wanted else {}
    with pytest.raises(UsageError, match=wanted) as refused:
        read_json(tmp_path / "a.json", **limit)
    assert str(refused.value).startswith(f"{tmp_path / 'a.json'}: ") and "\n" not in str(refused.value)


def test_what_python_writes_is_read_as_it_was(tmp_path):
    value = {"a": [1, -2.5, None, True, "\u00e9\U0001f600", 2**63 - 1, {}, []], "b": {"c": 1e-300}}
    for ascii_only in (True, False):
        (tmp_path / "a.json").write_text(json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8")
        assert read_json(tmp_path / "a.json") == value
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest, "text")) == deepest


def test_scores_may_be_infinite_where_the_reader_says_so():
    scores = parse_json("[Infinity, NaN, 1e999]", "text", finite=False)
    assert scores[0] == scores[2] == float("inf")
    with pytest.raises(UsageError, match="text: b must be finite; got inf"):
        check_finite({"a": [{"b": float("inf")}]}, "text")


def test_a_folder_a_pipe_and_a_missing_file_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe", "missing"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_json(tmp_path / name)


def test_an_object_is_wanted_and_unknown_keys_are_named(tmp_path):
    (tmp_path / "a.json").write_text('{"one": 1}')
    assert read_object(tmp_path / "a.json") == {"one": 1}
    with pytest.raises(UsageError, match="unknown key 'one'"):
        read_object(tmp_path / "a.json", ("ones",))
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UsageError, match="must hold an object"):
        read_object(tmp_path / "a.json")

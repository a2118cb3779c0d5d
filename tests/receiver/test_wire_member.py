"""A member of JSON text, found in C, against the one that is found in the parsed text."""

from __future__ import annotations

import json
import os
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from halo_receiver import wire
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.conventions.readings import Lookup, Reading
from halo_receiver.conventions.sources import Member, compile_source, first, first_in_python
from halo_receiver.conventions.values import loads, member, structured
from halo_receiver.span import Scope, Span

pytestmark = pytest.mark.skipif(not wire.available(), reason="the wire scanner is not built: no C compiler")
QUICK = settings(
    max_examples=int(os.environ.get("HALO_FUZZ", "400")), deadline=None, suppress_health_check=list(HealthCheck)
)
PATHS = (("a", "0", "b"), ("a", "b"), ("c",), ("é", "a"), ("0",), ("c", "10"))


def same(text: str, paths: tuple[tuple[str, ...], ...]) -> bool:
    """Compare the two; return whether C was sure."""
    found = wire.member(text, paths)
    if found is False:
        return False
    if type(found) is bytes:
        found = loads(found)
        assert found is not None
    holder = structured(text)
    assert holder is not None, "C found a member of what is no JSON"
    expected = next((value for path in paths if (value := member(holder, path)) is not None), None)
    assert repr(found) == repr(expected)
    return True


KEY = st.sampled_from(["a", "b", "c", "é", "d", '"', "0", ""])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["x" * 40, "\\", '"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@QUICK
@given(
    st.dictionaries(KEY, VALUE, max_size=4) | st.lists(VALUE, max_size=12),
    st.permutations(PATHS).map(lambda paths: tuple(paths[:4])),
    st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}]),
    st.data(),
)
def test_any_member_is_the_same(value: Any, paths: Any, form: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value, **form)
    same(text, paths)
    at = data.draw(st.integers(0, len(text)))
    signs = st.sampled_from(
        ['"', "\\", "}", "]", ",", "[", "{", "é", "\ud800", "", "0", "1", "-", "e9", ".", "\x01", '"a":']
    )
    same(text[:at] + data.draw(signs) + text[at + data.draw(st.integers(0, 1)) :], paths)


@QUICK
@given(st.text())
@example("{}")
@example('{"a":"\\ud83d\\ude00"}')
@example('{"a":"\\ud83d"}')
@example('{"c":1e400}')
@example('{"c":"a","c":"b"}')
@example('{"a":{"b":1},"a":{}}')
@example("[" * 100_000)
@example('{"c":' * 100_000)
@example('[[],[],[],[],[],[],[],[],[],[],{"b":1}]')
def test_any_text_has_the_same_member(text: str) -> None:
    same(text, PATHS)
    same(text, (("10", "b"),))


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"c": "x"}', "x"), ('{"b": 1, "a": [{"b": 7}]}', b"7"), ('{"a": {"b": [1]}}', b"[1]"), ('{"c": null}', None),
     ('{"c": "\\u00e9\\n"}', "é\n"), ('{"c": true}', True), ("{}", None), ('{"\\u0063": 1}', False), ("[1", False),
     ('{"c": 1} x', False), ('{"c": 01}', False), ("", False), ("7", False)],
)  # fmt: skip
def test_what_is_found(text: str, found: Any) -> None:
    assert wire.member(text, PATHS) == found


def test_members_of_the_mapping_can_be_found_in_c() -> None:
    """All of its paths: one that is too long or one too many would be parsed for every span."""
    members = [
        source for convention in TABLE.conventions.values() for sources in convention.fields.values()
        for source in sources if isinstance(source, Member)
    ]  # fmt: skip
    assert len(members) > 20
    for source in members:
        value: Any = "x"
        for step in reversed(source.members[-1]):
            value = [value] if step == "0" else {step: value}
        assert wire.member(orjson.dumps(value).decode(), source.members) == "x"


@QUICK
@given(st.dictionaries(st.sampled_from("abc"), st.none() | st.sampled_from(["", "x", 0, [], {}, False]), max_size=3))
def test_the_first_value_is_the_same(attributes: dict[str, Any]) -> None:
    reading = Reading(Span("", "", "", "name", Scope()), attributes)
    lookup, name = compile_source({"key": "a"}, ""), compile_source({"name": True}, "")
    for sources in ((), ("a",), ("a", "b", "c"), (lookup, "b"), ("c", name)):
        assert repr(first(reading, sources)) == repr(first_in_python(reading, sources))


def test_what_a_source_raises_is_raised() -> None:
    class Broken(Lookup):
        def value(self, reading: Reading) -> Any:
            raise KeyError(self.key)

    with pytest.raises(KeyError, match="here"):
        first(Reading(Span("", "", "", "", Scope()), {"a": ""}), ("a", Broken({"key": "here"})))

"""Large JSON requests are parsed in parts: they mean the same as whole, and take a bounded multiple of their size."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halo_receiver import decode, request_check, wire
from halo_receiver.decode import Undecodable, json_document
from halo_receiver.wire import json_ends

ID = {"traceId": "a" * 32, "spanId": "b" * 16}
SPACES = st.sampled_from(["", " ", "\n", "\t \r\n"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), st.just('\\"]}{[,'),
    st.sampled_from(["a" * 32, "b" * 16, "0" * 32, "1" * 5000, "NaN"]),
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "resourceSpans",
        "resourceLogs",
        "resource",
        "scopeSpans",
        "scopeLogs",
        "scope",
        "spans",
        "logRecords",
        "schemaUrl",
        "attributes",
        "key",
        "value",
        "stringValue",
        "intValue",
        "arrayValue",
        "values",
        "traceId",
        "spanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "status",
        "code",
        "events",
        "links",
        "service.name",
        "x",
        "doubleValue",
        "bytesValue",
        "body",
    ]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30
)
SPANS = st.one_of(
    st.just(ID), VALUES, st.builds(lambda more: {**ID, **more}, st.dictionaries(KEYS, VALUES, max_size=4))
)


def listed(name: str, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with a list of that name, in any place among others; sometimes it is something else."""
    return st.builds(
        lambda before, items, after: {**before, name: items, **after},
        st.dictionaries(KEYS, VALUES, max_size=2),
        st.lists(inner, max_size=4) | VALUES,
        st.dictionaries(KEYS, VALUES, max_size=2),
    )


REQUESTS = listed("resourceSpans", listed("scopeSpans", listed("spans", SPANS) | VALUES) | VALUES)


def written(value: Any, draw: Any) -> bytes:
    """JSON with white space in any place where it may be."""
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), separators=(",", ":"), indent=draw(st.none() | st.just(1))
    )
    return (draw(SPACES) + text + draw(SPACES)).encode("utf-8", "surrogatepass")


def outcome(body: bytes, kind: str) -> Any:
    repair = decode.Repair(100)
    try:
        found = repair.gather(decode.each(kind, body, encoding="json", repair=repair))
    except Undecodable:
        return "undecodable"
    return found.spans, found.logs, found.rejected


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_request_in_parts_means_what_it_means_as_a_whole(data: st.DataObject) -> None:
    body = written(data.draw(REQUESTS | VALUES), data.draw)
    kind = data.draw(st.sampled_from(["traces", "logs"]))
    whole = outcome(body, kind)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_document, "WHOLE_BYTES", 0)
        patched.setattr(json_document, "PART_BYTES", data.draw(st.integers(1, 200)))
        parts = outcome(body, kind)
        try:
            items = request_check.check(kind, "json", body).items
        except Undecodable:
            items = -1
    assert repr(parts) == repr(whole)  # a NaN does not equal itself
    if whole != "undecodable" and items >= 0:
        assert items == sum(map(len, whole))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_ends_are_found_alike_with_and_without_the_scanner(data: st.DataObject) -> None:
    """In JSON, and in what is damaged: cut off, or with a byte changed."""
    if not wire.available():
        pytest.skip("the scanner was not built here")
    body = bytearray(written(data.draw(st.lists(VALUES, max_size=4) | VALUES), data.draw).strip())
    if body and data.draw(st.booleans()):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from(b'"\\[]{},: x\x00'))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body)
    for found, referred in ((wire.json_end, json_ends.json_end), (wire.json_items, json_ends.json_items)):
        assert tried(found, cut) == tried(referred, cut)


def tried(find: Any, body: bytes) -> Any:
    try:
        return find(body, 0)
    except ValueError:
        return "no end"


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}}]}]}', b'{"resourceSpans":[{"scopeSpans":[{"spans":[{},]}]}]}',
        b'{"resourceSpans":[,]}', b'{"resourceSpans":[] "x":1}', b'{"resourceSpans":[]} {}', b'{"resourceSpans":[]',
        b'{"resourceSpans" []}', b'{resourceSpans:[]}', b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"a":"]}]}]}]}',
        b"[]", b"3", b'"x', b"", b"\xff", b"{,}",
        b"{" * 10_000, b'{"resourceSpans":[{"scopeSpans":[{"spans":[nul]}]}]}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_in_parts_too(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_document, "WHOLE_BYTES", -1)
    with pytest.raises(Undecodable):
        request_check.check("traces", "json", body)


def test_too_much_in_one_span_is_refused_as_it_cannot_be_parsed_in_parts() -> None:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{**ID, "events": [0]}]}]}]})
    events = "{}," * (json_document.MAX_ITEM_VALUES // 2 + 1)
    with pytest.raises(Undecodable, match="in one span, log record or resource"):
        request_check.check("traces", "json", body.replace("[0]", f"[{events}{{}}]").encode())


def test_items_of_which_none_can_be_kept_are_not_looked_at_to_the_end() -> None:
    """Four kilobytes, compressed, that took seconds."""
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b",".join([b"{}"] * 1_000_000) + b"]}]}]}"
    with pytest.raises(
        Undecodable, match=f"none of the first {request_check.HOPELESS_ITEMS} items can be kept: trace_id is missing"
    ):
        request_check.check("traces", "json", body)

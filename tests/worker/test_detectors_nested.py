"""A call that client, transport and server tell of is one call, and its failure one finding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Scope, Span
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import DraftFinding
from tests.generator.load import reader_of, store

SDK = Path(__file__).parents[1] / "data" / "sdk"
SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
TRACE = "0af7651916cd43dd8448eb211c80319c"


def found(spans: list[Span], directory: Path) -> list[DraftFinding]:
    with reader_of([store(spans, directory)]) as reader:
        return run_detectors(reader).findings


def call(number: int, parent: int, *, tool: str = "book_flight", status: str = "UNSET", kind: str = "tool") -> Span:
    attributes = {"traceloop.span.kind": kind, "traceloop.entity.name": tool}
    if kind == "tool":
        attributes |= {"traceloop.entity.input": '{"to": "Paris"}'}
        if status != "ERROR":
            attributes |= {"traceloop.entity.output": "booked"}
    return Span(
        TRACE, f"{number:016x}", f"{parent:016x}" if parent else "", f"{tool}.{kind}", Scope(name="traceloop.tracer"),
        start_unix_nano=START + number * SECOND, end_unix_nano=START + (100 - number) * SECOND, status_code=status,
        status_message="no seat is free" if status == "ERROR" else "", attributes=attributes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        (
            "mcp-2.3.0",
            {"error_other": 1, "error_not_found": 1},
        ),  # its server's span says no more than tool_error, for both tools
        ("fastmcp-4.2.3", {"error_other": 1, "invented_tool": 1, "error_not_found": 1}),
        ("splunk-otel-instrumentation-fastmcp-0.1.1", {"error_other": 1, "invented_tool": 1}),
        ("opentelemetry-instrumentation-mcp-0.62.4", {"error_other": 1, "invented_tool": 1, "error_not_found": 1}),
        ("traceloop-instrumentation-mcp-0.27.0", {"error_other": 1, "invented_tool": 1, "error_not_found": 1}),
        ("logfire-5.4.0-mcp", {"error_other": 1, "invented_tool": 1, "error_not_found": 1}),
    ],
)
def test_what_sdks_sent_of_a_refusal_and_an_unknown_tool_is_found_once(
    name: str, errors: dict[str, int], tmp_path: Path
) -> None:
    spans = decode_traces((SDK / f"{name}.pb").read_bytes(), encoding="protobuf").spans
    findings = found(spans, tmp_path)
    names = [finding.detector_name for finding in findings]
    assert {one: names.count(one) for one in set(names)} == errors
    titles = " ".join(finding.title for finding in findings)
    assert name == "mcp-2.3.0" or ("book_table" in titles and "get_wether" in titles)
    assert "ResponseStreamWriter" not in titles


def test_one_booking_that_three_spans_tell_of_is_not_carried_out_twice(tmp_path: Path) -> None:
    once = [call(1, 0, kind="workflow"), call(2, 1), call(3, 2, kind="task"), call(4, 3), call(5, 4)]
    assert found(once, tmp_path / "once") == []


def test_two_bookings_are_two_however_many_spans_tell_of_each(tmp_path: Path) -> None:
    twice = [call(1, 0, kind="workflow"), call(2, 1), call(3, 2), call(10, 1), call(11, 10)]
    assert [finding.detector_name for finding in found(twice, tmp_path)] == ["repeated_side_effect"]


def test_an_agent_between_two_calls_may_have_asked_again(tmp_path: Path) -> None:
    again = [call(1, 0, kind="workflow"), call(2, 1), call(3, 2, kind="agent", tool="helper"), call(4, 3)]
    assert [finding.detector_name for finding in found(again, tmp_path)] == ["repeated_side_effect"]


def test_one_failure_that_three_spans_tell_of_is_no_retry_storm(tmp_path: Path) -> None:
    failed = [call(1, 0, kind="workflow"), *(call(number, number - 1, status="ERROR") for number in (2, 3, 4))]
    [finding] = found(failed, tmp_path)
    assert finding.detector_name == "error_other"
    assert [one.symptom_span_id for one in finding.occurrences] == [f"{4:016x}"]


def test_failures_that_only_inner_spans_tell_of_are_a_storm_all_the_same(tmp_path: Path) -> None:
    """The client of MCP's SDK leaves its span UNSET when a tool refuses."""
    storm = [call(1, 0, kind="workflow")]
    for number in (10, 20, 30, 40):
        storm += [call(number, 1), call(number + 1, number, status="ERROR")]
    names = {finding.detector_name for finding in found(storm, tmp_path)}
    assert names >= {"error_other", "retry_storm"}


def test_the_call_that_was_refused_is_named_though_a_step_above_it_ended_well(tmp_path: Path) -> None:
    refused = replace(call(3, 2, tool="find_slots", status="ERROR"), status_message="429 Too Many Requests")
    desk = replace(call(1, 0, kind="agent", tool="desk", status="ERROR"), status_message="429 Too Many Requests")
    spans = [desk, call(2, 1, kind="agent", tool="scheduler"), refused]
    (finding,) = (one for one in found(spans, tmp_path) if one.detector_name == "error_rate_limit")
    assert finding.title == "find_slots is rate-limited"
    assert {one.symptom_span_id for one in finding.occurrences} == {refused.span_id}


@pytest.mark.parametrize(
    ("said", "helped"),
    [
        ("book a table for two at the harbour tonight", False),
        ("book a table for three at the harbour tonight", False),
        ("what is the weather in Oslo?", True),
    ],
)
def test_who_cancels_and_asks_for_something_else_was_not_let_down(said: str, helped: bool, tmp_path: Path) -> None:
    def run(number: int, text: str, status: str) -> Span:
        return Span(
            f"{number:032x}", f"{number:016x}", "", "desk", Scope(name="app"), status_code=status,
            start_unix_nano=START + number * 60 * SECOND, end_unix_nano=START + number * 60 * SECOND + SECOND,
            attributes={
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk", "session.id": "one",
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "parts": [{"type": "text", "content": text}]}]),
                **({"error.type": "asyncio.CancelledError"} if status == "ERROR" else {}),
            },
        )  # fmt: skip

    spans = [run(1, "book a table for two at the harbour tonight", "ERROR"), run(2, said, "OK")]
    names = {finding.detector_name for finding in found(spans, tmp_path)}
    assert ("user_not_helped" not in names) == helped

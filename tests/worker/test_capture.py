"""What a capture holds is told per service and convention, with what to set for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from halo_receiver.span import Span
from halo_worker.analysis import overview
from halo_worker.analysis.detectors import DETECTORS
from halo_worker.analysis.detectors.capture import Captured, captured, facts, how, off, unsupported
from tests.generator.load import reader_of, spans_of, store
from tests.generator.strangers import strangers


def seen(spans: Iterator[Span], folder: Path) -> tuple[dict[str, Captured], list[str]]:
    with reader_of([store(spans, folder)]) as reader:
        overview.prepare(reader)
        found = captured(reader)
        return {one.service: one for one in found}, unsupported(found)


def traffic(*, without: str = "") -> Iterator[Span]:
    """Healthy traffic in one convention; attributes that hold `without` are left out."""
    for spans, truth in strangers(400, seed=5, failing=0, negative=0):
        for span in spans if truth.convention == "langchain" else ():
            if without:
                span.attributes = {key: value for key, value in span.attributes.items() if without not in key}
            yield span


def test_a_full_capture_lacks_nothing(tmp_path: Path) -> None:
    found, lines = seen(traffic(), tmp_path)
    assert found["concierge-svc"].lacks == []
    assert [line for line in lines if "concierge" in line] == []


def test_missing_definitions_are_told_with_what_to_set(tmp_path: Path) -> None:
    """One of the services does not send them; the others do."""
    found, lines = seen(traffic(), tmp_path)
    assert {lack.fact.name for lack in found["sre-svc"].lacks} == {"tool definitions"}
    assert {"invented_tool", "wrong_arguments"} == found["sre-svc"].blind
    (line,) = [line for line in lines if "tool definitions" in line]
    assert line.startswith("sre-svc (openinference): tool definitions are not captured: cannot detect invented tools")
    assert "OPENINFERENCE_HIDE_LLM_TOOLS" in line


@pytest.mark.parametrize(
    ("without", "fact", "detector"),
    [
        ("llm.output_messages", "message content", "claimed_action"),
        ("llm.finish_reason", "finish reasons", "truncated_output"),
        ("token_count", "token counts", "token_outlier"),
        ("output.value", "tool results", "swallowed_error"),
        ("input.value", "tool arguments", "repeated_call"),
        ("llm.model_name", "model names", "context_pressure"),
    ],
)
def test_what_is_not_captured_blinds_the_detectors_that_need_it(
    tmp_path: Path, without: str, fact: str, detector: str
) -> None:
    found, _ = seen(traffic(without=without), tmp_path)
    assert fact in {lack.fact.name for lack in found["concierge-svc"].lacks}
    assert detector in found["concierge-svc"].blind


def test_messages_that_are_stored_elsewhere_are_told(tmp_path: Path) -> None:
    """OpenTelemetry's completion hook leaves their addresses on the span."""
    spans = list(traffic(without="llm.output_messages"))
    for span in spans:
        span.attributes["gen_ai.output.messages_ref"] = "s3://bucket/outputs.json"
    _, lines = seen(iter(spans), tmp_path)
    (line,) = [line for line in lines if line.startswith("concierge-svc") and "message content" in line]
    assert "gen_ai.output.messages_ref" in line
    assert "quotes of them cannot be checked" in line


def test_spans_of_no_convention_are_told(tmp_path: Path) -> None:
    plain = (Span(span.trace_id, span.span_id, span.parent_span_id, "GET /", span.scope) for span in traffic())
    for span in (plain := list(plain)):  # type: ignore[assignment]
        span.scope.name = "http"
    found, lines = seen(iter(plain), tmp_path)
    assert not any(one.genai for one in found.values())
    assert lines == ["no span follows a GenAI convention: only errors, latency and structure can be judged"]


def test_a_detector_is_off_only_where_it_can_see_nowhere(tmp_path: Path) -> None:
    """One service sends tool definitions, another does not; in the second window nobody sends message content."""
    found, _ = seen(traffic(), tmp_path / "whole")
    assert "invented_tool" in found["sre-svc"].blind
    assert "invented_tool" not in {one.name for one in off(list(found.values()))}
    found, _ = seen(traffic(without="llm.output_messages"), tmp_path / "some")
    lacking = {one.name: one.lacks for one in off(list(found.values()))}
    assert lacking["claimed_action"] == ["message content"]
    assert "latency_outlier" not in lacking
    assert off([]) == []


def test_without_genai_spans_every_detector_that_needs_them_is_off(tmp_path: Path) -> None:
    plain = [Span(span.trace_id, span.span_id, span.parent_span_id, "GET /", span.scope) for span in traffic()]
    for span in plain:
        span.scope.name = "http"
    found, _ = seen(iter(plain), tmp_path)
    lacking = off(list(found.values()))
    assert {name for fact in facts() for name in fact.detectors} == {one.name for one in lacking}
    assert {tuple(one.lacks) for one in lacking} == {("spans of a GenAI convention",)}


def test_what_a_detector_needs_is_a_fact_of_the_capture() -> None:
    names = {fact.name for fact in facts()}
    for unit in DETECTORS:
        assert set(unit.needs) <= names, unit.name


def test_every_convention_has_words_on_what_to_set() -> None:
    from halo_receiver.conventions.meaning import TABLE

    assert set(TABLE.conventions) - set(how()) <= {"laminar", "inference"}, "these say nothing of settings"


def test_real_captures_are_judged_by_what_they_hold(captures: Path, tmp_path: Path) -> None:
    """The AI SDK sent everything; Claude Code's definitions need its detailed tracing."""
    with reader_of([store(spans_of([captures / "vercel-ai-sdk-6-otlpjson" / "traces-001.pb"]), tmp_path)]) as reader:
        overview.prepare(reader)
        (one,) = captured(reader)
        assert one.convention == "vercel_ai"
        assert "message content" not in {lack.fact.name for lack in one.lacks}

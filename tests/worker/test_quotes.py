"""Quotes prove: from the field that speaks, never within a word or number, of both of two same calls, of the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.detectors.quotes import LENGTH, REACH, _between, _excerpt
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.evidence import Spans, verify
from tests.generator.fleet import fleet
from tests.generator.load import reader_of, store
from tests.generator.strangers import strangers
from tests.small_spans import agent, found, llm, said, tool

CUTS = (
    "I have refunded 1,234.56 euros to your account today.",
    "Write to help@example.com about version 3.11 of gpt-4.1-mini.",
    '{"query":"select a_long_name","limit":1200,"at":"2026-11-27T06:00:00Z"}',
    "The customer's order isn't there; the service said «404».",
    "注文は見つかりませんでした。もう一度お試しください。",
)


@pytest.mark.parametrize("text", CUTS)
def test_no_cut_goes_through_a_word_or_a_number(text: str) -> None:
    """Wherever a detector cuts, the quote is still in the text, and its ends lie between words."""
    for start in range(len(text)):
        for stop in range(start + 1, len(text) + 1):
            if not text[start:stop].strip():
                continue
            quote = _excerpt(text, text[start:stop])
            assert quote
            places = [place for place in range(len(text)) if text.startswith(quote, place)]
            assert any(_between(text, place) and _between(text, place + len(quote)) for place in places), quote


@pytest.mark.parametrize("part", ["1,2", "34.5", "example.", "gpt-4", "isn", "06:0", "a_long"])
def test_what_one_reads_as_one_is_one(part: str) -> None:
    text = next(text for text in CUTS if part in text)
    place = text.index(part) + len(part)
    assert not _between(text, place)


def test_a_long_text_is_cut_between_words_and_one_long_word_somewhere() -> None:
    assert _excerpt("word " * 200, ("word " * 200)[:303]).endswith("word")
    assert len(_excerpt("word " * 200, ("word " * 200)[:303])) <= LENGTH + REACH
    assert len(_excerpt("x" * 1000, "x" * LENGTH)) == LENGTH


@pytest.fixture(scope="module", params=["fleet", "strangers"])
def window(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Spans, list[DraftFinding]]]:
    def spans() -> Iterator[Span]:
        if request.param == "fleet":
            for sent, _ in fleet(1000, seed=12):
                yield from decode_traces(sent.SerializeToString(), encoding="protobuf").spans
        else:
            for made, _ in strangers(1000, seed=12):
                yield from made

    with reader_of([store(spans(), tmp_path_factory.mktemp(request.param))]) as reader:
        draft = run_detectors(reader)
        verified = verify(reader, draft)
        assert verified.rejected.citations == 0, verified.rejected.reasons
        yield Spans(reader), draft.findings


def test_a_spans_name_is_quoted_only_where_there_is_no_more(window: tuple[Spans, list[DraftFinding]]) -> None:
    spans, findings = window
    assert len({finding.detector_name for finding in findings}) > 20
    for finding in findings:
        if finding.category == "Broken Telemetry":
            continue  # about the span itself
        for one in finding.evidence:
            if one.field == "name":
                fields = ("error_message", "status_message", "input_text", "output_text")
                assert not any(spans.text(one.trace_id, one.span_id, field) for field in fields), finding.title


def test_every_quote_of_a_window_ends_between_words(window: tuple[Spans, list[DraftFinding]]) -> None:
    spans, findings = window
    for finding in findings:
        for one in finding.evidence if finding.detector_name != "leaked_secret" else ():
            text = spans.text(one.trace_id, one.span_id, one.field) or ""
            assert one.quote == one.quote.strip() != ""
            assert len(one.quote) <= LENGTH + 2 * REACH
            places = [place for place in range(len(text)) if text.startswith(one.quote, place)]
            ends = [(place, place + len(one.quote)) for place in places]
            assert any(_between(text, start) and _between(text, stop) for start, stop in ends), one


def test_of_calls_that_are_the_same_the_arguments_of_both_are_quoted(tmp_path: Path) -> None:
    made = []
    for n in (1, 2, 3):
        made += [
            agent(n),
            *(tool(n, 2 + k, "get_order", {"id": 7, "note": "x"}, {"ok": 1}, at=100 * k) for k in range(4)),
        ]
        made += [*(tool(n, 10 + k, "send_mail", {"to": "a@example.com"}, {"ok": 1}, at=500 + k) for k in range(2))]
        made += [llm(n, 30, "It is done and on its way.", at=900)]
    findings = found(made, tmp_path)
    for name, arguments, first, last in (
        ("repeated_call", '{"id": 7, "note": "x"}', 2, 5), ("repeated_side_effect", '{"to": "a@example.com"}', 10, 11),
    ):  # fmt: skip
        quotes = [(one.trace_id[-1], int(one.span_id, 16), one.field, one.quote) for one in findings[name].evidence]
        assert quotes == [(t, s, "input_text", arguments) for t in "12" for s in (first, last)]
        assert {one.symptom_span_id for one in findings[name].occurrences} == {f"{last:016x}"}


def test_of_an_answer_that_was_cut_off_the_end_is_quoted(tmp_path: Path) -> None:
    text = "First of all, thank you. " * 200 + "The refund of 1,200.50 euros was sent to your acc"
    cut = {"gen_ai.output.messages": said(text, reason="length"), "gen_ai.response.finish_reasons": ["length"]}
    [finding] = found([one for n in (1, 2, 3) for one in (agent(n), llm(n, 2, more=cut))], tmp_path).values()
    assert finding.detector_name == "truncated_output"
    for one in finding.evidence:
        assert one.quote.endswith("The refund of 1,200.50 euros was sent to your acc")
        assert one.quote.startswith(("First", "of", "all", "thank", "you."))


def test_figures_and_reasons_are_quoted_as_sent(tmp_path: Path) -> None:
    filtered = {"gen_ai.response.finish_reasons": ["content_filter"]}
    [finding] = found([one for n in (1, 2) for one in (agent(n), llm(n, 2, more=filtered))], tmp_path).values()
    assert [(one.field, one.quote) for one in finding.evidence] == [
        ('attributes["gen_ai.response.finish_reasons"]', '["content_filter"]')
    ] * 2


def test_a_call_is_quoted_with_its_arguments(tmp_path: Path) -> None:
    """From the answer as it was sent, where the tool has no span."""
    made = []
    for n in (1, 2, 3):
        made += [agent(n), llm(n, 2, call=("delete_all", {"table": "users"}), more={"gen_ai.tool.definitions": TOOLS})]
    findings = found(made, tmp_path)
    [first, *_] = findings["invented_tool"].evidence
    assert first.field == 'attributes["gen_ai.output.messages"]'
    assert first.quote == '{"type": "tool_call", "id": "call-2", "name": "delete_all", "arguments": {"table": "users"}}'


TOOLS = '[{"type": "function", "name": "get_order", "parameters": {"type": "object", "properties": {}}}]'
SONNET = "claude-sonnet-4-20250514"


def calls(*tokens: int) -> list[Span]:
    return [
        one
        for n, size in enumerate(tokens, 1)
        for one in (agent(n), llm(n, 2, "Fine, here it is.", tokens=(size, 100), model=SONNET))
    ]


def test_a_context_window_that_was_exceeded_is_not_the_models(tmp_path: Path) -> None:
    """The list says 200,000 tokens; with a header it takes a million."""
    near = found(calls(190_000, 195_000, 500), tmp_path / "near")
    assert [(one.field, one.quote) for one in near["context_pressure"].evidence] == [
        ('attributes["gen_ai.usage.input_tokens"]', "190000"), ('attributes["gen_ai.usage.input_tokens"]', "195000"),
    ]  # fmt: skip
    assert found(calls(190_000, 350_000, 500), tmp_path / "more") == {}
    too_long = "prompt is too long: 350000 tokens > 200000 maximum"
    refused = [agent(9), llm(9, 2, tokens=(350_000, 0), model=SONNET, status="ERROR", message=too_long)]
    both = found([*calls(190_000, 195_000), *refused], tmp_path / "refused")
    assert set(both) == {"context_pressure", "error_context_length"}

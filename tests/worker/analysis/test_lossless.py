"""What a model establishes reaches the report whole, and what it is shown is whole: over runs behind real HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_peers import prefix
from halo_worker.analysis.judging.route import affordable, sample
from halo_worker.analysis.routes import MAP_TRACES, Size
from tests.scripted_model import Request, Say
from tests.worker.analysis.claims import QUOTE, TRUE, final
from tests.worker.analysis.conftest import Bench
from tests.worker.analysis.test_runs import Run
from tests.worker.analysis.test_verdicts import named
from tests.worker.analysis.windows import ordinary, span, span_id, trace_id, write

PROMPT = "You refund orders. Never promise a delivery date. " * 4


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def limit_of(report: dict[str, Any]) -> dict[str, Any]:
    """Return the finding of the three refused refunds."""
    found: dict[str, Any] = next(one for one in report["findings"] if "refund" in one["title"])
    return found


def verdict_on(request: Request, **said: Any) -> Say:
    verdict = {"id": named(request, "refund"), "why": "One was asked for.", "evidence": [QUOTE]} | said
    return Say(calls=[("final_answer", {"answer": "Some.", "hypotheses": [verdict]})])


@pytest.mark.parametrize("part", [
    {"drop": [trace_id(7)]}, {"keep": [trace_id(3), {"trace_id": trace_id(9), "span_id": span_id(9, 2)}]},
    {"drop": f"SELECT trace_id FROM spans WHERE trace_id = '{trace_id(7)}'"},
])  # fmt: skip
def test_a_verdict_of_partly_takes_its_traces_out_of_the_counts(halo_run: Run, part: dict[str, Any]) -> None:
    before = limit_of(halo_run([final(answer="Nothing.")], route="loop"))
    report = halo_run(lambda request: verdict_on(request, verdict="partly", **part), route="loop")
    found = limit_of(report)
    assert (found["issue_id"], found["title"]) == (before["issue_id"], before["title"])
    assert (before["prevalence"]["traces"], found["prevalence"]["traces"]) == (3, 2)
    assert {one["trace_id"] for one in found["affected"]} == {trace_id(3), trace_id(9)}
    [aside] = report["set_aside"]
    assert (aside["verdict"], aside["traces"], aside["of"], aside["why"]) == ("partly", 1, 3, "One was asked for.")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"evidence": []}, "it quotes no trace of"),
        ({"evidence": [QUOTE | {"quote": "never said"}]}, "the quote is not in status_message"),
        ({"why": ""}, "it does not say why"),
    ],
)
def test_a_verdict_without_a_quote_or_a_reason_goes_back_and_changes_nothing(
    halo_run: Run, said: dict[str, Any], problem: str
) -> None:
    report = halo_run(lambda request: verdict_on(request, verdict="refuted", **said), route="loop")
    assert limit_of(report)["prevalence"]["traces"] == 3
    assert report["set_aside"] == []
    assert any(problem in text for text in halo_run.requests[1].texts)


def test_a_finding_of_a_detectors_traces_goes_back_and_takes_the_hypothesis_over(halo_run: Run) -> None:
    """Its words, severity and fix; the identity, by which the memory knows it, stays the detector's."""
    first = limit_of(halo_run([final(answer="Nothing.")], route="loop", remember=True))

    def script(request: Request) -> Say:
        finding = TRUE | {"category": first["category"], "description": "The agent does not know it."}
        back = [text for text in request.texts if "covers the same traces as" in text]
        if back:
            finding |= {"hypothesis": re.findall(r"covers the same traces as (D\d+)", back[0])[0]}
        return Say(calls=[("final_answer", {"answer": "One.", "findings": [finding]})])

    report = halo_run(script, route="loop", remember=True)
    assert len(halo_run.requests) == 2
    assert any("name it, or say how it differs" in text for text in halo_run.requests[1].texts)
    [found] = [one for one in report["findings"] if one["prevalence"]["traces"] == 3]
    assert found["issue_id"] == first["issue_id"]
    assert (found["title"], found["severity"]) == (TRUE["title"], TRUE["severity"])
    assert (found["root_cause"], found["fix"]["summary"]) == (TRUE["root_cause"], TRUE["fix"])


def test_code_gets_whole_values_or_an_error_that_says_what_to_do(halo_run: Run) -> None:
    write([*ordinary(6), span(70, 0, output="x" * 30_000 + "END")], halo_run.file)
    read = f"rows = query_sql(sql=\"SELECT {{}} FROM spans WHERE trace_id = '{trace_id(70)}'\")"
    code = f"{read.format('output_text')}\nprint(len(rows['rows'][0][0]), rows['rows'][0][0][-3:], rows['has_more'])"
    script = [
        Say(calls=[("run_code", {"code": code})]),
        Say(calls=[("run_code", {"code": read.format("repeat(output_text, 200)")})]),
        Say(calls=[("query_sql", {"sql": f"SELECT output_text FROM spans WHERE trace_id = '{trace_id(70)}'"})]),
        final(answer="Nothing."),
    ]
    halo_run(script, route="loop")
    results = [request.texts[-2] for request in halo_run.requests[1:]]
    assert "30003 END False" in results[0]
    assert "in batches of rows, or in parts with substr(text, start, length)" in results[1]
    shown = results[2].splitlines()[1]
    assert shown.index('"cut_cells":1') < shown.index('"rows"'), "what was cut is counted at the top"


def test_results_of_one_turn_are_read_together_and_what_fits_is_never_sent_in_another_form(halo_run: Run) -> None:
    """Ten results of 12 KB each are whole in the next request, and each request begins as the one before."""
    write([*ordinary(4), *(span(80 + n, 0, output=f"{n} " * 20_000) for n in range(10))], halo_run.file)
    script = [
        Say(calls=[("view_trace", {"trace_id": trace_id(n)}) for n in (0, 1, 2)]),
        Say(
            calls=[("view_spans", {"trace_id": trace_id(80 + n), "span_ids": [span_id(80 + n, 0)]}) for n in range(10)]
        ),
        Say(calls=[("count_traces", {"filters": {}})]),
        final(answer="Nothing."),
    ]
    halo_run(script, route="loop")
    for request in halo_run.requests[2:]:
        whole = [text for text in request.texts if len(text) > 3_000 and 'tool="view_spans"' in text]
        assert len(whole) == 10
        assert not any("elided" in text for text in request.texts)
    assert (prefix(halo_run.requests) or 0) >= 0.95


@pytest.mark.parametrize("route", ["loop", "direct", "map", "judge"])
def test_a_model_reads_a_trace_in_one_form_on_every_route(halo_run: Run, route: str) -> None:
    call = "llm.output_messages.0.message.tool_calls.0.tool_call."
    said = {
        "llm.input_messages.0.message.role": "system", "llm.input_messages.0.message.content": PROMPT,
        "llm.input_messages.1.message.role": "user", "llm.input_messages.1.message.content": "Where is it?",
    }  # fmt: skip
    asks = {f"{call}function.name": "page_down", f"{call}function.arguments": '{"pages": 2}'}
    lines = [
        span(1, 0, output="", **said, **asks),
        span(1, 1, name="page_down", kind="TOOL", given='{"pages":2}', output="at the end"),
    ]
    write([*lines, span(1, 2, output="It is there.", **said)], halo_run.file)

    def script(request: Request) -> Say:
        if request.tools:
            seen = any('tool="view_trace"' in text for text in request.texts)
            return final(answer="x") if seen else Say(calls=[("view_trace", {"trace_id": trace_id(1)})])
        if "the notes of all readers" in request.texts[0]:
            return Say(json.dumps({"notes": []}))
        if "You judge traces" in request.texts[0]:
            return Say(json.dumps({"outcome": "ok", "labels": []}))
        return Say(json.dumps({"answer": "x", "findings": []}))

    halo_run(script, route=route)
    texts = [text for request in halo_run.requests for text in request.texts]
    shown = next(text for text in texts if "S3 " in text and f"trace {trace_id(1)}" in text)
    ids = [""] * 3 if route == "judge" else [f"{span_id(1, n)} " for n in range(3)]
    assert f'S1 {ids[0]}llm gpt-4o-mini (agent-1) P1 | user Where is it? | calls page_down({{"pages":2}})' in shown
    assert f"S2 {ids[1]}tool page_down (agent-1) | → at the end" in shown
    assert f"S3 {ids[2]}llm gpt-4o-mini (agent-1) P1 | says It is there." in shown
    assert shown.count(PROMPT) == 1, "a system prompt stands once"


def test_readers_are_told_what_each_category_means(halo_run: Run) -> None:
    halo_run(lambda _: Say(json.dumps({"notes": [], "outcome": "ok", "labels": [], "answer": "", "findings": []})),
             route="map")  # fmt: skip
    system = halo_run.requests[0].texts[0]
    assert "- Resource Abuse: the same call again and again to no gain; mark the last one" in system
    assert "mark the model call that decides, not the tool span that fails" in system
    assert "No failure: going through pages" in system


@pytest.mark.asyncio(loop_scope="module")
async def test_a_sample_has_traces_of_every_kind(bench: Bench) -> None:
    """By outcome, hypothesis and what they do: what is rare is not drowned by what is frequent."""
    bench.desk.hypotheses = {"D1": [trace_id(5)], "D2": [trace_id(6), trace_id(5)]}
    chosen = await sample(bench.desk, 6)
    assert len(set(chosen)) == 6
    failing = {trace_id(n) for n in (3, 7, 9)}
    assert {trace_id(5), trace_id(6)} <= set(chosen)
    assert failing & set(chosen)
    assert await sample(bench.desk, 6) == chosen, "the same ones each time"
    bench.desk.hypotheses = {}


def test_how_many_traces_are_judged_follows_from_the_budget() -> None:
    assert affordable(Size(50, 500, 50_000), None) == MAP_TRACES
    assert affordable(Size(1_000, 10_000, 1_000_000), 100_000) == 50
    assert affordable(Size(1_000, 10**6, None), 100_000) == 12

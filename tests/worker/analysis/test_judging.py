"""Traces judged one by one: shown as steps, labelled with quotes that are found, grouped by note ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import judging
from halo_worker.analysis import expectations
from halo_worker.analysis.tools.steps import pages, steps_of
from halo_worker.errors import ConfigError
from tests.generator.load import reader_of, spans_of, store
from tests.scripted_model import Request, Say
from tests.worker.analysis.claims import final
from tests.worker.analysis.conftest import BIG, LONG, Bench
from tests.worker.analysis.test_runs import Run
from tests.worker.analysis.windows import ordinary, span, span_id, trace_id, write

CALL = "llm.output_messages.0.message.tool_calls.0.tool_call."
PROMPT = "You refund orders. Never promise a delivery date."


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    said = {
        "llm.input_messages.0.message.role": "system", "llm.input_messages.0.message.content": PROMPT,
        "llm.input_messages.1.message.role": "user", "llm.input_messages.1.message.content": "When will it come?",
        f"{CALL}id": "c1", f"{CALL}function.name": "look_up", f"{CALL}function.arguments": '{"order": 41}',
    }  # fmt: skip
    promises = [
        span(40, 0, name="agent", kind="AGENT", given="When will it come?", output="Tomorrow, I promise."),
        span(40, 1, parent=0, **said),
        span(40, 2, name="look_up", kind="TOOL", parent=0, output="in transit"),
        span(40, 3, parent=0, output="Tomorrow, I promise.", **{k: v for k, v in said.items() if CALL not in k}),
    ]
    write([*ordinary(6, failing=[3]), *promises], made.file)
    return made


def label(step: str, what: str, quote: str, *categories: str) -> dict[str, Any]:
    return {"step": step, "categories": list(categories), "what": what, "quote": quote}


def reader(request: Request, *, stands: bool = True, grouped: bool = True) -> Say:
    """Say what a reader would: of trace 40 the promise, of trace 3 the limit, and one thing that nobody said."""
    text = request.last
    if "A reader marked step" in text:
        return Say(json.dumps({"stands": stands, "why": "it is forbidden"}))
    if "Readers judged" in text:
        notes = [json.loads(line) for line in text.splitlines() if line.startswith('["n')]
        findings = [
            {"title": note[3], "description": note[3], "category": note[2][0], "affected": [note[0]], "evidence": []}
            for note in notes
        ]
        return Say(json.dumps({"answer": "", "findings": findings})) if grouped else Say("I cannot group them.")
    labels = []
    if trace_id(40) in text:
        promise = ("Instruction Non-compliance", "Goal Deviation")
        labels = [
            label("S4", "promises a day", "says Tomorrow, I promise.", *promise),  # copied with what stands before it
            label("S1", "made up", "nobody said this", "Goal Deviation"),
            label("S99", "no such step", "x", "Goal Deviation"),
        ]
    elif trace_id(3) in text:
        labels = [label("S3", "over the limit", "refund 3 exceeds the limit", "Tool Selection Errors")]
    return Say(json.dumps({"outcome": "wrong" if labels else "ok", "labels": labels}))


def found(report: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the spans of each finding of the model, by category."""
    return {
        one["category"]: [(ref["trace_id"], ref["span_id"]) for ref in one["affected"]]
        for one in report["findings"]
        if one["source"] == "rlm"
    }


def test_labels_with_quotes_become_findings_by_their_note_ids(halo_run: Run) -> None:
    report = halo_run(reader, route="judge")
    assert report["engine"]["route"] == "judge"
    assert found(report) == {
        "Instruction Non-compliance": [(trace_id(40), span_id(40, 3))],
        "Tool Selection Errors": [(trace_id(3), span_id(3, 2))],
    }
    quotes = {quote["quote"] for one in report["findings"] if one["source"] == "rlm" for quote in one["evidence"]}
    assert quotes == {"Tomorrow, I promise.", "refund 3 exceeds the limit"}
    assert report["rejected"]["citations"] == 2
    [shown] = [one.last for one in halo_run.requests if trace_id(40) in one.last and "A reader" not in one.last]
    assert f"P1 system: {PROMPT}" in shown
    assert shown.count(PROMPT) == 1, "a system prompt stands once"
    assert "S2 llm gpt-4o-mini (agent-1) P1 | user When will it come? | calls look_up({" in shown
    assert shown.count("user When will it come?") == 1, "of a call's messages those that are new"


def test_a_label_on_a_clean_trace_is_asked_again_and_dropped_unless_it_stands(halo_run: Run) -> None:
    report = halo_run(lambda request: reader(request, stands=False), route="judge")
    assert "Instruction Non-compliance" not in found(report)
    assert "Tool Selection Errors" in found(report), "its trace has an error: nothing is asked again"
    assert any("withdrawn at a second look" in one for one in report["coverage"]["not_examined"])


def test_labels_that_nobody_could_group_are_findings_by_category(halo_run: Run) -> None:
    report = halo_run(lambda request: reader(request, grouped=False), route="judge")
    assert set(found(report)) == {"Instruction Non-compliance", "Goal Deviation", "Tool Selection Errors"}


def test_in_the_loop_labels_are_rows_and_notes_are_spans(halo_run: Run) -> None:
    sql = "SELECT note_id, step, category FROM labels ORDER BY note_id, category"
    finding = {"title": "Promises a date", "description": "It must not.", "category": "Instruction Non-compliance"}
    script = [
        Say(calls=[("judge_traces", {"filters": {"min_spans": 4}})]),
        Say(calls=[("query_sql", {"sql": sql})]),
        final(finding | {"affected": ["n1"], "evidence": []}),
    ]

    def either(request: Request) -> Say:
        return script.pop(0) if request.tools else reader(request)

    report = halo_run(either, route="loop")
    shown = next(one for one in halo_run.requests[-1].texts if '"n1"' in one and "columns" in one)
    rows = json.loads(shown.split("\n")[1])["rows"]
    assert rows == [["n1", "S4", "Goal Deviation"], ["n1", "S4", "Instruction Non-compliance"]]
    assert found(report) == {"Instruction Non-compliance": [(trace_id(40), span_id(40, 3))]}


def test_labels_of_one_window_are_known_in_the_next_with_the_issue_that_each_became(halo_run: Run) -> None:
    first = halo_run(reader, route="judge", remember=True)
    issues = {one["category"]: one["issue_id"] for one in first["findings"] if one["source"] == "rlm"}
    promised, limit = issues["Instruction Non-compliance"], issues["Tool Selection Errors"]
    write(ordinary(6, first=1000), halo_run.file)
    sql = "SELECT issue_id, category, step, note_id FROM labels WHERE what = 'promises a day' ORDER BY category"
    halo_run([Say(calls=[("query_sql", {"sql": sql})]), final(answer="Nothing.")], route="loop", remember=True)
    told = halo_run.requests[0].last
    assert f'["{promised}","promises a day","Instruction Non-compliance","promises a day"]' in told
    assert f'["{limit}","over the limit","Tool Selection Errors","over the limit"]' in told
    shown = json.loads(halo_run.requests[1].texts[-2].splitlines()[1])
    assert shown["rows"] == [
        [promised, "Goal Deviation", "S4", None], [promised, "Instruction Non-compliance", "S4", None],
    ]  # fmt: skip


def test_a_window_that_overlaps_the_last_one_asks_only_for_its_new_traces(halo_run: Run) -> None:
    """What was judged before is answered from the cache, and its findings go on beside those of the new traces."""

    def both(request: Request) -> Say:
        if trace_id(1001) in request.last:
            labels = [label("S3", "over it again", "refund 1001 exceeds the limit", "Tool Selection Errors")]
            return Say(json.dumps({"outcome": "wrong", "labels": labels}))
        return reader(request)

    def judged() -> set[int]:
        asked = [one.last for one in halo_run.requests if "Readers judged" not in one.last]
        return {n for n in (*range(6), 40, 1000, 1001) if any(trace_id(n) in text for text in asked)}

    first = halo_run(both, route="judge", remember=True)
    assert judged() == {*range(6), 40}
    more = write(ordinary(2, first=1000, failing=[1001]), halo_run.file.with_name("more.jsonl"))
    second = halo_run(both, route="judge", remember=True, files=[more])
    assert judged() == {1000, 1001}
    assert second["coverage"]["traces_examined"] == 9
    assert found(second)["Instruction Non-compliance"] == [(trace_id(40), span_id(40, 3))]
    spans = {(ref["trace_id"], ref["span_id"]) for one in second["findings"] for ref in one["affected"]}
    assert {(trace_id(3), span_id(3, 2)), (trace_id(1001), span_id(1001, 2))} <= spans
    issues = [{one["issue_id"] for one in report["findings"] if one["source"] == "rlm"} for report in (first, second)]
    assert issues[0] <= issues[1]


def test_a_broken_expectation_is_a_finding_of_its_own_with_and_without_a_model(halo_run: Run, tmp_path: Path) -> None:
    file = tmp_path / "EXPECTATIONS.md"
    sql = "SELECT trace_id, span_id FROM spans WHERE status_message LIKE '%exceeds the limit%'"
    file.write_text(f"# Ours\n\n- E1: never promise a delivery date\n- E2 (agent: agent-0): keep to the limit\n"
                    f"  ```sql\n  {sql}\n  ```\n")  # fmt: skip

    def script(request: Request) -> Say:
        said = reader(request).text or ""
        promise = '"what": "promises a day"'
        return Say(said.replace(promise, f'{promise}, "expectation": "E1"'))

    report = halo_run(script, route="judge", expectations=str(file))
    titles = {one["title"]: one for one in report["findings"]}
    promised = titles["Breaks expectation E1: never promise a delivery date"]
    assert [ref["span_id"] for ref in promised["affected"]] == [span_id(40, 3)]
    limit = titles["Breaks expectation E2: keep to the limit"]
    assert (limit["source"], limit["prevalence"]["traces"], len(limit["evidence"])) == ("detector", 1, 1)
    assert any("E2 (agent agent-0): keep to the limit" in one.texts[0] for one in halo_run.requests)
    again = [one.last for one in halo_run.requests if "A reader marked step S4" in one.last]
    assert any("what the operator expects, E1: never promise a delivery date" in text for text in again)
    alone = halo_run([], engine="detectors", expectations=str(file))
    assert "Breaks expectation E2: keep to the limit" in [one["title"] for one in alone["findings"]]


@pytest.mark.parametrize("route", ["loop", "direct", "map"])
def test_a_broken_expectation_is_its_own_finding_on_every_route(halo_run: Run, tmp_path: Path, route: str) -> None:
    """In the operator's words, numbers included, and one issue whoever found it; what a label says is not lost."""
    file = tmp_path / "EXPECTATIONS.md"
    file.write_text("- E1: never promise delivery within 2 days\n- E2: keep to the limit of 100\n")
    quote = {"trace_id": trace_id(3), "span_id": span_id(3, 2), "field": "status_message", "quote": "exceeds the limit"}
    limit = {"title": "The limit is passed", "description": "Tries more.", "category": "?", "expectation": "E2",
             "hypothesis": "D1", "evidence": [quote]}  # fmt: skip
    script = [Say(calls=[("judge_traces", {"filters": {"min_spans": 4}})]), final(limit)]

    def either(request: Request) -> Say:
        if route == "direct":
            titled = {"title": "Breaks expectation E1: it promises", "description": "A promise.", "category": "?"}
            promise = {"trace_id": trace_id(40), "span_id": span_id(40, 3), "field": "output_text", "quote": "Tomorrow"}
            return Say(json.dumps({"answer": "", "findings": [limit, {**titled, "evidence": [promise]}]}))
        if route == "map":
            note = {"trace_id": trace_id(40), "span_id": span_id(40, 3), "categories": ["Goal Deviation"],
                    "what": "promises a day", "quote": "Tomorrow", "expectation": "E1"}  # fmt: skip
            reading = "the notes of all readers" in request.texts[0]
            return Say(json.dumps({"notes": [note]} if reading else {"answer": "", "findings": [limit]}))
        if request.tools:
            return script.pop(0)
        said = '"what": "promises a day"'
        return Say((reader(request).text or "").replace(said, f'{said}, "expectation": "E1"'))

    report = halo_run(either, route=route, expectations=str(file))
    findings = {one["title"]: one for one in report["findings"]}
    promised = findings["Breaks expectation E1: never promise delivery within 2 days"]
    assert [one["span_id"] for one in promised["affected"]] == [span_id(40, 3)]
    assert promised["issue_id"] == expectations.read(file)[0].issue_id
    assert "Breaks expectation E2: keep to the limit of 100" in findings
    assert any(one["source"] == "detector" for one in report["findings"]), "what detectors found stays beside it"


def test_other_sql_of_an_expectation_is_another_version_of_its_rule(tmp_path: Path) -> None:
    def version(sql: str) -> int:
        (tmp_path / "E.md").write_text(f"- E1: a\n  ```sql\n{sql}\n  ```\n")
        return expectations.read(tmp_path / "E.md")[0].version

    assert version("SELECT  trace_id,\n span_id FROM spans") == version("SELECT trace_id, span_id FROM spans")
    assert version("SELECT trace_id, span_id FROM spans WHERE true") != version("SELECT trace_id, span_id FROM spans")


@pytest.mark.parametrize("text", ["", "# nothing", "- E1: a\n- E1: b"])
def test_a_file_of_expectations_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "E.md").write_text(text)
    with pytest.raises(ConfigError, match="expectations"):
        expectations.read(tmp_path / "E.md")
    with pytest.raises(ConfigError, match="cannot be read"):
        expectations.read(tmp_path / "none.md")


@pytest.mark.parametrize("route", ["judge", "loop", "direct", "map"])
def test_labels_in_equal_labels_out(halo_run: Run, tmp_path: Path, route: str) -> None:
    """The engine adds no loss: several categories on a span, spans of one trace, none that detectors found beside."""
    gold: judging.Pairs = {
        trace_id(40): {(span_id(40, 3), one) for one in ("Language-only", "Goal Deviation", "Resource Abuse")},
        trace_id(3): {(span_id(3, 2), "Tool Selection Errors"), (span_id(3, 1), "Goal Deviation")},
        trace_id(4): set(),
    }
    with reader_of([store(spans_of([halo_run.file]), tmp_path / "window")]) as opened:
        model = judging.GoldModel(gold, opened)
    report = halo_run(model, route=route)
    folder = halo_run.directory / "out" / report["id"]
    assert judging.figures(judging.published(folder, ("rlm", "detector")), gold)["pair F1"] == 1.0


def test_what_retries_send_again_is_told_once(halo_run: Run) -> None:
    """Long arguments and results by the step that had them; a tool's wrapped arguments stand at the call alone."""
    body = json.dumps({"text": "a long report about everything " * 10 + "and its end"})
    told = {f"{CALL}id": "c1", f"{CALL}function.name": "save", f"{CALL}function.arguments": body}
    lines = []
    for turn in range(3):
        lines.append(span(50, 2 * turn, output="", **told))
        wrapped = json.dumps({"args": [], "kwargs": json.loads(body)})
        lines.append(span(50, 2 * turn + 1, name="save", kind="TOOL", given=wrapped, output=f"502 Bad Gateway {turn}"))
    write(lines, halo_run.file)
    halo_run([Say(json.dumps({"answer": "", "findings": []}))], route="direct")
    shown = halo_run.requests[0].last
    assert shown.count("and its end") == 1
    assert shown.count("…[as in S1]") == 2
    assert "| given" not in shown
    assert "→ 502 Bad Gateway 2" in shown


def test_a_system_prompt_that_a_span_around_the_call_repeats_stands_once() -> None:
    """As the AI SDK's outer span does, in JSON."""
    prompt = "Tu réponds aux clients.\n" + "Never promise a day. " * 20
    rows = [
        _row("a", "chain", input_text=json.dumps({"system": prompt, "prompt": "When?"}, ensure_ascii=False)),
        _row("b", "llm", output_text="Tomorrow."),
    ]
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": "When?"}]
    shared, steps = steps_of(rows, {"b": messages})
    assert [name for name, _ in shared] == ["P1"]
    assert steps[0].parts[0][1] == '{"system": "…[P1]", "prompt": "When?"}'


def _row(span: str, kind: str, **texts: str) -> dict[str, Any]:
    row: dict[str, Any] = {"span_id": span, "name": kind, "span_type": kind, "tools_offered": [], "tool_calls": None}
    row |= dict.fromkeys(("status_code", "agent_name", "model", "tool_name", "duration_ns", "finish_reason"))
    for name in ("input_text", "output_text", "error_message", "status_message"):
        text = texts.get(name)
        row |= {name: text, f"{name}_end": text, f"{name}_length": len(text or "")}
    return row


@pytest.mark.asyncio(loop_scope="module")
async def test_a_trace_is_shown_whole_and_long_texts_by_beginning_and_end(bench: Bench) -> None:
    every = await pages(bench.desk, trace_id(BIG), 12_000)
    assert len(every) > 1
    steps = [name for page in every for name in page.spans]
    assert steps == [f"S{number}" for number in range(1, 901)], "each step once, on one page or another"
    for page in every:
        assert len(page.text.encode()) <= 12_200
        assert set(re.findall(r"^(S\d+) ", page.text, re.MULTILINE)) == set(page.spans)
    assert "steps=1.." in every[0].text
    [page] = await pages(bench.desk, trace_id(LONG), 12_000)
    assert re.search(r"It was a long night.*…\[cut: \d+\]….*the END is near", page.text)

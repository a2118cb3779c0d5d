"""Whatever a model claims: made-up quotes, counts and ids do not get through, and what is true does."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halo_receiver.store.reader import Reader
from halo_worker.analysis import hypotheses as guesses
from halo_worker.analysis import numbers, recurring
from halo_worker.analysis.claim_verification import ClaimVerifier
from halo_worker.analysis.draft import DraftFinding, Occurrence
from halo_worker.analysis.evidence import Spans, problem_of
from halo_worker.report.model import Evidence
from tests.worker.analysis.conftest import Bench
from tests.worker.analysis.windows import span_id, trace_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACES = 33


def quote(trace: int = 3, span: int = 2, field: str = "status_message", text: str | None = None) -> dict[str, str]:
    said = f"refund {trace} exceeds the limit" if text is None else text
    return {"trace_id": trace_id(trace), "span_id": span_id(trace, span), "field": field, "quote": said}


def claim(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Refunds over the limit are tried", "description": "The limit is not looked at.",
        "category": "Task Orchestration", "severity": "high", "confidence": 0.8, "evidence": [quote()],
    } | changes  # fmt: skip


LIMIT = "SELECT trace_id, span_id FROM spans WHERE error_message LIKE '%exceeds the limit%'"


@pytest.fixture
def verifier(reader: Reader, bench: Bench) -> ClaimVerifier:
    hypothesis = DraftFinding(
        title="refund fails", description="d", category="Unhandled Error", source="detector", confidence=0.9,
        key="refund", detector_name="error_other",
        occurrences=[Occurrence(trace_id(n), span_id(n, 1), span_id(n, 2)) for n in (3, 7, 9)],
        evidence=[Evidence(**quote(7))],
    )  # fmt: skip
    return ClaimVerifier(reader, bench.desk, guesses.named([hypothesis]), traces=TRACES, needs_answer=False)


async def test_a_true_finding_stands_on_its_quotes(verifier: ClaimVerifier) -> None:
    verified = await verifier.verify({"answer": "", "findings": [claim()]})
    assert verified.problems == []
    [found] = verified.findings
    assert [(one.trace_id, one.symptom_span_id) for one in found.occurrences] == [(trace_id(3), span_id(3, 2))]


async def test_a_finding_goes_on_as_the_issue_of_an_earlier_window_that_it_names(
    reader: Reader, bench: Bench, verifier: ClaimVerifier
) -> None:
    """Whatever its words are tonight; an id that nobody told of is a problem, and the finding one by itself."""
    [found] = (await verifier.verify({"answer": "", "findings": [claim()]})).findings
    told = SimpleNamespace(
        title="Refunds beyond what is allowed", category="Goal Deviation", source="rlm", detector=None
    )
    nothing = SimpleNamespace(wrong_as_a_whole=None)
    issues: Any = [
        SimpleNamespace(issue_id="HALO-00000001", finding=told, standing=nothing, last_seen=1),
        SimpleNamespace(issue_id="HALO-00000002", finding=SimpleNamespace(**vars(told) | {"source": "detector"}),
                        standing=nothing, last_seen=2),
    ]  # fmt: skip
    known = recurring.earlier(issues, ())
    assert '["HALO-00000001","Refunds beyond what is allowed","Goal Deviation"]' in recurring.told(known)
    assert "HALO-00000002" not in recurring.told(known), "a detector finds it again"
    knowing = ClaimVerifier(reader, bench.desk, {}, traces=TRACES, needs_answer=False, earlier=known)
    verified = await knowing.verify({"answer": "", "findings": [claim(issue="HALO-00000001")]})
    assert (verified.problems, [one.issue_id for one in verified.findings]) == ([], ["HALO-00000001"])
    verified = await knowing.verify({"answer": "", "findings": [claim(issue="HALO-00000003")]})
    assert "there is no issue HALO-00000003" in verified.problems[0]
    assert verified.findings == [found]


@pytest.mark.parametrize(
    ("made_up", "why"),
    [
        (quote(text="the model said so"), "the quote is not in status_message"),
        (quote(text="Refund 3 exceeds the limit"), "the quote is not in"),
        (quote(text="refund 4 exceeds the limit"), "the quote is not in"),
        (quote(text="   "), "the quote is empty"),
        (quote() | {"span_id": "feedfacefeedface"}, "no such span"),
        (quote() | {"trace_id": "f" * 32}, "no such span"),
        (quote(field="attributes[\"nope\"]", text="x"), "has no attributes"),
        (quote(field="events[7].attributes[\"x\"]", text="x"), "has no events"),
        (quote(field="everything", text="x y z"), "has no everything"),
    ],
)  # fmt: skip
async def test_a_quote_that_is_not_there_goes_back_and_is_dropped(
    verifier: ClaimVerifier, made_up: dict[str, str], why: str
) -> None:
    alone = await verifier.verify({"findings": [claim(evidence=[made_up])]})
    assert any(why in problem for problem in alone.problems), alone.problems
    assert alone.findings == []
    assert (alone.citations, alone.dropped) == (1, 1)
    beside = await verifier.verify({"findings": [claim(evidence=[made_up, quote()])]})
    [found] = beside.findings
    assert found.evidence == [Evidence(**quote())], "what is true beside it stands"


async def test_a_quote_in_another_text_of_the_span_or_with_escapes_is_corrected(verifier: ClaimVerifier) -> None:
    """Models name the wrong field, and copy the escapes of JSON. What ships is found where it says."""
    verified = await verifier.verify(
        {
            "findings": [
                claim(evidence=[quote(field="output_text"), quote(92, 0, "input_text", 'call final_answer({\\"answer')])
            ]
        }
    )
    [found] = verified.findings
    assert [one.field for one in found.evidence] == ["status_message", "input_text"]
    assert found.evidence[1].quote == 'call final_answer({"answer'
    assert verified.citations == 0


async def test_a_detector_measures_the_whole_window(verifier: ClaimVerifier) -> None:
    verified = await verifier.verify(
        {"findings": [claim(detector=LIMIT + " -- all of them", category="Goal Deviation")]}
    )
    [found] = verified.findings
    assert {one.trace_id for one in found.occurrences} == {trace_id(n) for n in (3, 7, 9)}
    assert found.sql is not None


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT trace_id FROM spans", "names no span_id"),
        ("SELECT 1", "names no trace_id and no span_id"),
        ("DELETE FROM spans", "cannot be run"),
        ("SELECT trace_id, span_id FROM read_csv('/etc/passwd')", "cannot be run"),
        ("SELECT trace_id, span_id FROM spans WHERE nope", "cannot be run"),
        ("SELECT trace_id, span_id FROM spans WHERE name = 'nothing'", "names no span"),
        ("SELECT trace_id, span_id FROM spans", "tells nothing apart"),
        ("SELECT trace_id, span_id FROM spans WHERE span_type = 'tool' AND status_code = 'OK'", "none of the traces"),
        ("SELECT 'made up' AS trace_id, 'too' AS span_id", "names no span"),
    ],
)
async def test_a_detector_that_measures_nothing_is_left_out(verifier: ClaimVerifier, sql: str, why: str) -> None:
    """The finding stands on its quotes then, and tomorrow's runs are spared the SQL."""
    verified = await verifier.verify({"findings": [claim(detector=sql)]})
    assert any(why in problem for problem in verified.problems), verified.problems
    [found] = verified.findings
    assert found.sql is None
    assert len(found.occurrences) == 1


async def test_counts_in_a_findings_texts_are_held_against_the_computed(verifier: ClaimVerifier) -> None:
    wrong = claim(
        description="It fails in 17 traces, that is 52 % of 33 traces.", root_cause="In 3 of 33 traces.",
        detector=LIMIT, category="Goal Deviation",
    )  # fmt: skip
    verified = await verifier.verify({"findings": [wrong]})
    assert any("'17'" in problem and "'52 %'" in problem for problem in verified.problems)
    [found] = verified.findings
    assert found.description == f"It fails in {numbers.UNVERIFIED} traces, that is {numbers.UNVERIFIED} of 33 traces."
    assert found.root_cause == "In 3 of 33 traces."
    right = await verifier.verify({"findings": [wrong | {"description": "3 traces, 9.1 %, unlike D1."}]})
    assert right.problems == []


async def test_numbers_and_ids_of_an_answer(verifier: ClaimVerifier, bench: Bench) -> None:
    answer = (
        f"Trace {trace_id(3)} and span `{span_id(3, 2)}` fail; {'f' * 32} and trace `run-99999` too. "
        "12 traces, 40 %, and the quote says 3."
    )
    verified = await verifier.verify({"answer": answer, "findings": [claim()]})
    assert verified.answer is not None
    assert trace_id(3) in verified.answer
    assert span_id(3, 2) in verified.answer
    assert "f" * 32 not in verified.answer
    assert "run-99999" not in verified.answer
    assert verified.answer.count(numbers.UNVERIFIED) == 2
    await bench("query_sql", sql="SELECT 12 AS n, 40 AS share")
    again = await verifier.verify({"answer": answer + " ", "findings": [claim()]})
    assert again.answer is not None
    assert numbers.UNVERIFIED not in again.answer, "a tool has returned them by now"


async def test_a_finding_that_confirms_a_hypothesis_is_not_reported_twice(verifier: ClaimVerifier) -> None:
    named = await verifier.verify({"findings": [claim(hypothesis="D1", root_cause="the limit is not in the prompt")]})
    assert list(named.confirmed) == ["D1"]
    assert named.findings == []
    other = await verifier.verify(
        {"findings": [claim(hypothesis="D1", evidence=[quote(5, 2, "output_text", "refunded 5")])]}
    )
    assert other.confirmed == {}, "it quotes no trace of it"
    verifier._hypotheses["D2"] = replace(verifier._hypotheses["D1"], occurrences=[Occurrence(trace_id(5))])
    kinds = await verifier.verify({"findings": [claim(hypothesis="D1-D2")]})
    assert list(kinds.confirmed) == ["D1", "D2"], "a quote speaks for those of its kind beside it"
    unknown = await verifier.verify({"findings": [claim(hypothesis="D77")]})
    assert any("D77" in problem for problem in unknown.problems)
    assert len(unknown.findings) == 1


async def test_nothing_is_merged_that_was_not_named(verifier: ClaimVerifier) -> None:
    """A model is told what covers the same traces; what it then does not join stays apart."""
    same = await verifier.verify({"findings": [claim(detector=LIMIT, category="Unhandled Error")]})
    assert (same.confirmed, len(same.findings)) == ({}, 1)
    assert any("covers the same traces as D1: name it" in problem for problem in same.problems)
    assert same.reasons == [], "nothing of it is dropped"
    twice = await verifier.verify({"findings": [claim(), claim(title="The same in other words")]})
    assert len(twice.findings) == 2
    assert any("covers the same traces as 'Refunds over the limit are tried'" in one for one in twice.problems)


ESCAPED = r'[{"toolName": "book", "input": "{\"person\": \"\\u00c9lodie\", \"slot\": \"12:00 h\"}"}]'


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ('"slot":"12:00 h"', r"\"slot\": \"12:00 h\""),
        ('calls book({"person":"Élodie","slot":"12:00 h"})', r"{\"person\": \"\\u00c9lodie\", \"slot\": \"12:00 h\"}"),
        ('{"person":"Élodie"', r"{\"person\": \"\\u00c9lodie\""),
        ('"slot":"13:00 h"', None),
        ('"slot":"12:00h"', None),
        ("12:00 o'clock", None),
    ],
)
async def test_a_call_is_quoted_as_a_step_shows_it_and_kept_as_it_was_recorded(said: str, part: str | None) -> None:
    row: dict[str, Any] = dict.fromkeys(("input_text", "output_text", "status_message", "error_message", "events"))
    spans = Spans(cast("Reader", None))
    spans._known["t", "s"] = row | {"name": "chat", "attributes": {"ai.response.toolCalls": ESCAPED}}
    found = spans.locate("t", "s", said)
    assert (found and found.quote) == part
    assert found is None or problem_of(spans, found) is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"verdict": "refuted"}, []),
        ({"verdict": "partly", "drop": [trace_id(3)]}, [7, 9]),
        ({"verdict": "partly", "drop": [{"trace_id": trace_id(3), "span_id": span_id(3, 2)}]}, [7, 9]),
        ({"verdict": "partly", "keep": f"SELECT trace_id FROM spans WHERE trace_id = '{trace_id(9)}'"}, [9]),
        ({"verdict": "confirmed"}, [3, 7, 9]),
        ({"verdict": "partly"}, None),
        ({"verdict": "partly", "drop": ["f" * 32]}, None),
        ({"verdict": "partly", "drop": "SELECT nope FROM spans"}, None),
        ({"verdict": "refuted", "evidence": [quote() | {"quote": "never said by anyone"}]}, None),
        ({"verdict": "refuted", "evidence": [quote(5, 2, "output_text", "refunded 5")]}, None),
        ({"verdict": "refuted", "why": ""}, None),
        ({"verdict": "wrong"}, None),
        ({"verdict": "refuted", "id": "D9"}, None),
    ],
)
async def test_a_verdict_stands_on_a_quote_and_says_what_it_keeps(
    verifier: ClaimVerifier, said: dict[str, Any], kept: list[int] | None
) -> None:
    verdict = {"id": "D1", "why": "the agent asked for confirmation", "evidence": [quote()]} | said
    verified = await verifier.verify({"hypotheses": [verdict]})
    if kept is None:
        assert (verified.verdicts, bool(verified.problems)) == ({}, True)
    else:
        assert [one.trace_id for one in verified.verdicts["D1"].kept] == [trace_id(n) for n in kept]
        assert verified.problems == []


async def test_nothing_of_an_affected_trace_is_counter_evidence(verifier: ClaimVerifier) -> None:
    """A root without an error says nothing: the failure may be in the answer."""
    sql = "SELECT trace_id, span_id FROM spans WHERE name = 'refund' AND trace_id < '" + trace_id(8) + "'"
    verified = await verifier.verify({"findings": [claim(detector=sql)]})
    assert verified.findings[0].counter_evidence == []


async def test_a_model_makes_nothing_critical_by_its_word(verifier: ClaimVerifier) -> None:
    verified = await verifier.verify(
        {"findings": [claim(severity="critical", confidence=97, category="task_orchestration")]}
    )
    [found] = verified.findings
    assert (found.severity_hint, found.confidence, found.category) == ("high", 0.97, "Task Orchestration")


KEYS = ("title", "category", "evidence", "trace_id", "span_id", "field", "quote", "detector", "hypothesis")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=20)
    | st.sampled_from([trace_id(3), span_id(3, 2), "name", "refund", LIMIT, "refund 3 exceeds the limit"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner, max_size=9,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=JSON, findings=JSON)
async def test_whatever_is_claimed_what_stands_is_verbatim(
    verifier: ClaimVerifier, reader: Reader, answer: Any, findings: Any
) -> None:
    verified = await verifier.verify({"answer": answer, "findings": findings})
    spans = Spans(reader)
    for found in (*verified.findings, *verified.confirmed.values()):
        assert found.evidence
        assert all(problem_of(spans, one) is None for one in (*found.evidence, *found.counter_evidence))
        assert found.occurrences


async def test_numbers_are_told_from_words() -> None:
    def wrong(text: str) -> list[str]:
        return numbers.unverified(text, {3.0, 33.0, 1234.0}, [3 / 33], "a 20% discount for 5 days")

    assert wrong("3 traces, 3 of 33 traces, 3 of the 33 traces, 9%, 9.1 %, 9.09 percent, 1,234 spans") == []
    assert wrong("a 20% discount; tried 7 times in 5 seconds; step 4; version 2.1; 16 calls") == []
    assert wrong("4 traces") == ["4"]
    assert wrong("3 of 34 traces") == ["3 of 34"]
    assert wrong("in 12 distinct traces and 9.2 % of runs") == ["12", "9.2 %"]
    assert wrong("4,321 spans") == ["4,321"]
    assert wrong("33 of 1,234 spans, that is 2.7 %") == []
    assert wrong("33 of 1,234 spans, that is 2.8 %") == ["2.8 %"]

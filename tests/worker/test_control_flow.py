"""Control flow that instrumentations record as errors is no failure; what only looks like it is one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Span
from halo_worker.analysis import control_flow
from tests.sampled import sampled
from tests.small_spans import agent, found, llm, opened, span, tool

TABLE = Path(control_flow.__file__).with_suffix(".toml")
PAUSED = "(Interrupt(value='may I send it?', id='x'),)"


def run(trace: int, **ended: Any) -> list[Span]:
    """A run whose step ends with an exception, the run itself well."""
    return [agent(trace, status="OK"), span(trace, 2, "step", parent=1, at=10, status="ERROR", **ended)]


def test_every_entry_says_what_it_is_and_where_that_is_written() -> None:
    kinds = tomllib.loads(TABLE.read_text())["kinds"]
    entries, _ = control_flow.table()
    assert {entry.kind for entry in entries} == set(kinds)
    assert set(control_flow.ENDS_THE_RUN) < set(kinds)
    for entry in entries:
        assert entry.source
        assert bool(entry.types) != bool(entry.message)


def test_no_class_of_the_table_is_a_failure_however_it_is_told(tmp_path: Path) -> None:
    """As an exception event, in error.type, or by the status alone."""
    made: list[Span] = []
    for number, name in enumerate(name for entry in control_flow.table()[0] for name in entry.types):
        made += run(10 * number + 1, raised=(f"some.module.{name}", ""))
        made += run(10 * number + 2, raised=(name, "it is on purpose"))
        if name.isidentifier():
            made += run(10 * number + 3, message=f"{name}: it is on purpose")
            made += run(10 * number + 4, message=f"some.module.{name}('it is on purpose')")
        made[-1].attributes["error.type"] = name
    assert found(made, tmp_path) == {}


@pytest.mark.parametrize(
    "message",
    sampled([
        PAUSED, "context canceled", "rpc error: code = Canceled desc = context canceled", "This operation was aborted",
        "The operation was aborted.", "Request was aborted.", "The user aborted a request.",
        "NEXT_REDIRECT;replace;/a;307;",
        "Client disconnected", "client closed request", "canceled by the user",
        '<AioRpcError of RPC that terminated with: status = StatusCode.CANCELLED details = "x">',
    ], 3),
)  # fmt: skip
def test_messages_without_a_class_are_told_too(tmp_path: Path, message: str) -> None:
    assert found([one for n in range(1, 4) for one in run(n, message=message)], tmp_path) == {}


@pytest.mark.parametrize(
    ("kind", "message"),
    sampled([
        ("asyncio.exceptions.CancelledError", "the request timed out after 30 s"),
        ("System.Threading.Tasks.TaskCanceledException", "canceled due to the configured HttpClient.Timeout of 100 s"),
        ("AbortError", "The operation was aborted due to timeout"),
        ("SystemExit", "2"),
        ("ValueError", "the booking was cancelled"),
        ("langgraph.errors.GraphRecursionError", "Recursion limit of 25 reached"),
        ("langgraph.errors.NodeCancelledError", "node 'a' raised"),
        ("agents.exceptions.MaxTurnsExceeded", "Max turns (10) exceeded"),
        ("RuntimeError", "generator raised StopIteration"),
        ("MyInterruptHandlerError", "may I send it?"),
    ], 4),
)  # fmt: skip
def test_what_only_looks_like_it_is_a_failure(tmp_path: Path, kind: str, message: str) -> None:
    assert len(found([one for n in range(1, 4) for one in run(n, raised=(kind, message))], tmp_path)) == 1


def test_spans_above_that_repeat_it_are_no_failure_either(tmp_path: Path) -> None:
    """Up to the root: in the same class, in a group, in a wrapper that names it, or without a word."""
    raised = ("langgraph.errors.GraphInterrupt", PAUSED)

    def tree(trace: int, root: dict[str, Any]) -> list[Span]:
        return [
            agent(trace, status="ERROR", **root),
            span(trace, 2, "graph", parent=1, status="ERROR", raised=raised),
            span(trace, 3, "approve", parent=2, status="ERROR", raised=raised),
        ]

    made = [
        *tree(1, {"raised": raised}),
        *tree(2, {"raised": ("ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)")}),
        *tree(3, {"message": "step failed: GraphInterrupt((Interrupt(…"}),
        *tree(4, {}),
    ]
    assert found(made, tmp_path) == {}
    with opened(made, tmp_path / "again") as reader:
        from halo_worker.analysis import overview

        overview.prepare(reader)
        totals = overview.totals(reader, [], [])
    assert [(one.outcome, one.traces) for one in totals.outcomes] == [("paused", 4)]
    assert (totals.error_traces, [(one.kind, one.traces) for one in totals.control_flow]) == (0, [("paused", 4)])


def test_a_failure_above_control_flow_is_told(tmp_path: Path) -> None:
    """A timeout cancels what it waits for: the timeout is the failure."""
    made = []
    for n in range(1, 4):
        made += [
            agent(n, status="ERROR", raised=("TimeoutError", "no answer within 30 s")),
            span(n, 2, "wait", parent=1, status="ERROR", raised=("asyncio.exceptions.CancelledError", "")),
        ]
    [finding] = found(made, tmp_path).values()
    assert finding.detector_name == "error_timeout"
    assert {one.symptom_span_id for one in finding.occurrences} == {f"{1:016x}"}


def test_a_failure_beside_control_flow_is_told(tmp_path: Path) -> None:
    made = []
    for n in range(1, 4):
        made += [
            agent(n, status="ERROR", raised=("ExceptionGroup", "unhandled errors in a TaskGroup (2 sub-exceptions)")),
            span(n, 2, "one", parent=1, status="ERROR", raised=("asyncio.CancelledError", "")),
            span(n, 3, "other", parent=1, status="ERROR", raised=("KeyError", "'price'")),
        ]
    findings = found(made, tmp_path)
    assert [{one.symptom_span_id for one in f.occurrences} for f in findings.values()] == [{f"{3:016x}"}]


def test_a_run_that_waits_for_approval_misses_nothing(tmp_path: Path) -> None:
    """Its last act is a call that nobody has carried out yet."""
    made = []
    for n in range(1, 31):
        usual = n <= 25
        made += [
            agent(n),
            llm(n, 2, call=("get_order", {"id": n}), at=10),
            tool(n, 3, "get_order", {"id": n}, {"ok": 1}, at=200),
        ]
        if usual:
            made += [
                llm(n, 4, call=("send_mail", {"to": n}), at=400), tool(n, 5, "send_mail", {"to": n}, {"ok": 1}, at=600),
                llm(n, 6, "It is on its way.", at=800),
            ]  # fmt: skip
        else:
            made += [
                llm(n, 4, call=("send_mail", {"to": n}), at=400),
                span(n, 5, "approve", parent=1, at=600, status="ERROR", raised=("GraphInterrupt", PAUSED)),
            ]
    assert found(made, tmp_path) == {}


def test_half_an_answer_that_nobody_waited_for_is_not_judged(tmp_path: Path) -> None:
    """A stream closed by its reader: not malformed, not empty, not a success that makes up for anything."""
    closed: dict[str, Any] = {"status": "ERROR", "raised": ("GeneratorExit", "")}
    made = []
    for n in range(1, 4):
        made += [agent(n), llm(n, 2, '{"answer": "yes", "items": [1, 2', **closed)]
        made += [agent(10 + n), llm(10 + n, 2, **closed)]
    assert found(made, tmp_path) == {}

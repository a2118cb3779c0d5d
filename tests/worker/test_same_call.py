"""A tool call that a framework's span and an instrumentation's span tell of, by one call id, is one call everywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.span import Scope, Span
from halo_receiver.store.reader import Reader
from halo_worker.analysis import overview
from halo_worker.analysis.contrast import contrasts
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import DraftFinding
from halo_worker.analysis.questions import Questions
from halo_worker.analysis.tools import Desk
from halo_worker.analysis.tools.overview import dataset_overview
from tests.generator.load import reader_of, store
from tests.sampled import sampled

MS = 1_000_000
START = 1_790_000_000_000 * MS
BOOK, LOOK = "book_flight", "get_weather"
REFUSED = "no seat is free"

# Where the instrumentation's span lies: above the framework's, below it, below an MCP client's that knows no id, beside
# it at the same time, or after it.
PLACES = ("above", "below", "through", "beside", "after")
AT_ONCE = PLACES[:-1]


class Run:
    """One trace; times in milliseconds."""

    def __init__(self, number: int = 1) -> None:
        self.trace = f"{number:032x}"
        self.spans: list[Span] = []
        self.now = 0
        self.root = self.add("invoke_agent helper", {"gen_ai.operation.name": "invoke_agent"}, 0, 90_000, parent="")

    def add(
        self, name: str, attributes: dict[str, Any], start: int, end: int, *, parent: str | None = None,
        scope: str = "framework", status: str = "UNSET", said: str = "",
    ) -> str:  # fmt: skip
        span_id = f"{int(self.trace, 16):08x}{len(self.spans) + 1:08x}"
        self.spans.append(
            Span(
                self.trace, span_id, self.root if parent is None else parent, name,
                Scope({"service.name": "shop"}, name=scope), start_unix_nano=START + start * MS,
                end_unix_nano=START + end * MS, status_code=status, status_message=said, attributes=attributes,
            )
        )  # fmt: skip
        return span_id

    def model(self, *calls: tuple[str, str], arguments: Any = None, says: str = "All is done.") -> None:
        """Ask the model, which makes calls (id, tool), or answers."""
        parts: list[dict[str, Any]] = [
            {"type": "tool_call", "id": ident, "name": tool, "arguments": arguments or {"to": "Paris"}}
            for ident, tool in calls
        ] or [{"type": "text", "content": says}]
        message = [{"role": "assistant", "parts": parts, "finish_reason": "tool_call" if calls else "stop"}]
        attributes = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
            "gen_ai.output.messages": json.dumps(message),
        }  # fmt: skip
        self.add("chat gpt-4o", attributes, self.now, self.now + 100)
        self.now += 100

    def call(
        self, ident: str, place: str | None, tool: str = BOOK, *, arguments: Any = None, failed: bool = False,
        result: str = "booked", framework_status: str = "UNSET",
    ) -> None:  # fmt: skip
        """Run a tool; with a `place`, an instrumentation tells of it as well. A failure only it tells of."""
        begin, given = self.now, json.dumps(arguments or {"to": "Paris"})
        framework: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, "gen_ai.tool.call.id": ident,
        }  # fmt: skip
        other = {"openinference.span.kind": "TOOL", "tool.name": tool, "tool.id": ident, "input.value": given}
        error = {"status": "ERROR", "said": REFUSED} if failed else {}
        if not failed:
            framework |= {"gen_ai.tool.call.arguments": given, "gen_ai.tool.call.result": result}
            other["output.value"] = result
        inner, outer = (begin + 10, begin + 40), (begin, begin + 50)
        own: dict[str, Any] = {"status": framework_status} if place else error
        if place is None or place in ("beside", "after"):
            self.add(f"execute_tool {tool}", framework, *outer, **own)
        if place in ("below", "through"):
            parent = self.add(f"execute_tool {tool}", framework, *outer, **own)
            if place == "through":
                client = {"openinference.span.kind": "TOOL", "tool.name": tool}
                parent = self.add(f"tools/call {tool}", client, begin + 5, begin + 45, parent=parent)
            self.add(f"{tool}.run", other, *inner, parent=parent, scope="openinference", **error)
        if place == "above":
            parent = self.add(f"{tool}.run", other, *outer, scope="openinference", **error)
            self.add(f"execute_tool {tool}", framework, *inner, parent=parent, **own)
        if place in ("beside", "after"):
            times = inner if place == "beside" else (begin + 51, begin + 60)
            self.add(f"{tool}.run", other, *times, scope="openinference", **error)
        self.now += 100


def found(runs: Sequence[Run], directory: Path) -> list[DraftFinding]:
    with reader_of([store([span for run in runs for span in run.spans], directory)]) as reader:
        return run_detectors(reader).findings


def names(runs: Sequence[Run], directory: Path) -> list[str | None]:
    return sorted(str(finding.detector_name) for finding in found(runs, directory))


@pytest.mark.parametrize("place", sampled(PLACES, 2))
def test_one_booking_is_not_carried_out_twice_and_two_are(place: str, tmp_path: Path) -> None:
    once, twice = Run(), Run()
    for run, calls in ((once, ["a"]), (twice, ["a", "b"])):
        for ident in calls:
            run.model((ident, BOOK))
            run.call(ident, place)
        run.model()
    assert names([once], tmp_path / "once") == []
    assert names([twice], tmp_path / "twice") == ["repeated_side_effect"]


@pytest.mark.parametrize("place", sampled(PLACES, 2))
def test_two_looks_are_no_loop_and_three_are(place: str, tmp_path: Path) -> None:
    for count, wanted in ((2, []), (3, ["repeated_call"])):
        run = Run()
        for number in range(count):
            run.model((f"c{number}", LOOK))
            run.call(f"c{number}", place, LOOK, result="21 °C")
        run.model()
        assert names([run], tmp_path / str(count)) == wanted


@pytest.mark.parametrize("place", sampled([None, *PLACES], 2))
def test_an_id_that_each_turn_uses_again_is_a_call_each_time(place: str | None, tmp_path: Path) -> None:
    run = Run()
    for _ in range(3):
        run.model(("call_0", LOOK))
        run.call("call_0", place, LOOK, result="21 °C")
    run.model()
    assert names([run], tmp_path) == ["repeated_call"]


@pytest.mark.parametrize("ident", ["call_0", BOOK], ids=["for both", "the tool's name"])
def test_an_id_of_several_calls_of_one_answer_folds_none(ident: str, tmp_path: Path) -> None:
    run = Run()
    run.model((ident, BOOK), (ident, BOOK))
    for _ in range(2):
        run.call(ident, None)
    run.model()
    assert names([run], tmp_path) == ["repeated_side_effect"]


@pytest.mark.parametrize("framework_status", ["UNSET", "OK"])
@pytest.mark.parametrize("place", sampled(AT_ONCE, 2))
def test_a_failure_is_found_once_and_two_are_no_storm(place: str, framework_status: str, tmp_path: Path) -> None:
    run = Run()
    for ident in ("a", "b"):
        run.model((ident, BOOK))
        run.call(ident, place, failed=True, framework_status=framework_status)
    run.model(says="Sorry, I could not book it.")
    [finding] = found([run], tmp_path)
    assert finding.detector_name == "error_other"
    assert len(finding.occurrences) == 2


@pytest.mark.parametrize("place", sampled(AT_ONCE, 2))
def test_four_failures_are_a_storm(place: str, tmp_path: Path) -> None:
    run = Run()
    for ident in "abcd":
        run.model((ident, BOOK))
        run.call(ident, place, failed=True)
    run.model(says="Sorry, I could not book it.")
    assert names([run], tmp_path) == ["error_other", "retry_storm"]


@pytest.mark.parametrize("place", sampled(AT_ONCE, 2))
def test_an_error_that_both_spans_hold_as_a_result_is_one_silent_failure(place: str, tmp_path: Path) -> None:
    run = Run()
    run.model(("a", BOOK))
    run.call("a", place, result=json.dumps({"error": REFUSED}))
    run.model(says="Your flight to Paris is booked.")
    [finding] = [one for one in found([run], tmp_path) if one.detector_name == "swallowed_error"]
    assert len(finding.occurrences) == 1


def test_an_attempt_under_the_same_id_that_works_ends_the_call_well(tmp_path: Path) -> None:
    run = Run()
    run.model(("a", BOOK))
    run.call("a", None, failed=True)
    run.call("a", None)
    run.model()
    assert names([run], tmp_path) in ([], ["error_other"])
    with reader_of([store(run.spans, tmp_path / "again")]) as reader:
        overview.prepare(reader)
        counted = reader.query(
            "SELECT failed FROM _s ANTI JOIN _inner USING (trace_id, span_id) WHERE span_type = 'tool'"
        )
    assert counted == [{"failed": False}]


@pytest.mark.parametrize("place", sampled(PLACES, 2))
def test_agents_that_hand_work_to_and_fro_are_seen_behind_two_spans_a_hand_off(place: str, tmp_path: Path) -> None:
    run = Run()
    for number in range(3):
        for tool in ("transfer_to_sales", "transfer_to_support"):
            ident = f"{tool}{number}"
            run.model((ident, tool))
            run.call(ident, place, tool, arguments={"why": ident}, result="ok")
    run.model()
    assert "handoff_ping_pong" in names([run], tmp_path)


def window(directory: Path, place: str | None) -> Reader:
    runs = []
    for number in range(1, 41):
        run = Run(number)
        for tool in (LOOK, BOOK):
            run.model((f"{tool}-{number}", tool))
            run.call(f"{tool}-{number}", place, tool, failed=tool == BOOK and number % 4 == 0)
        run.model()
        runs.append(run)
    return reader_of([store([span for run in runs for span in run.spans], directory)])


@pytest.mark.asyncio
@pytest.mark.parametrize("place", sampled([None, *PLACES], 2))
async def test_the_overview_counts_a_call_once(place: str | None, tmp_path: Path) -> None:
    with window(tmp_path, place) as reader:
        questions = Questions.of(reader, tmp_path / "questions", threads=1)
        try:
            result = await dataset_overview(Desk(questions), {"service_names": ["shop"]}, 20_000)
        finally:
            await questions.close()
    assert result["tools"] == [
        {"name": BOOK, "calls": 40, "traces": 40, "failed": 10},
        {"name": LOOK, "calls": 40, "traces": 40, "failed": 0},
    ]


@pytest.mark.parametrize("place", sampled(PLACES, 2))
def test_no_sequence_of_tools_holds_a_call_twice(place: str, tmp_path: Path) -> None:
    with window(tmp_path, place) as reader:
        overview.prepare(reader)
        contrasts(reader)
        rows = reader.query("SELECT DISTINCT value FROM _items WHERE dimension = 'tool sequence'")
    assert [row["value"] for row in rows] == [f"{LOOK} → {BOOK}"]

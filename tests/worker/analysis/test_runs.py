"""Whole runs with a model behind real HTTP: whatever it does, what ships was found and counted here.

In this process, for speed; `tests/end_to_end/test_run_with_model.py` starts the command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from halo_worker import inputs, run, window_reader
from halo_worker import request as requests
from halo_worker.analysis.routes import Size, chosen
from halo_worker.config import load_settings
from tests.scripted_model import Answer, Fault, Request, Say, ScriptedModel
from tests.worker.analysis.claims import MADE_UP, ORDER, QUOTE, TRUE, final, titles
from tests.worker.analysis.windows import BEGIN, ordinary, span, trace_id, write

NOTE = QUOTE | {"categories": ["Goal Deviation"]}


class Run:
    """One run over a file against a script. Keyword arguments are settings: route, max_turns, context …"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = write(
            [*ordinary(30, failing=[3, 7, 9]), span(40, 0, output=ORDER, given=ORDER)], directory / "s.jsonl"
        )
        self.number = 0

    def __call__(
        self,
        script: Any,
        prompt: str | None = None,
        *,
        remember: bool = False,
        engine: str | None = None,
        files: Sequence[Path] = (),
        model_name: str = "gpt-5.4-mini",
        **given: Any,
    ) -> dict[str, Any]:
        self.number += 1
        with ScriptedModel(script) as model:
            settings = load_settings(
                environment={"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "none"},
                overrides={
                    "store": {"data_dir": self.directory / "data"},
                    "model": {"name": model_name},
                    "budget": {name: value for name, value in given.items() if name.startswith("max_")},
                    "analysis": {name: value for name, value in given.items() if not name.startswith("max_")},
                },
            )
            request = requests.Request(
                paths=tuple(str(one) for one in (self.file, *files)), prompt=prompt, engine=engine,
                remember=remember, recall=remember, out=None if remember else self.directory / "out",
            )  # fmt: skip
            result = run.run(settings, request, now_ns=(BEGIN + 86_400 + self.number) * 10**9)
        self.requests = model.requests
        report: dict[str, Any] = json.loads(result.report.to_json())
        return report


@pytest.fixture
def halo_run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize("route", ["loop", "direct", "map"])
def test_every_route_ships_what_is_true_and_nothing_that_is_made_up(halo_run: Run, route: str) -> None:
    """The first answer goes back once, with the reasons; what then still does not stand is dropped and counted."""
    answer = {"answer": f"See {'e' * 32}. It happens in 77 traces.", "findings": [TRUE, MADE_UP]}

    def script(request: Request) -> Answer:
        if request.tools:
            return Say(calls=[("final_answer", answer)])
        if route == "map" and request.number < 1:
            return Say(
                json.dumps({"notes": [NOTE | {"what": "over the limit"}, NOTE | {"what": "made up", "quote": "no"}]})
            )
        return Say(json.dumps(answer))

    report = halo_run(script, "Why?", route=route)
    assert titles(report) == ["Refunds over the limit are tried"]
    assert report["rejected"]["findings"] == 1
    assert report["rejected"]["citations"] >= 2
    assert "e" * 32 not in json.dumps({**report, "rejected": None})
    assert "77" not in report["answer"]
    assert report["engine"]["route"] == route
    assert any("the quote is not in status_message" in text for request in halo_run.requests for text in request.texts)
    assert not any("never said" in json.dumps(item) for item in report["findings"])


def test_a_small_window_is_one_call(halo_run: Run) -> None:
    report = halo_run([Say(json.dumps({"answer": "It is the limit.", "findings": [TRUE]}))], "Why?")
    assert (report["engine"]["route"], report["engine"]["model_calls"]) == ("direct", 1)
    assert "fits one call" in report["engine"]["route_reason"]
    [request] = halo_run.requests
    assert ORDER.split(".")[0] in request.texts[-1].split("<traces>\n")[1], "the data stands between its marks"
    assert titles(report) == ["Refunds over the limit are tried"]


def test_the_first_request_does_not_grow_with_the_window(halo_run: Run) -> None:
    """The traces are never pasted: totals, the largest groups and the most frequent hypotheses are."""
    sizes = []
    for traces in (30, 1500):
        write(ordinary(traces, failing=range(0, traces, 3)), halo_run.file)
        halo_run([final(answer="Nothing.")], route="loop")
        sizes.append(halo_run.requests[0].size)
    assert sizes[0] < 17_000
    assert sizes[1] < sizes[0] * 1.1


def test_a_model_works_a_sample_of_a_window_in_parts_and_its_rules_are_measured_on_the_whole(
    halo_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write(ordinary(8, failing=[3, 7]), halo_run.directory / "part.jsonl")
    sample = inputs.write_segments([str(part)], halo_run.directory / "part", now_ns=1, arrival="span-time").segments
    opened = window_reader.opened

    @contextmanager
    def in_parts(*args: Any, **options: Any) -> Iterator[window_reader.Opened]:
        with opened(*args, **options) as found:
            yield found._replace(sample=tuple(sample))

    monkeypatch.setattr(window_reader, "opened", in_parts)
    report = halo_run([final(TRUE)], route="loop")
    assert re.search(r'"traces": ?8\b', " ".join(halo_run.requests[0].texts)), "the model is told of what it works"
    [found] = [item for item in report["findings"] if item["source"] == "rlm"]
    assert (found["prevalence"]["traces"], found["prevalence"]["of"]) == (3, 31)
    assert report["coverage"]["sampled"]
    assert "the model worked a fair sample of the window: 8 whole traces" in report["coverage"]["not_examined"]


def test_a_trace_in_two_files_is_one(halo_run: Run) -> None:
    lines = list(ordinary(4, failing=[1]))
    write(lines[:4], halo_run.file)
    other = write(lines[4:], halo_run.directory / "more.jsonl")
    script = [Say(calls=[("view_trace", {"trace_id": trace_id(1)})]), final(answer="Nothing.")]
    halo_run(script, route="loop", files=(other,))
    [shown] = [text for text in halo_run.requests[1].texts if 'tool="view_trace"' in text]
    assert [step for step in ("S1", "S2", "S3", "S4") if f"\n{step} " in shown] == ["S1", "S2", "S3"]


@pytest.mark.parametrize(
    ("size", "route"),
    [
        (Size(10, 100, 5_000), "direct"),
        (Size(10, 100, 50_000), "judge"),
        (Size(10, 100, 500_000), "loop"),
        (Size(1_000, 10_000, 50_000), "loop"),
        (Size(100_000, 1_000_000, None), "loop"),
    ],
)
def test_size_decides_the_route_where_nobody_else_does(size: Size, route: str) -> None:
    assert chosen("auto", size, max_tokens=None)[0] == route
    assert chosen("direct", size, max_tokens=None)[0] == "direct"
    if route == "map":
        assert chosen("auto", size, max_tokens=60_000)[0] == "loop", "a map would take most of the budget"


def test_what_the_operator_says_is_told_on_every_route(halo_run: Run) -> None:
    script = [Say(json.dumps({"answer": "It is the limit.", "findings": []}))]
    halo_run(script, "Why?", route="direct", context="Refunds need a manager above 100.")
    assert "Refunds need a manager above 100." in halo_run.requests[0].texts[-1]


def test_a_route_that_is_asked_for_says_what_did_not_fit(halo_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halo_worker.analysis.routes.DIRECT_BYTES", 6_000)
    report = halo_run([Say(json.dumps({"answer": "It is the limit.", "findings": [TRUE]}))], "Why?", route="direct")
    shown = halo_run.requests[0].texts[-1].count("\ntrace c0ffee")
    assert 3 < shown < 31
    assert f"These are {shown} of 31 traces" in halo_run.requests[0].texts[-1]
    assert report["coverage"]["sampled"]
    assert f"{31 - shown} of 31 traces were not shown to the model" in report["coverage"]["not_examined"]
    assert titles(report) == ["Refunds over the limit are tried"], "those with errors are shown first"


def test_text_of_traces_reaches_no_control_flow(halo_run: Run) -> None:
    """The trace says 'call final_answer'; only the model's own call ends the run."""
    script = [
        Say(calls=[("view_trace", {"trace_id": trace_id(40)})]),
        Say(calls=[("run_code", {"code": f"print(view_trace(trace_id='{trace_id(40)}')['spans'][0]['output_text'])"})]),
        Say(calls=[("count_traces", {"filters": {}})]),
        final(answer="Nothing more."),
    ]
    report = halo_run(script, "Why?", route="loop")
    assert report["engine"]["turns"] == 4
    assert report["answer"] == "Nothing more."


def test_without_a_question_the_findings_are_the_report(halo_run: Run) -> None:
    report = halo_run([final(TRUE)], route="loop")
    assert report["answer"] is None
    assert titles(report) == ["Refunds over the limit are tried"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(401, "invalid_api_key", "wrong key"), "wrong key"),
        (Fault(404, "model_not_found", "no such model"), "no such model"),
        (Fault(429, "insufficient_quota", "you are out of money"), "out of money"),
    ],
)
def test_a_provider_that_refuses_leaves_the_detectors_report(halo_run: Run, fault: Fault, words: str) -> None:
    report = halo_run([fault], "Why?", route="loop")
    assert (report["status"], report["stopped_by"], report["answer"]) == ("partial", "error", None)
    assert any(words in line for line in report["coverage"]["not_examined"])
    assert "the question was not answered" in report["coverage"]["not_examined"]
    assert titles(report, "detector")
    assert len(halo_run.requests) == 1


def test_a_run_without_answer_nor_finding_has_failed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write([span(1, 0), span(2, 0)], run.file)
    report = run([Fault(401, "invalid_api_key", "wrong key")], "Why?", route="loop")
    assert (report["status"], report["findings"]) == ("failed", [])


@pytest.mark.parametrize(("limits", "stopped"), [({"max_turns": 2}, "turns"), ({"max_tokens": 30_000}, "tokens")])
def test_a_spent_budget_still_ends_in_a_report(halo_run: Run, limits: dict[str, int], stopped: str) -> None:
    report = halo_run(lambda _: Say(calls=[("count_traces", {"filters": {}})]), route="loop", **limits)
    assert report["status"] == "partial"
    assert report["stopped_by"] == stopped
    assert report["engine"]["input_tokens"] + report["engine"]["output_tokens"] <= 30_000
    assert titles(report, "detector")


def test_a_limit_in_dollars_that_could_not_hold_is_said(halo_run: Run) -> None:
    """Of a model that no price list knows, as local ones are."""
    unpriced = halo_run([final(TRUE)], route="loop", model_name="our-own-7b")
    assert unpriced["engine"]["cost_usd"] is None
    assert any("the price of our-own-7b is not known" in line for line in unpriced["coverage"]["unsupported"])
    priced = halo_run([final(TRUE)], route="loop", model_name="gpt-4o-mini")
    assert not any("price" in line for line in priced["coverage"]["unsupported"])


def test_what_a_model_says_without_final_answer_is_checked_too(halo_run: Run) -> None:
    report = halo_run(lambda _: Say(f"I think {'d' * 32} fails in 88 traces."), "Why?", route="loop")
    assert "d" * 32 not in json.dumps(report)
    assert "88" not in (report["answer"] or "")
    assert any("no final answer" in line for line in report["coverage"]["not_examined"])


def test_wrong_calls_are_answered_and_the_run_goes_on(halo_run: Run) -> None:
    script = [
        Say(calls=[("no_such_tool", {}), ("view_trace", "{not json"), ("view_trace", {"trace": "x"})]),
        Say(
            calls=[
                ("query_sql", {"sql": "DROP TABLE spans"}),
                ("search_trace", {"trace_id": "?", "regex_pattern": "("}),
            ]
        ),
        final(TRUE),
    ]
    report = halo_run(script, route="loop")
    assert report["status"] == "complete"
    assert titles(report) == ["Refunds over the limit are tried"]


def test_context_and_repository_are_told(halo_run: Run) -> None:
    repository = halo_run.directory / "source"
    repository.mkdir()
    (repository / "agent.py").write_text("LIMIT = 100\n")
    script = [Say(calls=[("read_file", {"path": "agent.py"})]), final(TRUE)]
    report = halo_run(script, repo_path=repository, context="Refunds need a manager above 100.")
    assert report["engine"]["route"] == "loop"
    assert "Refunds need a manager above 100." in halo_run.requests[0].texts[0]
    assert "LIMIT = 100" in "".join(halo_run.requests[1].texts)


def test_a_detector_that_a_model_wrote_measures_the_next_window_without_it(halo_run: Run) -> None:
    first = halo_run([final(TRUE)], route="loop", remember=True)
    [found] = [item for item in first["findings"] if item["source"] == "rlm"]
    write(ordinary(31, failing=[1003, 1007, 1009], first=1000), halo_run.file)
    second = halo_run([], engine="detectors", remember=True)
    [again] = [item for item in second["findings"] if item["source"] == "rlm"]
    assert (again["issue_id"], again["state"]) == (found["issue_id"], "ongoing")
    assert again["prevalence"]["traces"] == 3
    assert len(again["evidence"]) == 3
    write(ordinary(60, first=2000), halo_run.file)
    third = halo_run([], engine="detectors", remember=True)
    assert [item["state"] for item in third["findings"] if item["issue_id"] == found["issue_id"]] == ["resolved"]


def test_learned_sql_that_no_longer_runs_is_said_and_skipped(halo_run: Run) -> None:
    first = halo_run([final(TRUE)], route="loop", remember=True)
    file = halo_run.directory / "data" / "reports" / first["id"] / "report.json"
    file.write_text(re.sub(r"FROM spans WHERE status_message", "FROM spans WHERE gone", file.read_text()))
    second = halo_run([], engine="detectors", remember=True)
    assert any("was not measured" in line for line in second["coverage"]["not_examined"])

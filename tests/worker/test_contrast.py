"""What goes with failure is found, and chance is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import LogRecord, Scope, Span
from halo_worker.analysis import overview
from halo_worker.analysis.contrast import contrasts
from halo_worker.report.model import Contrast, Outcome
from tests.generator.load import reader_of, store
from tests.generator.traces import Shape, Trace

TOOLS: dict[str, dict[str, Any]] = {name: {"q": {"type": "string"}} for name in ("search", "fetch", "sum_up")}
TRACES = 400


def spans(fails: Callable[[str, str, random.Random], float], *, root: bool = True, seed: int = 3) -> Iterator[Span]:
    """Traces of two agents and two versions each; `fails` gives the probability that a root ends in ERROR."""
    rng = random.Random(seed)
    for number in range(TRACES):
        agent, version = rng.choice(("planner", "helper")), rng.choice(("1.0", "1.1"))
        shape = Shape(agent, "shop", "gpt-4o-mini", f"You are {agent}, release {version}.", TOOLS)
        trace = Trace(shape, rng, 1_790_000_000_000_000_000 + number * 10**9, "?")
        for name in rng.sample(list(TOOLS), 2):
            trace.use(name, {"q": "x"}, {"ok": True})
        trace.llm("Here you are.")
        bad = rng.random() < fails(agent, version, rng)
        trace.finish(error=("AgentError", "given up") if bad and root else None)
        request = trace.request()
        for attribute in request.resource_spans[0].resource.attributes:
            if attribute.key == "service.version":
                attribute.value.string_value = version
        yield from decode_traces(request.SerializeToString(), encoding="protobuf").spans


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traces of which no root failed."""
    return store(spans(lambda *_: 0.0), tmp_path_factory.mktemp("plain"))


def found(segment: Path) -> tuple[dict[str, Outcome], list[Contrast]]:
    with reader_of([segment]) as reader:
        overview.prepare(reader)
        outcomes, items = contrasts(reader)
        return {item.source: item for item in outcomes}, items


def test_the_version_that_fails_is_named_once_with_its_figures(tmp_path: Path) -> None:
    """Its prompts go along with it and add nothing; tools, agent and sequences are everywhere alike."""
    outcomes, items = found(store(spans(lambda _, version, __: 0.4 if version == "1.1" else 0.05), tmp_path))
    assert outcomes["root status"].known == TRACES
    assert [(item.outcome, item.dimension, item.value) for item in items] == [("root status", "version", "1.1")]
    one = items[0]
    assert (one.failed + one.rest_failed, one.of + one.rest_of) == (outcomes["root status"].failed, TRACES)
    assert one.risk_ratio == pytest.approx(one.rate / one.rest_rate)
    assert one.risk_ratio > 3
    assert one.support == one.failed / outcomes["root status"].failed
    assert one.q_value < 0.01


def test_a_value_that_makes_a_difference_within_another_is_named_beside_it(tmp_path: Path) -> None:
    def fails(agent: str, version: str, _: random.Random) -> float:
        return {("planner", "1.1"): 0.8, ("helper", "1.1"): 0.3, ("planner", "1.0"): 0.3}.get((agent, version), 0.02)

    _, items = found(store(spans(fails), tmp_path))
    # The prompt is that of one agent in one version: it is the strongest, then what adds to it.
    assert items[0].dimension == "prompt"
    assert "You are planner, release 1.1" in items[0].value
    assert {item.dimension for item in items[1:]} & {"version", "agent"}


def test_under_permuted_labels_nothing_is_found(plain: Path) -> None:
    """The same traces, a fifth of them failed, given out by lot, thirty times over."""
    with reader_of([plain]) as reader:
        overview.prepare(reader)
        ids = [row["trace_id"] for row in reader.query("SELECT trace_id FROM traces ORDER BY trace_id")]
        for seed in range(30):
            reader.connection.execute("DELETE FROM _outcomes")
            reader.connection.execute(
                "INSERT INTO _outcomes SELECT trace_id, 'evaluation', list_contains($1, trace_id), '' FROM _t",
                [random.Random(seed).sample(ids, TRACES // 5)],
            )
            outcomes, items = contrasts(reader)
            assert {item.source: item.tested for item in outcomes}["evaluation"] > 10
            assert items == []


def test_without_a_recorded_outcome_nothing_is_compared_and_it_is_said(plain: Path) -> None:
    """What detectors find is no outcome: it would be explained by itself."""
    outcomes, items = found(plain)
    assert items == []
    assert list(outcomes) == ["root status"]
    assert (outcomes["root status"].known, outcomes["root status"].tested) == (0, 0)
    assert outcomes["root status"].note == "no root span says how its run ended (status OK or ERROR)"


def failing() -> tuple[list[Span], set[str]]:
    """Traces of which a fifth fails by lot, root and model calls, and which those are."""
    made = list(spans(lambda *_: 0.2, seed=8))
    failed = {span.trace_id for span in made if not span.parent_span_id and span.status_code == "ERROR"}
    return made, failed


def name_models(made: list[Span], failed: set[str], answers: str, asked: Callable[[bool], str | None]) -> list[Span]:
    """Answers name the model that served them, failed calls only the one that was asked for."""
    for span in made:
        if span.attributes.get("gen_ai.operation.name") == "chat":
            fails = span.trace_id in failed
            del span.attributes["gen_ai.request.model"]
            if (name := asked(fails)) is not None:
                span.attributes["gen_ai.request.model"] = name
            if fails:
                span.status_code = "ERROR"
            else:
                span.attributes["gen_ai.response.model"] = answers
    return made


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("gpt-4.1-mini-2025-04-14", None),
        ("gpt-4o-2024-08-06", "our-deployment"),
        ("claude-sonnet-4-20250514", "openrouter/auto"),
        ("a-model-of-another-name", None),
    ],
)
def test_the_name_that_only_failed_calls_have_is_no_cause(tmp_path: Path, answers: str, asked: str | None) -> None:
    """An answer names the model that served it; compared by that, the alias would fail always."""
    made, failed = failing()
    name_models(made, failed, answers, lambda fails: asked or ("gpt-4.1-mini" if fails else None))
    outcomes, items = found(store(made, tmp_path))
    assert outcomes["root status"].tested > 0
    assert [item for item in items if item.dimension == "model"] == []


def test_a_model_that_always_fails_is_named_where_every_call_says_what_it_asked_for(tmp_path: Path) -> None:
    made, failed = failing()
    name_models(made, failed, "gpt-4o-2024-08-06", lambda fails: "gpt-5-preview" if fails else "gpt-4o")
    _, items = found(store(made, tmp_path))
    assert ("model", "gpt-5-preview") in {(item.dimension, item.value) for item in items}


def test_few_traces_are_not_compared(tmp_path: Path) -> None:
    few = [span for number, span in enumerate(spans(lambda *_: 0.5)) if number < 60]
    outcomes, items = found(store(few, tmp_path))
    assert items == []
    assert all("too little data" in outcome.note for outcome in outcomes.values())


def test_what_evaluators_say_is_an_outcome_of_its_own(tmp_path: Path) -> None:
    """Scores and labels; of a hallucination score the high end is the bad one."""
    made = list(spans(lambda *_: 0.0))
    judged: dict[str, bool] = {}
    for span in made:
        if span.scope.resource_attributes.get("service.version") and not span.parent_span_id:
            bad = span.scope.resource_attributes["service.version"] == "1.1"
            judged[span.trace_id] = bad
            span.attributes |= {
                "evaluations.0.evaluation.name": "hallucination",
                "evaluations.0.evaluation.score": 0.9 if bad else 0.1,
            }
    outcomes, items = found(store(made, tmp_path))
    assert (outcomes["evaluation"].known, outcomes["evaluation"].failed) == (TRACES, sum(judged.values()))
    assert "hallucination" in outcomes["evaluation"].note
    assert [(item.outcome, item.dimension, item.value) for item in items] == [("evaluation", "version", "1.1")]


def test_evaluations_that_come_as_logs_count_and_name_the_prompt(tmp_path: Path) -> None:
    """Labels of a log record, joined by the trace; the version is the same, so the prompt is what differs."""
    made = list(spans(lambda *_: 0.0))
    for span in made:
        span.scope.resource_attributes.pop("service.version", None)
    first: dict[str, str] = {}
    for span in made:
        if "release 1.1" in str(span.attributes):
            first.setdefault(span.trace_id, span.span_id)
    traces = {span.trace_id for span in made}

    def said(trace: str) -> dict[str, str]:
        label = "thumbs down" if trace in first else "thumbs up"
        return {"gen_ai.evaluation.name": "user_feedback", "gen_ai.evaluation.score.label": label}

    logs = [
        LogRecord(
            Scope(name="evals"),
            trace_id=trace,
            time_unix_nano=1_790_000_000_000_000_000,
            event_name="gen_ai.evaluation.result",
            attributes=said(trace),
        )
        for trace in sorted(traces)
    ]
    outcomes, items = found(store(made, tmp_path, logs=logs))
    assert outcomes["evaluation"].failed == len(first)
    assert "user_feedback" in outcomes["evaluation"].note
    assert {(item.outcome, item.dimension) for item in items} == {("evaluation", "prompt")}
    assert all("release 1.1" in item.value for item in items)

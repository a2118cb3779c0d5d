"""What is found in a trace does not depend on the convention that it is written in, nor on the names of its spans.

Scenarios are written again and again, the same but for the convention, as services of one window; then each copy has
the findings of the others.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from halo_receiver.decode import decode_traces
from halo_receiver.span import Span
from halo_worker.analysis.detectors import DETECTORS, examples, run_detectors, trial
from tests.generator import fleet, scenarios, strangers
from tests.generator.load import reader_of, store
from tests.generator.rewriting import WRITERS, rewritten

Copies = Iterable[tuple[str, str, list[Span]]]  # how it is written, which scenario, its spans
GENAI, RENAMED = "otel_genai", " renamed"
NAMED_BY_ATTRIBUTE = ("genai", "openinference", "openllmetry", "vercel", "structured")  # not by the span's name

# What an example or a scenario is about, and a convention does not tell.
NOT_TOLD = {
    ("result_without_call", "langfuse"): "no id of the call on a tool's span",
    ("result_without_call", "mlflow"): "no id of the call on a tool's span",
    ("handoff_ping_pong", "vercel_ai"): "no kind of span for an agent",
    ("empty_answer", "vercel_ai"): "no text is an answer without text, or one that was not captured",
    ("uncaught_exception", "vercel_ai"): "no kind of span for an agent",
    ("uncaught_exception", "langchain"): "no kind of span for an agent",
    ("ungrounded", "langchain"): "a retrieval without documents is one that was not captured",
}


def _in_one_window(copies: Copies, folder: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
    """Store copies under ids and services of their own; return the segment, and which copy a trace is."""
    of_trace: dict[str, tuple[str, str]] = {}

    def spans() -> Iterator[Span]:
        for convention, scenario, made in copies:
            ids = {span.trace_id: md5(f"{convention} {scenario} {span.trace_id}".encode()).hexdigest() for span in made}
            of_trace.update(dict.fromkeys(ids.values(), (convention, scenario)))
            for span in made:
                service = {"service.name": f"{span.scope.service_name} {convention}"}
                scope = replace(span.scope, resource_attributes=span.scope.resource_attributes | service)
                yield replace(span, trace_id=ids[span.trace_id], scope=scope)

    return store(spans(), folder), of_trace


def _differ(found: Iterable[tuple[str, str]], of_trace: dict[str, tuple[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Return, by scenario, the detectors that name some of its copies and not others, with those that they name."""
    named: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for trace, detector in found:
        convention, scenario = of_trace[trace]
        named[scenario][detector].add(convention)
    written: dict[str, set[str]] = defaultdict(set)
    for convention, scenario in of_trace.values():
        written[scenario].add(convention)
    assert named
    return {
        scenario: differing
        for scenario, by in named.items()
        if (differing := {detector: sorted(those) for detector, those in by.items() if those != written[scenario]})
    }


def _fleet(mode: str, convention: str, number: int) -> list[Span]:
    request, _ = fleet.written(mode, convention, random.Random(f"{mode} {number}"), number)
    return decode_traces(request.SerializeToString(), encoding="protobuf").spans


def _stranger(mode: str, convention: str, number: int) -> list[Span]:
    return strangers.written(mode, convention, random.Random(f"{mode} {number}"), number)[0]


FLEETS: dict[str, tuple[Callable[[str, str, int], list[Span]], Sequence[str], Sequence[str], str]] = {
    "fleet": (_fleet, fleet.CONVENTIONS, [*scenarios.PLANTED, *scenarios.NEGATIVES], "plain"),
    "strangers": (
        _stranger,
        strangers.CONVENTIONS,
        [*strangers.PLANTED, *(scenario.__name__ for scenario in strangers.NEGATIVES)],
        "healthy",
    ),
}


def _copies(which: str, healthy: int, times: int, every: int) -> Copies:
    write, conventions, modes, usual = FLEETS[which]
    drawn = [usual] * healthy + [mode for mode in modes[::every] for _ in range(times)]
    for convention, (number, mode) in itertools.product(conventions, enumerate(drawn)):
        if (mode, convention) in NOT_TOLD:
            continue
        made = write(mode, convention, number)
        yield convention, f"{which} {mode} {number}", made
        if convention in NAMED_BY_ATTRIBUTE:
            renamed = [replace(span, name=f"step {place % 5}") for place, span in enumerate(made)]
            yield f"{convention}{RENAMED}", f"{which} {mode} {number}", renamed


@pytest.mark.parametrize(
    ("which", "healthy", "times", "every"),
    [
        pytest.param(("fleet", "strangers"), 0, 1, 4, id="some of both"),
        pytest.param(("fleet",), 150, 3, 1, marks=[pytest.mark.long], id="fleet"),
        pytest.param(("strangers",), 150, 3, 1, marks=[pytest.mark.long], id="strangers"),
    ],
)
def test_a_scenario_has_the_same_findings_in_every_convention(
    tmp_path: Path, which: Sequence[str], healthy: int, times: int, every: int
) -> None:
    """Baselines take others to compare with: with healthy traces around them, the scenarios of outliers count too."""
    copies = itertools.chain.from_iterable(_copies(name, healthy, times, every) for name in which)
    segment, of_trace = _in_one_window(copies, tmp_path)
    with reader_of([segment]) as reader:
        findings = run_detectors(reader).findings
    found = {(item.trace_id, finding.detector_name) for finding in findings for item in finding.occurrences}
    assert _differ(found, of_trace) == {}


def _raw(spans: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether an example has attributes of its own, which are of one convention."""
    return any("attributes" in span or _raw(span.get("spans", ())) for span in spans)


def _examples(most: int) -> Copies:
    for convention in (GENAI, *WRITERS):
        numbers = itertools.count(1)
        for unit in DETECTORS:
            for number, example in enumerate(unit.examples[:most], 1):
                made = list(examples._traces(unit, number, example, numbers))
                again = made if convention == GENAI else [rewritten(span, convention) for span in made]
                spans = [span for span in again if span is not None]
                if len(spans) == len(made) and not _raw(example["spans"]) and (unit.name, convention) not in NOT_TOLD:
                    yield convention, f"{unit.name} {number}", spans


@pytest.mark.parametrize("most", [1, pytest.param(100, marks=[pytest.mark.long])], ids=["first", "all"])
def test_an_example_of_a_detector_is_judged_alike_in_every_convention(tmp_path: Path, most: int) -> None:
    segment, of_trace = _in_one_window(_examples(most), tmp_path)
    with reader_of([segment]) as reader:
        trial.prepare(reader)
        for unit in DETECTORS:
            trial.insert(reader, unit)
        rows = reader.query("SELECT DISTINCT trace_id, detector FROM _hits")
    assert _differ({(row["trace_id"], row["detector"]) for row in rows}, of_trace) == {}

"""A fleet's traffic from a seed: healthy traces, hard negatives, planted failures, and the truth of each trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.generator.scenarios import HEALTHY, NEGATIVES, PLANTED, question
from tests.generator.scenarios import SHAPES as SHAPES
from tests.generator.traces import CONVENTIONS, Trace

START = 1_790_000_000_000_000_000


@dataclass(frozen=True)
class Truth:
    """What a trace holds: `kind` healthy, negative or planted; `mode` the scenario; spans that may be named."""

    trace_id: str
    kind: str
    mode: str
    convention: str
    categories: frozenset[str] = frozenset()
    spans: frozenset[str] = frozenset()


def fleet(
    traces: int, *, seed: int, failing: float = 0.2, negative: float = 0.25, conventions: tuple[str, ...] = CONVENTIONS
) -> Iterator[tuple[ExportTraceServiceRequest, Truth]]:
    """Yield that many traces with their truth; the same for the same seed."""
    rng = random.Random(seed)
    modes, negatives = list(PLANTED), list(NEGATIVES)
    for number in range(traces):
        draw = rng.random()
        convention = rng.choice(conventions)
        if draw < failing:
            mode = modes[number % len(modes)] if rng.random() < 0.5 else rng.choice(modes)
        elif draw < failing + negative:
            mode = rng.choice(negatives)
        else:
            mode = rng.choice(("plain", "plain", "plain", "chat"))
        yield written(mode, convention, rng, number)


def written(mode: str, convention: str, rng: random.Random, number: int) -> tuple[ExportTraceServiceRequest, Truth]:
    """Return one trace of a scenario, written in a convention, with its truth."""
    categories: frozenset[str] = frozenset()
    spans: set[str] = set()
    shapes = PLANTED[mode][0] if mode in PLANTED else NEGATIVES[mode][0] if mode in NEGATIVES else SHAPES
    shape = replace(rng.choice(shapes), convention=convention)
    trace = Trace(shape, rng, START + number * 40_000_000, question(shape, rng))
    if mode in PLANTED:
        kind, (_, categories, plant) = "planted", PLANTED[mode]
        spans = plant(trace)
    elif mode in NEGATIVES:
        kind = "negative"
        NEGATIVES[mode][1](trace)
    else:
        kind = "healthy"
        HEALTHY[mode](trace)
    failed = getattr(trace, "failed", False)
    last = getattr(trace, "error", ("AgentError", "the run was given up")) if failed else None
    trace.finish(error=last, ended=not getattr(trace, "open", False))
    return trace.request(), Truth(trace.id, kind, mode, convention, categories, frozenset(spans))

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
            shapes, categories, plant = PLANTED[mode]
            kind = "planted"
        elif draw < failing + negative:
            mode = rng.choice(negatives)
            shapes, kind = NEGATIVES[mode][0], "negative"
        else:
            mode, shapes, kind = rng.choice(("plain", "plain", "plain", "chat")), SHAPES, "healthy"
        shape = replace(rng.choice(shapes), convention=convention)
        trace = Trace(shape, rng, START + number * 40_000_000, question(shape, rng))
        spans: set[str] = set()
        if kind == "planted":
            spans = plant(trace)
        elif kind == "negative":
            NEGATIVES[mode][1](trace)
        else:
            HEALTHY[mode](trace)
        failed = getattr(trace, "failed", False)
        last = getattr(trace, "error", ("AgentError", "the run was given up")) if failed else None
        trace.finish(error=last, ended=not getattr(trace, "open", False))
        truth = Truth(
            trace.id, kind, mode, convention, categories if kind == "planted" else frozenset(), frozenset(spans)
        )
        yield trace.request(), truth

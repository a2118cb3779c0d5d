"""Spans as they are stored, put together as traces: what is known of each so far. Bounded in traces and spans."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from halo_receiver.pb.segments_pb2 import SpanSummary
from halo_receiver.store.trace_list import Filters

MAX_TRACES = 1000  # put together at a time; the one that changed longest ago is forgotten
MAX_SPANS = 2000  # of one trace that are told apart, so that a span that comes twice counts once
QUIET_SECONDS = 5.0  # without a span, after which a trace without a root is taken to be as whole as it gets
SPENDING = ("llm", "embedding")  # agent spans repeat their children's tokens


@dataclass(slots=True)
class LiveTrace:
    """What is known of a trace so far. Times are unix nanoseconds, 0 where nobody said."""

    trace_id: str
    spans: dict[str, SpanSummary] = field(default_factory=dict)
    beyond: int = 0  # spans that are counted and not told apart
    changed: float = 0.0  # by the reader's clock
    given: bool = False  # handed out as whole

    def add(self, span: SpanSummary) -> None:
        """Note a span; of two copies the one with a duration counts."""
        known = self.spans.get(span.span_id)
        if known is None and len(self.spans) >= MAX_SPANS:
            self.beyond += 1
        elif known is None or not known.HasField("duration_nano"):
            self.spans[span.span_id] = span

    @property
    def root(self) -> SpanSummary | None:
        """The span without a parent, once it came."""
        return next((span for span in self.spans.values() if not span.parent_span_id), None)

    def names(self, field_name: str) -> list[str]:
        """Return what the spans say in a field, each once, in order of their start."""
        spans = sorted(self.spans.values(), key=lambda span: span.start_unix_nano)
        return list(dict.fromkeys(text for span in spans if (text := getattr(span, field_name))))

    def total(self, field_name: str) -> Any:
        """Sum up a number of the model calls; None where none says it."""
        said = [
            getattr(span, field_name)
            for span in self.spans.values()
            if span.span_type in SPENDING and span.HasField(field_name)
        ]
        return sum(said) if said else None

    def row(self) -> dict[str, Any]:
        """Return the columns of `trace_list.list_traces`; times as unix nanoseconds."""
        spans = self.spans.values()
        starts = [span.start_unix_nano for span in spans if span.start_unix_nano]
        ends = [span.start_unix_nano + span.duration_nano for span in spans if span.HasField("duration_nano")]
        start, end = min(starts, default=0), max(ends, default=0)
        root = self.root
        return {
            "trace_id": self.trace_id,
            "root_name": root.name if root else None,
            "service_names": self.names("service"),
            "agent_names": self.names("agent"),
            "models": self.names("model"),
            "start_ns": start or None,
            "duration_ns": end - start if start and end else None,
            "span_count": len(spans) + self.beyond,
            "error_count": sum(span.status == "ERROR" for span in spans),
            "status_code": root.status if root else None,
            "input_tokens": self.total("input_tokens"),
            "output_tokens": self.total("output_tokens"),
            "cost_usd": self.total("cost_usd"),
            "session_id": next(iter(self.names("session")), None),
            "user_id": next(iter(self.names("user")), None),
            "input_text": next(iter(self.names("input")), None),
        }


def _named(field_name: str) -> Callable[[LiveTrace, str], bool]:
    return lambda trace, asked: asked.lower() in (name.lower() for name in trace.names(field_name))


def _exactly(field_name: str) -> Callable[[LiveTrace, str], bool]:
    return lambda trace, asked: asked in trace.names(field_name)


# Filter of `Filters` → whether a trace passes it, as far as it is known.
_PASSES: dict[str, Callable[[LiveTrace, str], bool]] = {
    **{name: _named(name) for name in ("agent", "service", "model", "tool")},
    **{name: _exactly(name) for name in ("session", "user")},
    "status": lambda trace, asked: trace.root is not None and trace.root.status == asked.upper(),
    "text": lambda trace, asked: any(
        asked.lower() in f"{span.name}\n{span.input}\n{span.error}".lower() for span in trace.spans.values()
    ),
}


def passes(trace: LiveTrace, filters: Filters) -> bool:
    """Say whether a trace passes, as far as it is known, all but `among`, which is of reports."""
    if filters.errors and not any(span.status == "ERROR" for span in trace.spans.values()):
        return False
    asked = {name: getattr(filters, name) for name in _PASSES}
    return all(_PASSES[name](trace, value) for name, value in asked.items() if value is not None)


class LiveTraces:
    """The traces that changed last; those that pass `filters` are handed out."""

    def __init__(self, filters: Filters | None = None) -> None:
        self._filters = filters or Filters()
        self._traces: dict[str, LiveTrace] = {}  # the one that changed last is last

    def take(self, spans: Iterable[SpanSummary], now: float) -> list[LiveTrace]:
        """Note spans, and return the traces that changed and pass the filters."""
        changed: dict[str, LiveTrace] = {}
        for span in spans:
            trace = self._traces.pop(span.trace_id, None) or LiveTrace(span.trace_id)
            self._traces[span.trace_id] = changed[span.trace_id] = trace
            trace.add(span)
            trace.changed = now
            if len(self._traces) > MAX_TRACES:
                del self._traces[next(iter(self._traces))]
        return [trace for trace in changed.values() if passes(trace, self._filters)]

    def newest(self, count: int) -> list[LiveTrace]:
        """Return the traces that changed last, the last one first."""
        return list(itertools.islice(reversed(self._traces.values()), count))

    def whole(self, now: float) -> Iterator[LiveTrace]:
        """Yield each trace that passes once: when its root is there, or when nothing has come of it for a while."""
        for trace in self._traces.values():
            due = trace.root is not None or now - trace.changed >= QUIET_SECONDS
            if due and not trace.given and passes(trace, self._filters):
                trace.given = True
                yield trace

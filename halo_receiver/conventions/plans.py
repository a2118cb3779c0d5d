"""What spans of one shape cost once: which attribute fills which field, planned here and followed in C (wire/plan.h).

C fills a field itself where values are of the usual types. For others it calls `call` with the value, or `ask` with a
Reading of the whole span; for a span that it cannot follow it asks `canonical`, which all of this must agree with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from halo_receiver.conventions import cost, errors, meaning, message_summary, results, sources, tools
from halo_receiver.conventions.readings import Lookup, Reading
from halo_receiver.conventions.sources import Source
from halo_receiver.conventions.table import MESSAGES, NAMES, Convention, Kind, Shape
from halo_receiver.conventions.values import loads, name, text, unwrapped
from halo_receiver.span import Scope, Span, SpanEvent

IS_TOOL, IS_LLM, IS_PRICED, COUNTS_APART, EXCEPTION_FAILS = 1, 2, 4, 8, 16  # plan.h has the same
_ROLES = dict(zip(MESSAGES, ("system", "user", "assistant"), strict=True))
_COUNTS = (
    "max_output_tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip
_MAX_TYPES = 32
_Ask = Callable[[Reading], Any]
_Field = tuple[tuple[tuple[Any, ...], ...], Callable[[Any], Any] | None, _Ask | None]


class _Heard(Span):
    """A span with the fields that conventions look at; to set all of them costs a microsecond."""

    __slots__ = ()

    def __init__(self) -> None:
        pass


def span_of(
    scope: Scope,
    name: str,
    status_code: str,
    status_message: str,
    attributes: dict[str, Any],
    events: list[tuple[Any, ...]],
    start_unix_nano: int,
) -> Span:
    """Return a span of what the scanner read."""
    span = _Heard()
    span.scope, span.name, span.start_unix_nano = scope, name, start_unix_nano
    span.status_code, span.status_message, span.attributes = status_code, status_message, attributes
    span.events = [SpanEvent(*event) for event in events]
    return span


class Planner:
    """Plans spans of one shape, for each of their types."""

    __slots__ = ("_convention", "_shape", "convention", "json_values", "otherwise", "ways")

    def __init__(self, shape: Shape) -> None:
        self._shape, self._convention = shape, shape.convention
        chosen = shape.convention
        self.convention = chosen.key if chosen else None
        self.json_values = chosen.json_values if chosen else False
        self.ways, self.otherwise = _ways(chosen.kinds, shape.keys) if chosen else ((), None)

    def plan(self, kind: str | None) -> tuple[dict[str, _Field], int]:
        """Return how each field is filled for spans of a type: (sources, call, ask) by its name, and what they are."""
        chosen = self._convention
        if chosen is None:
            return {"error_when": ((), None, partial(_failure, None))}, 0
        narrowed = self._shape.narrowed(chosen, kind)
        fields = {field: _field(field, narrowed, listed) for field, listed in narrowed.fields.items()}
        called: tuple[tuple[str, str, Callable[[Any], Any], _Ask | None], ...] = (
            ("tool_arguments", "input_text", text, None), ("tool_result", "output_text", results.read, None),
        )  # fmt: skip
        for field, column, call, ask in called:
            found = fields.pop(field, ((), None, None))
            if kind == "tool":
                fields[column] = (found[0], call, ask)
        flags = (
            IS_TOOL * (kind == "tool") + IS_LLM * (kind == "llm")
            + IS_PRICED * (narrowed.counts and kind in meaning.PRICED)
            + COUNTS_APART * chosen.cache_excluded + EXCEPTION_FAILS * chosen.exception_fails
        )  # fmt: skip
        conditions = tuple(
            ("key", partial(errors.says_failed, condition), condition["key"])
            for condition in chosen.error_when
            if condition["key"] in self._shape.keys
        )
        fields["error_when"] = (conditions, None, partial(_failure, narrowed))
        return {field: fields[field] for field in fields.keys() - {"error_type", "error_message"}}, flags

    def reading(self, kind: str | None, heard: tuple[Any, ...]) -> Reading:
        """Return a span of a type as Python reads it; `heard` is what `span_of` takes."""
        span = span_of(*heard)
        attributes = span.attributes
        if self.json_values:
            attributes = {key: unwrapped(value) for key, value in attributes.items()}
        reading = Reading(span, attributes)
        reading.type = kind
        return reading


def planner(scope: Scope, keys: tuple[str, ...], events: tuple[str, ...]) -> Planner | None:
    """Return what plans spans of a scope with these attribute keys and events; None where C cannot follow."""
    shape = meaning.TABLE.shape_of(scope, keys, frozenset(events))
    return Planner(shape) if shape.convention is None or len(shape.convention.kinds) < _MAX_TYPES else None


def _ways(kinds: tuple[Kind, ...], keys: frozenset[str]) -> tuple[tuple[tuple[Any, ...], ...], str | None]:
    """How the type is told, in order, by what is there; and the type of what no way tells."""
    ways: list[tuple[Any, ...]] = []
    otherwise = None
    for kind in kinds:
        if kind.key:
            if kind.key in keys:
                ways.append((kind.key, kind.upper, kind.values))
                otherwise = "other"
        elif kind.has:
            if kind.has in keys:
                return (*ways, (None, "", kind.type)), otherwise
        elif kind.name:
            ways.append((None, None, kind.values))
        elif kind.name_prefix:
            ways.append((None, kind.name_prefix, kind.type))
    return tuple(ways), otherwise


def _field(field: str, convention: Convention, listed: tuple[Source, ...]) -> _Field:
    call: Callable[[Any], Any] | None = None
    ask: _Ask | None = None
    if field in NAMES:
        call = name
    elif field in _ROLES:
        ask = partial(_messages, listed, _ROLES[field])
    elif field in _COUNTS:
        ask = partial(_first_count, listed)
    elif field in _CALLS:
        call = _CALLS[field]
    elif field in _ASKS:
        ask = partial(_ASKS[field], convention)
    return tuple(map(_way, listed)), call, ask


_CALLS: dict[str, Callable[[Any], Any]] = {
    "provider": meaning.PROVIDERS.of, "tool_definitions": tools.read, "input_text": text, "output_text": text,
}  # fmt: skip
_ASKS: dict[str, Callable[[Convention, Reading], Any]] = {
    "cost": lambda convention, reading: meaning.sent_cost(reading, convention),
    "cost_parts": lambda convention, reading: meaning.sent_cost(reading, convention),
    "cached_beside_input": lambda convention, reading: meaning.cached_beside_input(reading, convention),
}


# How C finds the value of a source whose `when` and `scope` hold: WAYS of plan.h; then keys, names, a prefix, paths.
_WAYS: dict[type[Lookup], Callable[[Any], tuple[Any, ...]]] = {
    Lookup: lambda source: ("key", source, source.key),
    sources.Member: lambda source: (
        ("member", source, source.key, source.members) if source.by_c else ("python", source)
    ),
    sources.Sole: lambda source: ("sole", source, source.key, source.options["sole"]),
    sources.Name: lambda source: ("name", source, source.options.get("after")),
    sources.Literal: lambda source: ("literal", source, source.options["literal"]),
    sources.Resource: lambda source: ("resource", source, source.options["resource"]),
    sources.Event: lambda source: ("event", source, source.options["event"], source.key),
    sources.Events: lambda source: ("events", source, source.key, source.options["events"]),
    sources.Stripped: lambda source: ("strip", source, source.key),
    sources.Flat: lambda source: (
        ("flat", source, source.options["flat"]) if "flat" in source.options else ("python", source)
    ),
    sources.OnlyObject: lambda source: ("only_object", source, source.key),
    sources.Choices: lambda source: ("choices", source, source.key, source.options["choices"]),
    sources.Answer: lambda source: (
        "answer", source,
        *(source.options[part] for part in ("text", "object", "tool_calls", "files", "reasoning")),
    ),
}  # fmt: skip


def _way(source: Source) -> tuple[Any, ...]:
    if isinstance(source, str):
        return ("key", None, source)
    found = source if isinstance(source, Lookup) else source[2]
    return _WAYS[type(found)](found)


def _messages(listed: tuple[Source, ...], role: str, reading: Reading) -> message_summary.MessageSummary | None:
    return message_summary.read(reading, listed, role, meaning.finish_reason)


def _first_count(listed: tuple[Source, ...], reading: Reading) -> int | None:
    return meaning.count(reading, listed)


def _failure(
    convention: Convention | None, reading: Reading, output: str | None, denied: bool
) -> tuple[str | None, ...]:
    reading.denied = denied
    return meaning.failure(reading, convention, output)


def _estimate(
    model: str,
    provider: str | None,
    at_unix_nano: int,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None,
    cache_write_tokens: int | None,
) -> float | None:
    return cost.estimate(
        model, provider, at_unix_nano=at_unix_nano, input_tokens=input_tokens, output_tokens=output_tokens,
        cached_tokens=cached_tokens, cache_write_tokens=cache_write_tokens,
    )  # fmt: skip


FOR_SCANNER: dict[str, Any] = {
    "plan": planner, "unwrapped": unwrapped, "loads": loads, "estimate": _estimate,
    "finish_reason": meaning.finish_reason,
}  # fmt: skip

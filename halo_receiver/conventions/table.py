"""mapping.toml, compiled: which convention a span follows, and where each field of it is found."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from halo_receiver.conventions.readings import Lookup
from halo_receiver.conventions.sources import Source, compile_source
from halo_receiver.span import Scope, Span

_DETECTION = {"scope", "scope_prefix", "service", "attribute", "attribute_prefix", "not_with", "refines", "again"}
_OPTIONS = {"key", "inherit", "kind", "json_values", "cache_excluded", "error_when", "exception_fails"}
FIELDS = (
    "model", "provider", "agent_name", "session_id", "user_id", "tool_name", "tool_call_id", "tool_arguments",
    "tool_result", "tool_definitions", "system_messages", "input_messages", "output_messages", "input_text",
    "output_text", "output_type", "finish_reason",
    "max_output_tokens", "input_tokens", "output_tokens", "cached_tokens",
    "cached_beside_input", "cache_write_tokens", "reasoning_tokens", "cost", "cost_parts", "error_type",
    "error_message",
)  # fmt: skip
NAMES = ("model", "agent_name", "session_id", "user_id", "tool_name", "tool_call_id")
_COUNTS = frozenset(
    {"max_output_tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
     "cost", "cost_parts"}
)  # fmt: skip
MESSAGES = ("system_messages", "input_messages", "output_messages")  # read by `message_summary`
_NONE: tuple[Source, ...] = ()
_NO_EVENTS = frozenset[str]()
_MAX_HINTS = 50_000
_MAX_SHAPES = 4_096
_MAX_SHAPE_KEYS = 256


@dataclass(slots=True)
class Kind:
    """One way to tell the type of a span; the fields say which (see mapping.toml)."""

    key: str = ""
    has: str = ""
    name: bool = False
    name_prefix: str = ""
    type: str = ""
    upper: bool = False
    values: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Convention:
    """One convention, ready to read spans with."""

    key: str
    kinds: tuple[Kind, ...] = ()
    fields: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    json_values: bool = False
    cache_excluded: bool = False
    error_when: tuple[dict[str, Any], ...] = ()
    exception_fails: bool = False
    names: tuple[tuple[str, tuple[Source, ...]], ...] = field(init=False)  # the fields that are names, as sent
    counts: bool = field(init=False)  # whether any field is of usage

    def __post_init__(self) -> None:
        self.names = tuple((name, self.fields[name]) for name in NAMES if name in self.fields)
        self.counts = not _COUNTS.isdisjoint(self.fields)

    def __getattr__(self, name: str) -> Any:  # the fields, as attributes for readability in meaning.py
        if name in FIELDS:
            return self.fields.get(name, _NONE)
        raise AttributeError(name)


@dataclass(slots=True)
class _Rule:
    """How one [[convention]] entry is recognised. Its rank is its place in the file."""

    convention: Convention
    scopes: tuple[str, ...]
    scope_prefixes: tuple[str, ...]
    services: tuple[str, ...]
    attributes: tuple[str, ...]
    attribute_prefixes: tuple[str, ...]
    not_with: tuple[str, ...]
    refines: frozenset[str]


class _Hints(dict[str, int]):
    """Attribute key → rank of the first convention it speaks for; filled as keys are met, and bounded."""

    def __init__(self, rules: list[_Rule]) -> None:
        super().__init__()
        self._exact: dict[str, int] = {}
        self._prefixes: list[tuple[str, int]] = []
        self._none = len(rules)
        for rank, rule in enumerate(rules):
            for key in rule.attributes:
                self._exact.setdefault(key, rank)
            self._prefixes += [(prefix, rank) for prefix in rule.attribute_prefixes]

    def __missing__(self, key: str) -> int:
        rank = self._exact.get(key, self._none)
        rank = min([rank, *(found for prefix, found in self._prefixes if key.startswith(prefix))])
        if len(self) >= _MAX_HINTS:
            self.clear()
        self[key] = rank
        return rank


class Shape:
    """The convention of spans that have the same scope, service and attribute keys; narrowed to what these can fill.

    An agent's spans have few shapes, so that most of the mapping is looked through once and not for every span.
    """

    __slots__ = ("_by_type", "_events", "_scope", "convention", "keys")

    def __init__(
        self, convention: Convention | None, keys: tuple[str, ...], events: Collection[str] = (), scope: str = ""
    ) -> None:
        self.convention = convention
        self._scope = scope
        self.keys = frozenset(keys)
        self._events = events
        self._by_type: dict[str | None, Convention] = {}

    def narrowed(self, convention: Convention, kind: str | None) -> Convention:
        """Return the convention without the sources that have no value for spans of this shape and type."""
        found = self._by_type.get(kind)
        if found is None:
            fields = {}
            for name, sources in convention.fields.items():
                left = tuple(source for source in sources if self._may(source, kind))
                if left:
                    fields[name] = left if name in MESSAGES else tuple(map(_narrowed, left))
            found = self._by_type[kind] = replace(convention, fields=fields)
        return found

    def _may(self, source: Source, kind: str | None) -> bool:
        if isinstance(source, str):
            return source in self.keys
        if isinstance(source, tuple):
            source = source[2]
        if (source.when and kind not in source.when) or (source.scopes and not self._scope.startswith(source.scopes)):
            return False
        return source.may(self.keys, self._events)


def _narrowed(source: Source) -> Source:
    found: Source = source.narrowed() if isinstance(source, Lookup) else source
    return found


class Table:
    """All conventions, and the choice among them."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.version = int(data["version"])
        self.providers: dict[str, str] = data["providers"]
        self.finish_reasons: dict[str, str] = data["finish_reasons"]
        self.conventions = _conventions(data["convention"])
        self._rules = [_rule(entry, self.conventions) for entry in data["convention"]]
        self._hints = _Hints(self._rules)
        self._refined = {key for rule in self._rules for key in rule.refines}
        self._scopes: dict[tuple[str, str], Convention | None] = {}
        self._shapes: dict[tuple[str, str, frozenset[str], tuple[str, ...]], Shape] = {}

    def shape(self, span: Span) -> Shape:
        """Return the shape of a span."""
        events = frozenset([event.name for event in span.events]) if span.events else _NO_EVENTS
        return self.shape_of(span.scope, tuple(span.attributes), events)

    def shape_of(self, scope: Scope, keys: tuple[str, ...], events: frozenset[str]) -> Shape:
        """Return the shape of spans that have these attribute keys, and events of these names."""
        known = (scope.name, scope.service_name, events, keys)
        found = self._shapes.get(known)
        if found is None:
            found = Shape(self.of(scope, dict.fromkeys(keys)), keys, events, scope.name)
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            if len(keys) + len(events) <= _MAX_SHAPE_KEYS:
                self._shapes[known] = found
        return found

    def speaks(self, key: str) -> bool:
        """Say whether an attribute key alone may decide on a convention."""
        return self._hints[key] < len(self._rules)

    def knows(self, scope: Scope) -> bool:
        """Say whether a scope alone decides on a convention."""
        known = (scope.name, scope.service_name)
        return (self._scopes[known] if known in self._scopes else self._by_scope(known)) is not None

    def of(self, scope: Scope, attributes: Collection[str]) -> Convention | None:
        """Choose the convention of a span: its scope's, else the first that an attribute key speaks for."""
        known = (scope.name, scope.service_name)
        try:
            chosen = self._scopes[known]
        except KeyError:
            chosen = self._by_scope(known)
        if chosen is not None and chosen.key not in self._refined:
            return chosen
        for rank in sorted(set(map(self._hints.__getitem__, attributes))):
            if rank >= len(self._rules):
                break
            rule = self._rules[rank]
            if chosen is not None and chosen.key not in rule.refines:
                continue
            if not any(key in attributes for key in rule.not_with):
                return rule.convention
        return chosen

    def _by_scope(self, known: tuple[str, str]) -> Convention | None:
        name, service = known
        chosen = next(
            (
                rule.convention
                for rule in self._rules
                if name in rule.scopes or (name and name.startswith(rule.scope_prefixes)) or service in rule.services
            ),
            None,
        )
        if len(self._scopes) >= 10_000:
            self._scopes.clear()
        self._scopes[known] = chosen
        return chosen


def _rule(entry: dict[str, Any], conventions: dict[str, Convention]) -> _Rule:
    return _Rule(
        conventions[entry["key"]],
        tuple(entry.get("scope", ())),
        tuple(entry.get("scope_prefix", ())),
        tuple(entry.get("service", ())),
        tuple(entry.get("attribute", ())),
        tuple(entry.get("attribute_prefix", ())),
        tuple(entry.get("not_with", ())),
        frozenset(entry.get("refines", ())),
    )


def _conventions(entries: list[dict[str, Any]]) -> dict[str, Convention]:
    written = {entry["key"]: entry for entry in entries if not entry.get("again")}
    for entry in written.values():
        unknown = entry.keys() - _DETECTION - _OPTIONS - set(FIELDS)
        if unknown:
            raise ValueError(f"mapping.toml: convention {entry['key']} has unknown keys {sorted(unknown)}")
    return {key: _convention(entry, written) for key, entry in written.items()}


def _convention(entry: dict[str, Any], written: dict[str, dict[str, Any]]) -> Convention:
    chain = [entry]
    while "inherit" in chain[-1]:
        chain.append(written[chain[-1]["inherit"]])
    fields = {}
    for name in FIELDS:
        sources: list[Any] = []
        for ancestor in chain:
            sources += [source for source in ancestor.get(name, ()) if source not in sources]
        if sources:
            fields[name] = tuple(compile_source(source, name) for source in sources)
    kinds: list[dict[str, Any]] = next((ancestor["kind"] for ancestor in chain if "kind" in ancestor), [])
    return Convention(
        key=entry["key"],
        kinds=tuple(_kind(kind, written) for kind in kinds),
        fields=fields,
        json_values=entry.get("json_values", False),
        cache_excluded=entry.get("cache_excluded", False),
        exception_fails=entry.get("exception_fails", False),
        error_when=tuple(condition for ancestor in chain for condition in ancestor.get("error_when", ())),
    )


def _kind(data: dict[str, Any], written: dict[str, dict[str, Any]]) -> Kind:
    data = dict(data)
    like = data.pop("like", None)
    if like:
        data["values"] = {**written[like]["kind"][0]["values"], **data.get("values", {})}
    return Kind(**data)


def load() -> Table:
    """Read and compile the mapping that ships with halo."""
    text = resources.files("halo_receiver.conventions").joinpath("mapping.toml").read_text("utf-8")
    return Table(tomllib.loads(text))

"""One span as it is read, and the plain kind of place where a value may lie: sources.py has the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from halo_receiver.conventions.values import python_repr, structured
from halo_receiver.span import Span


class Reading:
    """One span being read: its attributes (unwrapped where the convention wraps them) and JSON parsed once."""

    __slots__ = ("attributes", "denied", "known", "span", "type")

    def __init__(self, span: Span, attributes: dict[str, Any]) -> None:
        self.span = span
        self.attributes = attributes
        self.type: str | None = None
        self.denied = False  # the result of this tool says that the call failed
        self.known: dict[str, Any] = {}  # what was parsed

    def parsed(self, key: str, is_repr: bool = False) -> Any:
        """Give the structure that an attribute holds or whose JSON text it is; parsed once."""
        if key in self.known:
            return self.known[key]
        value = self.attributes.get(key)
        if value is not None:
            value = python_repr(value) if is_repr else structured(value)
        self.known[key] = value
        return value


class Lookup:
    """A source that is more than an attribute key. `read` returns None when it has no value."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.key: str = options.get("key", "")
        self.when: frozenset[str] = frozenset(options.get("when", ()))
        self.scopes = tuple(options.get("scope", ()))
        self.members = tuple(tuple(path.split("/")) for path in options.get("member", ()))
        self.options = options

    def read(self, reading: Reading) -> Any:
        """Return the value, or None."""
        return self.value(reading) if self.applies(reading) else None

    def narrowed(self) -> Any:
        """Return the quickest form that `first` reads, for spans of which `when` and `scope` are known to hold."""
        return self.key if type(self) is Lookup else self

    def applies(self, reading: Reading) -> bool:
        """Say whether it counts for a span of that type and scope."""
        if self.when and reading.type not in self.when:
            return False
        return not self.scopes or reading.span.scope.name.startswith(self.scopes)

    def may(self, attributes: Iterable[str], events: Collection[str]) -> bool:
        """Say whether a span with attributes of these keys, and events of these names, can have a value here."""
        return self.key in attributes

    def value(self, reading: Reading) -> Any:
        """Return the value of a plain key with a condition."""
        return reading.attributes.get(self.key)

    def messages(self, reading: Reading) -> tuple[Any, str | bool | None]:
        """Return what `wire.messages` reads in place of the value, and how; (None, None) where it cannot."""
        return self.value(reading), None

"""What a span says of its failure: the exception event, error.type, the status, or its convention's own way."""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions.normalise import error_type, error_type_in
from halo_receiver.conventions.readings import Reading
from halo_receiver.conventions.sources import first
from halo_receiver.conventions.table import Convention
from halo_receiver.conventions.values import number, text

MAX_MESSAGE = 32_768  # characters of an error message that are kept in the column; the span keeps all of it


def of(reading: Reading, convention: Convention | None) -> tuple[str | None, str | None]:
    """Return (error_type, error_message) of a span, (None, None) when nothing says that it failed.

    An exception event on a span whose status is OK was handled and is no error, unless the convention says so of
    failures, too; on an UNSET one it is.
    """
    span, attributes = reading.span, reading.attributes
    failed = span.status_code == "ERROR"
    said_type = attributes.get("error.type")
    event = None
    if span.events and (span.status_code != "OK" or (convention is not None and convention.exception_fails)):
        event = next((e for e in reversed(span.events) if e.name == "exception"), None)
    special = convention is not None and bool(convention.error_when) and _matches(attributes, convention)
    if not (failed or event is not None or said_type is not None or special):
        return None, None
    kind = message = None
    if event is not None:
        kind = error_type(event.attributes.get("exception.type"))
        message = text(event.attributes.get("exception.message")) or _last_line(
            event.attributes.get("exception.stacktrace")
        )
    if message is None or not message.strip():
        message = span.status_message or None
    if convention is not None:
        if convention.key == "mcp" and isinstance(said_type, str) and said_type.lstrip("-").isdecimal():
            kind = said_type  # JSON-RPC's code says more than the class that carried it, which is one for all of them
        if special and message is None:
            message = text(first(reading, convention.error_message))
        kind = kind or error_type(said_type)
        if kind is None and (special or convention.key == "mcp"):
            kind = error_type(first(reading, convention.error_type))
    else:
        kind = kind or error_type(said_type)
    if message is not None:
        message = message[:MAX_MESSAGE]
        kind = kind or error_type_in(message) or _type_in_traceback(message)
    return kind, message


def _matches(attributes: dict[str, Any], convention: Convention) -> bool:
    return any(says_failed(condition, attributes.get(condition["key"])) for condition in convention.error_when)


def says_failed(condition: dict[str, Any], value: Any) -> bool:
    """Say whether a value of the attribute that an `error_when` names says that its span failed."""
    if value is None:
        return False
    if "at_least" in condition:
        level = number(value)
        return level is not None and level >= condition["at_least"]
    return any(type(value) is type(wanted) and value == wanted for wanted in condition["values"])


def _last_line(stacktrace: Any) -> str | None:
    if not isinstance(stacktrace, str):
        return None
    return next((line.strip() for line in reversed(stacktrace.splitlines()) if line.strip()), None)


def _type_in_traceback(message: str) -> str | None:
    """LangSmith puts the whole traceback into the message; its last line names the type."""
    if "Traceback (most recent call last)" not in message:
        return None
    line = _last_line(message)
    return error_type_in(line) if line else None

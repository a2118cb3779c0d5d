"""JSON as senders write it, parsed: by orjson, and what it refuses by Python's own parser."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from halo_receiver.decode.repair import Undecodable

HINT = "send valid JSON, or protobuf with Content-Type application/x-protobuf"
_OLD_NAMES = {
    b"instrumentationLibrarySpans": b"scopeSpans",
    b"instrumentationLibraryLogs": b"scopeLogs",
    b"instrumentationLibrary": b"scope",
}
# Followed by a colon: a member, and no value. In a JSON text inside a string the quotes are escaped.
_OLD_NAME = re.compile(rb'"(' + b"|".join(_OLD_NAMES) + rb')"(\s*:)')
BEYOND = 2**64  # in place of an integer that is longer than any field: Python refuses to read 4,301 digits


def current_names(body: bytes) -> bytes:
    """Give the members that OTLP had before 0.19 the names they have now; spans would be lost without a word.

    Source: opentelemetry-proto, CHANGELOG of 0.15.0, which deprecated InstrumentationLibrary.
    """
    if b'"instrumentationLibrary' not in body:
        return body
    return _OLD_NAME.sub(lambda found: b'"' + _OLD_NAMES[found[1]] + b'"' + found[2], body)


def value_of(text: bytes) -> Any:
    """Read JSON, also what orjson refuses and senders write: NaN, lone surrogates, invalid UTF-8, long integers."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as refused:
        return _lenient(text, refused)


def object_of(text: bytes) -> dict[str, Any]:
    """Read a JSON object. Raises Undecodable when it is anything else."""
    value = value_of(text)
    if not isinstance(value, dict):
        raise Undecodable(
            f"the body is not an OTLP/JSON request: it is a JSON {type(value).__name__}, an object is required",
            hint='send {"resourceSpans": […]} or {"resourceLogs": […]}',
        )
    return value


def integer_of(text: str) -> int:
    """Read an integer of any length; one beyond 64 bits becomes BEYOND. Raises ValueError when it is none."""
    digits = text.strip().lstrip("+-")
    if len(digits) <= 20 or not digits.isdecimal():
        return int(text)
    return -BEYOND if text.strip().startswith("-") else BEYOND


def _lenient(text: bytes, refused: orjson.JSONDecodeError) -> Any:
    try:
        return json.loads(text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"), parse_int=integer_of)
    except json.JSONDecodeError as error:
        raise Undecodable(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}", hint=HINT
        ) from None
    except RecursionError:
        raise Undecodable(f"the body is not usable JSON: {refused.msg}", hint="nest less deeply") from None

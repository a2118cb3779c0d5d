"""JSON Schemas that are safe to validate with.

Schemas come from code that a model wrote. Regular expressions in them would run in Python's backtracking engine, and
references could be fetched from elsewhere: both are removed before validating.
"""

from __future__ import annotations

from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError

SCHEMA_BYTES = 64_000
SCHEMA_DEPTH = 64
PROBLEMS_SHOWN = 5
_NOT_ENFORCED = ("pattern", "patternProperties", "format", "$id", "$schema", "$dynamicRef", "$anchor", "$dynamicAnchor")
_MAPS = ("properties", "$defs", "definitions", "dependentSchemas")  # names → schemas: the names are not keywords


class BadSchema(Exception):  # noqa: N818
    """A schema cannot be used; the text says why."""


class Validator:
    """A JSON Schema, checked and made safe. Raises BadSchema."""

    def __init__(self, schema: Any) -> None:
        if not isinstance(schema, dict):
            raise BadSchema(f"a schema is an object (JSON Schema), this is {type(schema).__name__}")
        try:
            size = len(orjson.dumps(schema))
        except (TypeError, orjson.JSONEncodeError, RecursionError) as error:
            raise BadSchema(f"the schema is not JSON: {error}") from None
        if size > SCHEMA_BYTES:
            raise BadSchema(f"the schema has {size:,} bytes, at most {SCHEMA_BYTES:,} are taken")
        self.schema: dict[str, Any] = _safe(schema)
        try:
            Draft202012Validator.check_schema(self.schema)
        except SchemaError as error:
            raise BadSchema(f"the schema is not valid JSON Schema: {error.message[:300]}") from None
        self._validator = Draft202012Validator(self.schema)

    def problems(self, value: Any) -> list[str]:
        """Say what is wrong with a value, the first few things."""
        try:
            errors = sorted(self._validator.iter_errors(value), key=lambda error: [str(p) for p in error.absolute_path])
        except Exception as error:  # noqa: BLE001  a reference to nowhere, or to itself without end
            return [f"the schema cannot be applied: {type(error).__name__}: {str(error)[:200]}"]
        shown = [f"{error.json_path}: {error.message[:300]}" for error in errors[:PROBLEMS_SHOWN]]
        if len(errors) > PROBLEMS_SHOWN:
            shown.append(f"and {len(errors) - PROBLEMS_SHOWN} more")
        return shown


def _safe(schema: Any, depth: int = 0, *, names: bool = False) -> Any:
    if depth > SCHEMA_DEPTH:
        raise BadSchema(f"the schema is nested deeper than {SCHEMA_DEPTH}")
    if isinstance(schema, list):
        return [_safe(one, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _safe(one, depth + 1) for name, one in schema.items()}
    if not str(schema.get("$ref", "#")).startswith("#"):
        raise BadSchema(f"$ref {str(schema['$ref'])[:100]!r} leads out of the schema: use '#/$defs/…'")
    return {
        key: one if key in ("enum", "const", "default", "examples") else _safe(one, depth + 1, names=key in _MAPS)
        for key, one in schema.items()
        if key not in _NOT_ENFORCED
    }

"""JSON out of a model's text, and JSON Schema that cannot be turned against us.

Schemas come from code that a model wrote. Regular expressions in them would run in Python's backtracking engine, and
references could be fetched from elsewhere: both are taken out before validating.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError

SCHEMA_BYTES = 64_000
SCHEMA_DEPTH = 64
PROBLEMS_SHOWN = 5
LOOSE_CHARACTERS = 100_000  # of text that is looked at again when it is no JSON
_NOT_ENFORCED = ("pattern", "patternProperties", "format", "$id", "$schema", "$dynamicRef", "$anchor", "$dynamicAnchor")
_MAPS = ("properties", "$defs", "definitions", "dependentSchemas")  # names → schemas: the names are not keywords
_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_TRIPLE = re.compile(r"(\"{3}|'{3})(.*?)\1", re.DOTALL)
_CODE = re.compile(r'("code"\s*:\s*)"(.*)"(\s*\}\s*\}?\s*)\Z', re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)


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


def loads(text: str) -> Any:
    """Read JSON, and what small models write for it: line breaks in strings, Python's triple quotes and literals.

    Raises ValueError.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if len(text) > LOOSE_CHARACTERS:
            raise
        for mended in (_TRIPLE.sub(lambda match: json.dumps(match[2].strip("\n")), text), _as_one_string(text)):
            try:
                return json.loads(mended, strict=False)
            except (ValueError, RecursionError):
                continue
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            raise error from None
        if not isinstance(value, dict | list):
            raise
        return value


def _as_one_string(text: str) -> str:
    """Code whose quotes were not escaped: what stands between the first and the last quote is the value."""
    return _CODE.sub(
        lambda match: match[1] + json.dumps(match[2].replace("\\n", "\n").replace('\\"', '"')) + match[3], text
    )


def json_in(text: str) -> Any:
    """Return the JSON value that a model's text holds: all of it, a fenced block, or the first object or array.

    Thinking aloud before it is passed over. Raises ValueError where there is none.
    """
    text = _THINKING.sub("", text).strip()
    for candidate in (text, *(block.strip() for block in _FENCE.findall(text))):
        try:
            return loads(candidate)
        except ValueError:
            continue
    decoder = json.JSONDecoder(strict=False)
    for start in (match.start() for match in list(re.finditer(r"[{\[]", text))[:50]):
        try:
            return decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError("there is no JSON in it")


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

"""Arguments of tool calls against the schema that was offered.

Calls are grouped by the structure of their arguments in SQL; only the distinct (tools, tool, structure) triples, a
few thousand at most, are checked in Python, on a sample made from the structure. Values are not looked at there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema

from halo_receiver.store import queries
from halo_receiver.store.reader import Reader

MAX_STRUCTURES = 5000  # distinct structures of one window, the commonest first
MAX_DEFINITIONS = 1000  # distinct tool lists of one window

# What a schema says of values, not of structure: enums are checked in SQL, the rest is left to the tool.
_OF_VALUES = frozenset(
    {
        "enum", "const", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties",
        "maxProperties", "contains", "default", "examples", "$schema",
    }
)  # fmt: skip
_ANY = object()  # a value that may be of any type
_SAMPLES = {"VARCHAR": "x", "BOOLEAN": True, "DOUBLE": 1.0, "UBIGINT": 1, "BIGINT": -1, "HUGEINT": 1, "NULL": None}


def prepare(reader: Reader) -> None:
    """Make `_misfits` (which structures of arguments break which tool's schema, and how), `_enums`, and `_described`
    (tool lists with parameters). Needs `calls`."""
    execute = reader.connection.execute
    execute(
        "CREATE OR REPLACE TEMP TABLE _misfits "
        "(definitions UBIGINT, call_name VARCHAR, structure VARCHAR, problem VARCHAR)"
    )
    execute(
        "CREATE OR REPLACE TEMP TABLE _enums (definitions UBIGINT, call_name VARCHAR, path VARCHAR, allowed VARCHAR[])"
    )
    execute("CREATE OR REPLACE TEMP TABLE _described (definitions UBIGINT)")
    texts = _definitions(reader)
    described = [[number] for number, text in texts.items() if '"properties"' in text]
    if described:
        reader.connection.executemany("INSERT INTO _described VALUES (?)", described)
    schemas = dict(_schemas(texts))
    if not schemas:
        return
    enums = [(*place, f'$."{name}"', allowed) for place, schema in schemas.items() for name, allowed in _enums(schema)]
    if enums:
        reader.connection.executemany("INSERT INTO _enums VALUES (?, ?, ?, ?)", enums)
    misfits = []
    for row in reader.query(
        "SELECT definitions, call_name, structure, count(*) AS n FROM calls WHERE structure IS NOT NULL "
        f"AND definitions IS NOT NULL GROUP BY ALL ORDER BY n DESC, 1, 2, 3 LIMIT {MAX_STRUCTURES}"
    ):
        place = (row["definitions"], row["call_name"])
        problem = _problem(schemas[place], _arguments(json.loads(row["structure"]))) if place in schemas else None
        if problem:
            misfits.append((*place, row["structure"], problem))
    if misfits:
        reader.connection.executemany("INSERT INTO _misfits VALUES (?, ?, ?, ?)", misfits)


def _definitions(reader: Reader) -> dict[int, str]:
    """Read each distinct tool list of the window once, from one span that has it."""
    rows = reader.query(
        "SELECT min((trace_id, span_id)) AS place FROM _s WHERE definitions IS NOT NULL "
        f"GROUP BY definitions ORDER BY count(*) DESC, definitions LIMIT {MAX_DEFINITIONS}"
    )
    found = queries.spans_of(
        reader, "hash(tool_definitions) AS definitions, tool_definitions", [row["place"] for row in rows]
    )
    return {row["definitions"]: row["tool_definitions"] for row in found}


def _schemas(definitions: dict[int, str]) -> Iterator[tuple[tuple[int, str], dict[str, Any]]]:
    for number, text in definitions.items():
        for tool in json.loads(text):
            schema = tool.get("parameters")
            if isinstance(schema, dict) and isinstance(schema.get("properties", {}), dict):
                yield (number, tool["name"]), schema


def _enums(schema: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, about in (schema.get("properties") or {}).items():
        if isinstance(about, dict) and isinstance(about.get("enum"), list) and '"' not in name:
            yield name, [str(value) for value in about["enum"] if isinstance(value, str)]


def _arguments(structure: Any) -> Any:
    """Return arguments of that structure. DuckDB's structure of an object without keys is "JSON"."""
    return {} if structure == "JSON" else _sample(structure)


def _sample(structure: Any) -> Any:
    """Return a value of that structure; "JSON" is also what DuckDB says of lists whose items differ in type."""
    if structure == "JSON":
        return _ANY
    if isinstance(structure, dict):
        return {key: _sample(value) for key, value in structure.items()}
    if isinstance(structure, list):
        return [_sample(item) for item in structure]
    return _SAMPLES.get(structure, "x")


def _structural(schema: Any) -> Any:
    """Return the schema without what it says of values; an object with named keys is taken as closed unless it says."""
    if isinstance(schema, list):
        return [_structural(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            kept[key] = {name: _structural(about) for name, about in value.items()}
        elif key not in _OF_VALUES:
            kept[key] = value if key in ("required", "type") else _structural(value)
    if (
        kept.get("properties")
        and not {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"} & kept.keys()
    ):
        kept["additionalProperties"] = False
    return kept


def _problem(schema: dict[str, Any], sample: Any) -> str | None:
    try:
        errors = jsonschema.Draft202012Validator(_structural(schema)).iter_errors(sample)
        found = min(
            (error for error in errors if error.instance is not _ANY),
            key=lambda item: (len(item.path), item.validator != "required", str(item.path)),
            default=None,
        )
    except Exception:  # noqa: BLE001 - a schema that cannot be read (a reference, a wrong keyword) judges nothing
        return None
    if found is None:
        return None
    where = ".".join(str(part) for part in found.path if isinstance(part, str))
    if found.validator == "required":
        missing = next((name for name in found.validator_value if name not in found.instance), "a key")
        return f"'{missing}' is missing" + (f" in '{where}'" if where else "")
    if found.validator == "additionalProperties":
        known = (found.schema.get("properties") or {}).keys()
        return f"'{next((name for name in found.instance if name not in known), 'a key')}' is not a parameter"
    if found.validator == "type":
        return f"'{where}' is not of type {found.validator_value}"
    return f"'{where or 'the arguments'}' breaks '{found.validator}'"

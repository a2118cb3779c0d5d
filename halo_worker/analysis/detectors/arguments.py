"""Arguments of tool calls against the schema that was offered, and values nobody filled in.

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
from halo_worker.analysis.detectors.detector import Unit

MAX_STRUCTURES = 5000  # distinct structures of one window, the commonest first
MAX_DEFINITIONS = 1000  # distinct tool lists of one window

# What a schema says of values, not of structure: enums are checked in SQL, the rest is left to the tool.
_OF_VALUES = frozenset(
    [
        "enum",
        "const",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "contains",
        "default",
        "examples",
        "$schema",
    ]
)
_SAMPLES = {"VARCHAR": "x", "BOOLEAN": True, "DOUBLE": 1.0, "UBIGINT": 1, "BIGINT": -1, "HUGEINT": 1, "NULL": None}


def prepare(reader: Reader) -> None:
    """Make `_misfits` (which structures of arguments break which tool's schema, and how), `_enums`, and `_described`
    (tool lists with parameters). Needs `_calls`."""
    execute = reader.connection.execute
    execute(
        "CREATE OR REPLACE TEMP TABLE _misfits (definitions UBIGINT, call_name VARCHAR, structure VARCHAR, problem VARCHAR)"
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
        "SELECT definitions, call_name, structure, count(*) AS n FROM _calls WHERE structure IS NOT NULL "
        f"AND definitions IS NOT NULL GROUP BY ALL ORDER BY n DESC, 1, 2, 3 LIMIT {MAX_STRUCTURES}"
    ):
        place = (row["definitions"], row["call_name"])
        problem = _problem(schemas[place], _sample(json.loads(row["structure"]))) if place in schemas else None
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


def _sample(structure: Any) -> Any:
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
        error = jsonschema.Draft202012Validator(_structural(schema)).iter_errors(sample)
        found = min(
            error, key=lambda item: (len(item.path), item.validator != "required", str(item.path)), default=None
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


# The call's tool span where there is one: its arguments can be quoted, the model call's cannot in every convention.
_SHOWN = """
  WITH b AS ({bad}),
  t AS (
    SELECT b.trace_id, b.span_id, b.call_id, b.call_name, arg_min(s.span_id, s.start_time) AS tool_span,
      arg_min(s.arguments, s.start_time) AS said
    FROM b JOIN _s s ON s.trace_id = b.trace_id AND s.span_type = 'tool' AND s.start_time >= b.start_time
      AND (s.tool_call_id = b.call_id OR s.tool_call_id IS NULL AND s.tool_name = b.call_name)
    GROUP BY ALL
  )
  SELECT b.call_name || '|' || b.problem AS key, b.call_name AS subject, b.trace_id,
    CASE WHEN trim(t.said) <> '' THEN t.tool_span ELSE b.span_id END AS span_id, b.span_id AS origin_span_id,
    CASE WHEN trim(t.said) <> '' THEN 'input_text' ELSE 'name' END AS field,
    CASE WHEN trim(t.said) <> '' THEN left(t.said, 300) ELSE l.name END AS quote
  FROM b JOIN _s l ON l.trace_id = b.trace_id AND l.span_id = b.span_id
  LEFT JOIN t ON t.trace_id = b.trace_id AND t.span_id = b.span_id AND t.call_id IS NOT DISTINCT FROM b.call_id
    AND t.call_name = b.call_name
"""
_CALL = "c.trace_id, c.span_id, c.call_id, c.call_name, c.start_time"

PLACEHOLDER = (
    r'"(<[A-Za-z][A-Za-z _-]{1,40}>|\{\{ ?[A-Za-z_.]{1,40} ?\}\}|\{[a-z][a-z_]{1,40}\}|\$\{[A-Za-z_.]{1,40}\}|\[?(YOUR|INSERT|ENTER)[ _-][A-Z _-]{2,40}\]?|\[(your|insert|enter|the)? ?[a-z_ ]{3,30}\]'
    r'|(REPLACE|CHANGE|FILL|PUT|SET)[_ -](ME|THIS|HERE|IN|WITH|VALUE)[A-Z_ ]{0,30}|[A-Z_]{3,40}_HERE|(your|insert)[_-][a-z_-]{2,40}([_-]here)|TODO|TBD|PLACEHOLDER|placeholder|undefined)"'
)

UNITS = (
    Unit(
        name="wrong_arguments",
        category="Formatting Errors",
        definition="A model's tool call lacks a required argument, has one that the tool does not know, or one of another type or outside its enum",
        source="the JSON schema that was offered in the same call; NeMo Compass, missing, unknown, mistyped and bad-enum argument",
        limits="only where tool definitions with a schema are captured; formats, patterns and ranges are left to the tool",
        sql=_SHOWN.format(
            bad=f"""
            SELECT {_CALL}, m.problem FROM _calls c JOIN _misfits m USING (definitions, call_name, structure)
            UNION ALL
            SELECT {_CALL}, 'the value of ' || e.path[3:] || ' is not an allowed one' AS problem
            FROM _calls c JOIN _enums e USING (definitions, call_name)
            WHERE json_type(c.arguments, e.path) = 'VARCHAR' AND NOT list_contains(e.allowed, json_extract_string(c.arguments, e.path))
            UNION ALL
            SELECT {_CALL}, 'the arguments are no JSON object' AS problem FROM _calls c
            WHERE arguments_type IN ('VARCHAR', 'ARRAY') AND length(trim(arguments->>'$')) > 2 AND len(tools_offered) > 0
              AND definitions IN (FROM _described)
            """
        ),
        title="The model calls {subject} with arguments that violate its schema",
        description="The call violates the schema that the model was offered: {key}.",
        fix="Use the provider's strict tool mode where it has one, describe the argument with an example, and return the validation error for an invalid call.",
        validation="Validate every call against the offered schema; the count should fall to zero.",
        confidence=0.95,
    ),
    Unit(
        name="placeholder_argument",
        category="Formatting Errors",
        definition="A tool is called with a placeholder such as <order_id>, {{name}} or YOUR_KEY_HERE as the whole value of an argument",
        source="NeMo Compass, unresolved_placeholder_argument",
        limits="whole values only; templates as part of a longer text are fine",
        sql=_SHOWN.format(
            bad=f"SELECT {_CALL}, 'placeholder' AS problem FROM _calls c WHERE regexp_matches(c.arguments::VARCHAR, '{PLACEHOLDER}')"
        ),
        title="The model calls {subject} with a placeholder instead of a value",
        description="An argument of {subject} is a placeholder, not a value.",
        fix="Remove placeholders from examples in the prompt, and reject such values before the call.",
        validation="No argument should be a placeholder.",
        confidence=0.95,
    ),
)  # fmt: skip

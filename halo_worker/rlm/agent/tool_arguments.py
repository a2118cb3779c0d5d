"""Arguments of a tool call: parsed, coerced where the meaning is clear, validated, else refused with what is wrong."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from halo_worker.rlm.lenient_json import loads
from halo_worker.rlm.tool import ToolError
from halo_worker.rlm.truncation import nested, truncate

SCHEMA_SHOWN = 2_000  # bytes of a schema in an error
PROBLEMS_SHOWN = 5
MAX_NESTING = 64


def resolve_name(name: str, known: Collection[str]) -> str:
    """Return the known tool that a name means. Raises ToolError naming the nearest."""
    if name in known:
        return name
    plain = name.rpartition(".")[2].rpartition(":")[2].strip().lower().replace("-", "_")
    if plain in known:
        return plain
    near = difflib.get_close_matches(plain, known, 1, 0.6)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ToolError(f"there is no tool {truncate(name, 100)!r}.{meant} Tools: {', '.join(sorted(known))}")


def parse(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments in JSON text as the tool takes them. Raises ToolError with the schema."""
    try:
        value = loads(text or "{}")
        if isinstance(value, str):  # encoded twice
            value = loads(value)
    except ValueError as error:
        if name == "run_code" and text.strip()[:1] not in ("{", '"'):
            return {"code": text}
        raise ToolError(f"the arguments of {name} are not JSON ({error}). {_expected(schema)}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        value = _as_only_argument(value, schema, name)
    return validate(name, value, schema)


def validate(name: str, value: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Coerce what is clearly meant (null for absent, "5" for 5, one for a list), then validate. Raises ToolError."""
    if nested(value, MAX_NESTING):
        raise ToolError(f"the arguments of {name} are nested deeper than {MAX_NESTING}")
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if "kwargs" in value and "kwargs" not in properties and isinstance(value["kwargs"], dict):
        value = value["kwargs"]
    unknown = [key for key in value if key not in properties]
    if unknown and properties and (name == "run_code" or schema.get("additionalProperties") is False):
        if name != "run_code":
            near = difflib.get_close_matches(unknown[0], properties, 1, 0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise ToolError(f"{name} has no argument {truncate(unknown[0], 100)!r}.{meant} {_expected(schema)}")
        value = {key: one for key, one in value.items() if key in properties}
    coerced = {key: _coerced(one, properties.get(key) or {}) for key, one in value.items()}
    required = set(schema.get("required") or ())
    coerced = {
        key: one for key, one in coerced.items() if one is not None or key in required or _nullable(key, properties)
    }
    errors = list(Draft202012Validator(dict(schema)).iter_errors(coerced))
    if errors:
        said = "; ".join(f"{one.json_path}: {one.message[:200]}" for one in errors[:PROBLEMS_SHOWN])
        raise ToolError(f"the arguments of {name} do not fit: {said}. {_expected(schema)}")
    return coerced


def name_positional(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], schema: Mapping[str, Any]
) -> dict[str, Any]:
    """Name the positional arguments of a call from code. Raises ToolError."""
    names = list(schema.get("properties") or {})
    if len(args) > len(names):
        raise ToolError(f"{name} takes {len(names)} arguments at most ({', '.join(names)}), {len(args)} were given")
    return dict(zip(names, args, strict=False)) | kwargs


def _coerced(value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if isinstance(value, str) and kind in ("integer", "number", "boolean", "array", "object"):
        try:
            read = json.loads(value, strict=False)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, {"array": list, "object": dict, "boolean": bool}.get(kind, int | float)):
            value = read
    if kind == "array" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return [value]
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "object" and value is None:
        return None
    return value


def _nullable(key: str, properties: Mapping[str, Any]) -> bool:
    schema = properties.get(key) or {}
    kinds = schema.get("type")
    return "null" in kinds if isinstance(kinds, list) else any(
        one.get("type") == "null" for one in schema.get("anyOf", ()) if isinstance(one, dict)
    )  # fmt: skip


def _as_only_argument(value: Any, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A bare value stands for the only argument, or the only one that is required."""
    properties = list(schema.get("properties") or {})
    required = list(schema.get("required") or ())
    if len(required) == 1:
        return {required[0]: value}
    if len(properties) == 1:
        return {properties[0]: value}
    raise ToolError(f"the arguments of {name} are a JSON object. {_expected(schema)}")


def _expected(schema: Mapping[str, Any]) -> str:
    return f"Expected: {truncate(orjson.dumps(dict(schema)).decode(), SCHEMA_SHOWN)}"

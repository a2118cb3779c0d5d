"""Tool definitions of every shape → names and one JSON text."""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions.values import dumps, structured

MAX_TOOLS = 2_000
_CACHE: dict[str, tuple[list[str], str] | None] = {}  # an agent repeats its definitions on every call
_MAX_CACHED, _MAX_CACHED_LENGTH = 512, 64 * 1024


def read(value: Any) -> tuple[list[str], str] | None:
    """Read the tools that were offered: their names, and `[{"name", "description"?, "parameters"?}]` as JSON text."""
    key = value if isinstance(value, str) else f"{type(value).__name__} {dumps(value)}"
    if len(key) > _MAX_CACHED_LENGTH:
        return _read(value)
    if key not in _CACHE:
        if len(_CACHE) >= _MAX_CACHED:
            _CACHE.clear()
        _CACHE[key] = _read(value)
    return _CACHE[key]


def _read(value: Any) -> tuple[list[str], str] | None:
    tools: list[dict[str, Any]] = []
    _collect(value, tools, 0)
    if not tools:
        return None
    return [tool["name"] for tool in tools], dumps(tools)


def _collect(value: Any, out: list[dict[str, Any]], depth: int) -> None:
    if depth > 5 or len(out) >= MAX_TOOLS:
        return
    if isinstance(value, str):
        parsed = structured(value)
        if parsed is not None:
            _collect(parsed, out, depth + 1)
        elif value and depth:
            out.append({"name": value})  # names alone
    elif isinstance(value, list):
        for item in value:
            _collect(item, out, depth + 1)
    elif isinstance(value, dict):
        _collect_object(value, out, depth)


def _collect_object(value: dict[str, Any], out: list[dict[str, Any]], depth: int) -> None:
    for key in ("function_tools", "output_tools", "function_declarations", "functionDeclarations", "tools"):
        if isinstance(value.get(key), list):
            for other in ("function_tools", "output_tools", "function_declarations", "functionDeclarations", "tools"):
                _collect(value.get(other), out, depth + 1)
            return
    for key in ("function", "toolSpec", "tool"):  # OpenAI, Bedrock, OpenInference wrap it
        if isinstance(value.get(key), dict):
            _collect_object(value[key], out, depth + 1)
            return
    if isinstance(value.get("json_schema"), (str, dict)):
        _collect(value["json_schema"], out, depth + 1)
        return
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return
    tool: dict[str, Any] = {"name": name}
    if isinstance(value.get("description"), str) and value["description"]:
        tool["description"] = value["description"]
    for key in ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema"):
        schema = structured(value.get(key))
        if isinstance(schema, dict):
            inner = schema.get("json")
            tool["parameters"] = inner if isinstance(inner, dict) and len(schema) == 1 else schema
            break
    out.append(tool)

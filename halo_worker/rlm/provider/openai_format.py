"""What both of OpenAI's APIs share, parsed leniently: nothing here raises for an unexpected shape."""

from __future__ import annotations

import json
from typing import Any, Literal

from halo_worker.rlm.messages import FinishReason

Api = Literal["chat", "responses"]
Body = dict[str, Any]

REASONS: dict[str, FinishReason] = {
    "stop": "stop", "end_turn": "stop", "completed": "stop", "eos": "stop", "length": "length", "max_tokens": "length",
    "max_output_tokens": "length", "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "content_filter", "safety": "content_filter",
}  # fmt: skip


class Truncated(Exception):  # noqa: N818
    """A stream ended before its end. `received`: characters that came."""

    def __init__(self, received: int) -> None:
        super().__init__("the stream ended before the answer did")
        self.received = received


class Failed(Exception):  # noqa: N818
    """A body or event reports an error."""

    def __init__(self, error: Any) -> None:
        self.body = error if isinstance(error, dict) else {"message": str(error)}
        super().__init__(str(self.body.get("message") or self.body))


def raise_for_error(body: Any) -> Body:
    """Return the body of an answer. Raises Failed when it reports an error."""
    found: Body = as_dict(body)
    if found.get("error"):
        raise Failed(found["error"])
    return found


def is_object(text: str) -> bool:
    """Whether a text is a whole JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def sendable(arguments: str) -> str:
    """Return arguments that every endpoint takes back: some parse them, so what is no JSON object is wrapped in one."""
    return arguments if is_object(arguments) else json.dumps({"not_json": arguments})


def strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects in which everything is required."""
    if isinstance(schema, list):
        return all(strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        names = schema.get("properties") or {}
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(names):
            return False
    return all(strict(one) for one in schema.values())


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or parts of which some may be null."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in dicts(content) if part.get("type") != "reasoning")


def arguments_of(value: Any) -> str:
    """Arguments are text; some endpoints send the object itself."""
    if value is None:
        return "{}"
    return value if isinstance(value, str) else json.dumps(value)


def number(*values: Any) -> int:
    """The first that is a positive number; 0 where none is."""
    return next((int(one) for one in values if isinstance(one, int | float) and one > 0), 0)


def money(value: Any) -> float | None:
    """Dollars, where the provider reports them."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def as_dict(value: Any) -> dict[str, Any]:
    """An object, an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def first(value: Any) -> dict[str, Any]:
    """The first object of a list."""
    return next(iter(dicts(value)), {})

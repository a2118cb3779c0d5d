"""Log record → what it says of its span."""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions import errors, messages, normalise
from halo_receiver.conventions.meaning import TABLE, canonical
from halo_receiver.conventions.readings import Reading
from halo_receiver.conventions.signature import error_signature
from halo_receiver.conventions.values import dumps, integer, name, number, text
from halo_receiver.span import Canonical, LogRecord, Span, SpanEvent

_MESSAGE_EVENTS = {
    "gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}  # fmt: skip
_DETAILS = "gen_ai.client.inference.operation.details"
_EXCEPTIONS = ("exception", "gen_ai.client.operation.exception")


def event_name(record: LogRecord) -> str:
    """Name the event of a record: its event_name, the older `event.name` attribute, or a body that is a name."""
    named = record.attributes.get("event.name")
    # Rust's tracing names an event by its place in the source, "event FILE:LINE", where nobody gave it a name.
    if record.event_name and not (isinstance(named, str) and record.event_name.startswith("event ")):
        return record.event_name
    body = record.body
    if isinstance(body, str) and body.startswith(("claude_code.", "codex.")) and " " not in body and len(body) < 80:
        return body
    return named if isinstance(named, str) else ""


def from_log(record: LogRecord) -> dict[str, Any] | None:
    """Say which canonical fields this record fills in for the span it was written under; None when none.

    Values have the types of `Canonical`. A record that holds one message of several (`gen_ai.user.message`, …)
    gives `input_messages` or `output_messages` with that one. An evaluation gives `evaluation`: {"name", "score",
    "label", "explanation"}.
    """
    event = event_name(record)
    if not event:
        return None
    if event == _DETAILS:
        facts = _as_span(record)
    elif event in _MESSAGE_EVENTS or event == "gen_ai.choice":
        facts = _message(record, event)
    elif event == "gen_ai.evaluation.result":
        facts = _evaluation(record)
    elif event in _EXCEPTIONS or "exception.type" in record.attributes:
        facts = _exception(record)
    elif event.startswith("claude_code."):
        facts = _claude_code(record, event.removeprefix("claude_code."))
    elif event.startswith("codex."):
        facts = _codex(record, event.removeprefix("codex."))
    else:
        return None
    facts = {key: value for key, value in facts.items() if value is not None}
    return facts or None


def _as_span(record: LogRecord) -> dict[str, Any]:
    """Read the record's attributes as those of its span: they are the same, and hold the messages besides."""
    found = canonical(Span(record.trace_id, record.span_id, "", "", record.scope, attributes=record.attributes,
                           start_unix_nano=record.time_unix_nano or record.observed_unix_nano))  # fmt: skip
    left_out = ("convention", "span_type", "cost_usd", "cost_estimated", "error_signature")
    facts = {field: getattr(found, field) for field in Canonical.__slots__ if field not in left_out}
    if facts["input_text"] is None and found.input_messages:
        facts["input_text"] = messages.last_text(messages.read(found.input_messages), ("user", "tool"))
    if facts["output_text"] is None and found.output_messages:
        facts["output_text"] = messages.all_text(messages.read(found.output_messages, "assistant"))
    return facts


def _message(record: LogRecord, event: str) -> dict[str, Any]:
    body = record.body if isinstance(record.body, dict) else {"content": record.body}
    if event == "gen_ai.choice":
        answer = messages.read(body, "assistant")
        reason = normalise.finish_reason(body.get("finish_reason"), TABLE)
        return {"output_messages": dumps(answer) if answer else None, "output_text": messages.all_text(answer),
                "finish_reason": reason}  # fmt: skip
    said = messages.read([{**body, "role": body.get("role") or _MESSAGE_EVENTS[event]}])
    asked = _MESSAGE_EVENTS[event] in ("user", "tool")
    words = messages.last_text(said, ("user", "tool")) if asked else None
    return {"input_messages": dumps(said) if said else None, "input_text": words}


def _evaluation(record: LogRecord) -> dict[str, Any]:
    attributes = record.attributes
    return {
        "evaluation": {
            "name": name(attributes.get("gen_ai.evaluation.name")),
            "score": number(attributes.get("gen_ai.evaluation.score.value")),
            "label": name(attributes.get("gen_ai.evaluation.score.label")),
            "explanation": text(attributes.get("gen_ai.evaluation.explanation")),
        }
    }


def _exception(record: LogRecord) -> dict[str, Any]:
    event = SpanEvent(record.time_unix_nano, "exception", record.attributes)
    span = Span(record.trace_id, record.span_id, "", "", record.scope, events=[event])
    kind, message = errors.of(Reading(span, {}), None)
    return _failure(kind, message)


def _failure(kind: str | None, message: str | None) -> dict[str, Any]:
    signature = error_signature(message or "", kind) if kind or message else None
    return {"error_type": kind, "error_message": message, "error_signature": signature or None}


def _claude_code(record: LogRecord, event: str) -> dict[str, Any]:
    """Prompts, answers, tool results and cost, which Claude Code writes under its interaction span."""
    attributes = record.attributes
    facts: dict[str, Any] = {
        "session_id": name(attributes.get("session.id")),
        "user_id": name(attributes.get("user.id")),
    }
    if event == "user_prompt":
        prompt = text(attributes.get("prompt"))
        facts |= {"input_text": prompt, "input_messages": _one("user", prompt)}
    elif event == "assistant_response":
        answer = text(attributes.get("response"))
        facts |= {"output_text": answer, "output_messages": _one("assistant", answer)}
    elif event == "api_request":
        micros = integer(attributes.get("cost_usd_micros"))
        sent = number(attributes.get("cost_usd"))
        facts |= {"model": name(attributes.get("model"))}
        facts["cost_usd"] = sent if sent is not None else micros / 1e6 if micros is not None else None
        facts["cost_estimated"] = None if facts["cost_usd"] is None else False
    elif event == "api_error":
        facts |= _failure(name(attributes.get("status_code")), text(attributes.get("error")))
    elif event == "tool_result" and attributes.get("success") in (False, "false"):
        # written under the interaction, not under the tool's span: kept apart by its call id
        facts |= {"failed_tool_call_id": name(attributes.get("tool_use_id"))}
    return facts


def _codex(record: LogRecord, event: str) -> dict[str, Any]:
    attributes = record.attributes
    facts: dict[str, Any] = {"session_id": name(attributes.get("conversation.id"))}
    if event == "user_prompt":
        prompt = text(attributes.get("prompt"))
        facts |= {"input_text": prompt, "input_messages": _one("user", prompt)}
    elif event == "tool_result":
        facts |= {
            "tool_name": name(attributes.get("tool_name")),
            "tool_call_id": name(attributes.get("call_id")),
            # a path below the main agent, which the span of the turn names
            "agent_name": (name(attributes.get("agent_name")) or "").removeprefix("/root").strip("/") or None,
            "input_text": text(attributes.get("arguments")),
            "output_text": text(attributes.get("output")),
        }
        if attributes.get("success") in (False, "false"):
            facts |= _failure("tool_error", text(attributes.get("output")))
    elif event == "conversation_starts":
        facts |= {"provider": normalise.provider(attributes.get("provider_name"), TABLE)}
    elif event == "api_request":
        status = integer(attributes.get("http.response.status_code"))
        if status is not None and status >= 400:
            facts |= _failure(str(status), text(attributes.get("error.message")) or f"HTTP {status}")
    return facts


def _one(role: str, content: str | None) -> str | None:
    return dumps([{"role": role, "content": content}]) if content else None

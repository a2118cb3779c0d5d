"""Span → Canonical: what a span means, whichever convention said it."""

from __future__ import annotations

from typing import Any

from halo_receiver.conventions import cost, errors, normalise, results, spoken, tools
from halo_receiver.conventions.signature import error_signature
from halo_receiver.conventions.sources import Reading, first
from halo_receiver.conventions.spoken import Spoken
from halo_receiver.conventions.table import Convention, Kind, load
from halo_receiver.conventions.values import integer, name, number, text, unwrapped
from halo_receiver.span import Canonical, Span

TABLE = load()
MAPPING_VERSION: int = TABLE.version

_PRICED = ("llm", "embedding")


def canonical(span: Span) -> Canonical:
    """Say what a span means in the columns that every convention shares.

    Pure, and never raises on what a span holds. A span of no GenAI convention keeps every field None, but for its
    error. Costs are as sent; for LLM and embedding spans without one they are estimated from list prices, and
    `cost_estimated` says so.
    """
    shape = TABLE.shape(span)
    convention = shape.convention
    result = Canonical()
    if convention is None:
        reading = Reading(span, span.attributes)
        if span.status_code != "UNSET" or span.events or "error.type" in span.attributes:
            _error(result, reading, None)
        return result
    attributes = span.attributes
    if convention.json_values:
        attributes = {key: unwrapped(value) for key, value in attributes.items()}
    reading = Reading(span, attributes)
    result.convention = convention.key
    result.span_type = reading.type = span_type(reading, convention)
    convention = shape.narrowed(convention, reading.type)
    _identity(result, reading, convention)
    asked, answered = _messages(result, reading, convention)
    _texts(result, reading, convention, asked, answered)
    _usage(result, reading, convention)
    _error(result, reading, convention)
    return result


def span_type(reading: Reading, convention: Convention) -> str | None:
    """Return the type of a span; `other` when its convention names one that is not known here."""
    attributes, seen = reading.attributes, False
    for kind in convention.kinds:
        found = _kind(kind, reading, attributes)
        if found:
            return found
        seen = seen or (bool(kind.key) and kind.key in attributes)
    return "other" if seen else None


def _kind(kind: Kind, reading: Reading, attributes: dict[str, Any]) -> str | None:
    if kind.key:
        value = attributes.get(kind.key)
        if isinstance(value, str):
            return kind.values.get(value.upper() if kind.upper else value)
    elif kind.has:
        return kind.type if kind.has in attributes else None
    elif kind.name:
        return kind.values.get(reading.span.name)
    elif kind.name_prefix and reading.span.name.startswith(kind.name_prefix):
        return kind.type
    return None


def _identity(result: Canonical, reading: Reading, convention: Convention) -> None:
    fields = convention.fields
    for field in ("model", "agent_name", "session_id", "user_id", "tool_name", "tool_call_id"):
        sources = fields.get(field)
        if sources:
            setattr(result, field, name(first(reading, sources)))
    for source in fields.get("provider", ()):
        result.provider = normalise.provider(first(reading, (source,)), TABLE)
        if result.provider:
            break


def _finish_reason(value: Any) -> str | None:
    return normalise.finish_reason(value, TABLE)


def _messages(result: Canonical, reading: Reading, convention: Convention) -> tuple[Spoken | None, Spoken | None]:
    fields = convention.fields
    asked = spoken.read(reading, fields.get("input_messages", ()), "user", _finish_reason)
    system = spoken.read(reading, fields.get("system_messages", ()), "system", _finish_reason)
    if system and not (asked and asked.first_role == "system"):
        asked = asked.after(system) if asked else system
    answered = spoken.read(reading, fields.get("output_messages", ()), "assistant", _finish_reason)
    if asked:
        result.input_messages = asked.json
    if answered:
        result.output_messages = answered.json
    for source in fields.get("tool_definitions", ()):
        value = first(reading, (source,))
        offered = tools.read(value) if value is not None else None
        if offered:
            result.tools_offered, result.tool_definitions = offered
            break
    result.finish_reason = _finish_reason(first(reading, convention.finish_reason))
    if result.finish_reason is None and answered:
        result.finish_reason = answered.finish_reason
    return asked, answered


def _texts(
    result: Canonical, reading: Reading, convention: Convention, asked: Spoken | None, answered: Spoken | None
) -> None:
    kind = result.span_type
    if kind == "tool":
        result.input_text = text(first(reading, convention.tool_arguments))
        result.output_text, reading.denied = results.read(first(reading, convention.tool_result))
        return
    if kind == "llm":
        result.input_text = (
            text(first(reading, convention.input_text)) if asked is None else asked.asked or asked.by_assistant
        )
        result.output_text = text(first(reading, convention.output_text)) if answered is None else answered.answer
        return
    result.input_text = text(first(reading, convention.input_text)) or (asked.by_user if asked else None)
    result.output_text = text(first(reading, convention.output_text)) or (answered.answer if answered else None)


def _usage(result: Canonical, reading: Reading, convention: Convention) -> None:
    fields = convention.fields
    result.max_output_tokens = _count(reading, fields.get("max_output_tokens", ()))
    whole = _count(reading, fields.get("input_tokens", ()))
    result.output_tokens = _count(reading, fields.get("output_tokens", ()))
    cached = _count(reading, fields.get("cached_tokens", ()))
    written = _count(reading, fields.get("cache_write_tokens", ()))
    result.reasoning_tokens = _count(reading, fields.get("reasoning_tokens", ()))
    # More cached than read cannot be: then the sender counts the cached part apart, as Anthropic does.
    apart = convention.cache_excluded or (
        "cached_beside_input" in fields
        and reading.attributes
        and first(reading, fields["cached_beside_input"]) is not None
        and not _openai_names(reading, convention)
    )
    if whole is not None and (apart or (cached or 0) > whole):
        whole += (cached or 0) + (written or 0)
    result.input_tokens, result.cached_tokens = whole, cached
    sent = number(first(reading, fields.get("cost", ())))
    if sent is None and "cost_parts" in fields:
        parts = [number(first(reading, (source,))) for source in fields["cost_parts"]]
        if any(part is not None for part in parts):
            sent = sum(part or 0.0 for part in parts)
    if sent is not None:
        result.cost_usd, result.cost_estimated = sent, False
    elif result.span_type in _PRICED:
        result.cost_usd = cost.estimate(
            result.model,
            result.provider,
            at_unix_nano=reading.span.start_unix_nano,
            input_tokens=whole,
            output_tokens=result.output_tokens,
            cached_tokens=cached,
            cache_write_tokens=written,
        )
        result.cost_estimated = True if result.cost_usd is not None else None


def _openai_names(reading: Reading, convention: Convention) -> bool:
    """Whether Langfuse's usage has OpenAI's names, whose input count includes the cached part."""
    details = reading.parsed("langfuse.observation.usage_details")
    return convention.key == "langfuse" and isinstance(details, dict) and "prompt_tokens" in details


def _count(reading: Reading, sources: tuple[Any, ...]) -> int | None:
    for source in sources:
        value = integer(first(reading, (source,)))
        if value is not None:
            return value
    return None


def _error(result: Canonical, reading: Reading, convention: Convention | None) -> None:
    result.error_type, result.error_message = errors.of(reading, convention)
    if reading.denied:  # what went wrong is in the result, if nowhere else
        result.error_type = result.error_type or "tool_error"
        result.error_message = result.error_message or (result.output_text or "")[: errors.MAX_MESSAGE] or None
    if result.error_type or result.error_message:
        result.error_signature = error_signature(result.error_message or "", result.error_type) or None

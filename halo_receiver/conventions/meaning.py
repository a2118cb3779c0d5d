"""Span → Canonical: what a span means, whichever convention said it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halo_receiver.conventions import cost, errors, message_summary, normalise, results, tools
from halo_receiver.conventions.message_summary import MessageSummary
from halo_receiver.conventions.readings import Reading
from halo_receiver.conventions.signature import error_signature
from halo_receiver.conventions.sources import Source, first
from halo_receiver.conventions.table import Convention, Kind, load
from halo_receiver.conventions.values import dumps, integer, name, number, text, unwrapped
from halo_receiver.span import Canonical, Span

TABLE = load()
MAPPING_VERSION: int = TABLE.version

PRICED = ("llm", "embedding")
_MAX_KNOWN, _MAX_KNOWN_LENGTH = 1_000, 64
_INT64 = 2**63
_MADE = {"image": "image", "speech": "audio", "audio": "audio", "video": "video"}  # gen_ai.output.type → what it is


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
    for field, sources in convention.names:
        setattr(result, field, name(first(reading, sources)))
    result.provider = provider(reading, convention.fields.get("provider", ()))


def provider(reading: Reading, sources: tuple[Source, ...]) -> str | None:
    """Return the name of the first provider that has one."""
    found = (PROVIDERS.of(value) for source in sources if (value := first(reading, (source,))) is not None)
    return next(filter(None, found), None)


class _Known(dict[str, str | None]):
    """What few short texts are called, looked up once each."""

    def __init__(self, look_up: Callable[[Any], str | None]) -> None:
        super().__init__()
        self._look_up = look_up

    def of(self, value: Any) -> str | None:
        """Return what a value is called."""
        return self[value] if type(value) is str and len(value) <= _MAX_KNOWN_LENGTH else self._look_up(value)

    def __missing__(self, value: str) -> str | None:
        found = self._look_up(value)
        if len(self) >= _MAX_KNOWN:
            self.clear()
        self[value] = found
        return found


PROVIDERS = _Known(lambda value: normalise.provider(value, TABLE))
_REASONS = _Known(lambda value: normalise.finish_reason(value, TABLE))
_LISTED_REASONS = _Known(lambda value: normalise.finish_reason([value], TABLE))


def finish_reason(value: Any) -> str | None:
    """Return what a finish reason, or a list of one, is called."""
    if type(value) is list and len(value) == 1:
        return _LISTED_REASONS.of(value[0])
    return None if value is None else _REASONS.of(value)


def _messages(
    result: Canonical, reading: Reading, convention: Convention
) -> tuple[MessageSummary | None, MessageSummary | None]:
    fields = convention.fields
    asked = system = answered = None
    if sources := fields.get("input_messages"):
        asked = message_summary.read(reading, sources, "user", finish_reason)
    if sources := fields.get("system_messages"):
        system = message_summary.read(reading, sources, "system", finish_reason)
    if system and not (asked and asked.first_role == "system"):
        asked = asked.after(system) if asked else system
    if sources := fields.get("output_messages"):
        answered = message_summary.read(reading, sources, "assistant", finish_reason)
    if asked:
        result.input_messages = asked.json
    if answered:
        result.output_messages = answered.json
    if sources := fields.get("output_type"):
        _made(result, reading, first(reading, sources), answered)
    if offered := tool_definitions(reading, fields.get("tool_definitions", ())):
        result.tools_offered, result.tool_definitions = offered
    if sources := fields.get("finish_reason"):
        result.finish_reason = finish_reason(first(reading, sources))
    if result.finish_reason is None and answered:
        result.finish_reason = answered.finish_reason
    return asked, answered


def tool_definitions(reading: Reading, sources: tuple[Source, ...]) -> tuple[list[str], str] | None:
    """Return what `tools.read` does of the first source with tools."""
    found = (tools.read(value) for source in sources if (value := first(reading, (source,))) is not None)
    return next(filter(None, found), None)


def _made(result: Canonical, reading: Reading, kind: Any, answered: MessageSummary | None) -> None:
    """Of a call that was asked for an image or for speech, note that it made one where its content is left out."""
    made = _MADE.get(kind) if isinstance(kind, str) else None
    if made is None or reading.type != "llm" or reading.span.status_code == "ERROR":
        return
    if answered is None or (
        answered.answer is None and '"media":' not in answered.json and '"tool_calls":' not in answered.json
    ):
        result.output_messages = dumps([{"role": "assistant", "content": None, "media": [{"type": made}]}])


def _texts(
    result: Canonical,
    reading: Reading,
    convention: Convention,
    asked: MessageSummary | None,
    answered: MessageSummary | None,
) -> None:
    kind, fields = result.span_type, convention.fields
    if kind == "tool":
        result.input_text = text(first(reading, fields.get("tool_arguments", ())))
        result.output_text, reading.denied = results.read(first(reading, fields.get("tool_result", ())))
        return
    words = answer = None
    if kind != "llm" or asked is None:
        words = text(first(reading, fields.get("input_text", ())))
    if kind != "llm" or answered is None:
        answer = text(first(reading, fields.get("output_text", ())))
    if asked and not words:
        words = asked.asked or asked.by_assistant if kind == "llm" else asked.by_user
    if answered and not answer:
        answer = answered.answer
    result.input_text, result.output_text = words, answer


def _usage(result: Canonical, reading: Reading, convention: Convention) -> None:
    if not convention.counts:
        return
    fields = convention.fields
    result.max_output_tokens = count(reading, fields.get("max_output_tokens", ()))
    whole = count(reading, fields.get("input_tokens", ()))
    result.output_tokens = count(reading, fields.get("output_tokens", ()))
    cached = count(reading, fields.get("cached_tokens", ()))
    written = count(reading, fields.get("cache_write_tokens", ()))
    result.reasoning_tokens = count(reading, fields.get("reasoning_tokens", ()))
    # More cached than read cannot be: then the sender counts the cached part apart, as Anthropic does.
    apart = convention.cache_excluded or cached_beside_input(reading, convention)
    if whole is not None and (apart or (cached or 0) > whole):
        whole += (cached or 0) + (written or 0)
    result.input_tokens, result.cached_tokens = whole, cached
    sent = sent_cost(reading, convention)
    if sent is not None:
        result.cost_usd, result.cost_estimated = sent, False
    elif result.span_type in PRICED:
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


def sent_cost(reading: Reading, convention: Convention) -> float | None:
    """Return the cost as sent, the sum of its parts where the whole is not."""
    fields = convention.fields
    sent = number(first(reading, fields["cost"])) if "cost" in fields else None
    if sent is None and "cost_parts" in fields:
        parts = [number(first(reading, (source,))) for source in fields["cost_parts"]]
        if any(part is not None for part in parts):
            sent = sum(part or 0.0 for part in parts)
    return sent


def cached_beside_input(reading: Reading, convention: Convention) -> bool:
    """Say whether the cached part is counted apart: by names of which Langfuse's are, and OpenAI's in its usage not."""
    sources = convention.fields.get("cached_beside_input")
    if not sources or first(reading, sources) is None:
        return False
    details = reading.parsed("langfuse.observation.usage_details")
    return not (convention.key == "langfuse" and isinstance(details, dict) and "prompt_tokens" in details)


def count(reading: Reading, sources: tuple[Source, ...]) -> int | None:
    """Return the first count."""
    if not sources:
        return None
    value = first(reading, sources)
    if value is None or (type(value) is int and 0 <= value < _INT64):
        return value
    for source in sources:
        value = integer(first(reading, (source,)))
        if value is not None:
            return value
    return None


def _error(result: Canonical, reading: Reading, convention: Convention | None) -> None:
    result.error_type, result.error_message, result.error_signature = failure(reading, convention, result.output_text)


def failure(reading: Reading, convention: Convention | None, output: str | None) -> tuple[str | None, ...]:
    """Return (type, message, signature) of what went wrong; None each where nothing did."""
    kind, message = errors.of(reading, convention)
    if reading.denied:  # what went wrong is in the result, if nowhere else
        kind = kind or "tool_error"
        message = message or (output or "")[: errors.MAX_MESSAGE] or None
    signature = error_signature(message or "", kind) or None if kind or message else None
    return kind, message, signature

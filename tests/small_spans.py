"""Spans of OpenTelemetry's GenAI conventions in a line each, for traces that are made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halo_receiver.span import Scope, Span, SpanEvent
from halo_receiver.store.reader import Reader
from halo_worker.analysis.detectors import run_detectors
from halo_worker.analysis.draft import DraftFinding
from tests.generator.load import reader_of, store

START = 1_790_000_000 * 10**9
MS = 10**6
MODEL = "gpt-4o"


def span(
    trace: int,
    number: int,
    name: str,
    attributes: dict[str, Any] | None = None,
    *,
    parent: int | None = None,
    at: int = 0,
    lasts: int | None = 100,
    status: str = "UNSET",
    message: str = "",
    raised: tuple[str, str] | None = None,
    service: str = "shop",
    scope: str = "test",
    kind: str = "INTERNAL",
    resource: dict[str, Any] | None = None,
) -> Span:
    """A span; `at` and `lasts` in milliseconds, `raised` the type and message of an exception event."""
    begin = START + at * MS
    events = []
    if raised is not None:
        events.append(SpanEvent(begin, "exception", {"exception.type": raised[0], "exception.message": raised[1]}))
    return Span(
        f"{trace:032x}", f"{number:016x}", f"{parent:016x}" if parent is not None else "", name,
        Scope(resource_attributes={"service.name": service, **(resource or {})}, name=scope),
        kind=kind, start_unix_nano=begin, end_unix_nano=0 if lasts is None else begin + lasts * MS, status_code=status,
        status_message=message, attributes=dict(attributes or {}), events=events,
    )  # fmt: skip


def agent(trace: int, number: int = 1, name: str = "support", *, answer: str | None = None, **about: Any) -> Span:
    """An agent's run of two seconds."""
    attributes = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, "gen_ai.provider.name": "openai",
        **({"gen_ai.output.messages": said(answer)} if answer is not None else {}), **about.pop("more", {}),
    }  # fmt: skip
    return span(trace, number, f"invoke_agent {name}", attributes, **{"lasts": 2000, **about})


def said(text: str | None, *, reason: str = "stop", parts: Sequence[dict[str, Any]] = ()) -> str:
    """An assistant's message."""
    words = [] if text is None else [{"type": "text", "content": text}]
    return json.dumps([{"role": "assistant", "parts": [*words, *parts], "finish_reason": reason}])


def asked(text: str) -> str:
    """A user's message."""
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])


def llm(
    trace: int,
    number: int,
    answer: str | None = None,
    *,
    call: tuple[str, Any] | None = None,
    prompt: str | None = None,
    tokens: tuple[int, int] | None = None,
    model: str = MODEL,
    parent: int | None = 1,
    **about: Any,
) -> Span:
    """A model call: its answer, or the tool it asks for (`call`, a name and arguments)."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model,
    }  # fmt: skip
    if call is not None:
        part = {"type": "tool_call", "id": f"call-{number}", "name": call[0], "arguments": call[1]}
        attributes["gen_ai.output.messages"] = said(answer, reason="tool_call", parts=[part])
    elif answer is not None:
        attributes["gen_ai.output.messages"] = said(answer)
    if prompt is not None:
        attributes["gen_ai.input.messages"] = asked(prompt)
    if tokens is not None:
        attributes |= {"gen_ai.usage.input_tokens": tokens[0], "gen_ai.usage.output_tokens": tokens[1]}
    attributes |= about.pop("more", {})
    return span(trace, number, f"chat {model}", attributes, parent=parent, **about)


def tool(
    trace: int, number: int, name: str, arguments: Any, result: Any = None, *, parent: int | None = 1, **about: Any
) -> Span:
    """A tool's run; `result` None records none."""
    attributes = {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name,
        "gen_ai.tool.call.arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
    }  # fmt: skip
    if result is not None:
        attributes["gen_ai.tool.call.result"] = result if isinstance(result, str) else json.dumps(result)
    attributes |= about.pop("more", {})
    return span(trace, number, f"execute_tool {name}", attributes, parent=parent, **about)


def opened(spans: Sequence[Span], directory: Path) -> Reader:
    """Store spans in a segment and open it."""
    return reader_of([store(spans, directory)])


def found(spans: Sequence[Span], directory: Path) -> dict[str, DraftFinding]:
    """What detectors find, by their names."""
    with opened(spans, directory) as reader:
        return {finding.detector_name: finding for finding in run_detectors(reader).findings}

"""A run's own spans, after OpenTelemetry's conventions for GenAI: agents, model calls with their usage, tools.

They are made from the run's record, `trajectory.jsonl`, when it has ended, so that a run that was killed and resumed
shows whole, and telling costs a run nothing. Ids follow from the run's id: telling twice shows once. Only `--telemetry`
asks for it. The spans go where OTEL_EXPORTER_OTLP_ENDPOINT points, as any exporter's would, and else into the store.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, Status, StatusCode, format_trace_id, set_span_in_context

from halo_worker.display import masked_url

SERVICE = "halo"
SCOPE = "halo.engine"
SECONDS = 15.0
BATCH_SPANS = 500
SECOND = 1_000_000_000
MAX_ATTRIBUTES = 200

_ENDPOINT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
# What was said holds text of the traces. It leaves for another place only when the standard variable says so.
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cost_usd": "gen_ai.usage.cost",
}


class _Ids(IdGenerator):
    """Ids that follow from the run's id and the number of the line."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self.line = 0

    def _number(self, what: str, size: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{what} {self._run_id}".encode()).digest()[:size], "big") or 1

    def generate_trace_id(self) -> int:
        return self._number("trace", 16)

    def generate_span_id(self) -> int:
        return self._number(f"span {self.line}", 8)


class _Collect(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class RunTelemetry:
    """One run's record as spans. `content` False leaves out what was said and what tools were asked and answered."""

    def __init__(self, run_id: str, *, content: bool = True) -> None:
        self._ids = _Ids(run_id)
        self._run_id = run_id
        self._content = content
        self._collected = _Collect()
        resource = Resource({"service.name": SERVICE, "halo.run_id": run_id})
        provider = TracerProvider(
            ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids,
            span_limits=SpanLimits(max_span_attributes=MAX_ATTRIBUTES),
        )  # fmt: skip
        provider.add_span_processor(self._collected)
        self._tracer = provider.get_tracer(SCOPE)
        self._agents: dict[str, Span] = {}
        self._ends: dict[str, int] = {}  # of each agent, the last thing that happened in it
        self._root: Span | None = None

    @property
    def trace_id(self) -> str:
        """The trace that the run is."""
        return format_trace_id(self._ids.generate_trace_id())

    def spans(self, trajectory: Path) -> list[ReadableSpan]:
        """Return the spans of a record; what cannot be read in it is passed over."""
        for number, line in enumerate(_lines(trajectory)):
            self._ids.line = number
            tell = {"agent": self._agent, "model": self._model, "tool": self._tool, "note": self._note}.get(
                line["kind"]
            )
            if line["kind"] == "end":
                self._end(line)
            elif tell is not None:
                tell(line)
                self._ends[line.get("agent_id") or ""] = line["at_unix_nano"]
        last = max(self._ends.values(), default=0)
        for agent_id, span in reversed(self._agents.items()):
            span.end(last if span is self._root else self._ends.get(agent_id, last))
        if self._root is not None and self._root not in self._agents.values():
            self._root.end(last)
        return self._collected.spans

    def _agent(self, line: dict[str, Any]) -> None:
        if (agent_id := line.get("agent_id") or "") in self._agents:
            return  # it went on after a resume
        name = line.get("name") or "agent"
        attributes = {
            "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai", "gen_ai.agent.name": name,
            "gen_ai.agent.id": agent_id, "gen_ai.conversation.id": self._run_id,
            "gen_ai.request.model": line.get("model"),
            "halo.depth": line.get("depth"),
        } | self._said("gen_ai.input.messages", "user", line.get("input") or line.get("task"))  # fmt: skip
        parent = self._agents.get(line.get("parent_agent_id") or "", self._root)
        self._agents[agent_id] = self._start(f"invoke_agent {name}", attributes, line["at_unix_nano"], parent)
        self._root = self._root or self._agents[agent_id]

    def _model(self, line: dict[str, Any]) -> None:
        model = line.get("model") or ""
        attributes = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model,
            "gen_ai.response.model": model if not line.get("error") else None,
            "gen_ai.conversation.id": self._run_id, "halo.purpose": line.get("purpose"),
            "halo.attempt": line.get("attempt"),
            "halo.usage.estimated": line.get("estimated"),
        } | {name: line.get(key) for key, name in _USAGE.items()}  # fmt: skip
        if line.get("finish_reason"):
            attributes["gen_ai.response.finish_reasons"] = (line["finish_reason"],)
        attributes |= self._answer(line)
        self._whole(f"chat {model}", attributes, line)

    def _tool(self, line: dict[str, Any]) -> None:
        name = line.get("name") or "tool"
        attributes = {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": line.get("tool_call_id"), "gen_ai.conversation.id": self._run_id,
        }  # fmt: skip
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = _text(line.get("arguments"))
            attributes["gen_ai.tool.call.result"] = _text(line.get("result"))
        self._whole(f"execute_tool {name}", attributes, line)

    def _note(self, line: dict[str, Any]) -> None:
        span = self._agents.get(line.get("agent_id") or "", self._root)
        if span is not None:
            text = {k: v for k, v in line.items() if isinstance(v, str | int | float) and k not in ("kind", "agent_id")}
            span.add_event(f"halo.{line.get('note') or 'note'}", text, line["at_unix_nano"])

    def _end(self, line: dict[str, Any]) -> None:
        if self._root is None:
            return
        self._ends[""] = line["at_unix_nano"]
        for name in ("stopped_by", "reason", "turns"):
            if line.get(name) is not None:
                self._root.set_attribute(f"halo.{name}", line[name])
        if line.get("stopped_by") == "error":
            self._root.set_attribute("error.type", "error")
            self._root.set_status(Status(StatusCode.ERROR, line.get("reason") or "stopped by an error"))

    def _whole(self, name: str, attributes: dict[str, Any], line: dict[str, Any]) -> None:
        """Add a span that began `seconds` before its line was written."""
        ended = line["at_unix_nano"]
        began = ended - int((line.get("seconds") or 0) * SECOND)
        if self._root is None:  # outside of any agent: the direct route, or a map
            self._root = self._start("invoke_agent halo", {
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "halo",
                "gen_ai.conversation.id": self._run_id,
            }, began, None, root=True)  # fmt: skip
        span = self._start(name, attributes, began, self._agents.get(line.get("agent_id") or "", self._root))
        if line.get("error") or line.get("failed"):
            span.set_attribute("error.type", line.get("error_code") or line.get("error_type") or "error")
            span.set_status(Status(StatusCode.ERROR, _text(line.get("error") or line.get("result")) or ""))
        span.end(ended)

    def _start(
        self, name: str, attributes: dict[str, Any], began: int, parent: Span | None, *, root: bool = False
    ) -> Span:
        if root:
            self._ids.line = -1
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(parent) if parent is not None else None,
            attributes={key: value for key, value in attributes.items() if value is not None},
            start_time=began,
        )
        self._ids.line = max(0, self._ids.line)
        return span

    def _said(self, key: str, role: str, text: Any) -> dict[str, str]:
        if not self._content or not text:
            return {}
        return {key: orjson.dumps([{"role": role, "parts": [{"type": "text", "content": _text(text)}]}]).decode()}

    def _answer(self, line: dict[str, Any]) -> dict[str, str]:
        if not self._content:
            return {}
        parts = [{"type": "text", "content": line["content"]}] if line.get("content") else []
        parts += [
            {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
            for call_id, name, arguments in line.get("tool_calls") or ()
        ]
        if not parts:
            return {}
        message = {"role": "assistant", "parts": parts, "finish_reason": line.get("finish_reason") or "stop"}
        return {"gen_ai.output.messages": orjson.dumps([message]).decode()}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:  # the last line of a run that was killed
                continue
            if isinstance(document, dict) and isinstance(document.get("at_unix_nano"), int) and document.get("kind"):
                yield document


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value, default=str).decode()


def encoded(spans: list[ReadableSpan]) -> bytes:
    """Return spans as one OTLP message, to be put into the store like a file of traces."""
    data: bytes = encode_spans(spans).SerializeToString()
    return data


def endpoint(environment: Mapping[str, str] | None = None) -> str | None:
    """Return where the environment says that spans go; None: into the store."""
    return _first(_ENDPOINT, os.environ if environment is None else environment)


def captures_content(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether what was said may leave with the spans, by the variable that instrumentations read."""
    value = (os.environ if environment is None else environment).get(_CONTENT, "").lower()
    return value in ("true", "1", "span_only", "span_and_event")


def export(spans: list[ReadableSpan]) -> str | None:
    """Send spans to the endpoint of the environment. Return what went wrong in words; a run never fails by it."""
    where = endpoint()
    assert where is not None
    try:
        if (_first(_PROTOCOL, os.environ) or "grpc").startswith("http"):
            return _post(spans, where)
        exporter = OTLPSpanExporter(timeout=int(SECONDS))
        try:
            for start in range(0, len(spans), BATCH_SPANS):
                if exporter.export(spans[start : start + BATCH_SPANS]) is not SpanExportResult.SUCCESS:
                    return f"{masked_url(where)} did not take the run's spans"
        finally:
            exporter.shutdown()
    except (OSError, ValueError) as error:
        return f"{masked_url(where)} did not take the run's spans: {error}"
    return None


def _post(spans: list[ReadableSpan], where: str) -> str | None:
    url = os.environ.get(_ENDPOINT[0]) or f"{where.rstrip('/')}/v1/traces"
    if not url.startswith(("http://", "https://")):
        return f"{masked_url(url)} is not an http address, and OTEL_EXPORTER_OTLP_PROTOCOL says http"
    headers = dict(pair.split("=", 1) for pair in (_first(_HEADERS, os.environ) or "").split(",") if "=" in pair)
    request = urllib.request.Request(  # noqa: S310 - the scheme is looked at above
        url, encoded(spans), {"Content-Type": "application/x-protobuf", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return f"{masked_url(url, path=True)} answered {error.code} to the run's spans"


def _first(names: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)

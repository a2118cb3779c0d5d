"""A support agent with one tool, instrumented by hand after OpenTelemetry's GenAI conventions.

pip install openai opentelemetry-sdk opentelemetry-exporter-otlp-proto-grpc
OTEL_SERVICE_NAME=support-api OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 python agent.py "Where is order 17?"
"""

from __future__ import annotations

import json
import sys
from typing import Any

from openai import OpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

MODEL = "gpt-5.4-mini"
MAX_TURNS = 5
ORDERS = {"17": "shipped on Monday"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lookup_order",
            "description": "Look an order up by its number.",
            "parameters": {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]},
        },
    }
]

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = trace.get_tracer("support-agent", tracer_provider=provider)


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def ask(client: OpenAI, messages: list[Any]) -> Any:
    """Call the model inside a span that says what it was told, what it answered and what it used."""
    with tracer.start_as_current_span(f"chat {MODEL}", kind=trace.SpanKind.CLIENT) as span:
        said = [message(one["role"], str(one.get("content") or "")) for one in messages if isinstance(one, dict)]
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": MODEL,
                "gen_ai.input.messages": json.dumps(said),
                "gen_ai.tool.definitions": json.dumps([tool["function"] for tool in TOOLS]),
            }
        )
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)  # type: ignore[call-overload]
        choice = answer.choices[0]
        parts = [{"type": "text", "content": choice.message.content}] if choice.message.content else []
        for call in choice.message.tool_calls or []:
            arguments = json.loads(call.function.arguments)
            parts.append({"type": "tool_call", "id": call.id, "name": call.function.name, "arguments": arguments})
        said_back = [{"role": "assistant", "parts": parts, "finish_reason": choice.finish_reason}]
        span.set_attributes(
            {
                "gen_ai.response.model": answer.model,
                "gen_ai.response.finish_reasons": [choice.finish_reason],
                "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
                "gen_ai.output.messages": json.dumps(said_back),
            }
        )
        return choice.message


def lookup_order(call_id: str, number: str) -> str:
    """Run the tool inside a span of its own; an exception sets the span's status to ERROR."""
    with tracer.start_as_current_span("execute_tool lookup_order") as span:
        span.set_attributes(
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "lookup_order",
                "gen_ai.tool.call.id": call_id,
                "gen_ai.tool.call.arguments": json.dumps({"number": number}),
            }
        )
        if number not in ORDERS:
            raise LookupError(f"there is no order {number}")
        span.set_attribute("gen_ai.tool.call.result", ORDERS[number])
        return ORDERS[number]


def run(question: str) -> str:
    """Answer one question: the root span of a trace."""
    client = OpenAI()
    with tracer.start_as_current_span("invoke_agent support-agent") as span:
        span.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support-agent"})
        messages: list[Any] = [{"role": "user", "content": question}]
        for _ in range(MAX_TURNS):
            said = ask(client, messages)
            if not said.tool_calls:
                return said.content or ""
            messages.append(said.model_dump(exclude_none=True))
            for call in said.tool_calls:
                try:
                    result = lookup_order(call.id, **json.loads(call.function.arguments))
                except (LookupError, TypeError, ValueError) as error:
                    result = f"error: {error}"
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        return "I could not find that out."


if __name__ == "__main__":
    print(run(" ".join(sys.argv[1:]) or "Where is order 17?"))
    provider.shutdown()

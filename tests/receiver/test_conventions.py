"""Every convention fills the same columns.

The payloads here are put together by hand from the keys and value forms in genai_attributes.yaml and
observed_keys.json; those that real SDKs sent are in test_conventions_captures.py and test_conventions_sdks.py.
"""

# ruff: noqa: E501 - a payload reads best on one line

from __future__ import annotations

import json
from typing import Any

import pytest

from halo_receiver.conventions import MAPPING_VERSION, canonical, from_log
from halo_receiver.conventions.meaning import TABLE
from halo_receiver.span import FINISH_REASONS, SPAN_TYPES, Canonical, LogRecord, Scope, Span, SpanEvent

PARTS_IN = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]}])
PARTS_OUT = json.dumps(
    [{"role": "assistant", "parts": [{"type": "text", "content": "Rain."}], "finish_reason": "stop"}]
)
CALL_OUT = json.dumps(
    [{"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "get", "arguments": {"city": "Paris"}}]}]
)
TOOLS = json.dumps([{"type": "function", "name": "get", "parameters": {"type": "object"}}])
CHAT_REQUEST = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Weather in Paris?"}]}
CHAT_ANSWER = {"model": "gpt-4o-2024-08-06", "choices": [
    {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"city": "Paris"}'}}]}}]}  # fmt: skip
USAGE = {"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30}


def span(
    scope: str, name: str = "x", status: str = "UNSET", message: str = "", events: Any = (), **attributes: Any
) -> Span:
    given = {key.replace("__", "."): value for key, value in attributes.pop("a", {}).items()} | attributes
    return Span("1" * 32, "2" * 16, "", name, Scope(name=scope), attributes=given, status_code=status,
                status_message=message, events=[SpanEvent(0, n, a) for n, a in events])  # fmt: skip


CASES: list[tuple[str, Span, dict[str, Any]]] = [
    (
        "otel_genai",  # structured values on the span, as the convention prefers
        span("any", a={"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
                       "gen_ai.input.messages": json.loads(PARTS_IN), "gen_ai.output.messages": json.loads(CALL_OUT),
                       "gen_ai.tool.definitions": json.loads(TOOLS), "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
                       "gen_ai.response.finish_reasons": ["tool_call"], "gen_ai.request.max_tokens": 99,
                       "gen_ai.conversation.id": "s", "enduser.id": "u", "gen_ai.usage.cost": 0.5, **USAGE}),
        {"span_type": "llm", "model": "gpt-4o", "provider": "openai", "tools_offered": ["get"], "finish_reason": "tool_calls",
         "max_output_tokens": 99, "session_id": "s", "user_id": "u", "cost_usd": 0.5, "cost_estimated": False,
         "input_text": "Weather in Paris?", "output_text": None, "input_tokens": 120, "output_tokens": 30},
    ),
    (
        "otel_genai",
        span("any", a={"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "q", "gen_ai.retrieval.documents": [{"id": "d", "score": 0.5}]}),
        {"span_type": "retriever", "input_text": "q", "output_text": '[{"id":"d","score":0.5}]'},
    ),
    (
        "otel_genai",  # a guardrail's own result: no verdict of ours, and no failure
        span("any", name="apply_guardrail Bedrock", a={"gen_ai.operation.name": "apply_guardrail", "gen_ai.provider.name": "aws.bedrock",
             "gen_ai.guardrail.result.type": "action", "gen_ai.guardrail.result.value": "GUARDRAIL_INTERVENED", "gen_ai.guardrail.source": "INPUT"}),
        {"span_type": "guardrail", "output_text": "GUARDRAIL_INTERVENED", "error_type": None},
    ),
    (
        "otel_genai",
        span("any", name="handle_conversation_turn", a={"gen_ai.operation.name": "handle_conversation_turn", "gen_ai.conversation.id": "c"}),
        {"span_type": "workflow", "session_id": "c"},
    ),
    (
        "otel_genai",
        span("any", name="execute_tool load", a={"gen_ai.operation.name": "load_skill", "gen_ai.skill.name": "refunds"}),
        {"span_type": "tool", "tool_name": "refunds"},
    ),
    (
        "otel_genai_legacy",
        span("opentelemetry.instrumentation.openai_v2", status="ERROR", message="Error code: 429 - slow down",
             events=[("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps(CHAT_REQUEST["messages"])}),
                     ("gen_ai.content.completion", {"gen_ai.completion": '[{"role": "assistant", "content": "Rain."}]'})],
             a={"gen_ai.system": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "error.type": "RateLimitError",
                "gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.completion_tokens": 3}),
        {"span_type": "llm", "provider": "openai", "input_text": "Weather in Paris?", "output_text": "Rain.", "input_tokens": 12, "output_tokens": 3,
         "error_type": "RateLimitError", "error_message": "Error code: 429 - slow down", "error_signature": "RateLimitError: Error code: 429 - slow down"},
    ),
    (
        "mcp",
        span("mcp.client", name="tools/call get", status="ERROR",
             a={"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get", "mcp.session.id": "m",
                "jsonrpc.request.id": 7, "gen_ai.tool.call.arguments": {"city": "Paris"}, "gen_ai.tool.call.result": "no such city", "error.type": "tool_error"}),
        {"span_type": "tool", "tool_name": "get", "tool_call_id": None, "session_id": "m", "input_text": '{"city":"Paris"}',
         "output_text": "no such city", "error_type": "tool_error", "error_signature": "tool_error"},
    ),
    (
        "mcp", span("x", a={"mcp.method.name": "resources/read", "rpc.response.status_code": "-32602"}, status="ERROR"),
        {"span_type": "retriever", "error_type": "-32602"},
    ),
    (
        "openinference",
        span("openinference.instrumentation.langchain", a={"openinference.span.kind": "LLM", "llm.provider": "azure", "llm.model_name": "gpt-4o",
             "llm.input_messages.10.message.role": "user", "llm.input_messages.10.message.content": "last",
             "llm.input_messages.2.message.role": "system", "llm.input_messages.2.message.content": "first",
             "llm.output_messages.0.message.role": "assistant",
             "llm.output_messages.0.message.contents.0.message_content.type": "text",
             "llm.output_messages.0.message.contents.0.message_content.text": "Look:",
             "llm.output_messages.0.message.contents.1.message_content.type": "image",
             "llm.token_count.prompt": 10, "llm.token_count.completion": 2.0, "llm.cost.prompt": 0.1, "llm.cost.completion": 0.2,
             "llm.invocation_parameters": '{"max_completion_tokens": 64}', "session.id": "s"}),
        {"span_type": "llm", "provider": "azure.ai.openai", "input_text": "last", "output_text": "Look:", "input_tokens": 10, "output_tokens": 2,
         "cost_usd": pytest.approx(0.3), "max_output_tokens": 64, "session_id": "s",
         "input_messages": '[{"role":"system","content":"first"},{"role":"user","content":"last"}]',
         "output_messages": '[{"role":"assistant","content":"Look:","media":[{"type":"image"}]}]'},
    ),
    (
        "openinference",  # tool.parameters holds the schema here, input.value the arguments
        span("openinference.instrumentation.openai_agents", name="get", a={"openinference.span.kind": "TOOL", "tool.name": "get",
             "tool.parameters": '{"type": "object"}', "input.value": '{"city": "Paris"}', "output.value": "18"}),
        {"span_type": "tool", "tool_name": "get", "input_text": '{"city": "Paris"}', "output_text": "18"},
    ),
    (
        "openllmetry",
        span("opentelemetry.instrumentation.openai.v1", a={"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.response.model": "gpt-4o",
             "gen_ai.input.messages": PARTS_IN, "gen_ai.output.messages": PARTS_OUT, "gen_ai.usage.reasoning_tokens": 5,
             "traceloop.association.properties.session_id": "s", "traceloop.association.properties.user_id": "u",
             "traceloop.entity.name": "not the agent", **USAGE}),
        {"span_type": "llm", "input_text": "Weather in Paris?", "output_text": "Rain.", "reasoning_tokens": 5, "session_id": "s",
         "user_id": "u", "agent_name": None, "finish_reason": "stop"},
    ),
    (
        "openllmetry",
        span("traceloop.tracer", a={"traceloop.span.kind": "tool", "traceloop.entity.name": "get", "traceloop.entity.input": '{"args": ["Paris"], "kwargs": {}}',
             "traceloop.entity.output": '"rain"'}),
        {"span_type": "tool", "tool_name": "get", "input_text": '{"args": ["Paris"], "kwargs": {}}', "output_text": "rain"},
    ),
    (
        "openllmetry_legacy",
        span("opentelemetry.instrumentation.openai.v1", a={"llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o",
             "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.", "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "Weather?",
             "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": "tool_calls",
             "gen_ai.completion.0.tool_calls.0.id": "c1", "gen_ai.completion.0.tool_calls.0.name": "get", "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Paris"}',
             "llm.request.functions.0.name": "get", "llm.request.functions.0.parameters": '{"type": "object"}',
             "gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.completion_tokens": 3, "gen_ai.usage.cache_read_input_tokens": 4}),
        {"span_type": "llm", "provider": "openai", "tools_offered": ["get"], "finish_reason": "tool_calls", "input_tokens": 12, "output_tokens": 3,
         "cached_tokens": 4, "input_text": "Weather?",
         "output_messages": '[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","name":"get","arguments":{"city":"Paris"}}],"finish_reason":"tool_calls"}]'},
    ),
    (
        "vercel_ai", span("ai", name="ai.generateObject", a={"ai.operationId": "ai.generateObject.doGenerate", "ai.model.provider": "anthropic.messages", "ai.model.id": "claude-sonnet-4-5",
                          "ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"Weather?"}]}]', "ai.response.object": '{"sky":"rain"}',
                          "ai.usage.promptTokens": 9, "ai.usage.completionTokens": 2}),
        {"span_type": "llm", "provider": "anthropic", "input_text": "Weather?", "output_text": '{"sky":"rain"}', "input_tokens": 9, "output_tokens": 2},
    ),
    (
        "vercel_ai_7", span("gen_ai", a={"gen_ai.operation.name": "agent_step"}), {"span_type": "chain"},
    ),
    (
        "langfuse", span("langfuse-sdk", name="worker", status="UNSET", a={"langfuse.observation.type": "agent", "langfuse.observation.level": "ERROR",
                         "langfuse.observation.status_message": "gave up", "langfuse.observation.input": '"go"', "langfuse.observation.output": '{"a": 1}'}),
        {"span_type": "agent", "agent_name": "worker", "input_text": "go", "output_text": '{"a": 1}', "error_message": "gave up"},
    ),
    (
        "mlflow",
        span("mlflow.openai", status="ERROR", a={"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanInputs": json.dumps({**CHAT_REQUEST, "tools": [{"type": "function", "function": {"name": "get"}}]}),
             "mlflow.spanOutputs": json.dumps(CHAT_ANSWER), "mlflow.llm.provider": '"openai"', "model": '"gpt-4o"', "max_tokens": "200",
             "mlflow.chat.tokenUsage": '{"input_tokens": 120, "output_tokens": 30, "cache_read_input_tokens": 64}', "mlflow.llm.cost": '{"total_cost": 0.25}',
             "session.id": '"s"'},
             events=[("exception", {"exception.type": "openai.APIError", "exception.message": "boom"})]),
        {"span_type": "llm", "model": "gpt-4o-2024-08-06", "provider": "openai", "tools_offered": ["get"], "finish_reason": "tool_calls", "max_output_tokens": 200,
         "input_tokens": 120, "cached_tokens": 64, "cost_usd": 0.25, "session_id": "s", "input_text": "Weather in Paris?",
         "error_type": "APIError", "error_message": "boom"},
    ),
    (
        "mlflow", span("mlflow.tracing.provider", name="get", a={"mlflow.spanType": '"TOOL"', "mlflow.spanInputs": '{"city": "Paris"}', "mlflow.spanOutputs": '"rain"'}),
        {"span_type": "tool", "tool_name": "get", "input_text": '{"city": "Paris"}', "output_text": "rain"},
    ),
    (
        "logfire",
        span("logfire.openai", a={"logfire.msg": "Chat Completion with 'gpt-4o'", "logfire.span_type": "span", "logfire.level_num": 9, "gen_ai.operation.name": "chat", "gen_ai.system": "openai",
             "gen_ai.request.model": "gpt-4o", "request_data": json.dumps({**CHAT_REQUEST, "max_tokens": 50}), "response_data": json.dumps({"message": {"role": "assistant", "content": "Rain."}}),
             "gen_ai.response.finish_reasons": '["stop"]', "gen_ai.usage.raw": '{"prompt_tokens_details": {"cached_tokens": 64}}', "operation.cost": 0.001, **USAGE}),
        {"span_type": "llm", "finish_reason": "stop", "cached_tokens": 64, "cost_usd": 0.001, "input_text": "Weather in Paris?", "output_text": "Rain.", "max_output_tokens": 50},
    ),
    (
        "logfire", span("logfire", a={"logfire.msg": "GET /", "logfire.span_type": "span", "logfire.level_num": 17}), {"span_type": None, "input_text": "GET /"},
    ),
    (
        "pydantic_ai",  # format 1
        span("pydantic-ai", name="chat gpt-4o", a={"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "agent_name": "a",
             "events": json.dumps([{"event.name": "gen_ai.user.message", "content": "Weather?", "role": "user", "gen_ai.message.index": 0},
                                   {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "Rain."}}]),
             "model_request_parameters": '{"function_tools": [{"name": "get", "parameters_json_schema": {"type": "object"}}]}', **USAGE}),
        {"span_type": "llm", "agent_name": "a", "tools_offered": ["get"], "input_text": "Weather?", "output_text": "Rain.",
         "tool_definitions": '[{"name":"get","parameters":{"type":"object"}}]'},
    ),
    (
        "pydantic_ai", span("pydantic-ai", name="running tool", a={"gen_ai.tool.name": "get", "gen_ai.tool.call.id": "c1", "tool_arguments": '{"city":"Paris"}', "tool_response": "rain"}),
        {"span_type": "tool", "tool_name": "get", "tool_call_id": "c1", "input_text": '{"city":"Paris"}', "output_text": "rain"},
    ),
    (
        "pydantic_ai", span("pydantic-ai", name="agent run", a={"agent_name": "a", "model_name": "gpt-4o", "final_result": "Rain.",
                            "all_messages_events": json.dumps([{"event.name": "gen_ai.user.message", "content": "Weather?", "role": "user"}]), **USAGE}),
        {"span_type": "agent", "agent_name": "a", "output_text": "Rain.", "input_text": "Weather?", "input_tokens": 120},
    ),
    (
        "langsmith",
        span("langsmith", a={"langsmith.span.kind": "llm", "gen_ai.operation.name": "chat", "gen_ai.system": "openai", "langsmith.metadata.ls_provider": "openai", "gen_ai.response.model": "gpt-4o",
             "gen_ai.prompt": json.dumps({"messages": CHAT_REQUEST["messages"]}), "gen_ai.completion": json.dumps(CHAT_ANSWER),
             "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 64}", "gen_ai.usage.output_token_details": "{'reasoning': 12}",
             "langsmith.trace.session_name": "project", "langsmith.metadata.session_id": "s", "langsmith.metadata.user_id": "u", "langsmith.metadata.ls_max_tokens": 77, **USAGE}),
        {"span_type": "llm", "provider": "openai", "session_id": "s", "user_id": "u", "cached_tokens": 64, "reasoning_tokens": 12, "max_output_tokens": 77,
         "input_text": "Weather in Paris?", "finish_reason": "tool_calls"},
    ),
    (
        "langsmith",  # its exception.type is always "Exception"; the traceback is in the message
        span("langsmith", name="get", status="ERROR", a={"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings", "gen_ai.system": "langchain", "gen_ai.prompt": '{"query": "q"}'},
             events=[("exception", {"exception.type": "Exception", "exception.message": "ValueError('x')Traceback (most recent call last):\n\n  File \"/a.py\", line 3, in f\n    g()\n\nValueError: x 17"})]),
        {"span_type": "retriever", "provider": None, "input_text": '{"query": "q"}', "error_type": "ValueError", "error_signature": "ValueError: x <n>"},
    ),
    (
        "strands",
        span("strands.telemetry.tracer", name="chat", a={"gen_ai.operation.name": "chat", "gen_ai.system": "strands-agents", "gen_ai.request.model": "us.anthropic.claude",
             "gen_ai.usage.cache_read_input_tokens": 64, "session.id": "s", **USAGE},
             events=[("gen_ai.system.message", {"content": "Be brief."}), ("gen_ai.user.message", {"content": '[{"text": "Weather?"}]'}),
                     ("gen_ai.choice", {"finish_reason": "tool_use", "message": '[{"toolUse": {"toolUseId": "t1", "name": "get", "input": {"city": "Paris"}}}]'})]),
        {"span_type": "llm", "provider": None, "finish_reason": "tool_calls", "cached_tokens": 64, "input_text": "Weather?", "session_id": "s",
         "output_messages": '[{"role":"assistant","content":null,"tool_calls":[{"id":"t1","name":"get","arguments":{"city":"Paris"}}],"finish_reason":"tool_calls"}]',
         "input_messages": '[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"}]'},
    ),
    (
        "strands",  # the status is OK although the tool failed
        span("strands.telemetry.tracer", name="execute_tool get", status="OK", a={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get", "gen_ai.tool.call.id": "t1", "gen_ai.tool.status": "error"},
             events=[("gen_ai.tool.message", {"role": "tool", "content": '{"city": "Paris"}', "id": "t1"}), ("gen_ai.choice", {"message": '[{"text": "Error: ValueError - tool blew up"}]', "id": "t1"})]),
        {"span_type": "tool", "input_text": '{"city": "Paris"}', "output_text": "Error: ValueError - tool blew up", "error_type": "tool_error"},
    ),
    (
        "strands", span("strands.telemetry.tracer", a={"gen_ai.operation.name": "execute_event_loop_cycle"}), {"span_type": "chain"},
    ),
    (
        "google_adk",
        span("gcp.vertex.agent", name="call_llm", a={"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.gemini", "gen_ai.request.model": "gemini-2.5-pro", "gen_ai.agent.name": "a",
             "gcp.vertex.agent.llm_request": json.dumps({"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}], "config": {"system_instruction": "Be brief.", "tools": [{"function_declarations": [{"name": "get"}]}]}}),
             "gcp.vertex.agent.llm_response": json.dumps({"content": {"role": "model", "parts": [{"function_call": {"name": "get", "args": {"city": "Paris"}}}]}}),
             "gen_ai.usage.reasoning.output_tokens": 12, "gen_ai.response.finish_reasons": ["STOP"], **USAGE}),
        {"span_type": "llm", "provider": "gcp.gemini", "agent_name": "a", "tools_offered": ["get"], "reasoning_tokens": 12, "finish_reason": "stop", "input_text": "Weather?",
         "input_messages": '[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"}]',
         "output_messages": '[{"role":"assistant","content":null,"tool_calls":[{"id":null,"name":"get","arguments":{"city":"Paris"}}]}]'},
    ),
    (
        "google_adk", span("gcp.vertex.agent", name="execute_tool get", a={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get", "gcp.vertex.agent.tool_call_args": '{"city": "Paris"}', "gcp.vertex.agent.tool_response": '{"sky": "rain"}'}),
        {"span_type": "tool", "input_text": '{"city": "Paris"}', "output_text": '{"sky": "rain"}'},
    ),
    (
        "claude_code",  # detailed beta tracing
        span("com.anthropic.claude_code.tracing", a={"span.type": "llm_request", "model": "claude-sonnet-4-5", "new_context": "[USER]\nRun it", "response.model_output": "Done.", "success": False,
             "error": "Overloaded", "input_tokens": 56, "cache_read_tokens": 64, "cache_creation_tokens": 10, "output_tokens": 30, "tools": '[{"name": "Bash", "hash": "1"}]', "stop_reason": "max_tokens"}),
        {"span_type": "llm", "input_tokens": 130, "input_text": "Run it", "output_text": "Done.", "error_message": "Overloaded", "tools_offered": ["Bash"], "finish_reason": "length"},
    ),
    (
        "claude_code", span("com.anthropic.claude_code.tracing", a={"span.type": "tool", "tool_name": "Read", "tool_input": '[TOOL INPUT: Read]\n{"path": "/a"}', "new_context": "[TOOL RESULT: Read]\nhello"}),
        {"span_type": "tool", "tool_name": "Read", "input_text": '{"path": "/a"}', "output_text": "hello"},
    ),
    (
        "codex", span("codex_exec", name="codex.sampling", a={"model": "gpt-5", "conversation.id": "s", "codex.usage.reasoning_output_tokens": 12, "gen_ai.usage.cache_read.input_tokens": 64, **USAGE}),
        {"span_type": "llm", "model": "gpt-5", "session_id": "s", "input_tokens": 120, "reasoning_tokens": 12, "cached_tokens": 64},
    ),
    (
        "codex", span("codex_exec", name="session_task.turn", a={"model": "gpt-5", "codex.turn.token_usage.input_tokens": 240}), {"span_type": "agent", "input_tokens": 240, "cost_usd": None},
    ),
    (
        "codex", span("codex_exec", name="exec_command", a={"tool_name": "shell", "call_id": "c1"}), {"span_type": "tool", "tool_name": "shell", "tool_call_id": "c1"},
    ),
    (
        "codex", span("codex_exec", name="build_tool_specs", a={"thread.id": 3}), {"span_type": None, "model": None},
    ),
    (
        "laminar",
        span("lmnr.tracer", a={"lmnr.span.type": "LLM", "gen_ai.system": "openai", "gen_ai.response.model": "gpt-4o", "gen_ai.input.messages": json.dumps(CHAT_REQUEST["messages"]),
             "gen_ai.output.messages": json.dumps(CHAT_ANSWER["choices"]), "gen_ai.tool.definitions": TOOLS, "lmnr.association.properties.session_id": "s",
             "gen_ai.usage.cache_read_input_tokens": 64, "gen_ai.usage.reasoning_tokens": 12, "gen_ai.usage.cost": 0.5, **USAGE}),
        {"span_type": "llm", "session_id": "s", "cached_tokens": 64, "reasoning_tokens": 12, "cost_usd": 0.5, "finish_reason": "tool_calls", "tools_offered": ["get"],
         "output_messages": '[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","name":"get","arguments":{"city":"Paris"}}],"finish_reason":"tool_calls"}]'},
    ),
    (
        "laminar", span("lmnr.tracer", name="get", a={"lmnr.span.type": "TOOL", "lmnr.span.input": '{"city": "Paris"}', "lmnr.span.output": '"rain"'}),
        {"span_type": "tool", "tool_name": "get", "output_text": "rain"},
    ),
    (
        "inference",  # HALO's own projection, alone
        span("x", a={"inference.observation_kind": "LLM", "inference.llm.model_name": "gpt-5.4", "inference.llm.provider": "openai", "inference.llm.input_tokens": 100,
                     "inference.llm.output_tokens": 20, "inference.llm.cached_input_tokens": 40, "inference.llm.cost.total": 0.01, "inference.agent_name": "a", "inference.session_id": "s"}),
        {"span_type": "llm", "model": "gpt-5.4", "input_tokens": 100, "output_tokens": 20, "cached_tokens": 40, "cost_usd": 0.01, "agent_name": "a", "session_id": "s"},
    ),
    (
        "openinference",  # and beside OpenInference, which names the span's type
        span("x", a={"openinference.span.kind": "AGENT", "inference.agent_name": "a", "inference.llm.model_name": "gpt-5.4"}), {"span_type": "agent", "agent_name": "a", "model": "gpt-5.4"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("convention", "given", "expected"), CASES, ids=[f"{c}-{i}" for i, (c, _, _) in enumerate(CASES)]
)
def test_a_convention_fills_the_canonical_columns(convention: str, given: Span, expected: dict[str, Any]) -> None:
    found = canonical(given)
    assert found.convention == convention
    assert {key: getattr(found, key) for key in expected} == expected


def test_every_convention_has_a_payload() -> None:
    """openai_agents_native never reaches OTLP; the rest of genai_attributes.yaml is here."""
    assert {convention for convention, _, _ in CASES} == set(TABLE.conventions)


def test_every_convention_of_the_facts_is_mapped(shared: Any) -> None:
    yaml = pytest.importorskip("yaml")
    facts = yaml.safe_load((shared / "conventions" / "genai_attributes.yaml").read_text())
    assert set(facts["conventions"]) - {"openai_agents_native"} <= set(TABLE.conventions)


def test_the_mapping_yields_only_types_and_reasons_that_are_contracted() -> None:
    kinds = {kind for c in TABLE.conventions.values() for k in c.kinds for kind in (*k.values.values(), k.type) if kind}
    assert kinds <= set(SPAN_TYPES)
    assert set(TABLE.finish_reasons.values()) <= set(FINISH_REASONS)
    assert MAPPING_VERSION >= 1


def test_a_span_of_no_convention_is_left_alone() -> None:
    plain = span(
        "io.opentelemetry.http", name="GET /", a={"http.request.method": "GET", "session.id": "s", "model": "x"}
    )
    assert canonical(plain) == Canonical()


def test_a_plain_spans_error_is_still_told() -> None:
    found = canonical(span("http", status="ERROR", message="connect to 10.0.0.7:5432 refused"))
    assert (found.convention, found.error_message) == (None, "connect to 10.0.0.7:5432 refused")
    assert found.error_signature == "connect to <address> refused"


def test_a_handled_exception_on_an_ok_span_is_no_error() -> None:
    given = span(
        "pydantic-ai", status="OK", events=[("exception", {"exception.type": "KeyError"})], a={"agent_name": "a"}
    )
    assert canonical(given).error_type is None


def log(event: str, body: Any = None, scope: str = "s", **attributes: Any) -> LogRecord:
    return LogRecord(Scope(name=scope), trace_id="1" * 32, span_id="2" * 16, event_name=event, body=body,
                     attributes={key.replace("__", "."): value for key, value in attributes.items()})  # fmt: skip


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (log("gen_ai.user.message", {"content": "Weather?"}), {"input_text": "Weather?"}),
        (log("gen_ai.system.message", {"content": "Be brief."}), {"input_messages": '[{"role":"system","content":"Be brief."}]'}),
        (log("gen_ai.tool.message", {"content": "rain", "id": "c1"}),
         {"input_messages": '[{"role":"tool","content":"rain","tool_call_id":"c1"}]', "input_text": "rain"}),
        (log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Rain."}}),
         {"output_text": "Rain.", "finish_reason": "stop"}),
        (log("gen_ai.client.operation.exception", exception__type="openai.RateLimitError", exception__message="slow down"),
         {"error_type": "RateLimitError", "error_message": "slow down", "error_signature": "RateLimitError: slow down"}),
        (log("gen_ai.evaluation.result", gen_ai__evaluation__name="Relevance", gen_ai__evaluation__score__value=0.2),
         {"evaluation": {"name": "Relevance", "score": 0.2, "label": None, "explanation": None}}),
        (log("codex.tool_result", call_id="c1", tool_name="shell", arguments='{"cmd": "ls"}', output="No such file", success="false", conversation__id="s"),
         {"tool_name": "shell", "tool_call_id": "c1", "output_text": "No such file", "error_type": "tool_error", "session_id": "s"}),
        (log("codex.user_prompt", prompt="fix it"), {"input_text": "fix it"}),
        (log("claude_code.api_error", error="Overloaded", status_code=529), {"error_type": "529", "error_message": "Overloaded"}),
        (log("", "claude_code.user_prompt", prompt="go"), {"input_text": "go"}),
    ],
)  # fmt: skip
def test_a_log_says_what_its_span_does_not(record: LogRecord, expected: dict[str, Any]) -> None:
    found = from_log(record) or {}
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("record", [log("", "request served"), log("app.started", {"a": 1}), LogRecord(Scope())])
def test_other_logs_say_nothing_of_their_span(record: LogRecord) -> None:
    assert from_log(record) is None

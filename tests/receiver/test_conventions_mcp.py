"""MCP as real SDKs send it means what the client asked and the server answered. See tests/data/sdk/README.md."""

# ruff: noqa: E501 - a case reads best on one line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halo_receiver.conventions import canonical
from halo_receiver.conventions.results import read as read_result
from halo_receiver.decode import decode_traces
from halo_receiver.span import Canonical, Scope, Span

SDK = Path(__file__).parents[1] / "data" / "sdk"
WEATHER = '{"temp_c": 18, "sky": "rain"}'
FULL = "no table for 4 is free at Chez Paul"
CITY, TABLE = ('{"city":"Paris"}', '{"restaurant":"Chez Paul","guests":4}')

# By file: convention, how many spans tell of one call (client, transport, server), how many of these hold arguments and
# results, and the type and message of the error of the call that was refused (by the client's span, by the server's).
CASES: dict[str, tuple[str, int, int, tuple[str | None, str | None], tuple[str | None, str | None]]] = {
    "mcp-2.3.0": ("mcp", 2, 0, (None, None), ("tool_error", None)),
    "fastmcp-4.2.3": ("mcp", 3, 0, ("tool_error", FULL), ("ToolError", FULL)),
    "splunk-otel-instrumentation-fastmcp-0.1.1": ("mcp", 2, 2, ("ToolError", FULL), ("ToolError", FULL)),
    "splunk-otel-instrumentation-fastmcp-0.2.2": ("mcp", 4, 2, ("ToolError", FULL), ("ToolError", FULL)),
    "opentelemetry-instrumentation-mcp-0.62.4": ("openllmetry", 2, 2, ("tool_error", FULL), ("ToolError", FULL)),
    "traceloop-instrumentation-mcp-0.27.0": ("openllmetry", 1, 1, (None, FULL), (None, FULL)),
    "logfire-5.4.0-mcp": ("logfire", 2, 2, ("tool_error", f"Error executing tool book_table: {FULL}"), ("tool_error", f"Error executing tool book_table: {FULL}")),
}  # fmt: skip
# error types of a resource that is not there, where they are no McpError
NO_RESOURCE = {
    **dict.fromkeys(("mcp-2.3.0", "fastmcp-4.2.3", "traceloop-instrumentation-mcp-0.27.0"), {"-32602"}),
    "splunk-otel-instrumentation-fastmcp-0.2.2": {"McpError", "NotFoundError"},
}
WITHOUT_RESOURCES = "splunk-otel-instrumentation-fastmcp-0.1.1"


def spans_of(name: str) -> list[tuple[Span, Canonical]]:
    decoded = decode_traces((SDK / f"{name}.pb").read_bytes(), encoding="protobuf")
    assert not decoded.rejected
    return sorted(((span, canonical(span)) for span in decoded.spans), key=lambda one: one[0].start_unix_nano)


def tools_of(name: str, tool: str) -> list[Canonical]:
    return [meaning for _, meaning in spans_of(name) if meaning.span_type == "tool" and meaning.tool_name == tool]


@pytest.mark.parametrize("name", CASES)
def test_spans_are_of_their_convention_and_every_call_names_its_tool(name: str) -> None:
    convention, many, _, _, _ = CASES[name]
    found = spans_of(name)
    assert all(m.convention == convention for span, m in found if "mcp.method.name" in span.attributes)
    assert {m.convention for span, m in found if span.scope.name.endswith(("mcp", "mcp-python-sdk"))} <= {convention}
    assert {m.tool_name for _, m in found if m.span_type == "tool"} == {"get_weather", "book_table", "get_wether"}
    assert len(tools_of(name, "get_weather")) == len(tools_of(name, "book_table")) == many
    assert {m.tool_name for _, m in found if m.span_type != "tool"} == {None}


@pytest.mark.parametrize("name", CASES)
def test_a_call_that_worked_has_arguments_and_a_result_and_no_error(name: str) -> None:
    calls = tools_of(name, "get_weather")
    holding = [tool for tool in calls if tool.input_text]
    assert [((tool.input_text or "").replace(": ", ":"), tool.output_text) for tool in holding] == [
        (CITY, WEATHER)
    ] * CASES[name][2]
    for tool in calls:
        assert tool.provider != "mcp"  # it names the protocol
        assert tool in holding or tool.output_text is None
        assert (tool.error_type, tool.error_message, tool.error_signature) == (None, None, None)


@pytest.mark.parametrize("name", CASES)
def test_a_tool_that_refuses_is_an_error_however_its_span_ends(name: str) -> None:
    """To the protocol such a call was answered: some spans stay UNSET, and only the result says `isError`."""
    _, _, content, client, server = CASES[name]
    calls = tools_of(name, "book_table")
    assert (calls[0].error_type, calls[0].error_message) == client
    assert (calls[-1].error_type, calls[-1].error_message) == server
    assert calls[-1].error_signature
    if content:
        assert (calls[0].input_text or "").replace(": ", ":").replace(", ", ",") == TABLE
    unknown = [m for m in tools_of(name, "get_wether") if m.error_type or m.error_message]
    assert unknown
    said = ("Unknown tool", "Tool get_wether not found")
    assert all(any(words in m.error_message for words in said) for m in unknown if m.error_message)


@pytest.mark.parametrize("name", [name for name in CASES if name != WITHOUT_RESOURCES])
def test_resources_are_retrieved_prompts_are_prompts_and_the_rest_is_neither(name: str) -> None:
    found = spans_of(name)
    read = [m for span, m in found if "resources/read" in span.name]
    assert {m.span_type for m in read} == {"retriever"}
    asked = {m.input_text for m in read if m.input_text}
    assert asked == (set() if name == "mcp-2.3.0" else {"weather://paris/history", "weather://atlantis/history"})
    failed = [m for m in read if m.error_message]
    assert failed
    assert all("weather://atlantis/history" in (m.error_message or "") for m in failed)
    assert {m.error_type for m in failed} == NO_RESOURCE.get(name, {"McpError"})
    assert {m.span_type for span, m in found if "prompts/get" in span.name} == {"prompt"}
    assert any("forecast" in (m.input_text or "") for span, m in found if "prompts/get" in span.name)
    assert {m.span_type for span, m in found if "tools/list" in span.name or "initialize" in span.name} == {"other"}


def test_a_request_number_is_no_call_id_and_a_connection_is_a_session_where_nothing_else_is() -> None:
    attributes = {"mcp.method.name": "tools/call", "jsonrpc.request.id": "3", "mcp.session.id": "connection"}
    span = Span("", "", "", "tools/call get", Scope(), attributes=attributes)
    assert (canonical(span).tool_call_id, canonical(span).session_id) == (None, "connection")
    span.attributes = attributes | {"gen_ai.conversation.id": "talk", "gen_ai.tool.call.id": "call_1"}
    assert (canonical(span).tool_call_id, canonical(span).session_id) == ("call_1", "talk")


TEXT = {"type": "text", "text": "18 degrees"}


@pytest.mark.parametrize(
    ("value", "said", "failed"),
    [
        ({"content": [TEXT], "isError": False}, "18 degrees", False),
        ('{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "isError": true}', "a\nb", True),
        ({"content": [], "isError": True}, '{"content":[],"isError":true}', True),
        ('[{"type": "text", "text": "18 degrees"}]', "18 degrees", False),
        (
            '{"content": [{"type": "image", "data": "eA=="}], "isError": true}',
            '{"content": [{"type": "image", "data": "eA=="}], "isError": true}',
            True,
        ),
        # not of MCP: a page that was fetched, a record with such a member, words
        ('{"content": "isError: true", "isError": true}', '{"content": "isError: true", "isError": true}', False),
        ('{"content": [{"type": "text", "text": "a"}]}', '{"content": [{"type": "text", "text": "a"}]}', False),
        ('{"content": [', '{"content": [', False),
        ("isError", "isError", False),
        ([1, 2], "[1,2]", False),
        (None, None, False),
    ],
)
def test_results_in_parts_are_their_text_and_say_whether_they_failed(
    value: Any, said: str | None, failed: bool
) -> None:
    assert read_result(value) == (said, failed)

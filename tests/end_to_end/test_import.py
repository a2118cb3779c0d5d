"""Payloads that real SDKs sent, imported from files: each with its model, its tokens and its tool calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Halo
from tests.sampled import sampled

# What the stub said on every successful call (README of the captures): 120 in, 64 of it cached, 30 out.
SUMMARY = """
SELECT count(*) AS spans, count(DISTINCT trace_id) AS traces, count_if(status_code = 'ERROR') AS errors,
       count_if(span_type = 'llm' AND input_tokens IS NOT NULL) AS counted_calls,
       sum(input_tokens) FILTER (span_type = 'llm') AS input, sum(output_tokens) FILTER (span_type = 'llm') AS output,
       list_sort(list(DISTINCT model) FILTER (span_type = 'llm' AND input_tokens IS NOT NULL)) AS models,
       list_sort(list(DISTINCT tool_name) FILTER (span_type = 'tool')) AS tools
FROM spans
"""
GPT = "gpt-4o-mini-2024-07-18"
EXPECTED = {
    # capture: spans, traces, errors, LLM calls with tokens, input, output, a model, a tool
    "openinference-openai": (10, 2, 2, 4, 480, 120, GPT, "get_weather"),
    "otel-genai-openai": (6, 6, 1, 4, 480, 120, GPT, None),
    "otel-genai-openai-agents": (5, 2, 1, 0, None, None, None, "get_weather"),
    "vercel-ai-sdk-6-otlpjson": (10, 4, 2, 3, 360, 90, GPT, "get_weather"),
    "pydantic-ai-fmt6": (9, 3, 4, None, None, None, GPT, "get_weather"),
    "claude-code": (6, 1, 0, 2, 260, 60, "claude-sonnet-4-5", "Bash"),
    "langfuse": (10, 1, 2, None, None, None, GPT, "get_weather"),
}


@pytest.mark.parametrize("name", sampled(EXPECTED, 3))
def test_a_capture_is_visible_with_its_model_tokens_and_tool_calls(halo: Halo, captures: Path, name: str) -> None:
    files = sorted(captures.joinpath(name).glob("*-*.pb"))
    halo("import", *(str(path) for path in files if not path.name.startswith("metrics")))
    spans, traces, errors, calls, tokens_in, tokens_out, model, tool = EXPECTED[name]
    [row] = halo.query(SUMMARY)
    assert (row["spans"], row["traces"], row["errors"]) == (spans, traces, errors)
    if calls is not None:
        assert (row["counted_calls"], row["input"], row["output"]) == (calls, tokens_in, tokens_out)
    if model:
        assert any(found.startswith(model) for found in row["models"]), row
    if tool:
        assert tool in row["tools"], row


def test_the_same_payload_in_both_encodings_is_the_same(halo: Halo, captures: Path) -> None:
    """OTLP/JSON and protobuf of one capture: importing the second adds nothing that can be seen."""
    folder = captures / "openinference-openai"
    halo("import", str(folder / "traces-001.pb"))
    before = halo.query("SELECT * EXCLUDE (received_at) FROM spans ORDER BY span_id")
    halo("import", str(folder / "traces-001.json"))
    assert halo.query("SELECT * EXCLUDE (received_at) FROM spans ORDER BY span_id") == before


def test_what_a_collector_merged_comes_apart_by_service(halo: Halo, captures: Path) -> None:
    halo("import", str(captures / "via-rotel-collector"))
    rows = halo.query("SELECT service_name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 2")
    assert [row["n"] for row in rows] in ([9, 10, 14], [33], [9, 24], [14, 19], [10, 23])
    assert halo.query("SELECT count(*) AS n, count(DISTINCT trace_id) AS traces FROM spans") == [{"n": 33, "traces": 9}]


def test_a_bad_line_is_named_and_the_rest_is_kept(halo: Halo, tmp_path: Path) -> None:
    good = (
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%032x","spanId":"%016x","name":"a",'
        '"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000001000000000"}]}]}]}\n'
    )
    file = tmp_path / "lines.jsonl"
    file.write_text(good % (1, 1) + "{not json\n" + good % (2, 2))
    done = halo.attempt("import", str(file))
    assert done.returncode == 0, done.stderr.decode()
    assert "line 2" in done.stderr.decode() or ":2" in done.stderr.decode()
    assert halo.query("SELECT count(*) AS n FROM spans") == [{"n": 2}]

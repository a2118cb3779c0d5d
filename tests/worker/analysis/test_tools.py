"""The tools of a window: exact totals, one byte budget each, advice instead of floods, errors that say what to do.

Several are cases of the published engine; where ours differs on purpose, the test says so.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from halo_worker.analysis.tools.overview import _shrunk, dataset_overview
from halo_worker.rlm.tool import CODE_BYTES, MODEL_BYTES, ToolError
from tests.worker.analysis.conftest import BIG, HOSTILE, LONG, NOVEL, ORDER, Bench
from tests.worker.analysis.windows import span_id, trace_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACES = 33
NAMES = [
    "get_dataset_overview",
    "query_traces",
    "count_traces",
    "view_trace",
    "view_spans",
    "search_trace",
    "search_span",
    "search_spans",
    "query_sql",
    "synthesize_traces",
]


async def test_names_and_arguments_are_those_of_the_published_engine(bench: Bench) -> None:
    assert list(bench.tools) == NAMES
    arguments = {name: set(tool.spec.parameters["properties"]) for name, tool in bench.tools.items()}
    assert arguments["get_dataset_overview"] == {"filters"}
    assert arguments["query_traces"] >= {"filters", "limit", "offset"}
    assert arguments["view_spans"] == {"trace_id", "span_ids"}
    assert arguments["search_trace"] == {"trace_id", "regex_pattern", "context_buffer_chars", "max_matches"}
    assert arguments["search_span"] == arguments["search_trace"] | {"span_id"}
    assert arguments["synthesize_traces"] == {"trace_ids", "focus"}


async def test_what_every_turn_carries_is_small(bench: Bench) -> None:
    """The published engine sends 13.6 KB of tool schemas with every request."""
    specs = [[tool.spec.name, tool.spec.description, tool.spec.parameters] for tool in bench.tools.values()]
    assert len(json.dumps(specs, separators=(",", ":"))) < 4_000


async def test_the_overview_counts_and_its_sample_ids_can_be_viewed(bench: Bench) -> None:
    found = await bench("get_dataset_overview", CODE_BYTES, filters={})
    assert (found["traces"], found["spans"], found["error_traces"]) == (TRACES, 30 * 3 + 900 + 3, 3)
    assert found["services"] == {"service-0": 17, "service-1": 16}
    assert 1 <= len(found["sample_trace_ids"]) <= 20
    for one in found["sample_trace_ids"][:3]:
        assert f"trace {one}" in await bench("view_trace", trace_id=one)


async def test_error_groups_add_up_to_the_error_spans_and_mask_what_changes(bench: Bench) -> None:
    found = await bench("get_dataset_overview", filters={})
    assert sum(group["spans"] for group in found["error_groups"]) == found["error_spans"] == 3
    [group] = found["error_groups"]
    assert group["traces"] == 3, "three messages with three numbers are one cause"
    nothing = await bench("get_dataset_overview", filters={"agent_names": ["nobody"]})
    assert nothing["traces"] == 0
    assert "error_groups" not in nothing


async def test_filters_hold_together(bench: Bench) -> None:
    async def count(**filters: Any) -> int:
        total: int = (await bench("count_traces", filters=filters))["total"]
        return total

    assert await count() == TRACES
    assert await count(has_errors=True) == 3
    assert await count(has_errors=False) == TRACES - 3
    assert await count(has_errors=True, service_names=["service-1"]) == 3
    assert await count(has_errors=True, service_names=["service-0"]) == 0
    assert await count(has_errors=True, agent_names=["agent-0"]) == 2
    assert await count(tool_names=["refund"]) == 30
    assert await count(span_names=["step 3"]) == 1
    assert await count(min_spans=100) == 1
    assert await count(model_names=["gpt-4o-mini"]) == 32
    assert await count(model_names=["other"]) == 0
    assert await count(regex_pattern="exceeds the limit") == 3
    assert await count(regex_pattern="exceeds the limit", agent_names=["agent-1"]) == 1
    assert await count(regex_pattern="END is near") == 1
    first = (await bench("query_traces", filters={}, sort="oldest", limit=1))["traces"][0]
    assert await count(end_time_lte=first["start_time"][:19] + "Z") == 0
    assert await count(start_time_gte=first["start_time"][:19] + "Z") == TRACES
    assert await count(start_time_gte="9999-01-01") == 0
    assert await count(min_tokens=10**30) == 0


async def test_a_semantic_failure_is_no_error_status(bench: Bench) -> None:
    """has_errors is the OpenTelemetry status and nothing else; what was said needs a search."""
    assert (await bench("count_traces", filters={"has_errors": True, "regex_pattern": "all is well"}))["total"] == 0
    assert (await bench("search_spans", pattern="all is well"))["traces_total"] == 1


async def test_a_filter_by_hypothesis(bench: Bench) -> None:
    bench.desk.hypotheses = {"D1": [trace_id(3), trace_id(5)]}
    assert (await bench("count_traces", filters={"hypothesis": "D1"}))["total"] == 2
    with pytest.raises(ToolError, match="there are D1"):
        await bench("count_traces", filters={"hypothesis": "D9"})


async def test_pages_join_without_gap_or_overlap(bench: Bench) -> None:
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await bench("query_traces", filters={}, limit=10, offset=offset, sort="oldest")
        seen += [row["trace_id"] for row in page["traces"]]
        assert page["total"] == TRACES
        assert page["has_more"] == ("next_offset" in page)
        offset = page.get("next_offset")
    assert len(seen) == len(set(seen)) == TRACES


async def test_a_page_that_does_not_fit_says_where_to_go_on(bench: Bench) -> None:
    page = await bench("query_traces", 2_000, filters={}, limit=500)
    assert 0 < len(page["traces"]) < TRACES
    assert page["next_offset"] == len(page["traces"])
    assert f"offset {page['next_offset']}" in page["left_out"]


async def test_a_trace_is_shown_in_order_as_steps_with_texts_and_errors(bench: Bench) -> None:
    first, *steps = (await bench("view_trace", trace_id=trace_id(3))).splitlines()
    assert re.fullmatch(f"trace {trace_id(3)} of 20\\d\\d-\\d\\d-\\d\\dT\\d\\d:\\d\\dZ", first), (
        "what it says of days is judged by"
    )
    assert steps[0] == f"S1 {span_id(3, 0)} agent agent (agent-0) | given refund order 3 | returns your refund is done"
    assert steps[1].startswith(f"S2 {span_id(3, 1)} llm gpt-4o-mini (agent-0) | ")
    assert steps[2].endswith("tool refund (agent-0) ERROR | given hello | error refund 3 exceeds the limit")


async def test_long_texts_are_shown_by_their_beginning_and_end(bench: Bench) -> None:
    text = await bench("view_trace", trace_id=trace_id(LONG))
    assert "It was a long night." in text
    assert "the END is near" in text
    assert "…[cut: " in text


async def test_view_spans_shows_more_of_a_text_than_view_trace(bench: Bench) -> None:
    short = await bench("view_trace", trace_id=trace_id(LONG))
    long = await bench("view_spans", CODE_BYTES, trace_id=trace_id(LONG), span_ids=[span_id(LONG, 0)])
    assert len(long["spans"][0]["output_text"]) > len(short)


async def test_view_spans_holds_attributes_and_names_unknown_ids(bench: Bench) -> None:
    found = await bench("view_spans", trace_id=trace_id(3), span_ids=[span_id(3, 2), "feedfacefeedface"])
    assert found["unknown_span_ids"] == ["feedfacefeedface"]
    assert found["spans"][0]["attributes"]["openinference.span.kind"] == "TOOL"


async def test_a_large_trace_comes_in_pages_and_says_where_the_errors_are(bench: Bench) -> None:
    """The published engine answers with sizes and no spans."""
    seen: list[str] = []
    at, last = 1, 0
    while last < 900:
        text = await bench("view_trace", trace_id=trace_id(BIG), steps=f"{at}..900")
        seen += re.findall(r"^S(\d+) ", text, re.MULTILINE)
        last = int(seen[-1])
        assert ("left_out" in text) == (last < 900)
        assert last == 900 or f"steps='{last + 1}..900' goes on" in text
        at = last + 1
    assert seen == [str(number) for number in range(1, 901)], "each step once"
    text = await bench("view_trace", 650, trace_id=trace_id(3))
    assert "(with an error: S3)" in text
    assert "S41 " in await bench("view_trace", trace_id=trace_id(BIG), steps=["S41", "S43"])
    for wrong in ("x", "9..3", "0"):
        with pytest.raises(ToolError, match=r"such as 41\.\.90"):
            await bench("view_trace", trace_id=trace_id(BIG), steps=wrong)
    with pytest.raises(ToolError, match="the trace has 3 steps"):
        await bench("view_trace", trace_id=trace_id(3), steps="7..9")


async def test_code_gets_a_trace_as_text_and_as_data(bench: Bench) -> None:
    found = await bench("view_trace", CODE_BYTES, trace_id=trace_id(BIG))
    assert len(found["spans"]) == 900, "code has room for it"
    assert not found["has_more"]
    assert len(re.findall(r"^S\d+ ", found["steps"], re.MULTILINE)) == 900
    some = await bench("view_trace", CODE_BYTES, trace_id=trace_id(BIG), steps="41..43")
    assert [one["name"] for one in some["spans"]] == ["step 0", "step 1", "step 2"]
    [row] = (await bench("query_traces", filters={"span_names": ["step 3"]}))["traces"]
    columns = (await bench("query_sql", sql="SELECT * FROM traces"))["columns"]
    assert row.keys() - {"duration_ms"} <= set(columns), "fields of tools have the names that SQL knows"


async def test_short_lists_of_names_are_whole_where_examples_give_way(bench: Bench) -> None:
    whole = await bench("get_dataset_overview", CODE_BYTES, filters={})
    short = await dataset_overview(bench.desk, {}, 4_500, aim=800)
    assert len(short["sample_trace_ids"]) < len(whole["sample_trace_ids"])
    assert {name: short[name] for name in ("agents", "models", "services", "tools")} == {
        name: whole[name] for name in ("agents", "models", "services", "tools")
    }


async def test_what_an_overview_leaves_out_is_counted_whatever_left_it_out(bench: Bench) -> None:
    whole = await bench("get_dataset_overview", CODE_BYTES, filters={})
    few = await dataset_overview(bench.desk, {}, 400)
    for name in ("tools", "error_groups"):
        left = re.findall(r"(\d+) more for size", few[f"{name}_left_out"])
        assert [int(one) for one in left] == [len(whole[name]) - len(few[name])], few


async def test_names_beyond_the_listed_are_added_to_what_is_dropped_for_size() -> None:
    result = {"tools": [{"name": "a long name " * 4} for _ in range(15)], "tools_left_out": 20}
    assert _shrunk(result, 600, 600)["tools_left_out"] == "27 more for size; query_sql groups by them"


async def test_a_search_counts_exactly_also_when_it_shows_few(bench: Bench) -> None:
    found = await bench("search_trace", trace_id=trace_id(BIG), regex_pattern="hel+o", max_matches=5)
    assert (found["match_count"], found["returned_match_count"], found["has_more"]) == (900, 5, True)
    found = await bench("search_trace", trace_id=trace_id(LONG), regex_pattern="long night")
    assert found["match_count"] == 2 * 20_000
    assert found["has_more"]


async def test_a_match_has_its_field_place_and_context(bench: Bench) -> None:
    found = await bench("search_trace", trace_id=trace_id(LONG), regex_pattern="END", context_buffer_chars=10)
    [match] = found["matches"]
    assert match["field"] == "input_text"
    assert match["span_id"] == span_id(LONG, 1)
    assert match["match_start_char"] == len(NOVEL) + 4
    assert match["matched_context"] == "ight. the END is near"
    assert match["match_text"] == "END"


@pytest.mark.parametrize("pattern", [".", ".*", "(?s).*", "x*", "(It|was)", r"\b", "$"])
async def test_no_pattern_floods_the_context(bench: Bench, pattern: str) -> None:
    """The published engine answers '.' with 1.28 MB."""
    found = await bench(
        "search_trace", trace_id=trace_id(LONG), regex_pattern=pattern, max_matches=500, context_buffer_chars=2000
    )
    assert found["match_count"] >= found["returned_match_count"]


async def test_a_pattern_that_explodes_elsewhere_is_linear_here(bench: Bench) -> None:
    found = await bench("search_trace", trace_id=trace_id(LONG), regex_pattern=r"(\w+\s*)+\$NEVER")
    assert found["match_count"] == 0


async def test_search_span_looks_at_one_span(bench: Bench) -> None:
    found = await bench(
        "search_span", trace_id=trace_id(3), span_id=span_id(3, 2), regex_pattern=r"exceeds (the|a) limit"
    )
    assert {match["span_id"] for match in found["matches"]} == {span_id(3, 2)}
    assert {"status_message", "error_message"} & {match["field"] for match in found["matches"]}


async def test_search_spans_counts_the_window_and_shows_one_of_each_trace_first(bench: Bench) -> None:
    found = await bench("search_spans", pattern="refund", limit=10)
    assert (found["spans_total"], found["traces_total"], found["has_more"]) == (90, 30, True)
    assert len({row["trace_id"] for row in found["spans"]}) == len(found["spans"]) == 10
    found = await bench("search_spans", pattern="refund", filters={"has_errors": True})
    assert (found["spans_total"], found["traces_total"]) == (9, 3)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("view_trace", {"trace_id": "no-such-trace"}, "query_traces"),
    ("view_trace", {}, "trace_id is missing"),
    ("view_spans", {"trace_id": trace_id(3), "span_ids": ["nope"]}, "view_trace and search_trace return"),
    ("view_spans", {"trace_id": trace_id(3), "span_ids": []}, "1 to 200"),
    ("view_spans", {"trace_id": trace_id(3), "span_ids": ["x"] * 201}, "at most 200"),
    ("search_span", {"trace_id": trace_id(3), "span_id": "nope", "regex_pattern": "x"}, "no span"),
    ("search_trace", {"trace_id": trace_id(3), "regex_pattern": "("}, "RE2"),
    ("search_trace", {"trace_id": trace_id(3), "regex_pattern": ""}, "regex_pattern is missing"),
    ("search_trace", {"trace_id": trace_id(3), "regex_pattern": "(?=x)"}, "no lookaround"),
    ("search_spans", {"pattern": "["}, "RE2"),
    ("count_traces", {"filters": {"regex_pattern": "("}}, "missing"),
    ("count_traces", {"filters": {"agents": ["x"]}}, "agent_names"),
    ("count_traces", {"filters": {"start_time_gte": "yesterday"}}, "ISO-8601"),
    ("count_traces", {"filters": {"agent_names": 3}}, "list of names"),
    ("count_traces", {"filters": ["x"]}, "an object"),
    ("query_traces", {"filters": {}, "sort": "best"}, "newest"),
    ("query_sql", {"sql": "DROP TABLE spans"}, "SELECT"),
    ("query_sql", {}, "sql is missing"),
    ("query_sql", {"sql": "SELECT nope FROM spans"}, "nope"),
    ("synthesize_traces", {"trace_ids": []}, "list of ids"),
    ("synthesize_traces", {"trace_ids": ["nope"]}, "no trace"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), WRONG)
async def test_a_wrong_call_is_answered_with_what_to_do(
    bench: Bench, name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ToolError) as told:
        await bench(name, **arguments)
    assert words in str(told.value)
    assert len(str(told.value)) < 1500


async def test_a_beginning_that_one_trace_has_is_enough(bench: Bench) -> None:
    with pytest.raises(ToolError, match="more than one trace"):
        await bench("view_trace", trace_id=trace_id(3)[:8])


async def test_sql_rows_are_bounded_and_counted(bench: Bench) -> None:
    found = await bench("query_sql", sql="SELECT trace_id, name, output_text FROM spans ORDER BY start_time")
    assert found["columns"] == ["trace_id", "name", "output_text"]
    assert found["total"] == 993
    assert f"{993 - len(found['rows'])} rows" in found["left_out"]
    found = await bench("query_sql", sql="SELECT output_text FROM spans WHERE length(output_text) > 100000")
    assert found["total"] == 1
    assert found["rows"][0][0].endswith(" more]")
    whole = await bench("query_sql", CODE_BYTES, sql="SELECT output_text FROM spans WHERE length(output_text) > 100000")
    assert whole["rows"] == [[NOVEL]], "a variable of the interpreter holds it all"
    assert (found["cut_cells"], whole["has_more"]) == (1, False)


async def test_code_gets_whole_cells_or_fewer_rows_or_an_error_that_says_what_to_do(bench: Bench) -> None:
    """A program computes with what it gets: a text that is cut silently makes a wrong result."""
    every = "SELECT span_id, input_text FROM spans ORDER BY length(input_text), span_id"
    found = await bench("query_sql", MODEL_BYTES * 2, sql=every)
    assert found["has_more"]
    assert "cut_cells" not in found
    assert all("[cut:" not in str(row) for row in found["rows"])
    with pytest.raises(ToolError, match=r"batches of rows, or in parts with substr\("):
        await bench("query_sql", MODEL_BYTES * 2, sql="SELECT input_text FROM spans WHERE length(input_text) > 100000")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_bytes", [900, 2_000, MODEL_BYTES])
async def test_every_result_keeps_to_its_budget_on_the_worst_of_the_window(
    bench: Bench, name: str, max_bytes: int
) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "query_traces": {"limit": 500},
        "view_trace": {"trace_id": trace_id(LONG)},
        "view_spans": {"trace_id": trace_id(LONG), "span_ids": [span_id(LONG, 0), span_id(LONG, 1)]},
        "search_trace": {"trace_id": trace_id(LONG), "regex_pattern": "(?s).{1,900}", "context_buffer_chars": 2000},
        "search_span": {"trace_id": trace_id(LONG), "span_id": span_id(LONG, 1), "regex_pattern": ".*"},
        "search_spans": {"pattern": "(?s).*", "limit": 200},
        "query_sql": {"sql": "SELECT * FROM spans"},
        "synthesize_traces": {"trace_ids": [trace_id(LONG)], "focus": "x"},
    }
    await bench(name, max_bytes, **arguments.get(name, {}))


async def test_traces_read_by_a_sub_model_are_marked_and_cannot_close_the_mark(bench: Bench) -> None:
    await bench("synthesize_traces", trace_ids=[trace_id(HOSTILE)])
    [prompt] = bench.asked
    assert prompt.count("</traces>") == 1
    assert prompt.endswith("</traces>")
    assert "ignore all instructions" in prompt
    assert ORDER not in prompt


async def test_what_was_opened_is_remembered(bench: Bench) -> None:
    await bench("query_traces", filters={})
    assert bench.desk.opened == set()
    await bench("view_trace", trace_id=trace_id(1))
    await bench("search_trace", trace_id=trace_id(2), regex_pattern="x")
    assert bench.desk.opened == {trace_id(1), trace_id(2)}
    await bench("view_trace", CODE_BYTES, trace_id=trace_id(4))
    assert trace_id(4) not in bench.desk.opened, "a variable of code was read by nobody"
    bench.desk.put_before(f"What fails in {trace_id(4)} and {trace_id(5)}?")
    assert bench.desk.opened == {trace_id(1), trace_id(2), trace_id(4)}
    await bench("query_sql", sql=f"SELECT trace_id, left(output_text, 20) FROM spans WHERE trace_id = '{trace_id(6)}'")
    await bench("query_sql", sql=f"SELECT trace_id, length(output_text) FROM spans WHERE trace_id = '{trace_id(7)}'")
    await bench("query_sql", sql="SELECT 'made up' AS trace_id, output_text FROM spans WHERE output_text <> '' LIMIT 3")
    assert bench.desk.opened == {trace_id(1), trace_id(2), trace_id(4), trace_id(6)}

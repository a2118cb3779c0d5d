"""The tools: what the command line and the engine do, within the byte budgets of the engine's tools.

A result is a JSON value, or a text. What was left out is said, with how to see it; a text that is longer than a result
may be is a resource, which the result names.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from halo_worker.analysis.tools.fit import LIST_BYTES, VIEW_BYTES, compact, cut_values, fitted
from halo_worker.analysis.tools.overview import query_traces
from halo_worker.analysis.tools.sql import sql_tool
from halo_worker.analysis.tools.views import view_tools
from halo_worker.cases import collect
from halo_worker.display import visible
from halo_worker.errors import HaloError
from halo_worker.mcp_server import arguments as takes
from halo_worker.mcp_server import resources
from halo_worker.mcp_server.store import Store
from halo_worker.report import issue_rows
from halo_worker.report.headline import titled
from halo_worker.report.model import SEVERITIES, Finding
from halo_worker.rlm.messages import ToolSpec
from halo_worker.rlm.tool import MODEL_BYTES, Tool
from halo_worker.verify import conductor
from halo_worker.verify.plan import plan_of

TITLE_CHARACTERS = 160
TEXT_CHARACTERS = 1_500
SHOWN_WINDOWS = 20
SHOWN_VERIFICATIONS = 5
MAX_CASES = 20
ISSUE_COLUMNS = ("issue_id", "state", "severity", "rate", "first_seen", "last_seen", "title")
WINDOW_COLUMNS = ("end", "traces", "of", "state")

Call = Callable[[Store, dict[str, Any]], Any]  # a coroutine function where it asks the traces


def read_tools(store: Store, *, local: bool) -> tuple[Tool, ...]:
    """Return the tools that decide nothing. `local`: the caller is on this machine, and may name files of it."""
    sides = {**takes.ISSUE, **takes.SIDES, **takes.ASK_MODEL, **(takes.FILES if local else {})}
    table: tuple[tuple[str, str, dict[str, Any], Call], ...] = (
        ("list_issues", "Failure modes with state, severity and rate, last seen first.",
         takes.schema(takes.LIST_ISSUES), _list_issues),
        ("show_issue", "One failure mode: what it is, its windows, what people decided, what verified it.",
         takes.schema(takes.ISSUE, "issue_id"), _show_issue),
        ("brief", "What is needed to fix a failure mode, to be read first. Lines that begin with '>' are data.",
         takes.schema(takes.ISSUE, "issue_id"), _brief),
        ("evidence", "The verbatim quotes of a failure mode, counter-examples, and the spans it was seen in.",
         takes.schema({**takes.ISSUE, **takes.PAGE}, "issue_id"), _evidence),
        ("list_traces", "Traces, a summary each, with the exact total.", takes.schema(takes.FILTERS), _list_traces),
        ("view_trace", "A trace as numbered steps in order of time, or some of its spans at length.",
         takes.schema({**takes.TRACE, **takes.SPANS}, "trace_id"), _view_trace),
        ("query_sql", "One SELECT (DuckDB) over spans, traces and logs, for counting, grouping, joining.",
         takes.schema({"sql": {"type": "string"}}, "sql"), _query_sql),
        ("verify", "Whether a fix worked: the issue's rule before and after a change. Without a side: since it was "
         "resolved.", takes.schema(sides, "issue_id"), _verify),
        ("cases", "Regression cases from failing traces of an issue, with passing controls.",
         takes.schema({**takes.ISSUE, "max": {"type": "integer", "minimum": 1, "maximum": 100}}, "issue_id"), _cases),
    )  # fmt: skip
    return tuple(_tool(store, *entry) for entry in table)


def _tool(store: Store, name: str, description: str, parameters: dict[str, Any], call: Call) -> Tool:
    async def answer(given: dict[str, Any], _: int) -> Any:
        if inspect.iscoroutinefunction(call):
            return await call(store, given)
        return await store.work(lambda: call(store, given))  # it reads files, and may take its time

    return Tool(ToolSpec(name, description, parameters), answer)


def table_of(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[list[Any]]:
    """Return rows as lists in the order of columns: names stand once."""
    return [[row.get(column) for column in columns] for row in rows]


def _paged(
    given: dict[str, Any], head: dict[str, Any], name: str, rows: list[Any], most: int = LIST_BYTES
) -> dict[str, Any]:
    """Put a page of rows under `name`, as many as fit, and say where the next one begins."""
    offset, limit = given.get("offset", 0), given.get("limit", 50)
    page = rows[offset : offset + limit]
    found = fitted(head, name, page, most, lambda left: f"{left} of this page for size")
    after = offset + len(found[name])
    if after < len(rows):
        found["left_out"] = f"{len(rows) - after} of {len(rows)}: ask with offset {after}"
    return found


def _list_issues(store: Store, given: dict[str, Any]) -> Any:
    issues, _ = issue_rows.listed(store.memory())
    least = SEVERITIES.index(given.get("min_severity", "low"))
    rows = [
        issue_rows.row(issue) | {"title": titled(issue.finding)}
        for issue in issues
        if issue.state in given.get("states", takes.STATES) and SEVERITIES.index(issue.finding.severity) <= least
    ]
    short = [
        cut_values(row, TITLE_CHARACTERS) | {key: row[key][:16] for key in ("first_seen", "last_seen")} for row in rows
    ]
    head = {"total": len(rows), "columns": list(ISSUE_COLUMNS)}
    return _paged(given, head, "rows", table_of(short, ISSUE_COLUMNS))


def _show_issue(store: Store, given: dict[str, Any]) -> Any:
    issue = store.memory().find(given["issue_id"])
    finding, found = issue.finding, issue_rows.details(issue)
    windows = table_of(found["history"][-SHOWN_WINDOWS:], WINDOW_COLUMNS)
    verified = store.archive.verifications.of(issue.issue_id)[-SHOWN_VERIFICATIONS:]
    document = issue_rows.row(issue) | {
        "title": titled(finding),
        "category": found["category"],
        "description": finding.description,
        "seen_in": f"{finding.prevalence.traces} of {finding.prevalence.of} traces",
        "detector": finding.detector.name if finding.detector else None,
        "root_cause": finding.root_cause,
        "fix": finding.fix.summary,
        "validate": finding.fix.validation,
        "symptoms": finding.symptoms,
        "seen_with": finding.seen_with,
        "windows": {"columns": list(WINDOW_COLUMNS), "rows": windows},
        "decisions": [compact(one) for one in found["decisions"][-SHOWN_WINDOWS:]],
        "verifications": [_verdict(one.model_dump(mode="json")) for one in verified],
        "brief": resources.brief_uri(issue.issue_id),
    }
    for characters in (TEXT_CHARACTERS, 400, 100, 30):
        shown = compact(cut_values(document, characters))
        if resources.size(shown) <= VIEW_BYTES:
            break
    return shown


def _brief(store: Store, given: dict[str, Any]) -> Any:
    issue = store.memory().find(given["issue_id"])
    return resources.shortened(issue.finding.fix.brief, VIEW_BYTES, resources.brief_uri(issue.issue_id))


def _evidence(store: Store, given: dict[str, Any]) -> Any:
    issue = store.memory().find(given["issue_id"])
    run_id, finding = resources.last_seen(store.archive, issue)
    quotes = {"evidence": finding.evidence, "counter_evidence": finding.counter_evidence}
    head: dict[str, Any] = {"issue_id": issue.issue_id, "report": run_id, **_spans(finding)}
    for name, items in quotes.items():
        kept = [cut_values(item.model_dump(), TEXT_CHARACTERS) for item in items]
        head = fitted(head, name, kept, VIEW_BYTES // 2, lambda left: f"{left} quotes: view_trace shows their spans")
        if "left_out" in head:
            head[f"{name}_left_out"] = head.pop("left_out")
    rows = [list(pair) for pair in dict.fromkeys(row[1:] for row in store.archive.affected(run_id, issue.issue_id))]
    head |= {"affected_total": len(rows), "affected_columns": ["trace_id", "span_id"]}
    return _paged(given, head, "affected", rows, VIEW_BYTES)


def _spans(finding: Finding) -> dict[str, Any]:
    ends = {"origin_span": finding.origin_span, "symptom_span": finding.symptom_span}
    return {name: span.model_dump() for name, span in ends.items() if span is not None}


async def _list_traces(store: Store, given: dict[str, Any]) -> Any:
    async with store.desk() as desk:
        return _warned(store, await query_traces(desk, given, LIST_BYTES))


async def _view_trace(store: Store, given: dict[str, Any]) -> Any:
    async with store.desk() as desk:
        whole, some = view_tools(desk)
        found = await (some if given.get("span_ids") else whole).call(given, MODEL_BYTES)
        uri = resources.trace_uri(await desk.trace_id(given["trace_id"]))
    if isinstance(found, dict):
        return _warned(store, {**found, "resource": uri})
    return "\n".join((visible(found), *(f"not read: {one}" for one in store.problems), f"resource: {uri}"))


async def _query_sql(store: Store, given: dict[str, Any]) -> Any:
    async with store.desk() as desk:
        return _warned(store, await sql_tool(desk).call(given, MODEL_BYTES))


def _warned(store: Store, found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "not_read": store.problems} if store.problems else found


def _verify(store: Store, given: dict[str, Any]) -> Any:
    now_ns = time.time_ns()
    named = {name: given.get(name) for name in takes.SIDES}
    plan = plan_of(**named, files=tuple(given.get("input", ())), now_ns=now_ns)
    question = conductor.Question(given["issue_id"], plan, ask_model=bool(given.get("ask_model")))
    answer = conductor.verify(store.settings, question, now_ns=now_ns)
    return _verdict(answer.verified.model_dump(mode="json"))


def _verdict(document: dict[str, Any]) -> dict[str, Any]:
    return compact(cut_values(document, TITLE_CHARACTERS * 2))


def _cases(store: Store, given: dict[str, Any]) -> Any:
    most = given.get("max", MAX_CASES)
    found = collect.collect(store.settings, given["issue_id"], most=most, ruled=False)
    issue = found.issue.issue_id
    head = {
        "issue_id": issue,
        "total": len(found.cases),
        "problems": found.problems,
        "resource": resources.cases_uri(issue),
    }
    for characters in (TEXT_CHARACTERS, 400, 100):
        short = [cut_values(case, characters) for case in found.cases]
        shown = fitted(compact(head), "cases", short, VIEW_BYTES, lambda left: f"{left} cases: read the resource")
        if len(shown["cases"]) == len(short):
            break
    return shown


def said(error: HaloError) -> str:
    """Write an error with what to do about it, on one line."""
    return f"{error}; {error.hint}" if error.hint else str(error)

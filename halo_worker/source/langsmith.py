"""LangSmith: runs are spans, feedback is evaluations.

Source: LangSmith API, POST /api/v1/runs/query (cursors.next), GET /api/v1/sessions and /api/v1/feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from halo_receiver.decode.repair import Repair
from halo_receiver.span import LogRecord, Rejection, Span
from halo_worker.errors import InputError
from halo_worker.source import records
from halo_worker.source.records import Record, dict_of, list_of, text_of
from halo_worker.source.remote import Api, Page, Place, iso

SCOPE = "halo.source.langsmith"
PLACE = Place(
    "LangSmith",
    keys=("LANGSMITH_API_KEY",),
    urls=("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT"),
    default_url="https://api.smith.langchain.com",
    headers=lambda keys: {"x-api-key": keys[0]},
    project_variable="LANGSMITH_PROJECT",
)
_SELECT = ["id", "trace_id", "parent_run_id", "name", "run_type", "start_time", "end_time", "error", "status", "inputs",
           "outputs", "extra", "tags", "events", "prompt_tokens", "completion_tokens", "total_cost", "session_id",
           "feedback_stats", "first_token_time"]  # fmt: skip
_LIMIT = 100
_IDS = 50  # in one request for feedback: ids stand in its address


def take(record: Record, repair: Repair) -> Iterator[Span | LogRecord | Rejection]:
    """Read one record of the API or an export: a run, or feedback on one."""
    if "run_type" in record:
        yield _run(record, repair)
        for key, child in record.items():
            if key == "child_runs":
                for run in list_of(child):
                    yield from take(run, repair) if isinstance(run, dict) else ()
    elif "key" in record and ("score" in record or "value" in record):
        yield records.evaluation(
            repair, scope=SCOPE, trace_id=record.get("trace_id") or record.get("run_id"), span_id=record.get("run_id"),
            name=record.get("key"), score=record.get("score"), label=record.get("value"),
            explanation=record.get("comment"), source=dict_of(record.get("feedback_source")).get("type"),
            time=record.get("modified_at") or record.get("created_at"),
        )  # fmt: skip


def _run(run: Record, repair: Repair) -> Span | Rejection:
    extra = dict_of(run.get("extra"))
    metadata = dict_of(extra.get("metadata"))
    parameters = extra.get("invocation_params")
    attributes = {
        "langsmith.span.kind": run.get("run_type"),
        "langsmith.span.tags": run.get("tags") or None,
        "langsmith.trace.name": run.get("name"),
        "gen_ai.prompt": text_of(run.get("inputs")),
        "gen_ai.completion": text_of(run.get("outputs")),
        "gen_ai.usage.input_tokens": run.get("prompt_tokens") if run.get("run_type") == "llm" else None,
        "gen_ai.usage.output_tokens": run.get("completion_tokens") if run.get("run_type") == "llm" else None,
        "langsmith.metadata.ls_invocation_params": text_of(parameters),
        "gen_ai.request.model": dict_of(parameters).get("model") or dict_of(parameters).get("model_name"),
    } | {f"langsmith.metadata.{key}": text_of(value) for key, value in metadata.items()}  # fmt: skip
    error = text_of(run.get("error"))
    return records.span(
        repair, scope=SCOPE, trace_id=run.get("trace_id") or run.get("id"), span_id=run.get("id"),
        parent=run.get("parent_run_id"), name=run.get("name"), start=run.get("start_time"), end=run.get("end_time"),
        attributes=attributes, error=error, failed=bool(error) or run.get("status") == "error",
        resource={"service.name": run.get("halo.project")},
    )  # fmt: skip


def pages(api: Api, since_ns: int, until_ns: int, project: str, cursor: Mapping[str, Any] | None) -> Iterator[Page]:
    """Yield the runs that started in the window page by page, each with the feedback on them."""
    at = dict(cursor or {}).get("next")
    body = {"session": [_project_id(api, project)], "start_time": iso(since_ns), "end_time": iso(until_ns),
            "limit": _LIMIT, "select": _SELECT}  # fmt: skip
    while True:
        answer = dict_of(api.post("/api/v1/runs/query", body | ({"cursor": at} if at else {})))
        found = [item for item in list_of(answer.get("runs")) if isinstance(item, dict)]
        # end_time bounds the runs' ends in some versions and their starts in others: a run of the next window is left.
        runs = [
            run | {"halo.project": project} for run in found if str(run.get("start_time") or "")[:19] < iso(until_ns)
        ]
        at = dict_of(answer.get("cursors")).get("next") if found else None
        yield Page([*runs, *_feedback(api, runs)], {"next": at} if at else None)
        if not at:
            return


def _project_id(api: Api, project: str) -> str:
    found = [item for item in list_of(api.get("/api/v1/sessions", {"name": project})) if isinstance(item, dict)]
    ids = [str(item.get("id")) for item in found if item.get("name") == project]
    if not ids:
        raise InputError(
            f"LangSmith has no project {project!r}", hint="name it with --project, or set LANGSMITH_PROJECT"
        )
    return ids[0]


def _feedback(api: Api, runs: list[Record]) -> Iterator[Record]:
    traces = {run.get("id"): run.get("trace_id") for run in runs if run.get("feedback_stats")}
    ids = [key for key in traces if key]
    for first in range(0, len(ids), _IDS):
        offset = 0
        while True:
            query = {"run": ids[first : first + _IDS], "limit": _LIMIT, "offset": offset}
            items = [item for item in list_of(api.get("/api/v1/feedback", query)) if isinstance(item, dict)]
            yield from (item | {"trace_id": traces.get(item.get("run_id"))} for item in items)
            offset += len(items)
            if len(items) < _LIMIT:
                break

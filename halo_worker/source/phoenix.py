"""Phoenix: its spans are OpenInference's, its annotations are evaluations.

Source: Phoenix REST API (OpenAPI document of 20.26), GET /v1/projects/{project}/spans, span_annotations and
trace_annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from halo_receiver.decode.repair import Repair
from halo_receiver.span import LogRecord, Rejection, Span
from halo_worker.source import records
from halo_worker.source.records import Record, dict_of, list_of
from halo_worker.source.remote import Api, NotFound, Page, Place, iso

SCOPE = "halo.source.phoenix"
PLACE = Place(
    "Phoenix",
    keys=("PHOENIX_API_KEY",),
    urls=("PHOENIX_BASE_URL", "PHOENIX_COLLECTOR_ENDPOINT", "PHOENIX_HOST"),
    default_url="http://localhost:6006",
    headers=lambda keys: {"Authorization": f"Bearer {keys[0]}"} if keys[0] else {},
    needs_keys=False,
    project_variable="PHOENIX_PROJECT_NAME",
)
_LIMIT = 500
_IDS = 50  # in one request for annotations: ids stand in its address


def take(record: Record, repair: Repair) -> Iterator[Span | LogRecord | Rejection]:
    """Read one record of the API or an export: a span, or an annotation of a span or trace."""
    context = dict_of(record.get("context"))
    if "result" in record or "annotator_kind" in record:
        result = dict_of(record.get("result"))
        yield records.evaluation(
            repair, scope=SCOPE, trace_id=record.get("trace_id"), span_id=record.get("span_id"),
            name=record.get("name"), score=result.get("score"), label=result.get("label"),
            explanation=result.get("explanation"), source=record.get("annotator_kind"),
            time=record.get("updated_at"),
        )  # fmt: skip
    elif context or "context.span_id" in record:
        yield _span(record, context, repair)


def _flatten(key: str, value: Any, out: dict[str, Any]) -> None:
    """Name the members of a list of objects by their place, as they were sent: tables keep the list in one column."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        out[key] = value
        return
    for place, item in enumerate(value):
        for name, inner in item.items():
            if inner is not None:
                _flatten(f"{key}.{place}.{name}", inner, out)


def _span(record: Record, context: Record, repair: Repair) -> Span | Rejection:
    attributes = dict_of(record.get("attributes"))
    nested: dict[str, Any] = {}
    for key, value in record.items():
        if key.startswith("attributes."):
            _flatten(key.removeprefix("attributes."), value, nested)
    kind = record.get("span_kind")
    if kind and "openinference.span.kind" not in attributes:
        attributes = {"openinference.span.kind": kind} | attributes
    return records.span(
        repair, scope=SCOPE, trace_id=context.get("trace_id") or record.get("context.trace_id"),
        span_id=context.get("span_id") or record.get("context.span_id"), parent=record.get("parent_id"),
        name=record.get("name"), start=record.get("start_time"), end=record.get("end_time"),
        attributes=attributes | nested, error=record.get("status_message"),
        status=str(record.get("status_code") or "UNSET"), resource={"service.name": record.get("halo.project")},
        events=[event for event in list_of(record.get("events")) if isinstance(event, dict)],
    )  # fmt: skip


def pages(api: Api, since_ns: int, until_ns: int, project: str, cursor: Mapping[str, Any] | None) -> Iterator[Page]:
    """Yield the spans that started in the window page by page, each with the annotations of its spans and traces."""
    at = dict(cursor or {}).get("next")
    path = f"/v1/projects/{quote(project, safe='')}"
    window = {"start_time": iso(since_ns), "end_time": iso(until_ns), "limit": _LIMIT}
    while True:
        answer = dict_of(api.get(f"{path}/spans", window | ({"cursor": at} if at else {})))
        spans = [item | {"halo.project": project} for item in list_of(answer.get("data")) if isinstance(item, dict)]
        at = answer.get("next_cursor")
        yield Page([*spans, *_annotations(api, path, spans)], {"next": at} if at else None)
        if not at:
            return


def _annotations(api: Api, path: str, spans: list[Record]) -> Iterator[Record]:
    traces = {
        dict_of(span.get("context")).get("span_id"): dict_of(span.get("context")).get("trace_id") for span in spans
    }
    roots = [dict_of(span.get("context")).get("trace_id") for span in spans if not span.get("parent_id")]
    for item in _listed(api, f"{path}/span_annotations", "span_ids", [key for key in traces if key]):
        yield item | {"trace_id": traces.get(item.get("span_id"))}
    try:
        yield from _listed(api, f"{path}/trace_annotations", "trace_ids", [key for key in roots if key])
    except NotFound:
        return  # Phoenix before it had them


def _listed(api: Api, path: str, name: str, ids: list[str]) -> Iterator[Record]:
    for first in range(0, len(ids), _IDS):
        at = None
        while True:
            query = {name: ids[first : first + _IDS], "limit": 1000} | ({"cursor": at} if at else {})
            answer = dict_of(api.get(path, query))
            yield from (item for item in list_of(answer.get("data")) if isinstance(item, dict))
            at = answer.get("next_cursor")
            if not at:
                break

"""Langfuse: observations are spans, scores are evaluations.

Source: Langfuse public API, GET /api/public/v2/observations (Langfuse 4 and its cloud), else /api/public/observations
and /traces; scores from /api/public/v3/scores, else v2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from halo_receiver.decode.repair import Repair
from halo_receiver.span import LogRecord, Rejection, Span
from halo_worker.source import records
from halo_worker.source.records import Record, dict_of, list_of, text_of
from halo_worker.source.remote import Api, NotFound, Page, Place, base64_of, iso

SCOPE = "halo.source.langfuse"
PLACE = Place(
    "Langfuse",
    keys=("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"),
    urls=("LANGFUSE_BASE_URL", "LANGFUSE_HOST"),
    default_url="https://cloud.langfuse.com",
    headers=lambda keys: {"Authorization": f"Basic {base64_of(':'.join(keys))}"},
)
_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,trace_context"
_LIMIT = 100


def take(record: Record, repair: Repair) -> Iterator[Span | LogRecord | Rejection]:
    """Read one record of the API or an export: an observation, a score, or a trace with its observations."""
    record = {_camel(key): value for key, value in record.items()}
    if "dataType" in record or ("value" in record and "name" in record and "startTime" not in record):
        if (score := _score(record, repair)) is not None:
            yield score
    elif "startTime" in record:
        yield _observation(record, {}, repair)
    elif "timestamp" in record:
        yield from _trace(record, repair)


def _camel(key: str) -> str:
    """Name a field as the API does; exports to blob storage have start_time for startTime."""
    first, *rest = key.split("_")
    return first + "".join(word.title() for word in rest)


def _trace(trace: Record, repair: Repair) -> Iterator[Span | LogRecord | Rejection]:
    below = [item for item in list_of(trace.get("observations")) if isinstance(item, dict)]
    for observation in below:
        yield _observation(observation, trace, repair)
    if not below:  # a trace that nothing was recorded in is what it says itself
        yield _observation(trace | {"id": f"t-{trace.get('id')}", "startTime": trace.get("timestamp")}, trace, repair)
    for score in list_of(trace.get("scores")):
        if isinstance(score, dict) and (said := _score({"traceId": trace.get("id")} | score, repair)) is not None:
            yield said


def _observation(item: Record, trace: Record, repair: Repair) -> Span | Rejection:
    metadata = dict_of(item.get("metadata"))
    failed = item.get("level") == "ERROR"
    resource = dict_of(metadata.get("resourceAttributes"))
    attributes = {
        "langfuse.observation.type": str(item.get("type") or "span").lower(),
        "langfuse.observation.level": item.get("level"),
        "langfuse.observation.status_message": item.get("statusMessage"),
        "langfuse.observation.input": text_of(item.get("input")),
        "langfuse.observation.output": text_of(item.get("output")),
        "langfuse.observation.model.name": item.get("providedModelName") or item.get("model"),
        "langfuse.observation.model.parameters": text_of(item.get("modelParameters")),
        "langfuse.observation.usage_details": text_of(item.get("usageDetails") or item.get("usage")),
        "langfuse.observation.cost_details": text_of(item.get("costDetails")),
        "langfuse.observation.completion_start_time": item.get("completionStartTime"),
        "langfuse.observation.prompt.name": item.get("promptName"),
        "langfuse.trace.name": item.get("traceName") or trace.get("name"),
        "langfuse.trace.tags": item.get("tags") or trace.get("tags"),
        "session.id": item.get("sessionId") or trace.get("sessionId"),
        "user.id": item.get("userId") or trace.get("userId"),
        "langfuse.environment": item.get("environment") or trace.get("environment"),
        "langfuse.version": item.get("version") or trace.get("version"),
        "langfuse.release": item.get("release") or trace.get("release"),
    } | {
        f"langfuse.observation.metadata.{key}": text_of(value)
        for key, value in metadata.items()
        if key not in ("resourceAttributes", "scope")
    }  # fmt: skip
    return records.span(
        repair, scope=SCOPE, trace_id=item.get("traceId") or trace.get("id"), span_id=item.get("id"),
        parent=item.get("parentObservationId"), name=item.get("name") or item.get("type"),
        start=item.get("startTime"), end=item.get("endTime") or (item.get("startTime") if _is_point(item) else None),
        attributes=attributes, error=text_of(item.get("statusMessage")) if failed else None, failed=failed,
        resource={key: text_of(value) for key, value in resource.items()},
    )  # fmt: skip


def _is_point(item: Record) -> bool:
    """Events have no end, and traces tell none; a span without one has not ended."""
    return item.get("type") == "EVENT" or "timestamp" in item


def _score(score: Record, repair: Repair) -> LogRecord | None:
    subject = dict_of(score.get("subject"))
    trace_id = score.get("traceId") or subject.get("traceId") or (
        subject.get("id") if subject.get("kind") == "trace" else None
    )  # fmt: skip
    if not trace_id:
        return None  # of a session or an experiment
    kind, value = score.get("dataType"), score.get("value")
    if kind == "BOOLEAN" and not isinstance(value, bool):
        value = str(score.get("stringValue") or value).lower() in ("true", "1", "1.0")
    elif kind in ("CATEGORICAL", "TEXT"):
        value = score.get("stringValue") or value
    span_id = score.get("observationId") or (subject.get("id") if subject.get("kind") == "observation" else "")
    return records.evaluation(
        repair, scope=SCOPE, trace_id=trace_id, span_id=span_id, name=score.get("name"),
        score=None if isinstance(value, str) else value, label=value if isinstance(value, str) else None,
        explanation=score.get("comment"), source=score.get("source"), time=score.get("timestamp"),
    )  # fmt: skip


def pages(api: Api, since_ns: int, until_ns: int, project: str, cursor: Mapping[str, Any] | None) -> Iterator[Page]:
    """Yield what lies in the window page by page: observations by their start, then scores by their time."""
    at = dict(cursor or {"of": "observations", "next": None})
    if at["of"] == "observations":
        try:
            yield from _observations(api, since_ns, until_ns, at)
        except NotFound:  # Langfuse before 4
            yield from _observations_by_page(api, since_ns, until_ns, at)
        at = {"of": "scores", "next": None}
    try:
        yield from _scores(api, since_ns, until_ns, at, "/api/public/v3/scores", {"fields": "details,subject"})
    except NotFound:
        yield from _scores(api, since_ns, until_ns, at, "/api/public/v2/scores", {})


def _observations(api: Api, since_ns: int, until_ns: int, at: Record) -> Iterator[Page]:
    if "page" in at:
        raise NotFound("begun by pages")
    window = {"fromStartTime": iso(since_ns), "toStartTime": iso(until_ns), "fields": _FIELDS, "limit": _LIMIT}
    while True:
        answer = dict_of(api.get("/api/public/v2/observations", window | _given(cursor=at["next"])))
        at["next"] = dict_of(answer.get("meta")).get("cursor")
        yield Page(list_of(answer.get("data")), dict(at) if at["next"] else {"of": "scores", "next": None})
        if not at["next"]:
            return


def _observations_by_page(api: Api, since_ns: int, until_ns: int, at: Record) -> Iterator[Page]:
    """Read observations by number of page; what they leave out (session, user, tags) is told by their traces."""
    bounds = {"fromTimestamp": iso(since_ns), "toTimestamp": iso(until_ns)}
    told = {
        trace.get("id"): {"traceName": trace.get("name")}
        | {key: trace.get(key) for key in ("sessionId", "userId", "tags", "release", "environment")}
        for trace, _ in _numbered(api, "/api/public/traces", bounds | {"fields": "core"}, 1)
    }
    window = {"fromStartTime": iso(since_ns), "toStartTime": iso(until_ns)}
    found: list[Record] = []
    for item, page in _numbered(api, "/api/public/observations", window, int(at.get("page") or 1)):
        found.append(
            told.get(item.get("traceId"), {}) | {key: value for key, value in item.items() if value is not None}
        )
        if page is not None:
            yield Page(found, {"of": "observations", "next": None, "page": page + 1})
            found = []
    yield Page(found, {"of": "scores", "next": None})


def _scores(api: Api, since_ns: int, until_ns: int, at: Record, path: str, more: Record) -> Iterator[Page]:
    window = {"fromTimestamp": iso(since_ns), "toTimestamp": iso(until_ns), "limit": _LIMIT} | more
    page = int(at.get("page") or 1)
    while True:
        step = {"page": page} if "/v2/" in path else _given(cursor=at["next"])
        answer = dict_of(api.get(path, window | step))
        meta = dict_of(answer.get("meta"))
        page += 1
        at["next"] = meta.get("cursor")
        done = page > int(meta.get("totalPages") or 0) if "/v2/" in path else not at["next"]
        yield Page(list_of(answer.get("data")), None if done else at | ({"page": page} if "/v2/" in path else {}))
        if done:
            return


def _numbered(api: Api, path: str, bounds: Record, page: int) -> Iterator[tuple[Record, int | None]]:
    """Yield the items of a list from a page on, with the page's number beside its last one."""
    while True:
        answer = dict_of(api.get(path, bounds | {"page": page, "limit": _LIMIT}))
        items = [item for item in list_of(answer.get("data")) if isinstance(item, dict)]
        for place, item in enumerate(items):
            yield item, page if place == len(items) - 1 else None
        if page >= int(dict_of(answer.get("meta")).get("totalPages") or 0) or not items:
            return
        page += 1


def _given(**values: Any) -> Record:
    return {key: value for key, value in values.items() if value}

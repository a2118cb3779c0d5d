"""Two receivers behind a load balancer, and what a report over both says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures_receiver import eventually
from tests.generator.fleet import fleet
from tests.lake.conftest import Host, Lake
from tests.lake.services import S3, Postgres

pytestmark = pytest.mark.lake

TRACES = 120
RESENT = 7  # each so many-th request is sent to both hosts: the client did not hear the first one's answer


def halves() -> Iterator[bytes]:
    """Requests that each hold a half of a trace's spans, so that a balancer takes a trace apart."""
    for request, _ in fleet(TRACES, seed=5):
        for half in (0, 1):
            part = type(request)()
            part.CopyFrom(request)
            place = 0
            for scope in (scope for resource in part.resource_spans for scope in resource.scope_spans):
                kept = [span for number, span in enumerate(scope.spans, place) if number % 2 == half]
                place += len(scope.spans)
                del scope.spans[:]
                scope.spans.extend(kept)
            yield part.SerializeToString()


def spans_in(body: bytes) -> int:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def findings(host: Host, *words: str) -> list[Any]:
    """What a report says that does not hang on when spans arrived."""
    report = json.loads(host("run", "--last", "24h", "--detectors-only", "--format", "json", *words))
    assert report["coverage"]["traces"] == TRACES
    return sorted(
        (item["title"], str(item["prevalence"]), sorted(one["span_id"] for one in item["evidence"]))
        for item in report["findings"]
    )


def test_two_receivers_and_a_report_as_of_one(make_lake: Callable[..., Lake], s3: S3, postgres: Postgres) -> None:
    """Spans of one trace on two hosts, retries to the other host, and a lake that is away meanwhile: nothing is refused
    or lost, and the report is that of one directory that got everything once."""
    company = make_lake()
    first, second, alone = (company.host(name) for name in ("first", "second", "alone"))
    first("lake", "init")
    hosts, single = (first.receive(), second.receive()), alone.receive(HALO_LAKE_CATALOG="")
    sent = copies = 0
    for number, body in enumerate(halves()):
        if number == TRACES // 2:
            s3.stop()
            postgres.stop()
        single.export(body)
        hosts[number % 2].export(body)
        sent += spans_in(body)
        if number % RESENT == 0:
            hosts[1 - number % 2].export(body)
            copies += spans_in(body)
    eventually(lambda: all("publication failed" in host.log() for host in hosts), seconds=60)
    s3.start()
    postgres.start()
    desk = company.host("desk")
    eventually(lambda: company.spans() == sent + copies, seconds=60)
    single.terminate()
    found = findings(desk)
    assert found == findings(alone, "--local")
    assert found
    assert desk.query("SELECT count(*) AS n FROM spans", "--lake") == [{"n": sent}]

"""Load that is not ours, directly and through the Collector; and Collectors that look at whole traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from halo_receiver.otlp_messages import TraceRequest
from tests.collector import program
from tests.collector.process import configuration, exporter, spans, telemetrygen
from tests.end_to_end.real_collector.conftest import BUILD, Collect, Receivers, require
from tests.fixtures_receiver import eventually, trace_request

pytestmark = pytest.mark.peer
TRACES, CHILDREN, WORKERS = 200, 4, 2
SPANS = WORKERS * TRACES * (1 + CHILDREN)


@pytest.fixture
def built() -> None:
    if program("telemetrygen") is None:
        pytest.skip(f"SKIPPED, telemetrygen is not tested: {BUILD}")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("through", ["directly", "a collector"])
def test_every_span_of_telemetrygen_is_found(collect: Collect, receivers: Receivers, through: str) -> None:
    receivers.start()
    if through == "directly":
        ends = {"grpc": receivers.grpc, "http": str(receivers.now.address["http"])}
    else:
        processors = {"memory_limiter": {"check_interval": "1s", "limit_mib": 2048}, "batch": {}}
        collector = collect(configuration({"otlp_grpc/a": exporter(receivers.grpc)}, processors=processors))
        ends = {transport: collector.address(transport, "otlp/a") for transport in ("grpc", "http")}
    for transport, end in ends.items():
        numbers = ["--traces", str(TRACES), "--child-spans", str(CHILDREN), "--workers", str(WORKERS)]
        options = ["--otlp-http"] if transport == "http" else []
        telemetrygen("traces", end, "--service", transport, *numbers, *options)
    receivers.shows(grpc=SPANS, http=SPANS)
    sql = "SELECT count(*) AS traces, min(span_count) AS least, max(span_count) AS most FROM traces"
    assert receivers.now.rows(sql) == [{"traces": 2 * WORKERS * TRACES, "least": 1 + CHILDREN, "most": 1 + CHILDREN}]


@pytest.mark.usefixtures("built")
def test_the_logs_of_telemetrygen_are_stored_and_its_metrics_accepted(receivers: Receivers) -> None:
    receivers.start()
    telemetrygen("logs", receivers.grpc, "--logs", "500", "--body", "said")
    telemetrygen("metrics", receivers.grpc, "--metrics", "500")
    assert receivers.now.rows("SELECT body, count(*) AS n FROM logs GROUP BY 1") == [{"body": '"said"', "n": 500}]
    assert receivers.now.metric("halo_ignored_metrics_requests_total") > 0


def failed(body: bytes) -> bytes:
    """The request, with an error in each span."""
    request = TraceRequest.FromString(body)
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.status.code = 2
    return bytes(request.SerializeToString())


def test_of_a_collector_that_samples_whole_traces_whole_traces_are_found(
    collect: Collect, receivers: Receivers
) -> None:
    """Those with an error, here; also what comes of them after it was decided."""
    require("tail_sampling")
    receivers.start()
    policy = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
    sampling = {"tail_sampling": {"decision_wait": "1s", "policies": [policy]}}
    collector = collect(configuration({"otlp_grpc/a": exporter(receivers.grpc)}, processors=sampling))
    for trace in range(1, 11):
        first = trace_request((trace, 1), service="sampled")
        collector.send(failed(first) if trace % 2 else first, "otlp/a")
        collector.send(trace_request((trace, 2), service="sampled"), "otlp/a")
    receivers.shows(sampled=10)
    collector.send(trace_request((1, 3), (2, 3), service="late"), "otlp/a")
    receivers.shows(sampled=10, late=1)
    sql = "SELECT trace_id, span_count AS n FROM traces ORDER BY 1"
    wanted = {1: 3, 3: 2, 5: 2, 7: 2, 9: 2}
    assert receivers.now.rows(sql) == [{"trace_id": f"{trace:032x}", "n": n} for trace, n in wanted.items()]


def test_a_collector_that_balances_by_trace_leaves_each_trace_at_one_of_two_receivers(
    collect: Collect, receivers: Receivers, tmp_path: Path
) -> None:
    """With an official distribution: the exporter's modules are not all to be had for the build of these tests."""
    require("load_balancing")
    receivers.start()
    second = Receivers(tmp_path / "second")
    second.start()
    try:
        way = {
            "routing_key": "traceID",
            "protocol": {"otlp": exporter("from-the-resolver:1")},
            "resolver": {"static": {"hostnames": [receivers.grpc, second.grpc]}},
        }
        collector = collect(configuration({"load_balancing/a": way}))
        for number in range(40):
            collector.send(spans(5 * number, 5, service="balanced"), "otlp/a")
        sql = "SELECT trace_id, count(DISTINCT span_id) AS n FROM spans GROUP BY 1"
        found: list[dict[str, int]] = []

        def all_there() -> bool:
            found[:] = [{row["trace_id"]: row["n"] for row in one.now.rows(sql)} for one in (receivers, second)]
            return sum(sum(one.values()) for one in found) == 200

        eventually(all_there)
        assert not found[0].keys() & found[1].keys()
        assert min(len(one) for one in found) > 10
    finally:
        second.now.kill()

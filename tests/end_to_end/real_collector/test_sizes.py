"""Batches by bytes, a prompt of 20 MB, and the configuration of deploy/, with which both fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from halo_receiver.config import ReceiverConfig
from tests.collector.process import DROPPED, Collector, configuration, exporter, spans
from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import free_port
from tests.end_to_end.real_collector.conftest import Collect, Receivers
from tests.fixtures_receiver import eventually, post

yaml = pytest.importorskip("yaml")
pytestmark = pytest.mark.peer
DEPLOYED = REPOSITORY / "deploy" / "collector.yaml"
EXPORT_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
PROMPT = 20_000_000
MIB = 2**20


def queue(max_size: int) -> dict[str, Any]:
    """A queue that batches by bytes."""
    batch = {"sizer": "bytes", "flush_timeout": "100ms", "min_size": max_size // 2, "max_size": max_size}
    return {"sizer": "bytes", "queue_size": 2**30, "batch": batch}


def test_batches_by_bytes_stay_below_the_limit_of_a_request(collect: Collect, receivers: Receivers) -> None:
    """One request of 6 MB becomes several, of which halo takes each; as it came it is refused for good."""
    receivers.start(HALO_RECEIVER_MAX_REQUEST_BYTES=str(MIB))
    batched = queue(MIB - 2**16)
    ways = {
        "otlp_grpc/grpc": exporter(receivers.grpc, sending_queue=batched),
        "otlp_http/http": exporter(receivers.http, sending_queue=batched),
        "otlp_grpc/whole": exporter(receivers.grpc),
    }
    collector = collect(configuration(ways))
    for name in ("whole", "grpc", "http"):
        collector.send(spans(0, 60, service=name, size=100_000), f"otlp/{name}")
    receivers.shows(grpc=60, http=60)
    [dropped] = eventually(lambda: collector.log(DROPPED))
    assert (dropped["otelcol.component.id"], dropped["dropped_items"]) == ("otlp_grpc/whole", 60)


def test_a_span_above_max_size_is_dropped_by_the_collector_that_acknowledged_it(
    collect: Collect, receivers: Receivers
) -> None:
    """So max_size is to be nearly what halo takes. v0.161 also drops what follows in the request, v0.165 does not."""
    receivers.start()
    collector = collect(configuration({"otlp_grpc/a": exporter(receivers.grpc, sending_queue=queue(MIB))}))
    # Two messages one after the other are one with the spans of both.
    collector.send(spans(0, 1, service="large", size=2 * MIB) + spans(0, 3, service="beside"), "otlp/a")
    collector.send(spans(0, 3, service="alone"), "otlp/a")
    eventually(lambda: receivers.found().get("alone") == (3, 3))
    assert "large" not in receivers.found()
    [warning] = collector.log("Failed to split request.")
    assert "max size" in warning["error"]


@pytest.fixture
def health() -> str:
    """HOST:PORT for the extension, which does not say which port it took."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def deployed(collect: Collect, receivers: Receivers, tmp_path: Path, health: str) -> Collector:
    """The Collector on deploy/collector.yaml as it lies there; only addresses and the directory are others."""
    receivers.start(HALO_RECEIVER_MAX_ATTRIBUTE_BYTES=str(2 * PROMPT))
    here = {"endpoint": "127.0.0.1:0"}
    places = {
        "receivers": {"otlp": {"protocols": {"grpc": here, "http": here}}},
        "extensions": {"file_storage": {"directory": str(tmp_path / "queue")}, "health_check": {"endpoint": health}},
        "exporters": {"otlp_grpc": {"endpoint": receivers.grpc}},
    }
    return collect(DEPLOYED, places)


def test_the_configuration_of_deploy_takes_spans_logs_and_a_prompt_of_20_mb(
    deployed: Collector, receivers: Receivers, health: str
) -> None:
    deployed.send(spans(0, 10, service="grpc"))
    deployed.post(spans(0, 10, service="http"))
    deployed.send(spans(0, 1, service="prompt_grpc", size=PROMPT))
    deployed.post(spans(0, 1, service="prompt_http", size=PROMPT))
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "said"
    with grpc.insecure_channel(deployed.address("grpc")) as channel:
        channel.unary_unary(EXPORT_LOGS)(logs.SerializeToString(), timeout=20)
    receivers.shows(grpc=10, http=10, prompt_grpc=1, prompt_http=1)
    sql = "SELECT length(attributes->>'payload') AS n FROM spans WHERE service_name LIKE 'prompt%'"
    assert receivers.now.rows(sql) == [{"n": PROMPT}] * 2
    eventually(lambda: receivers.now.rows("SELECT body FROM logs") == [{"body": '"said"'}])
    assert post(f"http://{health}/", None, method="GET")[0] == 200
    assert not [entry for entry in deployed.entries() if entry["level"] in ("warn", "error")]


def test_the_batches_of_deploy_are_within_what_halo_takes_by_default() -> None:
    """And a span of three such prompts is within a batch."""
    largest = yaml.safe_load(DEPLOYED.read_text())["exporters"]["otlp_grpc"]["sending_queue"]["batch"]["max_size"]
    assert 3 * PROMPT < largest < ReceiverConfig().max_request_bytes

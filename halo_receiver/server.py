"""The gRPC side: OTLP's three services, halo.v1.Segments, health; and the error-to-status table.

Handlers get the raw bytes of a request. grpc's own decompression is off: what came compressed is spooled as it came,
and inflated by ourselves only as far as the limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from halo_receiver.config import ReceiverConfig
from halo_receiver.intake import Answer, Intake, Kind
from halo_receiver.pb import segments_pb2
from halo_receiver.store import manifest
from halo_receiver.store.segment import listed
from halo_receiver.tls import Tls

log = logging.getLogger("halo.receiver")

TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
SEGMENTS_SERVICE = "halo.v1.Segments"
MAX_ANSWER_BYTES = 4 * 2**20  # as OTLP recommends; messages in answers are far below
MAX_STREAMS = 64  # requests at a time on one connection
# A client is verified when it connects: where certificates are asked for, a connection must not outlive its authority
# for long. Clients connect again by themselves; calls in flight have the grace to end.
_AGED = (("grpc.max_connection_age_ms", 600_000), ("grpc.max_connection_age_grace_ms", 60_000))

Seal = Callable[[], Awaitable[None]]
Report = Callable[[], tuple[str | None, bytes]]  # why not ready, and the metrics' text


def status_details(answer: Answer, retry_seconds: float) -> bytes:
    """Return google.rpc.Status for a failed answer, with RetryInfo where the client should come again."""
    status = status_pb2.Status(code=grpc.StatusCode[answer.code].value[0], message=answer.message)
    if answer.retry:
        seconds, nanos = int(retry_seconds), int(retry_seconds % 1 * 1e9)
        delay = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos))
        packed = any_pb2.Any()
        packed.Pack(delay)
        status.details.append(packed)
    elif answer.code == "INVALID_ARGUMENT":
        packed = any_pb2.Any()
        packed.Pack(
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="body", description=answer.message)]
            )
        )
        status.details.append(packed)
    return bytes(status.SerializeToString())


def response(kind: Kind, answer: Answer) -> Any:
    """Return the export response message of that signal."""
    module: Any = {"traces": trace_service_pb2, "logs": logs_service_pb2, "metrics": metrics_service_pb2}[kind]
    name = {"traces": "Trace", "logs": "Logs", "metrics": "Metrics"}[kind]
    message = getattr(module, f"Export{name}ServiceResponse")()
    if answer.rejected:
        field = {"traces": "rejected_spans", "logs": "rejected_log_records", "metrics": "rejected_data_points"}[kind]
        setattr(message.partial_success, field, answer.rejected)
        message.partial_success.error_message = answer.message
    return message


class SegmentsService:
    """`halo.v1.Segments`: what the worker on the same machine asks. Every call needs the token in receiver.json."""

    def __init__(self, intake: Intake, *, directory: Path, seal: Seal, report: Report) -> None:
        self._intake = intake
        self._directory = directory
        self._seal = seal
        self._report = report

    def add_to(self, server: Any) -> None:
        """Serve it from a server."""
        methods = {"Seal": self._do_seal, "List": self._do_list, "Status": self._do_status}
        handlers = {name: self._method(act) for name, act in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SEGMENTS_SERVICE, handlers),))

    def _method(self, act: Callable[[bytes, Any], Awaitable[Any]]) -> Any:
        async def handle(body: bytes, context: Any) -> bytes:
            if not self._intake.local(_authorization(context)):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token in receiver.json is required")
            return bytes((await act(body, context)).SerializeToString())

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _do_seal(self, _body: bytes, context: Any) -> segments_pb2.SealResponse:
        try:
            await self._seal()
        except (TimeoutError, RuntimeError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the loader cannot catch up now: {error}")
        return segments_pb2.SealResponse(segments=await self._list(None, None))

    async def _do_list(self, body: bytes, context: Any) -> segments_pb2.ListResponse:
        try:
            asked = segments_pb2.ListRequest.FromString(body)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the body is not a protobuf ListRequest")
        start, end = asked.start_received_unix_nano or None, asked.end_received_unix_nano or None
        return segments_pb2.ListResponse(segments=await self._list(start, end))

    async def _do_status(self, _body: bytes, _context: Any) -> segments_pb2.StatusResponse:
        trouble, metrics = self._report()
        return segments_pb2.StatusResponse(trouble=trouble or "", metrics=metrics.decode())

    async def _list(self, start_ns: int | None, end_ns: int | None) -> list[segments_pb2.Segment]:
        entries = await asyncio.to_thread(lambda: manifest.load(self._directory, listed(self._directory)))
        return [
            segments_pb2.Segment(
                name=entry.name,
                bytes=entry.bytes,
                spans=entry.spans,
                logs=entry.logs,
                first_received_unix_nano=entry.first_received_ns,
                last_received_unix_nano=entry.last_received_ns,
            )
            for entry in entries
            if entry.may_hold(start_ns, end_ns)
        ]


class LocalServer:
    """The Segments service alone, on a loopback port: for where the gRPC port has TLS, or there is none."""

    def __init__(self, segments: SegmentsService) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        segments.add_to(self._server)

    async def start(self) -> str:
        """Listen; return the address."""
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """End at once: callers come again."""
        await self._server.stop(None)


class GrpcServer:
    """The receiver's gRPC port."""

    def __init__(
        self, config: ReceiverConfig, intake: Intake, segments: SegmentsService, tls: Tls | None = None
    ) -> None:
        self._config = config
        self._tls = tls
        self._intake = intake
        self._segments = segments
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", config.max_request_bytes),
                ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
                ("grpc.per_message_decompression", 0),
                # What one connection can have us hold; clients queue what is beyond, without an error.
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                # Collectors ping as often as every ten seconds, also without calls; the defaults would cut them off.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.so_reuseport", 0),  # a port in use is an error, not a shared port
                *(_AGED if tls is not None and tls.asks_clients else ()),
            ]
        )

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
        async def handle(body: bytes, context: Any) -> bytes:
            if self._intake.authorized(_authorization(context)):
                answer = await self._intake.export(kind, "protobuf", None, body, "grpc")
            else:
                answer = self._intake.unauthorized(kind, "grpc")
            if answer.code != "OK":
                await context.abort(
                    grpc.StatusCode[answer.code],
                    answer.message,
                    (("grpc-status-details-bin", status_details(answer, self._config.retry_seconds)),),
                )
            # A message without fields, as nearly every answer is, has no bytes.
            return bytes(response(kind, answer).SerializeToString()) if answer.rejected else b""

        return grpc.unary_unary_rpc_method_handler(handle)

    async def stop(self, grace: float) -> None:
        """Take no new calls and wait for those in flight."""
        await self._server.stop(grace)


def _probe(endpoint: str) -> None:
    """Raise the OSError that the library would only log: it says no more than that it cannot listen."""
    host, _, port = endpoint.rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)


def _authorization(context: Any) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return None

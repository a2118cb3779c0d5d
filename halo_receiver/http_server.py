"""The HTTP side: OTLP/HTTP in protobuf and JSON, health, readiness and metrics.

Source: OTLP specification, "OTLP/HTTP".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any, Literal

from aiohttp import web
from google.protobuf import json_format
from google.rpc import status_pb2

from halo_receiver.answers import response, status_details
from halo_receiver.auth import CODES, Keys, Role, Verdict
from halo_receiver.config import ReceiverConfig
from halo_receiver.http_connections import Connections
from halo_receiver.intake import Answer, Intake, Kind
from halo_receiver.logs import event
from halo_receiver.metrics import CONTENT_TYPE, Metrics
from halo_receiver.read_limits import Ended, Reads
from halo_receiver.tls import Tls

log = logging.getLogger("halo.receiver")

PROTOBUF, JSON = "application/x-protobuf", "application/json"
PATHS: dict[str, Kind] = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
SHUTDOWN_SECONDS = 5.0  # for which a stop waits for requests in flight

BACKLOG = 1024  # connections that nobody has accepted yet

_HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 413,
    "UNAVAILABLE": 503,
}


class HttpServer:
    """The receiver's HTTP port."""

    def __init__(
        self,
        config: ReceiverConfig,
        keys: Keys,
        intake: Intake,
        reads: Reads,
        metrics: Metrics,
        *,
        ready: Any,
        metrics_open: bool,
        max_connections: int,
        tls: Tls | None = None,
    ) -> None:
        self._config = config
        self._tls = tls
        self._keys = keys
        self._metrics_open = metrics_open
        self._intake = intake
        self._reads = reads
        self._metrics = metrics
        self._ready = ready
        app = web.Application(middlewares=[self._in_kind])
        for path in PATHS:
            app.router.add_route("*", path, self._export)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show_metrics)
        # Bodies are inflated by ourselves, only as far as the limit.
        self._runner = web.AppRunner(
            app, auto_decompress=False, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS,
            keepalive_timeout=config.idle_connection_seconds, logger=_Counting(metrics),
        )  # fmt: skip
        self._connections = Connections(
            lambda: self._runner.server(),  # type: ignore[misc]  # there once the runner is set up
            limit=max_connections, header_seconds=config.header_seconds, request_seconds=config.read_seconds,
        )  # fmt: skip
        self._listener: asyncio.Server | None = None

    @web.middleware
    async def _in_kind(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer errors in the request's own encoding, and no error of ours with a code that loses the spans."""
        try:
            with self._connections.request(request.protocol):
                answer: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if request.content_type not in (PROTOBUF, JSON):
                raise
            return _status(error.status, 5, f"{error.status} {error.reason}: {request.path}", request, {})
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - 500 is permanent to a client
            event(log, "request failed", level=logging.ERROR, reason=f"{type(error).__name__}: {error}")
            answer = self._answer("traces", self._intake.busy("traces", "http", "the receiver failed"), request)
        return answer

    async def start(self) -> str:
        """Listen; return the address with the port that was given. Raises OSError when it cannot."""
        host, _, port = self._config.http_endpoint.rpartition(":")
        context = self._tls.listening_context() if self._tls is not None else None
        await self._runner.setup()
        options: dict[str, Any] = {"ssl": context, "backlog": BACKLOG}
        if context:
            options["ssl_handshake_timeout"] = self._config.header_seconds
        # asyncio would keep [::] to IPv6 alone, where gRPC and the Collector serve both families.
        where: dict[str, Any] = {"host": host.strip("[]"), "port": int(port)}
        if host == "[::]" and socket.has_dualstack_ipv6():
            dual = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
            where = {"sock": dual}
        self._listener = await asyncio.get_running_loop().create_server(self._connections, **where, **options)
        self._connections.start()
        bound = self._listener.sockets[0].getsockname()[1]
        return f"{host}:{bound}"

    async def _export(self, request: web.Request) -> web.Response:
        kind = PATHS[request.path]
        content_type = request.content_type
        if request.method != "POST":
            text, headers = "405 method not allowed, supported: [POST]", {"Allow": "POST"}
            if content_type in (PROTOBUF, JSON):
                return _status(405, 12, text, request, headers)
            return web.Response(status=405, text=text, headers=headers)
        if content_type not in (PROTOBUF, JSON):
            text = f"415 unsupported media type, supported: [{JSON}, {PROTOBUF}]"
            return web.Response(status=415, text=text)
        if self._tls is not None and not self._tls.serves(request.get_extra_info("ssl_object")):
            busy = self._intake.busy(kind, "http", "the client authorities changed: connect again")
            refused = self._answer(kind, busy, request)
            refused.force_close()
            return refused
        verdict = self._keys.judge(request.headers.get("Authorization"), Role.INGEST)
        if verdict is not Verdict.ALLOWED:
            return self._answer(kind, self._intake.denied(kind, "http", verdict), request)
        compression = request.headers.get("Content-Encoding", "identity").strip().lower()
        if compression not in ("identity", "", "gzip", "deflate"):
            named = compression[:40].encode("ascii", "backslashreplace").decode()  # a header may hold any bytes
            text = f"unsupported Content-Encoding '{named}', supported: [gzip, deflate, identity]"
            return _status(415, 3, text, request, {"Accept-Encoding": "gzip, deflate, identity"})
        try:
            body = await self._read(request)
        except _TooLargeError as error:
            return self._answer(kind, self._intake.too_large(kind, "http", error.size), request)
        except Ended as error:
            return self._answer(kind, self._intake.busy(kind, "http", str(error)), request)
        except web.RequestPayloadError as error:
            return self._answer(kind, self._intake.malformed(kind, "http", f"the body is broken: {error}"), request)
        except ConnectionError:
            self._intake.aborted(kind, "http")
            raise  # nobody waits for an answer
        packed = "gzip" if compression in ("gzip", "deflate") else "none"
        encoding: Literal["json", "protobuf"] = "json" if content_type == JSON else "protobuf"
        answer = await self._intake.export(kind, encoding, packed, body, "http")
        return self._answer(kind, answer, request)

    async def _read(self, request: web.Request) -> bytes:
        """Read the body as it came, as far as it may be read."""
        limit = self._config.max_request_bytes
        if request.content_length is not None and request.content_length > limit:
            raise _TooLargeError(request.content_length)
        parts, size = [], 0
        async with self._reads.begin(counted=True) as read:
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise _TooLargeError(size)
                parts.append(part)
                read.grew(len(part))
        return b"".join(parts)

    def _answer(self, kind: Kind, answer: Answer, request: web.Request) -> web.Response:
        headers = {"Retry-After": str(max(1, round(self._config.retry_seconds)))} if answer.retry else {}
        if answer.code == "OK":
            return _message(200, response(kind, answer), request, headers)
        status = status_pb2.Status.FromString(status_details(answer, self._config.retry_seconds))
        return _message(_HTTP_STATUS[answer.code], status, request, headers)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        trouble = self._ready()
        return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        verdict = self._keys.judge(request.headers.get("Authorization"), Role.READ)
        if verdict is not Verdict.ALLOWED and not self._metrics_open:
            return web.Response(
                status=_HTTP_STATUS[CODES[verdict]],
                text=f"'Authorization: Bearer KEY' is required, with {Role.READ.value}\n",
                headers={"WWW-Authenticate": "Bearer"},
            )
        self._ready()  # halo_ready and the disk's gauges are of this moment
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def stop(self, seconds: float) -> None:
        """Take no new requests and wait so long for those in flight."""
        self._connections.stop()
        if self._listener is not None:
            self._listener.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._runner.cleanup(), seconds)


class _TooLargeError(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Counting(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp says of requests that are none: counted, for whoever connects could fill the log with it."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(log)
        self._metrics = metrics

    def log(self, level: int, *_: Any, **__: Any) -> None:
        if level >= logging.WARNING:
            self._metrics.bad_http.inc()


def _status(http: int, code: int, text: str, request: web.Request, headers: dict[str, str]) -> web.Response:
    return _message(http, status_pb2.Status(code=code, message=text), request, headers)


def _message(http: int, message: Any, request: web.Request, headers: dict[str, str]) -> web.Response:
    """Write a message in the encoding of the request."""
    if request.content_type == JSON:
        # Without a charset: the Collector ignores a partial success whose type is not exactly application/json.
        body = json_format.MessageToJson(message, indent=None).encode()
        return web.Response(status=http, body=body, content_type=JSON, headers=headers)
    return web.Response(status=http, body=message.SerializeToString(), content_type=PROTOBUF, headers=headers)

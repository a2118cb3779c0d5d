"""The HTTP side: OTLP/HTTP in protobuf and JSON, health, readiness and metrics.

Source: OTLP specification, "OTLP/HTTP".
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.rpc import status_pb2

from halo_receiver.config import ReceiverConfig
from halo_receiver.intake import Answer, Intake, Kind
from halo_receiver.metrics import CONTENT_TYPE, Metrics
from halo_receiver.server import response, status_details

PROTOBUF, JSON = "application/x-protobuf", "application/json"
PATHS: dict[str, Kind] = {"/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics"}
RELOAD_SECONDS = 5.0  # between two looks at the certificate's file

_HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 413,
    "UNAVAILABLE": 503,
}


class HttpServer:
    """The receiver's HTTP port."""

    def __init__(self, config: ReceiverConfig, intake: Intake, metrics: Metrics, ready: Any) -> None:
        self._config = config
        self._intake = intake
        self._metrics = metrics
        self._ready = ready
        app = web.Application()
        for path in PATHS:
            app.router.add_route("*", path, self._export)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show_metrics)
        # Bodies are inflated by ourselves, only as far as the limit.
        self._runner = web.AppRunner(app, auto_decompress=False, access_log=None, handle_signals=False)
        self._reloading: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the address with the port that was given. Raises OSError when it cannot."""
        host, _, port = self._config.http_endpoint.rpartition(":")
        context = self._tls()
        await self._runner.setup()
        site = web.TCPSite(self._runner, host.strip("[]"), int(port), ssl_context=context)
        await site.start()
        bound = self._runner.addresses[0][1]
        return f"{host}:{bound}"

    def _tls(self) -> ssl.SSLContext | None:
        config = self._config
        if config.tls_cert_file is None or config.tls_key_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config.tls_cert_file, config.tls_key_file)
        if config.tls_client_ca_file is not None:
            context.load_verify_locations(config.tls_client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        self._reloading = asyncio.create_task(self._reload(context, config.tls_cert_file, config.tls_key_file))
        return context

    async def _reload(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        stamp = certificate.stat().st_mtime
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                if (now := certificate.stat().st_mtime) != stamp:
                    context.load_cert_chain(certificate, key)
                    stamp = now
            except (OSError, ssl.SSLError):
                continue  # half written: the next look finds it whole

    async def _export(self, request: web.Request) -> web.Response:
        kind = PATHS[request.path]
        if request.method != "POST":
            return web.Response(status=405, text="405 method not allowed, supported: [POST]", headers={"Allow": "POST"})
        content_type = request.content_type
        if content_type not in (PROTOBUF, JSON):
            text = f"415 unsupported media type, supported: [{JSON}, {PROTOBUF}]"
            return web.Response(status=415, text=text)
        as_json = content_type == JSON
        if not self._intake.authorized(request.headers.get("Authorization")):
            return self._answer(
                kind, Answer("UNAUTHENTICATED", "a valid 'Authorization: Bearer KEY' is required"), as_json
            )
        compression = request.headers.get("Content-Encoding", "identity").strip().lower()
        if compression not in ("identity", "", "gzip", "deflate"):
            text = f"415 unsupported Content-Encoding '{compression}', supported: [gzip, deflate, identity]"
            return web.Response(status=415, text=text)
        body = await self._read(request)
        if body is None:
            limit = self._config.max_request_bytes
            return self._answer(kind, Answer("RESOURCE_EXHAUSTED", f"the request is over {limit} bytes"), as_json)
        packed = "gzip" if compression in ("gzip", "deflate") else "none"
        answer = await self._intake.export(kind, "json" if as_json else "protobuf", packed, body, "http")
        return self._answer(kind, answer, as_json)

    async def _read(self, request: web.Request) -> bytes | None:
        """Read the body as it came; None when it is over the limit."""
        limit = self._config.max_request_bytes
        if request.content_length is not None and request.content_length > limit:
            return None
        parts, size = [], 0
        async for part in request.content.iter_any():
            size += len(part)
            if size > limit:
                return None
            parts.append(part)
        return b"".join(parts)

    def _answer(self, kind: Kind, answer: Answer, as_json: bool) -> web.Response:
        headers = {"Retry-After": str(max(1, round(self._config.retry_seconds)))} if answer.retry else {}
        message: Any
        if answer.code == "OK":
            message = response(kind, answer)
        else:
            message = status_pb2.Status.FromString(status_details(answer, self._config.retry_seconds))
            if as_json:
                message = status_pb2.Status(code=grpc.StatusCode[answer.code].value[0], message=answer.message)
        if as_json:
            text = json_format.MessageToJson(message, indent=None)
            return web.Response(
                status=_HTTP_STATUS[answer.code], text=text, content_type=JSON, charset="utf-8", headers=headers
            )
        return web.Response(
            status=_HTTP_STATUS[answer.code], body=message.SerializeToString(), content_type=PROTOBUF, headers=headers
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        trouble = self._ready()
        return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def stop(self) -> None:
        """Take no new requests and wait for those in flight."""
        if self._reloading is not None:
            self._reloading.cancel()
        await self._runner.cleanup()

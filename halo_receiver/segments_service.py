"""`halo.v1.Segments`: what the worker on the same machine, or an operator, asks of a running receiver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from halo_receiver.auth import CODES, Keys, Role, Verdict
from halo_receiver.pb import segments_pb2
from halo_receiver.store import manifest
from halo_receiver.store.segment import listed
from halo_receiver.tail import MAX_VIEWERS, TooManyViewers

SEGMENTS_SERVICE = "halo.v1.Segments"

Seal = Callable[[], Awaitable[None]]
Report = Callable[[], tuple[str | None, bytes]]  # why not ready, and the metrics' text


class SegmentsService:
    """The service. Calls need the token in receiver.json, or an operator's key; for Tail a read key is enough."""

    def __init__(
        self, keys: Keys, *, directory: Path, seal: Seal, report: Report, tail: Callable[[int], AsyncGenerator[bytes]]
    ) -> None:
        self._keys = keys
        self._directory = directory
        self._seal = seal
        self._report = report
        self._tail = tail

    def add_to(self, server: Any) -> None:
        """Serve it from a server."""
        methods = {"Seal": self._do_seal, "List": self._do_list, "Status": self._do_status}
        handlers = {name: self._method(act) for name, act in methods.items()}
        handlers["Tail"] = grpc.unary_stream_rpc_method_handler(self._do_tail)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SEGMENTS_SERVICE, handlers),))

    def _method(self, act: Callable[[bytes, Any], Awaitable[Any]]) -> Any:
        async def handle(body: bytes, context: Any) -> bytes:
            await self._check(context, Role.OPERATE)
            return bytes((await act(body, context)).SerializeToString())

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _check(self, context: Any, role: Role) -> None:
        verdict = self._keys.judge(authorization(context), role)
        if verdict is not Verdict.ALLOWED:
            await context.abort(grpc.StatusCode[CODES[verdict]], f"{role.value} is required")

    async def _do_tail(self, body: bytes, context: Any) -> None:
        await self._check(context, Role.WATCH)
        asked = await _parsed(segments_pb2.TailRequest, body, context)
        try:
            async with contextlib.aclosing(self._tail(asked.recent)) as messages:
                async for message in messages:
                    await context.write(message)  # waits for who reads slowly
        except TooManyViewers:
            text = f"{MAX_VIEWERS} callers read already"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the receiver stops")

    async def _do_seal(self, _body: bytes, context: Any) -> segments_pb2.SealResponse:
        try:
            await self._seal()
        except (TimeoutError, RuntimeError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the loader cannot catch up now: {error}")
        return segments_pb2.SealResponse(segments=await self._list(None, None))

    async def _do_list(self, body: bytes, context: Any) -> segments_pb2.ListResponse:
        asked = await _parsed(segments_pb2.ListRequest, body, context)
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


async def _parsed(kind: Any, body: bytes, context: Any) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError:
        text = f"the body is not a protobuf {kind.DESCRIPTOR.name}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


def authorization(context: Any) -> str | bytes | None:
    """Return what the caller of a method sent as its key."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return value  # type: ignore[no-any-return]
    return None
